//! The services over a real socket, with agents that only pretend to run something.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

#[path = "service/door.rs"]
mod door;
#[path = "service/identity.rs"]
mod identity;
#[path = "service/matrix.rs"]
mod matrix;
#[path = "service/members.rs"]
mod members;
#[path = "service/metrics.rs"]
mod metrics;
#[path = "service/operations.rs"]
mod operations;
#[path = "service/secret.rs"]
mod secret;
#[path = "service/shown.rs"]
mod shown;
#[path = "service/world.rs"]
mod world;

use std::os::unix::fs::PermissionsExt as _;

use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::v1::scheduler_message::Message as Down;
use tengyun_proto::{WIRE_VERSION, limits, uds, v1};
use tengyun_scheduler::{Config, RunError};
use tonic::Code;
use world::{Agent, Scheduler, hello, key, meter, operation, report, running, spec, until};

#[tokio::test]
async fn a_submitted_workload_is_assigned_and_seen_running() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    assert_eq!(agent.welcome.wire_version, WIRE_VERSION);
    assert_eq!(agent.welcome.epoch, 1);
    let result = scheduler.apply(spec("web", 3)).await;
    assert_eq!((result.effect.as_str(), result.revision), ("created", 1));
    let assignment = agent.assignment(3).await;
    assert_eq!(assignment.node, agent.welcome.node);
    agent.report(report(&assignment, v1::Phase::Running)).await;
    until("all run", async || {
        let views = scheduler.instances().await;
        let runs = |view: &v1::InstanceView| {
            view.status.as_ref().is_some_and(|s| s.phase() == v1::Phase::Running)
        };
        (views.len() == 3 && views.iter().all(runs)).then_some(())
    })
    .await;
    let status = scheduler.status().await;
    assert_eq!((status.nodes, status.nodes_connected, status.nodes_in_use), (1, 1, 1));
    scheduler.stop().await;
}

#[tokio::test]
async fn an_attached_agent_gets_its_whole_assignment_again() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    scheduler.apply(spec("web", 2)).await;
    let before = agent.assignment(2).await;
    drop(agent);
    let again = Agent::attach(&scheduler.channel, "n1").await.assignment(2).await;
    assert_eq!(again.generation, before.generation);
    scheduler.stop().await;
    let scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    let restarted = agent.assignment(2).await;
    assert_eq!(restarted.epoch, before.epoch + 1, "a new reign is a new epoch");
    assert_eq!(restarted.instances, before.instances);
    scheduler.stop().await;
}

#[tokio::test]
async fn meters_are_acknowledged_once_they_are_journaled() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    scheduler.apply(spec("web", 1)).await;
    let assignment = agent.assignment(1).await;
    let instance = assignment.instances[0].instance;
    let mut said = report(&assignment, v1::Phase::Running);
    said.meters = vec![meter(instance, 500, false)];
    agent.report(said.clone()).await;
    assert_eq!(agent.acknowledgement().await, said.meters);
    // The acknowledgement was lost: it comes again, and nothing is counted twice.
    agent.report(said.clone()).await;
    assert_eq!(agent.acknowledgement().await, said.meters);
    scheduler.stop().await;
    let mut scheduler = Scheduler::start(dir.path()).await;
    let kept = scheduler.operator.list_meters(v1::ListMetersRequest { instance: None }).await;
    let kept = kept.unwrap().into_inner().meters;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].record.as_ref(), Some(&said.meters[0]));
    let departments = scheduler.operator.list_departments(v1::ListDepartmentsRequest {}).await;
    let departments = departments.unwrap().into_inner().departments;
    assert_eq!(departments[0].metered_core_millis, 500);
    scheduler.stop().await;
}

#[tokio::test]
async fn logs_come_from_the_agent_and_a_reader_that_leaves_is_cancelled() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    scheduler.apply(spec("web", 1)).await;
    let instance = agent.assignment(1).await.instances[0].instance;
    let wanted = v1::LogsRequest { instance, tail_lines: 5, follow: true };
    let mut lines = scheduler.operator.logs(wanted).await.unwrap().into_inner();
    let Down::LogRequest(request) = agent.request().await else { panic!("no log request") };
    assert_eq!((request.instance, request.tail_lines, request.follow), (instance, 5, true));
    let data = b"hello\n".to_vec();
    let chunk = v1::LogChunk { request: request.request, data, ..v1::LogChunk::default() };
    agent.say(Up::LogChunk(chunk)).await;
    assert_eq!(lines.message().await.unwrap().unwrap().data, b"hello\n");
    drop(lines);
    let cancelled = agent.request().await;
    assert_eq!(cancelled, Down::LogCancel(v1::LogCancel { request: request.request }));
    let unknown = v1::LogsRequest { instance: 999, ..v1::LogsRequest::default() };
    assert_eq!(scheduler.operator.logs(unknown).await.unwrap_err().code(), Code::NotFound);
    scheduler.stop().await;
}

#[tokio::test]
async fn logs_end_with_a_reason_when_the_agent_goes_away() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    scheduler.apply(spec("web", 1)).await;
    let instance = agent.assignment(1).await.instances[0].instance;
    let wanted = v1::LogsRequest { instance, ..v1::LogsRequest::default() };
    let mut lines = scheduler.operator.logs(wanted).await.unwrap().into_inner();
    agent.next().await.unwrap();
    drop(agent);
    assert_eq!(lines.message().await.unwrap_err().code(), Code::Unavailable);
    scheduler.stop().await;
}

#[tokio::test]
async fn two_agents_of_one_name_are_told_and_the_first_stays() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut first = Agent::attach(&scheduler.channel, "n1").await;
    let second = Agent::greet(&scheduler.channel, hello("n1")).await.err().unwrap();
    assert_eq!(second.code(), Code::AlreadyExists);
    assert!(second.message().contains("--name"), "{second}");
    scheduler.apply(spec("web", 1)).await;
    first.assignment(1).await;
    scheduler.stop().await;
}

#[tokio::test]
async fn agents_that_cannot_be_understood_are_told_why() {
    let dir = world::dir();
    let scheduler = Scheduler::start(dir.path()).await;
    let refused = async |hello: v1::Hello| {
        Agent::greet(&scheduler.channel, hello).await.err().expect("it is refused")
    };
    let newer = refused(v1::Hello { wire_version: WIRE_VERSION + 1, ..hello("n1") }).await;
    assert!(newer.message().contains("upgrade the scheduler first"), "{newer}");
    let nameless = refused(hello("No Name")).await;
    assert!(nameless.message().starts_with("facts.name: "), "{nameless}");
    let empty = refused(v1::Hello { wire_version: WIRE_VERSION, ..v1::Hello::default() }).await;
    assert_eq!(empty.message(), "facts: is missing");
    let mut nothing = hello("n1");
    nothing.facts.as_mut().unwrap().capacity = Some(v1::Capacity::default());
    assert_eq!(refused(nothing).await.code(), Code::InvalidArgument);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_broken_report_ends_the_stream_and_names_the_field() {
    let dir = world::dir();
    let scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    agent.report(v1::Report { boot_id: "x".to_owned(), ..v1::Report::default() }).await;
    let status = loop {
        match agent.next().await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert!(status.message().starts_with("report.boot_id: "), "{status}");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_wish_that_comes_twice_is_carried_out_once_even_over_a_restart() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let id = operation();
    assert_eq!(scheduler.apply_as(&id, spec("web", 2)).await.effect, "created");
    assert_eq!(scheduler.apply_as(&id, spec("web", 2)).await.effect, "created");
    scheduler.stop().await;
    let mut scheduler = Scheduler::start(dir.path()).await;
    assert_eq!(scheduler.apply_as(&id, spec("web", 2)).await.effect, "created");
    assert_eq!(scheduler.apply_as(&operation(), spec("web", 2)).await.effect, "unchanged");
    assert_eq!(scheduler.instances().await.len(), 2);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_refused_item_names_its_field_and_does_not_stop_the_others() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let item = |spec| v1::ApplyItem { operation_id: operation(), spec: Some(spec) };
    let mut bad = spec("bad", 1);
    bad.ports = vec![v1::PortSpec { name: "web".to_owned(), number: 70_000 }];
    let items = vec![item(bad), item(spec("good", 1))];
    let request = v1::ApplyRequest { items, dry_run: false };
    let results = scheduler.operator.apply(request).await.unwrap().into_inner().results;
    let refusal = results[0].refusal.as_ref().unwrap();
    assert_eq!(refusal.code, "bad-field");
    assert_eq!(refusal.message, "spec.ports[0].number: 70000 is not a port");
    assert_eq!(results[1].effect, "created");
    let request = v1::ApplyRequest {
        items: vec![v1::ApplyItem { operation_id: "x".to_owned(), spec: Some(spec("web", 1)) }],
        dry_run: false,
    };
    let status = scheduler.operator.apply(request).await.unwrap_err();
    assert!(status.message().starts_with("items[0].operation_id: "), "{status}");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let item = v1::ApplyItem { operation_id: operation(), spec: Some(spec("web", 2)) };
    let request = v1::ApplyRequest { items: vec![item], dry_run: true };
    let results = scheduler.operator.apply(request).await.unwrap().into_inner().results;
    assert_eq!((results[0].effect.as_str(), results[0].revision), ("created", 1));
    assert_eq!(scheduler.instances().await, []);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_stopped_and_a_deleted_workload_leave_the_assignment() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let (mut agent, _) = running(&mut scheduler, spec("web", 1)).await;
    let stop = v1::StopRequest { operation_id: operation(), key: Some(key("web")) };
    let stopped = scheduler.operator.stop(stop).await.unwrap().into_inner();
    assert_eq!(stopped.refusal, None);
    let empty = agent.assignment(0).await;
    agent.report(report(&empty, v1::Phase::Healthy)).await;
    until("it is gone", async || scheduler.instances().await.is_empty().then_some(())).await;
    let delete = v1::DeleteRequest { operation_id: operation(), key: Some(key("web")) };
    scheduler.operator.delete(delete).await.unwrap();
    let list = v1::ListWorkloadsRequest::default();
    until("it is forgotten", async || {
        let list = scheduler.operator.list_workloads(list.clone()).await.unwrap();
        list.into_inner().workloads.is_empty().then_some(())
    })
    .await;
    let delete = v1::DeleteRequest { operation_id: operation(), key: Some(key("web")) };
    let refused = scheduler.operator.delete(delete).await.unwrap().into_inner();
    assert_eq!(refused.refusal.unwrap().code, "unknown-workload");
    scheduler.stop().await;
}

#[tokio::test]
async fn knobs_that_are_not_named_stay_unless_they_are_to_be_replaced() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut set = async |name: &str, value, replace| {
        let values = vec![v1::KnobValue { name: name.to_owned(), value }];
        let request = v1::SetPolicyRequest {
            operation_id: operation(),
            values,
            replace,
            ..Default::default()
        };
        scheduler.operator.set_policy(request).await.unwrap().into_inner()
    };
    let changed = |policy: &v1::PolicyResponse| -> Vec<String> {
        let differs = policy.knobs.iter().filter(|knob| knob.value != knob.default_value);
        differs.map(|knob| knob.name.clone()).collect()
    };
    set("moves_per_pass", 7, false).await;
    let both = set("consolidate", 0, false).await;
    assert_eq!(changed(&both).len(), 2, "{:?}", changed(&both));
    let one = set("moves_per_pass", 7, true).await;
    assert_eq!(changed(&one), ["moves_per_pass"]);
    let refused = set("no-such-knob", 1, false).await;
    assert_eq!(refused.refusal.unwrap().code, "unknown-knob");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_rollback_restores_exactly_the_values_of_a_version() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let set = |knobs: &[(&str, u64)], label: &str| v1::SetPolicyRequest {
        operation_id: operation(),
        values: knobs
            .iter()
            .map(|(name, value)| v1::KnobValue { name: (*name).to_owned(), value: *value })
            .collect(),
        replace: true,
        label: label.to_owned(),
        rollback_to: None,
    };
    let to = |version| v1::SetPolicyRequest {
        operation_id: operation(),
        rollback_to: Some(version),
        ..Default::default()
    };
    let first = [("band_ceiling", 900), ("moves_per_pass", 3)];
    for request in [set(&first, "bold"), set(&[("band_ceiling", 850)], "careful")] {
        let set = scheduler.operator.set_policy(request).await.unwrap().into_inner();
        assert_eq!(set.refusal, None);
    }
    let versions = async |scheduler: &mut Scheduler| {
        let request = v1::ListPoliciesRequest {};
        scheduler.operator.list_policies(request).await.unwrap().into_inner().versions
    };
    let before = versions(&mut scheduler).await;
    let back = scheduler.operator.set_policy(to(1)).await.unwrap().into_inner();
    assert_eq!((back.refusal, back.version, back.label.as_str()), (None, 3, "rollback to 1"));
    let after = versions(&mut scheduler).await;
    assert_eq!(after[..2], before[..], "what was is not rewritten");
    assert_eq!(after[2].values, before[0].values);
    let refused = scheduler.operator.set_policy(to(9)).await.unwrap().into_inner();
    assert_eq!(refused.refusal.unwrap().code, "no-policy-version");
    let both = v1::SetPolicyRequest { replace: true, ..to(1) };
    let status = scheduler.operator.set_policy(both).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // Stopped and started: from its snapshot it is the same.
    scheduler.stop().await;
    let mut scheduler = Scheduler::start(dir.path()).await;
    assert_eq!(versions(&mut scheduler).await, after);
    scheduler.stop().await;
}

#[tokio::test]
async fn an_explanation_says_why_an_instance_waits() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let _agent = Agent::attach(&scheduler.channel, "n1").await;
    let mut huge = spec("huge", 1);
    huge.resources.as_mut().unwrap().memory_mib = 1_000_000;
    scheduler.apply(huge).await;
    let request = v1::ExplainRequest { instance: None, key: Some(key("huge")) };
    let response = scheduler.operator.explain(request).await.unwrap().into_inner();
    let nodes = &response.explanations[0].nodes;
    assert!(!nodes[0].feasible && nodes[0].reason.contains("memory"), "{nodes:?}");
    let request = v1::ExplainRequest { instance: Some(999), key: None };
    let response = scheduler.operator.explain(request).await.unwrap().into_inner();
    assert_eq!(response.refusal.unwrap().code, "unknown-instance");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_read_only_scheduler_serves_and_refuses_every_change() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    scheduler.apply(spec("web", 2)).await;
    let sequence = scheduler.status().await.sequence;
    scheduler.stop().await;
    let config = Config { read_only: true, ..Config::new(dir.path()) };
    let mut scheduler = Scheduler::start_with(config).await;
    let status = scheduler.status().await;
    assert!(status.read_only && status.read_only_reason.contains("--read-only"), "{status:?}");
    assert_eq!(status.sequence, sequence, "it wrote something");
    assert_eq!(scheduler.instances().await.len(), 2);
    let code = |refusal: Option<v1::Refusal>| refusal.unwrap().code;
    assert_eq!(code(scheduler.apply(spec("web", 3)).await.refusal), "read-only");
    let stop = v1::StopRequest { operation_id: operation(), key: Some(key("web")) };
    let refused = scheduler.operator.stop(stop).await.unwrap().into_inner();
    assert_eq!(code(refused.refusal), "read-only");
    let delete = v1::DeleteRequest { operation_id: operation(), key: Some(key("web")) };
    let refused = scheduler.operator.delete(delete).await.unwrap().into_inner();
    assert_eq!(code(refused.refusal), "read-only");
    let set = v1::SetPolicyRequest { operation_id: operation(), ..Default::default() };
    let refused = scheduler.operator.set_policy(set).await.unwrap().into_inner();
    assert_eq!(code(refused.refusal), "read-only");
    let attach = Agent::greet(&scheduler.channel, hello("n1")).await.err().unwrap();
    assert_eq!(attach.code(), Code::FailedPrecondition);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_damaged_journal_is_refused_and_its_prefix_is_served_read_only() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    scheduler.apply(spec("web", 1)).await;
    scheduler.apply(spec("api", 1)).await;
    scheduler.stop().await;
    let journal = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    journal.execute("DELETE FROM snapshots", []).unwrap();
    journal.execute("UPDATE batches SET batch = x'00' WHERE first = 3", []).unwrap();
    drop(journal);
    let config = Config::new(dir.path());
    let error = tengyun_scheduler::run(config.clone(), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("damaged at entry 3"), "{error}");
    let mut scheduler = Scheduler::start_with(Config { read_only: true, ..config }).await;
    let status = scheduler.status().await;
    assert_eq!(status.sequence, 2);
    assert!(status.read_only_reason.contains("damaged at entry 3"), "{status:?}");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_second_scheduler_on_one_directory_is_refused() {
    let dir = world::dir();
    let scheduler = Scheduler::start(dir.path()).await;
    let error = tengyun_scheduler::run(Config::new(dir.path()), std::future::pending()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, RunError::Journal(_)), "{error}");
    assert!(error.to_string().contains("--state-dir"), "{error}");
    let other = world::dir();
    let config = Config { socket: Config::default_socket(dir.path()), ..Config::new(other.path()) };
    let error = tengyun_scheduler::run(config, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, RunError::Socket(uds::UdsError::Busy { .. })), "{error}");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_state_directory_that_others_may_enter_is_refused() {
    let dir = world::dir();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = tengyun_scheduler::run(Config::new(dir.path()), std::future::pending()).await;
    assert!(error.unwrap_err().to_string().contains("chmod 700"));
}

#[tokio::test]
async fn messages_larger_than_allowed_are_refused() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut large = spec("web", 1);
    large.command.push("x".repeat(limits::OPERATOR_BYTES_MAX));
    let item = v1::ApplyItem { operation_id: operation(), spec: Some(large) };
    let request = v1::ApplyRequest { items: vec![item], dry_run: false };
    // The client's own limit is as large; without it the server refuses.
    let mut client =
        v1::operator_service_client::OperatorServiceClient::new(scheduler.channel.clone());
    let status = client.apply(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert!(scheduler.operator.apply(request).await.is_err());
    let items = vec![v1::ApplyItem::default(); 1001];
    let request = v1::ApplyRequest { items, dry_run: false };
    let status = scheduler.operator.apply(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    scheduler.stop().await;
}

/// Reads the settings that a server announces, as HTTP/2 writes them: a number and its value.
async fn announced(socket: &std::path::Path) -> Vec<(u16, u32)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).await.unwrap();
    let setting =
        |s: &[u8]| (u16::from_be_bytes([s[0], s[1]]), u32::from_be_bytes([s[2], s[3], s[4], s[5]]));
    settings.chunks(6).map(setting).collect()
}

#[tokio::test]
async fn streams_and_headers_are_bounded_in_the_announced_settings() {
    let dir = world::dir();
    let scheduler = Scheduler::start(dir.path()).await;
    let settings = announced(&Config::default_socket(dir.path())).await;
    assert!(settings.contains(&(3, limits::STREAMS_MAX)), "{settings:?}");
    assert!(settings.contains(&(6, limits::HEADER_BYTES_MAX)), "{settings:?}");
    scheduler.stop().await;
}

#[tokio::test]
async fn health_and_reflection_answer_and_unknown_services_do_not() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request as ask};
    let dir = world::dir();
    let scheduler = Scheduler::start(dir.path()).await;
    let mut health = HealthClient::new(scheduler.channel.clone());
    let service = "tengyun.v1.AgentService".to_owned();
    let answer = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let mut reflection = ServerReflectionClient::new(scheduler.channel.clone());
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask::MessageRequest::ListServices(String::new())),
    };
    let answers = reflection.server_reflection_info(tokio_stream::once(list)).await.unwrap();
    let answer = format!("{:?}", answers.into_inner().message().await.unwrap());
    assert!(answer.contains("tengyun.v1.OperatorService"), "{answer}");
    scheduler.stop().await;
}
