//! `tengyun get`: lists of nodes, departments, workloads, instances and runs.

mod json;

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::budget::share;
use crate::failure::Failure;
use crate::message::{Message, word};
use crate::output::{
    age, clean, core_hours, cores, gibibyte_hours, memory, now_millis, percent, show, table, time,
};
use crate::session::{Session, key_of, path};
use crate::status::at_least;

pub(crate) use json::{
    accuracy_json, counted_json, expected_json, instance_json, node_json, workload_json,
};

/// What `get` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// What to list
    #[arg(value_enum)]
    what: What,
    /// Only the workloads, instances or runs of this department and those below it
    #[arg(long, value_name = "PATH")]
    department: Option<String>,
    /// Ended instances too
    #[arg(long)]
    all: bool,
    /// Also margins, and how good forecasts were lately, of nodes, workloads or instances
    #[arg(long)]
    wide: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    #[value(alias = "node")]
    Nodes,
    #[value(alias = "department")]
    Departments,
    #[value(alias = "workload")]
    Workloads,
    #[value(alias = "instance")]
    Instances,
    #[value(alias = "volume")]
    Volumes,
    #[value(alias = "run")]
    Runs,
}

/// Lists what was asked for.
pub(crate) async fn run(session: &Session, args: GetArgs) -> Result<(), Failure> {
    let department = args.department.as_deref();
    match args.what {
        What::Nodes => nodes(session, args.wide).await,
        What::Departments => departments(session).await,
        What::Workloads => workloads(session, department, args.wide).await,
        What::Instances => instances(session, department, (args.all, args.wide)).await,
        What::Volumes => crate::volume::list(session, department).await,
        What::Runs => crate::runs::list(session, department).await,
    }
}

/// Lists the nodes.
pub(crate) async fn list_nodes(session: &Session) -> Result<v1::ListNodesResponse, Failure> {
    session.call(|mut o| async move { o.list_nodes(v1::ListNodesRequest {}).await }).await
}

async fn nodes(session: &Session, wide: bool) -> Result<(), Failure> {
    let list = list_nodes(session).await?;
    let json: Vec<Value> = list.nodes.iter().map(node_json).collect();
    let text = || {
        let bound = at_least(list.nodes_needed, &list.nodes_needed_by);
        let in_use = Message::NodesInUse { nodes: &list.nodes_in_use, least: &bound };
        let nodes = if wide { wide_nodes(session, &list) } else { node_table(session, &list) };
        format!("{nodes}{}\n", in_use.said())
    };
    show(session.format, text, &json!(json))
}

/// Makes the table of what nodes are foreseen with.
fn wide_nodes(session: &Session, list: &v1::ListNodesResponse) -> String {
    let row = |node: &v1::NodeView| {
        let facts = node.facts.clone().unwrap_or_default();
        let capacity = facts.capacity.unwrap_or_default().cpu_millicores;
        let [missed, error] = accuracy_cells(node.accuracy.as_ref());
        vec![
            facts.name,
            cores(capacity),
            cores(node.usage.clone().unwrap_or_default().cpu_millicores),
            cores(node.forecast_cpu_millicores),
            cores(node.margin_cpu_millicores),
            cores(node.ceiling_cpu_millicores),
            missed,
            error,
        ]
    };
    let headings = ["NODE", "CAPACITY", "USED", "FORECAST", "MARGIN", "BOUND", "MISSED", "ERROR"];
    table(&session.headings(&headings), &list.nodes.iter().map(row).collect::<Vec<_>>())
}

/// Makes the table of nodes.
pub(crate) fn node_table(session: &Session, list: &v1::ListNodesResponse) -> String {
    let headings = session.headings(&[
        "NODE",
        "STATE",
        "CAPACITY",
        "USED",
        "UTILISATION",
        "FORECAST",
        "FOREIGN",
        "MEMORY",
        "INSTANCES",
        "BINDING",
    ]);
    let row = |node: &v1::NodeView| {
        let facts = node.facts.clone().unwrap_or_default();
        let capacity = facts.capacity.clone().unwrap_or_default();
        let usage = node.usage.clone().unwrap_or_default();
        let utilisation = utilisation(&facts, &usage);
        vec![
            facts.name,
            node_state(node),
            cores(capacity.cpu_millicores),
            cores(usage.cpu_millicores),
            utilisation,
            cores(node.forecast_cpu_millicores),
            cores(usage.cpu_foreign_millicores),
            of(&memory(usage.memory_mib), &memory(capacity.memory_mib)),
            node.instances.to_string(),
            word(&node.binding),
        ]
    };
    table(&headings, &list.nodes.iter().map(row).collect::<Vec<_>>())
}

/// Says how much of its CPU a node uses. Where cores run several threads all of these together have more
/// time than the cores count for: then the node is simply full.
fn utilisation(facts: &v1::NodeFacts, usage: &v1::NodeUsage) -> String {
    let whole = facts.capacity.as_ref().map_or(0, |capacity| capacity.cpu_millicores);
    let smt = facts.inventory.as_ref().and_then(|inventory| inventory.smt);
    let several = smt.is_some_and(|smt| smt.cores > 0);
    let used = usage.cpu_millicores;
    percent(if several { used.min(whole) } else { used }, whole)
}

/// Says how a node is, and what operators wish of it when that is not to serve.
pub(crate) fn node_state(node: &v1::NodeView) -> String {
    let wish = match node.wish.as_str() {
        "cordon" => "cordoned",
        "drain" | "drain-by-force" if node.instances <= node.staying => "drained",
        "drain" | "drain-by-force" => "draining",
        _ => return word(&node.state),
    };
    Message::Both { one: &word(&node.state), other: &word(wish) }.said()
}

async fn departments(session: &Session) -> Result<(), Failure> {
    let request = v1::ListDepartmentsRequest {};
    let list = session.call(|mut o| async move { o.list_departments(request).await }).await?;
    let rows = || {
        let headings = session.headings(&[
            "DEPARTMENT",
            "WORKLOADS",
            "INSTANCES",
            "REQUESTED",
            "USED",
            "MEMORY",
            "METERED CPU",
            "METERED MEMORY",
        ]);
        let row = |d: &v1::DepartmentView| {
            vec![
                d.department.clone(),
                d.workloads.to_string(),
                d.instances.to_string(),
                cores(d.cpu_requested_millicores),
                cores(d.cpu_used_millicores),
                memory(d.memory_used_mib),
                core_hours(d.metered_core_millis),
                gibibyte_hours(d.metered_mib_seconds),
            ]
        };
        table(&headings, &list.departments.iter().map(row).collect::<Vec<_>>())
    };
    let json = |d: &v1::DepartmentView| {
        json!({
            "department": d.department,
            "workloads": d.workloads,
            "instances": d.instances,
            "requested_cpu_millicores": d.cpu_requested_millicores,
            "used_cpu_millicores": d.cpu_used_millicores,
            "used_memory_mib": d.memory_used_mib,
            "metered_core_millis": d.metered_core_millis,
            "metered_mib_seconds": d.metered_mib_seconds,
        })
    };
    let json: Vec<Value> = list.departments.iter().map(json).collect();
    show(session.format, rows, &json!(json))
}

async fn workloads(session: &Session, department: Option<&str>, wide: bool) -> Result<(), Failure> {
    let mut list = session.workloads().await?;
    list.retain(|w| within(&key_of(w.spec.as_ref()).department, department));
    let now = now_millis();
    let rows = || {
        let headings = session.headings(&[
            "WORKLOAD", "KIND", "CLASS", "WISH", "WAITING", "RUNNING", "HEALTHY", "ENDED",
            "FAILED", "CPU", "MEMORY", "AGE",
        ]);
        let row = |w: &v1::WorkloadView| {
            let spec = w.spec.clone().unwrap_or_default();
            vec![
                path(key_of(w.spec.as_ref())),
                word(&wire_word(spec.kind().as_str_name(), "KIND_")),
                word(&wire_word(spec.class().as_str_name(), "CLASS_")),
                word(&w.wish),
                w.waiting.to_string(),
                w.running.to_string(),
                w.healthy.to_string(),
                w.succeeded.to_string(),
                w.failed.to_string(),
                cores(w.cpu_used_millicores),
                memory(w.memory_used_mib),
                age(now, w.applied_millis),
            ]
        };
        table(&headings, &list.iter().map(row).collect::<Vec<_>>())
    };
    let json: Vec<Value> = list.iter().map(workload_json).collect();
    if wide {
        return show(session.format, || wide_workloads(session, &list), &json!(json));
    }
    show(session.format, rows, &json!(json))
}

/// Makes the table of what workloads are foreseen with.
fn wide_workloads(session: &Session, list: &[v1::WorkloadView]) -> String {
    let row = |w: &v1::WorkloadView| {
        let spec = w.spec.clone().unwrap_or_default();
        let [missed, error] = accuracy_cells(w.accuracy.as_ref());
        vec![
            path(key_of(w.spec.as_ref())),
            word(&wire_word(spec.class().as_str_name(), "CLASS_")),
            cores(w.cpu_used_millicores),
            cores(w.mean_cpu_millicores),
            cores(w.margin_cpu_millicores),
            missed,
            error,
        ]
    };
    let headings = ["WORKLOAD", "CLASS", "CPU", "FORECAST", "MARGIN", "MISSED", "ERROR"];
    table(&session.headings(&headings), &list.iter().map(row).collect::<Vec<_>>())
}

async fn instances(
    session: &Session,
    department: Option<&str>,
    (all, wide): (bool, bool),
) -> Result<(), Failure> {
    let mut list = session.instances(None).await?;
    let of = |i: &v1::InstanceView| i.key.clone().unwrap_or_default().department;
    list.instances.retain(|i| within(&of(i), department) && (all || !has_ended(i)));
    let json: Vec<Value> = list.instances.iter().map(instance_json).collect();
    if wide {
        return show(session.format, || wide_instances(session, &list), &json!(json));
    }
    show(session.format, || instance_table(session, &list) + &troubles(&list), &json!(json))
}

/// Makes the table of what instances are foreseen with.
fn wide_instances(session: &Session, list: &v1::ListInstancesResponse) -> String {
    let row = |i: &v1::InstanceView| {
        let expected = i.expected.unwrap_or_default();
        let [missed, error] = accuracy_cells(i.accuracy.as_ref());
        vec![
            i.instance.to_string(),
            path(i.key.clone().unwrap_or_default()),
            if i.node.is_some() { i.node_name.clone() } else { "-".to_owned() },
            cores(i.cpu_used_millicores),
            cores(expected.mean_millicores),
            cores(expected.margin_millicores),
            missed,
            error,
        ]
    };
    let headings = ["INSTANCE", "WORKLOAD", "NODE", "CPU", "FORECAST", "MARGIN", "MISSED", "ERROR"];
    table(&session.headings(&headings), &list.instances.iter().map(row).collect::<Vec<_>>())
}

/// Says how good forecasts were, in two cells of a table: how often the peak was missed, and by how much
/// of the use the mean was off.
fn accuracy_cells(accuracy: Option<&v1::Accuracy>) -> [String; 2] {
    let Some(of) = accuracy else { return ["-".to_owned(), "-".to_owned()] };
    [share(of.missed, of.windows), percent(of.error_thousandths, 1000)]
}

/// Says how good forecasts were; nothing while that is not known.
pub(crate) fn accuracy(accuracy: Option<&v1::Accuracy>) -> String {
    let Some(of) = accuracy else { return String::new() };
    let [missed, error] = accuracy_cells(accuracy);
    let (above, windows) = (&of.missed, &of.windows);
    Message::AccuracyIs { missed: &missed, above, windows, error: &error }.said()
}

fn has_ended(view: &v1::InstanceView) -> bool {
    let phase = view.status.as_ref().map(v1::InstanceStatus::phase);
    matches!(phase, Some(v1::Phase::Succeeded | v1::Phase::Failed | v1::Phase::Stopped))
}

/// Says why instances do not run, below the table.
fn troubles(list: &v1::ListInstancesResponse) -> String {
    let trouble = |view: &v1::InstanceView| {
        let status = view.status.as_ref()?;
        let down = matches!(status.phase(), v1::Phase::BackingOff | v1::Phase::Failed);
        let said = down && !status.message.is_empty();
        let message = clean(&status.message);
        said.then(|| Message::InstanceSays { instance: &view.instance, message: &message }.said())
    };
    let lines: Vec<String> = list.instances.iter().filter_map(trouble).collect();
    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
}

/// Says what an instance is expected to use on average, and what is added to that.
pub(crate) fn expected(expected: Option<&v1::Expected>) -> String {
    let Some(expected) = expected else { return String::new() };
    let (mean, margin) = (cores(expected.mean_millicores), cores(expected.margin_millicores));
    let (mean, margin) = (&mean, &margin);
    if expected.measured {
        Message::ExpectedAsMeasured { mean, margin }.said()
    } else {
        Message::ExpectedAsRequested { mean, margin }.said()
    }
}

/// Says what an instance counts of memory, and why; nothing where that is what it asks for anyhow.
pub(crate) fn counted(counted: Option<&v1::MemoryCounted>) -> String {
    let Some(counted) = counted.filter(|counted| counted.peak_mib > 0) else {
        return String::new();
    };
    let (request, promised) = (memory(counted.request_mib), memory(counted.promised_mib));
    let (peak, margin) = (memory(counted.peak_mib), counted.margin_permille);
    let margin = format!("{}.{}", margin / 10, margin % 10);
    let (request, promised, peak) = (&request, &promised, &peak);
    if counted.until_millis > 0 {
        let until = time(counted.until_millis);
        return Message::MemoryMissed { request, peak, until: &until }.said();
    }
    Message::MemoryCounts { promised, request, peak, margin: &margin }.said()
}

/// Makes the table of instances.
pub(crate) fn instance_table(session: &Session, list: &v1::ListInstancesResponse) -> String {
    let headings = session.headings(&[
        "INSTANCE", "WORKLOAD", "NODE", "PHASE", "RESTARTS", "CPU", "FORECAST", "MEMORY", "EXIT",
        "AGE", "MESSAGE",
    ]);
    let row = |i: &v1::InstanceView| {
        let status = i.status.clone().unwrap_or_default();
        vec![
            i.instance.to_string(),
            path(i.key.clone().unwrap_or_default()),
            if i.node.is_some() { i.node_name.clone() } else { "-".to_owned() },
            phase(i),
            status.incarnation.saturating_sub(1).to_string(),
            cores(i.cpu_used_millicores),
            cores(i.forecast_cpu_millicores),
            memory(i.memory_used_mib),
            exit(status.exit.as_ref()),
            age(list.at_millis, status.since_millis),
            shortened(&status.message),
        ]
    };
    table(&headings, &list.instances.iter().map(row).collect::<Vec<_>>())
}

/// Cuts a message so that a table stays readable; `describe` shows all of it.
fn shortened(message: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let short: String = message.chars().take(SHOWN_MAX).collect();
    if short.len() < message.len() { format!("{short}…") } else { short }
}

fn phase(view: &v1::InstanceView) -> String {
    let status = view.status.clone().unwrap_or_default();
    let phase = word(&wire_word(status.phase().as_str_name(), "PHASE_").replace('_', " "));
    if view.wanted { phase } else { Message::ItStops { phase: &phase }.said() }
}

/// Shows how a process ended.
pub(crate) fn exit(exit: Option<&v1::Exit>) -> String {
    use v1::exit::How;
    match exit.and_then(|e| e.how.as_ref()) {
        Some(How::Code(code)) => Message::ExitCode { code }.said(),
        Some(How::Signal(signal)) => Message::ExitSignal { signal }.said(),
        Some(How::OutOfMemory(_)) => Message::ExitOutOfMemory {}.said(),
        Some(How::NotStarted(_)) => Message::ExitNotStarted {}.said(),
        Some(How::Unknown(_)) => Message::ExitUnknown {}.said(),
        Some(How::Unhealthy(_)) => Message::ExitUnhealthy {}.said(),
        Some(How::PortTaken(port)) => Message::ExitPortTaken { port }.said(),
        None => "-".to_owned(),
    }
}

/// Names the ports of an instance with their numbers.
pub(crate) fn ports(view: &v1::InstanceView) -> String {
    let ports = view.ports.iter();
    let named = ports.map(|port| match port.number {
        0 => Message::PortNotChosen { name: &port.name }.said(),
        number => format!("{} {number}", port.name),
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Says what part of a whole there is.
pub(crate) fn of(part: &str, whole: &str) -> String {
    Message::PartOf { part: &part, whole: &whole }.said()
}

/// Says whether a department is the one asked for or below it.
pub(crate) fn within(department: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| {
        department.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Makes a word of the name of a wire value.
pub(crate) fn wire_word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_department_holds_itself_and_what_is_below() {
        assert!(within("city/finance", None));
        assert!(within("city/finance/treasury", Some("city/finance")));
        assert!(within("city/finance", Some("city/finance")));
        assert!(!within("city/finances", Some("city/finance")));
    }

    #[test]
    fn a_node_is_no_more_than_full_where_its_cores_run_several_threads() {
        let capacity = v1::Capacity { cpu_millicores: 5000, ..v1::Capacity::default() };
        let usage = v1::NodeUsage { cpu_millicores: 7000, ..v1::NodeUsage::default() };
        let shown = |cores| {
            let smt = Some(v1::Smt { cores, gain_permille: 250, ..v1::Smt::default() });
            let inventory = Some(v1::Inventory { smt, ..v1::Inventory::default() });
            let capacity = Some(capacity.clone());
            utilisation(&v1::NodeFacts { capacity, inventory, ..v1::NodeFacts::default() }, &usage)
        };
        assert_eq!((shown(4), shown(0)), ("100.0 %".to_owned(), "140.0 %".to_owned()));
    }

    #[test]
    fn wire_values_read_as_words() {
        assert_eq!(wire_word("PHASE_BACKING_OFF", "PHASE_"), "backing_off");
    }
}
