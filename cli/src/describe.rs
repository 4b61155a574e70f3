//! `tengyun describe`: everything about one node, workload or instance.

use serde_json::json;
use tengyun_model::Permille;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::get::{
    instance_json, instance_table, list_nodes, node_json, node_state, wire_word, workload_json,
};
use crate::message::{Message, heard, reason, word};
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
    let yes = |there: bool| word(if there { "yes" } else { "no" });
    let processor = Message::Processor {
        model: &inventory.cpu_model,
        sockets: &inventory.sockets,
        cores: &inventory.cores,
        threads: &inventory.threads,
        numa: &inventory.numa_nodes,
    };
    let disk = |d: &v1::Disk| {
        let (free, total) = (memory(d.free_mib), memory(d.total_mib));
        let (device, mount) = (&d.device, &d.mount);
        ("disk", Message::DiskOn { device, mount, free: &free, total: &total }.said())
    };
    let mut fields = vec![
        ("machine id", inventory.machine_id.clone()),
        ("kernel", format!("{} {}", inventory.kernel, inventory.architecture)),
        ("processor", processor.said()),
        ("SMT", smt(&inventory.smt.unwrap_or_default())),
        ("memory", memory(inventory.memory_mib)),
        ("control groups", word(&wire_word(inventory.cgroup().as_str_name(), "CGROUP_VERSION_"))),
        ("pressure (PSI)", yes(inventory.psi)),
        ("agent is root", yes(inventory.root)),
    ];
    fields.extend(inventory.disks.iter().map(disk));
    fields
}

/// Says what the further threads of cores add; nothing of an agent that does not say.
fn smt(smt: &v1::Smt) -> String {
    let source = smt.source();
    if matches!(source, v1::SmtSource::Unspecified) {
        return String::new();
    }
    if smt.cores == 0 {
        return Message::SmtSingle {}.said();
    }
    let gain = Permille::new(smt.gain_permille);
    let source = word(&wire_word(source.as_str_name(), "SMT_SOURCE_"));
    Message::SmtGain { cores: &smt.cores, gain: &gain, source: &source }.said()
}

/// Says how busy something of a node was, and whether it gets nothing new for that.
fn busy(node: &v1::NodeView, (what, share): (&str, Option<u32>)) -> String {
    let Some(share) = share.map(Permille::new) else { return Message::NotMeasured {}.said() };
    if node.occupied == what {
        return Message::BusyClosed { share: &share }.said();
    }
    share.to_string()
}

/// What of it may be promised, is promised and is used.
fn use_fields(node: &v1::NodeView, capacity: &v1::Capacity) -> Vec<(&'static str, String)> {
    let usage = node.usage.clone().unwrap_or_default();
    let capacity = Message::CapacityIs {
        cpu: &cores(capacity.cpu_millicores),
        memory: &memory(capacity.memory_mib),
        disk: &memory(capacity.disk_mib),
        pids: &capacity.pids,
    }
    .said();
    vec![
        ("capacity", capacity),
        ("used", both(usage.cpu_millicores, usage.memory_mib)),
        ("foreign", both(usage.cpu_foreign_millicores, usage.memory_foreign_mib)),
        ("forecast peak", node_forecast(node)),
        ("forecast so far", crate::get::accuracy(node.accuracy.as_ref())),
        ("reserved", both(node.reserved_cpu_millicores, node.reserved_memory_mib)),
        ("memory promised", memory(node.promised_memory_mib)),
        ("harvest may use", cores(usage.harvest_allowance_millicores)),
        ("disk busy", busy(node, ("disk", node.disk_busy_permille))),
        ("network busy", busy(node, ("network", node.network_busy_permille))),
        ("network", usage.network_bytes_per_second.map(rate).unwrap_or_default()),
        ("binding resource", word(&node.binding)),
        (
            "assignment",
            Message::Generation { made: &node.generation, applied: &node.applied_generation }
                .said(),
        ),
    ]
}

/// Shows a rate of bytes.
fn rate(bytes: u64) -> String {
    format!("{}.{:02} MB/s", bytes / 1_000_000, bytes / 10_000 % 100)
}

/// Shows an amount of CPU and one of memory.
fn both(cpu: u64, mib: u64) -> String {
    Message::Both { one: &cores(cpu), other: &memory(mib) }.said()
}

/// Says how well one control holds.
pub(crate) fn enforcement(held: &v1::Enforcement) -> String {
    let control = wire_word(held.control().as_str_name(), "CONTROL_").replace('_', "-");
    let level = wire_word(held.level().as_str_name(), "ENFORCEMENT_LEVEL_").replace('_', " ");
    let (control, level) = (word(&control), word(&level));
    if held.reason.is_empty() {
        return Message::ControlIs { control: &control, level: &level }.said();
    }
    let reason = reason(&held.reason);
    Message::ControlIsAs { control: &control, level: &level, reason: &reason }.said()
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
    let limit = resources.cpu_limit_millicores.map_or_else(|| word("none"), cores);
    let instances = Message::InstancesAre {
        wanted: &spec.instances,
        waiting: &view.waiting,
        running: &view.running,
        healthy: &view.healthy,
    };
    let requests = Message::RequestsAre {
        cpu: &cores(resources.cpu_millicores),
        limit: &limit,
        memory: &memory(resources.memory_mib),
        disk: &memory(resources.disk_mib),
        pids: &resources.pids,
    };
    lines(&[
        ("workload", path(key_of(view.spec.as_ref()))),
        ("kind", word(&wire_word(spec.kind().as_str_name(), "KIND_"))),
        ("class", word(&wire_word(spec.class().as_str_name(), "CLASS_"))),
        ("wish", word(&view.wish)),
        ("revision", view.revision.to_string()),
        ("applied", time(view.applied_millis)),
        ("rollout", heard(view.rollout_said.as_ref(), &view.rollout)),
        ("next run", next),
        ("instances", instances.said()),
        ("command", spec.command.join(" ")),
        ("requests", requests.said()),
        ("uses", both(view.cpu_used_millicores, view.memory_used_mib)),
        ("forecast", workload_forecast(view)),
        ("forecast so far", crate::get::accuracy(view.accuracy.as_ref())),
        ("health check", spec.health.as_ref().map(health).unwrap_or_default()),
        ("volumes", spec.volumes.iter().map(volume).collect::<Vec<_>>().join(", ")),
    ])
}

/// Says what a node is foreseen to use at most, and what it may be filled to.
fn node_forecast(node: &v1::NodeView) -> String {
    let (peak, margin) = (cores(node.forecast_cpu_millicores), cores(node.margin_cpu_millicores));
    let ceiling = cores(node.ceiling_cpu_millicores);
    Message::NodeForecast { peak: &peak, margin: &margin, ceiling: &ceiling }.said()
}

/// Says what the instances of a workload are expected to use on average, and what is added to that.
fn workload_forecast(view: &v1::WorkloadView) -> String {
    let (mean, margin) = (cores(view.mean_cpu_millicores), cores(view.margin_cpu_millicores));
    Message::WorkloadForecast { mean: &mean, margin: &margin }.said()
}

/// Says what a health check asks, and how often.
fn health(check: &v1::HealthCheck) -> String {
    use v1::health_check::Probe;
    let asks = match &check.probe {
        Some(Probe::Http(http)) => Message::AsksHttp { path: &http.path, port: &http.port }.said(),
        Some(Probe::Tcp(tcp)) => Message::AsksTcp { port: &tcp.port }.said(),
        Some(Probe::Command(command)) => command.command.join(" "),
        None => String::new(),
    };
    let then = match check.on_unhealthy() {
        v1::OnUnhealthy::Report => Message::ThenTold {},
        v1::OnUnhealthy::Unspecified | v1::OnUnhealthy::Restart => Message::ThenAgain {},
    };
    Message::HealthIs {
        asks: &asks,
        interval: &check.interval_millis,
        timeout: &check.timeout_millis,
        passes: &check.passes,
        then: &then.said(),
        failures: &check.failures,
    }
    .said()
}

fn volume(volume: &v1::VolumeSpec) -> String {
    let size = memory(volume.size_mib);
    Message::VolumeAt { name: &volume.name, path: &volume.path, size: &size }.said()
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
    let replaced = |other: u64| Message::InstanceNumber { instance: &other }.said();
    lines(&[
        ("instance", view.instance.to_string()),
        ("workload", path(view.key.clone().unwrap_or_default())),
        ("copy", Message::CopyIs { copy: &view.ordinal, revision: &view.revision }.said()),
        ("node", view.node.map_or_else(dash, |_| view.node_name.clone())),
        ("phase", word(&wire_word(status.phase().as_str_name(), "PHASE_"))),
        ("since", time(status.since_millis)),
        ("starts", status.incarnation.to_string()),
        ("process", status.pid.map_or_else(dash, |p| p.to_string())),
        ("last exit", crate::get::exit(status.exit.as_ref())),
        ("message", status.message),
        ("replaces", view.replaces.map_or_else(dash, replaced)),
        ("uses", both(view.cpu_used_millicores, view.memory_used_mib)),
        ("disk traffic", view.io_bytes_per_second.map(rate).unwrap_or_default()),
        ("forecast", crate::get::expected(view.expected.as_ref())),
        ("forecast peak", cores(view.forecast_cpu_millicores)),
        ("forecast so far", crate::get::accuracy(view.accuracy.as_ref())),
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
