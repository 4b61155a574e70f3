//! The cast: the workloads of the demo, and the policy it plays under.

use std::path::Path;

use tengyun_model::{
    Class, FileSpec, Kind, Mebibytes, Millicores, Millis, MovePolicy, Resources, Restart, Stop,
    WorkloadSpec,
};

use crate::demo::load::Load;
use crate::demo::player::DEPARTMENTS;
use crate::output::joined;

/// The critical service's key and the name of its socket in its working directory.
pub(crate) const SERVICE: &str = "city/finance/payments/gateway";
pub(crate) const SOCKET: &str = "gateway.sock";
/// What a department asks for: as is usual, many times what it uses.
const ASKED: Millicores = Millicores::new(300);
/// The reservation of the critical service; with a department's request it just fits one node.
const RESERVED: Millicores = Millicores::new(50);
/// The harvest jobs, each of which would take a whole core.
const HARVEST_JOBS: u32 = 2;
const HARVEST_ASKED: Millicores = Millicores::new(40);
const MEMORY: Mebibytes = Mebibytes::new(32);
const SERIES: &str = "series.csv";

/// The knobs that let three minutes stand for days; the band and all else have their defaults.
pub(crate) const KNOBS: [(&str, u64); 3] =
    [("history_min_seconds", 12), ("consolidate_interval_seconds", 2), ("consolidate", 0)];
/// The knob that starts the consolidation.
pub(crate) const CONSOLIDATE: (&str, u64) = ("consolidate", 1);

/// The critical service and one application of each department.
pub(crate) fn city(program: &Path, load: &Load) -> Vec<WorkloadSpec> {
    let service = WorkloadSpec {
        class: Class::Critical,
        resources: resources(RESERVED),
        // Its clients hold connections; a real one would be moved in its window.
        move_policy: MovePolicy::Never,
        ..workload(SERVICE, program, &["demo-service", "--socket", SOCKET])
    };
    let step = load.step.as_millis().to_string();
    let player = |(series, department): (&Vec<u64>, &&str)| {
        let key = format!("city/{department}/records/player");
        let words = ["demo-player", "--series", SERIES, "--step-millis", &step];
        let lines = joined(series.iter().map(ToString::to_string));
        let file = FileSpec { path: SERIES.to_owned(), content: lines.into_bytes(), mode: 0o444 };
        WorkloadSpec { files: vec![file], ..workload(&key, program, &words) }
    };
    load.series.iter().zip(&DEPARTMENTS).map(player).chain([service]).collect()
}

/// Harvest jobs that are busy for as long as they are let.
pub(crate) fn harvest(program: &Path) -> WorkloadSpec {
    WorkloadSpec {
        kind: Kind::Job,
        class: Class::Harvest,
        instances: HARVEST_JOBS,
        resources: resources(HARVEST_ASKED),
        ..workload("city/statistics/census/batch", program, &["demo-player", "--burn"])
    }
}

fn workload(key: &str, program: &Path, words: &[&str]) -> WorkloadSpec {
    let program = program.to_string_lossy().into_owned();
    let words = words.iter().map(|w| (*w).to_owned());
    let key = key.parse().expect("the demo's keys are keys");
    let plain = WorkloadSpec::service(key, [program].into_iter().chain(words).collect());
    WorkloadSpec {
        resources: resources(ASKED),
        restart: Restart { backoff_max: Millis::from_secs(10), ..plain.restart },
        stop: Stop { grace: Millis::from_secs(2), ..plain.stop },
        startup: Millis::new(500),
        ..plain
    }
}

fn resources(cpu: Millicores) -> Resources {
    Resources { cpu, cpu_limit: None, memory: MEMORY, disk: Mebibytes::ZERO, pids: 128 }
}

#[cfg(test)]
mod tests {
    use tengyun_model::Band;

    use super::*;
    use crate::demo::story::NODE_CPU;

    #[test]
    fn requests_fill_a_node_each_and_use_would_fit_on_one() {
        let target = NODE_CPU.share(Band::DEFAULT.target);
        let load = Load::find(None).unwrap();
        let specs = city(Path::new("/bin/tengyun"), &load);
        let standard = specs.iter().filter(|s| s.class == Class::Standard).count();
        assert_eq!(standard, DEPARTMENTS.len());
        assert!(ASKED.saturating_add(RESERVED) <= target);
        assert!(ASKED.saturating_mul(2) > target);
        let most: u64 = load.series.iter().map(|s| *s.iter().max().unwrap()).sum();
        assert!(Millicores::new(most).saturating_add(RESERVED) <= target);
    }
}
