//! Replays: the exact fields, the same bytes, and what each rule changes.

use expect_test::expect;
use tengyun_engine::days::Stretch;
use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::generate::Statistics;
use tengyun_lab::replay::{Choice, Figures, Replay, ReplayError, Replayed, replay};
use tengyun_lab::rules::Honest;
use tengyun_lab::score::{HourScore, Scores};
use tengyun_lab::trace::Trace;
use tengyun_model::{At, DayKind};

fn trace() -> Trace {
    Statistics { instances: 120, ..Statistics::PLANETLAB }.trace(4)
}

fn wish(policy: &str) -> Replay {
    let shape = Shape::parse("8/32").expect("a shape");
    let choice = Choice::parse(policy).expect("a policy");
    Replay { choice, ..Replay::new(shape, MemoryMode::None) }
}

fn done(wish: &Replay) -> Replayed {
    replay(&trace(), wish).expect("a replay")
}

fn json(mut figures: Figures) -> String {
    figures.seconds = 0.0;
    serde_json::to_string_pretty(&figures).expect("figures are JSON")
}

#[test]
fn the_fields_are_those_promised_and_the_figures_do_not_drift() {
    expect![[r#"
        {
          "instances": 120,
          "steps": 252,
          "coverage_pct": 100.0,
          "nodes_mean": 4.63,
          "nodes_max": 5,
          "utilisation_pct": 56.44,
          "in_band_pct": 35.65,
          "above80_pct": 0.857,
          "above90_pct": 0.0,
          "above100_pct": 0.0,
          "demand_lost_pct": 0.0,
          "moves": 136,
          "moves_per_instance_day": 1.295,
          "lower_bound_nodes_mean": 3.79,
          "binding": "cpu",
          "energy_kwh": 11.56,
          "seconds": 0.0
        }"#]]
    .assert_eq(&json(done(&wish("default")).figures));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for policy in ["default", "nsigma-3", "oracle-1h"] {
        let (one, two) = (done(&wish(policy)), done(&wish(policy)));
        assert_eq!(json(one.figures.clone()), json(two.figures.clone()), "{policy}");
        let seconds = |mut r: Replayed| {
            r.figures.seconds = 0.0;
            tengyun_lab::report::replay("t", policy, &r)
        };
        assert_eq!(seconds(one), seconds(two), "{policy}");
    }
}

#[test]
fn our_plans_pass_their_check_and_are_never_stale() {
    let seen = done(&wish("default")).seen.expect("our engine decided");
    assert!(seen.passes > 252);
    assert_eq!((seen.violations, seen.stale), (0, 0));
}

#[test]
fn harvest_work_fills_and_never_adds_a_violation() {
    let plain = done(&wish("default")).figures;
    let filled = done(&Replay { harvest: true, ..wish("default") });
    assert!(filled.figures.utilisation_pct > plain.utilisation_pct);
    assert!((filled.figures.above80_pct - plain.above80_pct).abs() < 1e-9);
    assert!((filled.figures.demand_lost_pct - plain.demand_lost_pct).abs() < 1e-9);
    assert!(filled.harvest_core_hours.0 > 0.0);
}

#[test]
fn what_harvest_work_was_given_it_does_or_it_waits() {
    assert_eq!(done(&wish("default")).harvest_wait, None);
    for policy in ["default", "oracle-1h"] {
        let filled = done(&Replay { harvest: true, ..wish(policy) });
        let wait = filled.harvest_wait.expect("it was given something");
        let (did, back) = filled.harvest_core_hours;
        assert!((wait.waiting_pct - 100.0 * back / (did + back)).abs() < 1e-3, "{wait:?}");
        // Once it is known what others needed, some was given too much and some too little.
        assert!(wait.waiting_pct > 0.0 && wait.waiting_pct < wait.worst_pct, "{wait:?}");
        assert!(wait.steps_pct > 0.0 && wait.room_missed_pct > 0.0, "{wait:?}");
        let steps = &filled.scores.steps;
        assert!(steps.iter().all(|s| s.harvest_done <= s.harvest_given + 1e-9));
        let table = filled.table();
        assert!(table.contains("harvest work that had to wait"), "{table}");
    }
}

#[test]
fn the_distance_to_the_lower_bound_is_said() {
    let made = done(&wish("default"));
    // 4.63 nodes where 3.79 could do.
    assert!((made.above_bound.0 - 0.84).abs() < 0.011, "{:?}", made.above_bound);
    assert!((made.above_bound.1 - 22.2).abs() < 0.4, "{:?}", made.above_bound);
    assert!(made.table().contains("above the lower bound"), "{}", made.table());
}

#[test]
fn the_hours_of_the_week_add_up_and_are_civil_where_that_is_known() {
    let counted = done(&wish("nsigma-2"));
    let mean = |of: fn(&HourScore) -> f64| {
        let nodes: f64 = counted.hours.iter().map(|h| h.nodes_mean).sum();
        counted.hours.iter().map(|h| of(h) * h.nodes_mean).sum::<f64>() / nodes
    };
    let f = &counted.figures;
    // Every hour has twelve steps here.
    assert!((mean(|h| h.above80_pct) - f.above80_pct).abs() < 0.05);
    assert!((mean(|h| h.above90_pct) - f.above90_pct).abs() < 0.05 && f.above90_pct > 0.0);
    assert!((mean(|h| h.above100_pct) - f.above100_pct).abs() < 0.05);
    let [_, above80, above90, above100] = counted.affected_pct;
    assert!(above80 >= above90 && above90 >= above100 && above90 > 0.0);
    assert!(counted.table().contains("it does not state when that was"), "{}", counted.table());
    // 2026-11-25 was a Wednesday.
    let begin_secs = Some(1_795_564_800);
    let stated = replay(&Trace { begin_secs, ..trace() }, &wish("nsigma-2")).expect("a replay");
    assert_eq!(stated.hours[0].hour, counted.hours[0].hour + 48);
    assert!(stated.table().contains("worst: Wed "), "{}", stated.table());
    let page = tengyun_lab::report::replay("t", "nsigma-2", &stated);
    assert!(page.contains("周三") && page.contains("Wed") && page.contains("03:00"));
}

#[test]
fn honest_moves_cost_something() {
    let free = done(&wish("short-nsigma-2")).figures;
    let any_hour = Honest { window: Honest::ALWAYS, ..Honest::DEFAULT };
    let honest = done(&Replay { honest: Some(any_hour), ..wish("short-nsigma-2") }).figures;
    assert_eq!(free.moves, honest.moves);
    assert!(honest.nodes_mean >= free.nodes_mean);
    assert!(honest.energy_kwh > free.energy_kwh);
}

#[test]
fn honest_moves_happen_in_the_window_and_at_no_other_hour() {
    let window = (9, 15);
    let honest = Some(Honest { window, ..Honest::DEFAULT });
    for policy in ["default", "short-nsigma-2"] {
        let scores = done(&Replay { honest, ..wish(policy) }).scores;
        let free = done(&wish(policy)).scores;
        // The first 3 hours are not measured.
        let moves = |scores: &Scores, inside: bool| {
            let hours = scores.steps.iter().enumerate().map(|(at, s)| ((at + 36) / 12, s.moves));
            let open = |hour: usize| (9..15).contains(&hour);
            hours.filter(|(hour, _)| open(*hour) == inside).map(|(_, moves)| moves).sum::<u64>()
        };
        assert!(moves(&free, false) > 0, "{policy} moves at every hour when it may");
        assert_eq!(moves(&scores, false), 0, "{policy}");
        assert!(moves(&scores, true) > 0, "{policy}");
    }
}

#[test]
fn a_budget_that_is_asked_for_goes_before_that_of_the_policy() {
    let of = |budget_pct| done(&Replay { budget_pct, ..wish("default") }).figures.nodes_mean;
    assert!((of(None) - of(Some(1.0))).abs() < 1e-9);
    assert!(of(Some(20.0)) < of(None) && of(None) < of(Some(0.05)));
}

#[test]
fn what_is_asked_of_a_yardstick_in_vain_is_said() {
    let notes = |budget_pct, honest, policy| {
        let replayed = done(&Replay { budget_pct, honest, ..wish(policy) });
        replayed.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert!(notes(Some(1.0), None, "nsigma-3").contains("a violation budget is for our engine"));
    assert_eq!(notes(None, Some(Honest::DEFAULT), "nsigma-3"), "");
    assert!(notes(None, Some(Honest::DEFAULT), "oracle-1h").contains("keeps to no window"));
    assert_eq!(notes(Some(1.0), Some(Honest::DEFAULT), "default"), "");
}

/// What is told of nine days from a Monday on, each with the two after it.
fn told_of(begin_secs: u64, kind: impl Fn(u64) -> DayKind) -> Vec<(At, Vec<Stretch>)> {
    let at = |day: u64| At::from_millis((begin_secs + day * 86_400) * 1000);
    let stretch = |day: u64| Stretch { from: at(day), minute: 0, kind: kind(day) };
    (0..9).map(|day| (at(day), (day..day + 3).map(stretch).collect())).collect()
}

#[test]
fn days_that_are_told_are_foreseen_and_need_a_trace_that_says_when_it_begins() {
    use DayKind::{Rest, Working};
    let offices = Statistics { instances: 30, days: 9, noise: 0.05, ..Statistics::OFFICES };
    // 2026-11-23, by UTC.
    let begin_secs = 1_795_392_000;
    let trace = Trace { begin_secs: Some(begin_secs), ..offices.trace(4) };
    let wished = |days| Replay { days, ..wish("default") };
    let of = |days| json(replay(&trace, &wished(days)).expect("a replay").figures);
    let week = told_of(begin_secs, |day| if day % 7 < 5 { Working } else { Rest });
    let other = told_of(begin_secs, |day| if day % 2 < 1 { Working } else { Rest });
    let plain = of(Vec::new());
    assert_eq!(of(week), plain, "the same week in UTC is what it is without a word");
    assert_ne!(of(other.clone()), plain, "what is known of days is foreseen");
    let unknown = Trace { begin_secs: None, ..trace.clone() };
    assert!(matches!(replay(&unknown, &wished(other.clone())), Err(ReplayError::NoBegin)));
    let vain = Replay { choice: wish("nsigma-3").choice, ..wished(other) };
    let notes: Vec<String> =
        replay(&trace, &vain).expect("a replay").notes.iter().map(ToString::to_string).collect();
    assert!(notes.join("; ").contains("a calendar is for our engine"), "{notes:?}");
}

#[test]
fn what_cannot_move_does_not() {
    for policy in ["default", "nsigma-2"] {
        let still = Replay { immovable_pct: 100.0, ..wish(policy) };
        assert_eq!(done(&still).figures.moves, 0, "{policy}");
    }
    let oracle = Replay { immovable_pct: 10.0, ..wish("oracle-1h") };
    assert!(matches!(replay(&trace(), &oracle), Err(ReplayError::ImmovableOracle)));
}

#[test]
fn a_window_that_never_opens_moves_nothing() {
    let closed = Honest { window: (0, 0), ..Honest::DEFAULT };
    for policy in ["default", "nsigma-2"] {
        let figures = done(&Replay { honest: Some(closed), ..wish(policy) }).figures;
        assert_eq!(figures.moves, 0, "{policy}");
    }
}

#[test]
fn nothing_to_replay_is_said() {
    let tiny = Replay { memory: MemoryMode::Request, ..wish("default") };
    let tiny = Replay { shape: Shape::parse("1/1").expect("a shape"), ..tiny };
    let mut large = trace();
    large.instances.iter_mut().for_each(|i| i.cpu_request = tengyun_model::Millicores::new(9000));
    assert!(matches!(replay(&large, &tiny), Err(ReplayError::Nothing(_))));
}
