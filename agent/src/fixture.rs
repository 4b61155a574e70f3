//! Values for the tests of this package.

use std::collections::BTreeMap;

use tengyun_model::{
    AssignedInstance, Class, Constraints, InstanceId, Kind, Mebibytes, Millicores, Millis,
    MovePolicy, OnLost, Provision, Resources, Restart, RestartMode, Revision, Stop, WorkloadSpec,
};

/// Makes an assigned service with this instance id.
pub(crate) fn assigned(instance: u64) -> AssignedInstance {
    let spec = WorkloadSpec {
        key: "city/tests/unit/sleeper".parse().unwrap(),
        kind: Kind::Service,
        class: Class::Standard,
        command: ["/bin/sleep", "1000"].map(str::to_owned).to_vec(),
        files: Vec::new(),
        env: BTreeMap::new(),
        user: None,
        ports: Vec::new(),
        resources: Resources {
            cpu: Millicores::new(100),
            cpu_limit: None,
            memory: Mebibytes::new(32),
            disk: Mebibytes::ZERO,
            pids: 64,
        },
        counted: BTreeMap::new(),
        constraints: Constraints::default(),
        instances: 1,
        restart: Restart {
            mode: RestartMode::Always,
            backoff: Millis::new(100),
            backoff_max: Millis::from_secs(10),
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
    };
    AssignedInstance {
        instance: InstanceId::new(instance),
        ordinal: 0,
        revision: Revision::new(1),
        spec,
    }
}

/// Makes names that try to be elsewhere: pieces that mean something to a kernel, in random order.
pub(crate) fn hostile(seed: u64) -> String {
    const PIECES: [&str; 16] = [
        "..",
        ".",
        "/",
        "//",
        "a",
        "work",
        "\0",
        "\n",
        "~",
        "..\\",
        "%2e%2e",
        "é",
        "link",
        " ",
        "proc/self/root",
        "\u{202e}",
    ];
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut name = String::new();
    for _ in 0..=seed % 7 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = usize::try_from(random % 16).expect("a small number fits");
        name.push_str(PIECES[at]);
        if random & 0x100 != 0 {
            name.push('/');
        }
    }
    name
}
