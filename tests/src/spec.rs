//! Small workloads for tests.

use tengyun_model::{Mebibytes, Millicores, Millis, Resources, Restart, Stop, WorkloadSpec};

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
    let key = format!("city/tests/e2e/{name}").parse().expect("test names are names");
    let plain = WorkloadSpec::service(key, words.iter().map(|w| (*w).to_owned()).collect());
    WorkloadSpec {
        resources: SMALL,
        restart: Restart {
            backoff: Millis::new(100),
            backoff_max: Millis::from_secs(5),
            ..plain.restart
        },
        stop: Stop { grace: Millis::from_secs(2), ..plain.stop },
        startup: Millis::new(100),
        ..plain
    }
}
