//! Every call by everybody: what the descriptors name, held against a table of its own.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use tengyun_model::{Member, Role};
use tengyun_proto::{limits, tls, v1};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::members::{House, connect, node};
use crate::world::{operation, spec};

/// Who may make each call: Local, Operator, Department, Viewer, Node, Unknown, reVoked.
const EXPECTED: &[(&str, &str)] = &[
    ("/grpc.health.v1.Health/Check", "L O D V N . ."),
    ("/grpc.health.v1.Health/Watch", "L O D V N . ."),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "L O . V . . ."),
    ("/tengyun.v1.AgentService/Attach", "L . . . N . ."),
    ("/tengyun.v1.IdentityService/CreateToken", "L O . . . . ."),
    ("/tengyun.v1.IdentityService/Join", ". . . . . U ."),
    ("/tengyun.v1.IdentityService/ListMembers", "L O . V . . ."),
    ("/tengyun.v1.IdentityService/Renew", ". O D V N . ."),
    ("/tengyun.v1.IdentityService/RevokeMember", "L O . . . . ."),
    ("/tengyun.v1.OperatorService/AcknowledgeLoss", "L O . . . . ."),
    ("/tengyun.v1.OperatorService/Apply", "L O D . . . ."),
    ("/tengyun.v1.OperatorService/ConfirmRestore", "L O . . . . ."),
    ("/tengyun.v1.OperatorService/Delete", "L O D . . . ."),
    ("/tengyun.v1.OperatorService/DeleteVolumes", "L O D . . . ."),
    ("/tengyun.v1.OperatorService/Explain", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/GetPolicy", "L O . V . . ."),
    ("/tengyun.v1.OperatorService/GetRollout", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/ListDepartments", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/ListEvents", "L O . V . . ."),
    ("/tengyun.v1.OperatorService/ListInstances", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/ListLeaving", "L O . V . . ."),
    ("/tengyun.v1.OperatorService/ListMeters", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/ListNodes", "L O . V . . ."),
    ("/tengyun.v1.OperatorService/ListPolicies", "L O . V . . ."),
    ("/tengyun.v1.OperatorService/ListRuns", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/ListVolumes", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/ListWorkloads", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/Logs", "L O D . . . ."),
    ("/tengyun.v1.OperatorService/Move", "L O . . . . ."),
    ("/tengyun.v1.OperatorService/Release", "L O . . . . ."),
    ("/tengyun.v1.OperatorService/SetNodeWish", "L O . . . . ."),
    ("/tengyun.v1.OperatorService/SetPolicy", "L O . . . . ."),
    ("/tengyun.v1.OperatorService/Status", "L O D V . . ."),
    ("/tengyun.v1.OperatorService/SteerRollout", "L O D . . . ."),
    ("/tengyun.v1.OperatorService/Stop", "L O D . . . ."),
    ("/tengyun.v1.SecretService/DeleteSecret", "L O D . . . ."),
    ("/tengyun.v1.SecretService/ListSecrets", "L O D . . . ."),
    ("/tengyun.v1.SecretService/RotateSecretKeys", "L O . . . . ."),
    ("/tengyun.v1.SecretService/SetSecret", "L O D . . . ."),
];

fn calls(descriptors: &[u8], calls: &mut BTreeSet<String>) {
    let set = prost_types::FileDescriptorSet::decode(descriptors).unwrap();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                calls.insert(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
}

/// Makes a call with an empty message and says whether the caller may make it.
async fn may(channel: &Channel, call: &str) -> bool {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path: PathAndQuery = call.parse().unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    match client.server_streaming(Request::new(()), path, codec).await {
        Ok(_) => true,
        Err(status) => {
            assert_ne!(status.code(), Code::Unimplemented, "{call}: {status}");
            !matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        }
    }
}

#[tokio::test]
async fn every_call_is_made_by_those_of_the_table_and_by_nobody_else() {
    let house = House::open().await;
    let department = Role::Department("city/finance".parse().unwrap());
    let token = house.token(&tengyun_model::Grant::NewNode).await;
    let revoked = house.node("n2").await;
    house.revoke(&node("n2")).await;
    let callers = [
        ('L', house.scheduler.channel.clone()),
        ('O', connect(&house.person("olga", Role::Operator).await).await),
        ('D', connect(&house.person("dora", department).await).await),
        ('V', connect(&house.person("vera", Role::Viewer).await).await),
        ('N', connect(&house.node("n1").await).await),
        ('U', tls::connect_unknown(&token).await.unwrap().0),
        ('R', connect(&revoked).await),
    ];
    let mut served = BTreeSet::new();
    calls(tengyun_proto::DESCRIPTORS, &mut served);
    calls(tonic_health::pb::FILE_DESCRIPTOR_SET, &mut served);
    calls(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, &mut served);
    let expected: BTreeMap<&str, &str> = EXPECTED.iter().copied().collect();
    let known: BTreeSet<String> = expected.keys().map(|call| (*call).to_owned()).collect();
    assert_eq!(known, served, "a call has no row here, or a row no call");
    for call in &served {
        let mut found = Vec::new();
        for (letter, channel) in &callers {
            let letter = if may(channel, call).await { *letter } else { '.' };
            found.push(letter.to_string());
        }
        assert_eq!(found.join(" "), expected[call.as_str()], "{call}");
    }
    house.scheduler.stop().await;
}

fn spec_of(department: &str, name: &str) -> v1::WorkloadSpec {
    let mut spec = spec(name, 1);
    department.clone_into(&mut spec.key.as_mut().unwrap().department);
    spec
}

fn apply(spec: v1::WorkloadSpec) -> v1::ApplyRequest {
    let items = vec![v1::ApplyItem { operation_id: operation(), spec: Some(spec) }];
    v1::ApplyRequest { items, dry_run: false }
}

#[tokio::test]
async fn a_department_sees_and_changes_what_is_its_own() {
    let mut house = House::open().await;
    house.scheduler.apply(spec_of("city/health", "clinic")).await;
    let role = Role::Department("city/finance".parse().unwrap());
    let channel = connect(&house.person("dora", role).await).await;
    let mut dora = limits::operator_client(channel);
    for (department, may) in [
        ("city/finance", true),
        ("city/finance/treasury", true),
        ("city/finances", false),
        ("city", false),
        ("city/health", false),
    ] {
        let answer = dora.apply(apply(spec_of(department, "web"))).await.unwrap().into_inner();
        assert_eq!(answer.results[0].refusal.is_none(), may, "{department}");
    }
    let all = v1::ListWorkloadsRequest { department: String::new() };
    let workloads = dora.list_workloads(all).await.unwrap().into_inner().workloads;
    assert_eq!(workloads.len(), 2);
    let all = v1::ListInstancesRequest { key: None, all: true };
    let own = dora.list_instances(all.clone()).await.unwrap().into_inner().instances;
    assert_eq!(own.len(), 2);
    let departments = dora.list_departments(v1::ListDepartmentsRequest {}).await.unwrap();
    assert_eq!(departments.into_inner().departments.len(), 2);
    let instances = house.scheduler.instances().await;
    let clinic = |i: &&v1::InstanceView| i.key.as_ref().unwrap().name == "clinic";
    let (foreign, key) = {
        let found = instances.iter().find(clinic).unwrap();
        (found.instance, found.key.clone())
    };
    let logs = v1::LogsRequest { instance: foreign, ..v1::LogsRequest::default() };
    assert_eq!(dora.logs(logs).await.unwrap_err().code(), Code::NotFound);
    for request in [
        v1::ExplainRequest { instance: Some(foreign), key: None },
        v1::ExplainRequest { instance: None, key: key.clone() },
        v1::ExplainRequest { instance: Some(999), key: None },
    ] {
        assert_eq!(dora.explain(request).await.unwrap_err().code(), Code::NotFound);
    }
    let stop = v1::StopRequest { operation_id: operation(), key: key.clone() };
    assert!(dora.stop(stop).await.unwrap().into_inner().refusal.is_some());
    let delete = v1::DeleteRequest { operation_id: operation(), key };
    assert!(dora.delete(delete).await.unwrap().into_inner().refusal.is_some());
    let meters = dora.list_meters(v1::ListMetersRequest { instance: None }).await.unwrap();
    assert!(meters.into_inner().meters.is_empty());
    let own = v1::ExplainRequest { instance: Some(own[0].instance), key: None };
    assert!(dora.explain(own).await.is_ok());
    house.revoke(&Member::Person("dora".parse().unwrap())).await;
    assert!(dora.status(v1::StatusRequest {}).await.is_err());
    house.scheduler.stop().await;
}
