//! Rollouts, schedules and windows: how a workload lives on after it was applied.
//!
//! Rules between these fields and the rest of a document stand here too.

use std::collections::BTreeSet;

use tengyun_model::calendar::{CALENDAR_TEXT_MAX, RUNS_KEPT_MAX};
use tengyun_model::workload::GANG_MIN;
use tengyun_model::{
    Class, Concurrency, CronTable, Days, Kind, MovePolicy, Rollout, Schedule as ModelSchedule,
    Window as ModelWindow, WorkloadSpec,
};

use super::amount::{Count, Seconds};
use super::decode::Place;
use super::fault::Faults;
use super::leaf::{Flag, Line, TimeOfDay};
use super::sentence::Sentence;

section! {
    /// When instances may be moved.
    Window {
        /// The days; every day when left out.
        days: Option<Vec<Day>>;
        /// Its begin.
        from: TimeOfDay;
        /// Its end; before its begin means on the next day.
        to: TimeOfDay;
        /// The time zone, such as Asia/Shanghai; the scheduler's when left out.
        time_zone: Option<Line>;
    }
}

section! {
    /// When a cron workload starts.
    Schedule {
        /// Minute, hour, day, month and day of the week, such as "30 2 * * mon-fri".
        cron: CronText;
        /// The time zone, such as Asia/Shanghai; the scheduler's when left out.
        time_zone: Option<Line>;
        /// What happens when a run is due and the one before has not ended: it is skipped, takes
        /// its place, or runs beside it.
        concurrency: ConcurrencyWord = "forbid";
        /// How late a run may start that was missed, in seconds.
        starting_deadline_s: Seconds = 300;
        /// How many ended runs are kept, at most 100.
        runs_kept: Count = 10;
    }
}

section! {
    /// How a new revision replaces the copies that run.
    RolloutFields {
        /// How many copies are replaced at a time.
        batch: Count = 1;
        /// How long a new copy must stay healthy before its old one stops, in seconds.
        healthy_s: Seconds = 10;
        /// How long, beyond its start-up time, a new copy may take to become healthy, in seconds.
        deadline_s: Seconds = 120;
        /// After how many failures of new copies the rollout has failed.
        failure_limit: Count = 1;
        /// Whether a failed rollout returns to the last good revision; otherwise it halts.
        auto_return: Flag = true;
    }
}

words! {
    /// What happens when a run is due and the one before has not ended.
    ConcurrencyWord(Concurrency) {
        "forbid" = Concurrency::Forbid;
        "replace" = Concurrency::Replace;
        "allow" = Concurrency::Allow;
    }
}

words! {
    /// A day of the week.
    Day(u8) {
        "mon" = 1;
        "tue" = 2;
        "wed" = 3;
        "thu" = 4;
        "fri" = 5;
        "sat" = 6;
        "sun" = 0;
    }
}

leaf! {
    /// The five fields of a cron table.
    CronText(String) {
        ExpectsCron,
        {"title": "cron fields", "type": "string", "pattern": "^[0-9a-z*,/-]+( +[0-9a-z*,/-]+){4}$"},
        |scalar| {
            let text = super::leaf::text(scalar)?;
            let allowed = |c: char| {
                c.is_ascii_digit() || c.is_ascii_lowercase() || matches!(c, '*' | ',' | '/' | '-' | ' ')
            };
            let fields = text.split_ascii_whitespace().count();
            (fields == 5 && text.chars().all(allowed)).then(|| text.to_owned())
        }
    }
}

/// Makes the model's rollout.
pub(super) fn rollout(fields: &RolloutFields) -> Rollout {
    Rollout {
        batch: small(fields.batch.0),
        healthy: fields.healthy_s.0,
        deadline: fields.deadline_s.0,
        failure_limit: small(fields.failure_limit.0),
        auto_return: fields.auto_return.0,
    }
}

/// Makes the model's schedule.
pub(super) fn schedule(fields: Schedule) -> ModelSchedule {
    ModelSchedule {
        cron: fields.cron.0,
        time_zone: fields.time_zone.map(|zone| zone.0),
        concurrency: fields.concurrency.0,
        starting_deadline: fields.starting_deadline_s.0,
        runs_kept: small(fields.runs_kept.0),
    }
}

/// Makes the model's window.
pub(super) fn window(fields: Window) -> ModelWindow {
    let bits = |days: Vec<Day>| days.iter().fold(0, |bits, day| bits | 1 << day.0);
    ModelWindow {
        days: fields.days.map(bits).and_then(Days::from_bits).unwrap_or(Days::ALL),
        from: minutes(&fields.from),
        to: minutes(&fields.to),
        time_zone: fields.time_zone.map(|zone| zone.0),
    }
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Returns the minute of the day; the text was checked when it was read.
fn minutes(TimeOfDay(text): &TimeOfDay) -> u16 {
    let (hour, minute) = text.split_once(':').unwrap_or_default();
    let number = |text: &str| text.parse::<u16>().unwrap_or_default();
    number(hour) * 60 + number(minute)
}

/// Checks the rules between kind, rollout, schedule, window, dependencies and gang.
pub(super) fn check(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    match (spec.kind, &spec.schedule) {
        (Kind::Cron, Some(schedule)) => {
            check_schedule(schedule, place, faults);
            if !spec.volumes.is_empty() {
                place.fault_at(&["volumes"], Sentence::NotForCron {}, faults);
            }
        }
        (Kind::Cron, None) => {
            place.fault_at(&["schedule"], Sentence::MissingSchedule {}, faults);
        }
        (Kind::Service | Kind::Job | Kind::PerNode, Some(_)) => {
            place.fault_at(&["schedule"], Sentence::OnlyForCron {}, faults);
        }
        (Kind::Service | Kind::Job | Kind::PerNode, None) => {}
    }
    if matches!(spec.kind, Kind::Cron | Kind::PerNode) {
        check_single(spec, place, faults);
    }
    if spec.kind == Kind::PerNode {
        check_per_node(spec, place, faults);
    }
    match (spec.move_policy, &spec.window) {
        (MovePolicy::Window, None) => {
            place.fault_at(&["window"], Sentence::MissingWindow {}, faults);
        }
        (MovePolicy::Never | MovePolicy::Any, Some(_)) => {
            place.fault_at(&["window"], Sentence::WindowNeedsMove {}, faults);
        }
        (MovePolicy::Window, Some(_)) | (MovePolicy::Never | MovePolicy::Any, None) => {}
    }
    let zones = [
        ("schedule", spec.schedule.as_ref().and_then(|s| s.time_zone.as_ref())),
        ("window", spec.window.as_ref().and_then(|w| w.time_zone.as_ref())),
    ];
    for (section, zone) in zones {
        if zone.is_some_and(|zone| zone.len() > CALENDAR_TEXT_MAX) {
            place.fault_at(&[section, "time_zone"], Sentence::NameOfTimeZone {}, faults);
        }
    }
    check_dependencies(spec, place, faults);
    check_gang(spec, place, faults);
}

fn check_schedule(schedule: &ModelSchedule, place: &Place<'_>, faults: &mut Faults) {
    if let Err(what) = CronTable::parse(&schedule.cron) {
        place.fault_at(&["schedule", "cron"], Sentence::of_cron(what), faults);
    }
    if schedule.runs_kept > RUNS_KEPT_MAX {
        let message = Sentence::AtMost { most: RUNS_KEPT_MAX };
        place.fault_at(&["schedule", "runs_kept"], message, faults);
    }
}

fn check_single(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let kind = spec.kind.to_string();
    if spec.instances != 1 {
        let message = Sentence::OneForKind { kind: kind.clone() };
        place.fault_at(&["instances"], message, faults);
    }
    if spec.constraints.spread.is_some() {
        let message = Sentence::NotForKind { kind };
        place.fault_at(&["constraints", "spread"], message, faults);
    }
}

fn check_per_node(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    if spec.move_policy != MovePolicy::Never {
        place.fault_at(&["move"], Sentence::NeverForPerNode {}, faults);
    }
    if spec.class == Class::Harvest {
        place.fault_at(&["class"], Sentence::ClassForPerNode {}, faults);
    }
}

fn check_dependencies(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, key) in spec.depends_on.iter().enumerate() {
        let message = if *key == spec.key {
            Sentence::DependsOnItself {}
        } else if !seen.insert(key) {
            Sentence::GivenTwice { name: key.to_string() }
        } else {
            continue;
        };
        place.fault_at(&["depends_on", &index.to_string()], message, faults);
    }
}

/// One instance is a gang by itself, and runs and copies of nodes come one by one.
fn check_gang(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let message = match spec.kind {
        _ if !spec.gang => return,
        Kind::Cron | Kind::PerNode => Sentence::NoGangOfKind { kind: spec.kind.to_string() },
        Kind::Service | Kind::Job if spec.instances < GANG_MIN => {
            Sentence::GangTooSmall { least: GANG_MIN }
        }
        Kind::Service | Kind::Job => return,
    };
    place.fault_at(&["gang"], message, faults);
}
