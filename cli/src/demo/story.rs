//! The story: what happens in which order on a running cloud, and what is measured meanwhile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tengyun_model::{Millicores, WorkloadSpec};
use tengyun_proto::v1;

use crate::demo::cast::{self, SERVICE, SOCKET};
use crate::demo::client;
use crate::demo::histogram::Latencies;
use crate::demo::kernel::{Kernel, Reading};
use crate::demo::load::Load;
use crate::demo::score::Measured;
use crate::failure::Failure;
use crate::get::list_nodes;
use crate::message::Message;
use crate::output::note;
use crate::session::{Session, operation_id, path};
use crate::text::Language;

/// The nodes, and what each may use.
pub(crate) const NODES: u32 = 4;
pub(crate) const NODE_CPU: Millicores = Millicores::new(500);
/// Requests a second to the critical service.
const RATE: u32 = 200;
/// How long the four separate servers are measured, after their start has settled.
const SETTLE: Duration = Duration::from_secs(14);
const BEFORE: Duration = Duration::from_secs(15);
/// Segments in which the service is alone, and those between them in which it is not.
const SEGMENTS: u64 = 4;
const ALONE: Duration = Duration::from_millis(13_500);
const TOGETHER: Duration = Duration::from_secs(8);
/// How long requests go uncounted after a switch from one to the other.
const SWITCH: Duration = Duration::from_secs(2);
/// How long agents remember the burst with which all go on after they were held still: for so long
/// harvest has less, so the last minute begins after it.
const REMEMBERED: Duration = Duration::from_secs(12);
/// The last minute, and how often the counters are read in it.
const LAST: Duration = Duration::from_mins(1);
const WINDOW: Duration = Duration::from_secs(5);
/// How long anything may take to happen, and how long nothing may happen before all is at rest.
const PATIENCE: Duration = Duration::from_mins(1);
const REST: Duration = Duration::from_secs(6);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The cloud on which the story is played.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) session: &'a Session,
    pub(crate) kernel: Kernel,
    /// This program, where instances may run it.
    pub(crate) program: PathBuf,
    /// What the departments use.
    pub(crate) load: Load,
    /// The cores of the machine.
    pub(crate) cores: f64,
}

impl Stage<'_> {
    /// Plays the whole story and returns what was measured.
    pub(crate) async fn play(&self) -> Result<Measured, Failure> {
        self.say(
            "four nodes, one department's application on each, and a critical service",
            "四个节点，每个节点运行一个部门的应用，另有一个关键服务",
        );
        note(&format!(
            "{} {}",
            self.session.language.pick("the departments replay", "各部门重放"),
            self.load.source
        ));
        self.set_policy(&cast::KNOBS, true).await?;
        for spec in cast::city(&self.program, &self.load) {
            self.apply(&spec).await?;
        }
        self.until_healthy(5).await?;
        self.requests(SETTLE, 0).await?;
        let (before, nodes_before) = self.measure_before().await?;
        let moves = self.consolidate().await?;
        self.fill().await?;
        let mut latencies = [Latencies::default(), Latencies::default()];
        let mut stretches = vec![before.clone()];
        self.interleave(&mut latencies, &mut stretches).await?;
        let (after, in_use) = self.last_minute(&mut latencies[1]).await?;
        if let (Some(first), Some(last)) = (after.first(), after.last()) {
            stretches.push([first.clone(), last.clone()]);
        }
        let [alone, together] = latencies;
        Ok(Measured {
            node_cores: f64::from(u32::try_from(NODE_CPU.get()).unwrap_or(u32::MAX)) / 1000.0,
            machine_cores: self.cores,
            before,
            nodes_before,
            after,
            in_use,
            stretches,
            alone,
            together,
            moves,
        })
    }

    async fn measure_before(&self) -> Result<([Reading; 2], usize), Failure> {
        self.say("measuring the four separate servers", "测量四台独立的服务器");
        let begin = self.read()?;
        self.requests(BEFORE, 1).await?;
        let nodes = self.in_use().await?.into_iter().filter(|used| *used).count();
        Ok(([begin, self.read()?], nodes))
    }

    /// Lets the policy empty nodes until nothing moves any more; returns the moves.
    async fn consolidate(&self) -> Result<u64, Failure> {
        self.say("the policy now packs by what was measured", "策略现在按实测用量进行整合");
        self.set_policy(&[cast::CONSOLIDATE], false).await?;
        let (start, mut changed, mut moves) = (Instant::now(), Instant::now(), 0);
        while changed.elapsed() < REST {
            let now = self.status().await?.moves_total;
            if now != moves {
                (changed, moves) = (Instant::now(), now);
            }
            if start.elapsed() > PATIENCE {
                return Err(late(&Message::Consolidated {}.said()));
            }
            self.requests(Duration::from_secs(1), 2).await?;
        }
        Ok(moves)
    }

    /// Starts harvest work and waits until it has grown.
    async fn fill(&self) -> Result<(), Failure> {
        self.say("harvest work fills the band", "填谷任务填满目标区间");
        let harvest = cast::harvest(&self.program);
        self.apply(&harvest).await?;
        self.until_healthy(5 + usize::try_from(harvest.instances).unwrap_or(0)).await?;
        self.requests(Duration::from_secs(8), 3).await?;
        Ok(())
    }

    /// Times the service alone and not alone in turns, so that both meet the same machine.
    async fn interleave(
        &self,
        latencies: &mut [Latencies; 2],
        stretches: &mut Vec<[Reading; 2]>,
    ) -> Result<(), Failure> {
        self.say(
            "timing the critical service alone and among the others, in turns",
            "轮流测量关键服务独占时与共享时的延迟",
        );
        let [alone, together] = latencies;
        for segment in 0..SEGMENTS {
            let held = self.hold_others().await?;
            let timed = self.timed(ALONE, 10 + segment).await;
            drop(held);
            let (found, stretch) = timed?;
            alone.merge(found);
            stretches.push(stretch);
            if segment + 1 < SEGMENTS {
                let (found, stretch) = self.timed(TOGETHER, 20 + segment).await?;
                together.merge(found);
                stretches.push(stretch);
            }
        }
        self.requests(REMEMBERED, 4).await?;
        Ok(())
    }

    /// Times requests after the switch has settled.
    async fn timed(
        &self,
        duration: Duration,
        seed: u64,
    ) -> Result<(Latencies, [Reading; 2]), Failure> {
        self.requests(SWITCH, seed).await?;
        let begin = self.read()?;
        let found = self.requests(duration, seed + 100).await?;
        Ok((found, [begin, self.read()?]))
    }

    async fn last_minute(
        &self,
        latencies: &mut Latencies,
    ) -> Result<(Vec<Reading>, Vec<bool>), Failure> {
        self.say("measuring the last minute", "测量最后一分钟");
        let mut readings = vec![self.read()?];
        let mut in_use = self.in_use().await?;
        let windows = LAST.as_secs() / WINDOW.as_secs();
        let load = async {
            for seed in 0..windows {
                latencies.merge(self.requests(WINDOW, 30 + seed).await?);
                readings.push(self.read()?);
                let now = self.in_use().await?;
                in_use.iter_mut().zip(now).for_each(|(ever, now)| *ever |= now);
            }
            Ok::<(), Failure>(())
        };
        load.await?;
        Ok((readings, in_use))
    }

    /// Sends requests for so long; returns their latencies.
    async fn requests(&self, duration: Duration, seed: u64) -> Result<Latencies, Failure> {
        let pid = self.service().await?;
        let socket = PathBuf::from(format!("/proc/{pid}/cwd/{SOCKET}"));
        let run = move || client::run(&socket, RATE, duration, seed);
        let ran = tokio::task::spawn_blocking(run).await.map_err(|e| Failure::internal(&e))?;
        ran.map_err(|error| Failure::Internal(Message::ServiceFailed { error: &error }.said()))
    }

    async fn service(&self) -> Result<u32, Failure> {
        let views = self.session.instances(None).await?.instances;
        let service = views.iter().find(|v| path(v.key.clone().unwrap_or_default()) == SERVICE);
        let pid = service.and_then(|v| v.status.as_ref()).and_then(|s| s.pid);
        pid.ok_or_else(|| Failure::Internal(Message::ServiceNotRunning {}.said()))
    }

    /// Holds everything but the service still until the answer is dropped.
    async fn hold_others(&self) -> Result<Held, Failure> {
        let service = self.service().await?;
        let views = self.session.instances(None).await?.instances;
        let pids = views.iter().filter_map(|v| v.status.as_ref()?.pid).filter(|p| *p != service);
        let groups: Vec<Pid> =
            pids.filter_map(|p| i32::try_from(p).ok()).map(Pid::from_raw).collect();
        let held = Held(groups);
        held.send(Signal::SIGSTOP);
        Ok(held)
    }

    /// Says of each node whether anything is on it.
    async fn in_use(&self) -> Result<Vec<bool>, Failure> {
        let mut nodes = list_nodes(self.session).await?.nodes;
        nodes.sort_by_key(|n| n.facts.as_ref().map(|f| f.name.clone()));
        Ok(nodes.iter().map(|n| n.instances > 0).collect())
    }

    /// Waits until so many instances are healthy and all wanted ones are.
    async fn until_healthy(&self, count: usize) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            let views = self.session.instances(None).await?.instances;
            let healthy = |v: &&v1::InstanceView| {
                v.status.as_ref().is_some_and(|s| s.phase() == v1::Phase::Healthy)
            };
            if views.iter().filter(healthy).count() == count {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let line = |v: &v1::InstanceView| {
                    let status = v.status.clone().unwrap_or_default();
                    let key = path(v.key.clone().unwrap_or_default());
                    format!("\n  {key}: {:?} {}", status.phase(), status.message)
                };
                let lines: String = views.iter().map(line).collect();
                return Err(late(
                    &Message::HealthyInstances { count: &count, lines: &lines }.said(),
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn status(&self) -> Result<v1::StatusResponse, Failure> {
        self.session.call(|mut o| async move { o.status(v1::StatusRequest {}).await }).await
    }

    async fn apply(&self, spec: &WorkloadSpec) -> Result<(), Failure> {
        let item = v1::ApplyItem { operation_id: operation_id()?, spec: Some(spec.into()) };
        let request = v1::ApplyRequest { items: vec![item], dry_run: false };
        let call = self.session.call(|mut o| {
            let request = request.clone();
            async move { o.apply(request).await }
        });
        let refusal = call.await?.results.into_iter().find_map(|r| r.refusal);
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    async fn set_policy(&self, knobs: &[(&str, u64)], replace: bool) -> Result<(), Failure> {
        let value =
            |(name, value): &(&str, u64)| v1::KnobValue { name: (*name).to_owned(), value: *value };
        let request = v1::SetPolicyRequest {
            operation_id: operation_id()?,
            values: knobs.iter().map(value).collect(),
            replace,
            label: "demo".to_owned(),
            rollback_to: None,
        };
        let call = self.session.call(|mut o| {
            let request = request.clone();
            async move { o.set_policy(request).await }
        });
        call.await?.refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    fn read(&self) -> Result<Reading, Failure> {
        self.kernel.read().map_err(Failure::Internal)
    }

    fn say(&self, english: &'static str, chinese: &'static str) {
        let language: Language = self.session.language;
        note(language.pick(english, chinese));
    }
}

fn late(what: &str) -> Failure {
    Failure::Internal(Message::GaveUp { what: &what }.said())
}

/// Process groups that are held still; dropped, they go on.
struct Held(Vec<Pid>);

impl Held {
    fn send(&self, signal: Signal) {
        for group in &self.0 {
            // One that ended meanwhile needs no signal.
            killpg(*group, signal).ok();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.send(Signal::SIGCONT);
    }
}
