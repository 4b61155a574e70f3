//! SMT: how much more a core does with all its threads than with one.
//!
//! It is measured on this machine, once, while a core is idle enough, and remembered in the state
//! directory together with what the machine is made of. Until then nothing is added: a thread that was
//! never tried is promised to nobody.

mod bench;
mod cache;
mod gain;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tengyun_model::{Inventory, Permille, Smt, SmtSource};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::capacity::Bounds;
use crate::config::Config;
use crate::jitter::shortened;
use bench::Cores;
use gain::Fault;

/// What is taken until it was measured: cores alone count, as they did before there was a measurement. Intel
/// found "up to 30 %" for servers' programs (Marr et al., Intel Technology Journal 6, 2002), others find
/// less than nothing for theirs: whatever number stood here would promise some cloud what it has not.
const ASSUMED: Permille = Permille::ZERO;
/// When an agent that starts measures first: what it adopts and starts has settled then.
const FIRST: Duration = Duration::from_secs(3);
/// The pause after a core was too busy, doubled each time.
const PAUSE: Duration = Duration::from_mins(1);
/// Pauses are shortened by up to an eighth, so that the servers of a rack do not try together.
const JITTER_MAX: u32 = 125;
/// The longest pause: a server that is busy by day is tried at night.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// Says what is known of the SMT of a machine: the operator's word before what was measured earlier and is
/// remembered in the agent's state directory.
pub fn known(said: Option<Permille>, state_dir: &Path, machine: &Inventory) -> Smt {
    let found = machine.smt;
    if found.cores == 0 {
        return found;
    }
    let (gain, source) = match (said, cache::load(state_dir, machine)) {
        (Some(said), _) => (said.min(Permille::WHOLE), SmtSource::Said),
        (None, Some(measured)) => (measured, SmtSource::Measured),
        (None, None) => (ASSUMED, SmtSource::Assumed),
    };
    Smt { gain, source, ..found }
}

/// Returns the cores of which the gain is to be measured: none where it is known, or where something else
/// says what the node may promise.
pub(crate) fn unmeasured(machine: &Inventory, bounds: Bounds, sys_root: &Path) -> Vec<Vec<u32>> {
    if bounds.cpu.is_some() || machine.smt.source != SmtSource::Assumed {
        return Vec::new();
    }
    let cores = crate::observe::siblings(sys_root);
    if cores.is_empty() {
        tracing::info!(
            "what SMT adds cannot be measured: nothing tells which threads share a core"
        );
    }
    cores
}

/// Measures the gain beside everything else.
#[derive(Debug)]
pub(crate) struct Gauge {
    found: mpsc::Receiver<Permille>,
    leaving: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Gauge {
    /// Begins to measure these cores, where there are any.
    pub(crate) fn start(cores: Vec<Vec<u32>>, config: &Config, machine: &Inventory) -> Self {
        let (tell, found) = mpsc::channel(1);
        let leaving = Arc::new(AtomicBool::new(false));
        let trial = Trial {
            cores: Cores::new(cores, &config.proc_root, &leaving),
            state_dir: config.state_dir.clone(),
            machine: machine.clone(),
        };
        let task = (!trial.cores.is_empty()).then(|| tokio::spawn(trial.run(tell)));
        Self { found, leaving, task }
    }

    /// Waits for the gain; nothing comes where it is not measured.
    pub(crate) async fn found(&mut self) -> Option<Permille> {
        self.found.recv().await
    }

    /// Ends the measuring and waits for it.
    pub(crate) async fn stop(self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(task) = self.task {
            task.abort();
            // It was told to end; that it says so is no news.
            drop(task.await);
        }
    }
}

/// What measures, again and again until it is done.
struct Trial {
    cores: Cores,
    state_dir: PathBuf,
    machine: Inventory,
}

impl Trial {
    async fn run(self, tell: mpsc::Sender<Permille>) {
        tokio::time::sleep(FIRST).await;
        let mut pause = PAUSE;
        loop {
            let cores = self.cores.clone();
            let measured = tokio::task::spawn_blocking(move || cores.measure()).await;
            match measured {
                Ok(Ok(gain)) => return self.tell(gain, &tell).await,
                Ok(Err(Fault::Busy)) => {
                    tracing::info!(
                        "no core was idle enough to measure what SMT adds; trying later"
                    );
                }
                Ok(Err(Fault::Impossible(why))) => {
                    tracing::warn!(
                        why,
                        "what SMT adds cannot be measured: cores alone are counted"
                    );
                    return;
                }
                // The runtime ends.
                Err(_) => return,
            }
            tokio::time::sleep(shortened(pause, JITTER_MAX)).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn tell(&self, gain: Permille, tell: &mpsc::Sender<Permille>) {
        if let Err(error) = cache::save(&self.state_dir, &self.machine, gain) {
            tracing::warn!(%error, "cannot remember what SMT adds: it is measured again at the next start");
        }
        if tell.send(gain).await.is_err() {
            tracing::debug!("the agent ends and asks no more");
        }
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::Millicores;

    use super::*;

    fn machine(cores: u32) -> Inventory {
        let source = if cores == 0 { SmtSource::Single } else { SmtSource::Assumed };
        let smt = Smt { cores, gain: Permille::ZERO, source };
        Inventory {
            cpu_model: "Some CPU".to_owned(),
            cores: 4,
            threads: 8,
            smt,
            ..Inventory::default()
        }
    }

    #[test]
    fn the_operators_word_goes_before_what_was_measured_before_what_is_assumed() {
        let dir = tempfile::tempdir().unwrap();
        let known = |said: Option<u32>, cores| {
            let smt = known(said.map(Permille::new), dir.path(), &machine(cores));
            (smt.gain.get(), smt.source)
        };
        assert_eq!(known(None, 4), (0, SmtSource::Assumed));
        cache::save(dir.path(), &machine(4), Permille::new(230)).unwrap();
        assert_eq!(known(None, 4), (230, SmtSource::Measured));
        assert_eq!(known(Some(100), 4), (100, SmtSource::Said));
        assert_eq!(known(Some(9999), 4), (1000, SmtSource::Said));
        assert_eq!(known(Some(100), 0), (0, SmtSource::Single), "no core has a second thread");
        assert_eq!(known(None, 3), (0, SmtSource::Assumed), "another machine");
    }

    #[test]
    fn what_is_known_or_bounded_is_not_measured() {
        let dir = tempfile::tempdir().unwrap();
        for cpu in 0..2 {
            let topology = dir.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            std::fs::create_dir_all(&topology).unwrap();
            std::fs::write(topology.join("thread_siblings_list"), "0-1\n").unwrap();
        }
        let all = |machine: &Inventory, bounds| unmeasured(machine, bounds, dir.path());
        assert_eq!(all(&machine(1), Bounds::default()), [[0, 1]]);
        let bound = Bounds { cpu: Some(Millicores::new(500)), memory: None };
        assert!(all(&machine(1), bound).is_empty());
        assert!(all(&machine(0), Bounds::default()).is_empty());
        let mut measured = machine(1);
        measured.smt.source = SmtSource::Measured;
        assert!(all(&measured, Bounds::default()).is_empty());
    }
}
