//! What operators do with nodes and instances, over the socket.

use tengyun_model::Role;
use tengyun_proto::{limits, v1};
use tengyun_scheduler::Config;

use crate::members::{House, connect, node as node_named};
use crate::world::{
    self, Agent, Operator, Scheduler, key, operation, report, running, spec, until,
};

async fn wish(operator: &mut Operator, node: u32, wish: v1::NodeWish) -> Option<v1::Refusal> {
    let operation_id = operation();
    let request = v1::SetNodeWishRequest { operation_id, node, wish: wish.into() };
    operator.set_node_wish(request).await.unwrap().into_inner().refusal
}

async fn set(operator: &mut Operator, knobs: &[(&str, u64)]) {
    let knob =
        |(name, value): &(&str, u64)| v1::KnobValue { name: (*name).to_owned(), value: *value };
    let values = knobs.iter().map(knob).collect();
    let request = v1::SetPolicyRequest { operation_id: operation(), values, ..Default::default() };
    assert_eq!(operator.set_policy(request).await.unwrap().into_inner().refusal, None);
}

async fn events(operator: &mut Operator, filter: v1::ListEventsRequest) -> Vec<String> {
    let list = operator.list_events(filter).await.unwrap().into_inner();
    list.events.into_iter().map(|e| e.kind).collect()
}

/// Two nodes, of which the first runs these instances, healthy.
async fn busy(scheduler: &mut Scheduler, instances: u32) -> (Agent, Agent, v1::Assignment) {
    let (first, assignment) = running(scheduler, spec("web", instances)).await;
    let second = Agent::attach(&scheduler.channel, "n2").await;
    (first, second, assignment)
}

#[tokio::test]
async fn a_drain_moves_everything_once_it_is_healthy_elsewhere() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let (mut first, mut second, before) = busy(&mut scheduler, 2).await;
    let node = first.welcome.node;
    assert_eq!(wish(&mut scheduler.operator, node, v1::NodeWish::Drain).await, None);
    let copies = second.assignment(2).await;
    let leaving = async |scheduler: &mut Scheduler| {
        let request = v1::ListLeavingRequest { node, ..Default::default() };
        scheduler.operator.list_leaving(request).await.unwrap().into_inner().instances
    };
    let states = leaving(&mut scheduler).await.into_iter().map(|i| i.state).collect::<Vec<_>>();
    assert_eq!(states, ["moving", "moving"], "the old copies stay until the new are healthy");
    second.report(report(&copies, v1::Phase::Healthy)).await;
    let empty = first.assignment(0).await;
    assert!(empty.generation > before.generation);
    first.report(report(&empty, v1::Phase::Healthy)).await;
    until("the node is empty", async || leaving(&mut scheduler).await.is_empty().then_some(()))
        .await;
    let filter = v1::ListEventsRequest { node: "n1".to_owned(), ..Default::default() };
    let told = events(&mut scheduler.operator, filter).await;
    let wanted = ["node-wish", "moving", "moving", "moved", "moved", "stopped", "stopped"];
    assert_eq!(told[told.len() - wanted.len()..], wanted);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_drain_is_rehearsed_with_its_destinations_and_changes_nothing() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let (first, _second, _) = busy(&mut scheduler, 2).await;
    let mut ask = async |node| {
        let request = v1::ListLeavingRequest { node, rehearse: true, force: false };
        scheduler.operator.list_leaving(request).await.unwrap().into_inner()
    };
    let told = ask(first.welcome.node).await;
    let ways: Vec<_> = told.instances.iter().map(|i| (i.state.as_str(), i.to.as_str())).collect();
    assert_eq!(ways, [("moving", "n2"), ("moving", "n2")]);
    assert_eq!((told.rehearsed, told.wish.as_str(), told.refusal), (true, "serve", None));
    assert_eq!(ask(99).await.refusal.unwrap().code, "unknown-node");
    let after = scheduler.instances().await;
    assert!(after.iter().all(|i| i.wanted && i.node_name == "n1" && i.replaces.is_none()));
    assert_eq!(after.len(), 2);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_wish_about_a_node_and_what_happened_outlive_the_scheduler() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let agent = Agent::attach(&scheduler.channel, "n1").await;
    let node = agent.welcome.node;
    wish(&mut scheduler.operator, node, v1::NodeWish::Cordon).await;
    let unknown = wish(&mut scheduler.operator, 99, v1::NodeWish::Cordon).await.unwrap();
    assert_eq!(unknown.code, "unknown-node");
    drop(agent);
    scheduler.stop().await;
    let mut scheduler = Scheduler::start(dir.path()).await;
    let _agent = Agent::attach(&scheduler.channel, "n1").await;
    scheduler.apply(spec("web", 1)).await;
    let nodes = scheduler.operator.list_nodes(v1::ListNodesRequest {}).await.unwrap();
    assert_eq!(nodes.into_inner().nodes[0].wish, "cordon");
    let request = v1::ExplainRequest { instance: None, key: Some(key("web")) };
    let explained = scheduler.operator.explain(request).await.unwrap().into_inner().explanations;
    assert_eq!(explained[0].nodes[0].reason, "is cordoned");
    assert!(explained[0].remedy.contains("tengyun uncordon n1"), "{}", explained[0].remedy);
    let told = events(&mut scheduler.operator, v1::ListEventsRequest::default()).await;
    let before = told.iter().position(|kind| kind == "node-registered").unwrap();
    let starts = told.iter().filter(|kind| *kind == "scheduler-started").count();
    assert!(starts == 2 && before > 0, "{told:?}");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_move_is_refused_with_numbers_and_where_else_it_could_go() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let (first, second, assignment) = busy(&mut scheduler, 1).await;
    let _third = Agent::attach(&scheduler.channel, "n3").await;
    let instance = assignment.instances[0].instance;
    wish(&mut scheduler.operator, second.welcome.node, v1::NodeWish::Cordon).await;
    let mut ask = async |to: u32| {
        let request = v1::MoveRequest { operation_id: operation(), instance, to };
        scheduler.operator.r#move(request).await.unwrap().into_inner()
    };
    let refusal = ask(second.welcome.node).await.refusal.unwrap();
    assert_eq!(refusal.code, "node-not-open");
    let here = ask(first.welcome.node).await.refusal.unwrap();
    assert_eq!(here.code, "already-there");
    let there = first.welcome.node + 2;
    assert_eq!(ask(there).await.refusal, None);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_lost_node_loses_what_may_restart_and_stops_it_when_it_returns() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start_with(Config::new(dir.path())).await;
    let (first, mut second, assignment) = {
        let mut web = spec("web", 2);
        web.on_lost = v1::OnLost::Restart.into();
        let (first, assignment) = running(&mut scheduler, web).await;
        (first, Agent::attach(&scheduler.channel, "n2").await, assignment)
    };
    let nodes = vec![first.welcome.node];
    let request =
        |dead| v1::AcknowledgeLossRequest { operation_id: operation(), nodes: nodes.clone(), dead };
    let there = scheduler.operator.acknowledge_loss(request(true)).await.unwrap().into_inner();
    assert_eq!(there.refusal.unwrap().code, "node-there");
    let quick = [
        ("suspect_after_seconds", 2),
        ("lost_after_seconds", 4),
        ("return_grace_seconds", 0),
        ("loss_interval_seconds", 0),
    ];
    set(&mut scheduler.operator, &quick).await;
    drop(first);
    let copy = loop {
        // The second node reports all the while, so that only the first is silent.
        second.report(v1::Report { epoch: 1, ..report(&assignment, v1::Phase::Healthy) }).await;
        let found =
            tokio::time::timeout(std::time::Duration::from_millis(500), second.assignment(2));
        if let Ok(found) = found.await {
            break found;
        }
    };
    assert_ne!(copy.instances[0].instance, assignment.instances[0].instance);
    // An answer that was lost is asked for again with the same operation id.
    let word = v1::AcknowledgeLossRequest { nodes: Vec::new(), ..request(true) };
    for _ in 0..2 {
        let answer = scheduler.operator.acknowledge_loss(word.clone()).await.unwrap().into_inner();
        assert_eq!((answer.nodes, answer.refusal), (nodes.clone(), None));
    }
    let mut again = Agent::attach(&scheduler.channel, "n1").await;
    assert_eq!(again.assignment(0).await.instances, [], "the old copy is to stop");
    until("it is told that the node returned", async || {
        let told = events(&mut scheduler.operator, v1::ListEventsRequest::default()).await;
        let order = ["node-away", "node-suspect", "node-lost", "instance-lost", "node-returned"];
        let at = order.map(|kind| told.iter().position(|told| told == kind));
        at.iter().all(Option::is_some).then(|| assert!(at.is_sorted(), "{told:?}"))
    })
    .await;
    scheduler.stop().await;
}

#[tokio::test]
async fn a_lost_node_is_forgotten_and_its_certificate_holds_no_longer() {
    let mut house = House::open().await;
    let identity = house.node("n1").await;
    let agent = Agent::attach(&connect(&identity).await, "n1").await;
    let node = agent.welcome.node;
    let operator = &mut house.scheduler.operator;
    let mut ask = async |dead: bool| {
        let request = v1::ForgetNodeRequest { operation_id: operation(), node, dead };
        operator.forget_node(request).await.unwrap().into_inner().refusal.map(|r| r.code)
    };
    assert_eq!(ask(false).await.as_deref(), Some("node-there"));
    assert_eq!(ask(true).await.as_deref(), Some("node-there"), "one that is there is not off");
    drop(agent);
    until("the node is away", async || {
        let refused = ask(false).await;
        (refused.as_deref() == Some("not-lost")).then_some(())
    })
    .await;
    assert_eq!(ask(true).await, None);
    assert_eq!(ask(true).await.as_deref(), Some("unknown-node"));
    let nodes = operator.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(nodes, []);
    let member = house.member(&node_named("n1")).await;
    assert!(member.revoked_millis > 0 && member.node == 0, "{member:?}");
    house.scheduler.stop().await;
}

#[tokio::test]
async fn what_was_wished_says_by_whom_and_is_found_by_it_after_a_restart_too() {
    let mut house = House::open().await;
    let role = Role::Department("city/finance".parse().unwrap());
    let channel = connect(&house.person("dora", role).await).await;
    let items = vec![v1::ApplyItem { operation_id: operation(), spec: Some(spec("web", 1)) }];
    let apply = v1::ApplyRequest { items, dry_run: false };
    let answer = limits::operator_client(channel).apply(apply).await.unwrap().into_inner();
    assert_eq!(answer.results[0].refusal, None);
    set(&mut house.scheduler.operator, &[("consolidate", 0)]).await;
    let uid = format!("uid:{}", nix::unistd::geteuid());
    let House { dir, scheduler } = house;
    scheduler.stop().await;
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut by = async |who: &str| {
        let filter = v1::ListEventsRequest { by: who.to_owned(), ..Default::default() };
        let list = scheduler.operator.list_events(filter).await.unwrap().into_inner();
        assert!(list.events.iter().all(|e| e.by == who));
        let role = |e: &v1::EventView| e.role.as_ref().map(|role| role.code.clone());
        list.events.iter().map(|e| (e.kind.clone(), role(e))).collect::<Vec<_>>()
    };
    let department = Some("role-department".to_owned());
    assert_eq!(by("dora").await, [("workload-created".to_owned(), department)]);
    let local: Vec<String> = by(&uid).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(local, ["token-created", "policy-changed"]);
    assert_eq!(by("nobody").await, []);
    scheduler.stop().await;
}
