//! Metrics of the agent: what it knows of its node, as of its last look.
//!
//! The agent's own task writes the figures and goes on; another one tells them to whoever asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tengyun_daemon::metrics::{Exposition, Kind, Socket, Value, process};
use tengyun_model::{At, Mebibytes, Millicores, NodeIo, Permille, Smt};
use tengyun_proto::identity::Identity;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;

/// What the agent knows of its node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Whether the scheduler has greeted this stream.
    pub(crate) attached: bool,
    /// When it greeted last.
    pub(crate) attached_at: Option<At>,
    /// The reign and the version of the assignment held.
    pub(crate) epoch: u64,
    pub(crate) generation: u64,
    /// Assignments that were not taken.
    pub(crate) refused: u64,
    /// Starts of instances, and those of them that were not the first.
    pub(crate) starts: u64,
    pub(crate) restarts: u64,
    /// When a report was made last, and how many were.
    pub(crate) reported: Option<At>,
    pub(crate) reports: u64,
    /// Instances by phase.
    pub(crate) instances: BTreeMap<&'static str, u64>,
    /// Meter records that the scheduler has not said to be durable.
    pub(crate) unacknowledged: usize,
    pub(crate) cpu: [(&'static str, Millicores); 3],
    pub(crate) memory: [(&'static str, Mebibytes); 2],
    pub(crate) io: NodeIo,
    pub(crate) smt: Smt,
}

/// The task that tells the figures.
#[derive(Debug)]
pub(crate) struct Teller {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Teller {
    /// Begins to tell.
    pub(crate) fn start(
        socket: Socket,
        figures: watch::Receiver<Figures>,
        identity: Option<PathBuf>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let render = move || {
            let text = text(&figures.borrow(), identity.as_deref());
            async move { Some(text) }
        };
        let stopped = async move { drop(stopped.await) };
        Self { stop, task: tokio::spawn(async move { socket.serve(render, stopped).await }) }
    }

    /// Ends and waits for the end.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // The task was told to end; that it says so is no news.
        drop(self.task.await);
    }
}

fn text(figures: &Figures, identity: Option<&Path>) -> String {
    let now = Clock::start().now();
    let mut text = Exposition::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.family(Kind::Info, "tengyun_agent", "", "The agent's version.").sample(&version, true);
    link(&mut text, figures, now);
    node(&mut text, figures);
    devices(&mut text, figures);
    if let Some(identity) = identity.and_then(|path| Identity::load(path).ok()) {
        let left = Value::Thousandths(identity.certificate.until.since(now).get());
        let help = "Time until the node's certificate ends.";
        let name = ("tengyun_agent_certificate_expiry_seconds", "seconds");
        text.one(Kind::Gauge, name, help, left);
    }
    process(&mut text);
    text.finish()
}

fn link(text: &mut Exposition, figures: &Figures, now: At) {
    let age = |at: At| Value::Thousandths(now.since(at).get());
    let help = "Whether the stream to the scheduler is open.";
    text.one(Kind::Gauge, ("tengyun_agent_attached", ""), help, figures.attached);
    if let Some(at) = figures.attached_at {
        let help = "Time since the scheduler greeted last.";
        let name = ("tengyun_agent_attached_age_seconds", "seconds");
        text.one(Kind::Gauge, name, help, age(at));
    }
    let help = "Reports made since the agent started.";
    text.one(Kind::Counter, ("tengyun_agent_reports", ""), help, figures.reports);
    if let Some(at) = figures.reported {
        let help = "Time since the last report was made.";
        text.one(Kind::Gauge, ("tengyun_agent_report_age_seconds", "seconds"), help, age(at));
    }
    let help = "The reign of the assignment held.";
    text.one(Kind::Gauge, ("tengyun_agent_epoch", ""), help, figures.epoch);
    let help = "The version of the assignment held.";
    text.one(Kind::Gauge, ("tengyun_agent_generation", ""), help, figures.generation);
    let help = "Assignments refused because they were older or could not be kept.";
    text.one(Kind::Counter, ("tengyun_agent_assignments_refused", ""), help, figures.refused);
    let help = "Meter records that are not known to be durable at the scheduler.";
    text.one(Kind::Gauge, ("tengyun_agent_meters_pending", ""), help, figures.unacknowledged);
}

fn node(text: &mut Exposition, figures: &Figures) {
    let help = "Instances on this node by phase.";
    let mut phases = text.family(Kind::Gauge, "tengyun_agent_instances", "", help);
    for (phase, count) in &figures.instances {
        phases.sample(&[("phase", phase)], *count);
    }
    let help = "Starts of instances since the agent started.";
    text.one(Kind::Counter, ("tengyun_agent_starts", ""), help, figures.starts);
    let help = "Starts of instances that had run before.";
    text.one(Kind::Counter, ("tengyun_agent_restarts", ""), help, figures.restarts);
    let help = "CPU of the node: used, by others than us, and what harvest may use.";
    let mut cpu = text.family(Kind::Gauge, "tengyun_agent_cpu_cores", "cores", help);
    for (of, amount) in figures.cpu.iter().filter(|(of, _)| !of.is_empty()) {
        cpu.sample(&[("of", of)], Value::Thousandths(amount.get()));
    }
    let help = "Memory of the node: used, and by others than us.";
    let mut memory = text.family(Kind::Gauge, "tengyun_agent_memory_bytes", "bytes", help);
    for (of, amount) in figures.memory.iter().filter(|(of, _)| !of.is_empty()) {
        memory.sample(&[("of", of)], amount.get().saturating_mul(1024 * 1024));
    }
}

/// What was measured of disks, links and further threads; what was not is left out.
fn devices(text: &mut Exposition, figures: &Figures) {
    let NodeIo { disk_busy, network_busy, network_bytes } = figures.io;
    let ratio = |share: Permille| Value::Thousandths(u64::from(share.get()));
    if let Some(share) = disk_busy {
        let help = "Share of the time in which the busiest disk had something to do.";
        let name = ("tengyun_agent_disk_busy_ratio", "ratio");
        text.one(Kind::Gauge, name, help, ratio(share));
    }
    if let Some(share) = network_busy {
        let help = "The fullest direction of the fullest link.";
        let name = ("tengyun_agent_network_busy_ratio", "ratio");
        text.one(Kind::Gauge, name, help, ratio(share));
    }
    if let Some(bytes) = network_bytes {
        let help = "Bytes a second received and sent over all links.";
        text.one(Kind::Gauge, ("tengyun_agent_network_rate_bytes", "bytes"), help, bytes);
    }
    if figures.smt.cores > 0 {
        let help = "What the further threads of a core add to it, and where that is known from.";
        let mut gain = text.family(Kind::Gauge, "tengyun_agent_smt_gain_ratio", "ratio", help);
        gain.sample(&[("source", figures.smt.source.as_str())], ratio(figures.smt.gain));
    }
}
