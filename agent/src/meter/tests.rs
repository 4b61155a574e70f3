//! Tests of the meter: nothing lost, nothing counted twice, whatever is killed when.

use proptest::prelude::*;
use tengyun_model::{Incarnation, InstanceId};

use super::*;
use crate::observe::Reading;

const BOOT: BootId = BootId::new(7 << 64 | 9);
const LIMIT: usize = 10;

fn key(instance: u64) -> Key {
    (InstanceId::new(instance), Incarnation::new(1))
}

fn reading(cpu_millis: u64, mib: u64) -> Reading {
    Reading {
        cpu_nanos: cpu_millis * 1_000_000 + 999_999,
        memory: Mebibytes::new(mib),
        ..Reading::default()
    }
}

fn sample(second: u64, readings: &[(u64, u64, u64)]) -> Sample {
    let one = |(instance, cpu, mib): &(u64, u64, u64)| (key(*instance), reading(*cpu, *mib));
    Sample {
        monotonic: Millis::from_secs(second),
        wall: At::from_millis(second * 1000),
        instances: readings.iter().map(one).collect(),
        ..Sample::default()
    }
}

fn open(dir: &tempfile::TempDir) -> Meters {
    Meters::open(dir.path(), BOOT).unwrap()
}

fn record(meters: &Meters, instance: u64) -> MeterRecord {
    meters.by_start[&key(instance)].record
}

#[test]
fn memory_is_the_working_set_times_the_time_it_was_held() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(0, &[(1, 0, 100)]));
    meters.record(&sample(10, &[(1, 5, 50)]));
    meters.record(&sample(14, &[(1, 6, 50)]));
    let record = record(&meters, 1);
    assert_eq!(record.memory, MebibyteSeconds::new(100 * 10 + 50 * 4));
    assert_eq!((record.cpu, record.covered), (CoreMillis::new(6), Millis::from_secs(14)));
}

#[test]
fn parts_of_a_mebibyte_second_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    for tick in 0..=8_u64 {
        let at = Sample { monotonic: Millis::new(tick * 250), ..sample(0, &[(1, 0, 1)]) };
        meters.record(&at);
    }
    assert_eq!(record(&meters, 1).memory, MebibyteSeconds::new(2));
}

#[test]
fn over_an_outage_the_smaller_end_counts() {
    for (before, after) in [(100, 30), (30, 100)] {
        let dir = tempfile::tempdir().unwrap();
        let mut meters = open(&dir);
        meters.begin(key(1), At::default());
        meters.record(&sample(0, &[(1, 0, before)]));
        meters.save(Millis::ZERO, true).unwrap();
        let mut meters = open(&dir);
        meters.begin(key(1), At::from_millis(20_000));
        // The wall clock was set meanwhile; the monotonic one cannot be.
        let mut late = sample(20, &[(1, 9, after)]);
        late.wall = At::from_millis(9_000_000);
        meters.record(&late);
        let record = record(&meters, 1);
        assert_eq!(record.memory, MebibyteSeconds::new(30 * 20));
        assert_eq!((record.cpu, record.covered), (CoreMillis::new(9), Millis::from_secs(20)));
        assert_eq!(record.from, At::default(), "the start of the record is kept");
    }
}

#[test]
fn a_stopped_agent_is_an_outage_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(0, &[(1, 0, 100)]));
    meters.record(&sample(60, &[(1, 0, 10)]));
    assert_eq!(record(&meters, 1).memory, MebibyteSeconds::new(10 * 60));
}

#[test]
fn a_record_is_sent_until_its_reading_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(1, &[(1, 5, 1)]));
    let sent = meters.unacknowledged(LIMIT);
    assert_eq!(sent.len(), 1);
    assert_eq!(meters.unacknowledged(LIMIT), sent, "until it is acknowledged");
    meters.acknowledge(&sent);
    assert_eq!(meters.unacknowledged(LIMIT), []);
    meters.record(&sample(2, &[(1, 6, 1)]));
    let grown = meters.unacknowledged(LIMIT);
    assert_eq!(grown.len(), 1, "it grew");
    meters.acknowledge(&grown);
    meters.acknowledge(&sent);
    assert_eq!(meters.unacknowledged(LIMIT), [], "an old mark takes nothing back");
}

#[test]
fn an_ended_start_is_forgotten_only_when_its_last_reading_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(1, &[(1, 5, 1)]));
    let early = meters.unacknowledged(LIMIT);
    meters.finish(key(1), Some(9_999), At::from_millis(1500));
    meters.acknowledge(&early);
    let last = meters.unacknowledged(LIMIT);
    assert_eq!((last[0].cpu, last[0].last), (CoreMillis::new(9), true));
    meters.record(&sample(2, &[(1, 50, 1)]));
    assert_eq!(meters.unacknowledged(LIMIT), last, "an ended start is not metered");
    meters.acknowledge(&last);
    assert!(meters.by_start.is_empty());
}

#[test]
fn a_settled_start_found_again_is_not_metered_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.finish(key(1), Some(9_000), At::default());
    meters.acknowledge(&meters.unacknowledged(LIMIT));
    meters.save(Millis::ZERO, true).unwrap();
    // Its records are on disk still: the next agent, even after a reboot, finds them.
    for boot in [BOOT, BootId::new(8)] {
        let mut meters = Meters::open(dir.path(), boot).unwrap();
        meters.begin(key(1), At::default());
        meters.finish(key(1), Some(9_000), At::default());
        assert_eq!(meters.unacknowledged(LIMIT), []);
    }
}

#[test]
fn a_start_that_no_agent_saved_is_metered_by_its_final_counter() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.finish(key(1), Some(9_000), At::from_millis(5));
    meters.finish(key(2), None, At::from_millis(5));
    let sent = meters.unacknowledged(LIMIT);
    assert_eq!((sent.len(), sent[0].cpu, sent[0].last), (1, CoreMillis::new(9), true));
}

#[test]
fn records_of_an_earlier_boot_are_closed_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(1, &[(1, 5, 1)]));
    meters.save(Millis::ZERO, true).unwrap();
    let mut meters = Meters::open(dir.path(), BootId::new(8)).unwrap();
    let sent = meters.unacknowledged(LIMIT);
    assert_eq!((sent[0].key.boot, sent[0].cpu, sent[0].last), (BOOT, CoreMillis::new(5), true));
    // The shim had written the final counter before the machine went down.
    meters.finish(key(1), Some(7_000), At::default());
    let sent = meters.unacknowledged(LIMIT);
    assert_eq!((sent.len(), sent[0].key.boot, sent[0].cpu), (1, BOOT, CoreMillis::new(7)));
}

#[test]
fn a_meter_whose_file_was_lost_goes_on_from_the_journals_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::from_millis(9));
    meters.record(&sample(1, &[(1, 5, 1)]));
    let mut mark = record(&meters, 1);
    (mark.cpu, mark.memory) = (CoreMillis::new(3), MebibyteSeconds::new(500));
    meters.acknowledge(&[mark]);
    let sent = meters.unacknowledged(LIMIT);
    assert_eq!((sent[0].cpu, sent[0].memory), (CoreMillis::new(5), MebibyteSeconds::new(500)));
}

#[test]
fn marks_of_strangers_and_other_boots_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    let before = record(&meters, 1);
    let other = MeterKey { boot: BootId::new(1), ..before.key };
    let stranger = MeterKey { instance: InstanceId::new(99), ..before.key };
    for key in [other, stranger] {
        meters.acknowledge(&[MeterRecord { key, memory: MebibyteSeconds::MAX, ..before }]);
    }
    assert_eq!(meters.unacknowledged(LIMIT), [before]);
}

#[test]
fn more_records_than_fit_into_a_report_each_have_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    let mut seen = std::collections::BTreeSet::new();
    (0..9).for_each(|instance| meters.begin(key(instance), At::default()));
    for second in 1..=3_u64 {
        let all: Vec<_> = (0..9).map(|instance| (instance, second, 1)).collect();
        meters.record(&sample(second, &all));
        let sent = meters.unacknowledged(3);
        assert!(sent.len() == 3 && sent.is_sorted_by_key(|record| record.key));
        seen.extend(sent.iter().map(|record| record.key));
        meters.acknowledge(&sent);
    }
    assert_eq!(seen.len(), 9);
}

#[test]
fn beyond_the_bound_the_oldest_ended_record_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    let most = u64::try_from(RECORDS_MAX).unwrap();
    for instance in 0..most {
        meters.begin(key(instance), At::default());
    }
    meters.finish(key(5), None, At::from_millis(2));
    meters.finish(key(6), None, At::from_millis(1));
    meters.begin(key(most), At::default());
    assert_eq!(meters.by_start.len(), RECORDS_MAX);
    assert!(!meters.by_start.contains_key(&key(6)) && meters.by_start.contains_key(&key(5)));
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    for instance in 1..=3 {
        meters.begin(key(instance), At::from_millis(instance));
    }
    meters.record(&sample(1, &[(1, 5, 70), (2, 6, 80)]));
    meters.finish(key(2), Some(8_000), At::from_millis(1_800));
    meters.acknowledge(&meters.unacknowledged(1));
    meters.finish(key(3), None, At::from_millis(4));
    let third = meters.by_start[&key(3)].record;
    meters.acknowledge(&[third]);
    meters.save(Millis::ZERO, true).unwrap();
    let again = open(&dir);
    assert_eq!(again.settled, [key(3)]);
    assert_eq!(again.unacknowledged(LIMIT), meters.unacknowledged(LIMIT));
    for (key, meter) in &meters.by_start {
        let read = again.by_start[key];
        assert_eq!((read.record, read.rest, read.read), (meter.record, meter.rest, meter.read));
        assert_eq!((read.memory, read.adopted), (meter.memory, true));
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_a_missing_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.save(Millis::ZERO, true).unwrap();
    let path = dir.path().join("meters");
    let whole = std::fs::read(&path).unwrap();
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(open(&dir).by_start.is_empty(), "a flipped bit at {index} was not seen");
        assert!(path.with_extension("damaged").exists());
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(open(&dir).by_start.is_empty(), "a file cut at {length} was taken");
    }
    std::fs::create_dir(path.with_extension("new")).unwrap();
    meters.begin(key(2), At::default());
    assert!(meters.save(Millis::from_secs(10), true).is_err());
    std::fs::remove_dir(path.with_extension("new")).unwrap();
    meters.save(Millis::from_secs(10), true).expect("it is tried again");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(Meters::open(dir.path(), BOOT).is_err(), "a directory is no file of meters");
}

#[test]
fn records_are_written_now_and_then_unless_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    let path = dir.path().join("meters");
    meters.save(Millis::from_secs(100), false).unwrap();
    assert!(!path.exists(), "nothing changed");
    meters.begin(key(1), At::default());
    meters.save(Millis::from_secs(100), false).unwrap();
    assert_eq!(open(&dir).by_start.len(), 1);
    meters.begin(key(2), At::default());
    meters.save(Millis::from_secs(104), false).unwrap();
    assert_eq!(open(&dir).by_start.len(), 1, "too soon");
    meters.save(Millis::from_secs(105), false).unwrap();
    assert_eq!(open(&dir).by_start.len(), 2);
}

/// The journal's side, as the engine keeps it: no reading falls.
#[derive(Default)]
struct Journal(BTreeMap<MeterKey, MeterRecord>);

impl Journal {
    fn keep(&mut self, records: &[MeterRecord]) -> Vec<MeterRecord> {
        for record in records {
            let known = self.0.entry(record.key).or_insert(*record);
            let newer = record.cpu >= known.cpu && record.memory >= known.memory;
            if newer && (record.last || !known.last) {
                *known = *record;
            }
        }
        records.iter().map(|record| self.0[&record.key]).collect()
    }
}

/// What happens to a start: numbers choose among three instances and what was sent before.
#[derive(Clone, Debug)]
enum Happening {
    Use(u64, u64),
    End(u64),
    Save,
    Kill,
    Reboot,
    Report(bool),
    Acknowledge(prop::sample::Index),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0..3_u64, 0..5_000_u64).prop_map(|(which, micros)| Happening::Use(which, micros)),
        1 => (0..3_u64).prop_map(Happening::End),
        2 => Just(Happening::Save),
        2 => Just(Happening::Kill),
        1 => Just(Happening::Reboot),
        3 => any::<bool>().prop_map(Happening::Report),
        3 => any::<prop::sample::Index>().prop_map(Happening::Acknowledge),
    ]
}

/// A server: the kernel's counters, and the shims' records of starts that ended.
struct Server {
    dir: tempfile::TempDir,
    boot: u128,
    second: u64,
    meters: Meters,
    running: BTreeMap<Key, u64>,
    ended: BTreeMap<Key, u64>,
    starts: BTreeMap<u64, u32>,
}

impl Server {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let meters = Meters::open(dir.path(), BootId::new(1)).unwrap();
        let (running, ended, starts) = Default::default();
        Self { dir, boot: 1, second: 0, meters, running, ended, starts }
    }

    fn now(&self) -> At {
        At::from_millis(self.second * 1000)
    }

    /// Uses CPU in the running start of an instance; one that does not run is started.
    fn consume(&mut self, which: u64, micros: u64) {
        let start = self.starts.entry(which).or_insert(1);
        let key = (InstanceId::new(which), Incarnation::new(*start));
        let now = At::from_millis(self.second * 1000);
        *self.running.entry(key).or_insert_with(|| {
            self.meters.begin(key, now);
            0
        }) += micros;
        let readings = self.running.iter().map(|(key, micros)| {
            let memory = Mebibytes::new(which + 1);
            (*key, Reading { cpu_nanos: micros * 1000, memory, ..Reading::default() })
        });
        self.meters.record(&Sample {
            monotonic: Millis::from_secs(self.second),
            wall: now,
            instances: readings.collect(),
            ..Sample::default()
        });
    }

    fn end(&mut self, which: u64) {
        let start = self.starts.entry(which).or_insert(1);
        let key = (InstanceId::new(which), Incarnation::new(*start));
        if let Some(micros) = self.running.remove(&key) {
            *start += 1;
            self.ended.insert(key, micros);
            self.meters.finish(key, Some(micros), self.now());
        }
    }

    /// Starts the agent again: it finds what runs and every ended start, settled or not.
    fn restart(&mut self) {
        self.meters = Meters::open(self.dir.path(), BootId::new(self.boot)).unwrap();
        for (key, micros) in &self.ended {
            self.meters.finish(*key, Some(*micros), self.now());
        }
        for key in self.running.keys() {
            self.meters.begin(*key, self.now());
        }
    }

    /// Starts the machine again, as a shutdown does: the shims wrote down how the starts ended.
    fn reboot(&mut self) {
        for which in 0..3 {
            let start = self.starts.entry(which).or_insert(1);
            let key = (InstanceId::new(which), Incarnation::new(*start));
            if let Some(micros) = self.running.remove(&key) {
                *start += 1;
                self.ended.insert(key, micros);
            }
        }
        self.boot += 1;
        self.restart();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever is killed, rebooted, repeated, late or lost: what the journal keeps never falls, and
    /// in the end it is what the kernel counted, for every start once.
    #[test]
    fn a_record_never_falls_and_nothing_is_lost(
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let mut server = Server::new();
        let mut journal = Journal::default();
        let mut marks: Vec<Vec<MeterRecord>> = Vec::new();
        for happening in happenings {
            server.second += 1;
            match happening {
                Happening::Use(which, micros) => server.consume(which, micros),
                Happening::End(which) => server.end(which),
                Happening::Save => server.meters.save(Millis::ZERO, true).unwrap(),
                Happening::Kill => server.restart(),
                Happening::Reboot => {
                    // A clean shutdown saves; a power cut is another story, told by the documents.
                    server.meters.save(Millis::ZERO, true).unwrap();
                    server.reboot();
                }
                Happening::Report(arrives) => {
                    let records = server.meters.unacknowledged(2);
                    if arrives {
                        let before = journal.0.clone();
                        marks.push(journal.keep(&records));
                        for (key, record) in &before {
                            prop_assert!(journal.0[key].cpu >= record.cpu);
                        }
                    }
                }
                Happening::Acknowledge(index) => {
                    if !marks.is_empty() {
                        server.meters.acknowledge(&marks[index.index(marks.len())]);
                    }
                }
            }
        }
        (0..3).for_each(|which| server.end(which));
        for _ in 0..200 {
            let kept = journal.keep(&server.meters.unacknowledged(2));
            server.meters.acknowledge(&kept);
        }
        prop_assert!(server.meters.by_start.is_empty(), "{:?}", server.meters.by_start);
        prop_assert_eq!(journal.0.values().filter(|record| !record.last).count(), 0);
        let mut billed: BTreeMap<Key, u64> = BTreeMap::new();
        for record in journal.0.values() {
            let key = (record.key.instance, record.key.incarnation);
            *billed.entry(key).or_default() += record.cpu.get();
        }
        let used = server.ended.iter().map(|(key, micros)| (*key, micros / 1000));
        let zero = |(_, cpu): &(Key, u64)| *cpu > 0;
        let billed: BTreeMap<_, _> = billed.into_iter().filter(zero).collect();
        prop_assert_eq!(billed, used.filter(zero).collect::<BTreeMap<_, _>>());
    }
}
