//! What the scheduler shows of what the engine knows: records, rehearsals, counted reasons, budgets.

use tengyun_model::Role;
use tengyun_proto::{limits, v1};

use crate::members::{House, connect};
use crate::world::{
    self, Agent, Operator, Scheduler, key, operation, report, running, spec, until,
};

async fn explained(operator: &mut Operator, name: &str) -> Vec<v1::Explanation> {
    let request = v1::ExplainRequest { instance: None, key: Some(key(name)) };
    operator.explain(request).await.unwrap().into_inner().explanations
}

async fn rehearsed(operator: &mut Operator, spec: v1::WorkloadSpec) -> v1::ApplyResult {
    let item = v1::ApplyItem { operation_id: operation(), spec: Some(spec) };
    let request = v1::ApplyRequest { items: vec![item], dry_run: true };
    operator.apply(request).await.unwrap().into_inner().results.remove(0)
}

#[tokio::test]
async fn a_decision_is_explained_from_the_record_which_ends_with_the_scheduler() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    let _other = Agent::attach(&scheduler.channel, "n2").await;
    scheduler.apply(spec("web", 1)).await;
    agent.assignment(1).await;
    let of = explained(&mut scheduler.operator, "web").await.remove(0);
    let decision = of.decision.unwrap();
    assert_eq!((decision.from.as_str(), decision.to.as_str()), ("", "n1"));
    assert_eq!((decision.before_millicores, decision.after_millicores), (0, 10));
    assert_eq!((decision.bound_millicores, decision.nodes_needed), (3200, Some(1)));
    assert_eq!((decision.runner_up.as_str(), decision.nodes_in_use), ("n2", 0));
    assert!(decision.at_millis > 0 && of.placed);
    scheduler.stop().await;
    let mut scheduler = Scheduler::start(dir.path()).await;
    let of = explained(&mut scheduler.operator, "web").await.remove(0);
    assert_eq!((of.placed, of.decision), (true, None), "the record outlived its scheduler");
    scheduler.stop().await;
}

#[tokio::test]
async fn what_an_operator_moves_is_explained_from_the_record_too() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let (_agent, assignment) = running(&mut scheduler, spec("web", 1)).await;
    let other = Agent::attach(&scheduler.channel, "n2").await;
    let (instance, to) = (assignment.instances[0].instance, other.welcome.node);
    let request = v1::MoveRequest { operation_id: operation(), instance, to };
    for _ in 0..2 {
        // An answer that was lost is asked for again with the same operation id.
        let answer = scheduler.operator.r#move(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.refusal, None);
    }
    let all = explained(&mut scheduler.operator, "web").await;
    let decisions: Vec<_> = all.into_iter().map(|of| of.decision.unwrap()).collect();
    let ways: Vec<_> = decisions.iter().map(|d| (d.from.as_str(), d.to.as_str())).collect();
    assert_eq!(ways, [("", "n1"), ("n1", "n2")]);
    assert_eq!(
        (decisions[0].reason.as_str(), decisions[1].reason.as_str()),
        ("", "an operator said so")
    );
    assert_eq!(decisions[1].reason_said.as_ref().unwrap().code, "shift-operator");
    assert_eq!((decisions[1].before_millicores, decisions[1].after_millicores), (0, 10));
    assert_eq!((decisions[1].bound_millicores, decisions[1].nodes_in_use), (3200, 1));
    scheduler.stop().await;
}

#[tokio::test]
async fn reasons_are_counted_for_what_waits() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let agents = [Agent::attach(&scheduler.channel, "n1").await];
    let _agents = (agents, Agent::attach(&scheduler.channel, "n2").await);
    let mut huge = spec("huge", 1);
    huge.resources.as_mut().unwrap().memory_mib = 1_000_000;
    scheduler.apply(huge).await;
    let of = explained(&mut scheduler.operator, "huge").await.remove(0);
    assert_eq!((of.placed, of.decision, of.excluded.len()), (false, None, 1));
    assert_eq!((of.excluded[0].nodes, of.excluded[0].nearest.as_str()), (2, "n1"));
    assert_eq!(of.excluded[0].reason, "wants 1000000 MiB memory, 8192 MiB left");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_dry_run_names_the_harvest_that_would_go_as_far_as_the_asker_may_see_it() {
    let mut house = House::open().await;
    let mut agent = Agent::attach(&house.scheduler.channel, "n1").await;
    for department in ["city/finance", "city/parks"] {
        let mut harvest = spec("harvest", 1);
        harvest.key.as_mut().unwrap().department = department.to_owned();
        harvest.class = v1::Class::Harvest.into();
        harvest.resources.as_mut().unwrap().memory_mib = 3000;
        house.scheduler.apply(harvest).await;
    }
    let assignment = agent.assignment(2).await;
    agent.report(report(&assignment, v1::Phase::Healthy)).await;
    let mut dear = spec("dear", 3);
    dear.resources.as_mut().unwrap().memory_mib = 3000;
    let all = rehearsed(&mut house.scheduler.operator, dear.clone()).await;
    let of = all.rehearsal.unwrap();
    let victims: Vec<_> = of.victims.iter().map(|v| v.key.clone().unwrap().department).collect();
    assert_eq!(victims, ["city/finance", "city/parks"]);
    assert_eq!((of.victims[0].node_name.as_str(), of.victims_hidden), ("n1", 0));
    assert_eq!((of.starts.len(), of.waits), (0, 1), "two of three fit once harvest has left");
    assert_eq!((of.after[0].name.as_str(), of.after[0].copies), ("n1", 2));
    // A department is told how many are not its own, and not whose.
    let department = Role::Department("city/finance".parse().unwrap());
    let channel = connect(&house.person("dora", department).await).await;
    let own = rehearsed(&mut limits::operator_client(channel), dear).await.rehearsal.unwrap();
    let victims: Vec<_> = own.victims.iter().map(|v| v.key.clone().unwrap().department).collect();
    assert_eq!((victims, own.victims_hidden), (vec!["city/finance".to_owned()], 1));
    assert_eq!(house.scheduler.instances().await.len(), 2, "a rehearsal changed something");
    // What is refused is not rehearsed.
    let refused = rehearsed(&mut house.scheduler.operator, spec("", 1)).await;
    assert!(refused.refusal.is_some() && refused.rehearsal.is_none());
    house.scheduler.stop().await;
}

#[tokio::test]
async fn the_status_has_every_hour_of_the_week_and_the_move_ledger() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let _running = running(&mut scheduler, spec("web", 1)).await;
    let status = until("it is healthy", async || {
        let healthy = scheduler.instances().await[0].status.as_ref().unwrap().phase();
        (healthy == v1::Phase::Healthy).then_some(())
    });
    status.await;
    let status = scheduler.status().await;
    assert_eq!(status.budget.unwrap().hours.len(), 168);
    let ledger = status.ledger.unwrap();
    assert_eq!((ledger.last_day, ledger.instances, ledger.left, ledger.at_once), (0, 1, 64, 64));
    assert_eq!(ledger.payback_millis, 30 * 60 * 1000);
    let list = scheduler.operator.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner();
    assert_eq!(list.nodes[0].ceiling_cpu_millicores, 3200);
    let request = v1::ListWorkloadsRequest::default();
    let workloads = scheduler.operator.list_workloads(request).await.unwrap().into_inner();
    assert_eq!(workloads.workloads[0].mean_cpu_millicores, 10);
    scheduler.stop().await;
}
