//! A report that needs nothing but a browser: one file, no script, no network; Chinese and English by
//! a switch; made to be printed.

pub(crate) mod plot;

use crate::interval;
use crate::note::Note;
use crate::number::{decimals, length, percent, real};
use crate::replay::Replayed;
use crate::score::{HISTOGRAM_BINS, HourScore};
use crate::trace::STEP_SECS;
use plot::{Axis, bars, escape, heat, lines};

/// A text in both languages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Both(pub(crate) &'static str, pub(crate) &'static str);

impl Both {
    /// Writes it so that the switch chooses.
    pub(crate) fn html(self) -> String {
        format!("<span class=\"zh\">{}</span><span class=\"en\">{}</span>", self.0, self.1)
    }
}

const STYLE: &str = "
:root{font:15px/1.5 'Noto Sans SC','Source Han Sans SC','PingFang SC','Microsoft YaHei',system-ui,sans-serif;color:#1c2530}
body{max-width:960px;margin:0 auto;padding:24px;background:#fff}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:28px 0 8px;border-bottom:1px solid #d7dde4;padding-bottom:4px}
p.sub{color:#5a6775;margin:0 0 12px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid #e7ebef;vertical-align:top}
td.n,th.n{text-align:right}
svg{width:100%;height:auto;display:block}
svg text{font-size:11px;fill:#5a6775}svg text.y{text-anchor:end}svg text.x{text-anchor:middle}
.grid{stroke:#e7ebef;fill:none}.band{fill:#3c8f5b;opacity:.13}
.line{fill:none;stroke-width:1.4}.line.a{stroke:#1f5f99}.line.b{stroke:#b3282d;opacity:.75}
.bar{fill:#1f5f99}
.key i{display:inline-block;width:12px;height:12px;margin:0 4px 0 12px;vertical-align:-1px}
.switch{float:right;cursor:pointer;border:1px solid #b9c3cd;border-radius:4px;padding:2px 10px}
#en{position:absolute;opacity:0}#en:focus-visible~main .switch{outline:2px solid #1f5f99}
#en:not(:checked)~main .en{display:none}#en:checked~main .zh{display:none}
.note{background:#fff7e0;border-left:3px solid #e8b13a;padding:6px 10px;margin:8px 0}
@page{size:A4;margin:14mm}
@media print{body{padding:0;max-width:none}.switch{display:none}section{break-inside:avoid}h2{break-after:avoid}}
";

/// Wraps the parts of a report into a page.
pub(crate) fn page(title: Both, subtitle: &str, sections: &[String]) -> String {
    format!(
        "<!doctype html>\n<html lang=\"zh-CN\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{} / {}</title>\
         <style>{STYLE}</style></head><body><input type=\"checkbox\" id=\"en\" \
         aria-label=\"English\"><main><label class=\"switch\" for=\"en\">中文 / English</label>\
         <h1>{}</h1><p class=\"sub\">{}</p>{}</main></body></html>\n",
        title.0,
        title.1,
        title.html(),
        escape(subtitle),
        sections.concat()
    )
}

/// Makes one part of a report.
pub(crate) fn section(title: Both, body: &str) -> String {
    format!("<section><h2>{}</h2>{body}</section>", title.html())
}

/// What stands in a cell of a table.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// A number, a name: the same in both languages.
    Same(String),
    /// Words.
    Said(Both),
}

impl Cell {
    /// Writes it so that markup in it means nothing.
    pub(crate) fn html(&self) -> String {
        match self {
            Self::Same(text) => escape(text),
            Self::Said(words) => words.html(),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Same(text)
    }
}

/// Names a resource that binds.
pub(crate) fn binding(resource: &str) -> Cell {
    match resource {
        "memory" => Cell::Said(Both("内存", "memory")),
        "cpu" => Cell::Said(Both("CPU", "CPU")),
        other => Cell::Same(other.to_owned()),
    }
}

/// Makes a table of names and values.
pub(crate) fn pairs(rows: &[(Both, Cell)]) -> String {
    let row = |(name, value): &(Both, Cell)| {
        format!("<tr><td>{}</td><td class=\"n\">{}</td></tr>", name.html(), value.html())
    };
    format!("<table>{}</table>", rows.iter().map(row).collect::<String>())
}

/// Makes a note.
pub(crate) fn note(note: &Note) -> String {
    let (zh, en) = (escape(&note.zh), escape(&note.en));
    let both = format!("<span class=\"zh\">{zh}</span><span class=\"en\">{en}</span>");
    format!("<p class=\"note\">{both}</p>")
}

/// Makes the report of a replay.
pub fn replay(name: &str, policy: &str, replayed: &Replayed) -> String {
    let mut sections = vec![section(Both("结果", "Figures"), &figures(replayed))];
    sections.extend(replayed.notes.iter().map(note));
    sections.extend(over_time(replayed));
    sections.push(histogram(replayed));
    sections.push(section(
        Both("各节点负载", "Load of each node"),
        &format!("{}{}", key(), heat(&replayed.scores.heat, measured_hours(replayed))),
    ));
    sections.push(section(Both("每周各小时", "Hours of the week"), &hours(replayed)));
    let title = Both("腾云实验室：回放报告", "tengyun laboratory: replay");
    page(title, &format!("{name} · {policy}"), &sections)
}

fn figures(replayed: &Replayed) -> String {
    let rows = [fleet_rows(replayed), load_rows(replayed), harvest_rows(replayed)];
    pairs(&rows.concat())
}

fn pct(value: f64, digits: i32) -> String {
    format!("{} %", decimals(value, digits))
}

fn three(values: [f64; 3]) -> String {
    values.map(|v| pct(v, 3)).join(" / ")
}

fn fleet_rows(replayed: &Replayed) -> Vec<(Both, Cell)> {
    let f = &replayed.figures;
    let (more, more_pct) = replayed.above_bound;
    vec![
        (Both("实例数", "Instances"), f.instances.to_string().into()),
        (Both("5 分钟步数", "Steps of 5 minutes"), f.steps.to_string().into()),
        (Both("数据覆盖率", "Coverage"), pct(f.coverage_pct, 2).into()),
        (
            Both("无法使用的数据行", "Rows that could not be used"),
            replayed.bad_rows.to_string().into(),
        ),
        (
            Both("开机节点（平均 / 最多）", "Nodes powered on (mean / most)"),
            format!("{} / {}", f.nodes_mean, f.nodes_max).into(),
        ),
        (
            Both("节点数下限（平均）", "Lower bound of nodes (mean)"),
            f.lower_bound_nodes_mean.to_string().into(),
        ),
        (
            Both("高出下限（节点 / 比例）", "Above the lower bound (nodes / share)"),
            format!("{more} / {}", pct(more_pct, 2)).into(),
        ),
        (Both("瓶颈资源", "Binding resource"), binding(f.binding)),
        (
            Both("关机 6 小时以上次数", "Times off for 6 hours or more"),
            replayed.long_off.to_string().into(),
        ),
        (Both("能耗", "Energy"), format!("{} kWh", f.energy_kwh).into()),
    ]
}

fn load_rows(replayed: &Replayed) -> Vec<(Both, Cell)> {
    let f = &replayed.figures;
    let (low, high) = interval::above80_pct(&replayed.scores.steps);
    let [in_band, above @ ..] = replayed.affected_pct;
    vec![
        (Both("CPU 平均利用率", "Mean CPU utilisation"), pct(f.utilisation_pct, 2).into()),
        (Both("处于 60–80 % 的时间", "Node-time from 60 to 80 %"), pct(f.in_band_pct, 2).into()),
        (
            Both("超过 80 / 90 / 100 % 的时间", "Node-time above 80 / 90 / 100 %"),
            three([f.above80_pct, f.above90_pct, f.above100_pct]).into(),
        ),
        (
            Both("超过 80 % 的时间：95 % 区间", "Node-time above 80 %, 95 % interval"),
            format!("{} – {}", pct(low, 3), pct(high, 3)).into(),
        ),
        (
            Both(
                "关键与标准实例时间：处于 60–80 %",
                "Critical and standard instance-time from 60 to 80 %",
            ),
            pct(in_band, 2).into(),
        ),
        (
            Both("受影响的实例时间：80 / 90 / 100 %", "Instance-time above 80 / 90 / 100 %"),
            three(above).into(),
        ),
        (Both("未满足的需求", "Demand lost"), pct(f.demand_lost_pct, 4).into()),
        (
            Both("迁移次数（每实例每天）", "Moves (per instance and day)"),
            format!("{} ({})", f.moves, f.moves_per_instance_day).into(),
        ),
        (
            Both("等待节点的实例时间", "Instance-time without a node"),
            pct(replayed.waiting_pct, 4).into(),
        ),
    ]
}

fn harvest_rows(replayed: &Replayed) -> Vec<(Both, Cell)> {
    let Some(wait) = &replayed.harvest_wait else { return Vec::new() };
    let (done, back) = replayed.harvest_core_hours;
    vec![
        (
            Both("填谷作业（核时，完成 / 收回）", "Harvest work (core-hours, done / given back)"),
            format!("{} / {}", decimals(done, 1), decimals(back, 1)).into(),
        ),
        (
            Both(
                "填谷作业等待（占所给份额）",
                "Harvest work that had to wait, of what it was given",
            ),
            pct(wait.waiting_pct, 3).into(),
        ),
        (
            Both("有等待的步 / 最差一步", "Steps in which some waited / the worst step"),
            format!("{} / {}", pct(wait.steps_pct, 2), pct(wait.worst_pct, 2)).into(),
        ),
        (
            Both("未分给填谷作业的空间", "Room that harvest work was not given"),
            pct(wait.room_missed_pct, 2).into(),
        ),
    ]
}

fn measured_hours(replayed: &Replayed) -> f64 {
    length(replayed.scores.steps.len()) * real(STEP_SECS) / 3600.0
}

fn over_time(replayed: &Replayed) -> Vec<String> {
    let steps = &replayed.scores.steps;
    let hours = measured_hours(replayed);
    let of =
        |value: fn(&crate::score::StepScore) -> f64| steps.iter().map(value).collect::<Vec<_>>();
    let nodes = of(|s| real(s.nodes));
    let moves = of(|s| real(s.moves));
    let highest = of(|s| s.highest_pct);
    let axis = Axis::of_load(&highest);
    let load =
        lines(&[("b", highest), ("a", of(|s| s.utilisation_pct))], axis, Some((60.0, 80.0)), hours);
    let legend = format!(
        "<p class=\"key\"><i style=\"background:#1f5f99\"></i>{}<i style=\"background:#b3282d\"></i>{}</p>",
        Both("平均", "mean").html(),
        Both("最忙的节点", "busiest node").html()
    );
    let nodes_axis = Axis::over(&nodes, "");
    let moves_axis = Axis::over(&moves, "");
    let mut sections = vec![
        section(Both("利用率随时间变化", "Utilisation over time"), &format!("{legend}{load}")),
        section(
            Both("开机节点数", "Nodes powered on"),
            &lines(&[("a", nodes)], nodes_axis, None, hours),
        ),
        section(
            Both("每步迁移次数", "Moves in each step"),
            &lines(&[("a", moves)], moves_axis, None, hours),
        ),
    ];
    if replayed.harvest_wait.is_some() {
        let waited = of(|s| percent(s.harvest_given - s.harvest_done, s.harvest_given));
        let axis = Axis { most: 100.0, unit: " %" };
        let title = Both("填谷作业等待比例", "Harvest work that had to wait");
        sections.push(section(title, &lines(&[("a", waited)], axis, None, hours)));
    }
    sections
}

fn histogram(replayed: &Replayed) -> String {
    let all: u64 = replayed.scores.histogram.iter().sum();
    let shares: Vec<f64> =
        replayed.scores.histogram.iter().map(|n| percent(real(*n), real(all))).collect();
    let label =
        |bin: usize| if bin.is_multiple_of(4) { format!("{} %", bin * 5) } else { String::new() };
    let labels: Vec<String> = (0..HISTOGRAM_BINS).map(label).collect();
    section(
        Both("节点时间分布（按 CPU 需求）", "Node-time by CPU demanded"),
        &bars(&shares, &labels, Axis::over(&shares, " %")),
    )
}

pub(crate) fn key() -> String {
    let colours = [
        ("#e8f1f8", "≤20"),
        ("#c3dcec", "≤40"),
        ("#8fc1de", "≤60"),
        ("#3c8f5b", "≤80"),
        ("#e8b13a", "≤90"),
        ("#dd7a2f", "≤100"),
        ("#b3282d", ">100 %"),
    ];
    let one = |(c, t): &(&str, &str)| format!("<i style=\"background:{c}\"></i>{}", escape(t));
    format!("<p class=\"key\">{}</p>", colours.iter().map(one).collect::<String>())
}

fn hours(replayed: &Replayed) -> String {
    let heads = [
        Both("小时", "Hour"),
        Both("节点", "Nodes"),
        Both("利用率 %", "Utilisation %"),
        Both("60–80 % 时间", "In band %"),
        Both("超过 80 / 90 / 100 %", "Above 80 / 90 / 100 %"),
        Both("实例 60–80 %", "Instances in band %"),
        Both("实例超过 80 / 90 / 100 %", "Instances above 80 / 90 / 100 %"),
    ];
    let head = |h: &Both| format!("<th class=\"n\">{}</th>", h.html());
    let head: String = heads.iter().map(head).collect();
    let row = |h: &HourScore| {
        let [in_band, above @ ..] = h.affected_pct;
        let three = |values: [f64; 3]| values.map(|v| format!("{v:.3}")).join(" / ");
        let cells = [
            format!("{:.2}", h.nodes_mean),
            format!("{:.2}", h.utilisation_pct),
            format!("{:.2}", h.in_band_pct),
            three([h.above80_pct, h.above90_pct, h.above100_pct]),
            format!("{in_band:.2}"),
            three(above),
        ];
        let cell = |c: &String| format!("<td class=\"n\">{c}</td>");
        let cells: String = cells.iter().map(cell).collect();
        let hour = hour_name(h.hour, replayed.civil);
        format!("<tr><td class=\"n\">{hour}</td>{cells}</tr>")
    };
    let said = if replayed.civil {
        Note::new(
            "按记录自带的时间计（周一零点起）",
            "by the time that the trace states, from Monday's midnight",
        )
    } else {
        Note::new(
            "记录没有写明起始时刻，小时从记录开头数起",
            "the trace does not state when it begins: hours are counted from its beginning",
        )
    };
    let rows: String = replayed.hours.iter().map(row).collect();
    format!("{}<table><tr>{head}</tr>{rows}</table>", note(&said))
}

/// Names an hour of the week: a day and an hour by civil time, a number where that is not known.
fn hour_name(hour: usize, civil: bool) -> String {
    const DAYS: [Both; 7] = [
        Both("周一", "Mon"),
        Both("周二", "Tue"),
        Both("周三", "Wed"),
        Both("周四", "Thu"),
        Both("周五", "Fri"),
        Both("周六", "Sat"),
        Both("周日", "Sun"),
    ];
    if civil {
        format!("{} {:02}:00", DAYS[hour / 24 % 7].html(), hour % 24)
    } else {
        hour.to_string()
    }
}
