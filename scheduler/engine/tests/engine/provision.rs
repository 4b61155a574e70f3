//! What instances are given before they start: checked here too, and explained when it fails.

use tengyun_engine::{Command, explain, predict};
use tengyun_model::{
    Artifact, Digest, Exit, FileSpec, InstanceId, InstanceStatus, NodeId, Origin, Phase, PortSpec,
    Provision, SecretSpec, WorkloadSpec,
};

use crate::cloud::{Cloud, healthy, spec};

fn artifact(to: &str) -> Artifact {
    Artifact {
        origin: Origin::Url("https://files.city.example/a".to_owned()),
        digest: Digest::new([7; 32]),
        to: to.to_owned(),
        mode: 0o755,
        unpack: false,
    }
}

fn template(content: &str) -> FileSpec {
    FileSpec { path: "t".to_owned(), content: content.as_bytes().to_vec(), mode: 0o644 }
}

fn secret(path: &str) -> SecretSpec {
    SecretSpec { from: "db".parse().expect("it is a name"), path: path.to_owned(), mode: 0o400 }
}

/// A workload with a port, a secret, and what a change makes of it.
fn given(change: impl FnOnce(&mut WorkloadSpec)) -> WorkloadSpec {
    let mut spec = spec("app");
    spec.ports.push(PortSpec { name: "http".parse().expect("it is a name"), number: Some(8080) });
    spec.provision = Provision {
        artifacts: vec![artifact("bin/a")],
        templates: vec![template("{{ port.http }} {{ secret.db }} {{ node }}")],
        secrets: vec![secret("db")],
    };
    change(&mut spec);
    spec
}

#[test]
fn what_could_not_be_given_is_refused_when_it_is_applied() {
    let mut cloud = Cloud::of(1);
    let cases: Vec<(&str, WorkloadSpec)> = vec![
        ("artifacts.to", given(|s| s.provision.artifacts = vec![artifact("../a")])),
        ("artifacts.to", given(|s| s.provision.artifacts = vec![artifact("")])),
        ("artifacts.to", given(|s| s.provision.artifacts.push(artifact("bin/a")))),
        ("artifacts.path", given(|s| s.provision.artifacts[0].origin = Origin::Path("a".into()))),
        (
            "artifacts.url",
            given(|s| s.provision.artifacts[0].origin = Origin::Url("ftp://a".into())),
        ),
        ("artifacts", given(|s| s.provision.artifacts = vec![artifact("a"); 33])),
        ("templates.path", given(|s| s.provision.artifacts[0].to = "t".to_owned())),
        ("templates", given(|s| s.provision.templates = vec![template("{{ port.none }}")])),
        ("templates", given(|s| s.provision.templates = vec![template("{{ secret.none }}")])),
        ("templates", given(|s| s.provision.templates = vec![template("{{ what }}")])),
        ("templates", given(|s| s.provision.templates[0].content = vec![0xff])),
        ("secrets.path", given(|s| s.provision.secrets.push(secret("db")))),
        ("secrets.path", given(|s| s.provision.secrets = vec![secret("/db")])),
        ("secrets", given(|s| s.provision.secrets = vec![secret("db"); 33])),
    ];
    for (field, spec) in cases {
        let refusal = cloud.refused(spec);
        let said = format!("{refusal:?}");
        assert!(said.starts_with(&format!("BadField {{ field: {field:?},")), "{field}: {said}");
    }
    cloud.apply(given(|_| {}));
}

#[test]
fn a_start_that_failed_is_explained_by_what_its_node_says() {
    let mut cloud = Cloud::of(1);
    cloud.apply(given(|_| {}));
    cloud.settle();
    let (node, id) = (NodeId::new(1), InstanceId::new(1));
    let mut observe = |phase, exit, message: &str| {
        let generation = cloud.state.node(node).unwrap().generation;
        let status =
            InstanceStatus { phase, exit, message: message.to_owned(), ..healthy(id, cloud.now) };
        let instances = vec![status];
        cloud.must(Command::ObserveInstances { node, generation, instances, gone: Vec::new() });
        let forecast = predict::forecast(&cloud.state, cloud.now);
        explain::explain(&cloud.state, &forecast, id, cloud.now).unwrap().summary.to_string()
    };
    let said = observe(Phase::Starting, None, "fetches 1 artifacts");
    assert!(said.contains("is starting (fetches 1 artifacts) on n1"), "{said}");
    let said = observe(Phase::BackingOff, Some(Exit::NotStarted), "cannot fetch it: 404");
    assert_eq!(said, "cannot be started on n1: cannot fetch it: 404; it is tried again");
    let said = observe(Phase::Starting, Some(Exit::NotStarted), "fetches 1 artifacts");
    assert!(said.contains("is starting"), "{said}");
}
