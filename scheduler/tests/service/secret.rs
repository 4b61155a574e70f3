//! Secrets over the real services: set by their department, handed to the nodes that need them, read
//! back by nobody.

use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::v1::scheduler_message::Message as Down;
use tengyun_proto::v1::secret_service_client::SecretServiceClient;
use tengyun_proto::{limits, v1};
use tonic::transport::Channel;

use crate::world::{Agent, Scheduler, dir, report, spec, until};

const CANARY: &[u8] = b"canary-5d1f0c-value";

fn name(text: &str) -> v1::SecretName {
    v1::SecretName { department: "city/finance".to_owned(), name: text.to_owned() }
}

async fn set(
    client: &mut SecretServiceClient<Channel>,
    text: &str,
    value: &[u8],
) -> v1::SetSecretResponse {
    let secret = v1::SecretValue { name: Some(name(text)), version: 0, value: value.to_vec() };
    let request = v1::SetSecretRequest { secret: Some(secret) };
    client.set_secret(request).await.unwrap().into_inner()
}

fn given(name: &str, secret: &str, instances: u32) -> v1::WorkloadSpec {
    let secret = v1::SecretSpec { from: secret.to_owned(), path: "db".to_owned(), mode: 0o400 };
    v1::WorkloadSpec { secrets: vec![secret], ..spec(name, instances) }
}

/// Asks as an agent does, and passes over what else comes.
async fn ask(agent: &mut Agent, texts: &[&str]) -> v1::SecretAnswer {
    let secrets = texts.iter().map(|text| name(text)).collect();
    agent.say(Up::SecretRequest(v1::SecretRequest { request: 9, secrets })).await;
    loop {
        match agent.next().await.unwrap() {
            Down::SecretAnswer(answer) => return answer,
            Down::Assignment(_) | Down::MeterAcknowledgement(_) | Down::Services(_) => {}
            other => panic!("expected an answer, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_secret_is_handed_to_the_node_of_its_instance_and_to_no_other() {
    let dir = dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut keeper = limits::secret_client(scheduler.channel.clone());
    let refused = scheduler.apply(given("web", "db", 1)).await.refusal.unwrap();
    assert_eq!(refused.code, "unknown-secret");
    assert!(refused.remedy.contains("tengyun secret set city/finance/db"), "{refused:?}");
    assert_eq!(set(&mut keeper, "db", CANARY).await.version, 1);
    assert_eq!(set(&mut keeper, "other", b"x").await.version, 1);
    assert_eq!(scheduler.apply(given("web", "db", 1)).await.refusal, None);
    let mut here = Agent::attach(&scheduler.channel, "n1").await;
    let assignment = here.assignment(1).await;
    assert_eq!(assignment.instances[0].spec.as_ref().unwrap().secrets[0].from, "db");
    let mut there = Agent::attach(&scheduler.channel, "n2").await;
    here.report(report(&assignment, v1::Phase::Running)).await;
    let answer = ask(&mut here, &["db", "other", "none"]).await;
    assert_eq!((answer.request, answer.values.len(), answer.missing.len()), (9, 1, 2));
    assert_eq!((answer.values[0].version, answer.values[0].value.as_slice()), (1, CANARY));
    let answer = ask(&mut there, &["db"]).await;
    assert_eq!((answer.values.len(), answer.missing.len()), (0, 1), "another node got it");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_secret_in_use_is_not_deleted_and_a_list_has_no_values() {
    let dir = dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut keeper = limits::secret_client(scheduler.channel.clone());
    set(&mut keeper, "db", CANARY).await;
    set(&mut keeper, "db", b"second").await;
    assert_eq!(scheduler.apply(given("web", "db", 1)).await.refusal, None);
    let request = v1::ListSecretsRequest { department: String::new() };
    let list = keeper.list_secrets(request).await.unwrap().into_inner().secrets;
    let found = list.iter().map(|s| (s.version, s.bytes, s.workloads.clone()));
    let user = "city/finance/ledger/web".to_owned();
    assert_eq!(found.collect::<Vec<_>>(), [(2, 6, vec![user])]);
    let delete = v1::DeleteSecretRequest { name: Some(name("db")) };
    let refusal = keeper.delete_secret(delete.clone()).await.unwrap().into_inner().refusal;
    assert_eq!(refusal.unwrap().code, "secret-in-use");
    let request = v1::DeleteRequest {
        operation_id: crate::world::operation(),
        key: Some(crate::world::key("web")),
    };
    scheduler.operator.delete(request).await.unwrap();
    let effect = until("it is deleted", async || {
        let response = keeper.delete_secret(delete.clone()).await.unwrap().into_inner();
        response.refusal.is_none().then_some(response.effect)
    })
    .await;
    assert_eq!(effect, "deleted");
    scheduler.stop().await;
}

#[tokio::test]
async fn secrets_survive_a_restart_and_a_rotation_and_are_in_no_file_in_clear() {
    let dir = dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut keeper = limits::secret_client(scheduler.channel.clone());
    set(&mut keeper, "db", CANARY).await;
    let rotated = keeper.rotate_secret_keys(v1::RotateSecretKeysRequest {}).await.unwrap();
    assert_eq!(rotated.into_inner().departments, 1);
    assert_eq!(scheduler.apply(given("web", "db", 1)).await.refusal, None);
    drop(keeper);
    scheduler.stop().await;
    let scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    agent.assignment(1).await;
    assert_eq!(ask(&mut agent, &["db"]).await.values[0].value, CANARY);
    let mut files = vec![dir.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let hit = bytes.windows(CANARY.len()).any(|window| window == CANARY);
            assert!(!hit, "{} holds it in clear", path.display());
        }
    }
    drop(agent);
    scheduler.stop().await;
}
