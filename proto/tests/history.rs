//! What agents remember of use, on the wire: it survives, and what is hostile is refused.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;
use tengyun_model::*;
use tengyun_proto::convert::{ConvertError, NODE_INSTANCES_MAX, SKETCHES_MAX};
use tengyun_proto::limits::AGENT_BYTES_MAX;
use tengyun_proto::v1;

fn sketch() -> impl Strategy<Value = Sketch> {
    let windows = vec((any::<u32>(), 0..=1000_u32), 0..=SKETCH_WINDOWS_MAX);
    (any::<(u64, u64)>(), windows).prop_map(|((from, memory), windows)| Sketch {
        from: At::from_millis(from),
        windows: windows
            .into_iter()
            .map(|(cpu, covered)| SketchWindow {
                cpu: Millicores::new(u64::from(cpu)),
                covered: Permille::new(covered),
            })
            .collect(),
        memory: Mebibytes::new(memory),
    })
}

fn peaks() -> impl Strategy<Value = Peaks> {
    let slots = prop::array::uniform9(any::<u32>());
    let known = (any::<u64>(), any::<u64>(), slots, any::<u32>());
    option::of(known).prop_map(|known| match known {
        Some((began, open_from, slots_mib, highest_mib)) => Peaks {
            began: Some(At::from_millis(began)),
            open_from: At::from_millis(open_from),
            slots_mib,
            highest_mib,
        },
        None => Peaks::default(),
    })
}

fn history() -> impl Strategy<Value = UsageHistory> {
    let instances = btree_map(any::<u64>(), (sketch(), peaks()), 0..4);
    (any::<u64>(), 1000..=3_600_000_u64, option::of(sketch()), instances).prop_map(
        |(at, window, foreign, instances)| UsageHistory {
            at: At::from_millis(at),
            window: Millis::new(window),
            foreign,
            instances: instances
                .into_iter()
                .map(|(id, (sketch, peaks))| InstanceSketch {
                    instance: InstanceId::new(id),
                    sketch,
                    peaks,
                })
                .collect(),
        },
    )
}

/// What the wire says of a message that was sent as bytes.
fn read(bytes: &[u8]) -> Option<Result<UsageHistory, ConvertError>> {
    v1::UsageHistory::decode(bytes).ok().map(UsageHistory::try_from)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_history_survives_the_wire(history in history()) {
        let bytes = v1::UsageHistory::from(&history).encode_to_vec();
        prop_assert_eq!(read(&bytes).unwrap().unwrap(), history);
    }

    #[test]
    fn garbage_and_damage_never_panic(
        bytes in vec(any::<u8>(), 0..256),
        history in history(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let _refused = read(&bytes);
        let mut bytes = v1::UsageHistory::from(&history).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Some(Ok(read)) = read(&bytes) {
            let short = |sketch: &Sketch| sketch.windows.len() <= SKETCH_WINDOWS_MAX;
            prop_assert!(read.foreign.iter().all(short));
            prop_assert!(read.instances.iter().all(|each| short(&each.sketch)));
        }
    }
}

fn sketch_of(windows: usize) -> v1::UseSketch {
    v1::UseSketch {
        instance: 1,
        from_millis: 1_800_000_000_000,
        cpu_millicores: vec![16_000; windows],
        covered_permille: vec![1000; windows],
        memory_mib: 4096,
        peaks: Some(peaks_of(PEAK_SLOTS)),
    }
}

fn peaks_of(slots: usize) -> v1::MemoryPeaks {
    v1::MemoryPeaks {
        began_millis: 1_790_000_000_000,
        open_from_millis: 1_800_000_000_000,
        slots_mib: vec![4096; slots],
        highest_mib: 4096,
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut v1::UsageHistory), expected: &str) {
    let mut wire = v1::UsageHistory { window_millis: 300_000, ..v1::UsageHistory::default() };
    assert!(UsageHistory::try_from(wire.clone()).is_ok());
    change(&mut wire);
    let error = UsageHistory::try_from(wire).expect_err("the change is refused");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn hostile_lengths_and_numbers_are_refused() {
    for window in [0, 999, 3_600_001, u64::MAX] {
        refused(|h| h.window_millis = window, "window_millis: must be from 1000 ms to 3600000 ms");
    }
    refused(
        |h| h.foreign = Some(sketch_of(145)),
        "foreign.cpu_millicores: has 145 items, at most 144 are allowed",
    );
    refused(
        |h| h.instances = vec![sketch_of(1_000_000)],
        "instances[0].cpu_millicores: has 1000000 items, at most 144 are allowed",
    );
    refused(
        |h| h.instances = vec![v1::UseSketch { covered_permille: vec![], ..sketch_of(2) }],
        "instances[0].covered_permille: is not of as many windows",
    );
    refused(
        |h| h.instances = vec![v1::UseSketch { covered_permille: vec![1001], ..sketch_of(1) }],
        "instances[0].covered_permille: 1001 is above the whole",
    );
    refused(
        |h| h.instances = vec![v1::UseSketch::default(); SKETCHES_MAX + 1],
        "instances: has 257 items, at most 256 are allowed",
    );
    refused(
        |h| h.instances = vec![sketch_of(1), sketch_of(1)],
        "instances: InstanceId(1) comes twice",
    );
    let peaks = Some(peaks_of(1_000_000));
    refused(
        |h| h.instances = vec![v1::UseSketch { peaks, ..sketch_of(1) }],
        "instances[0].peaks.slots_mib: has 1000000 items, at most 9 are allowed",
    );
}

/// What an agent says that knows nothing of peaks: nothing was measured.
#[test]
fn an_agent_without_peaks_is_understood() {
    let old = v1::UseSketch { peaks: None, ..sketch_of(3) };
    assert_eq!(InstanceSketch::try_from(old).unwrap().peaks, Peaks::default());
    let empty = v1::UseSketch { peaks: Some(v1::MemoryPeaks::default()), ..sketch_of(3) };
    let peaks = InstanceSketch::try_from(empty).unwrap().peaks;
    assert_eq!((peaks.began, peaks.peak()), (Some(At::default()), Mebibytes::ZERO));
}

#[test]
fn peaks_of_a_young_instance_are_a_few_bytes() {
    let mut peaks = Peaks::default();
    peaks.note(At::from_millis(1_800_000_000_000), Mebibytes::new(100), Millis::new(5000));
    let each = InstanceSketch { instance: InstanceId::new(1), sketch: Sketch::default(), peaks };
    let history = UsageHistory {
        at: At::default(),
        window: Millis::from_secs(300),
        foreign: None,
        instances: vec![each],
    };
    let wire = v1::UsageHistory::from(&history);
    let told = wire.instances[0].peaks.clone().unwrap();
    assert!(told.slots_mib == [100] && told.encoded_len() < 20, "{told:?}");
    assert_eq!(UsageHistory::try_from(wire).unwrap(), history);
}

#[test]
fn a_full_part_is_a_small_message_and_a_full_node_is_few_of_them() {
    let part = v1::UsageHistory {
        instances: vec![sketch_of(SKETCH_WINDOWS_MAX); SKETCHES_MAX],
        ..v1::UsageHistory::default()
    };
    assert!(part.encoded_len() * 16 < AGENT_BYTES_MAX, "{} bytes", part.encoded_len());
    assert!(NODE_INSTANCES_MAX.div_ceil(SKETCHES_MAX) <= 40);
}
