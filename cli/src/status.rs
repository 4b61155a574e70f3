//! `tengyun status` and `tengyun meters`.

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::describe::lines;
use crate::failure::Failure;
use crate::get::wire_word;
use crate::message::{Message, heard, word};
use crate::output::{core_hours, cores, gibibyte_hours, show, table, time};
use crate::session::{Session, path};

/// Shows the state of the scheduler.
pub(crate) async fn status(session: &Session) -> Result<(), Failure> {
    let status = session.call(|mut o| async move { o.status(v1::StatusRequest {}).await }).await?;
    let text = || {
        let mode = if status.read_only {
            Message::StatusReadOnly { reason: &status.read_only_reason }.said()
        } else {
            Message::StatusReadWrite {}.said()
        };
        let (version, wire) = (&status.software_version, &status.wire_version);
        let version = Message::StatusVersion { version, wire };
        let journal = Message::StatusJournal { entry: &status.sequence, epoch: &status.epoch };
        let least = at_least(status.nodes_needed, &status.nodes_needed_by);
        let nodes = Message::StatusNodes {
            known: &status.nodes,
            connected: &status.nodes_connected,
            used: &status.nodes_in_use,
            least: &least,
        };
        lines(&[
            ("scheduler", version.said()),
            session.reached(),
            ("time", time(status.at_millis)),
            ("mode", mode),
            ("journal", journal.said()),
            ("nodes", nodes.said()),
            ("moves", Message::StatusMoves { moves: &status.moves_total }.said()),
            ("budget", budget(&status)),
            ("forecast", forecast(&status)),
            ("rebalancing", heard(status.rebalancing_said.as_ref(), &status.rebalancing)),
            ("reserve", heard(status.reserve_said.as_ref(), &status.reserve)),
            ("memory", heard(status.memory_said.as_ref(), &status.memory)),
            ("losses", heard(status.losses_said.as_ref(), &status.losses)),
            ("restore", heard(status.restore_said.as_ref(), &status.restore)),
        ]) + &strangers(session, &status.strangers)
    };
    let json = json!({
        "software_version": status.software_version,
        "wire_version": status.wire_version,
        "at_millis": status.at_millis,
        "read_only": status.read_only,
        "read_only_reason": status.read_only_reason,
        "sequence": status.sequence,
        "epoch": status.epoch,
        "nodes": status.nodes,
        "nodes_connected": status.nodes_connected,
        "nodes_in_use": status.nodes_in_use,
        "nodes_needed": status.nodes_needed,
        "nodes_needed_by": status.nodes_needed_by,
        "moves": status.moves_total,
        "budget": status.budget.as_ref().map(budget_json),
        "rebalancing": status.rebalancing,
        "reserve": status.reserve,
        "memory": status.memory,
        "losses": status.losses,
        "restore": status.restore,
        "strangers": status.strangers.iter().map(stranger_json).collect::<Vec<_>>(),
    });
    show(session.format, text, &json)
}

/// Says what may be above the ceiling and what was.
fn budget(status: &v1::StatusResponse) -> String {
    let Some(budget) = &status.budget else { return String::new() };
    let may = budget.budget_hundredths_percent;
    let ceiling = f64::from(budget.ceiling_permille) / 10.0;
    let (windows, above) = summed(budget, |s| (s.windows, s.above));
    let may = format!("{}.{:02}", may / 100, may % 100);
    let may = Message::BudgetMay { share: &may, ceiling: &ceiling }.said();
    if windows == 0 {
        return Message::BudgetUnmeasured { may: &may }.said();
    }
    let spent = share(above, windows);
    Message::BudgetSpent { may: &may, spent: &spent, above: &above, windows: &windows }.said()
}

/// Says how often the foreseen peak was missed, and how far above the mean it is.
fn forecast(status: &v1::StatusResponse) -> String {
    let Some(budget) = &status.budget else { return String::new() };
    let (foreseen, missed) = summed(budget, |s| (s.foreseen, s.missed));
    if foreseen == 0 {
        return Message::ForecastNone {}.said();
    }
    let margin = |s: &v1::BudgetSize| {
        let (whole, part) = (s.margin_thousandths / 1000, s.margin_thousandths % 1000 / 10);
        let (margin, from) = (format!("{whole}.{part:02}"), cores(s.from_millicores));
        Message::ForecastMargin { margin: &margin, from: &from }.said()
    };
    let margins: Vec<String> = budget.sizes.iter().map(margin).collect();
    Message::ForecastMissed {
        share: &share(missed, foreseen),
        missed: &missed,
        foreseen: &foreseen,
        margins: &margins.join(", "),
    }
    .said()
}

fn summed(budget: &v1::BudgetView, of: fn(&v1::BudgetSize) -> (u64, u64)) -> (u64, u64) {
    let add = |a: (u64, u64), b: (u64, u64)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
    budget.sizes.iter().map(of).fold((0, 0), add)
}

/// Says a part of a whole in hundredths of a percent.
fn share(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn budget_json(budget: &v1::BudgetView) -> Value {
    let (windows, above) = summed(budget, |s| (s.windows, s.above));
    let (foreseen, missed) = summed(budget, |s| (s.foreseen, s.missed));
    let size = |s: &v1::BudgetSize| {
        json!({
            "from_millicores": s.from_millicores, "windows": s.windows, "above": s.above,
            "foreseen": s.foreseen, "missed": s.missed, "margin_thousandths": s.margin_thousandths,
        })
    };
    json!({
        "hundredths_percent": budget.budget_hundredths_percent,
        "ceiling_permille": budget.ceiling_permille,
        "windows": windows, "above": above, "foreseen": foreseen, "missed": missed,
        "sizes": budget.sizes.iter().map(size).collect::<Vec<_>>(),
    })
}

/// Says how few nodes could do; nothing while nothing needs a node.
pub(crate) fn at_least(nodes: u32, by: &str) -> String {
    if nodes == 0 {
        return String::new();
    }
    Message::StatusAtLeast { nodes: &nodes, by: &word(by) }.said()
}

/// Shows what runs and a restored journal does not know; nothing when there is nothing.
fn strangers(session: &Session, strangers: &[v1::StrangerView]) -> String {
    if strangers.is_empty() {
        return String::new();
    }
    let row = |view: &v1::StrangerView| {
        let status = view.status.clone().unwrap_or_default();
        let pid = status.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        vec![
            status.instance.to_string(),
            view.node_name.clone(),
            word(&phase(&status)),
            pid,
            time(status.since_millis),
        ]
    };
    let headings = ["INSTANCE", "NODE", "PHASE", "PID", "SINCE"];
    table(&session.headings(&headings), &strangers.iter().map(row).collect::<Vec<_>>())
}

fn phase(status: &v1::InstanceStatus) -> String {
    wire_word(status.phase().as_str_name(), "PHASE_")
}

fn stranger_json(view: &v1::StrangerView) -> Value {
    let status = view.status.clone().unwrap_or_default();
    json!({
        "node": view.node_name,
        "instance": status.instance,
        "phase": phase(&status),
        "pid": status.pid,
        "since_millis": status.since_millis,
    })
}

/// Shows the journaled meters.
pub(crate) async fn meters(session: &Session) -> Result<(), Failure> {
    let request = v1::ListMetersRequest { instance: None };
    let list = session.call(|mut o| async move { o.list_meters(request).await }).await?;
    let text = || {
        let headings =
            ["WORKLOAD", "INSTANCE", "START", "NODE", "CPU", "MEMORY", "FROM", "TO", "CLOSED"];
        let row = |m: &v1::MeterView| {
            let record = m.record.clone().unwrap_or_default();
            vec![
                path(m.key.clone().unwrap_or_default()),
                record.instance.to_string(),
                record.incarnation.to_string(),
                m.node.to_string(),
                core_hours(record.cpu_core_millis),
                gibibyte_hours(record.memory_mib_seconds),
                time(record.from_millis),
                time(record.to_millis),
                word(if record.last { "yes" } else { "no" }),
            ]
        };
        table(&session.headings(&headings), &list.meters.iter().map(row).collect::<Vec<_>>())
    };
    let json: Vec<Value> = list.meters.iter().map(meter_json).collect();
    show(session.format, text, &json!(json))
}

fn meter_json(meter: &v1::MeterView) -> Value {
    let record = meter.record.clone().unwrap_or_default();
    json!({
        "workload": path(meter.key.clone().unwrap_or_default()),
        "node": meter.node,
        "instance": record.instance,
        "incarnation": record.incarnation,
        "boot_id": record.boot_id,
        "cpu_core_millis": record.cpu_core_millis,
        "memory_mib_seconds": record.memory_mib_seconds,
        "covered_millis": record.covered_millis,
        "from_millis": record.from_millis,
        "to_millis": record.to_millis,
        "closed": record.last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_said_with_what_was_spent_of_it() {
        let size = |from, above| v1::BudgetSize {
            from_millicores: from,
            windows: 1000,
            above,
            foreseen: 500,
            missed: 3,
            margin_thousandths: 2725,
        };
        let budget = v1::BudgetView {
            budget_hundredths_percent: 100,
            ceiling_permille: 800,
            sizes: vec![size(16_384, 4), size(32_768, 9)],
        };
        let mut status = v1::StatusResponse { budget: Some(budget), ..Default::default() };
        assert_eq!(
            super::budget(&status),
            "1.00 % of node-time above 80 %; 0.65 % spent (13 of 2000 node-windows)"
        );
        let said = forecast(&status);
        assert!(
            said.starts_with("the peak was missed in 0.60 % (6 of 1000 node-windows)"),
            "{said}"
        );
        assert!(said.contains("2.72 deviations"), "{said}");
        status.budget.as_mut().unwrap().sizes.clear();
        assert!(super::budget(&status).ends_with("nothing is measured yet"));
        assert!(forecast(&status).contains("yet"));
    }
}
