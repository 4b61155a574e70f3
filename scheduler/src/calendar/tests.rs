//! The calendar around the clock changes of real zones, and whole histories in virtual time.

use tengyun_engine::{Entry, Outcome, RunOutcome, place, predict};
use tengyun_model::{Concurrency, InstanceUsage, Kind, Millicores, Millis, MovePolicy, NodeUsage};

use super::*;
use crate::fixture::{apply, spec};

fn moment_of(text: &str) -> At {
    at(text.parse().unwrap()).unwrap()
}

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule {
        cron: cron.to_owned(),
        time_zone: Some(zone.to_owned()),
        concurrency: Concurrency::Forbid,
        starting_deadline: Millis::from_secs(300),
        runs_kept: 100,
    }
}

/// The firings of a table in a zone between two moments, as UTC.
fn firings(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let (schedule, until) = (schedule(cron, zone), moment_of(until));
    let mut found = Vec::new();
    let mut after = moment_of(from);
    while let Some(next) = next_firing(&schedule, after).filter(|next| *next < until) {
        found.push(timestamp(next).unwrap().strftime("%dT%H:%M").to_string());
        assert_eq!(last_firing(&schedule, next), Some(next), "looking back finds it");
        after = next;
    }
    found
}

#[test]
fn a_zone_without_clock_changes_is_simple() {
    let found = firings("30 2 * * *", "Asia/Shanghai", "2027-03-01T00:00Z", "2027-03-04T00:00Z");
    assert_eq!(found, ["01T18:30", "02T18:30", "03T18:30"]);
    let week = firings("0 8 * * mon", "Asia/Shanghai", "2027-03-01T00:00Z", "2027-03-20T00:00Z");
    assert_eq!(week, ["08T00:00", "15T00:00"], "the first was due at the very moment");
    let leap = firings("0 0 29 feb *", "UTC", "2097-01-01T00:00Z", "2105-01-01T00:00Z");
    assert_eq!(leap, ["29T00:00"], "2100 has none");
}

#[test]
fn a_time_that_a_gap_swallows_fires_at_the_first_moment_after_it() {
    // Berlin, 2027-03-28: 02:00 becomes 03:00, at 01:00 UTC.
    let found = firings("30 2 * * *", "Europe/Berlin", "2027-03-26T12:00Z", "2027-03-30T00:00Z");
    assert_eq!(found, ["27T01:30", "28T01:00", "29T00:30"]);
    // Two such times of one gap are one firing.
    let found = firings("0,30 2 * * *", "Europe/Berlin", "2027-03-28T00:00Z", "2027-03-28T12:00Z");
    assert_eq!(found, ["28T01:00"]);
}

#[test]
fn a_time_that_comes_twice_fires_once() {
    // Berlin, 2027-10-31: 03:00 becomes 02:00 again, at 01:00 UTC.
    let found = firings("30 2 * * *", "Europe/Berlin", "2027-10-29T12:00Z", "2027-11-02T00:00Z");
    assert_eq!(found, ["30T00:30", "31T00:30", "01T01:30"]);
}

#[test]
fn a_table_of_every_hour_follows_elapsed_time() {
    let spring = firings("30 * * * *", "Europe/Berlin", "2027-03-28T00:00Z", "2027-03-28T03:00Z");
    assert_eq!(spring, ["28T00:30", "28T01:30", "28T02:30"]);
    let autumn = firings("30 * * * *", "Europe/Berlin", "2027-10-31T00:00Z", "2027-10-31T03:00Z");
    assert_eq!(autumn, ["31T00:30", "31T01:30", "31T02:30"]);
    let quarter = firings("*/20 * * * *", "Asia/Kolkata", "2027-03-28T00:00Z", "2027-03-28T01:00Z");
    assert_eq!(quarter, ["28T00:10", "28T00:30", "28T00:50"]);
    let monthly = firings("0 * 1 * *", "UTC", "2027-03-30T00:00Z", "2027-04-01T02:00Z");
    assert_eq!(monthly, ["01T00:00", "01T01:00"]);
}

#[test]
fn a_day_that_begins_in_a_gap_begins_after_it() {
    // Beirut puts clocks forward at midnight: 2027-03-28 begins at 01:00.
    let found = firings("0 0 * * *", "Asia/Beirut", "2027-03-26T12:00Z", "2027-03-29T12:00Z");
    assert_eq!(found, ["26T22:00", "27T22:00", "28T21:00"]);
}

#[test]
fn windows_are_found_over_midnight_and_over_clock_changes() {
    let window = |days: u8, from: u16, to: u16| Window {
        days: Days::from_bits(days).unwrap(),
        from: from * 60,
        to: to * 60,
        time_zone: Some("Europe/Berlin".to_owned()),
    };
    let found = |window: &Window, now: &str| {
        let (from, until) = next_window(window, moment_of(now)).unwrap();
        [from, until].map(|at| timestamp(at).unwrap().to_string())
    };
    // Saturdays from 22:00 to 04:00; in winter one hour ahead of UTC.
    let night = window(0b100_0000, 22, 4);
    let expected = ["2027-01-09T21:00:00Z", "2027-01-10T03:00:00Z"];
    assert_eq!(found(&night, "2027-01-05T00:00Z"), expected);
    assert_eq!(found(&night, "2027-01-10T02:59Z"), expected, "it began yesterday");
    assert_eq!(found(&night, "2027-01-10T03:00Z")[0], "2027-01-16T21:00:00Z");
    // The night of the clock change is an hour shorter, and longer in autumn.
    assert_eq!(
        found(&night, "2027-03-27T12:00Z"),
        ["2027-03-27T21:00:00Z", "2027-03-28T02:00:00Z"]
    );
    assert_eq!(
        found(&night, "2027-10-30T12:00Z"),
        ["2027-10-30T20:00:00Z", "2027-10-31T03:00:00Z"]
    );
    // A window that the gap swallows is passed over.
    let gap = window(0x7f, 2, 3);
    assert_eq!(found(&gap, "2027-03-28T00:30Z")[0], "2027-03-29T00:00:00Z");
}

/// A state with one cron workload, and the entries that made it.
struct World {
    state: State,
    calendar: Calendar,
    durable: Vec<Entry>,
    now: At,
}

impl World {
    fn with(cron: &str, zone: &str, now: &str) -> Self {
        let mut nightly = spec("nightly", 1);
        nightly.kind = Kind::Cron;
        nightly.move_policy = MovePolicy::Never;
        nightly.schedule =
            Some(Schedule { concurrency: Concurrency::Replace, ..schedule(cron, zone) });
        check(&nightly).unwrap();
        let (state, calendar, durable) = (State::new(), Calendar::default(), Vec::new());
        let mut world = Self { state, calendar, durable, now: moment_of(now) };
        world.enter(apply(1, nightly));
        world
    }

    fn enter(&mut self, command: Command) {
        let entry = Entry { at: self.now, by: None, command };
        let outcome = crate::commit::apply(&mut self.state, &entry);
        assert!(matches!(outcome, Outcome::Applied(_)), "{entry:?}: {outcome:?}");
        if entry.command.is_durable() {
            self.durable.push(entry);
        }
    }

    /// Lets time pass in steps and journals what is due.
    fn pass(&mut self, until: &str, step: Millis) {
        let until = moment_of(until);
        while self.now < until {
            self.now = self.now.after(step);
            for command in self.calendar.due(&self.state, self.now) {
                self.enter(command);
            }
        }
    }

    fn runs(&self) -> Vec<(String, RunOutcome)> {
        let workload = self.state.workloads().next().unwrap();
        let shown = |at| timestamp(at).unwrap().strftime("%dT%H:%M").to_string();
        workload.cron.runs.iter().map(|run| (shown(run.scheduled), run.outcome)).collect()
    }
}

#[test]
fn a_nightly_run_fires_once_a_night_through_both_clock_changes() {
    for (from, until, expected) in [
        (
            "2027-03-26T12:00Z",
            "2027-03-30T12:00Z",
            ["27T01:30", "28T01:00", "29T00:30", "30T00:30"],
        ),
        (
            "2027-10-29T12:00Z",
            "2027-11-02T12:00Z",
            ["30T00:30", "31T00:30", "01T01:30", "02T01:30"],
        ),
    ] {
        let mut world = World::with("30 2 * * *", "Europe/Berlin", from);
        world.pass(until, Millis::from_secs(7));
        let fired: Vec<String> = world.runs().into_iter().map(|(scheduled, _)| scheduled).collect();
        assert_eq!(fired, expected);
        // A replay decides nothing again and gives the same state.
        let mut replayed = State::new();
        for entry in &world.durable {
            crate::commit::apply(&mut replayed, entry);
        }
        assert_eq!(replayed.image(), world.state.image());
    }
}

#[test]
fn of_what_a_scheduler_missed_at_most_the_last_runs_and_only_within_the_deadline() {
    let mut world = World::with("*/5 * * * *", "UTC", "2027-01-01T00:00Z");
    world.pass("2027-01-01T00:06Z", Millis::from_secs(1));
    // Down for two hours; back 100 s after a firing, within the deadline of 300 s.
    world.now = moment_of("2027-01-01T02:01:40Z");
    world.pass("2027-01-01T02:01:50Z", Millis::from_secs(1));
    let expected = [("01T00:05", RunOutcome::Stopped), ("01T02:00", RunOutcome::UnderWay)];
    assert_eq!(world.runs(), expected.map(|(at, outcome)| (at.to_owned(), outcome)));
    let mut world = World::with("0 2 * * *", "UTC", "2027-01-01T00:00Z");
    // Down over the firing of two nights; back too late for the second.
    world.now = moment_of("2027-01-02T02:05:01Z");
    world.pass("2027-01-02T02:10Z", Millis::from_secs(1));
    assert_eq!(world.runs(), [("02T02:00".to_owned(), RunOutcome::Missed)]);
    world.pass("2027-01-03T02:01Z", Millis::from_secs(60));
    assert_eq!(world.runs()[1], ("03T02:00".to_owned(), RunOutcome::UnderWay));
}

#[test]
fn a_workload_applied_after_its_time_waits_for_the_next() {
    let mut world = World::with("0 2 * * *", "UTC", "2027-01-01T02:00:30Z");
    world.pass("2027-01-02T01:59Z", Millis::from_secs(60));
    assert_eq!(world.runs(), []);
    let workload = world.state.workloads().next().unwrap();
    assert_eq!(next_run(workload), Some(moment_of("2027-01-02T02:00Z")));
}

#[test]
fn windows_are_told_when_they_change_and_then_only() {
    let mut moved = spec("moved", 1);
    moved.move_policy = MovePolicy::Window;
    let zone = Some("Asia/Shanghai".to_owned());
    moved.window = Some(Window { days: Days::ALL, from: 60, to: 120, time_zone: zone });
    let mut world = World::with("0 2 * * *", "UTC", "2027-01-01T00:00Z");
    world.enter(apply(2, moved));
    let mut told = Vec::new();
    for minute in 0..2880 {
        world.now = moment_of("2027-01-01T00:00Z").after(Millis::from_secs(60 * minute));
        if let Some(command) = world.calendar.windows(&world.state, world.now) {
            world.enter(command);
            told.push(timestamp(world.now).unwrap().strftime("%dT%H:%M").to_string());
        }
    }
    // Each is told as soon as the one before has ended at 02:00 in Shanghai.
    assert_eq!(told, ["01T00:00", "01T18:00", "02T18:00"]);
    assert_eq!(
        world.state.window(WorkloadId::new(2)).map(|w| w.0),
        Some(moment_of("2027-01-03T17:00Z"))
    );
}

#[test]
fn an_unknown_zone_is_refused_with_its_name() {
    let mut nightly = spec("nightly", 1);
    nightly.schedule = Some(schedule("0 2 * * *", "Asia/Shangai"));
    let refusal = check(&nightly).unwrap_err().to_string();
    assert!(refusal.contains("schedule.time_zone") && refusal.contains("Shangai"), "{refusal}");
}

/// What an almanac says of days around a moment, as civil times.
fn told(text: &str, zone: &str, now: &str) -> Vec<(String, u16, DayKind)> {
    let kept = Kept { almanac: Almanac::parse(text).unwrap(), zone: TimeZone::get(zone).unwrap() };
    let (stretches, _) = stretches(&kept, moment_of(now)).unwrap();
    let shown = |at| timestamp(at).unwrap().strftime("%dT%H:%M").to_string();
    stretches.into_iter().map(|s| (shown(s.from), s.minute, s.kind)).collect()
}

#[test]
fn days_begin_at_midnight_of_their_zone_and_are_what_the_almanac_says() {
    use DayKind::{Rest, Working};
    let of = |day: &str, kind| (format!("{day}T16:00"), 0, kind);
    // From Thursday on, which is a holiday; Saturday is worked.
    let text = "rest 2026-10-08\nwork 2026-10-10";
    let expected = [of("07", Rest), of("08", Working), of("09", Working), of("10", Rest)];
    assert_eq!(told(text, "Asia/Shanghai", "2026-10-09T12:00Z"), expected);
    assert_eq!(told("", "Asia/Shanghai", "2026-10-09T12:00Z")[2], of("09", Rest));
}

#[test]
fn a_clock_change_cuts_its_day_in_two() {
    let rest = |at: &str, minute| (at.to_owned(), minute, DayKind::Rest);
    let spring = told("", "Europe/Berlin", "2027-03-28T00:30Z");
    assert_eq!(spring[1..3], [rest("27T23:00", 0), rest("28T01:00", 180)]);
    assert_eq!(spring[3].0, "28T22:00", "the next day begins an hour earlier");
    let autumn = told("", "Europe/Berlin", "2027-10-31T00:30Z");
    assert_eq!(autumn[1..3], [rest("30T22:00", 0), rest("31T01:00", 120)]);
    // Beirut puts clocks forward at midnight: its day begins at one.
    assert_eq!(told("", "Asia/Beirut", "2027-03-28T12:00Z")[1], rest("27T22:00", 60));
}

#[test]
fn days_are_told_when_one_begins_and_when_the_file_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("days");
    std::fs::write(&path, "zone Asia/Shanghai\n").unwrap();
    let mut world = World::with("0 2 * * *", "UTC", "2027-01-01T00:00Z");
    world.calendar = Calendar::of(AlmanacFile::open(Some(&path)).unwrap());
    let mut told = Vec::new();
    for minute in 0..2880 {
        world.now = moment_of("2027-01-01T00:00Z").after(Millis::from_secs(60 * minute));
        if let Some(command) = world.calendar.days(world.now) {
            world.enter(command);
            told.push(timestamp(world.now).unwrap().strftime("%dT%H:%M").to_string());
        }
    }
    assert_eq!(told, ["01T00:00", "01T16:00", "02T16:00"]);
    assert_eq!(world.state.stretches().len(), DAYS_TOLD);
    // Looked at again with a new calendar: another reign tells them anew.
    std::fs::write(&path, "zone Asia/Shanghai\nwork 2027-01-03\n").unwrap();
    world.calendar = Calendar::of(AlmanacFile::open(Some(&path)).unwrap());
    let command = world.calendar.days(world.now).unwrap();
    world.enter(command);
    let kinds: Vec<DayKind> = world.state.stretches().iter().map(|s| s.kind).collect();
    let (rest, working) = (DayKind::Rest, DayKind::Working);
    assert_eq!(kinds, [rest, working, working, working], "from Saturday on");
}

/// Three weeks of an office in Berlin, through the clock change, told by a calendar file; returns what
/// is expected within an hour at eight on the days that follow.
fn office(text: &str) -> Vec<(String, u64)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("days");
    std::fs::write(&path, format!("zone Europe/Berlin\n{text}")).unwrap();
    let mut world = World::with("0 2 * * *", "UTC", "2027-03-07T23:00Z");
    world.calendar = Calendar::of(AlmanacFile::open(Some(&path)).unwrap());
    world.enter(apply(2, spec("office", 1)));
    world.enter(Command::RegisterNode(crate::fixture::facts("n1")));
    let node = tengyun_model::NodeId::new(1);
    world.enter(Command::ConnectNode(node));
    let forecast = predict::forecast(&world.state, world.now);
    world.enter(Command::CommitPlan(place::plan(&world.state, &forecast, world.now)));
    let instance = world.state.instances().next().unwrap().status.instance;
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let worked = Kept { almanac: Almanac::parse(WORKED).unwrap(), zone: zone.clone() };
    let (mut seed, mut seen) = (1_u64, Vec::new());
    for window in 0..29 * 288 {
        let shown = zone.to_datetime(timestamp(world.now).unwrap());
        let works = kind(&worked, shown.date()) == DayKind::Working;
        let busy = works && (9..18).contains(&shown.hour());
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let cpu = Millicores::new(if busy { 300 } else { 40 } + (seed >> 33) % 20);
        world.now = world.now.after(Millis::from_secs(300));
        if let Some(command) = world.calendar.days(world.now) {
            world.enter(command);
        }
        let memory = tengyun_model::Mebibytes::new(64);
        let usage = NodeUsage {
            at: world.now,
            interval: Millis::from_secs(300),
            cpu,
            instances: vec![InstanceUsage { instance, cpu, memory, io_bytes: None }],
            ..NodeUsage::default()
        };
        world.enter(Command::ReportUsage { node, usage });
        let shown = zone.to_datetime(timestamp(world.now).unwrap());
        if window > 18 * 288 && (shown.hour(), shown.minute()) == (8, 0) {
            let (all, _) = predict::horizons(&world.state, instance, world.now).unwrap();
            seen.push((shown.date().to_string(), all[1].expected.mean.get()));
        }
    }
    seen
}

/// The third Saturday is worked, the Monday after the next weekend is a holiday.
const WORKED: &str = "work 2027-03-27\nrest 2027-03-29\n";

#[test]
fn a_worked_saturday_and_a_holiday_are_foreseen_by_the_file_and_not_without_it() {
    let of = |seen: &[(String, u64)], date: &str| {
        let found = seen.iter().find(|(day, _)| day == date);
        found.unwrap_or_else(|| panic!("{date} in {seen:?}")).1
    };
    let (with, without) = (office(WORKED), office(""));
    let of_saturday = office("work 2027-03-27");
    let (saturday, monday) = ("2027-03-27", "2027-03-29");
    assert!(of(&with, saturday) > 250 && of(&without, saturday) < 90, "{with:?} {without:?}");
    assert!(of(&with, monday) < 90 && of(&of_saturday, monday) > 250, "{with:?} {of_saturday:?}");
    // What was wrong for a day has no say for some.
    assert!(of(&without, "2027-03-31") < 90, "{without:?}");
    // After the clock change of the 28th eight is an hour earlier, and still before the office.
    assert!(of(&with, "2027-03-30") > 250 && of(&with, "2027-04-01") > 250, "{with:?}");
    assert!(of(&with, "2027-04-03") < 90 && of(&with, "2027-04-04") < 90, "{with:?}");
}
