//! Sketches: what each instance, and what is not ours, used in the windows of the last hours, and the
//! highest working sets of each instance, so that a scheduler which starts anew need not learn it
//! again. Pure; a window that was hardly measured is a gap and is never made up.
//!
//! They are kept in memory only: an agent that starts again begins to remember anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tengyun_model::{
    At, InstanceId, InstanceSketch, Mebibytes, Millicores, Millis, NodeUsage, Peaks, Permille,
    SKETCH_WINDOWS_MAX, Sketch, SketchWindow, UsageHistory,
};

/// The windows that use is remembered in while no scheduler said which: those of the default policy.
const WINDOW: Millis = Millis::from_secs(300);
/// The shortest and the longest window that a scheduler may ask for.
const WINDOW_BOUNDS: (Millis, Millis) = (Millis::from_secs(1), Millis::from_secs(3600));
/// The least share of a window that must have been measured to say anything of it.
const MEASURED_MIN: Permille = Permille::new(250);

/// What is remembered of a node.
#[derive(Debug)]
pub(crate) struct Sketches {
    window: Millis,
    foreign: Ring,
    instances: BTreeMap<InstanceId, Remembered>,
}

/// What is remembered of an instance.
#[derive(Debug, Default)]
struct Remembered {
    ring: Ring,
    peaks: Peaks,
}

impl Default for Sketches {
    fn default() -> Self {
        Self { window: WINDOW, foreign: Ring::default(), instances: BTreeMap::new() }
    }
}

impl Sketches {
    /// Takes in what was used over an interval.
    pub(crate) fn take(&mut self, usage: &NodeUsage) {
        let (at, held, window) = (usage.at, usage.interval, self.window);
        self.foreign.take((at, held), usage.cpu_foreign, usage.memory_foreign, window);
        for used in &usage.instances {
            let of = self.instances.entry(used.instance).or_default();
            of.ring.take((at, held), used.cpu, used.memory, window);
            // Where a longer interval began nobody looked, whatever the windows are.
            of.peaks.note(at, used.memory, held.min(WINDOW));
        }
    }

    /// Forgets instances that are gone; one that only rests between two starts is not.
    pub(crate) fn retain(&mut self, known: &BTreeSet<InstanceId>) {
        self.instances.retain(|id, _| known.contains(id));
    }

    /// Remembers use in such windows from now on; what was remembered in others is forgotten, but for
    /// peaks, which are of no windows. None means that the scheduler does not say.
    pub(crate) fn keep_windows_of(&mut self, window: Millis) {
        if window.is_zero() {
            return;
        }
        let (least, most) = WINDOW_BOUNDS;
        let window = window.clamp(least, most);
        if window != self.window {
            (self.window, self.foreign) = (window, Ring::default());
            self.instances.values_mut().for_each(|of| of.ring = Ring::default());
        }
    }

    /// Tells all that is remembered, of at most so many instances in one part.
    pub(crate) fn tell(&self, at: At, instances_max: usize) -> Vec<UsageHistory> {
        let sketch = |ring: &Ring| ring.sketch(self.window);
        let each = |(id, of): (&InstanceId, &Remembered)| {
            Some(InstanceSketch { instance: *id, sketch: sketch(&of.ring)?, peaks: of.peaks })
        };
        let told: Vec<InstanceSketch> = self.instances.iter().filter_map(each).collect();
        let part = |instances: &[InstanceSketch], foreign| {
            let instances = instances.to_vec();
            UsageHistory { at, window: self.window, foreign, instances }
        };
        let mut foreign = sketch(&self.foreign);
        let mut parts: Vec<UsageHistory> =
            told.chunks(instances_max.max(1)).map(|some| part(some, foreign.take())).collect();
        if foreign.is_some() {
            parts.push(part(&[], foreign));
        }
        parts
    }
}

/// One window that ended.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    cpu: u32,
    covered: u16,
}

/// The windows of one use, which follow each other up to the open one.
#[derive(Debug, Default)]
struct Ring {
    /// Those that ended, the oldest first; the newest is the one before the open one.
    past: VecDeque<Past>,
    /// The open window, how long of it was measured, and the rate times that.
    open: u64,
    weight: u64,
    sum: u64,
    memory: Mebibytes,
}

impl Ring {
    /// Takes in what was used until a moment. An interval counts for the window that it ends in, and for
    /// no more than that one: where it began nobody looked.
    fn take(
        &mut self,
        (at, held): (At, Millis),
        cpu: Millicores,
        memory: Mebibytes,
        window: Millis,
    ) {
        let number = number(at, window);
        if number < self.open || held.is_zero() {
            return;
        }
        if number > self.open {
            self.open_window(number, window);
        }
        let held = held.min(window).get();
        self.weight = self.weight.saturating_add(held);
        self.sum = self.sum.saturating_add(cpu.get().min(u64::from(u32::MAX)).saturating_mul(held));
        self.memory = memory;
    }

    /// Ends the open window, leaves a gap for each that nobody saw, and opens another.
    fn open_window(&mut self, number: u64, window: Millis) {
        let ended = self.open_mean(window).filter(|seen| seen.covered >= MEASURED_MIN);
        if ended.is_some() || !self.past.is_empty() {
            self.push(ended);
            let unseen = number.saturating_sub(self.open).saturating_sub(1);
            for _ in 0..unseen.min(wide(SKETCH_WINDOWS_MAX)) {
                self.push(None);
            }
        }
        (self.open, self.weight, self.sum) = (number, 0, 0);
    }

    /// Adds a window that ended. The open one comes beside the others, so there is room for one less.
    fn push(&mut self, seen: Option<SketchWindow>) {
        if self.past.capacity() == 0 {
            self.past.reserve_exact(SKETCH_WINDOWS_MAX);
        }
        while self.past.len() >= SKETCH_WINDOWS_MAX - 1 {
            self.past.pop_front();
        }
        self.past.push_back(seen.map_or_else(Past::default, |seen| Past {
            cpu: u32::try_from(seen.cpu.get()).unwrap_or(u32::MAX),
            covered: u16::try_from(seen.covered.get()).unwrap_or(u16::MAX),
        }));
    }

    /// Returns the open window; nothing while nothing was measured in it.
    fn open_mean(&self, window: Millis) -> Option<SketchWindow> {
        let mean = self.sum.saturating_add(self.weight / 2).checked_div(self.weight)?;
        let covered = Millis::new(self.weight).share_of(window).min(Permille::WHOLE);
        Some(SketchWindow { cpu: Millicores::new(mean), covered })
    }

    /// Tells what is remembered, from the first window that was measured on.
    fn sketch(&self, window: Millis) -> Option<Sketch> {
        let past = self.past.iter().map(|past| SketchWindow {
            cpu: Millicores::new(u64::from(past.cpu)),
            covered: Permille::new(u32::from(past.covered)),
        });
        let all = past.chain(self.open_mean(window));
        let windows: Vec<SketchWindow> = all.skip_while(|w| w.covered.get() == 0).collect();
        let after = wide(windows.len()).saturating_sub(u64::from(self.weight > 0));
        let first = self.open.saturating_sub(after);
        let from = At::from_millis(first.saturating_mul(window.get()));
        (!windows.is_empty()).then_some(Sketch { from, windows, memory: self.memory })
    }
}

/// Returns the number of the window that a moment lies in, or ends.
fn number(at: At, window: Millis) -> u64 {
    at.millis().saturating_sub(1) / window.get().max(1)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
