//! The comparison as a page.

use super::{Compared, SideFigures};
use crate::number::{length, real};
use crate::report::plot::{Axis, escape, heat, lines};
use crate::report::{Both, key, note, page, section};
use crate::score::Scores;

/// One row of the table: its name and how to show it.
type Row = (Both, fn(&SideFigures) -> String);

/// Makes the page of a comparison.
pub fn html(name: &str, compared: &Compared) -> String {
    let mut sections = vec![section(Both("对比", "Side by side"), &table(compared))];
    sections.extend(compared.notes.iter().map(note));
    for (figures, scores) in &compared.sides {
        let (load, nodes) = over_time(compared, scores);
        let title = format!("<p class=\"sub\">{}</p>", side(figures));
        sections.push(section(Both("利用率随时间变化", "Utilisation over time"), &(title + &load)));
        sections.push(section(Both("在用节点数", "Nodes in use"), &nodes));
        let map = key() + &heat(&scores.heat, hours(compared, scores));
        sections.push(section(Both("各节点负载", "Load of each node"), &map));
    }
    page(Both("腾云实验室：重新规划", "tengyun laboratory: planned anew"), name, &sections)
}

fn table(compared: &Compared) -> String {
    let rows: [Row; 10] = [
        (Both("在用节点（平均）", "Nodes in use, mean"), |f| f.nodes_mean.to_string()),
        (Both("在用节点（最多）", "Nodes in use, most"), |f| f.nodes_max.to_string()),
        (Both("CPU 平均利用率 %", "Utilisation %"), |f| f.utilisation_pct.to_string()),
        (Both("处于 60–80 % 的时间 %", "In band 60–80 %"), |f| f.in_band_pct.to_string()),
        (Both("超过 80 % 的时间 %", "Above 80 %"), |f| f.above80_pct.to_string()),
        (Both("超过 90 % 的时间 %", "Above 90 %"), |f| f.above90_pct.to_string()),
        (Both("未满足的需求 %", "Demand lost %"), |f| f.demand_lost_pct.to_string()),
        (Both("迁移次数", "Moves"), |f| f.moves.to_string()),
        (Both("等待节点的实例时间 %", "Instance-time waiting %"), |f| {
            f.waiting_pct.to_string()
        }),
        (Both("能耗 kWh", "Energy kWh"), |f| f.energy_kwh.to_string()),
    ];
    let name = |(f, _): &(SideFigures, Scores)| format!("<th class=\"n\">{}</th>", side(f));
    let names = compared.sides.iter().map(name);
    let head = format!("<tr><th></th>{}</tr>", names.collect::<String>());
    let row = |(name, show): &Row| {
        let cells = compared.sides.iter().map(|(f, _)| format!("<td class=\"n\">{}</td>", show(f)));
        format!("<tr><td>{}</td>{}</tr>", name.html(), cells.collect::<String>())
    };
    format!("<table>{head}{}</table>", rows.iter().map(row).collect::<String>())
}

/// Names a side.
fn side(figures: &SideFigures) -> String {
    match figures.name.as_str() {
        "what happened" => Both("实际", "What happened").html(),
        name => escape(name),
    }
}

fn hours(compared: &Compared, scores: &Scores) -> f64 {
    length(scores.steps.len()) * real(compared.step.get()) / 3_600_000.0
}

fn over_time(compared: &Compared, scores: &Scores) -> (String, String) {
    let steps = &scores.steps;
    let hours = hours(compared, scores);
    let mean = steps.iter().map(|s| s.utilisation_pct).collect();
    let highest: Vec<f64> = steps.iter().map(|s| s.highest_pct).collect();
    let axis = Axis::of_load(&highest);
    let load = lines(&[("b", highest), ("a", mean)], axis, Some((60.0, 80.0)), hours);
    let nodes: Vec<f64> = steps.iter().map(|s| real(s.nodes)).collect();
    let axis = Axis::over(&nodes, "");
    (load, lines(&[("a", nodes)], axis, None, hours))
}
