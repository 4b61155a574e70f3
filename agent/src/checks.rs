//! Checks: asks the instances whether they are healthy, each in a task of its own.
//!
//! It counts nothing and decides nothing. A check that hangs holds up no other: how many are asked at
//! once is bounded, and who did not answer in time last waits in a queue of its own from then on.

mod ask;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tengyun_model::{AssignedInstance, HealthCheck, HealthProbe, InstanceId, Name};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::act::Fact;
use crate::health::Answer;
use crate::jitter;
use crate::reconcile::{Life, Observed};
use crate::run::{RunKey, RunTarget, Runner};

/// How many checks are asked at once: sockets and short commands, far below the limit of open files.
const AT_ONCE: usize = 64;
/// How many are asked at once of those that did not answer in time last.
const SLOW_AT_ONCE: usize = 16;
/// The longest pause between two checks of an instance that is still starting: a replacement is
/// waited for.
const STARTING_PAUSE: Duration = Duration::from_secs(1);

/// The checks of all instances.
#[derive(Debug)]
pub(crate) struct Checks {
    runner: Runner,
    tell: mpsc::Sender<Fact>,
    lanes: Arc<Lanes>,
    running: BTreeMap<RunKey, AbortHandle>,
    tasks: JoinSet<()>,
}

/// Who may ask now.
#[derive(Debug)]
struct Lanes {
    quick: Semaphore,
    slow: Semaphore,
}

/// What is asked of one start.
#[derive(Clone, Debug)]
struct Plan {
    key: RunKey,
    check: HealthCheck,
    /// The port that is asked, where one is.
    port: Option<u16>,
    /// Until when it may be starting.
    starting_until: Instant,
}

impl Checks {
    /// Makes an empty set.
    pub(crate) fn new(runner: Runner, tell: mpsc::Sender<Fact>) -> Self {
        let lanes = Lanes { quick: Semaphore::new(AT_ONCE), slow: Semaphore::new(SLOW_AT_ONCE) };
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        Self { runner, tell, lanes: Arc::new(lanes), running, tasks }
    }

    /// Checks what runs and has a check, and nothing else.
    pub(crate) fn keep(&mut self, observed: &BTreeMap<InstanceId, Observed>) {
        while self.tasks.try_join_next().is_some() {}
        let runs = |known: &Observed| matches!(known.life, Life::Running { .. });
        let key = |known: &Observed| RunTarget::of(&known.assigned, known.incarnation).key;
        let wanted = observed.values().filter(|known| runs(known));
        let wanted = wanted.filter(|known| known.assigned.spec.health.is_some());
        let wanted: BTreeMap<RunKey, &Observed> = wanted.map(|known| (key(known), known)).collect();
        self.running.retain(|key, task| {
            let stays = wanted.contains_key(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, known) in wanted {
            if !self.running.contains_key(&key)
                && let Some(plan) = plan(key, &known.assigned)
            {
                let lanes = Arc::clone(&self.lanes);
                let task = run(plan, self.runner.clone(), lanes, self.tell.clone());
                self.running.insert(key, self.tasks.spawn(task));
            }
        }
    }

    /// Ends all checks.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn plan(key: RunKey, assigned: &AssignedInstance) -> Option<Plan> {
    let check = assigned.spec.health.clone()?;
    let number = |name: &Name| {
        assigned.spec.ports.iter().find(|port| port.name == *name).and_then(|port| port.number)
    };
    let port = match &check.probe {
        HealthProbe::Http { port, .. } | HealthProbe::Tcp { port } => number(port),
        HealthProbe::Command(_) => None,
    };
    let starting_until = Instant::now() + Duration::from_millis(assigned.spec.startup.get());
    Some(Plan { key, check, port, starting_until })
}

/// Asks again and again until the start is over, and tells each answer.
async fn run(plan: Plan, runner: Runner, lanes: Arc<Lanes>, tell: mpsc::Sender<Fact>) {
    let interval = Duration::from_millis(plan.check.interval.get());
    let (mut late, mut passed) = (false, false);
    loop {
        let lane = if late { &lanes.slow } else { &lanes.quick };
        // Who does not get to ask within its interval was not asked: that says nothing of it.
        if let Ok(Ok(turn)) = timeout(interval, lane.acquire()).await {
            let answer = ask::ask(&runner, plan.key, &plan.check, plan.port).await;
            drop(turn);
            late = answer == Answer::Late;
            passed |= answer == Answer::Passed;
            if tell.send(Fact::Checked(plan.key, answer)).await.is_err() {
                return;
            }
        }
        let starting = !passed && Instant::now() < plan.starting_until;
        let pause = if starting { interval.min(STARTING_PAUSE) } else { interval };
        tokio::time::sleep(jittered(pause)).await;
    }
}

/// Draws a pause between seven eighths and the whole, so that checks do not come all at once.
fn jittered(pause: Duration) -> Duration {
    jitter::shortened(pause, 125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_between_seven_eighths_and_the_whole() {
        let whole = Duration::from_secs(8);
        for _ in 0..1000 {
            let pause = jittered(whole);
            assert!(pause >= Duration::from_secs(7) && pause <= whole, "{pause:?}");
        }
    }
}
