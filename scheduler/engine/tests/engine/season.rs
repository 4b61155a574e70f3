//! Seasons in a cloud: what is told of days decides what is foreseen of them, and nodes are not emptied
//! before the load that is to come.

use crate::cloud::{Cloud, REPORT, spec};
use tengyun_engine::days::Stretch;
use tengyun_engine::{Command, Move, State, predict};
use tengyun_model::{
    At, DayKind, InstanceId, InstanceSketch, InstanceUsage, Mebibytes, Millicores, Millis, NodeId,
    NodeUsage, OperationId, Peaks, Permille, SKETCH_WINDOWS_MAX, Sketch, SketchWindow,
    UsageHistory,
};

/// A Monday at midnight.
const MONDAY: At = At::from_millis(1_800_230_400_000);
const WINDOW: Millis = Millis::from_secs(300);

fn after(days: u64, minutes: u64) -> At {
    MONDAY.after(Millis::from_secs((days * 24 * 60 + minutes) * 60))
}

/// Lets everything use what an office does until a moment: much from nine to six of days that
/// `works` names.
fn work_until(cloud: &mut Cloud, end: At, works: impl Fn(u64) -> bool) {
    use_until(
        cloud,
        end,
        |_, day, hour| {
            if works(day) && (9..18).contains(&hour) { 300 } else { 40 }
        },
    );
}

/// Lets everything use what `used` says of an instance, a day and an hour, and some noise.
fn use_until(cloud: &mut Cloud, end: At, used: impl Fn(u64, u64, u64) -> u64) {
    let mut seed = 1_u64;
    while cloud.now < end {
        let minute = cloud.now.since(MONDAY).get() / 60_000;
        let (day, hour) = (minute / 1440, minute % 1440 / 60);
        cloud.now = cloud.now.after(WINDOW);
        for node in cloud.state.nodes().map(|n| n.id).collect::<Vec<NodeId>>() {
            let mut used = |instance: InstanceId| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let cpu = used(instance.get(), day, hour) + (seed >> 33) % 20;
                let cpu = Millicores::new(cpu);
                InstanceUsage { instance, cpu, memory: Mebibytes::new(64), io_bytes: None }
            };
            let instances: Vec<_> = cloud.state.on_node(node).map(&mut used).collect();
            let cpu = instances.iter().map(|i| i.cpu).sum();
            let (at, interval) = (cloud.now, WINDOW);
            let usage = NodeUsage { at, interval, cpu, instances, ..NodeUsage::default() };
            cloud.must(Command::ReportUsage { node, usage });
        }
    }
}

/// Two nodes with two instances each that know three weeks of an office.
fn office() -> Cloud {
    let mut cloud = Cloud::of(2);
    cloud.now = MONDAY;
    cloud.set(&[("consolidate", 0), ("data_stale_seconds", 600)]);
    for number in 1..=4 {
        let mut app = spec(&format!("app{number}"));
        app.resources.cpu = Millicores::new(400);
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(3 * REPORT.get() / 1000));
    assert_eq!(cloud.layout().values().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    cloud.now = MONDAY;
    work_until(&mut cloud, after(19, 8 * 60), |day| day % 7 < 5);
    cloud
}

/// Tells what the days from the third Saturday on are.
fn tell(cloud: &mut Cloud, kinds: [DayKind; 3]) {
    let stretch = |(day, kind)| Stretch { from: after(18 + day, 0), minute: 0, kind };
    cloud.must(Command::NoteDays((0_u64..).zip(kinds).map(stretch).collect()));
}

/// The highest mean of an instance that is expected within an hour.
fn within_an_hour(cloud: &Cloud) -> u64 {
    let (all, seasonal) =
        predict::horizons(&cloud.state, InstanceId::new(1), cloud.now).expect("it is measured");
    assert!(seasonal, "its season has a say: {all:?}");
    let hour = all.iter().find(|h| h.horizon == Millis::from_secs(3600));
    hour.expect("an hour is foreseen").expected.mean.get()
}

#[test]
fn a_saturday_on_which_people_work_is_foreseen_by_the_calendar_and_not_without() {
    use DayKind::{Rest, Working};
    let cloud = &mut office();
    assert!(within_an_hour(cloud) < 80, "{}", within_an_hour(cloud));
    tell(cloud, [Working, Working, Rest]);
    work_until(cloud, after(19, 8 * 60 + 5), |_| false);
    assert!(within_an_hour(cloud) > 250, "{}", within_an_hour(cloud));
    // A Monday that is a holiday.
    work_until(cloud, after(21, 8 * 60), |day| day == 19);
    let mut other = cloud_of(cloud);
    tell_monday(cloud, Rest);
    tell_monday(&mut other, Working);
    work_until(cloud, after(21, 8 * 60 + 5), |_| false);
    work_until(&mut other, after(21, 8 * 60 + 5), |_| false);
    assert!(within_an_hour(cloud) < 80, "{}", within_an_hour(cloud));
    assert!(within_an_hour(&other) > 250, "{}", within_an_hour(&other));
}

fn tell_monday(cloud: &mut Cloud, kind: DayKind) {
    let from = after(21, 0);
    cloud.must(Command::NoteDays(vec![Stretch { from, minute: 0, kind }]));
}

fn cloud_of(cloud: &Cloud) -> Cloud {
    let mut other = Cloud::of(0);
    other.state = cloud.state.clone();
    other.now = cloud.now;
    other
}

#[test]
fn no_node_is_emptied_before_the_load_of_the_morning() {
    use DayKind::{Rest, Working};
    for (kind, emptied) in [(Rest, true), (Working, false)] {
        let cloud = &mut office();
        tell(cloud, [Working, kind, Rest]);
        work_until(cloud, after(19, 8 * 60 + 30), |_| false);
        cloud.set(&[("data_stale_seconds", 600)]);
        let plan = cloud.plan();
        let shifts = plan.moves.iter().any(|step| matches!(step, Move::Shift { .. }));
        assert_eq!(shifts, emptied, "on a day of {kind:?}: {:?}", plan.moves);
        // Once the load is over it is emptied in any case.
        cloud.set(&[("consolidate", 0), ("data_stale_seconds", 600)]);
        work_until(cloud, after(19, 20 * 60), |day| day == 19 && kind == Working);
        cloud.set(&[("data_stale_seconds", 600)]);
        assert_ne!(cloud.plan().moves, [], "in the evening");
    }
}

/// What an office uses in a window, by the number of the window since Monday.
fn office_use(instance: u64, window: u64) -> u64 {
    let (day, hour) = (window / 288, window % 288 / 12);
    let noise = (window * 8 + instance).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
    noise + if day % 7 < 5 && (9..18).contains(&hour) { 300 } else { 40 }
}

/// The same cloud with a scheduler that starts now: it knows the journal, and of use what agents remember.
fn restarted(cloud: &Cloud, season: u64) -> Cloud {
    let mut new = cloud_of(cloud);
    new.state = State::from_image(cloud.state.image()).expect("an image of a state");
    new.must(Command::BeginEpoch);
    let operation = OperationId::new((1 << 64) + u128::from(season));
    let knobs = [("season", season), ("data_stale_seconds", 600)];
    let values = knobs.map(|(name, value)| (name.to_owned(), value)).into();
    new.must(Command::SetPolicy { operation, values, label: String::new() });
    let most = u64::try_from(SKETCH_WINDOWS_MAX).expect("it is small");
    let now = cloud.now.since(MONDAY).get() / WINDOW.get();
    let from = MONDAY.after(Millis::new((now - most) * WINDOW.get()));
    for node in cloud.state.nodes().map(|node| node.id) {
        new.must(Command::ConnectNode(node));
        let sketch = |instance: InstanceId| {
            let used = |window| SketchWindow {
                cpu: Millicores::new(office_use(instance.get(), window)),
                covered: Permille::new(1000),
            };
            let windows = (now - most..now).map(used).collect();
            let sketch = Sketch { from, windows, memory: Mebibytes::new(64) };
            InstanceSketch { instance, sketch, peaks: Peaks::default() }
        };
        let instances = cloud.state.on_node(node).map(sketch).collect();
        let history = UsageHistory { at: new.now, window: WINDOW, foreign: None, instances };
        new.must(Command::ReportHistory { node, history });
    }
    new
}

/// Whether a season has a say in what is expected of any of the four.
fn speaks(cloud: &Cloud) -> bool {
    let says = |id| predict::horizons(&cloud.state, InstanceId::new(id), cloud.now);
    (1..=4).any(|id| says(id).is_some_and(|(_, seasonal)| seasonal))
}

#[test]
fn after_a_restart_averages_foresee_until_the_season_was_right_again_and_nothing_is_worse() {
    let old = &mut office();
    work_until(old, after(21, 8 * 60), |_| false);
    assert!(within_an_hour(old) > 250, "the scheduler before knew of the morning");
    let mut new = restarted(old, 1);
    // What a scheduler does that learns no seasons is the measure.
    let mut plain = restarted(old, 0);
    let (mut earned, mut wrong) = (None, [0, 0]);
    while new.now < after(36, 8 * 60 + 5) {
        if earned.is_none() && speaks(&new) {
            earned = Some(new.now.since(after(21, 0)).get() / (24 * 3_600_000));
        }
        let window = new.now.since(MONDAY).get() / WINDOW.get();
        let forecasts = [&new, &plain].map(|cloud| predict::forecast(&cloud.state, cloud.now));
        for id in 1..=4 {
            let each = [0, 1].map(|of: usize| forecasts[of].instance(InstanceId::new(id)));
            assert!(each[0].measured, "agents remember half a day");
            assert!(earned.is_some() || each[0] == each[1], "{each:?} without a season");
            for (sum, forecast) in wrong.iter_mut().zip(each) {
                *sum += forecast.mean.get().abs_diff(office_use(id, window)).pow(2);
            }
        }
        if earned.is_none() && window.is_multiple_of(12) {
            assert_eq!(new.plan().moves, plain.plan().moves, "planned without a season");
        }
        for cloud in [&mut new, &mut plain] {
            let end = cloud.now.after(WINDOW);
            use_until(cloud, end, |instance, _, _| office_use(instance, window));
        }
    }
    // A kind of day must be seen twice and foreseen rightly for a day.
    assert!(earned.is_some_and(|days| (2..=5).contains(&days)), "earned after {earned:?} days");
    assert!(wrong[0] < wrong[1], "with {} and without {}", wrong[0], wrong[1]);
    assert!(within_an_hour(&new) > 250, "the mornings are known again");
    assert!(!speaks(&plain));
}

#[test]
fn without_the_knob_nothing_is_learnt_and_what_was_is_forgotten() {
    let cloud = &mut office();
    cloud.set(&[("season", 0), ("consolidate", 0), ("data_stale_seconds", 600)]);
    work_until(cloud, after(19, 8 * 60 + 5), |_| false);
    let known = predict::horizons(&cloud.state, InstanceId::new(1), cloud.now);
    assert!(!known.expect("it is measured").1);
}

#[test]
fn stretches_that_are_no_civil_time_are_refused() {
    let mut cloud = Cloud::of(1);
    let stretch = |minute| Stretch { from: MONDAY, minute, kind: DayKind::Working };
    for bad in [vec![stretch(1440)], vec![stretch(0); 2], vec![stretch(0); 33]] {
        let outcome = cloud.try_to(Command::NoteDays(bad));
        assert!(matches!(outcome, tengyun_engine::Outcome::Refused(_)), "{outcome:?}");
    }
    cloud.must(Command::NoteDays(Vec::new()));
}

#[test]
fn what_works_at_night_is_brought_to_what_works_by_day() {
    // The first works by day, the second and the third at night; the third uses least and is moved.
    let by_night = |instance, hour| instance != 1 && !(6..21).contains(&hour);
    let by_day = |instance, hour| instance == 1 && (9..18).contains(&hour);
    for (seasons, to) in [(1, 1), (0, 2)] {
        let cloud = &mut Cloud::of(3);
        cloud.now = MONDAY;
        cloud.set(&[("consolidate", 0), ("data_stale_seconds", 600), ("season", seasons)]);
        for number in 1..=3 {
            let mut app = spec(&format!("app{number}"));
            app.resources.cpu = Millicores::new(500);
            cloud.apply(app);
        }
        cloud.pass(Millis::from_secs(3 * REPORT.get() / 1000));
        assert_eq!(cloud.layout().len(), 3);
        cloud.now = MONDAY;
        use_until(cloud, after(11, 19 * 60), |instance, _, hour| {
            let more = if by_day(instance, hour) || by_night(instance, hour) { 90 } else { 0 };
            // Between their hours the second leaves a little more room than the first.
            more + [305, 295, 270][usize::try_from(instance - 1).unwrap()]
        });
        cloud.set(&[("data_stale_seconds", 600), ("season", seasons)]);
        let plan = cloud.plan();
        let places = plan.moves.iter().filter_map(|step| match step {
            Move::Shift { instance, to, .. } => Some((instance.get(), to.get())),
            Move::Start { .. } | Move::Stop { .. } | Move::Promise { .. } => None,
        });
        assert_eq!(places.collect::<Vec<_>>(), [(3, to)], "with seasons {seasons}");
    }
}
