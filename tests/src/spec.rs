//! Small workloads for tests.

use std::collections::BTreeMap;

use tengyun_model::{
    Class, Constraints, Kind, Mebibytes, Millicores, Millis, MovePolicy, OnLost, Provision,
    Resources, Restart, RestartMode, Stop, WorkloadSpec,
};

/// The request of one small instance.
pub const SMALL: Resources = Resources {
    cpu: Millicores::new(1),
    cpu_limit: None,
    memory: Mebibytes::new(8),
    disk: Mebibytes::ZERO,
    pids: 16,
};

/// Makes a service `city/tests/e2e/NAME` that runs this shell script.
pub fn shell(name: &str, script: &str) -> WorkloadSpec {
    command(name, &["/bin/sh", "-c", script])
}

/// Makes a service `city/tests/e2e/NAME` that runs this command.
pub fn command(name: &str, words: &[&str]) -> WorkloadSpec {
    WorkloadSpec {
        key: format!("city/tests/e2e/{name}").parse().expect("test names are names"),
        kind: Kind::Service,
        class: Class::Standard,
        command: words.iter().map(|w| (*w).to_owned()).collect(),
        files: Vec::new(),
        env: BTreeMap::new(),
        user: None,
        ports: Vec::new(),
        resources: SMALL,
        counted: BTreeMap::new(),
        constraints: Constraints::default(),
        instances: 1,
        restart: Restart {
            mode: RestartMode::Always,
            backoff: Millis::new(100),
            backoff_max: Millis::from_secs(5),
        },
        stop: Stop { signal: 15, grace: Millis::from_secs(2) },
        move_policy: MovePolicy::Any,
        startup: Millis::new(100),
        on_lost: OnLost::Wait,
        provision: Provision::default(),
        health: None,
        volumes: Vec::new(),
        rollout: tengyun_model::Rollout::default(),
        schedule: None,
        window: None,
        depends_on: Vec::new(),
    }
}
