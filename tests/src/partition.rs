//! Real agents behind wires that fail: cut off alone, by the third, all at once, and a scheduler that
//! is away. Nothing stops, nothing starts twice, and soon after it is as it was.
//!
//! The test of every run and the bench of full length share this; only [`Scale`] differs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tengyun_model::{Grant, OnLost, WorkloadSpec};
use tengyun_proto::v1;
use tokio::time::sleep;

use crate::cluster::{is_running, operation, resident_kib};
use crate::proxy::{Proxy, Wires};
use crate::{Cluster, members, spec};

/// How soon after a fault everything must be as it was.
pub const CONSISTENT_MAX: Duration = Duration::from_mins(1);
/// How long so many agents may take to start and join on a machine of two cores.
const START_MAX: Duration = Duration::from_mins(5);
/// How often a fault is watched.
const LOOK: Duration = Duration::from_millis(500);
/// How often a reconnection is looked at.
const CLOSE_LOOK: Duration = Duration::from_millis(100);
/// The longest pause of an agent between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Delayed by so much, everything still goes on.
const DELAY: Duration = Duration::from_millis(400);

/// How many agents, and how long each fault lasts.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// How many agents there are.
    pub nodes: u32,
    /// Whether silence is judged after seconds, as tests want it, or after the usual minutes.
    pub hurried: bool,
    /// How long one node is cut off.
    pub one: Duration,
    /// How long 30 of 100 are, and all.
    pub many: Duration,
    /// How long the scheduler is away.
    pub away: Duration,
    /// How long one direction alone is cut, and how long everything is slow.
    pub odd: Duration,
}

impl Scale {
    /// The form of every run.
    pub const BRIEF: Self = Self {
        nodes: 20,
        hurried: true,
        one: Duration::from_secs(8),
        many: Duration::from_secs(7),
        away: Duration::from_secs(6),
        odd: Duration::from_secs(4),
    };
    /// The form of full length.
    pub const FULL: Self = Self {
        nodes: 60,
        hurried: false,
        one: Duration::from_mins(3),
        many: Duration::from_mins(3),
        away: Duration::from_mins(2),
        odd: Duration::from_mins(1),
    };
}

/// One fault.
#[derive(Debug)]
struct Fault {
    what: &'static str,
    lasting: Duration,
    /// How many nodes the scheduler must come to see as silent; nothing while it is away.
    silent: Option<RangeInclusive<usize>>,
}

/// What a fault did.
#[derive(Clone, Copy, Debug)]
pub struct Healed {
    /// Which fault.
    pub what: &'static str,
    /// How long it lasted.
    pub lasted: Duration,
    /// How many nodes were silent at most, as the scheduler saw it.
    pub silent: usize,
    /// How long after its end everything was as before.
    pub consistent: Duration,
    /// How many instances ran all the time.
    pub instances: usize,
}

/// How agents came back to a scheduler that was started again.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Between the first and the last.
    pub spread: Duration,
    /// The most that came within a tenth of a second or little more.
    pub most_at_once: u32,
}

/// Instances with the node, the incarnation and the process of each.
type Picture = BTreeMap<u64, (String, u32, u32)>;

/// Agents, each behind a proxy of its own.
#[derive(Debug)]
pub struct Fleet {
    cluster: Cluster,
    proxies: Vec<Proxy>,
    scale: Scale,
    starts: PathBuf,
}

impl Fleet {
    /// Starts a scheduler and the agents, and waits until each runs one instance that waits when its
    /// node is lost.
    pub async fn start(scale: Scale) -> Self {
        let cluster = Cluster::start_with(members::LISTEN);
        let starts = cluster.path().join("starts");
        std::fs::write(&starts, "").expect("our directory");
        open_to_all(&starts);
        let mut fleet = Self { cluster, proxies: Vec::new(), scale, starts };
        fleet.set_policy().await;
        let target = fleet.door().await;
        for number in 0..scale.nodes {
            fleet.add(number, target).await;
        }
        let all = usize::try_from(scale.nodes).expect("a small number");
        let start = Instant::now();
        while fleet.connected().await != scale.nodes {
            assert!(start.elapsed() < START_MAX, "the agents did not join");
            sleep(LOOK).await;
        }
        fleet.cluster.apply(&[fleet.workload("waits", OnLost::Wait)]).await;
        fleet.until_running(all).await;
        fleet
    }

    async fn set_policy(&self) {
        let hurried = [
            ("suspect_after_seconds", 2),
            ("lost_after_seconds", 4),
            // Longer than agents pause between two tries, or the last to return would be lost.
            ("return_grace_seconds", 10),
            ("loss_interval_seconds", 1),
        ];
        // Moves of its own would hide what a fault does.
        let mut values = vec![("consolidate", 0)];
        if self.scale.hurried {
            values.extend(hurried);
        }
        let knob = |(name, value): (&str, u64)| v1::KnobValue { name: name.to_owned(), value };
        let values = values.into_iter().map(knob).collect();
        let request =
            v1::SetPolicyRequest { operation_id: operation(), values, ..Default::default() };
        let response = self.cluster.operator().await.set_policy(request).await;
        assert_eq!(response.expect("the scheduler answers").into_inner().refusal, None);
    }

    /// Asks where the scheduler listens now.
    async fn door(&self) -> SocketAddr {
        let token = members::token(&self.cluster, &Grant::NewNode, "").await;
        token.address.as_str().parse().expect("it listens on an address")
    }

    async fn add(&mut self, number: u32, target: SocketAddr) {
        let host = u8::try_from(number + 1).expect("fewer than 255 agents");
        let proxy = Proxy::start(target, Ipv4Addr::new(127, 0, 8, host)).await;
        let proxy = proxy.expect("a proxy listens");
        let address = proxy.address().to_string();
        let token = members::token(&self.cluster, &Grant::NewNode, &address).await.to_string();
        let name = format!("p{number}");
        let label = format!("host={name}");
        let quick = ["--sample-interval-millis", "2000", "--report-interval-millis", "1000"];
        let options = [&["--join", &token, "--label", &label][..], &quick].concat();
        self.cluster.start_member(&name, &options);
        self.proxies.push(proxy);
    }

    /// A workload with one instance on each node, which says when it starts.
    fn workload(&self, name: &str, on_lost: OnLost) -> WorkloadSpec {
        let starts = self.starts.display();
        let script = format!("echo $TENGYUN_INSTANCE >> {starts}; exec sleep 100000");
        let mut spec = spec::shell(name, &script);
        spec.instances = self.scale.nodes;
        spec.on_lost = on_lost;
        spec.constraints.spread = Some("host".to_owned());
        spec
    }

    async fn until_running(&self, count: usize) {
        let start = Instant::now();
        while self.picture().await.len() != count {
            assert!(start.elapsed() < START_MAX, "the instances did not start");
            sleep(LOOK).await;
        }
    }

    async fn status(&self) -> v1::StatusResponse {
        let status = self.cluster.operator().await.status(v1::StatusRequest {}).await;
        status.expect("the scheduler answers").into_inner()
    }

    async fn connected(&self) -> u32 {
        self.status().await.nodes_connected
    }

    /// How many nodes the scheduler counts as silent now.
    async fn silent(&self) -> usize {
        let list = self.cluster.operator().await.list_nodes(v1::ListNodesRequest {}).await;
        let nodes = list.expect("the scheduler answers").into_inner().nodes;
        nodes.iter().filter(|node| matches!(node.state.as_str(), "suspect" | "lost")).count()
    }

    async fn picture(&self) -> Picture {
        let views = self.cluster.instances().await.into_iter();
        let one = |view: v1::InstanceView| {
            let status = view.status?;
            Some((view.instance, (view.node_name, status.incarnation, status.pid?)))
        };
        views.filter(|view| view.wanted && is_running(view)).filter_map(one).collect()
    }

    /// How often anything ever started.
    fn starts(&self) -> usize {
        std::fs::read_to_string(&self.starts).expect("our file").lines().count()
    }

    /// Breaks something for a time while it watches what runs, and waits until all is as before.
    async fn suffer(
        &mut self,
        Fault { what, lasting, silent }: Fault,
        (fault, heal): (impl AsyncFnOnce(&mut Self), impl AsyncFnOnce(&mut Self)),
    ) -> Healed {
        let before = self.picture().await;
        let starts = self.starts();
        assert_eq!(starts, before.len(), "{what}: something had started twice");
        fault(self).await;
        let (begin, mut most) = (Instant::now(), 0);
        while begin.elapsed() < lasting {
            self.watch(what, &before, starts);
            if silent.is_some() {
                most = most.max(self.silent().await);
            }
            sleep(LOOK).await;
        }
        let noticed = silent.is_none_or(|silent| silent.contains(&most));
        assert!(noticed, "{what}: the scheduler saw {most} silent nodes");
        let lasted = begin.elapsed();
        heal(self).await;
        let healed = Instant::now();
        while !self.is_consistent(&before).await {
            self.watch(what, &before, starts);
            let waited = healed.elapsed();
            assert!(waited < CONSISTENT_MAX, "{what}: not as before after {waited:?}");
            sleep(CLOSE_LOOK).await;
        }
        let consistent = healed.elapsed();
        // It stays so.
        sleep(2 * LOOK).await;
        self.watch(what, &before, starts);
        assert!(self.is_consistent(&before).await, "{what}: it did not stay as before");
        Healed { what, lasted, silent: most, consistent, instances: before.len() }
    }

    /// Looks at the processes themselves: all live, and no other was started.
    fn watch(&self, what: &str, before: &Picture, starts: usize) {
        for (instance, (node, _, pid)) in before {
            let lives = std::fs::exists(format!("/proc/{pid}")).unwrap_or_default();
            assert!(lives, "{what}: instance {instance} on {node} stopped");
        }
        assert_eq!(self.starts(), starts, "{what}: something started twice");
    }

    async fn is_consistent(&self, before: &Picture) -> bool {
        let status = self.status().await;
        status.nodes_connected == self.scale.nodes
            && status.losses.is_empty()
            && self.picture().await == *before
    }

    fn cut(&self, count: usize, wires: Wires) {
        for proxy in self.proxies.iter().take(count) {
            proxy.set(wires);
        }
    }

    /// Goes through every fault, and says what each did.
    pub async fn suffer_all(&mut self) -> Vec<Healed> {
        let Scale { nodes, one, many, away, odd, .. } = self.scale;
        let all = usize::try_from(nodes).expect("a small number");
        let third = (all * 3).div_ceil(10);
        let fault = |what, lasting, silent| Fault { what, lasting, silent };
        let mut healed = Vec::new();
        let mut add = |done: Healed| healed.push(done);
        let alone = fault("one node cut off", one, Some(1..=1));
        add(self.suffer(alone, cutting(1, Wires::CUT)).await);
        // From here on also what may start elsewhere when its node is lost: it does not, because so
        // many nodes are silent that the network is to blame.
        let moves = self.workload("moves", OnLost::Restart);
        self.cluster.apply(&[moves]).await;
        self.until_running(2 * all).await;
        let some = Some(third..=third);
        let cut = fault("30 % cut off", many, some.clone());
        add(self.suffer(cut, cutting(third, Wires::CUT)).await);
        let deaf = fault("30 % not heard", odd, some);
        add(self.suffer(deaf, cutting(third, Wires::DEAF)).await);
        let mute = fault("30 % hear nothing", odd, Some(0..=third));
        add(self.suffer(mute, cutting(third, Wires::MUTE)).await);
        let cut = fault("all cut off", many, Some(all..=all));
        add(self.suffer(cut, cutting(all, Wires::CUT)).await);
        let slow = fault("all slow", odd, Some(0..=0));
        add(self.suffer(slow, cutting(all, Wires::slow(DELAY))).await);
        let reset = async |fleet: &mut Self| fleet.proxies.iter().for_each(Proxy::reset);
        let resets = fault("all reset", Duration::ZERO, None);
        add(self.suffer(resets, (reset, async |_: &mut Self| {})).await);
        let stop = async |fleet: &mut Self| fleet.cluster.kill_scheduler();
        let stopped = fault("scheduler away", away, None);
        add(self.suffer(stopped, (stop, Self::bring_back)).await);
        healed
    }

    async fn bring_back(&mut self) {
        self.cluster.start_scheduler();
        let door = self.door().await;
        for proxy in &self.proxies {
            proxy.aim(door);
        }
    }

    /// Starts the scheduler again after a time, and looks how the agents come back.
    pub async fn storm(&mut self) -> Storm {
        self.cluster.kill_scheduler();
        // So long that every agent pauses as long as it ever does.
        sleep(2 * PAUSE_MAX).await;
        self.bring_back().await;
        let (mut first, mut before, mut most) = (None, 0, 0);
        let start = Instant::now();
        loop {
            let now = self.connected().await;
            if now > 0 {
                first.get_or_insert_with(Instant::now);
            }
            most = most.max(now.saturating_sub(before));
            before = now;
            if now == self.scale.nodes {
                break;
            }
            assert!(start.elapsed() < CONSISTENT_MAX, "only {now} agents came back");
            sleep(CLOSE_LOOK).await;
        }
        let spread = first.map_or(Duration::ZERO, |first| first.elapsed());
        Storm { spread, most_at_once: most }
    }

    /// Returns how much memory the scheduler and the largest agent hold, in kibibytes.
    pub fn resident_kib(&self) -> (u64, u64) {
        let agents = self.cluster.agent_pids().into_iter().map(resident_kib);
        (self.cluster.scheduler_resident_kib(), agents.max().unwrap_or_default())
    }
}

/// Cuts the wires of so many nodes, and mends them.
fn cutting(
    count: usize,
    wires: Wires,
) -> (impl AsyncFnOnce(&mut Fleet), impl AsyncFnOnce(&mut Fleet)) {
    (
        async move |fleet: &mut Fleet| fleet.cut(count, wires),
        async move |fleet: &mut Fleet| fleet.cut(count, Wires::WHOLE),
    )
}

/// Lets instances, which run under ids of their own, write to a file.
fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, mode).expect("our file");
}
