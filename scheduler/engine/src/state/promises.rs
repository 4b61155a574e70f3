//! Promises of memory: what an instance counts on its node where its use decided that. Every change is a
//! journaled decision, so that what a node has left is the same in every replay.
//!
//! Nothing counts more than it asks for, critical never less, and what broke its promise counts its request
//! for a day, each time twice as long. Limits are not touched: a promise is about room, not about use.

use tengyun_model::{At, Class, InstanceId, Mebibytes, Millis};

use super::State;
use crate::command::{Past, Refusal};
use crate::image::{InstanceImage, MarginImage, PromiseImage};
use crate::plan::PromiseReason;
use crate::predict::memory::{FLOOR, MemoryTerms, WIDEST, narrowed, widened};

/// After a miss an instance counts its request for so long.
const PAUSE: Millis = Millis::from_secs(86_400);
/// The pause is doubled by each miss in a row, up to two months.
const DOUBLED_MAX: u32 = 6;
/// What kept its promise for so many pauses begins anew: less than a week forgives no weekly peak.
const FORGIVEN: u64 = 8;
/// A kill for want of memory counts as so many misses: work was lost.
const KILLED: u32 = 4;
/// After a change a promise is not lowered for so long; a peak of a day knows nothing new sooner.
const REST: Millis = Millis::from_secs(3600);

impl State {
    /// Returns the memory that an instance counts.
    pub fn promised(&self, instance: &InstanceImage) -> Mebibytes {
        self.spec(instance).resources.memory.saturating_sub(self.lent(instance))
    }

    /// Returns what an instance asks for of memory and does not count.
    pub(crate) fn lent(&self, instance: &InstanceImage) -> Mebibytes {
        let Some(promise) = &instance.promise else { return Mebibytes::ZERO };
        self.spec(instance).resources.memory.saturating_sub(promise.memory)
    }

    /// Returns the memory that a copy counts which replaces an instance: the same while it is of the same
    /// revision; of another one nothing is known.
    pub(crate) fn copy_memory(&self, instance: &InstanceImage) -> Mebibytes {
        let workload = &self.workloads[&instance.workload];
        if instance.revision == workload.revision {
            return self.promised(instance);
        }
        workload.revisions[&workload.revision].resources.memory
    }

    /// Returns what the policy and past misses say of memory.
    pub(crate) fn memory_terms(&self, now: At) -> MemoryTerms {
        MemoryTerms::of(&self.policy, narrowed(self.margin.width, now.since(self.margin.at)))
    }

    /// Memory counts by its use from now on: nothing is known yet, so margins are wide at first.
    pub(super) fn begin_promises(&mut self, at: At) {
        self.margin = MarginImage { width: WIDEST, at };
    }

    /// Widens the margin of all for so many misses.
    fn widen(&mut self, misses: u32, at: At) {
        let promised = u64::try_from(self.with_promises().len()).unwrap_or(u64::MAX);
        let width = narrowed(self.margin.width, at.since(self.margin.at));
        let width = widened(width, misses, promised, &self.policy);
        self.margin = MarginImage { width, at };
    }

    /// Says whether a promise may be lowered by now: it was not changed just now, and not broken lately.
    pub(crate) fn may_lower(promise: Option<&PromiseImage>, now: At) -> bool {
        let Some(promise) = promise else { return true };
        let paused = promise.missed.is_some_and(|at| now.since(at) < pause(promise.misses));
        !paused && now.since(promise.since) >= REST
    }

    /// Returns until when an instance counts its request because it missed.
    pub(crate) fn paused_until(instance: &InstanceImage) -> Option<At> {
        let promise = instance.promise.as_ref()?;
        promise.missed.map(|missed| missed.after(pause(promise.misses)))
    }

    /// Says whether an instance may be promised so much, apart from when.
    pub(super) fn check_promise(
        &self,
        id: InstanceId,
        memory: Mebibytes,
        reason: PromiseReason,
    ) -> Result<(), Refusal> {
        let instance = self.wanted(id)?;
        if instance.node.is_none() || instance.status.phase.is_final() {
            return Err(Refusal::Stale(Past::Place));
        }
        let (spec, present) = (self.spec(instance), self.promised(instance));
        let request = spec.resources.memory;
        let lends = self.policy.memory_by_use() && spec.class != Class::Critical;
        let holds = match reason {
            PromiseReason::Used if memory < present => lends && memory >= FLOOR.min(request),
            PromiseReason::Used => memory > present && memory <= request,
            PromiseReason::Missed | PromiseReason::Withdrawn => {
                memory > present && memory == request
            }
        };
        if holds { Ok(()) } else { Err(Refusal::Stale(Past::Promise)) }
    }

    /// Promises an instance so much memory from now on.
    pub(super) fn promise(
        &mut self,
        id: InstanceId,
        (memory, reason): (Mebibytes, PromiseReason),
        at: At,
    ) -> Result<(), Refusal> {
        self.check_promise(id, memory, reason)?;
        let instance = &self.instances[&id];
        let before = instance.promise.as_deref();
        if memory < self.promised(instance) && !Self::may_lower(before, at) {
            return Err(Refusal::Stale(Past::Promise));
        }
        let fresh = PromiseImage { memory, since: at, misses: 0, missed: None };
        let mut promise = PromiseImage { memory, since: at, ..before.copied().unwrap_or(fresh) };
        if reason == PromiseReason::Missed {
            miss(&mut promise, 1, at);
            self.widen(1, at);
        }
        self.keep_promise(id, promise);
        Ok(())
    }

    /// An instance was killed for want of memory: one that counted less than its request counts all of it.
    pub(super) fn break_promise(&mut self, id: InstanceId, at: At) {
        let Some(instance) = self.instances.get(&id) else { return };
        let lent = !self.lent(instance).is_zero();
        let Some(mut promise) = instance.promise.as_deref().copied().filter(|_| lent) else {
            return;
        };
        promise.memory = self.spec(instance).resources.memory;
        promise.since = at;
        miss(&mut promise, KILLED, at);
        self.widen(KILLED, at);
        self.keep_promise(id, promise);
    }

    fn keep_promise(&mut self, id: InstanceId, promise: PromiseImage) {
        let instance = self.instances.get_mut(&id).expect("whose promise it is was looked up");
        instance.promise = Some(Box::new(promise));
        let node = instance.node;
        self.derive_promise(id);
        if let Some(node) = node {
            self.sum_up_room(node);
        }
    }
}

/// Counts misses of a promise.
fn miss(promise: &mut PromiseImage, count: u32, at: At) {
    let forgiven = Millis::new(pause(promise.misses).get().saturating_mul(FORGIVEN));
    let before = promise.missed.is_some_and(|missed| at.since(missed) < forgiven);
    let before = if before { promise.misses } else { 0 };
    promise.misses = before.saturating_add(count);
    promise.missed = Some(at);
}

/// Returns for how long one counts its request that missed so often in a row.
fn pause(misses: u32) -> Millis {
    let doubled = misses.saturating_sub(1).min(DOUBLED_MAX);
    Millis::new(PAUSE.get() << doubled)
}
