//! The plan as a page to be printed and signed.

use super::BeforeYouMove;
use crate::report::{Both, Cell, binding, note, page, pairs, section};

/// The most rows of one table on the page; all are in the JSON.
const ROWS_MAX: usize = 2000;

/// Makes the page of a plan.
pub fn html(name: &str, plan: &BeforeYouMove) -> String {
    let mut sections = vec![section(Both("结论", "Result"), &result(plan))];
    sections.extend(plan.notes.iter().map(note));
    sections.push(section(Both("每台服务器", "Each server"), &servers(plan)));
    sections.push(section(Both("按部门", "By department"), &departments(plan)));
    sections.push(section(Both("迁移顺序", "Order of moves"), &moves(plan)));
    page(Both("腾云：上云前评估", "tengyun: before you move"), name, &sections)
}

fn result(plan: &BeforeYouMove) -> String {
    let bounds = &plan.bounds;
    let used = bounds.memory_used.map_or("-".to_owned(), |n| n.to_string());
    pairs(&[
        (Both("现有服务器", "Servers today"), plan.servers_now.to_string().into()),
        (Both("需要服务器", "Servers needed"), plan.servers_needed.to_string().into()),
        (Both("可释放服务器", "Servers released"), plan.servers_released.to_string().into()),
        (
            Both(
                "约定风险：超过上限的时间 / 上限",
                "Stated risk: time above the ceiling / ceiling",
            ),
            format!("{} % / {} %", plan.risk_pct, plan.ceiling_pct).into(),
        ),
        (Both("瓶颈资源", "Binding resource"), binding(plan.binding)),
        (
            Both("下限：CPU / 实用内存 / 申请内存", "Bounds: CPU / memory used / memory requested"),
            format!("{} / {used} / {}", bounds.cpu, bounds.memory_requested).into(),
        ),
        (
            Both("CPU 平均利用率", "Mean CPU utilisation"),
            format!("{} %", plan.utilisation_pct).into(),
        ),
        (Both("数据覆盖率", "Coverage"), format!("{} %", plan.coverage_pct).into()),
        (Both("无法使用的数据行", "Rows that could not be used"), plan.bad_rows.to_string().into()),
        (Both("历史长度", "Length of history"), format!("{} h", plan.hours).into()),
        (
            Both("年耗电（现在 / 之后）", "Energy a year (now / then)"),
            format!("{} / {} kWh", plan.kwh_per_year_now, plan.kwh_per_year_then).into(),
        ),
        (
            Both("年费用（现在 / 之后）", "Money a year (now / then)"),
            format!("{} / {}", plan.money_per_year_now, plan.money_per_year_then).into(),
        ),
    ])
}

fn table(heads: &[Both], rows: impl Iterator<Item = Vec<Cell>>) -> String {
    let head = |h: &Both| format!("<th>{}</th>", h.html());
    let cell = |c: &Cell| format!("<td>{}</td>", c.html());
    let row = |r: Vec<Cell>| format!("<tr>{}</tr>", r.iter().map(cell).collect::<String>());
    format!(
        "<table><tr>{}</tr>{}</table>",
        heads.iter().map(head).collect::<String>(),
        rows.take(ROWS_MAX).map(row).collect::<String>()
    )
}

fn servers(plan: &BeforeYouMove) -> String {
    let heads = [
        Both("服务器", "Server"),
        Both("瓶颈", "Binding"),
        Both("CPU 平均 %", "CPU mean %"),
        Both("CPU 风险值 %", "CPU at risk %"),
        Both("内存 %", "Memory %"),
        Both("负载数", "Workloads"),
    ];
    let row = |s: &super::Server| {
        vec![
            s.number.to_string().into(),
            binding(s.binding),
            s.cpu_mean_pct.to_string().into(),
            s.cpu_at_risk_pct.to_string().into(),
            s.memory_pct.to_string().into(),
            s.workloads.to_string().into(),
        ]
    };
    table(&heads, plan.servers.iter().map(row))
}

fn departments(plan: &BeforeYouMove) -> String {
    let heads = [
        Both("部门", "Department"),
        Both("负载数", "Workloads"),
        Both("核时 / 天", "Core-hours a day"),
        Both("服务器份额", "Servers"),
        Both("年费用", "Money a year"),
    ];
    let row = |d: &super::Department| {
        vec![
            d.name.clone().into(),
            d.workloads.to_string().into(),
            d.core_hours_per_day.to_string().into(),
            d.servers.to_string().into(),
            d.money_per_year.to_string().into(),
        ]
    };
    table(&heads, plan.departments.iter().map(row))
}

fn moves(plan: &BeforeYouMove) -> String {
    let heads = [
        Both("顺序", "Order"),
        Both("负载", "Workload"),
        Both("部门", "Department"),
        Both("到", "To"),
    ];
    let row = |s: &super::Step| {
        vec![
            s.order.to_string().into(),
            s.workload.clone().into(),
            s.department.clone().into(),
            s.server.to_string().into(),
        ]
    };
    table(&heads, plan.moves.iter().map(row))
}
