//! Documents: every field of a manifest, its type, its unit and its default.
//!
//! The documentation of a field is its description in the JSON Schema and in docs/manifest.md.

use std::collections::BTreeMap;

use tengyun_model::{Class, Kind, MovePolicy, OnLost, RestartMode, WorkloadKey};

use super::amount::{Count, Cpu, InstanceCount, Seconds, Size};
use super::health::{Health, Volume};
use super::leaf::{
    Department, Flag, Label, LabelValue, Mode, NameKey, NameText, Reference, RelativePath,
    SignalNumber, Text, User, Variable, Word,
};
use super::life::{RolloutFields, Schedule, Window};
use super::port::Port;
use super::provision::{Artifact, Secrets};

section! {
    /// One workload: what a department wants to run.
    Document {
        /// The application that the workload is part of.
        application: NameText;
        /// The department that owns the application, such as city/finance/treasury.
        department: Department;
        /// The workload's name, unique in its application.
        name: NameText;
        /// Its kind of life: a service runs until it is stopped, a job to its end, cron is a job at
        /// set times, per-node is a service with one copy on every node.
        kind: KindWord;
        /// What is promised to it: critical keeps its reservation, harvest fills what others leave.
        class: ClassWord = "standard";
        /// The program and its arguments, one word an item; no shell reads them.
        command: Vec<Word>;
        /// Files put into the working directory before the start.
        files: Vec<File> = [];
        /// Environment variables; never secrets, the journal keeps them in clear.
        env: BTreeMap<Variable, Word> = {};
        /// The user to run as; without it each instance has an unprivileged user of its own.
        user: Option<User>;
        /// Ports that each instance occupies on its node, as a number or {name, number}; without a
        /// number the scheduler chooses a free one.
        ports: Vec<Port> = [];
        /// What each instance asks for.
        resources: ResourceFields = {};
        /// How much of named counters, such as licences, each instance takes.
        counted: BTreeMap<NameKey, Count> = {};
        /// Where instances may be.
        constraints: ConstraintFields = {};
        /// How many copies run.
        instances: InstanceCount = 1;
        /// How an ended instance starts again.
        restart: RestartFields = {};
        /// How an instance is stopped.
        stop: StopFields = {};
        /// When an instance may be moved; left out: any for a service, never for the other kinds.
        r#move: Option<MoveWord>;
        /// How long after its start an instance counts as healthy, in seconds; with a health check:
        /// how long its failures do not count until it first passes.
        startup_s: Seconds = 5;
        /// What happens to an instance whose node is lost: it waits for the node, or another of
        /// several copies starts elsewhere though the lost one may still run.
        on_lost: OnLostWord = "wait";
        /// Directories that stay on the node and keep the instance there.
        volumes: Vec<Volume> = [];
        /// How one learns that an instance is healthy; without it: when its start-up time is over.
        health: Option<Health>;
        /// How a new revision replaces the copies that run.
        rollout: RolloutFields = {};
        /// When a cron workload starts.
        schedule: Option<Schedule>;
        /// When instances may be moved, with move: window.
        window: Option<Window>;
        /// Workloads that must be healthy, or have ended well, before an instance starts.
        depends_on: Vec<Reference> = [];
        /// Whether the instances that wait start all at once or not at all (gang scheduling); for
        /// services and jobs of more than one instance.
        gang: Flag = false;
        /// Files fetched to the node before the start.
        artifacts: Vec<Artifact> = [];
        /// Files filled in with ports and secrets at the start.
        templates: Vec<File> = [];
        /// Secrets of the department, by reference.
        secrets: Option<Secrets>;
    }
}

section! {
    /// What each instance asks for.
    ResourceFields {
        /// CPU, in cores (0.5) or millicores (500m).
        cpu: Cpu = "100m";
        /// The most CPU it may use; without it an instance may use what is idle.
        cpu_limit: Option<Cpu>;
        /// Memory, and its limit, with the unit Ki, Mi, Gi or Ti.
        memory: Size = "128Mi";
        /// Disk space, with the unit Ki, Mi, Gi or Ti.
        disk: Size = "0Mi";
        /// The most processes and threads.
        pids: Count = 256;
    }
}

section! {
    /// Where instances may be.
    ConstraintFields {
        /// Labels that the node must have, with these values.
        labels: BTreeMap<Label, LabelValue> = {};
        /// A label over whose values instances spread evenly.
        spread: Option<Label>;
        /// Workloads that share no node with this one; its own name keeps its instances apart.
        anti_affinity: Vec<Reference> = [];
    }
}

section! {
    /// How an ended instance starts again.
    RestartFields {
        /// Whether; left out: always for a service, on-failure for a job, never for a cron run.
        mode: Option<RestartWord>;
        /// The pause before the first restart, in seconds; it doubles with each failure.
        backoff_s: Seconds = 1;
        /// The longest pause, in seconds.
        backoff_max_s: Seconds = 60;
    }
}

section! {
    /// How an instance is stopped.
    StopFields {
        /// The signal that asks it to end, by name or number.
        signal: SignalNumber = "TERM";
        /// How long it may take before all its processes are killed, in seconds.
        grace_s: Seconds = 10;
    }
}

section! {
    /// A file put into the working directory: with `content` or from `source`, one of the two.
    File {
        /// Where it is put, below the working directory.
        path: RelativePath;
        /// Its text.
        content: Option<Text>;
        /// The file that holds its bytes, relative to the manifest.
        source: Option<RelativePath>;
        /// Its permission bits.
        mode: Mode = "0644";
    }
}

words! {
    /// What kind of life a workload has.
    KindWord(Kind) {
        "service" = Kind::Service;
        "job" = Kind::Job;
        "cron" = Kind::Cron;
        "per-node" = Kind::PerNode;
    }
}

words! {
    /// What is promised to a workload.
    ClassWord(Class) {
        "critical" = Class::Critical;
        "standard" = Class::Standard;
        "harvest" = Class::Harvest;
    }
}

words! {
    /// When an instance may be moved.
    MoveWord(MovePolicy) {
        "never" = MovePolicy::Never;
        "window" = MovePolicy::Window;
        "any" = MovePolicy::Any;
    }
}

words! {
    /// What happens to an instance whose node is lost.
    OnLostWord(OnLost) {
        "wait" = OnLost::Wait;
        "restart" = OnLost::Restart;
    }
}

words! {
    /// Whether an ended instance starts again.
    RestartWord(RestartMode) {
        "always" = RestartMode::Always;
        "on-failure" = RestartMode::OnFailure;
        "never" = RestartMode::Never;
    }
}

impl Document {
    /// Returns the name that the scheduler knows the workload by.
    pub(super) fn key(&self) -> WorkloadKey {
        WorkloadKey {
            department: self.department.0.clone(),
            application: self.application.0.clone(),
            name: self.name.0.clone(),
        }
    }
}
