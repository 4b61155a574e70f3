//! A node whose certificate holds and whose agent is broken or hostile: what it says is refused or
//! does no harm, and the other nodes do not notice.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]
#![expect(clippy::print_stdout, reason = "what was tried is shown where the result is read")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tengyun_proto::identity::Identity;
use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::{tls, v1};
use tengyun_tests::cluster::{Operator, until};
use tengyun_tests::members::{self, BOOT, Pretender, hello, report};
use tengyun_tests::{Cluster, spec};
use tonic::Code;

/// How late an operator may be answered meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// What it may cost in memory, in kibibytes.
const GROWTH_MAX: u64 = 256 * 1024;
/// By how much the journal may grow under a flood of news: what 20,000 instances would say once, and
/// a little.
const JOURNAL_GROWTH_MAX: u64 = 16 * 1024 * 1024;
/// How long a flood goes on.
const FLOOD: Duration = Duration::from_secs(6);

/// A scheduler, the honest node n2 with real processes, and the identity of n1.
struct World {
    cluster: Cluster,
    identity: Identity,
    pids: BTreeMap<u64, u32>,
    resident: u64,
}

fn placed(name: &str, node: &str, instances: u32) -> tengyun_model::WorkloadSpec {
    let mut spec = spec::command(name, &["/bin/sleep", "1000"]);
    spec.instances = instances;
    spec.constraints.labels = BTreeMap::from([("host".to_owned(), node.to_owned())]);
    spec
}

impl World {
    async fn make() -> Self {
        let mut cluster = Cluster::start_with(members::LISTEN);
        cluster.operator().await;
        cluster.start_agent("n2", &["--label", "host=n2"]);
        cluster.apply(&[placed("kept", "n2", 2), placed("bad", "n1", 2)]).await;
        cluster.until_running(2).await;
        let identity = members::node(&cluster, "n1").await;
        let resident = cluster.scheduler_resident_kib();
        let pids = pids(&cluster).await;
        Self { cluster, identity, pids, resident }
    }

    async fn attach(&self) -> (Pretender, v1::Assignment) {
        let mut agent = self.greet(greeting()).await.unwrap();
        let assignment = agent.assignment(2).await.unwrap();
        (agent, assignment)
    }

    async fn greet(&self, hello: v1::Hello) -> Result<Pretender, tonic::Status> {
        let channel = tls::connect(&self.identity).await.unwrap();
        Pretender::attach(&channel, hello).await
    }

    /// The honest node is as it was, the operator is answered, and nothing panicked.
    async fn check(&self, what: &str) {
        let start = Instant::now();
        let now = pids(&self.cluster).await;
        assert!(start.elapsed() < ANSWER_MAX, "{what}: an answer took {:?}", start.elapsed());
        assert_eq!(now, self.pids, "{what}: the honest node was disturbed");
        let growth = self.cluster.scheduler_resident_kib().saturating_sub(self.resident);
        assert!(growth < GROWTH_MAX, "{what}: {growth} KiB more");
        let log = std::fs::read_to_string(self.cluster.path().join("scheduler.log")).unwrap();
        assert!(!log.contains("panicked"), "{what}: it panicked");
        let steers = log.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert!(!steers, "{what}: the log can steer a terminal");
    }

    fn journal_bytes(&self) -> u64 {
        let dir = self.cluster.path().join("scheduler");
        let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |found| found.len());
        size("journal.db") + size("journal.db-wal")
    }
}

fn greeting() -> v1::Hello {
    let mut hello = hello("n1");
    let facts = hello.facts.as_mut().unwrap();
    facts.labels.insert("host".to_owned(), "n1".to_owned());
    hello
}

/// The processes of the honest node.
async fn pids(cluster: &Cluster) -> BTreeMap<u64, u32> {
    let views = cluster.instances().await.into_iter().filter(|view| view.node_name == "n2");
    views.filter_map(|view| Some((view.instance, view.status?.pid?))).collect()
}

/// Something that no honest agent says, made of what one would.
type Absurd = fn(v1::Report) -> v1::Report;

/// What is refused, with the words of the refusal.
const REFUSED: &[(&str, Absurd, &str)] = &[
    ("no boot", |r| v1::Report { boot_id: String::new(), ..r }, "report.boot_id: "),
    ("no use", |r| v1::Report { usage: None, ..r }, "report.usage: is missing"),
    ("too many instances", many_instances, "report.instances: has 20000 items"),
    ("one instance twice", twice, "comes twice"),
    ("too many meters", many_meters, "report.meters: has 50000 items"),
    ("an unknown phase", |r| with_status(r, |s| s.phase = 99), "99 is not known here"),
    ("an exit of no kind", |r| with_status(r, |s| s.exit = Some(v1::Exit::default())), "how: "),
    ("a long message", |r| with_status(r, |s| s.message = "x".repeat(5000)), "is longer than"),
    ("a zero byte", |r| with_status(r, |s| "a\0b".clone_into(&mut s.message)), "zero byte"),
];

/// What is taken and does no harm.
const TAKEN: &[(&str, Absurd)] = &[
    ("use beyond all numbers", |r| v1::Report { usage: Some(absurd_usage()), ..r }),
    ("an assignment of the future", |r| v1::Report { generation: u64::MAX, ..r }),
    ("a reign of the future", |r| v1::Report { epoch: u64::MAX, ..r }),
    ("both of the future", |r| v1::Report { epoch: u64::MAX, generation: u64::MAX, ..r }),
    ("instances of others", |mut r| {
        r.instances = (1..=9000).map(|id| failed(id, 7)).collect();
        r
    }),
    ("the last incarnation", |r| with_status(r, |s| s.incarnation = u32::MAX)),
    ("the end of time", |r| with_status(r, |s| s.since_millis = u64::MAX)),
    ("a process of nobody", |r| with_status(r, |s| s.pid = Some(u32::MAX))),
    ("words for a terminal", |r| {
        with_status(r, |s| "\u{1b}[2J\u{1b}]0;x\u{7}\r\u{202e}".clone_into(&mut s.message))
    }),
    ("an odd exit", |r| {
        with_status(r, |s| {
            s.phase = v1::Phase::Failed.into();
            s.exit = Some(v1::Exit { how: Some(v1::exit::How::Code(i32::MIN)) });
        })
    }),
    ("meters of others", |r| with_meters(r, |m| m.instance += 1_000_000)),
    ("meters beyond all numbers", |r| {
        with_meters(r, |m| {
            (m.cpu_core_millis, m.memory_mib_seconds) = (u64::MAX, u64::MAX);
            (m.covered_millis, m.from_millis, m.to_millis) = (u64::MAX, u64::MAX, 0);
        })
    }),
    ("meters that fall", |r| {
        with_meters(r, |m| (m.cpu_core_millis, m.memory_mib_seconds) = (0, 0))
    }),
    ("nothing at all", |r| v1::Report { instances: Vec::new(), meters: Vec::new(), ..r }),
];

fn with_status(mut r: v1::Report, change: fn(&mut v1::InstanceStatus)) -> v1::Report {
    r.instances.iter_mut().for_each(change);
    r
}

fn with_meters(mut r: v1::Report, change: fn(&mut v1::MeterRecord)) -> v1::Report {
    r.meters.iter_mut().for_each(change);
    r
}

fn failed(instance: u64, incarnation: u32) -> v1::InstanceStatus {
    v1::InstanceStatus {
        instance,
        incarnation,
        phase: v1::Phase::Failed.into(),
        ..v1::InstanceStatus::default()
    }
}

fn many_instances(mut r: v1::Report) -> v1::Report {
    r.instances = (1..=20_000).map(|id| failed(id, 1)).collect();
    r
}

fn twice(mut r: v1::Report) -> v1::Report {
    r.instances.extend(r.instances.clone());
    r
}

fn many_meters(mut r: v1::Report) -> v1::Report {
    r.meters = (0..50_000).map(|n| invented(1, n)).collect();
    r
}

/// A reading of a start that never was.
fn invented(instance: u64, incarnation: u32) -> v1::MeterRecord {
    v1::MeterRecord {
        boot_id: BOOT.to_owned(),
        instance,
        incarnation,
        cpu_core_millis: 1,
        covered_millis: 1,
        to_millis: 2,
        last: true,
        ..v1::MeterRecord::default()
    }
}

fn absurd_usage() -> v1::NodeUsage {
    let of_instance = |instance| {
        let most = v1::InstanceUsage { instance, ..v1::InstanceUsage::default() };
        v1::InstanceUsage { cpu_millicores: u64::MAX, memory_mib: u64::MAX, ..most }
    };
    let mut usage = v1::NodeUsage {
        at_millis: u64::MAX,
        interval_millis: u64::MAX,
        cpu_millicores: u64::MAX,
        cpu_foreign_millicores: u64::MAX,
        memory_mib: u64::MAX,
        memory_foreign_mib: u64::MAX,
        pressure_cpu_permille: Some(u32::MAX),
        harvest_allowance_millicores: u64::MAX,
        ..v1::NodeUsage::default()
    };
    usage.instances = (1..=10_000).map(of_instance).collect();
    usage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_reports_are_refused_or_do_no_harm() {
    let world = World::make().await;
    for (what, absurd, says) in REFUSED {
        let (mut agent, assignment) = world.attach().await;
        agent.say(Up::Report(absurd(report(&assignment, 5)))).await.unwrap();
        let status = agent.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        assert!(status.message().contains(says), "{what}: {status}");
        world.check(what).await;
    }
    for (what, absurd) in TAKEN {
        let (agent, assignment) = world.attach().await;
        agent.say(Up::Report(report(&assignment, 5))).await.unwrap();
        agent.say(Up::Report(absurd(report(&assignment, 7)))).await.unwrap();
        agent.say(Up::Report(report(&assignment, 9))).await.unwrap();
        drop(agent);
        world.check(what).await;
        look_at_everything(&world.cluster).await;
    }
    // A report of a million instances is larger than a message may be.
    let (mut agent, assignment) = world.attach().await;
    let mut huge = report(&assignment, 5);
    huge.instances = (1..=1_000_000).map(|id| failed(id, 1)).collect();
    agent.say(Up::Report(huge)).await.unwrap();
    let status = agent.end().await;
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status}");
    world.check("a million instances").await;
    survives_a_restart(world).await;
}

/// Every list that an operator looks at adds up what nodes said.
async fn look_at_everything(cluster: &Cluster) {
    let mut operator = cluster.operator().await;
    operator.list_nodes(v1::ListNodesRequest {}).await.unwrap();
    operator.list_departments(v1::ListDepartmentsRequest {}).await.unwrap();
    let all = v1::ListWorkloadsRequest { department: String::new() };
    operator.list_workloads(all).await.unwrap();
    operator.list_meters(v1::ListMetersRequest { instance: None }).await.unwrap();
    let key = Some((&placed("bad", "n1", 1).key).into());
    operator.explain(v1::ExplainRequest { instance: None, key }).await.unwrap();
}

async fn survives_a_restart(mut world: World) {
    world.cluster.kill_scheduler();
    world.cluster.start_scheduler();
    until("the honest node is there again", async || {
        let status = world.cluster.operator().await.status(v1::StatusRequest {}).await.ok()?;
        (status.into_inner().nodes_connected >= 1).then_some(())
    })
    .await;
    assert_eq!(pids(&world.cluster).await, world.pids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_greetings_and_messages_are_refused_or_do_no_harm() {
    let world = World::make().await;
    let facts = |change: fn(&mut v1::NodeFacts)| {
        let mut hello = greeting();
        change(hello.facts.as_mut().unwrap());
        hello
    };
    let many: fn(&mut v1::NodeFacts) = |facts| {
        facts.labels = (0..2000).map(|n| (format!("l{n}"), String::new())).collect();
    };
    for (what, hello, says) in [
        ("another node's name", facts(|f| f.name = "n2".to_owned()), "n2"),
        ("a name that steers", facts(|f| f.name = "\u{1b}[2J".to_owned()), "facts.name: "),
        ("a name that goes up", facts(|f| f.name = "../n1".to_owned()), "facts.name: "),
        ("too many labels", facts(many), "facts.labels: has 2000 items"),
        ("no capacity", facts(|f| f.capacity = None), "facts.capacity: is missing"),
        ("no facts", v1::Hello { facts: None, ..greeting() }, "facts: is missing"),
        ("version 0", v1::Hello { wire_version: 0, ..greeting() }, "upgrade the agent"),
        ("version 999", v1::Hello { wire_version: 999, ..greeting() }, "upgrade the scheduler"),
        ("a long draw", v1::Hello { process: vec![7; 1000], ..greeting() }, "process: "),
    ] {
        let status = world.greet(hello).await.unwrap_err();
        assert!(status.message().contains(says), "{what}: {status}");
        world.check(what).await;
    }
    let boundless = facts(|facts| {
        facts.capacity = Some(v1::Capacity {
            cpu_millicores: u64::MAX,
            memory_mib: u64::MAX,
            disk_mib: u64::MAX,
            pids: u64::MAX,
            ..v1::Capacity::default()
        });
        let inventory = facts.inventory.as_mut().unwrap();
        (inventory.sockets, inventory.cores, inventory.threads) = (u32::MAX, u32::MAX, u32::MAX);
        inventory.kernel = "\u{1b}]0;x\u{7}".to_owned();
        facts.labels.insert("\u{1b}[31m".to_owned(), "\u{202e}".to_owned());
    });
    for (what, hello) in [
        ("boundless", boundless),
        ("nothing", facts(|f| f.capacity = Some(v1::Capacity::default()))),
    ] {
        // What can be taken harms nothing, what cannot is said.
        if let Err(refused) = world.greet(hello).await {
            assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
        }
        world.check(what).await;
        look_at_everything(&world.cluster).await;
    }
    let (mut agent, _) = world.attach().await;
    agent.say(Up::Hello(greeting())).await.unwrap();
    assert!(agent.end().await.message().contains("hello may come once"));
    let (agent, _) = world.attach().await;
    for request in 0..50 {
        let data = vec![0x1b; 1_000_000];
        let chunk = v1::LogChunk { request, data, ..v1::LogChunk::default() };
        agent.say(Up::LogChunk(chunk)).await.unwrap();
    }
    world.check("output that nobody asked for").await;
}

/// Asks the scheduler again and again until it is told to stop; returns how long each answer took.
async fn ask_on(mut operator: Operator, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let asked = Instant::now();
        operator.status(v1::StatusRequest {}).await.unwrap();
        waits.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    waits.sort_unstable();
    waits
}

/// Says reports as fast as they are taken, and measures how long an operator waits meanwhile.
async fn flood(world: &World, what: &str, mut next: impl FnMut(u32) -> v1::Report) {
    let (agent, _) = world.attach().await;
    let journal = world.journal_bytes();
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_on(world.cluster.operator().await, Arc::clone(&stop)));
    let (mut said, start) = (0, Instant::now());
    while start.elapsed() < FLOOD {
        agent.say(Up::Report(next(said))).await.unwrap();
        said += 1;
    }
    stop.store(true, Ordering::Release);
    let waits = asking.await.unwrap();
    let late = waits[(waits.len() * 99).div_ceil(100) - 1];
    let grown = world.journal_bytes().saturating_sub(journal);
    let resident = world.cluster.scheduler_resident_kib().saturating_sub(world.resident);
    println!(
        "{what}: {said} reports taken, p99 of {} answers {late:?}, journal {grown} bytes more, \
         {resident} KiB more",
        waits.len()
    );
    assert!(late < ANSWER_MAX, "{what}: answers took {late:?}");
    assert!(grown < JOURNAL_GROWTH_MAX, "{what}: the journal grew by {grown} bytes");
    world.check(what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_news_is_bounded() {
    let world = World::make().await;
    let (agent, assignment) = world.attach().await;
    drop(agent);
    let ids: Vec<u64> = assignment.instances.iter().map(|assigned| assigned.instance).collect();
    // Each report has meters of starts that never were, and says that they are the last.
    flood(&world, "meters", |n| {
        let mut said = report(&assignment, 5);
        said.meters = (0..20_000).map(|m| invented(ids[0], n * 20_000 + m + 1)).collect();
        said
    })
    .await;
    // A meter that has ended goes on growing.
    flood(&world, "ended meters", |n| {
        let mut said = report(&assignment, 5);
        said.meters =
            vec![v1::MeterRecord { cpu_core_millis: u64::from(n), ..invented(ids[1], 1) }];
        said
    })
    .await;
    // Each report has a new start of each instance, which failed for good.
    flood(&world, "starts", |n| {
        let mut said = report(&assignment, 5);
        said.instances = ids.iter().map(|id| failed(*id, n + 2)).collect();
        said
    })
    .await;
    survives_a_restart(world).await;
}
