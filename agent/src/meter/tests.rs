//! Tests of the meter: nothing lost, nothing counted twice, whatever is killed when.

use proptest::prelude::*;

use super::*;

const BOOT: BootId = BootId::new(7);

fn key(instance: u64) -> Key {
    (InstanceId::new(instance), Incarnation::new(1))
}

fn sample(second: u64, readings: &[(u64, u64, u64)]) -> Sample {
    use crate::observe::Reading;
    let reading = |(instance, cpu_millis, mib): &(u64, u64, u64)| {
        let cpu_nanos = cpu_millis * 1_000_000 + 999_999;
        (key(*instance), Reading { cpu_nanos, memory: Mebibytes::new(*mib) })
    };
    Sample {
        monotonic: Millis::from_secs(second),
        wall: At::from_millis(second * 1000),
        instances: readings.iter().map(reading).collect(),
        ..Sample::default()
    }
}

fn open(dir: &tempfile::TempDir) -> Meters {
    Meters::open(dir.path(), BOOT).unwrap()
}

#[test]
fn memory_is_the_working_set_times_the_time_it_was_held() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(0, &[(1, 0, 100)]));
    meters.record(&sample(10, &[(1, 5, 50)]));
    meters.record(&sample(14, &[(1, 6, 50)]));
    let record = meters.of(key(1).0, key(1).1);
    assert_eq!(record.memory, MebibyteSeconds::new(100 * 10 + 50 * 4));
    assert_eq!((record.cpu, record.covered), (CoreMillis::new(6), Millis::from_secs(14)));
}

#[test]
fn over_an_outage_the_smaller_end_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(0, &[(1, 0, 100)]));
    meters.save(Millis::ZERO, true).unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::from_millis(20_000));
    meters.record(&sample(20, &[(1, 9, 30)]));
    let record = meters.of(key(1).0, key(1).1);
    assert_eq!(record.memory, MebibyteSeconds::new(30 * 20));
    assert_eq!(record.cpu, CoreMillis::new(9));
    assert_eq!(record.from, At::default(), "the start of the record is kept");
}

#[test]
fn a_record_is_sent_until_its_reading_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(1, &[(1, 5, 1)]));
    let sent = meters.unacknowledged(10);
    assert_eq!(sent.len(), 1);
    assert_eq!(meters.unacknowledged(10), sent, "until it is acknowledged");
    meters.acknowledge(&sent);
    assert_eq!(meters.unacknowledged(10), []);
    meters.record(&sample(2, &[(1, 6, 1)]));
    assert_eq!(meters.unacknowledged(10).len(), 1, "it grew");
}

#[test]
fn an_ended_start_is_forgotten_only_when_its_last_reading_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(1, &[(1, 5, 1)]));
    let early = meters.unacknowledged(10);
    meters.finish(key(1), Some(9_999), At::from_millis(1500));
    meters.acknowledge(&early);
    let last = meters.unacknowledged(10);
    assert_eq!((last[0].cpu, last[0].last), (CoreMillis::new(9), true));
    meters.record(&sample(2, &[(1, 50, 1)]));
    assert_eq!(meters.unacknowledged(10), last, "an ended start is not metered");
    meters.acknowledge(&last);
    assert!(meters.meters.is_empty());
}

#[test]
fn records_of_an_earlier_boot_are_closed_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut meters = open(&dir);
    meters.begin(key(1), At::default());
    meters.record(&sample(1, &[(1, 5, 1)]));
    meters.save(Millis::ZERO, true).unwrap();
    let meters = Meters::open(dir.path(), BootId::new(8)).unwrap();
    let sent = meters.unacknowledged(10);
    assert_eq!((sent[0].key.boot, sent[0].cpu, sent[0].last), (BOOT, CoreMillis::new(5), true));
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
        assert!(open(&dir).meters.is_empty(), "a flipped bit at {index} was not seen");
        assert!(path.with_extension("damaged").exists());
    }
    std::fs::create_dir(path.with_extension("new")).unwrap();
    meters.begin(key(2), At::default());
    assert!(meters.save(Millis::from_secs(10), true).is_err());
}

#[derive(Clone, Debug)]
enum Happening {
    Use(u64),
    Save,
    Kill,
    Report,
    AcknowledgeLate,
    Duplicate,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0_u64..500).prop_map(Happening::Use),
        Just(Happening::Save),
        Just(Happening::Kill),
        Just(Happening::Report),
        Just(Happening::AcknowledgeLate),
        Just(Happening::Duplicate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is killed, repeated or late: the journal's reading never falls, and in the end it is
    /// what the kernel counted.
    #[test]
    fn a_record_never_falls_and_nothing_is_lost(happenings in prop::collection::vec(happening(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut meters = open(&dir);
        let (mut kernel, mut second, mut journal) = (0_u64, 0_u64, CoreMillis::ZERO);
        let mut sent: Vec<Vec<MeterRecord>> = Vec::new();
        meters.begin(key(1), At::default());
        meters.save(Millis::ZERO, true).unwrap();
        for happening in happenings {
            second += 1;
            match happening {
                Happening::Use(millis) => {
                    kernel += millis;
                    meters.record(&sample(second, &[(1, kernel, 1)]));
                }
                Happening::Save => meters.save(Millis::from_secs(second), true).unwrap(),
                Happening::Kill => {
                    meters = open(&dir);
                    meters.begin(key(1), At::from_millis(second * 1000));
                }
                Happening::Report => {
                    let records = meters.unacknowledged(10);
                    for record in &records {
                        journal = journal.max(record.cpu);
                    }
                    sent.push(records);
                }
                Happening::AcknowledgeLate => {
                    if let Some(records) = sent.pop() {
                        meters.acknowledge(&records);
                    }
                }
                Happening::Duplicate => {
                    if let Some(records) = sent.first().cloned() {
                        meters.acknowledge(&records);
                    }
                }
            }
            prop_assert!(journal <= CoreMillis::new(kernel));
        }
        meters.finish(key(1), Some(kernel * 1000), At::from_millis(second * 1000));
        for record in meters.unacknowledged(10) {
            prop_assert!(record.cpu >= journal);
            journal = journal.max(record.cpu);
        }
        prop_assert_eq!(journal, CoreMillis::new(kernel));
    }
}
