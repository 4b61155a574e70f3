//! The agent's loop: takes in facts and messages, decides, acts, measures and reports.
//!
//! One task owns all state. It waits for nothing but the next thing to happen, so neither a slow
//! scheduler nor a workload can hold it up.

mod adopt;
mod gain;
mod hear;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::Flock;
use tengyun_daemon::metrics::{Socket, SocketError};
use tengyun_model::{
    AssignedInstance, Band, Incarnation, InstanceId, Millis, NodeFacts, NodeUsage, Phase, Report,
};
use tengyun_proto::WIRE_VERSION;
use tengyun_proto::supervisor::Pulse;
use tengyun_proto::token::Secret;
use tengyun_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::act::{Fact, Hands, chain};
use crate::artifacts::cache::Cache;
use crate::checks::Checks;
use crate::clock::Clock;
use crate::config::Config;
use crate::health::Answer;
use crate::instances::Instances;
use crate::ledger::Ledger;
use crate::link::{Link, Reach};
use crate::logs::Logs;
use crate::measure::Measure;
use crate::metrics::{Figures, Teller};
use crate::reconcile::{Life, Step, reconcile};
use crate::run::cgroup::Cgroups;
use crate::run::{Preparation, RunKey, RunTarget, Vault};
use crate::services::Services;
use crate::shim::record::Ended;
use crate::smt::Gauge;
use crate::start::{Ready, StartError};
use crate::supply::{self, Supply};
use crate::volumes::Volumes;

/// How long the agent works without a scheduler's word on how often to report.
const REPORT_INTERVAL: Millis = Millis::from_secs(3);
/// The shortest and the longest interval that a scheduler may ask for.
const REPORT_INTERVAL_BOUNDS: (Millis, Millis) = (Millis::new(10), Millis::from_secs(60));
/// How long changes are gathered into one report.
const REPORT_GATHER: Duration = Duration::from_millis(5);
/// The pause between looks when nothing is due; a bound against a lost wake-up.
const LOOK_AROUND: Duration = Duration::from_secs(5);
/// The longest grace when the agent ends and takes its instances with it.
const GRACE_AT_EXIT: Millis = Millis::from_secs(5);
/// How long stopping everything may take in all: the grace, the killing and the clearing away.
const EXIT_PATIENCE: Duration = Duration::from_secs(15);
/// How often the volumes are looked at: how much they hold is for people to see.
const LOOK_AT_VOLUMES: Duration = Duration::from_secs(30);
/// How many ended instances keep their records and output after they left the assignment: enough to
/// look at what just failed, and a bound on disk use.
const KEPT_ENDED_MAX: usize = 32;

/// Tells why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] SocketError),
    /// Instances did not end in time.
    #[error("{0} instances could not be stopped")]
    StillRunning(usize),
}

impl AgentError {
    /// Returns what an operator can do about it, where the error itself does not say so.
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Start(StartError::State { .. }) => {
                Some("move it away, or choose another --state-dir")
            }
            Self::Metrics(_) => Some("choose another place with --metrics-socket"),
            Self::Start(StartError::Busy { .. } | StartError::Survey(_))
            | Self::StillRunning(_) => None,
        }
    }
}

/// Runs an agent until `shutdown` completes.
///
/// Instances go on running when it ends, unless the configuration says to stop them.
///
/// # Errors
/// Fails when the state directory cannot be used, or when instances could not be stopped at exit.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let ready = crate::start::start(config)?;
    let readers =
        Socket::open(&ready.config.metrics_socket, ready.config.metrics_group.as_deref())?;
    let mut agent = Agent::new(ready, readers);
    agent.adopt().await.map_err(StartError::from)?;
    agent.config.supervisor.ready();
    agent.keep_supplies();
    // It is large, and every caller would carry it.
    Box::pin(agent.run(shutdown)).await
}

type Wanted = BTreeMap<InstanceId, AssignedInstance>;

struct Agent {
    config: Config,
    clock: Clock,
    ledger: Ledger,
    /// What the ledger says should run; nothing when the agent is leaving.
    wanted: Arc<Wanted>,
    instances: Instances,
    measure: Measure,
    cgroups: Arc<Cgroups>,
    hands: Hands,
    facts: mpsc::Receiver<Fact>,
    link: Link,
    logs: Logs,
    cache: Cache,
    vault: Vault,
    checks: Checks,
    services: Services,
    volumes: Volumes,
    /// When the volumes are looked at again.
    volumes_at: Instant,
    /// Instances with a step under way that their life does not show.
    busy: BTreeSet<InstanceId>,
    /// The newest start of each instance on this disk: no incarnation is used twice.
    newest: BTreeMap<InstanceId, Incarnation>,
    /// Starts that left the assignment and whose output is kept, oldest first.
    kept: VecDeque<RunKey>,
    report_interval: Duration,
    /// When the next report goes out; events bring it forward.
    report_at: Instant,
    /// When the interval of use ends that the next report is about.
    interval_ends: Instant,
    /// Held while the agent lives; a second agent on the same directory is refused.
    _lock: Flock<std::fs::File>,
    /// The greeting, as the link reads it.
    hello: watch::Sender<v1::Hello>,
    /// What the node says of itself.
    of_node: NodeFacts,
    /// Measures what SMT adds.
    gauge: Gauge,
    leaving: bool,
    pulse: Pulse,
    figures: watch::Sender<Figures>,
    teller: Teller,
}

impl Agent {
    fn new(ready: Ready, readers: Socket) -> Self {
        let Ready {
            config,
            cgroups,
            runner,
            dirs,
            facts: of_node,
            unmeasured,
            ledger,
            measure,
            fetcher,
            cache,
            vault,
            lock,
        } = ready;
        let clock = Clock::start();
        let hello = watch::Sender::new(hello(&of_node));
        let reach = match &config.identity {
            Some(path) => Reach::Identity(path.clone()),
            None => Reach::Socket(config.scheduler_socket.clone()),
        };
        let link = Link::start(reach, hello.subscribe());
        let logs = Logs::new(dirs.clone(), link.logs.clone());
        let services = Services::start(runner.clone());
        let supply = Supply { fetcher, asks: link.asks.clone(), runner: runner.clone() };
        let (hands, facts) = Hands::new(dirs, supply);
        let checks = Checks::new(runner, hands.tell());
        let (figures, told) = watch::channel(Figures::default());
        let teller = Teller::start(readers, told, config.identity.clone());
        Self {
            report_interval: duration(config.report_interval.unwrap_or(REPORT_INTERVAL)),
            pulse: Pulse::new(config.supervisor.clone()),
            gauge: Gauge::start(unmeasured, &config, &of_node.inventory),
            of_node,
            config,
            clock,
            wanted: Arc::new(wanted(&ledger)),
            ledger,
            instances: Instances::default(),
            measure,
            cgroups,
            hands,
            facts,
            link,
            logs,
            cache,
            vault,
            checks,
            services,
            volumes: Volumes::default(),
            volumes_at: Instant::now() + LOOK_AT_VOLUMES,
            busy: BTreeSet::new(),
            newest: BTreeMap::new(),
            kept: VecDeque::new(),
            report_at: Instant::now(),
            interval_ends: Instant::now(),
            _lock: lock,
            hello,
            leaving: false,
            figures,
            teller,
        }
    }

    async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), AgentError> {
        let mut shutdown = pin!(shutdown);
        let interval = duration(self.config.sample_interval).max(Duration::from_millis(1));
        let mut samples = tokio::time::interval(interval);
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut give_up_at = None;
        loop {
            self.pulse.beat(std::time::Instant::now());
            let wake = self.act();
            if self.leaving && (self.instances.observed().is_empty() || is_past(give_up_at)) {
                break;
            }
            tokio::select! {
                biased;
                () = &mut shutdown, if !self.leaving => {
                    self.config.supervisor.stopping();
                    if !self.config.stop_instances_on_exit {
                        break;
                    }
                    self.leave();
                    give_up_at = Some(Instant::now() + EXIT_PATIENCE);
                }
                Some(fact) = self.facts.recv() => self.take_in(fact),
                Some(incoming) = self.link.inbox.recv() => self.hear(incoming),
                _ = samples.tick() => self.sample(),
                Some(gain) = self.gauge.found() => self.gained(gain),
                () = tokio::time::sleep_until(self.report_at), if !self.leaving => self.report(),
                () = tokio::time::sleep_until(self.volumes_at) => self.look_at_volumes(),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.finish().await
    }

    /// Decides and acts; returns when to look again if nothing happens.
    fn act(&mut self) -> Instant {
        self.hands.tidy();
        let now = self.clock.monotonic();
        let wanted = self.wanted();
        let (steps, wake) = reconcile(&wanted, self.instances.observed(), now);
        for step in steps {
            self.step(step, &wanted);
        }
        self.checks.keep(self.instances.observed());
        let pause = wake.map_or(LOOK_AROUND, |at| {
            Duration::from_millis(at.saturating_sub(now).get()).min(LOOK_AROUND)
        });
        Instant::now() + pause
    }

    /// Returns what should run: the ledger's word, or what runs where there is none.
    fn wanted(&self) -> Arc<Wanted> {
        if self.leaving || self.ledger.held().is_some() {
            return Arc::clone(&self.wanted);
        }
        let known = self.instances.observed().iter();
        Arc::new(known.map(|(id, known)| (*id, known.assigned.clone())).collect())
    }

    fn step(&mut self, step: Step, wanted: &Wanted) {
        match step {
            Step::Start(id, incarnation) => {
                let Some(assigned) = wanted.get(&id) else { return };
                self.start(assigned.clone(), incarnation);
            }
            Step::Ask(id) => {
                let Some(known) = self.instances.observed().get(&id) else { return };
                let key = RunTarget::of(&known.assigned, known.incarnation).key;
                let signal = known.assigned.spec.stop.signal;
                tracing::info!(%key, signal, "asked to end");
                self.hands.ask(key, signal);
                self.instances.asked(id, &self.clock);
                self.report_soon();
            }
            Step::Kill(id) => {
                let Some(target) = self.instances.target(id) else { return };
                tracing::warn!(key = %target.key, "did not end in its grace and is killed");
                self.hands.kill(target);
                self.instances.killed(id, &self.clock);
            }
            Step::Abandon(id) => {
                if let Some(target) = self.instances.target(id) {
                    tracing::info!(key = %target.key, "is no longer waited for");
                    self.hands.abandon(target.key);
                    self.instances.abandoned(id, &self.clock);
                }
            }
            Step::Clear(id) => {
                let Some(target) = self.instances.target(id) else { return };
                if self.busy.insert(id) {
                    self.hands.clear(target);
                }
            }
            Step::Forget(id) => self.forget(id),
        }
    }

    fn start(&mut self, assigned: AssignedInstance, incarnation: Incarnation) {
        let id = assigned.instance;
        let newest = self.newest.get(&id).map_or(incarnation, |seen| seen.next().max(incarnation));
        let replaced = self.newest.insert(id, newest);
        self.figures.send_modify(|figures| {
            figures.starts = figures.starts.saturating_add(1);
            figures.restarts = figures.restarts.saturating_add(u64::from(replaced.is_some()));
        });
        let observed = self.instances.starting(assigned.clone(), newest, self.clock.now());
        let failures = observed.failures;
        match supply::needs(&assigned) {
            None => self.hands.launch(Preparation { incarnation: newest, assigned, failures }),
            Some(needs) => {
                self.instances.supplying(id, needs);
                self.hands.supply(RunKey { instance: id, incarnation: newest }, assigned);
            }
        }
        // The output of the start before is kept beside the new one, older ones are not.
        if let Some(before) = replaced.and_then(|seen| seen.get().checked_sub(1)) {
            self.hands.remove(RunKey { instance: id, incarnation: Incarnation::new(before) });
        }
        self.report_soon();
    }

    fn forget(&mut self, id: InstanceId) {
        if let Some(target) = self.instances.target(id) {
            self.kept.push_back(target.key);
        }
        self.instances.forget(id);
        while self.kept.len() > KEPT_ENDED_MAX {
            if let Some(oldest) = self.kept.pop_front() {
                self.newest.remove(&oldest.instance);
                self.hands.remove(oldest);
            }
        }
        self.live_changed();
        self.report_soon();
    }

    /// Keeps what wanted instances need to start again, and lets go of the rest: one that is to end has
    /// its own copies.
    fn keep_supplies(&self) {
        let wanted = self.wanted();
        let artifacts = wanted.values().flat_map(|assigned| &assigned.spec.provision.artifacts);
        self.cache.pin(artifacts.map(|artifact| artifact.digest).collect());
        self.hands.retain_secrets(wanted.values().flat_map(supply::secrets).collect());
    }

    fn take_in(&mut self, fact: Fact) {
        match fact {
            Fact::Supplied(key) => {
                if let Some(preparation) = self.instances.supplied(key) {
                    self.hands.launch(preparation);
                }
            }
            Fact::Launched { key, shim, group } => {
                let target = self.instances.target(key.instance);
                if let Some(target) = target.filter(|target| target.key == key) {
                    self.measure.begin(&target, group.as_ref(), shim, self.clock.now());
                }
            }
            Fact::Started(key, started) => {
                if self.instances.started(key, &started, &self.clock) {
                    tracing::info!(%key, pid = started.pid, "started");
                    self.live_changed();
                    self.report_soon();
                }
            }
            Fact::Ended(key, ended) => self.ended(key, &ended),
            Fact::Cleared(key, cpu_micros) => {
                self.measure.cleared(key, cpu_micros, self.clock.now());
                self.instances.cleared(key);
                self.busy.remove(&key.instance);
            }
            Fact::NotCleared(key) => {
                self.busy.remove(&key.instance);
            }
            Fact::Checked(key, answer) => self.checked(key, &answer),
            Fact::Volumes(found) => self.volumes.found(found),
            Fact::VolumesRemoved(copy) => {
                tracing::info!(%copy, "volumes removed");
                self.volumes.removed(&copy);
                self.report_soon();
            }
        }
    }

    fn checked(&mut self, key: RunKey, answer: &Answer) {
        let Some(healthy) = self.instances.checked(key, answer, &self.clock) else { return };
        if healthy {
            tracing::info!(%key, "healthy");
        } else {
            tracing::warn!(%key, ?answer, "not healthy");
        }
        self.hands.keep_health(key, healthy);
        self.report_soon();
    }

    /// Looks at the volumes, and removes those again that could not be removed before.
    fn look_at_volumes(&mut self) {
        self.volumes_at = Instant::now() + LOOK_AT_VOLUMES;
        self.hands.look_at_volumes();
        for copy in self.volumes.removing() {
            self.hands.remove_volumes(copy);
        }
    }

    fn ended(&mut self, key: RunKey, ended: &Ended) {
        // The last reading is taken before the group that it comes from is removed.
        self.measure.ended(key, ended, self.clock.now());
        if self.instances.ended(key, ended, &self.clock) {
            tracing::info!(%key, exit = %ended.exit(), message = ended.message, "ended");
            self.live_changed();
            self.report_soon();
        }
    }

    fn sample(&mut self) {
        let band = self.ledger.held().map_or(Band::DEFAULT, |held| held.band);
        if let Some(quota) = self.measure.sample(&self.clock, band)
            && let Err(error) = self.hands.set_harvest_quota(quota)
        {
            tracing::warn!(error = chain(&error), "cannot hold harvest back");
        }
    }

    fn live_changed(&self) {
        let statuses = self.instances.statuses(&self.wanted(), self.clock.monotonic());
        let live = statuses.iter().filter(|status| is_live(status.phase));
        self.logs.set_live(live.map(|status| status.instance).collect());
    }

    fn report_soon(&mut self) {
        self.report_at = self.report_at.min(Instant::now() + REPORT_GATHER);
    }

    fn report(&mut self) {
        if Instant::now() >= self.interval_ends {
            self.measure.next_interval();
            self.interval_ends = Instant::now() + self.report_interval;
        }
        let held = self.ledger.held();
        let report = Report {
            boot: self.measure.boot(),
            epoch: held.map(|held| held.epoch).unwrap_or_default(),
            generation: held.map(|held| held.generation).unwrap_or_default(),
            usage: NodeUsage { volumes: self.volumes.there(), ..self.measure.usage() },
            instances: self.instances.statuses(&self.wanted(), self.clock.monotonic()),
            meters: self.measure.unacknowledged(),
        };
        self.measure.retain(&report.instances.iter().map(|status| status.instance).collect());
        self.link.report((&report).into());
        self.tell(&report);
        self.report_at = self.interval_ends;
    }

    /// Writes down what was reported, for metrics.
    fn tell(&self, report: &Report) {
        let mut phases: BTreeMap<&'static str, u64> = BTreeMap::new();
        for status in &report.instances {
            let count = phases.entry(status.phase.as_str()).or_default();
            *count = count.saturating_add(1);
        }
        let (usage, now) = (&report.usage, self.clock.now());
        self.figures.send_modify(|figures| {
            figures.reported = Some(now);
            figures.reports = figures.reports.saturating_add(1);
            (figures.epoch, figures.generation) = (report.epoch.get(), report.generation.get());
            figures.instances = phases;
            figures.unacknowledged = report.meters.len();
            let harvest = ("harvest-allowance", usage.harvest_allowance);
            figures.cpu = [("used", usage.cpu), ("foreign", usage.cpu_foreign), harvest];
            figures.memory = [("used", usage.memory), ("foreign", usage.memory_foreign)];
            (figures.io, figures.smt) = (usage.io, self.of_node.inventory.smt);
        });
    }

    /// Begins to end all instances, in parallel.
    fn leave(&mut self) {
        tracing::info!("stopping all instances");
        self.leaving = true;
        self.wanted = Arc::default();
        self.instances.shorten_grace(GRACE_AT_EXIT);
    }

    async fn finish(self) -> Result<(), AgentError> {
        let left = self.instances.observed().values();
        let left = left.filter(|known| !matches!(known.life, Life::Ended { cleared: true, .. }));
        let left = if self.leaving { left.count() } else { 0 };
        self.link.stop().await;
        self.teller.stop().await;
        self.logs.stop().await;
        self.checks.stop().await;
        self.gauge.stop().await;
        self.services.stop().await;
        self.hands.stop().await;
        self.measure.close(self.clock.monotonic());
        if self.leaving && left == 0 {
            self.cgroups.remove_all();
            self.vault.close();
        }
        if left == 0 { Ok(()) } else { Err(AgentError::StillRunning(left)) }
    }
}

/// Says whether more output can come from an instance in this phase.
fn is_live(phase: Phase) -> bool {
    !phase.is_final()
}

fn wanted(ledger: &Ledger) -> Wanted {
    let held = ledger.held().into_iter().flat_map(|held| &held.instances);
    held.map(|assigned| (assigned.instance, assigned.clone())).collect()
}

const fn duration(millis: Millis) -> Duration {
    Duration::from_millis(millis.get())
}

fn is_past(moment: Option<Instant>) -> bool {
    moment.is_some_and(|moment| Instant::now() >= moment)
}

fn hello(facts: &NodeFacts) -> v1::Hello {
    v1::Hello {
        wire_version: WIRE_VERSION,
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        facts: Some(facts.into()),
        // Without it a stream that broke unnoticed is waited for, and nothing else is lost.
        process: Secret::draw().map(|drawn| drawn.bytes().to_vec()).unwrap_or_default(),
    }
}
