//! Specifications: a typed document becomes what the scheduler is asked to run.
//!
//! Here stands what no single field can say of itself: rules between fields, defaults by kind,
//! sizes of the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tengyun_model::workload::{COMMAND_WORDS_MAX, SPEC_BYTES_MAX};
use tengyun_model::{
    Constraints, Kind, MovePolicy, Name, PortSpec, Resources, Restart, RestartMode, Stop,
    WorkloadKey, WorkloadSpec,
};

use super::decode::Place;
use super::document::{ConstraintFields, Document, ResourceFields, RestartFields};
use super::fault::Faults;
use super::files;
use super::health::{self, Health, Volume};
use super::leaf::Reference;
use super::life;
use super::provision;
use super::sentence::Sentence;

/// How the names of variables end that hold secrets.
const SECRET_WORDS: [&str; 9] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "PRIVATE_KEY",
    "API_KEY",
    "ACCESS_KEY",
    "CREDENTIALS",
];
/// How a private key in its usual form begins.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// Makes the specification of a document; it counts only when no fault was added.
pub(super) fn spec(
    document: Document,
    place: &Place<'_>,
    base: &Path,
    faults: &mut Faults,
) -> WorkloadSpec {
    let key = document.key();
    let kind = document.kind.0;
    let words = document.command.into_iter().map(|word| word.0).collect();
    let env = document.env.into_iter().map(|(name, value)| (name.0, value.0)).collect();
    let templates = files::files(("templates", &document.templates), place, base, faults);
    let spec = WorkloadSpec {
        kind,
        class: document.class.0,
        command: words,
        files: files::files(("files", &document.files), place, base, faults),
        env,
        user: document.user.map(|user| user.0),
        ports: document.ports.into_iter().map(|port| port.0).collect(),
        resources: resources(&document.resources),
        counted: document.counted.into_iter().map(|(name, n)| (name.0, n.0)).collect(),
        constraints: constraints(document.constraints, &key, place, faults),
        instances: document.instances.0,
        restart: restart(&document.restart, kind),
        stop: Stop { signal: document.stop.signal.0, grace: document.stop.grace_s.0 },
        move_policy: document.r#move.map_or_else(|| default_move(kind), |word| word.0),
        startup: document.startup_s.0,
        on_lost: document.on_lost.0,
        provision: provision::provision(document.artifacts, templates, document.secrets),
        health: document.health.map(Health::check),
        volumes: document.volumes.into_iter().map(Volume::spec).collect(),
        rollout: life::rollout(&document.rollout),
        schedule: document.schedule.map(life::schedule),
        window: document.window.map(life::window),
        depends_on: document.depends_on.iter().map(|other| resolve(other, &key)).collect(),
        gang: document.gang.0,
        key,
    };
    check(&spec, place, faults);
    health::check(&spec, place, faults);
    spec
}

fn resources(fields: &ResourceFields) -> Resources {
    Resources {
        cpu: fields.cpu.0,
        cpu_limit: fields.cpu_limit.as_ref().map(|limit| limit.0),
        memory: fields.memory.0,
        disk: fields.disk.0,
        pids: fields.pids.0,
    }
}

fn restart(fields: &RestartFields, kind: Kind) -> Restart {
    Restart {
        mode: fields.mode.map_or_else(|| default_restart(kind), |word| word.0),
        backoff: fields.backoff_s.0,
        backoff_max: fields.backoff_max_s.0,
    }
}

/// A job that ended well has done its work; a run has one try.
const fn default_restart(kind: Kind) -> RestartMode {
    match kind {
        Kind::Service | Kind::PerNode => RestartMode::Always,
        Kind::Job => RestartMode::OnFailure,
        Kind::Cron => RestartMode::Never,
    }
}

/// Moving a job begins its work again; what is on every node is moved nowhere.
const fn default_move(kind: Kind) -> MovePolicy {
    match kind {
        Kind::Service => MovePolicy::Any,
        Kind::Job | Kind::Cron | Kind::PerNode => MovePolicy::Never,
    }
}

fn constraints(
    fields: ConstraintFields,
    key: &WorkloadKey,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Constraints {
    let mut anti_affinity: Vec<WorkloadKey> = Vec::new();
    for (index, reference) in fields.anti_affinity.iter().enumerate() {
        let other = resolve(reference, key);
        if anti_affinity.contains(&other) {
            let steps = ["constraints", "anti_affinity", &index.to_string()];
            place.fault_at(&steps, Sentence::GivenTwice { name: other.to_string() }, faults);
            continue;
        }
        anti_affinity.push(other);
    }
    Constraints {
        labels: fields.labels.into_iter().map(|(name, value)| (name.0, value.0)).collect(),
        spread: fields.spread.map(|label| label.0),
        anti_affinity,
    }
}

/// Completes a reference by the application and department of the workload that makes it.
fn resolve(Reference(names): &Reference, from: &WorkloadKey) -> WorkloadKey {
    let joined = names.iter().map(Name::as_str).collect::<Vec<_>>().join("/");
    let full = match names.len() {
        1 => format!("{}/{}/{joined}", from.department, from.application),
        2 => format!("{}/{joined}", from.department),
        _ => joined,
    };
    full.parse().expect("checked names joined by slashes, of at most the depth of a key")
}

fn check(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    check_command(&spec.command, place, faults);
    check_env(spec, place, faults);
    check_keys_in_files(spec, place, faults);
    check_resources(&spec.resources, place, faults);
    check_ports(&spec.ports, place, faults);
    if spec.restart.backoff_max < spec.restart.backoff {
        let message = Sentence::AtLeast { least: "restart.backoff_s" };
        place.fault_at(&["restart", "backoff_max_s"], message, faults);
    }
    provision::check(spec, place, faults);
    check_size(spec, place, faults);
    life::check(spec, place, faults);
}

fn check_command(words: &[String], place: &Place<'_>, faults: &mut Faults) {
    if words.first().is_none_or(String::is_empty) {
        let message = Sentence::BeginWithProgram { example: "[/bin/sleep, 60]" };
        place.fault_at(&["command"], message, faults);
    }
    if words.len() > COMMAND_WORDS_MAX {
        let message = Sentence::TooManyWords { count: words.len(), most: COMMAND_WORDS_MAX };
        place.fault_at(&["command"], message, faults);
    }
    let nul = words.iter().position(|word| word.contains('\0'));
    if let Some(index) = nul {
        place.fault_at(&["command", &index.to_string()], Sentence::NoNul {}, faults);
    }
}

fn check_env(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let port_name = |port: &PortSpec| {
        format!("PORT_{}", port.name.as_str().to_ascii_uppercase().replace('-', "_"))
    };
    let ports: BTreeSet<String> = spec.ports.iter().map(port_name).collect();
    for (name, value) in &spec.env {
        let message = if value.contains('\0') {
            Sentence::NoNul {}
        } else if ports.contains(name) {
            Sentence::NameOfPort {}
        } else if !value.is_empty() && is_secret_name(name) || value.contains(PRIVATE_KEY) {
            Sentence::KeepSecret {}
        } else {
            continue;
        };
        place.fault_at(&["env", name], message, faults);
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| name.ends_with(word))
}

/// A private key in a file would stay in the journal.
fn check_keys_in_files(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let needle = PRIVATE_KEY.as_bytes();
    for (field, files) in [("files", &spec.files), ("templates", &spec.provision.templates)] {
        for (index, file) in files.iter().enumerate() {
            if file.content.windows(needle.len()).any(|window| window == needle) {
                place.fault_at(&[field, &index.to_string()], Sentence::KeepSecret {}, faults);
            }
        }
    }
}

fn check_resources(resources: &Resources, place: &Place<'_>, faults: &mut Faults) {
    if resources.memory.is_zero() {
        place.fault_at(&["resources", "memory"], Sentence::AtLeast { least: "1Mi" }, faults);
    }
    if resources.cpu_limit.is_some_and(|limit| limit < resources.cpu) {
        let message = Sentence::AtLeastCpu { millicores: resources.cpu.get() };
        place.fault_at(&["resources", "cpu_limit"], message, faults);
    }
}

fn check_ports(ports: &[PortSpec], place: &Place<'_>, faults: &mut Faults) {
    let mut numbers = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (index, port) in ports.iter().enumerate() {
        let same = port.number.and_then(|number| numbers.insert(number, index));
        let first = same.or(names.insert(&port.name, index));
        if let Some(first) = first {
            place.fault_at(&["ports", &index.to_string()], Sentence::PortTaken { first }, faults);
        }
    }
}

fn check_size(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let words: usize = spec.command.iter().map(String::len).sum();
    let env: usize = spec.env.iter().map(|(name, value)| name.len() + value.len()).sum();
    let files = spec.files.iter().chain(&spec.provision.templates);
    let files: usize = files.map(|f| f.path.len() + f.content.len()).sum();
    let bytes = words + env + files;
    if bytes > SPEC_BYTES_MAX {
        place.fault(Sentence::TogetherTooLarge { bytes, most: SPEC_BYTES_MAX }, faults);
    }
}
