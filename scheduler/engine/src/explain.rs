//! Explanations: why an instance is where it is, why not elsewhere, and what would help.
//!
//! They ask the same questions as placement and show the numbers of the answers.

mod leaving;
mod waiting;

use tengyun_model::{
    At, Exit, InstanceId, Millicores, MovePolicy, NodeId, NodeName, Phase, WorkloadKey,
};

use crate::command::Refusal;
use crate::event::stop_words;
use crate::image::{InstanceImage, InstanceWish, NodeImage, NodeWish};
use crate::liveness;
use crate::place::drain::{Leave, leave};
use crate::place::problem::{Guest, Problem};
use crate::predict::{Forecast, InstanceForecast};
use crate::state::State;

pub use leaving::{Leaving, elsewhere, leaving, wished};

/// Why an instance is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The instance.
    pub instance: InstanceId,
    /// Its workload.
    pub key: WorkloadKey,
    /// What became of it, in one sentence.
    pub summary: String,
    /// What it is expected to use.
    pub expected: InstanceForecast,
    /// What is added to its mean where it is; three deviations while it is nowhere.
    pub margin: Millicores,
    /// What each node says of it, by ascending id.
    pub nodes: Vec<NodeVerdict>,
    /// The nearest change that would help; empty when nothing needs to.
    pub remedy: String,
}

/// What one node says of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVerdict {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Why it cannot take one; `None` when it can.
    pub refusal: Option<Refusal>,
    /// How full it would be, in thousandths of its CPU: the fullest below the target is chosen.
    pub score: i64,
    /// What its CPU is foreseen to be used at most, with the instance there.
    pub peak: Millicores,
    /// Of that, what is above the mean.
    pub margin: Millicores,
    /// What it may be filled to by one of this class.
    pub bound: Millicores,
}

/// Explains an instance; `None` when there is no such instance.
pub fn explain(state: &State, forecast: &Forecast, id: InstanceId, now: At) -> Option<Explanation> {
    let instance = state.instance(id)?;
    let problem = Problem::new(state, forecast, now);
    let placed = instance.node.is_some();
    let guest = problem.guest(instance, placed);
    let nodes: Vec<NodeVerdict> =
        (0..problem.seats.len()).map(|at| verdict(&problem, at, instance, &guest)).collect();
    let waits = !placed && instance.wish == InstanceWish::Run;
    let remedy = match condition_remedy(state, instance) {
        Some(remedy) => remedy,
        None if waits => remedy(&problem, &nodes),
        None => String::new(),
    };
    let summary = summary(&problem, instance, &nodes);
    Some(Explanation {
        instance: id,
        key: state.spec(instance).key.clone(),
        summary,
        expected: forecast.instance(id),
        margin: forecast.margin(id, instance.node),
        nodes,
        remedy,
    })
}

fn verdict(
    problem: &Problem<'_>,
    at: usize,
    instance: &InstanceImage,
    guest: &Guest<'_>,
) -> NodeVerdict {
    let seat = &problem.seats[at];
    let here = instance.node == Some(seat.node.id);
    let band = problem.state.policy().band();
    let harvest = guest.spec.class == tengyun_model::Class::Harvest;
    let line = if harvest { band.target } else { band.ceiling };
    let refusal = if here {
        None
    } else if harvest && !problem.takes_harvest(seat) {
        Some(Refusal::Stale("its use by others, beside whom harvest runs,"))
    } else {
        problem.fits(at, guest, line).err()
    };
    let filled = if here { seat.peak() } else { seat.peak_with(guest.spec, guest.expected) };
    let score = i64::from(filled.share_of(seat.node.facts.capacity.cpu).get());
    let load = seat.crew.load;
    let load = if here || harvest { load } else { load.with(guest.expected) };
    NodeVerdict {
        node: seat.node.id,
        name: seat.node.facts.name.clone(),
        refusal,
        score,
        peak: filled,
        margin: load.peak().saturating_sub(load.mean()),
        bound: seat.line(line),
    }
}

fn summary(problem: &Problem<'_>, instance: &InstanceImage, nodes: &[NodeVerdict]) -> String {
    let state = problem.state;
    let expected = problem.forecast.instance(instance.status.instance);
    let basis = if expected.measured { "measured" } else { "requested" };
    let Some(node) = instance.node.and_then(|id| state.node(id)) else {
        if let Some(words) = waiting::waiting(problem, instance) {
            return words;
        }
        if nodes.is_empty() {
            return "waits: no node has joined".to_owned();
        }
        if let Some(home) = home(problem, instance) {
            let verdict = nodes.iter().find(|n| n.node == home);
            let refusal = verdict.and_then(|n| n.refusal.as_ref()).map(ToString::to_string);
            let name = verdict.map(|n| n.name.to_string()).unwrap_or_default();
            let why = refusal.unwrap_or_else(|| "it starts soon".to_owned());
            return format!("waits for {name}, where its volumes are: {why}");
        }
        let refused = nodes.iter().filter(|n| n.refusal.is_some()).count();
        return if refused == nodes.len() {
            format!("waits: none of {refused} nodes can take it")
        } else {
            format!("waits: {} of {} nodes can take it soon", nodes.len() - refused, nodes.len())
        };
    };
    let name = &node.facts.name;
    let uses = format!("expected to use at most {} ({basis})", expected.peak);
    match instance.wish {
        InstanceWish::Stop(reason) => format!("stops on {name}: {}", stop_words(reason)),
        InstanceWish::Run => {
            match (instance.replaces, state.replacement_of(instance.status.instance)) {
                (Some(old), _) => format!("starts on {name} to replace instance {old}, {uses}"),
                (None, Some(new)) => {
                    format!("runs on {name} until instance {new} is healthy elsewhere, {uses}")
                }
                (None, None) => alone(problem, instance, node, &uses),
            }
        }
    }
}

/// Returns the node where the volumes of an instance are.
fn home(problem: &Problem<'_>, instance: &InstanceImage) -> Option<NodeId> {
    let state = problem.state;
    state.volume_need(instance, state.spec(instance)).and_then(|need| need.home)
}

/// Says what an instance does that neither replaces another nor is being replaced.
fn alone(problem: &Problem<'_>, instance: &InstanceImage, node: &NodeImage, uses: &str) -> String {
    let (state, name, status) = (problem.state, &node.facts.name, &instance.status);
    if node.loss.is_some() {
        return if state.may_leave_lost(instance) {
            format!("was on {name}, which is lost, and is about to start elsewhere")
        } else {
            format!("waits for {name}, which is lost: it may still run there (on_lost: wait)")
        };
    }
    let silence = liveness::silence(state, node.id, problem.now);
    if silence >= state.policy().suspect_after() {
        let secs = silence.get() / 1000;
        return format!("is on {name}, which was not heard for {secs} s");
    }
    let leaves = match leave(problem, instance) {
        Leave::Stay if node.wish.is_drain() => "; the node is drained, but it must not move",
        Leave::Keep if node.wish.is_drain() => "; the node is drained, but its volumes are here",
        Leave::Window if node.wish.is_drain() => "; the node is drained, it waits for its window",
        _ if node.wish.is_drain() => "; it leaves, the node is drained",
        _ => "",
    };
    let over = matches!(status.phase, Phase::BackingOff | Phase::Failed);
    if over && status.exit == Some(Exit::NotStarted) && !status.message.is_empty() {
        let again = if status.phase.is_final() { "" } else { "; it is tried again" };
        return format!("cannot be started on {name}: {}{again}{leaves}", status.message);
    }
    if status.phase == Phase::BackingOff {
        let exit = status.exit.map_or_else(|| "ended".to_owned(), |exit| exit.to_string());
        let starts = status.incarnation;
        return format!("crashes on {name}: {exit} at start {starts}, and starts again{leaves}");
    }
    let why =
        if status.message.is_empty() { String::new() } else { format!(" ({})", status.message) };
    let old = waiting::renewal(problem, instance);
    format!("is {}{why} on {name}, {uses}{leaves}{old}", status.phase)
}

/// Says what an operator can do for an instance that neither a node nor a change of it would help.
fn condition_remedy(state: &State, instance: &InstanceImage) -> Option<String> {
    if instance.wish != InstanceWish::Run {
        return None;
    }
    let workload = state.workload(instance.workload)?;
    if workload.is_held() && (instance.node.is_none() || state.is_on_lost(instance)) {
        let key = &state.spec(instance).key;
        return Some(format!("mend it, then `tengyun release {key}`"));
    }
    let node = instance.node.and_then(|id| state.node(id))?;
    let name = &node.facts.name;
    if node.loss.is_some() && !state.may_leave_lost(instance) {
        return Some(format!(
            "bring {name} back, or, if it is off, `tengyun acknowledge-loss {name} --dead`"
        ));
    }
    if node.wish.is_drain() && !state.spec(instance).volumes.is_empty() {
        let key = &state.spec(instance).key;
        return Some(format!("`tengyun stop {key}`: it starts again where its volumes are"));
    }
    let stays = state.spec(instance).move_policy == MovePolicy::Never
        && state.spec(instance).kind != tengyun_model::Kind::PerNode;
    let insists = node.wish == NodeWish::Drain && stays;
    insists.then(|| format!("`tengyun drain {name} --force` stops it before it starts elsewhere"))
}

/// Names the node that is nearest to taking the instance and what it lacks.
fn remedy(problem: &Problem<'_>, nodes: &[NodeVerdict]) -> String {
    if nodes.is_empty() {
        return "start an agent: `tengyun up`, or `tengyun-agent` on a server".to_owned();
    }
    let nearest = nodes
        .iter()
        .filter_map(|n| n.refusal.as_ref().map(|r| (distance(r), n.node, &n.name, r)))
        .min_by_key(|(distance, node, ..)| (*distance, *node));
    nearest.map_or_else(String::new, |(_, node, name, refusal)| {
        let foreign = problem.seats[problem.seat_of(node)].foreign;
        advice(name, refusal, foreign)
    })
}

/// Orders refusals by how small the change is that would lift them.
fn distance(refusal: &Refusal) -> (u32, u64) {
    match refusal {
        Refusal::NoCpu { wanted, left } => (0, wanted.saturating_sub(*left).get()),
        Refusal::NoMemory { wanted, left } | Refusal::NoDisk { wanted, left } => {
            (1, wanted.saturating_sub(*left).get())
        }
        Refusal::NoPids { wanted, left } | Refusal::NoCounter { wanted, left, .. } => {
            (1, wanted.saturating_sub(*left))
        }
        Refusal::PortTaken(_) | Refusal::NoPort { .. } => (2, 0),
        // Whatever keeps it from there, it is the only one that would do.
        Refusal::VolumesElsewhere(_) => (9, 0),
        Refusal::Spread(_) | Refusal::AntiAffinity(_) | Refusal::NoLabel { .. } => (3, 0),
        Refusal::NotOpen(_) => (4, 0),
        _ => (5, 0),
    }
}

fn advice(name: &NodeName, refusal: &Refusal, foreign: Millicores) -> String {
    match refusal {
        Refusal::NoCpu { left, .. } if left.is_zero() && !foreign.is_zero() => format!(
            "end what is not of this cloud on {name}, it uses up to {foreign}, or add a node"
        ),
        Refusal::NoCpu { left, .. } if left.is_zero() => "add a node".to_owned(),
        Refusal::NoCpu { left, .. } => {
            format!("lower resources.cpu to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoMemory { left, .. } => {
            format!("lower resources.memory to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoDisk { left, .. } => {
            format!("lower resources.disk to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoPids { left, .. } => {
            format!("lower resources.pids to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoCounter { name: counter, left, .. } => {
            format!("ask for at most {left} of counter {counter} to fit on {name}")
        }
        Refusal::PortTaken(port) => format!("choose another port than {port}, or add a node"),
        Refusal::NoPort { .. } => "widen port_first to port_last, or add a node".to_owned(),
        Refusal::NoLabel { name: label, value } => {
            format!("drop the constraint {label}={value}, or add a node that has it")
        }
        Refusal::AntiAffinity(key) => format!("drop the anti-affinity to {key}, or add a node"),
        Refusal::Spread(label) => format!("add a node with another value of {label}"),
        Refusal::NodeAway => format!("start the agent of {name} again"),
        Refusal::NodeLost => format!("bring {name} back, or add a node"),
        Refusal::NotOpen(_) => format!("`tengyun uncordon {name}`, or add a node"),
        other => format!("{name}: {other}"),
    }
}
