//! Measuring: feeds the sampler, the meters and the guard, and keeps their newest words.
//!
//! It reads and counts. What harvest may use is the guard's word; the quota is set by the runner.

use std::collections::BTreeSet;
use std::path::Path;

use tengyun_model::{
    At, Band, BootId, Class, InstanceId, MeterRecord, Millicores, Millis, NodeUsage,
};
use tengyun_proto::convert::SKETCHES_MAX;
use tengyun_proto::v1;

use crate::act::chain;
use crate::clock::Clock;
use crate::guard::Guard;
use crate::meter::Meters;
use crate::observe::{Key, NodeScope, Sample, Sampler, Source, usage};
use crate::run::cgroup::Group;
use crate::run::{RunKey, RunTarget};
use crate::shim::record::{Ended, How};
use crate::sketch::Sketches;

/// The most meter records in one report: a few hundred KiB of a message of 4 MiB. The oldest go
/// first; the others follow when these are acknowledged.
const RECORDS_IN_REPORT_MAX: usize = 4096;

/// A shim as the sampler knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShimProcess {
    /// Its id.
    pub(crate) pid: u32,
    /// When it started.
    pub(crate) start_ticks: u64,
}

/// Everything that measures.
#[derive(Debug)]
pub(crate) struct Measure {
    boot: BootId,
    capacity: Millicores,
    scope: NodeScope,
    sampler: Sampler,
    meters: Meters,
    guard: Guard,
    harvest: BTreeSet<InstanceId>,
    allowance: Millicores,
    /// The newest sample, and the one that the reported interval began with.
    newest: Option<Sample>,
    begin: Option<Sample>,
    reported: NodeUsage,
    sketches: Sketches,
}

/// What a node is, to those who measure it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    /// The running boot.
    pub(crate) boot: BootId,
    /// What it may promise.
    pub(crate) capacity: Millicores,
    /// Whether it is the machine or a share of it.
    pub(crate) scope: NodeScope,
    /// Where the devices of a whole machine are.
    pub(crate) sys_root: &'a Path,
    /// The group that holds every instance.
    pub(crate) group: Option<&'a Group>,
}

impl Measure {
    /// Opens the meters of a state directory and the files of the machine.
    pub(crate) fn open(node: &Node<'_>, proc_root: &Path, dir: &Path) -> std::io::Result<Self> {
        let source = node.group.and_then(group_source);
        let sampler = Sampler::new(proc_root, source.as_ref());
        Ok(Self {
            boot: node.boot,
            capacity: node.capacity,
            scope: node.scope,
            // The disks and links of a machine that is shared are everybody's.
            sampler: match node.scope {
                NodeScope::Machine => sampler.with_devices(node.sys_root),
                NodeScope::Group => sampler,
            },
            meters: Meters::open(dir, node.boot)?,
            guard: Guard::default(),
            harvest: BTreeSet::new(),
            allowance: Millicores::ZERO,
            newest: None,
            begin: None,
            reported: NodeUsage::default(),
            sketches: Sketches::default(),
        })
    }

    /// Takes in that the node may promise another amount of CPU.
    pub(crate) const fn promise(&mut self, capacity: Millicores) {
        self.capacity = capacity;
    }

    /// Returns the CPU that the node may promise.
    #[cfg(test)]
    pub(crate) const fn capacity(&self) -> Millicores {
        self.capacity
    }

    /// Begins to measure a start, or goes on after a restart of the agent.
    pub(crate) fn begin(
        &mut self,
        target: &RunTarget,
        group: Option<&Group>,
        shim: ShimProcess,
        since: At,
    ) {
        let ShimProcess { pid, start_ticks } = shim;
        let tree = || Source::Tree { shim: pid, start_ticks };
        let source = group.and_then(group_source).unwrap_or_else(tree);
        self.sampler.add(key(target.key), &source);
        self.meters.begin(key(target.key), since);
        match target.class {
            Class::Harvest => self.harvest.insert(target.key.instance),
            Class::Critical | Class::Standard => self.harvest.remove(&target.key.instance),
        };
    }

    /// Takes the last reading of a start that ended before this agent could measure it.
    pub(crate) fn begin_ended(&mut self, start: RunKey, since: At) {
        self.meters.begin(key(start), since);
    }

    /// Takes the last reading of a start from the record of its end; what that record cannot say is
    /// read when its group is cleared away.
    pub(crate) fn ended(&mut self, start: RunKey, ended: &Ended, at: At) {
        if ended.how() == How::Unknown {
            return;
        }
        self.finish(start, Some(ended.cpu_micros), at);
    }

    /// Takes the last reading of a start from its group, unless it was taken before.
    pub(crate) fn cleared(&mut self, start: RunKey, cpu_micros: Option<u64>, at: At) {
        self.finish(start, cpu_micros, at);
    }

    fn finish(&mut self, start: RunKey, cpu_micros: Option<u64>, at: At) {
        self.meters.finish(key(start), cpu_micros, at);
        self.sampler.remove(key(start));
    }

    /// Reads everything once; returns what harvest is to be held to when that has changed.
    pub(crate) fn sample(&mut self, clock: &Clock, band: Band) -> Option<Millicores> {
        let sample = self.sampler.sample(clock.monotonic(), clock.now());
        self.meters.record(&sample);
        self.save(sample.monotonic, false);
        let used = self.newest.as_ref().map(|before| usage(before, &sample, self.scope));
        self.begin.get_or_insert_with(|| sample.clone());
        self.newest = Some(sample);
        let used = used?;
        let harvest = used.instances.iter().filter(|i| self.harvest.contains(&i.instance));
        let others = used.cpu.saturating_sub(harvest.map(|i| i.cpu).sum());
        let allowance = self.guard.step(self.capacity, band, others, used.interval);
        let changed = allowance != self.allowance;
        self.allowance = allowance;
        changed.then_some(allowance)
    }

    /// Returns the running boot.
    pub(crate) const fn boot(&self) -> BootId {
        self.boot
    }

    /// Ends the reported interval and begins the next one.
    pub(crate) fn next_interval(&mut self) {
        let (Some(begin), Some(newest)) = (&self.begin, &self.newest) else { return };
        if newest.monotonic > begin.monotonic {
            self.reported = usage(begin, newest, self.scope);
            self.begin = Some(newest.clone());
            self.sketches.take(&self.reported);
        }
    }

    /// Returns what was used over the last reported interval.
    pub(crate) fn usage(&self) -> NodeUsage {
        NodeUsage { harvest_allowance: self.allowance, ..self.reported.clone() }
    }

    /// Tells what is remembered of use, in parts of one message each.
    pub(crate) fn history(&self, at: At) -> Vec<v1::UsageHistory> {
        self.sketches.tell(at, SKETCHES_MAX).iter().map(Into::into).collect()
    }

    /// Remembers use in such windows from now on.
    pub(crate) fn keep_windows_of(&mut self, window: Millis) {
        self.sketches.keep_windows_of(window);
    }

    /// Forgets what instances used that are gone.
    pub(crate) fn retain(&mut self, known: &BTreeSet<InstanceId>) {
        self.sketches.retain(known);
    }

    /// Returns the meter records to report.
    pub(crate) fn unacknowledged(&self) -> Vec<MeterRecord> {
        self.meters.unacknowledged(RECORDS_IN_REPORT_MAX)
    }

    /// Takes in what the journal keeps.
    pub(crate) fn acknowledge(&mut self, wire: v1::MeterAcknowledgement) {
        let records: Result<Vec<MeterRecord>, _> =
            wire.meters.into_iter().map(MeterRecord::try_from).collect();
        match records {
            Ok(records) => self.meters.acknowledge(&records),
            Err(error) => tracing::warn!(%error, "acknowledgement of meters refused"),
        }
    }

    /// Writes the meters down before the agent ends.
    pub(crate) fn close(mut self, now: Millis) {
        self.save(now, true);
    }

    fn save(&mut self, now: Millis, at_once: bool) {
        if let Err(error) = self.meters.save(now, at_once) {
            tracing::error!(error = chain(&error), "cannot write the meters");
        }
    }
}

const fn key(start: RunKey) -> Key {
    (start.instance, start.incarnation)
}

/// Says where the use of a group is read; `None` when it has no counter.
fn group_source(group: &Group) -> Option<Source> {
    Some(Source::Group {
        cpu: group.cpu_usage_file()?,
        unit: group.cpu_unit(),
        memory: group.memory_usage_file(),
        memory_stat: group.memory_stat_file(),
        io: group.io_file(),
    })
}
