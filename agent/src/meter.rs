//! The meter: what every start of every instance used, kept until it is acknowledged.
//!
//! CPU is the kernel's own cumulative counter, never a sum of differences, so no restart of either
//! side can lose or double any of it. Memory has no such counter: it is the working set times the
//! monotonic time since the last reading; over a time in which nobody measured, the smaller of the
//! two ends is taken. Records are kept until a journaled reading at least as high acknowledges them.
//!
//! An instance and its incarnation name one start for ever, in whatever boot it was: a start that
//! was metered before a reboot is not metered again after it.
//!
//! Invariant: a record never falls (`a_record_never_falls_and_nothing_is_lost`).

mod store;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use tengyun_model::{
    At, BootId, CoreMillis, MebibyteSeconds, Mebibytes, MeterKey, MeterRecord, Millis,
};

use crate::observe::{Key, Sample};

/// The name of the file of the records in the state directory.
pub(crate) const FILE: &str = "meters";
/// Records are written this often; what memory was held since is lost when the agent is killed and
/// its server with it. CPU is read again from the kernel.
const SAVE_INTERVAL: Millis = Millis::from_secs(5);
/// Readings further apart than this are not a measurement of what lies between: the agent was
/// stopped, or the machine slept.
const GAP_MAX: Millis = Millis::from_secs(10);
/// The most records kept. Acknowledgements come within seconds, so more means that no scheduler was
/// there for days and that instances ended all the time; then the oldest ended one is given up, with
/// an error in the log that names what is lost.
const RECORDS_MAX: usize = 65_536;
/// The most starts remembered as metered and acknowledged. The records of ended starts stay on disk
/// for a while (`KEPT_ENDED_MAX`) and are found again by the next agent; this is far above it.
const SETTLED_MAX: usize = 4_096;

/// One meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meter {
    record: MeterRecord,
    /// Thousandths of a mebibyte-second that do not make a whole one yet.
    rest: u64,
    /// When it was last read, on the monotonic clock of its boot.
    read: Option<Millis>,
    /// Whether an earlier agent did that.
    adopted: bool,
    /// The working set at that time.
    memory: Mebibytes,
    acknowledged: Option<MeterRecord>,
}

/// Every meter of this server.
#[derive(Debug)]
pub(crate) struct Meters {
    path: PathBuf,
    boot: BootId,
    by_start: BTreeMap<Key, Meter>,
    /// Ended starts whose last reading is acknowledged, oldest first.
    settled: VecDeque<Key>,
    saved: Millis,
    changed: bool,
}

impl Meters {
    /// Opens the records of a state directory; those of an earlier boot are closed.
    pub(crate) fn open(dir: &Path, boot: BootId) -> io::Result<Self> {
        let path = dir.join(FILE);
        let store::Kept { mut meters, settled } = store::load(&path)?;
        for meter in meters.values_mut() {
            meter.adopted = true;
            // The counters of an earlier boot are gone with it; what is known is the last reading.
            meter.record.last |= meter.record.key.boot != boot;
        }
        Ok(Self { path, boot, by_start: meters, settled, saved: Millis::ZERO, changed: false })
    }

    /// Begins to meter a start, or goes on after a restart of the agent.
    pub(crate) fn begin(&mut self, key: Key, at: At) {
        if self.by_start.contains_key(&key) || self.settled.contains(&key) {
            return;
        }
        let (boot, (instance, incarnation)) = (self.boot, key);
        self.changed = true;
        self.by_start.insert(
            key,
            Meter {
                record: MeterRecord {
                    key: MeterKey { boot, instance, incarnation },
                    cpu: CoreMillis::ZERO,
                    memory: MebibyteSeconds::ZERO,
                    covered: Millis::ZERO,
                    from: at,
                    to: at,
                    last: false,
                },
                rest: 0,
                read: None,
                adopted: false,
                memory: Mebibytes::ZERO,
                acknowledged: None,
            },
        );
        if self.by_start.len() > RECORDS_MAX {
            self.give_up_oldest();
        }
    }

    /// Takes in one sample.
    pub(crate) fn record(&mut self, sample: &Sample) {
        for (key, reading) in &sample.instances {
            if let Some(meter) = self.by_start.get_mut(key).filter(|m| !m.record.last) {
                meter.read(reading.cpu_nanos / 1_000_000, reading.memory, sample);
                self.changed = true;
            }
        }
    }

    /// Closes the meter of a start that has ended, with its final CPU counter where it is known.
    ///
    /// A start that ended while no agent watched, and that no agent had saved, is metered by that
    /// counter alone. One that is settled stays so.
    pub(crate) fn finish(&mut self, key: Key, cpu_micros: Option<u64>, at: At) {
        if cpu_micros.is_some_and(|micros| micros > 0) {
            self.begin(key, at);
        }
        let Some(meter) = self.by_start.get_mut(&key) else { return };
        let record = &mut meter.record;
        let known = CoreMillis::new(cpu_micros.unwrap_or(0) / 1000);
        if record.last && known <= record.cpu {
            return;
        }
        record.cpu = record.cpu.max(known);
        record.to = record.to.max(at);
        record.last = true;
        self.changed = true;
    }

    /// Returns the records that are not acknowledged at their present reading, in order of keys.
    ///
    /// Where there are more than `limit`, those go first whose acknowledged reading is oldest, so
    /// each has its turn.
    pub(crate) fn unacknowledged(&self, limit: usize) -> Vec<MeterRecord> {
        let mut waiting: Vec<&Meter> = self.by_start.values().filter(|m| m.has_news()).collect();
        if waiting.len() > limit {
            waiting.sort_by_key(|m| (m.acknowledged.map(|a| a.to), m.record.to, m.record.key));
            waiting.truncate(limit);
        }
        let mut records: Vec<MeterRecord> = waiting.iter().map(|m| m.record).collect();
        records.sort_unstable_by_key(|record| record.key);
        records
    }

    /// Takes in what a journal keeps; ended starts that it keeps whole are settled.
    ///
    /// A journal that keeps more memory than this agent knows of kept it before the agent's own file
    /// was lost: the meter goes on from there. CPU is the kernel's word alone.
    pub(crate) fn acknowledge(&mut self, kept: &[MeterRecord]) {
        for mark in kept {
            let key = (mark.key.instance, mark.key.incarnation);
            let meter = self.by_start.get_mut(&key).filter(|m| m.record.key == mark.key);
            let Some(meter) = meter else { continue };
            meter.acknowledge(*mark);
            if meter.record.last && mark.last && !meter.has_news() {
                self.by_start.remove(&key);
                self.settled.push_back(key);
                if self.settled.len() > SETTLED_MAX {
                    self.settled.pop_front();
                }
            }
            self.changed = true;
        }
    }

    /// Writes the records, now and then or when told to.
    pub(crate) fn save(&mut self, now: Millis, at_once: bool) -> io::Result<()> {
        let due = now.saturating_sub(self.saved) >= SAVE_INTERVAL;
        if !self.changed || !(due || at_once) {
            return Ok(());
        }
        store::save(&self.path, &self.by_start, &self.settled)?;
        self.changed = false;
        self.saved = now;
        Ok(())
    }

    /// Drops the ended record that has waited longest.
    fn give_up_oldest(&mut self) {
        let ended = self.by_start.iter().filter(|(_, meter)| meter.record.last);
        let Some((key, meter)) = ended.min_by_key(|(key, meter)| (meter.record.to, **key)) else {
            return;
        };
        let (key, record) = (*key, meter.record);
        tracing::error!(
            instance = %record.key.instance,
            incarnation = %record.key.incarnation,
            cpu = %record.cpu,
            memory = %record.memory,
            "too many meters wait for an acknowledgement: the oldest is lost"
        );
        self.by_start.remove(&key);
    }
}

impl Meter {
    fn read(&mut self, cpu_millis: u64, memory: Mebibytes, sample: &Sample) {
        let (record, now) = (&mut self.record, sample.monotonic);
        // A counter never falls; where processes are summed up one may be missed for a moment.
        record.cpu = record.cpu.max(CoreMillis::new(cpu_millis));
        let gap = match self.read {
            Some(before) => now.saturating_sub(before),
            // The first reading: the little time since the start is covered by its CPU counter.
            None => sample.wall.since(record.to),
        };
        let outage = self.adopted || gap > GAP_MAX;
        let held = if outage { self.memory.min(memory) } else { self.memory };
        let thousandths = held.get().saturating_mul(gap.get()).saturating_add(self.rest);
        record.memory = record.memory.saturating_add(MebibyteSeconds::new(thousandths / 1000));
        self.rest = thousandths % 1000;
        record.covered = record.covered.saturating_add(gap);
        record.to = record.to.max(sample.wall);
        self.memory = memory;
        self.read = Some(now);
        self.adopted = false;
    }

    /// Says whether the journal lacks something that will be paid for.
    fn has_news(&self) -> bool {
        let record = &self.record;
        self.acknowledged.is_none_or(|mark| {
            record.cpu > mark.cpu || record.memory > mark.memory || (record.last && !mark.last)
        })
    }

    fn acknowledge(&mut self, mark: MeterRecord) {
        self.record.memory = self.record.memory.max(mark.memory);
        self.record.covered = self.record.covered.max(mark.covered);
        self.record.from = self.record.from.min(mark.from);
        // Marks may come late and out of order: each number only rises.
        let before = self.acknowledged.unwrap_or(mark);
        self.acknowledged = Some(MeterRecord {
            cpu: before.cpu.max(mark.cpu),
            memory: before.memory.max(mark.memory),
            covered: before.covered.max(mark.covered),
            to: before.to.max(mark.to),
            last: before.last || mark.last,
            ..mark
        });
    }
}

#[cfg(test)]
mod tests;
