//! `tengyun status` and `tengyun meters`.

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::budget::{affected, budget, budget_json, forecast, ledger, ledger_json, worst_hours};
use crate::describe::lines;
use crate::failure::Failure;
use crate::get::wire_word;
use crate::message::{Message, heard, word};
use crate::output::{core_hours, gibibyte_hours, show, table, time};
use crate::session::{Session, path};

/// Shows the state of the scheduler.
pub(crate) async fn status(session: &Session) -> Result<(), Failure> {
    let status = session.call(|mut o| async move { o.status(v1::StatusRequest {}).await }).await?;
    let worst = |budget: &v1::BudgetView| worst_hours(budget, status.at_millis);
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
            ("move ledger", status.ledger.as_ref().map(ledger).unwrap_or_default()),
            ("budget", budget(&status)),
            ("affected", status.budget.as_ref().map(affected).unwrap_or_default()),
            ("worst hours", status.budget.as_ref().map(worst).unwrap_or_default()),
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
        "move_ledger": status.ledger.as_ref().map(ledger_json),
        "budget": status.budget.as_ref().map(|budget| budget_json(budget, status.at_millis)),
        "rebalancing": status.rebalancing,
        "reserve": status.reserve,
        "memory": status.memory,
        "losses": status.losses,
        "restore": status.restore,
        "strangers": status.strangers.iter().map(stranger_json).collect::<Vec<_>>(),
    });
    show(session.format, text, &json)
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
