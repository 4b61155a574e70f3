//! HTTP/2 abused at size: many connections of strangers and of members with certificates that hold, and
//! honest agents beside them, whose reports are timed.
//!
//! The test of every run and the bench of full size share this; only [`Size`] differs. The scheduler
//! is a process of its own, the abusers have threads of their own, and the honest agents another.

mod attack;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tengyun_proto::identity::Identity;
use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::{limits, tls, v1};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::members::{self, Pretender};
use crate::{Cluster, spec};
pub use attack::{ATTACKS, Attack, secure};

/// Honest agents, each with one instance.
const HONEST: u32 = 10;
/// How often each of them reports: more often than agents do, so that there are enough reports.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// How long an acknowledgement is waited for before it counts as this late.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How long connections of members are gathered at most before all of them begin at once.
const GATHER_MAX: Duration = Duration::from_mins(1);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);
/// The threads of the abusers; each has a runtime of its own.
const THREADS: usize = 4;
/// How long the scheduler is left alone after an attack.
const REST: Duration = Duration::from_millis(500);
/// How many strangers share an address.
const STRANGERS_OF_ADDRESS: usize = 25;

/// How much abuse.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Connections of members; all of them are up before an attack begins.
    pub members: usize,
    /// Connections of strangers on top; most of them are turned away, again and again.
    pub strangers: usize,
    /// How long each attack goes on.
    pub lasting: Duration,
}

/// What one attack did.
#[derive(Clone, Debug)]
pub struct Damage {
    /// What it was.
    pub attack: &'static str,
    /// How many of its connections of members were up when it began; nothing where it is about
    /// handshakes.
    pub up: Option<usize>,
    /// The most connections that it had open at once.
    pub open: usize,
    /// How often one of its connections was ended and opened again.
    pub ended: usize,
    /// How long honest reports took until they were acknowledged, shortest first.
    pub waits: Vec<Duration>,
    /// How often an honest agent's stream broke.
    pub broken: usize,
    /// By how much the scheduler grew, in kibibytes, at most.
    pub growth_kib: u64,
}

impl Damage {
    /// Returns what this share of the reports, in permille, took at most.
    ///
    /// # Panics
    /// There was no report.
    pub fn permille(&self, permille: usize) -> Duration {
        self.waits[(self.waits.len() * permille).div_ceil(1000).saturating_sub(1)]
    }

    /// Describes it in one line.
    pub fn line(&self) -> String {
        let up = self.up.map_or_else(|| "-".to_owned(), |up| up.to_string());
        format!(
            "{:<24} {up:>5} up, at most {:>5}, {:>7} ended, {:>4} honest reports: p50 {:>6.1?} p99 {:>6.1?} max \
             {:>6.1?}, {} broken, {:>6} KiB more",
            self.attack,
            self.open,
            self.ended,
            self.waits.len(),
            self.permille(500),
            self.permille(990),
            self.permille(1000),
            self.broken,
            self.growth_kib,
        )
    }
}

/// A cluster that is abused.
#[derive(Debug)]
pub struct Siege {
    cluster: Cluster,
    members: Vec<Identity>,
    size: Size,
    honest: Vec<JoinHandle<()>>,
    waits: Waits,
    /// What the scheduler held before the first attack, in kibibytes.
    first_kib: u64,
}

/// What the honest agents measured since it was last taken.
#[derive(Clone, Debug, Default)]
struct Waits(Arc<Mutex<Vec<Duration>>>, Arc<AtomicUsize>);

impl Waits {
    fn take(&self) -> (Vec<Duration>, usize) {
        let mut waits = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waits.sort_unstable();
        (waits, self.1.swap(0, Ordering::AcqRel))
    }
}

impl Siege {
    /// Starts a scheduler, lets members in, and honest agents begin to report.
    pub async fn begin(size: Size) -> Self {
        raise_descriptors();
        let cluster = Cluster::start_with(members::LISTEN);
        let own = |number| {
            let name = honest_name(number);
            let mut spec = spec::command(&name, &["/bin/sleep", "1000"]);
            spec.constraints.labels = BTreeMap::from([("host".to_owned(), name)]);
            spec
        };
        let specs: Vec<_> = (0..HONEST).map(own).collect();
        cluster.apply(&specs).await;
        let mut bad = Vec::new();
        let per_member = limits::CONNECTIONS_OF_MEMBER_MAX;
        for number in 0..size.members.div_ceil(per_member) {
            bad.push(members::node(&cluster, &format!("bad-{number}")).await);
        }
        let waits = Waits::default();
        let mut honest = Vec::new();
        for number in 0..HONEST {
            let name = honest_name(number);
            let identity = members::node(&cluster, &name).await;
            honest.push(tokio::spawn(report_on(identity, name, waits.clone())));
        }
        let mut siege = Self { cluster, members: bad, size, honest, waits, first_kib: 0 };
        crate::cluster::until("every honest agent reports", async || {
            let known = siege.waits.0.lock().unwrap_or_else(PoisonError::into_inner).len();
            (known >= usize::try_from(10 * HONEST).unwrap_or(usize::MAX)).then_some(())
        })
        .await;
        siege.first_kib = siege.cluster.scheduler_resident_kib();
        siege
    }

    /// Returns by how much the scheduler has grown since before the first attack, in kibibytes.
    pub fn growth_kib(&self) -> u64 {
        self.cluster.scheduler_resident_kib().saturating_sub(self.first_kib)
    }

    /// Lets one attack go on, and returns what it did.
    pub async fn endure(&self, attack: &'static Attack) -> Damage {
        tokio::time::sleep(REST).await;
        drop(self.waits.take());
        let before = self.cluster.scheduler_resident_kib();
        let count = Arc::new(attack::Count::default());
        let (begin, begun) = watch::channel(None);
        let abusers = self.abusers(attack, &count, &begun);
        let start = Instant::now();
        while attack.gathers() && count.open() < self.size.members && start.elapsed() < GATHER_MAX {
            tokio::time::sleep(LOOK).await;
        }
        let up = attack.gathers().then(|| count.open());
        let end = Instant::now() + self.size.lasting;
        begin.send_replace(Some(end));
        let mut most = before;
        while Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            most = most.max(self.cluster.scheduler_resident_kib());
        }
        let joined = tokio::task::spawn_blocking(move || {
            abusers.into_iter().all(|abusers| abusers.join().is_ok())
        });
        assert!(joined.await.is_ok_and(|well| well), "the abusers failed");
        // Reports that waited behind the attack are counted too.
        tokio::time::sleep(2 * REPORT_EVERY).await;
        let (waits, broken) = self.waits.take();
        let (open, ended) = count.result();
        let growth_kib = most.saturating_sub(before);
        Damage { attack: attack.name, up, open, ended, waits, broken, growth_kib }
    }

    /// Starts the abusers on threads of their own, each with a runtime of its own.
    fn abusers(
        &self,
        attack: &'static Attack,
        count: &Arc<attack::Count>,
        begin: &attack::Begin,
    ) -> Vec<std::thread::JoinHandle<()>> {
        let abuser = |number: usize| {
            let member = number < self.size.members;
            let identity = self.members
                [number / limits::CONNECTIONS_OF_MEMBER_MAX % self.members.len()]
            .clone();
            let from = if member { Ipv4Addr::LOCALHOST } else { address(number) };
            attack::Abuser { identity, member, from, attack, begin: begin.clone() }
        };
        let all = self.size.members + self.size.strangers;
        let threads = (0..THREADS).map(|thread| {
            let abusers: Vec<_> = (thread..all).step_by(THREADS).map(abuser).collect();
            let count = Arc::clone(count);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let mut set = tokio::task::JoinSet::new();
                    for abuser in abusers {
                        set.spawn(abuser.abuse(Arc::clone(&count)));
                    }
                    while let Some(ended) = set.join_next().await {
                        ended.expect("an abuser does not panic");
                    }
                });
            })
        });
        threads.collect()
    }

    /// Ends it; the scheduler must have stayed the same process, and said nothing of a panic.
    pub fn end(self) {
        for honest in &self.honest {
            honest.abort();
        }
        let log = std::fs::read_to_string(self.cluster.path().join("scheduler.log"));
        assert!(!log.expect("the scheduler has a log").contains("panicked"), "it panicked");
    }
}

/// Lets this process, and those it starts, have as many descriptors as the system allows.
fn raise_descriptors() {
    let limits = getrlimit(Resource::RLIMIT_NOFILE);
    let raised = limits.and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    raised.expect("a process may raise its limit to the hard one");
}

fn honest_name(number: u32) -> String {
    format!("good-{number}")
}

/// Spreads strangers over addresses of this machine.
fn address(number: usize) -> Ipv4Addr {
    let part = u8::try_from(number / STRANGERS_OF_ADDRESS % 250).expect("below 250") + 1;
    Ipv4Addr::new(127, 0, 9, part)
}

/// Attaches, reports, and waits for each acknowledgement; again when the stream breaks.
async fn report_on(identity: Identity, name: String, waits: Waits) {
    loop {
        let broken = match tls::connect(&identity).await {
            Ok(channel) => live(&channel, &name, &waits).await,
            Err(_) => Ok(()),
        };
        if broken.is_err() {
            waits.1.fetch_add(1, Ordering::AcqRel);
        }
        tokio::time::sleep(REPORT_EVERY).await;
    }
}

async fn live(
    channel: &tonic::transport::Channel,
    name: &str,
    waits: &Waits,
) -> Result<(), tonic::Status> {
    let mut facts = members::hello(name);
    // Its one instance may run nowhere else.
    let labels = BTreeMap::from([("host".to_owned(), name.to_owned())]);
    facts.facts = facts.facts.map(|facts| v1::NodeFacts { labels, ..facts });
    let mut agent = Pretender::attach(channel, facts).await?;
    let assignment = agent.assignment(1).await?;
    // The first reading is journaled, all others are covered by it and acknowledged at once.
    loop {
        let sent = Instant::now();
        agent.say(Up::Report(members::report(&assignment, 5))).await?;
        let acknowledged = timeout(WAIT_MAX, agent.acknowledgement()).await;
        let wait = sent.elapsed();
        waits.0.lock().unwrap_or_else(PoisonError::into_inner).push(wait);
        match acknowledged {
            Ok(heard) => heard?,
            Err(_) => return Err(tonic::Status::deadline_exceeded("no acknowledgement came")),
        }
        tokio::time::sleep(REPORT_EVERY).await;
    }
}
