//! Volatile state: who is there and what was measured. None of it is in an image.

use std::collections::BTreeSet;

use tengyun_model::{At, InstanceId, Millis, NodeId, NodeUsage};

use super::State;
use crate::command::Effect;
use crate::liveness;
use crate::predict::{Terms, Track, sample};

/// What is known of a node in this reign.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    connected: bool,
    seen: Option<At>,
    usage: Option<NodeUsage>,
    foreign: Option<Track>,
}

impl Live {
    pub(super) fn connect(&mut self, at: At) {
        self.connected = true;
        self.seen = Some(at);
    }

    pub(super) fn disconnect(&mut self) {
        self.connected = false;
    }

    pub(super) fn connected(&self) -> bool {
        self.connected
    }

    pub(super) fn seen(&self) -> Option<At> {
        self.seen
    }

    pub(super) fn usage(&self) -> Option<&NodeUsage> {
        self.usage.as_ref()
    }

    pub(super) fn foreign(&self) -> Option<&Track> {
        self.foreign.as_ref()
    }
}

/// The longest pause between two looks that is no pause of the scheduler itself: it looks every
/// second, and a commit to a slow disk may take a few.
const LOOKS_APART_MAX: Millis = Millis::from_secs(5);

/// What the scheduler knows of its own listening.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Since when it listens without a pause.
    pub(super) since: At,
    looked: At,
    /// Nodes that had not been heard for long at the last look.
    pub(super) suspects: BTreeSet<NodeId>,
}

impl Watch {
    /// A reign begins: nobody was heard yet.
    pub(super) fn begin(&mut self, at: At) {
        *self = Self { since: at, looked: at, suspects: BTreeSet::new() };
    }
}

impl State {
    /// Looks who was heard lately. A scheduler that did not look for long was paused itself, and
    /// then the silence is its own.
    pub(super) fn look_around(&mut self, at: At) -> Effect {
        if at.since(self.watch.looked) > LOOKS_APART_MAX {
            self.watch.since = at;
        }
        self.watch.looked = at;
        self.watch.suspects = liveness::silent(self, at).collect();
        Effect::Done
    }

    /// Takes in what a node used. Instances that are not on it are passed over.
    pub(super) fn report_usage(&mut self, node: NodeId, usage: &NodeUsage, at: At) {
        let half_life = self.policy.half_life();
        let terms = Terms::of(&self.policy);
        let live = self.live.entry(node).or_default();
        live.seen = Some(at);
        let foreign = sample(usage.cpu_foreign, usage.memory_foreign, usage);
        live.foreign.get_or_insert_with(|| Track::start(at)).observe(at, foreign, half_life);
        live.usage = Some(usage.clone());
        for used in &usage.instances {
            let here = self.instances.get(&used.instance).is_some_and(|i| i.node == Some(node));
            if here {
                let profile = self.profile_mut(used.instance).expect("every instance has one");
                let track = profile.track.get_or_insert_with(|| Track::start(at));
                track.observe(at, sample(used.cpu, used.memory, usage), half_life);
                track.foresee(&terms);
            }
        }
    }

    /// Lets a replacement start from what was measured of the copy it replaces.
    pub(super) fn inherit_track(&mut self, from: InstanceId, to: InstanceId) {
        let track = self.profile_mut(from).and_then(|p| p.track.clone());
        if let (Some(track), Some(profile)) = (track, self.profile_mut(to)) {
            profile.track = Some(track);
        }
    }
}
