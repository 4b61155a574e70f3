//! The bench: a fixed piece of work on the threads of one core, and whether anybody else ran there.
//!
//! The work is integer arithmetic that depends on what comes before, with reads and writes all over a
//! table that fits the second cache beside its like: what a server does between waits, neither the best
//! case of SMT (all stalls) nor its worst (all in one unit).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use tengyun_model::Permille;

use super::gain::{Bench, Fault, gain};

/// How long one run takes.
const RUN: Duration = Duration::from_millis(50);
/// How long is looked whether a core is idle.
const LOOK: Duration = Duration::from_millis(200);
/// The busy clock ticks (of 10 ms) that a core may have in that time on all its threads: a tenth of one.
const LOOK_TICKS_MAX: u64 = 2;
/// The busy ticks that a thread which does nothing may have in a run: one that began before.
const RUN_TICKS_MAX: u64 = 1;
/// A run that had less than this part of a thread's time was disturbed.
const OWN_TIME: (u128, u128) = (95, 100);
/// The most cores that are looked at for an idle one.
const CORES_MAX: usize = 64;
/// The numbers in the table of one thread: 128 KiB.
const TABLE: usize = 1 << 14;
/// Steps between two looks at the clock: some microseconds.
const BATCH: u64 = 1024;
/// What a thread of the bench needs beside its table.
const STACK_BYTES: usize = 64 * 1024;

/// The cores that have several threads.
#[derive(Clone, Debug)]
pub(super) struct Cores {
    /// The threads of each.
    all: Vec<Vec<u32>>,
    stat: PathBuf,
    leaving: Arc<AtomicBool>,
}

impl Cores {
    pub(super) fn new(cores: Vec<Vec<u32>>, proc_root: &Path, leaving: &Arc<AtomicBool>) -> Self {
        Self { all: cores, stat: proc_root.join("stat"), leaving: Arc::clone(leaving) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Measures the gain on the idlest of the cores that we may run on.
    pub(super) fn measure(&self) -> Result<Permille, Fault> {
        let allowed = sched_getaffinity(Pid::from_raw(0));
        let allowed =
            allowed.map_err(|e| Fault::Impossible(format!("which CPUs are ours: {e}")))?;
        let ours = |cpu: &u32| is_set(&allowed, *cpu);
        let cores = self.all.iter().filter(|core| core.iter().all(ours)).take(CORES_MAX);
        let cores: Vec<&Vec<u32>> = cores.collect();
        if cores.is_empty() {
            return Err(Fault::Impossible("no core is ours with all its threads".to_owned()));
        }
        let before = self.busy()?;
        thread::sleep(LOOK);
        let after = self.busy()?;
        let busy = |core: &&&Vec<u32>| {
            core.iter().map(|cpu| ticks(&before, &after, *cpu)).fold(0, u64::saturating_add)
        };
        let idlest = cores.iter().min_by_key(busy).expect("there are some");
        if busy(&idlest) > LOOK_TICKS_MAX {
            return Err(Fault::Busy);
        }
        gain(&mut Core { cpus: idlest, of: self }, idlest.len())
    }

    fn busy(&self) -> Result<BTreeMap<u32, u64>, Fault> {
        let text = std::fs::read_to_string(&self.stat);
        text.map(|text| busy_ticks(&text))
            .map_err(|e| Fault::Impossible(format!("{}: {e}", self.stat.display())))
    }
}

fn is_set(allowed: &CpuSet, cpu: u32) -> bool {
    usize::try_from(cpu).is_ok_and(|cpu| allowed.is_set(cpu).unwrap_or(false))
}

/// Parses the busy ticks of each CPU out of `/proc/stat`. What a hypervisor stole counts: it was used.
fn busy_ticks(text: &str) -> BTreeMap<u32, u64> {
    let line = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let cpu: u32 = words.next().filter(|_| !line.starts_with("cpu "))?.parse().ok()?;
        let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).take(8).collect();
        // User, nice, system, idle, waiting for IO, interrupts, soft interrupts, stolen.
        let (idle, wait) = (ticks.get(3)?, ticks.get(4).copied().unwrap_or(0));
        let all = ticks.iter().copied().fold(0, u64::saturating_add);
        Some((cpu, all.saturating_sub(*idle).saturating_sub(wait)))
    };
    text.lines().filter_map(line).collect()
}

/// Returns how many ticks a CPU was busy; one that is not listed is as busy as can be.
fn ticks(before: &BTreeMap<u32, u64>, after: &BTreeMap<u32, u64>, cpu: u32) -> u64 {
    let both = before.get(&cpu).zip(after.get(&cpu));
    both.map_or(u64::MAX, |(before, after)| after.saturating_sub(*before))
}

/// One core.
struct Core<'a> {
    cpus: &'a [u32],
    of: &'a Cores,
}

impl Bench for Core<'_> {
    fn run(&mut self, threads: usize) -> Result<u64, Fault> {
        if self.of.leaving.load(Ordering::Relaxed) {
            return Err(Fault::Impossible("the agent ends".to_owned()));
        }
        let (work, rest) = self.cpus.split_at(threads.min(self.cpus.len()));
        let before = self.of.busy()?;
        let done = together(work)?;
        let after = self.of.busy()?;
        let idle = rest.iter().all(|cpu| ticks(&before, &after, *cpu) <= RUN_TICKS_MAX);
        if idle { Ok(done) } else { Err(Fault::Busy) }
    }
}

/// Works on all these threads at the same time and adds up what they did in a second.
fn together(cpus: &[u32]) -> Result<u64, Fault> {
    thread::scope(|scope| {
        let mut started = Vec::new();
        for cpu in cpus.iter().copied() {
            let (begin, begins) = sync_channel(1);
            let thread = Builder::new().name("smt".to_owned()).stack_size(STACK_BYTES);
            let spawned = thread.spawn_scoped(scope, move || alone(cpu, &begins));
            // Without a thread nobody is told to begin, and those that wait for it end.
            started.push((spawned.map_err(|_| Fault::Busy)?, begin));
        }
        for (_, begin) in &started {
            begin.send(()).map_err(|_| Fault::Busy)?;
        }
        let mut done = started.into_iter().map(|(thread, _)| ended(thread));
        done.try_fold(0_u64, |sum, done| Ok(sum.saturating_add(done?)))
    })
}

fn ended(thread: ScopedJoinHandle<'_, Result<u64, Fault>>) -> Result<u64, Fault> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Works on one thread for the time of a run.
fn alone(cpu: u32, begins: &Receiver<()>) -> Result<u64, Fault> {
    let pinned = pin(cpu);
    let mut work = Work::new(cpu);
    begins.recv().map_err(|_| Fault::Busy)?;
    pinned?;
    let (began, used) = (Instant::now(), own_time()?);
    let mut steps = 0_u64;
    while began.elapsed() < RUN {
        work.go_on();
        steps = steps.saturating_add(BATCH);
    }
    let took = began.elapsed().as_nanos();
    let used = own_time()?.saturating_sub(used).as_nanos();
    std::hint::black_box(&work);
    let (part, whole) = OWN_TIME;
    if used * whole < took * part {
        return Err(Fault::Busy);
    }
    let rate = u128::from(steps) * 1_000_000_000 / took.max(1);
    Ok(u64::try_from(rate).unwrap_or(u64::MAX))
}

fn pin(cpu: u32) -> Result<(), Fault> {
    let mut only = CpuSet::new();
    let at = usize::try_from(cpu).unwrap_or(usize::MAX);
    // The calling thread is the one that is meant.
    only.set(at)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &only))
        .map_err(|e| Fault::Impossible(format!("cannot run on CPU {cpu} alone: {e}")))
}

/// Returns the CPU time of the calling thread.
fn own_time() -> Result<Duration, Fault> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .map_err(|e| Fault::Impossible(format!("cannot read the time of a thread: {e}")))
}

/// The work of one thread.
struct Work {
    table: Vec<u64>,
    random: u64,
    sum: u64,
}

impl Work {
    fn new(seed: u32) -> Self {
        let random = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { table: vec![random; TABLE], random, sum: 0 }
    }

    fn go_on(&mut self) {
        let mask = u64::try_from(TABLE - 1).expect("the table is small");
        for _ in 0..BATCH {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let at = usize::try_from(self.random & mask).expect("the table is small");
            let found = self.table[at];
            self.sum = self.sum.wrapping_mul(0x0100_0000_01b3).rotate_left(23) ^ found;
            self.table[at] = self.sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cores(cores: &[&[u32]], stat: &str) -> (tempfile::TempDir, Cores) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stat"), stat).unwrap();
        let cores = cores.iter().map(|core| core.to_vec()).collect();
        let found = Cores::new(cores, dir.path(), &Arc::default());
        (dir, found)
    }

    /// A CPU that we may run on.
    fn own() -> u32 {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
        (0..4096).find(|cpu| is_set(&allowed, *cpu)).unwrap()
    }

    #[test]
    fn busy_is_all_but_idle_and_waiting_and_stolen_time_is_busy() {
        let text = "cpu  9 9 9 9 9 9 9 9\ncpu0 1 2 3 100 50 4 5 6 7 8\ncpu12 1 0 0 5\nintr 7\n";
        let busy = busy_ticks(text);
        assert_eq!(busy, BTreeMap::from([(0, 21), (12, 1)]));
        assert_eq!(ticks(&busy, &busy_ticks("cpu0 1 2 9 100 50 4 5 6\n"), 0), 6);
        assert_eq!(ticks(&busy, &busy, 7), u64::MAX, "one that is not listed is not idle");
    }

    #[test]
    fn a_machine_that_lists_no_cpus_or_a_core_that_is_not_ours_is_not_measured() {
        let (_dir, nothing) = cores(&[&[own(), own()]], "nonsense\ncpu0\ncpu1 x\n");
        assert_eq!(nothing.measure(), Err(Fault::Busy));
        let (dir, gone) = cores(&[&[own()]], "");
        std::fs::remove_file(dir.path().join("stat")).unwrap();
        assert!(matches!(gone.measure(), Err(Fault::Impossible(_))));
        let (_dir, absurd) = cores(&[&[own(), 4_000_000_000]], "");
        assert!(matches!(absurd.measure(), Err(Fault::Impossible(_))));
    }

    #[test]
    fn two_threads_of_one_cpu_are_found_out_as_disturbed() {
        // Each has half of the time; a sibling of its own would give each all of it.
        assert_eq!(together(&[own(), own()]), Err(Fault::Busy));
    }

    #[test]
    fn an_agent_that_ends_measures_no_more() {
        let stat = format!("cpu{} 0 0 0 9\n", own());
        let (_dir, cores) = cores(&[&[own(), own()]], &stat);
        cores.leaving.store(true, Ordering::Relaxed);
        assert!(matches!(cores.measure(), Err(Fault::Impossible(_))));
    }

    #[test]
    fn a_thread_does_work_and_knows_how_much() {
        // On a busy machine the run is disturbed, which is an answer too.
        match together(&[own()]) {
            Ok(steps) => assert!(steps > 10_000, "{steps} a second"),
            Err(fault) => assert_eq!(fault, Fault::Busy),
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>(), numbers in any::<[u64; 9]>()) {
            busy_ticks(&text);
            let words = numbers.map(|n| n.to_string()).join(" ");
            busy_ticks(&format!("cpu{words}\ncpu1 {words}\ncpu{text}"));
        }
    }
}
