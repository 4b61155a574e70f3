//! What the engine shows of what it knows: the budget by hour, the accuracy of forecasts, counted
//! reasons, rehearsals and the record of decisions. None of it changes what is decided.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_engine::explain::{Decisions, decided, explain};
use tengyun_engine::place::rehearse::{Rehearsal, rehearse};
use tengyun_engine::{Command, Move, NodeWish, Plan, ShiftReason, StopReason, predict};
use tengyun_model::{
    Class, InstanceId, Kind, Mebibytes, Millicores, Millis, NodeId, WorkloadKey, WorkloadSpec,
};

use crate::cloud::{Cloud, spec};

const HOUR: Millis = Millis::from_secs(3600);
const WINDOW: Millis = Millis::from_secs(300);

fn id_of(cloud: &Cloud, name: &str) -> InstanceId {
    let mut all = cloud.state.instances();
    let found = all.find(|i| cloud.state.spec(i).key.name.as_str() == name);
    found.expect("it was applied").status.instance
}

#[test]
fn the_budget_is_counted_by_hour_and_weighted_by_the_instances_affected() {
    let mut cloud = Cloud::of(2);
    cloud.set(&[("consolidate", 0)]);
    for (number, copies) in [(1, 1), (2, 3)] {
        let mut app = spec(&format!("app{number}"));
        app.constraints.labels.insert("node".to_owned(), format!("n{number}"));
        app.instances = copies;
        cloud.uses.insert(format!("app{number}"), 100);
        cloud.apply(app);
    }
    cloud.pass(HOUR);
    assert_eq!((cloud.state.hours().all().above, cloud.state.hours().worst()), (0, None));
    // The one node is above its ceiling of 800 m from now on: of four instances three are affected.
    cloud.uses.insert("app2".to_owned(), 290);
    let before = *cloud.state.hours().all();
    cloud.pass(HOUR);
    let all = cloud.state.hours().all();
    let (windows, above) = (all.windows - before.windows, all.above);
    assert_eq!((windows, above, all.overloads), (24, 12, 0));
    assert_eq!((all.instances - before.instances, all.affected), (48, 36));
    let (worst, of) = cloud.state.hours().worst().unwrap();
    // 2027-01-15 08:00 UTC, when these tests begin, is a Friday; the hour before it had no violation.
    assert_eq!((worst, of.above, of.share()), (4 * 24 + 9, 12, 500_000));
    assert_eq!(of.weighted(), 750_000);
    let week = cloud.state.hours().by_week();
    assert_eq!(week.iter().map(|h| h.windows).sum::<u64>(), all.windows);
}

#[test]
fn a_missed_peak_is_paid_by_the_one_that_missed_it_with_a_larger_margin() {
    let mut cloud = Cloud::of(2);
    cloud.set(&[("consolidate", 0)]);
    for number in 1..=2 {
        let mut app = spec(&format!("app{number}"));
        app.constraints.labels.insert("node".to_owned(), format!("n{number}"));
        app.resources.cpu = Millicores::new(600);
        cloud.uses.insert(format!("app{number}"), 100);
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(4 * 3600));
    let ids = ["app1", "app2"].map(|name| id_of(&cloud, name));
    let look = |cloud: &Cloud| {
        let forecast = predict::forecast(&cloud.state, cloud.now);
        ids.map(|id| {
            let node = cloud.state.instance(id).unwrap().node;
            (forecast.instance(id).deviation.get(), forecast.margin(id, node).get())
        })
    };
    let (before, known) = (look(&cloud), cloud.state.accuracy(ids[0]));
    assert_eq!((before[0], known.missed), (before[1], 0), "both are alike");
    cloud.uses.insert("app1".to_owned(), 400);
    cloud.pass(WINDOW);
    cloud.uses.insert("app1".to_owned(), 100);
    cloud.pass(WINDOW);
    let after = look(&cloud);
    // What a deviation counts for follows the errors of all nodes of a size; the deviation is one's own.
    assert!(after[0].0 > 2 * before[0].0, "{before:?} became {after:?}");
    assert!(after[1].0 <= before[1].0, "{before:?} became {after:?}");
    assert!(after[0].1 > 2 * after[1].1, "{after:?}");
    let (missed, other) = (cloud.state.accuracy(ids[0]), cloud.state.accuracy(ids[1]));
    assert_eq!((missed.missed, other.missed), (1, 0));
    assert_eq!(missed.windows, other.windows);
    assert!(missed.error_thousandths() > other.error_thousandths());
    let of_node = |cloud: &Cloud, n| cloud.state.node_accuracy(NodeId::new(n));
    assert_eq!((of_node(&cloud, 1).missed, of_node(&cloud, 2).missed), (1, 0));
    assert!(of_node(&cloud, 1).windows > 12);
}

#[test]
fn what_each_filter_excludes_is_counted_and_only_while_it_waits() {
    let mut cloud = Cloud::of(6);
    for (node, wish) in [(1, NodeWish::Cordon), (2, NodeWish::Drain), (3, NodeWish::Cordon)] {
        let operation = cloud.operation();
        cloud.must(Command::SetNodeWish { operation, node: NodeId::new(node), wish });
    }
    let mut large = spec("large");
    large.resources.memory = Mebibytes::new(5000);
    large.constraints.labels.insert("rack".to_owned(), "r0".to_owned());
    cloud.apply(large);
    cloud.apply(spec("small"));
    cloud.settle();
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, id_of(&cloud, "large"), cloud.now).unwrap();
    let told: Vec<String> = explained
        .excluded
        .iter()
        .map(|e| format!("{} {}: {}", e.nodes, e.nearest, e.why.said()))
        .collect();
    assert_eq!(
        told,
        [
            "2 n6: wants 5000 MiB memory, 4096 MiB left",
            "2 n1: is cordoned",
            "1 n5: has no label rack=r0",
            "1 n2: is drained",
        ]
    );
    assert!(explained.remedy.to_string().contains("4096 MiB to fit on n6"), "{}", explained.remedy);
    let explained = explain(&cloud.state, &forecast, id_of(&cloud, "small"), cloud.now).unwrap();
    assert_eq!(explained.excluded, []);
}

#[test]
fn what_only_has_to_wait_is_given_no_advice_that_would_not_help() {
    // Harvest is evicted for it and has not left: nothing has to be lowered.
    let mut cloud = Cloud::of(2);
    let operation = cloud.operation();
    let wish = NodeWish::Cordon;
    cloud.must(Command::SetNodeWish { operation, node: NodeId::new(1), wish });
    let mut harvest = spec("harvest");
    harvest.class = Class::Harvest;
    harvest.resources.memory = Mebibytes::new(4000);
    cloud.apply(harvest);
    cloud.pass(Millis::from_secs(10));
    cloud.apply(spec("dear"));
    let plan = cloud.plan();
    cloud.must(Command::CommitPlan(plan));
    let told = |cloud: &Cloud, name: &str| {
        let forecast = predict::forecast(&cloud.state, cloud.now);
        let explained = explain(&cloud.state, &forecast, id_of(cloud, name), cloud.now).unwrap();
        (explained.summary.to_string(), explained.remedy.to_string())
    };
    let (summary, remedy) = told(&cloud, "dear");
    assert_eq!(summary, "waits for room on n2, which something is leaving");
    assert_eq!(remedy, "");
    // What depends on something has to wait for that, whatever nodes say.
    let mut later = spec("later");
    later.depends_on = vec!["city/test/app/nobody".parse().unwrap()];
    later.resources.memory = Mebibytes::new(9000);
    cloud.apply(later);
    let (summary, remedy) = told(&cloud, "later");
    assert!(summary.starts_with("waits: "), "{summary}");
    assert!(remedy.starts_with("apply it, or mend it"), "{remedy}");
    // Harvest alone is told where it would start.
    let mut cloud = Cloud::of(2);
    let mut app = spec("app");
    app.constraints.labels.insert("node".to_owned(), "n2".to_owned());
    cloud.apply(app);
    cloud.pass(Millis::from_secs(10));
    cloud.must(Command::DisconnectNode(NodeId::new(2)));
    let mut alone = spec("alone");
    alone.class = Class::Harvest;
    cloud.apply(alone);
    cloud.settle();
    let (_, remedy) = told(&cloud, "alone");
    assert!(remedy.contains("harvest runs beside others"), "{remedy}");
}

/// Lets agents stop what is not wanted and plans until nothing moves; returns what was evicted, and
/// where copies of a workload started.
fn play(cloud: &mut Cloud, key: &WorkloadKey) -> (BTreeSet<InstanceId>, BTreeMap<NodeId, u32>) {
    let (mut evicted, mut started) = (BTreeSet::new(), BTreeMap::new());
    for _ in 0..8 {
        let plan = cloud.plan();
        for step in &plan.moves {
            match *step {
                Move::Stop { instance, reason: StopReason::Evicted } => {
                    evicted.insert(instance);
                }
                Move::Start { instance, node } => {
                    let instance = cloud.state.instance(instance).expect("it is planned");
                    if cloud.state.spec(instance).key == *key {
                        *started.entry(node).or_insert(0) += 1;
                    }
                }
                Move::Stop { .. } | Move::Shift { .. } | Move::Promise { .. } => {}
            }
        }
        cloud.must(Command::CommitPlan(plan));
        cloud.obey_all();
    }
    (evicted, started)
}

fn rehearsed(cloud: &Cloud, spec: &WorkloadSpec) -> Rehearsal {
    let forecast = predict::forecast(&cloud.state, cloud.now);
    rehearse(&cloud.state, &forecast, spec, cloud.now)
}

/// Four nodes with a standard application and harvest on each, of which no two are alike.
fn mixed() -> Cloud {
    let mut cloud = Cloud::of(4);
    for number in 1..=4_u64 {
        let on = |mut spec: WorkloadSpec, memory| {
            spec.constraints.labels.insert("node".to_owned(), format!("n{number}"));
            spec.resources.memory = Mebibytes::new(memory);
            spec
        };
        cloud.apply(on(spec(&format!("app{number}")), 500 + 10 * number));
        let mut harvest = on(spec(&format!("harvest{number}")), 1000 + 100 * number);
        harvest.class = Class::Harvest;
        harvest.instances = 2;
        cloud.apply(harvest);
    }
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout().values().map(Vec::len).sum::<usize>(), 12);
    cloud
}

#[test]
fn a_rehearsal_names_the_victims_and_the_nodes_that_come_to_be() {
    for (copies, memory, gang) in
        [(1, 300, false), (1, 2000, false), (3, 2500, false), (5, 2500, false), (3, 2500, true)]
    {
        let mut cloud = mixed();
        let mut dear = spec("dear");
        dear.resources.memory = Mebibytes::new(memory);
        dear.instances = copies;
        dear.gang = gang;
        let told = rehearsed(&cloud, &dear);
        assert_eq!(told, rehearsed(&cloud, &dear), "looking changes nothing");
        let key = dear.key.clone();
        cloud.apply(dear);
        let (evicted, started) = play(&mut cloud, &key);
        let victims: BTreeSet<InstanceId> = told.victims.iter().copied().collect();
        assert_eq!(victims.len(), told.victims.len(), "nobody is told twice");
        assert_eq!(victims, evicted, "{copies} of {memory}, {gang}");
        let mut nodes = told.starts.clone();
        for (node, copies) in &told.after {
            *nodes.entry(*node).or_insert(0) += copies;
        }
        assert_eq!(nodes, started, "{copies} of {memory}, {gang}");
        assert_eq!(nodes.values().sum::<u32>() + told.waits, copies);
        assert_eq!(told.after.is_empty(), victims.is_empty(), "{told:?}");
    }
}

#[test]
fn a_rehearsal_counts_only_copies_that_are_not_there_and_evicts_nothing_for_harvest() {
    let mut cloud = mixed();
    let mut app = spec("app1");
    app.constraints.labels.insert("node".to_owned(), "n1".to_owned());
    app.instances = 1;
    assert_eq!(rehearsed(&cloud, &app), Rehearsal::default());
    app.instances = 3;
    assert_eq!(rehearsed(&cloud, &app).starts, [(NodeId::new(1), 2)].into());
    let mut more = spec("more");
    more.class = Class::Harvest;
    more.resources.memory = Mebibytes::new(3000);
    let told = rehearsed(&cloud, &more);
    assert_eq!((told.victims, told.waits), (Vec::new(), 1));
    // What is to be everywhere starts beside what is there, or after what harvest leaves.
    let mut each = spec("each");
    each.kind = Kind::PerNode;
    each.resources.memory = Mebibytes::new(1150);
    let told = rehearsed(&cloud, &each);
    assert_eq!(told.starts.keys().copied().collect::<Vec<_>>(), [1, 2].map(NodeId::new));
    assert_eq!(told.after.keys().copied().collect::<Vec<_>>(), [3, 4].map(NodeId::new));
    let key = each.key.clone();
    each.move_policy = tengyun_model::MovePolicy::Never;
    cloud.apply(each);
    let (evicted, started) = play(&mut cloud, &key);
    assert_eq!(told.victims.into_iter().collect::<BTreeSet<_>>(), evicted);
    assert_eq!(started.len(), 4);
}

#[test]
fn a_rehearsal_expects_of_new_copies_what_their_siblings_use() {
    let mut cloud = Cloud::of(4);
    cloud.uses.insert("app".to_owned(), 50);
    let mut app = spec("app");
    app.resources.cpu = Millicores::new(500);
    app.instances = 2;
    cloud.apply(app.clone());
    cloud.pass(Millis::from_secs(5400));
    app.instances = 5;
    let told = rehearsed(&cloud, &app);
    let key = app.key.clone();
    cloud.apply(app);
    let (_, started) = play(&mut cloud, &key);
    assert_eq!((told.starts, told.after, told.waits), (started, BTreeMap::new(), 0));
    assert!(cloud.layout().len() < 4, "by their requests each would need its own node");
}

fn record(cloud: &mut Cloud, decisions: &mut Decisions, plan: Plan) {
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let decided = decided(&cloud.state, &forecast, &plan, cloud.now);
    cloud.must(Command::CommitPlan(plan));
    decisions.keep(&cloud.state, decided);
}

#[test]
fn a_placement_is_recorded_with_the_figures_it_was_decided_by() {
    let (mut cloud, mut decisions) = (Cloud::of(3), Decisions::default());
    for (name, cpu) in [("large", 500), ("small", 200)] {
        let mut app = spec(name);
        app.resources.cpu = Millicores::new(cpu);
        cloud.apply(app);
    }
    let plan = cloud.plan();
    record(&mut cloud, &mut decisions, plan);
    let of = |cloud: &Cloud, name| decisions.of(id_of(cloud, name)).unwrap().clone();
    let large = of(&cloud, "large");
    assert_eq!((large.from, large.to, large.reason), (None, NodeId::new(1), None));
    let cores = Millicores::new;
    assert_eq!((large.peak, large.bound), ((cores(0), cores(500)), cores(800)));
    assert_eq!((large.in_use, large.needed), (0, Some(1)));
    let runner_up = large.runner_up.unwrap();
    assert_eq!((runner_up.node, runner_up.peak), (NodeId::new(2), cores(500)));
    // The small one finds the large one there, by the same plan.
    let small = of(&cloud, "small");
    assert_eq!((small.to, small.peak), (NodeId::new(1), (cores(500), cores(700))));
    assert_eq!(small.expected.mean, cores(200));
    assert_eq!(small.at, cloud.now);
    assert_eq!(Decisions::default().of(small.instance), None, "another reign knows nothing of it");
}

#[test]
fn a_move_is_recorded_for_the_copy_that_comes_and_a_stale_one_is_not() {
    let (mut cloud, mut decisions) = (Cloud::of(3), Decisions::default());
    for number in 1..=3 {
        let mut app = spec(&format!("app{number}"));
        app.resources.cpu = Millicores::new(500);
        cloud.uses.insert(format!("app{number}"), 80);
        cloud.apply(app);
    }
    // Three requests need three nodes; what is used needs one.
    let mut moved = None;
    for _ in 0..720 {
        cloud.obey_all();
        cloud.report_all();
        let plan = cloud.plan();
        let shift = plan.moves.iter().find_map(|step| match *step {
            Move::Shift { instance, from, to, reason } => Some((instance, from, to, reason)),
            Move::Start { .. } | Move::Stop { .. } | Move::Promise { .. } => None,
        });
        record(&mut cloud, &mut decisions, plan);
        if let Some((old, from, to, reason)) = shift {
            moved = Some((old, from, to, reason, cloud.state.replacement_of(old).unwrap()));
            break;
        }
    }
    let (old, from, to, reason, new) = moved.expect("a node was worth emptying");
    assert_eq!(reason, ShiftReason::Consolidate);
    let told = decisions.of(new).unwrap();
    assert_eq!((told.from, told.to, told.reason), (Some(from), to, Some(reason)));
    assert!(told.peak.0 < told.peak.1 && told.peak.1 <= told.bound, "{told:?}");
    assert!(told.left.1 < told.left.0, "the node that is left is less full: {told:?}");
    assert_eq!((told.in_use, told.needed), (3, Some(1)));
    let other = [1, 2, 3].map(NodeId::new).into_iter().find(|n| *n != from && *n != to);
    assert_eq!(told.runner_up.map(|r| r.node), other);
    assert!(decisions.of(old).is_some_and(|first| first.from.is_none()));
    // The same plan again is stale: nothing came of it, and nothing is told of it.
    let again = Plan {
        base: cloud.state.sequence(),
        moves: vec![Move::Shift { instance: old, from, to, reason }],
    };
    let before = decisions.of(new).cloned();
    cloud.now = cloud.now.after(Millis::from_secs(1));
    record(&mut cloud, &mut decisions, again);
    assert_eq!(decisions.of(new).cloned(), before);
    assert_eq!(cloud.state.moves(cloud.now).last_day, cloud.state.moves_total());
}
