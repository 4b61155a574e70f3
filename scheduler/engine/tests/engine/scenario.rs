//! Scenarios: what the engine does with a small cloud over time.

use crate::cloud::{self, Cloud, REPORT, spec};
use tengyun_engine::image::InstanceWish;
use tengyun_engine::{
    Command, Effect, Entry, Move, Outcome, Refusal, ShiftReason, State, explain, predict,
};
use tengyun_model::{
    At, Class, InstanceId, Mebibytes, Millicores, Millis, MovePolicy, NodeId, Phase, PortSpec,
};

/// Four nodes with one light application each.
fn four_departments() -> Cloud {
    let mut cloud = Cloud::of(4);
    for number in 1..=4 {
        let mut app = spec(&format!("app{number}"));
        app.constraints.labels.insert("node".to_owned(), format!("n{number}"));
        app.resources.cpu = Millicores::new(500);
        cloud.uses.insert(format!("app{number}"), 80);
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(30));
    assert_eq!(cloud.layout().len(), 4);
    cloud
}

fn free_the_departments(cloud: &mut Cloud) {
    for number in 1..=4 {
        let mut app = spec(&format!("app{number}"));
        app.resources.cpu = Millicores::new(500);
        cloud.apply(app);
    }
}

#[test]
fn light_nodes_are_emptied_by_measured_use_and_harvest_fills_the_band() {
    let mut cloud = four_departments();
    free_the_departments(&mut cloud);
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(cloud.layout().len(), 1, "{:?}", cloud.layout());
    let mut harvest = spec("harvest");
    harvest.class = Class::Harvest;
    harvest.instances = 10;
    cloud.apply(harvest);
    cloud.pass(Millis::from_secs(10));
    let layout = cloud.layout();
    assert_eq!(layout.len(), 1, "harvest opens no node: {layout:?}");
    let filled = layout.values().next().unwrap().iter().filter(|n| *n == "harvest").count();
    // Four means of 80 m leave four requests of 100 m below the target of 790.
    assert_eq!(filled, 4, "{layout:?}");
}

#[test]
fn a_department_with_many_harvest_jobs_does_not_keep_anothers_one_waiting() {
    let mut cloud = four_departments();
    free_the_departments(&mut cloud);
    cloud.pass(Millis::from_secs(3600));
    let mut many = spec("many");
    many.class = Class::Harvest;
    many.instances = 10;
    let mut one = spec("one");
    one.class = Class::Harvest;
    one.key.department = "zoo".parse().unwrap();
    cloud.apply(many);
    cloud.apply(one);
    cloud.pass(Millis::from_secs(10));
    let layout = cloud.layout();
    let names: Vec<_> = layout.values().flatten().filter(|n| !n.starts_with("app")).collect();
    assert_eq!(names, ["many", "many", "many", "one"], "{layout:?}");
}

#[test]
fn a_replacement_is_healthy_before_the_old_copy_stops() {
    let mut cloud = four_departments();
    free_the_departments(&mut cloud);
    let mut shifts = 0;
    for _ in 0..600 {
        cloud.pass(REPORT);
        for app in 1..=4 {
            let healthy = cloud.state.instances().filter(|i| {
                cloud.state.spec(i).key.name.as_str() == format!("app{app}")
                    && i.status.phase == Phase::Healthy
                    && i.wish == InstanceWish::Run
            });
            assert!(healthy.count() >= 1, "app{app} was away");
        }
        shifts = cloud.state.moves_total();
    }
    assert_eq!(shifts, 3, "each application but one moved once");
}

#[test]
fn nothing_moves_without_measurements() {
    let mut cloud = four_departments();
    free_the_departments(&mut cloud);
    cloud.pass(Millis::from_secs(60));
    let moves = cloud.state.moves_total();
    // An hour without reports: only the clock goes on.
    cloud.now = cloud.now.after(Millis::from_secs(3600));
    assert_eq!(cloud.plan().moves, []);
    assert_eq!(cloud.state.moves_total(), moves);
}

#[test]
fn an_instance_that_must_not_move_stays() {
    let mut cloud = Cloud::of(2);
    for number in 1..=2 {
        let mut app = spec(&format!("app{number}"));
        app.constraints.labels.insert("node".to_owned(), format!("n{number}"));
        app.move_policy = MovePolicy::Never;
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(cloud.layout().len(), 2);
}

#[test]
fn an_overloaded_node_is_relieved() {
    let mut cloud = Cloud::of(2);
    cloud.set(&[("consolidate", 0)]);
    for name in ["a", "b", "c"] {
        cloud.uses.insert(name.to_owned(), 100);
        cloud.apply(spec(name));
    }
    cloud.pass(Millis::from_secs(600));
    assert_eq!(cloud.layout().len(), 1);
    cloud.uses.insert("a".to_owned(), 650);
    cloud.pass(Millis::from_secs(1200));
    assert_eq!(cloud.layout().len(), 2, "{:?}", cloud.layout());
}

#[test]
fn critical_reservations_are_never_promised_twice() {
    let mut cloud = Cloud::of(1);
    let critical = |name: &str| {
        let mut one = spec(name);
        one.class = Class::Critical;
        one.resources.cpu = Millicores::new(600);
        one
    };
    cloud.apply(critical("one"));
    cloud.apply(critical("two"));
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(cloud.layout()[&1], ["one"], "an idle reservation was lent out");
    let standard = spec("small");
    cloud.apply(standard);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&1].len(), 2, "what is left below the target can be used");
}

#[test]
fn ports_counters_memory_and_disk_are_hard() {
    let mut cloud = Cloud::of(1);
    let port = PortSpec { name: "http".parse().unwrap(), number: Some(80) };
    let mut first = spec("first");
    first.ports = vec![port.clone()];
    first.counted.insert("licence".parse().unwrap(), 2);
    cloud.apply(first);
    cloud.settle();
    let mut same_port = spec("port");
    same_port.ports = vec![port];
    let mut same_counter = spec("counter");
    same_counter.counted.insert("licence".parse().unwrap(), 1);
    let mut memory = spec("memory");
    memory.resources.memory = Mebibytes::new(4000);
    let mut disk = spec("disk");
    disk.resources.disk = Mebibytes::new(10_001);
    let mut ids = Vec::new();
    for waiting in [same_port, same_counter, memory, disk] {
        let key = waiting.key.clone();
        cloud.apply(waiting);
        let workload = cloud.state.workload_keyed(&key).unwrap().id;
        ids.push(cloud.state.of_workload(workload).next().unwrap());
    }
    cloud.settle();
    assert_eq!(cloud.layout()[&1], ["first"]);
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let codes: Vec<&str> = ids
        .iter()
        .map(|id| {
            let explained = explain::explain(&cloud.state, &forecast, *id, cloud.now).unwrap();
            assert!(!explained.remedy.is_empty());
            explained.nodes[0].refusal.clone().unwrap().code()
        })
        .collect();
    assert_eq!(codes, ["port-taken", "no-counter", "no-memory", "no-disk"]);
}

#[test]
fn a_node_that_others_fill_takes_nothing_and_the_advice_names_them() {
    let mut cloud = Cloud::of(1);
    cloud.foreign.insert(NodeId::new(1), 959);
    cloud.pass(REPORT);
    cloud.apply(spec("app"));
    cloud.settle();
    let id = cloud.state.instances().next().unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain::explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    assert_eq!(
        explained.remedy.to_string(),
        "end what is not of this cloud on n1, it uses up to 1000 m, or add a node"
    );
}

#[test]
fn spread_and_anti_affinity_keep_apart() {
    let mut cloud = Cloud::of(4);
    let mut even = spec("even");
    even.instances = 4;
    even.constraints.spread = Some("rack".to_owned());
    cloud.apply(even);
    let mut apart = spec("apart");
    apart.instances = 5;
    apart.constraints.anti_affinity = vec![apart.key.clone()];
    cloud.apply(apart);
    for _ in 0..6 {
        cloud.settle();
    }
    let racks = |rack: u32| {
        let on = cloud.layout();
        let names = on.iter().filter(|(n, _)| *n % 2 == rack).flat_map(|(_, names)| names.clone());
        names.filter(|n| n == "even").count()
    };
    assert_eq!((racks(0), racks(1)), (2, 2));
    let apart: usize =
        cloud.layout().values().map(|n| n.iter().filter(|n| *n == "apart").count()).sum();
    assert_eq!(apart, 4, "one on each node, the fifth waits");
}

#[test]
fn harvest_makes_room_for_what_is_dearer_and_queues_again() {
    let mut cloud = Cloud::of(1);
    let mut harvest = spec("harvest");
    harvest.class = Class::Harvest;
    harvest.resources.memory = Mebibytes::new(4000);
    cloud.apply(harvest);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&1], ["harvest"]);
    cloud.apply(spec("dear"));
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&1], ["dear"]);
    let waiting = cloud.state.instances().filter(|i| i.node.is_none()).count();
    assert_eq!(waiting, 1, "the evicted one is queued again");
}

#[test]
fn harvest_is_not_evicted_for_one_that_another_of_the_same_plan_keeps_out() {
    let mut cloud = Cloud::of(1);
    let sized = |name: &str, class, memory| {
        let mut spec = spec(name);
        (spec.class, spec.resources.memory) = (class, Mebibytes::new(memory));
        spec.resources.cpu = Millicores::new(10);
        spec
    };
    cloud.apply(sized("fill", Class::Harvest, 3000));
    cloud.pass(REPORT);
    assert_eq!(cloud.layout()[&1], ["fill"]);
    cloud.apply(sized("first", Class::Critical, 1000));
    cloud.apply(sized("second", Class::Standard, 3500));
    let plan = cloud.settle();
    assert_eq!(plan.moves.len(), 1, "{plan:?}");
    assert_eq!(cloud.layout()[&1], ["fill", "first"]);
}

#[test]
fn a_new_revision_replaces_running_copies_one_at_a_time() {
    let mut cloud = Cloud::of(2);
    let mut app = spec("app");
    app.instances = 3;
    cloud.apply(app.clone());
    cloud.pass(Millis::from_secs(10));
    app.command.push("again".to_owned());
    assert!(matches!(cloud.apply(app), Effect::Updated(_, _)));
    for _ in 0..20 {
        let plan = cloud.settle();
        let shifts = plan
            .moves
            .iter()
            .filter(|m| matches!(m, Move::Shift { reason: ShiftReason::Revision, .. }));
        assert!(shifts.count() <= 1);
        cloud.pass(REPORT);
    }
    let revisions: Vec<u32> = cloud.state.instances().map(|i| i.revision.get()).collect();
    assert_eq!(revisions, [2, 2, 2]);
}

#[test]
fn a_replacement_that_does_not_become_healthy_is_given_up_and_the_old_copy_stays() {
    let mut cloud = four_departments();
    free_the_departments(&mut cloud);
    let mut new = None;
    for _ in 0..600 {
        cloud.now = cloud.now.after(REPORT);
        cloud.pass(REPORT);
        new = cloud.state.instances().find(|i| i.replaces.is_some()).map(|i| i.status.instance);
        if new.is_some() {
            break;
        }
    }
    let new = new.expect("something was shifted");
    let old = cloud.state.instance(new).unwrap().replaces.unwrap();
    cloud.now = cloud.now.after(Millis::from_secs(200));
    cloud.settle();
    assert_eq!(cloud.state.instance(old).unwrap().wish, InstanceWish::Run);
    assert!(matches!(cloud.state.instance(new).unwrap().wish, InstanceWish::Stop(_)));
}

#[test]
fn a_repeated_operation_changes_nothing_and_answers_the_same() {
    let mut cloud = Cloud::of(1);
    let operation = cloud.operation();
    let command = Command::ApplyWorkload { operation, spec: Box::new(spec("once")) };
    let first = cloud.must(command.clone());
    let mut image = cloud.state.image();
    assert_eq!(cloud.must(command), first);
    image.sequence = image.sequence.next();
    assert_eq!(cloud.state.image(), image);
    let other = Command::ApplyWorkload { operation, spec: Box::new(spec("other")) };
    assert_eq!(cloud.try_to(other), Outcome::Refused(Refusal::OperationReused(operation)));
}

#[test]
fn a_deleted_workload_is_forgotten_when_nothing_of_it_runs() {
    let mut cloud = Cloud::of(1);
    cloud.apply(spec("app"));
    cloud.pass(Millis::from_secs(10));
    let operation = cloud.operation();
    let key = spec("app").key;
    cloud.must(Command::DeleteWorkload { operation, key: key.clone() });
    assert!(cloud.state.workload_keyed(&key).is_some(), "its instance still runs");
    assert_eq!(cloud.refused(spec("app")), Refusal::Deleting(key.clone()));
    cloud.pass(Millis::from_secs(10));
    assert!(cloud.state.workload_keyed(&key).is_none());
    assert_eq!(cloud.state.instances().count(), 0);
}

#[test]
fn an_agent_speaks_only_of_its_own_node() {
    let mut cloud = Cloud::of(2);
    cloud.apply(spec("app"));
    cloud.settle();
    let before = cloud.state.image().instances;
    let liar = cloud.state.nodes().map(|n| n.id).find(|n| Some(*n) != before[0].node).unwrap();
    let id = before[0].status.instance;
    let instances = vec![cloud::healthy(id, cloud.now)];
    let generation = cloud.state.node(liar).unwrap().generation;
    let command = Command::ObserveInstances { node: liar, generation, instances, gone: vec![id] };
    cloud.must(command);
    assert_eq!(cloud.state.image().instances, before);
}

#[test]
fn a_job_that_ended_is_not_run_again() {
    let mut cloud = Cloud::of(1);
    let mut job = spec("job");
    job.kind = tengyun_model::Kind::Job;
    cloud.apply(job);
    cloud.pass(Millis::from_secs(10));
    let id = cloud.state.instances().next().unwrap().status.instance;
    let mut status = cloud::healthy(id, cloud.now);
    status.phase = Phase::Succeeded;
    let node = NodeId::new(1);
    let generation = cloud.state.node(node).unwrap().generation;
    cloud.must(Command::ObserveInstances {
        node,
        generation,
        instances: vec![status],
        gone: vec![],
    });
    assert_eq!(cloud.state.assignment(node).unwrap().instances, []);
    cloud.pass(Millis::from_secs(60));
    let all: Vec<(InstanceId, Phase)> =
        cloud.state.instances().map(|i| (i.status.instance, i.status.phase)).collect();
    assert_eq!(all, [(id, Phase::Succeeded)]);
}

#[test]
fn a_stale_plan_does_no_harm() {
    let mut cloud = Cloud::of(2);
    cloud.apply(spec("app"));
    let plan = cloud.plan();
    cloud.must(Command::CommitPlan(plan.clone()));
    let before = cloud.state.image();
    let effect = cloud.must(Command::CommitPlan(plan));
    assert_eq!(effect, Effect::Planned { accepted: 0, stale: 1 });
    let after = cloud.state.image();
    assert_eq!((after.instances, after.nodes), (before.instances, before.nodes));
}

#[test]
fn replay_of_durable_entries_gives_the_same_image_as_life() {
    let mut cloud = four_departments();
    free_the_departments(&mut cloud);
    cloud.pass(Millis::from_secs(1800));
    let mut replayed = State::new();
    for entry in cloud.entries.iter().filter(|e| e.command.is_durable()) {
        replayed.apply(entry);
    }
    assert_eq!(replayed.image(), cloud.state.image());
    let restored = State::from_image(replayed.image()).unwrap();
    assert_eq!(restored.image(), cloud.state.image());
    assert_eq!(
        replayed.apply(&Entry { at: At::default(), by: None, command: Command::BeginEpoch }),
        Outcome::Applied(Effect::Done)
    );
}

#[test]
fn a_workload_whose_peak_was_missed_pays_with_a_larger_margin() {
    let mut cloud = Cloud::of(1);
    for name in ["steady", "bursty"] {
        let mut app = spec(name);
        app.resources.cpu = Millicores::new(400);
        cloud.apply(app);
        cloud.uses.insert(name.to_owned(), 100);
    }
    cloud.pass(Millis::from_secs(2 * 3600));
    let margin = |cloud: &Cloud, name: &str| {
        let forecast = predict::forecast(&cloud.state, cloud.now);
        let instance =
            cloud.state.instances().find(|i| cloud.state.spec(i).key.name.as_str() == name);
        let instance = instance.unwrap();
        forecast.margin(instance.status.instance, instance.node)
    };
    let before = margin(&cloud, "bursty");
    assert_eq!(before, margin(&cloud, "steady"));
    cloud.uses.insert("bursty".to_owned(), 350);
    cloud.pass(Millis::from_secs(300));
    cloud.uses.insert("bursty".to_owned(), 100);
    cloud.pass(Millis::from_secs(600));
    let spent = cloud.state.spent();
    assert!(spent[0].foreseen > 10 && spent[0].missed >= 1, "{spent:?}");
    assert!(margin(&cloud, "bursty") > before.saturating_add(Millicores::new(20)));
    assert!(margin(&cloud, "steady") <= before, "it does not pay for the other");
}
