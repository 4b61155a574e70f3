//! Liveness: who is silent, and who of the silent counts as lost.
//!
//! One silent server is broken; many at once are behind a broken network, and then nothing is declared
//! lost until an operator says so (Borg and Kubernetes slow down in the same way). Silence is counted
//! only while the scheduler itself listened. When such a hold ends because nodes return, the others have
//! their time to return too. What is decided here is journaled before it counts.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{At, Millis, NodeId};

use crate::command::Command;
use crate::image::{NodeImage, Proof};
use crate::state::State;

/// For how long a node that was declared lost counts as one of those that fell silent together.
const TOGETHER: Millis = Millis::from_secs(300);
/// The labels that name what fails together.
const DOMAINS: [&str; 2] = ["rack", "zone"];
/// The most nodes of one rack that fall silent by themselves; more of them are silent for one reason.
const RACK_MAX: usize = 3;
/// The fewest nodes of one rack or zone of which a half says that the rack or zone is to blame.
const DOMAIN_MIN: usize = 3;

/// How a node is, by when it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Its agent is there.
    Connected,
    /// Its agent is there again, and copies that were started elsewhere still stop.
    Returned,
    /// Its agent went away a moment ago.
    Away,
    /// It was not heard for some time.
    Suspect,
    /// It was declared lost.
    Lost,
}

impl Condition {
    /// Returns the word used in tables and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Returned => "returned",
            Self::Away => "away",
            Self::Suspect => "suspect",
            Self::Lost => "lost",
        }
    }
}

/// Says how a node is.
pub fn condition(state: &State, node: &NodeImage, now: At) -> Condition {
    if node.loss.is_some() {
        return Condition::Lost;
    }
    if silence(state, node.id, now) >= state.policy().suspect_after() {
        return Condition::Suspect;
    }
    if !state.connected(node.id) {
        return Condition::Away;
    }
    let mut here = state.on_node(node.id).filter_map(|id| state.instance(id));
    if here.any(|i| state.is_left_behind(i)) { Condition::Returned } else { Condition::Connected }
}

/// Returns for how long a node was not heard while the scheduler listened.
pub fn silence(state: &State, node: NodeId, now: At) -> Millis {
    let listening = state.listening_since();
    now.since(state.seen(node).map_or(listening, |seen| seen.max(listening)))
}

/// Returns the nodes that were not heard for some time and are not lost, by ascending id.
pub fn silent(state: &State, now: At) -> impl Iterator<Item = NodeId> + '_ {
    let limit = state.policy().suspect_after();
    let quiet =
        move |node: &&NodeImage| node.loss.is_none() && silence(state, node.id, now) >= limit;
    state.nodes().filter(quiet).map(|node| node.id)
}

/// How losses are declared now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One node after the other.
    Usual,
    /// Rarely: more nodes than usual fell silent, of all or of one rack.
    Slow,
    /// Not at all: so many fell silent that the network is to blame.
    Held,
    /// Not yet: the scheduler started or was paused, and agents may still return.
    Grace(Millis),
}

/// What is known of all silent nodes together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How losses are declared now.
    pub mode: Mode,
    /// How many nodes fell silent lately.
    pub silent: usize,
    /// How many nodes there are, without those lost long ago.
    pub fleet: usize,
    /// Silent nodes of racks and zones of which too many are silent: these are held in any mode.
    pub held: BTreeSet<NodeId>,
}

/// Looks at all silent nodes together.
pub fn standing(state: &State, now: At) -> Standing {
    let quiet: BTreeSet<NodeId> = silent(state, now).collect();
    let lately = |n: &NodeImage| n.loss.is_some_and(|loss| now.since(loss.at) <= TOGETHER);
    let counts = |n: &&NodeImage| n.loss.is_none() || lately(n);
    let surely = |n: &NodeImage| n.loss.is_some_and(|loss| loss.proof == Proof::Death);
    let fell = |n: &NodeImage| quiet.contains(&n.id) || (lately(n) && !surely(n));
    let (mut fleet, mut count) = (0_usize, 0_usize);
    let mut domains: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for node in state.nodes().filter(counts) {
        let one = usize::from(fell(node));
        fleet += 1;
        count += one;
        for domain in domains_of(node) {
            let (all, silent) = domains.entry(domain).or_default();
            *all += 1;
            *silent += one;
        }
    }
    let bad = |domain: &(&str, &str)| {
        domains.get(domain).is_some_and(|(all, silent)| *all >= DOMAIN_MIN && silent * 2 >= *all)
    };
    let held = state.nodes().filter(|n| quiet.contains(&n.id));
    let held = held.filter(|n| domains_of(n).any(|d| bad(&d))).map(|n| n.id).collect();
    let crowded = |((label, _), (_, silent)): (&(&str, &str), &(usize, usize))| {
        *label == DOMAINS[0] && *silent > RACK_MAX
    };
    let mode = match mode(state, now, (count, fleet)) {
        Mode::Usual if domains.iter().any(crowded) => Mode::Slow,
        mode => mode,
    };
    Standing { mode, silent: count, fleet, held }
}

/// Returns those of the silent nodes of which none is declared lost, because too many are silent in the
/// whole, or in their rack or zone.
pub(crate) fn held(state: &State, silent: &BTreeSet<NodeId>, now: At) -> BTreeSet<NodeId> {
    if silent.is_empty() {
        return BTreeSet::new();
    }
    let standing = standing(state, now);
    if standing.mode == Mode::Held { silent.clone() } else { standing.held }
}

fn domains_of(node: &NodeImage) -> impl Iterator<Item = (&'static str, &str)> {
    let named = |label: &'static str| Some((label, node.facts.labels.get(label)?.as_str()));
    DOMAINS.into_iter().filter_map(named)
}

fn mode(state: &State, now: At, (silent, fleet): (usize, usize)) -> Mode {
    let policy = state.policy();
    let listened = now.since(state.listening_since());
    if let Some(left) = policy.return_grace().checked_sub(listened).filter(|l| !l.is_zero()) {
        return Mode::Grace(left);
    }
    let (slow, hold) = policy.loss_limits();
    let above = |share: tengyun_model::Permille| {
        let (silent, fleet) = (wide(silent), wide(fleet));
        silent > 1 && silent * 1000 > fleet * u64::from(share.get())
    };
    if silent == fleet || above(hold) {
        Mode::Held
    } else if above(slow) {
        Mode::Slow
    } else {
        Mode::Usual
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Decides which nodes count as lost and which as returned; each decision is to be journaled.
pub fn judge(state: &State, now: At) -> Vec<Command> {
    let heard = |n: &&NodeImage| {
        let since = n.loss.map(|loss| loss.at);
        state.connected(n.id) && since.is_some_and(|at| state.seen(n.id) >= Some(at))
    };
    let returned = state.nodes().filter(heard).map(|n| Command::DeclareReturned(n.id));
    let mut decided: Vec<Command> = returned.collect();
    decided.extend(next_loss(state, now).map(Command::DeclareLost));
    decided
}

/// Returns the node that is to be declared lost now: the one that was silent longest.
fn next_loss(state: &State, now: At) -> Option<NodeId> {
    if state.observes() {
        return None;
    }
    let limit = state.policy().lost_after();
    let gone = |node: &NodeId| silence(state, *node, now) >= limit;
    let candidates: Vec<NodeId> = silent(state, now).filter(gone).collect();
    if candidates.is_empty() {
        return None;
    }
    let standing = standing(state, now);
    let (usual, slow) = state.policy().loss_intervals();
    let interval = match standing.mode {
        Mode::Usual => usual,
        Mode::Slow => slow,
        Mode::Held | Mode::Grace(_) => return None,
    };
    if now.since(state.last_loss()) < interval {
        return None;
    }
    // Those of a cut come back one after the other, and the last ones are few: they have their time.
    let grace = state.policy().return_grace();
    let returns = |node: &NodeId| state.held_at(*node).is_some_and(|at| now.since(at) < grace);
    let free = candidates.into_iter();
    let free = free.filter(|node| !standing.held.contains(node) && !returns(node));
    free.max_by_key(|node| (silence(state, *node, now), std::cmp::Reverse(*node)))
}
