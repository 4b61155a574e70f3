//! A recorded day planned anew: what happened is not touched by it, another policy and other nodes
//! change what would have been, and the same recording gives the same figures.

#[path = "shared/recorded.rs"]
mod recorded;

use std::collections::BTreeMap;
use std::convert::Infallible;

use recorded::{BEGIN, EVERY, Entries, NODES, Recorded, knobs};
use tengyun_engine::{Command, Entry, NodeWish, State};
use tengyun_lab::fleet::Shape;
use tengyun_lab::journal::Journal;
use tengyun_lab::replan::{Branch, Compared, ReplanError, SideFigures, Variant, html, replan};
use tengyun_model::{
    At, InstanceSketch, Mebibytes, Millicores, Millis, Peaks, Permille, Phase, Sequence, Sketch,
    SketchWindow, UsageHistory,
};

fn variant(name: &str, knobs: Option<BTreeMap<String, u64>>) -> Variant {
    Variant { name: name.to_owned(), knobs, add: Vec::new(), remove: Vec::new() }
}

fn compared(entries: &Entries, branch: Branch, variants: &[Variant]) -> Compared {
    let step = Millis::from_secs(300);
    replan(entries.iter().cloned(), branch, step, variants).expect("a comparison")
}

fn figures(compared: &Compared) -> Vec<&SideFigures> {
    compared.sides.iter().map(|(figures, _)| figures).collect()
}

#[test]
fn another_policy_changes_what_would_have_been_and_not_what_happened() {
    let entries = Recorded::hours(2);
    let variants = [variant("as it was", None), variant("default", Some(BTreeMap::new()))];
    let made = compared(&entries, Branch::Beginning, &variants);
    let [happened, same, default] = figures(&made)[..] else { panic!("three sides") };
    assert_eq!((happened.nodes_max, happened.moves), (4, 0));
    // 500 of its own and 100 foreign on each of four nodes of 4000.
    assert!((happened.utilisation_pct - 15.0).abs() < 0.01, "{happened:?}");
    let again = SideFigures { name: happened.name.clone(), ..same.clone() };
    assert_eq!(again, *happened, "the same policy decides as it did");
    assert!(default.moves >= 3 && default.nodes_mean < 2.0, "{default:?}");
    assert!(default.utilisation_pct > 2.0 * happened.utilisation_pct, "{default:?}");
    assert!(default.above80_pct < 1e-9, "{default:?}");
    assert_eq!((default.refused, made.notes.len()), (0, 0), "{:?}", made.notes);
    let twice = compared(&entries, Branch::Beginning, &variants);
    assert_eq!(figures(&twice), figures(&made));
}

#[test]
fn a_branch_lets_everything_before_it_stand() {
    let entries = Recorded::hours(2);
    let variants = [variant("default", Some(BTreeMap::new()))];
    let late = At::from_millis(BEGIN.millis() + 3_600_000);
    for branch in [Branch::At(late), Branch::After(Millis::from_secs(3600))] {
        let made = compared(&entries, branch, &variants);
        assert!(made.span.0 >= late && made.span.0.since(late) <= EVERY, "{branch:?}");
        assert_eq!(made.sides[0].1.len(), 12, "an hour is left");
        assert!(figures(&made)[1].nodes_mean < 2.0);
    }
    let by_entry = compared(&entries, Branch::Sequence(Sequence::new(8)), &variants);
    assert_eq!(by_entry.branch, Sequence::new(8));
    let never = Branch::Sequence(Sequence::new(999));
    let error = replan(entries.into_iter(), never, Millis::from_secs(300), &variants);
    assert!(matches!(error, Err(ReplanError::NeverReached)));
}

/// Adds what agents would have told who had measured the instances for four hours before, as soon as all
/// of them run.
fn with_histories(entries: Entries) -> Entries {
    let (mut state, mut told) = (State::new(), Entries::new());
    for read in entries {
        let (sequence, entry) = read.expect("no fault");
        let now = entry.at;
        let observed = matches!(entry.command, Command::ObserveInstances { .. });
        state.apply(&entry);
        told.push(Ok((sequence, entry)));
        let healthy = state.instances().filter(|i| i.status.phase == Phase::Healthy).count();
        if !observed || healthy < 4 {
            continue;
        }
        for instance in state.instances() {
            let window = Millis::from_secs(300);
            let used = SketchWindow { cpu: Millicores::new(500), covered: Permille::WHOLE };
            let from = At::from_millis(now.millis() - 48 * window.get());
            let sketch = Sketch { from, windows: vec![used; 48], memory: Mebibytes::new(100) };
            let (id, peaks) = (instance.status.instance, Peaks::default());
            let instances = vec![InstanceSketch { instance: id, sketch, peaks }];
            let history = UsageHistory { at: now, window, foreign: None, instances };
            let node = instance.node.expect("it runs");
            let command = Command::ReportHistory { node, history };
            told.push(Ok((None, Entry { at: now, by: None, command })));
        }
    }
    told
}

#[test]
fn what_agents_remembered_is_known_to_a_day_that_is_planned_anew() {
    let patient = [variant("patient", Some(knobs(&[("history_min_seconds", 7200)])))];
    let entries = Recorded::hours(1);
    let cold = compared(&entries, Branch::Beginning, &patient);
    assert_eq!(figures(&cold)[1].moves, 0, "an hour is not enough");
    let warm = compared(&with_histories(entries), Branch::Beginning, &patient);
    assert!(figures(&warm)[1].moves >= 3, "{:?}", figures(&warm));
    assert_eq!(figures(&warm)[1].refused, 0);
}

#[test]
fn nodes_can_be_added_and_taken_away() {
    let entries = Recorded::hours(1);
    let large = Shape::parse("16/64").expect("a shape");
    let node = |number: u32| format!("n{number}").parse().expect("a name");
    let moved = Variant {
        name: "one large node".to_owned(),
        knobs: None,
        add: vec![large],
        remove: (1..=NODES).map(node).collect(),
    };
    let made =
        compared(&entries, Branch::After(Millis::from_secs(600)), std::slice::from_ref(&moved));
    let after = figures(&made)[1];
    assert!(after.nodes_mean < 1.5 && after.moves == 4, "{after:?}");
    assert!(after.waiting_pct < 1e-9 && after.demand_lost_pct < 1e-9, "{after:?}");
    let none = Variant { remove: vec!["nobody".parse().expect("a name")], ..moved };
    let error = replan(entries.into_iter(), Branch::Beginning, EVERY, &[none]);
    assert!(matches!(error, Err(ReplanError::UnknownNode(_))));
}

#[test]
fn a_comparison_is_a_page_that_takes_no_markup() {
    let entries = Recorded::hours(1);
    let made = compared(&entries, Branch::Beginning, &[variant("<i>bold</i>", None)]);
    let page = html("journal.db", &made);
    assert!(page.contains("What happened") && page.contains("&lt;i&gt;bold"), "{page:.200}");
    assert!(!page.contains("<i>bold") && page.matches("<svg").count() == 6);
}

#[test]
fn durable_entries_alone_make_the_state_again() {
    let entries = Recorded::hours(1);
    let durable = entries.iter().flatten().filter_map(|(s, e)| Some(Ok((s.as_ref()?, e))));
    let durable: Vec<Result<_, Infallible>> =
        durable.map(|read| read.map(|(s, e): (&Sequence, &Entry)| (*s, e.clone()))).collect();
    let mut journal = Journal::default();
    let mut last = Sequence::default();
    journal.replay(durable.into_iter(), |sequence, _| last = sequence).expect("no fault");
    assert_eq!((journal.counts(), journal.moves), ((4, 4, 4), (4, 0)));
    assert_eq!(journal.state.sequence(), last);
    assert!(journal.state.nodes().all(|n| n.wish == NodeWish::Serve));
}
