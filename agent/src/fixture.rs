//! Values for the tests of this package.

use tengyun_model::{
    AssignedInstance, InstanceId, Mebibytes, Millis, Resources, Restart, Revision, Stop,
    WorkloadSpec,
};

/// Makes an assigned service with this instance id.
pub(crate) fn assigned(instance: u64) -> AssignedInstance {
    let command = ["/bin/sleep", "1000"].map(str::to_owned).to_vec();
    let plain = WorkloadSpec::service("city/tests/unit/sleeper".parse().unwrap(), command);
    let spec = WorkloadSpec {
        resources: Resources { memory: Mebibytes::new(32), pids: 64, ..plain.resources },
        restart: Restart {
            backoff: Millis::new(100),
            backoff_max: Millis::from_secs(10),
            ..plain.restart
        },
        stop: Stop { grace: Millis::from_secs(2), ..plain.stop },
        startup: Millis::new(100),
        ..plain
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

/// Makes a tree of files, such as one of /proc, in a directory of its own.
pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}
