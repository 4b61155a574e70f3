//! `tengyun describe`: everything about one node, workload or instance.

use serde_json::json;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::get::{
    instance_json, instance_table, list_nodes, node_json, node_state, word, workload_json,
};
use crate::message::{Message, heard};
use crate::output::{clean, cores, joined, memory, show, time};
use crate::session::{Session, key_of, path};
use crate::text::{Language, label, width};

/// What `describe` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DescribeArgs {
    /// What kind of thing
    #[arg(value_enum)]
    what: What,
    /// Its name or number
    name: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Node,
    Workload,
    Instance,
}

/// Describes one thing.
pub(crate) async fn run(session: &Session, args: DescribeArgs) -> Result<(), Failure> {
    match args.what {
        What::Node => node(session, &args.name).await,
        What::Workload => workload(session, &args.name).await,
        What::Instance => instance(session, &args.name).await,
    }
}

async fn node(session: &Session, name: &str) -> Result<(), Failure> {
    let list = list_nodes(session).await?;
    let named = |n: &v1::NodeView| {
        n.node.to_string() == name || n.facts.as_ref().is_some_and(|f| f.name == name)
    };
    let Some(node) = list.nodes.into_iter().find(named) else {
        return Err(Failure::refused(&Message::NoNode { name: &name }, &Message::SeeNodes {}));
    };
    show(session.format, || node_text(&node), &node_json(&node))
}

fn node_text(node: &v1::NodeView) -> String {
    let facts = node.facts.clone().unwrap_or_default();
    let mut fields = vec![
        ("name", facts.name),
        ("id", node.node.to_string()),
        ("state", node_state(node)),
        ("lost since", if node.lost_millis > 0 { time(node.lost_millis) } else { String::new() }),
        ("last seen", time(node.seen_millis)),
    ];
    fields.extend(inventory_fields(&facts.inventory.unwrap_or_default()));
    fields.extend(use_fields(node, &facts.capacity.unwrap_or_default()));
    let labels: Vec<String> = facts.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    fields.push(("labels", labels.join(", ")));
    fields.extend(facts.enforcement.iter().map(|held| ("control", enforcement(held))));
    lines(&fields)
}

/// What the server is made of.
fn inventory_fields(inventory: &v1::Inventory) -> Vec<(&'static str, String)> {
    let yes = |there: bool| if there { "yes" } else { "no" }.to_owned();
    let processor = format!(
        "{}: {} socket(s), {} core(s), {} thread(s), {} NUMA node(s)",
        inventory.cpu_model,
        inventory.sockets,
        inventory.cores,
        inventory.threads,
        inventory.numa_nodes
    );
    let disk = |d: &v1::Disk| {
        let (free, total) = (memory(d.free_mib), memory(d.total_mib));
        ("disk", format!("{} on {}: {free} free of {total}", d.device, d.mount))
    };
    let mut fields = vec![
        ("machine id", inventory.machine_id.clone()),
        ("kernel", format!("{} {}", inventory.kernel, inventory.architecture)),
        ("processor", processor),
        ("memory", memory(inventory.memory_mib)),
        ("control groups", word(inventory.cgroup().as_str_name(), "CGROUP_VERSION_")),
        ("pressure (PSI)", yes(inventory.psi)),
        ("agent is root", yes(inventory.root)),
    ];
    fields.extend(inventory.disks.iter().map(disk));
    fields
}

/// What of it may be promised, is promised and is used.
fn use_fields(node: &v1::NodeView, capacity: &v1::Capacity) -> Vec<(&'static str, String)> {
    let usage = node.usage.clone().unwrap_or_default();
    let both = |cpu: u64, mib: u64| format!("{}, {}", cores(cpu), memory(mib));
    let capacity = format!(
        "{}, {} memory, {} disk, {} processes",
        cores(capacity.cpu_millicores),
        memory(capacity.memory_mib),
        memory(capacity.disk_mib),
        capacity.pids
    );
    vec![
        ("capacity", capacity),
        ("used", both(usage.cpu_millicores, usage.memory_mib)),
        ("foreign", both(usage.cpu_foreign_millicores, usage.memory_foreign_mib)),
        ("forecast peak", cores(node.forecast_cpu_millicores)),
        ("reserved", both(node.reserved_cpu_millicores, node.reserved_memory_mib)),
        ("harvest may use", cores(usage.harvest_allowance_millicores)),
        ("binding resource", node.binding.clone()),
        (
            "assignment",
            format!("generation {}, applied {}", node.generation, node.applied_generation),
        ),
    ]
}

/// Says how well one control holds.
pub(crate) fn enforcement(held: &v1::Enforcement) -> String {
    let word = |name: &str, prefix: &str| {
        name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', "-")
    };
    let control = word(held.control().as_str_name(), "CONTROL_");
    let level = word(held.level().as_str_name(), "ENFORCEMENT_LEVEL_").replace('-', " ");
    let reason = if held.reason.is_empty() { String::new() } else { format!(" ({})", held.reason) };
    format!("{control}: {level}{reason}")
}

async fn workload(session: &Session, name: &str) -> Result<(), Failure> {
    let view = session.workload(name).await?;
    let key = key_of(view.spec.as_ref());
    let list = session.instances(Some(key)).await?;
    let text = || {
        let head = workload_text(&view);
        format!("{head}\n{}", instance_table(session, &list))
    };
    let mut json = workload_json(&view);
    json["instance_list"] = json!(list.instances.iter().map(instance_json).collect::<Vec<_>>());
    show(session.format, text, &json)
}

fn workload_text(view: &v1::WorkloadView) -> String {
    let spec = view.spec.clone().unwrap_or_default();
    let resources = spec.resources.unwrap_or_default();
    let next = view.next_run_millis;
    let next = if next == 0 { String::new() } else { time(next) };
    let limit = resources.cpu_limit_millicores.map_or_else(|| "none".to_owned(), cores);
    lines(&[
        ("workload", path(key_of(view.spec.as_ref()))),
        ("kind", word(spec.kind().as_str_name(), "KIND_")),
        ("class", word(spec.class().as_str_name(), "CLASS_")),
        ("wish", view.wish.clone()),
        ("revision", view.revision.to_string()),
        ("applied", time(view.applied_millis)),
        ("rollout", heard(view.rollout_said.as_ref(), &view.rollout)),
        ("next run", next),
        (
            "instances",
            format!(
                "{} wanted, {} waiting, {} running, {} healthy",
                spec.instances, view.waiting, view.running, view.healthy
            ),
        ),
        ("command", spec.command.join(" ")),
        (
            "requests",
            format!(
                "{} (limit {limit}), {} memory, {} disk, {} processes",
                cores(resources.cpu_millicores),
                memory(resources.memory_mib),
                memory(resources.disk_mib),
                resources.pids
            ),
        ),
        ("uses", format!("{}, {}", cores(view.cpu_used_millicores), memory(view.memory_used_mib))),
        ("health check", spec.health.as_ref().map(health).unwrap_or_default()),
        ("volumes", spec.volumes.iter().map(volume).collect::<Vec<_>>().join(", ")),
    ])
}

/// Says what a health check asks, and how often.
fn health(check: &v1::HealthCheck) -> String {
    use v1::health_check::Probe;
    let asks = match &check.probe {
        Some(Probe::Http(http)) => format!("{} of port {}", http.path, http.port),
        Some(Probe::Tcp(tcp)) => format!("a connection to port {}", tcp.port),
        Some(Probe::Command(command)) => command.command.join(" "),
        None => String::new(),
    };
    let then = match check.on_unhealthy() {
        v1::OnUnhealthy::Report => "is told",
        v1::OnUnhealthy::Unspecified | v1::OnUnhealthy::Restart => "starts again",
    };
    format!(
        "{asks}, every {} ms, at most {} ms; healthy after {}, {then} after {} failures",
        check.interval_millis, check.timeout_millis, check.passes, check.failures
    )
}

fn volume(volume: &v1::VolumeSpec) -> String {
    format!("{} at {} ({})", volume.name, volume.path, memory(volume.size_mib))
}

async fn instance(session: &Session, name: &str) -> Result<(), Failure> {
    let list = session.instances(None).await?;
    let named = |i: &v1::InstanceView| i.instance.to_string() == name;
    let Some(view) = list.instances.into_iter().find(named) else {
        let what = Message::NoInstance { name: &name };
        return Err(Failure::refused(&what, &Message::SeeInstances {}));
    };
    show(session.format, || instance_text(&view), &instance_json(&view))
}

fn instance_text(view: &v1::InstanceView) -> String {
    let status = view.status.clone().unwrap_or_default();
    let dash = || "-".to_owned();
    lines(&[
        ("instance", view.instance.to_string()),
        ("workload", path(view.key.clone().unwrap_or_default())),
        ("copy", format!("{} of revision {}", view.ordinal, view.revision)),
        ("node", view.node.map_or_else(dash, |_| view.node_name.clone())),
        ("phase", word(status.phase().as_str_name(), "PHASE_")),
        ("since", time(status.since_millis)),
        ("starts", status.incarnation.to_string()),
        ("process", status.pid.map_or_else(dash, |p| p.to_string())),
        ("last exit", crate::get::exit(status.exit.as_ref())),
        ("message", status.message),
        ("replaces", view.replaces.map_or_else(dash, |r| format!("instance {r}"))),
        ("uses", format!("{}, {}", cores(view.cpu_used_millicores), memory(view.memory_used_mib))),
        ("forecast", crate::get::expected(view.expected.as_ref())),
        ("forecast peak", cores(view.forecast_cpu_millicores)),
        ("why here", heard(view.reason_said.as_ref(), &view.reason)),
        ("ports", crate::get::ports(view)),
    ])
}

/// Makes aligned lines of fields, with labels in the language of the locale; empty ones are left out.
pub(crate) fn lines(fields: &[(&str, String)]) -> String {
    let language = Language::of_locale();
    let widest = fields.iter().map(|(name, _)| width(label(language, name))).max().unwrap_or(0);
    let filled = fields.iter().filter(|(_, value)| !value.is_empty());
    let line = |(name, value): &(&str, String)| {
        let name = label(language, name);
        let gap = " ".repeat(widest - width(name));
        format!("{name}{gap}  {}", clean(value))
    };
    joined(filled.map(line))
}
