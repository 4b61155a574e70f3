//! What the sketches must hold.

use tengyun_model::InstanceUsage;

use super::*;

const SECOND: Millis = Millis::from_secs(1);
/// A window begins here.
const BEGIN: u64 = 6_000_000;

fn window(number: u64) -> At {
    At::from_millis((BEGIN + number) * WINDOW.get())
}

fn usage(at: At, interval: Millis, foreign: u64, uses: &[(u64, u64)]) -> NodeUsage {
    let used = |(id, cpu): &(u64, u64)| InstanceUsage {
        instance: InstanceId::new(*id),
        cpu: Millicores::new(*cpu),
        memory: Mebibytes::new(cpu + 1),
        io_bytes: None,
    };
    NodeUsage {
        at,
        interval,
        cpu_foreign: Millicores::new(foreign),
        instances: uses.iter().map(used).collect(),
        ..NodeUsage::default()
    }
}

/// Reports every five seconds of a window what one instance uses.
fn fill(sketches: &mut Sketches, number: u64, cpu: u64) {
    for part in 1..=60 {
        let at = window(number).after(Millis::from_secs(5 * part));
        sketches.take(&usage(at, Millis::from_secs(5), 10, &[(1, cpu)]));
    }
}

fn told(sketches: &Sketches) -> Sketch {
    let mut parts = sketches.tell(window(0), 100);
    assert_eq!(parts.len(), 1);
    parts.remove(0).instances.remove(0).sketch
}

fn windows(sketch: &Sketch) -> Vec<(u64, u32)> {
    sketch.windows.iter().map(|w| (w.cpu.get(), w.covered.get())).collect()
}

#[test]
fn windows_are_aligned_to_wall_time_wherever_it_began() {
    let mut sketches = Sketches::default();
    let late = window(3).after(Millis::from_secs(100));
    for part in 1..=80 {
        let at = late.after(Millis::from_secs(5 * part));
        sketches.take(&usage(at, Millis::from_secs(5), 0, &[(1, part)]));
    }
    let sketch = told(&sketches);
    assert_eq!(sketch.from, window(3));
    // Forty reports until the window ended, forty after.
    assert_eq!(windows(&sketch), [(21, 666), (61, 666)]);
    assert_eq!(sketch.memory, Mebibytes::new(81));
}

#[test]
fn what_ends_with_a_window_belongs_to_it() {
    let mut sketches = Sketches::default();
    fill(&mut sketches, 0, 7);
    assert_eq!((told(&sketches).from, windows(&told(&sketches))), (window(0), vec![(7, 1000)]));
    fill(&mut sketches, 1, 9);
    assert_eq!(windows(&told(&sketches)), [(7, 1000), (9, 1000)]);
}

#[test]
fn a_window_that_was_hardly_measured_is_a_gap_and_not_a_use_of_nothing() {
    let mut sketches = Sketches::default();
    fill(&mut sketches, 0, 500);
    // A fifth of the next window, nothing of the two after it, then a quarter.
    let part = |number, secs| usage(window(number).after(SECOND), secs, 0, &[(1, 900)]);
    sketches.take(&part(1, Millis::from_secs(60)));
    sketches.take(&part(4, Millis::from_secs(75)));
    fill(&mut sketches, 5, 500);
    let expected = [(500, 1000), (0, 0), (0, 0), (0, 0), (900, 250), (500, 1000)];
    assert_eq!(windows(&told(&sketches)), expected);
}

#[test]
fn an_open_window_is_told_as_far_as_it_was_measured() {
    let mut sketches = Sketches::default();
    fill(&mut sketches, 0, 500);
    sketches.take(&usage(window(1).after(SECOND), SECOND, 0, &[(1, 100)]));
    assert_eq!(windows(&told(&sketches)), [(500, 1000), (100, 3)]);
}

#[test]
fn half_a_day_is_remembered_and_no_more() {
    let mut sketches = Sketches::default();
    for number in 0..1000 {
        fill(&mut sketches, number, number);
    }
    let sketch = told(&sketches);
    assert_eq!(sketch.windows.len(), SKETCH_WINDOWS_MAX);
    assert_eq!((sketch.from, sketch.windows[0].cpu.get()), (window(856), 856));
    let ring = &sketches.instances[&InstanceId::new(1)].ring;
    assert_eq!(size_of::<Past>(), 8);
    assert_eq!(ring.past.capacity(), SKETCH_WINDOWS_MAX);
}

#[test]
fn a_machine_that_slept_leaves_gaps_and_one_that_slept_for_days_begins_anew() {
    let mut sketches = Sketches::default();
    fill(&mut sketches, 0, 500);
    // The interval from before the sleep until after it says little of any one window.
    let hours = Millis::from_secs(2 * 3600);
    sketches.take(&usage(window(25).after(SECOND), hours, 0, &[(1, 300)]));
    let sketch = told(&sketches);
    assert_eq!((sketch.from, sketch.windows.len()), (window(0), 26));
    assert_eq!(windows(&sketch)[24..], [(0, 0), (300, 1000)]);
    assert!(windows(&sketch)[1..25].iter().all(|w| *w == (0, 0)));
    sketches.take(&usage(window(5000).after(SECOND), SECOND, 0, &[(1, 1)]));
    let sketch = told(&sketches);
    assert_eq!((sketch.from, windows(&sketch)), (window(5000), vec![(1, 3)]));
}

#[test]
fn a_clock_that_went_back_changes_nothing_until_it_is_there_again() {
    let mut sketches = Sketches::default();
    fill(&mut sketches, 10, 500);
    let before = told(&sketches);
    fill(&mut sketches, 3, 900);
    assert_eq!(told(&sketches), before);
    fill(&mut sketches, 11, 400);
    assert_eq!(windows(&told(&sketches)), [(500, 1000), (400, 1000)]);
}

#[test]
fn instances_that_are_gone_are_forgotten_and_one_that_rests_is_not() {
    let mut sketches = Sketches::default();
    let uses = [(1, 5), (2, 6), (3, 7)];
    sketches.take(&usage(window(0).after(SECOND), SECOND, 0, &uses));
    sketches.take(&usage(window(0).after(SECOND), SECOND, 0, &[(1, 5)]));
    sketches.retain(&[1, 2].map(InstanceId::new).into());
    let parts = sketches.tell(window(1), 100);
    let ids: Vec<u64> = parts[0].instances.iter().map(|each| each.instance.get()).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn what_is_told_comes_in_parts_and_once() {
    let mut sketches = Sketches::default();
    assert_eq!(sketches.tell(window(0), 2), []);
    sketches.take(&usage(window(0).after(SECOND), SECOND, 40, &[]));
    let alone = sketches.tell(window(1), 2);
    assert_eq!((alone.len(), alone[0].instances.len()), (1, 0));
    let uses: Vec<_> = (1..=5).map(|id| (id, 5)).collect();
    sketches.take(&usage(window(0).after(SECOND), SECOND, 40, &uses));
    let parts = sketches.tell(window(1), 2);
    let sizes: Vec<_> = parts.iter().map(|p| (p.instances.len(), p.foreign.is_some())).collect();
    assert_eq!(sizes, [(2, true), (2, false), (1, false)]);
    assert!(parts.iter().all(|part| (part.at, part.window) == (window(1), WINDOW)));
}

/// Reports once in a window from one to another what the first instance holds.
fn hold(sketches: &mut Sketches, windows: std::ops::Range<u64>, memory: u64) {
    for number in windows {
        sketches.take(&usage(window(number).after(WINDOW), WINDOW, 10, &[(1, memory - 1)]));
    }
}

fn peaks(sketches: &Sketches) -> Peaks {
    sketches.tell(window(0), 100).remove(0).instances.remove(0).peaks
}

/// Windows of a slot of peaks, and of a day.
const SLOT: u64 = 36;
const DAY: u64 = 288;

#[test]
fn peaks_go_back_further_than_windows() {
    let mut sketches = Sketches::default();
    hold(&mut sketches, 0..1, 900);
    hold(&mut sketches, 1..DAY, 100);
    assert_eq!((peaks(&sketches).peak().get(), peaks(&sketches).began), (900, Some(window(0))));
    assert!(windows(&told(&sketches)).iter().all(|(cpu, _)| *cpu == 99), "half a day of windows");
    hold(&mut sketches, DAY..9 * DAY, 100);
    let faded = peaks(&sketches).peak().get();
    assert!((370..=460).contains(&faded), "{faded}");
    assert_eq!(peaks(&sketches).slots_mib, [100; 9]);
    assert!(size_of::<Peaks>() <= 72);
}

#[test]
fn what_was_not_measured_is_no_history_of_peaks() {
    let mut sketches = Sketches::default();
    hold(&mut sketches, 0..SLOT, 900);
    hold(&mut sketches, 100 * SLOT..101 * SLOT, 100);
    let kept = peaks(&sketches);
    let hours = kept.history(window(101 * SLOT)).get() / 3_600_000;
    assert!(kept.peak().get() == 900 && (6..=12).contains(&hours), "{hours}");
    // What is idle and has no working set at the moment says nothing.
    let none = InstanceUsage {
        instance: InstanceId::new(1),
        cpu: Millicores::ZERO,
        memory: Mebibytes::ZERO,
        io_bytes: None,
    };
    let at = window(200 * SLOT);
    let instances = vec![none];
    sketches.take(&NodeUsage { at, interval: SECOND, instances, ..NodeUsage::default() });
    assert_eq!(peaks(&sketches), kept);
}

#[test]
fn peaks_outlive_other_windows_and_not_their_instance() {
    let mut sketches = Sketches::default();
    hold(&mut sketches, 0..9, 900);
    sketches.keep_windows_of(SECOND);
    hold(&mut sketches, 9..10, 100);
    assert_eq!((peaks(&sketches).peak().get(), peaks(&sketches).began), (900, Some(window(0))));
    sketches.retain(&BTreeSet::new());
    hold(&mut sketches, 10..11, 100);
    assert_eq!((peaks(&sketches).peak().get(), peaks(&sketches).began), (100, Some(window(10))));
}

#[test]
fn other_windows_begin_anew_and_the_same_go_on() {
    let mut sketches = Sketches::default();
    fill(&mut sketches, 0, 500);
    for same in [Millis::ZERO, WINDOW] {
        sketches.keep_windows_of(same);
        assert_eq!(sketches.tell(window(1), 9).len(), 1);
    }
    sketches.keep_windows_of(Millis::new(1));
    assert_eq!(sketches.tell(window(1), 9), []);
    sketches.take(&usage(window(2).after(SECOND), SECOND, 0, &[(1, 5)]));
    assert_eq!(sketches.tell(window(3), 9)[0].window, SECOND);
}

#[test]
fn the_largest_numbers_overflow_nothing() {
    let mut sketches = Sketches::default();
    for at in [0, 1, u64::MAX / 2, u64::MAX] {
        let huge = Millis::new(u64::MAX);
        let uses = [(u64::MAX, u64::MAX - 1)];
        sketches.take(&usage(At::from_millis(at), huge, u64::MAX, &uses));
        assert!(sketches.tell(At::from_millis(at), 9).len() == 1);
    }
}
