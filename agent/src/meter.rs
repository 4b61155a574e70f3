//! The meter: what every start of every instance used, kept until it is acknowledged.
//!
//! CPU is the kernel's own cumulative counter, never a sum of differences, so no restart of either
//! side can lose or double any of it. Memory has no such counter: it is the working set times the
//! monotonic time since the last reading; over a time in which nobody measured, the smaller of the
//! two ends is taken. Records are kept until a journaled reading at least as high acknowledges them.
//!
//! Invariant: a record never falls (`a_record_never_falls_and_nothing_is_lost`).

mod store;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tengyun_model::{
    At, BootId, CoreMillis, Incarnation, InstanceId, MebibyteSeconds, Mebibytes, MeterKey,
    MeterRecord, Millis,
};

use crate::observe::{Key, Sample};

/// Records are written this often; what memory was held since is lost when the agent is killed and
/// its server with it. CPU is read again from the kernel.
const SAVE_INTERVAL: Millis = Millis::from_secs(5);
/// The most records kept: acknowledgements come within seconds, so more means that no scheduler
/// was there for long; then the oldest ended ones go on counting towards the bill of their start.
pub(crate) const RECORDS_MAX: usize = 100_000;

/// One meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meter {
    record: MeterRecord,
    /// Thousandths of a mebibyte-second that do not make a whole one yet.
    rest: u64,
    /// The newest working set and when it was read; `None` until this agent has read it.
    read: Option<Millis>,
    memory: Mebibytes,
    acknowledged: Option<MeterRecord>,
}

/// Every meter of this server.
#[derive(Debug)]
pub(crate) struct Meters {
    path: PathBuf,
    boot: BootId,
    meters: BTreeMap<MeterKey, Meter>,
    saved: Millis,
    changed: bool,
}

impl Meters {
    /// Opens the records of a state directory; those of an earlier boot are closed.
    pub(crate) fn open(dir: &Path, boot: BootId) -> io::Result<Self> {
        let path = dir.join("meters");
        let mut meters = store::load(&path)?;
        for (key, meter) in &mut meters {
            // The counters of an earlier boot are gone with it; what is known is the last reading.
            meter.record.last |= key.boot != boot;
        }
        Ok(Self { path, boot, meters, saved: Millis::ZERO, changed: false })
    }

    /// Begins to meter a start, or goes on after a restart of the agent.
    pub(crate) fn begin(&mut self, key: Key, at: At) {
        let key = self.key(key);
        self.changed = true;
        self.meters.entry(key).or_insert(Meter {
            record: MeterRecord {
                key,
                cpu: CoreMillis::ZERO,
                memory: MebibyteSeconds::ZERO,
                covered: Millis::ZERO,
                from: at,
                to: at,
                last: false,
            },
            rest: 0,
            read: None,
            memory: Mebibytes::ZERO,
            acknowledged: None,
        });
    }

    /// Takes in one sample.
    pub(crate) fn record(&mut self, sample: &Sample) {
        for (key, reading) in &sample.instances {
            let key = self.key(*key);
            if let Some(meter) = self.meters.get_mut(&key).filter(|m| !m.record.last) {
                meter.read(reading.cpu_nanos / 1_000_000, reading.memory, sample);
                self.changed = true;
            }
        }
    }

    /// Closes the meter of a start that has ended, with its final CPU counter where it is known.
    pub(crate) fn finish(&mut self, key: Key, cpu_micros: Option<u64>, at: At) {
        let key = self.key(key);
        if let Some(meter) = self.meters.get_mut(&key).filter(|m| !m.record.last) {
            let known = CoreMillis::new(cpu_micros.unwrap_or(0) / 1000);
            meter.record.cpu = meter.record.cpu.max(known);
            meter.record.to = meter.record.to.max(at);
            meter.record.last = true;
            self.changed = true;
        }
    }

    /// Returns the records that are not acknowledged at their present reading, oldest first.
    pub(crate) fn unacknowledged(&self, limit: usize) -> Vec<MeterRecord> {
        let news = |m: &&Meter| m.acknowledged != Some(m.record);
        self.meters.values().filter(news).map(|m| m.record).take(limit).collect()
    }

    /// Takes in what a journal keeps; ended starts that it keeps whole are forgotten.
    pub(crate) fn acknowledge(&mut self, kept: &[MeterRecord]) {
        for record in kept {
            let Some(meter) = self.meters.get_mut(&record.key) else { continue };
            self.changed = true;
            let whole = record.cpu >= meter.record.cpu && record.memory >= meter.record.memory;
            if record.last && meter.record.last && whole {
                self.meters.remove(&record.key);
            } else {
                meter.acknowledged = Some(*record);
            }
        }
    }

    /// Writes the records, now and then or when told to.
    pub(crate) fn save(&mut self, now: Millis, at_once: bool) -> io::Result<()> {
        let due = now.saturating_sub(self.saved) >= SAVE_INTERVAL;
        if !self.changed || !(due || at_once) {
            return Ok(());
        }
        store::save(&self.path, &self.meters)?;
        self.changed = false;
        self.saved = now;
        Ok(())
    }

    const fn key(&self, (instance, incarnation): Key) -> MeterKey {
        MeterKey { boot: self.boot, instance, incarnation }
    }

    /// Returns the record of a start of this boot.
    #[cfg(test)]
    fn of(&self, instance: InstanceId, incarnation: Incarnation) -> MeterRecord {
        self.meters[&self.key((instance, incarnation))].record
    }
}

impl Meter {
    fn read(&mut self, cpu_millis: u64, memory: Mebibytes, sample: &Sample) {
        let (record, now) = (&mut self.record, sample.monotonic);
        // A counter never falls; where processes are summed up one may be missed for a moment.
        record.cpu = record.cpu.max(CoreMillis::new(cpu_millis));
        let (held, gap) = match self.read {
            Some(before) => (self.memory, now.saturating_sub(before)),
            // An earlier agent read it last, by the wall clock, when it wrote the record.
            None => (self.memory.min(memory), sample.wall.since(record.to)),
        };
        let thousandths = held.get().saturating_mul(gap.get()).saturating_add(self.rest);
        record.memory = record.memory.saturating_add(MebibyteSeconds::new(thousandths / 1000));
        self.rest = thousandths % 1000;
        record.covered = record.covered.saturating_add(gap);
        record.to = record.to.max(sample.wall);
        self.memory = memory;
        self.read = Some(now);
    }
}

#[cfg(test)]
mod tests;
