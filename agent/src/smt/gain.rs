//! The gain out of runs on one core: medians of several, of one thread and of all in turn. Pure.

use tengyun_model::Permille;

/// How often each is run. Medians of five bear two bad ones.
const REPEATS: usize = 5;
/// How many runs may be disturbed before the core is too busy.
const DISTURBED_MAX: usize = 5;

/// Tells why a run counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Something else ran there: it is tried again.
    Busy,
    /// It cannot be done on this machine.
    Impossible(String),
}

/// Runs the same work on so many threads of one core and says how much was done, in steps a second.
pub(super) trait Bench {
    /// Runs it once.
    fn run(&mut self, threads: usize) -> Result<u64, Fault>;
}

/// Measures how much more all threads do than one: between nothing and as much again.
pub(super) fn gain(bench: &mut impl Bench, threads: usize) -> Result<Permille, Fault> {
    let mut left = DISTURBED_MAX;
    // The first run wakes the core up; what it does is not counted.
    undisturbed(bench, threads, &mut left)?;
    let (mut one, mut all) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        one.push(undisturbed(bench, 1, &mut left)?);
        all.push(undisturbed(bench, threads, &mut left)?);
    }
    let (one, all) = (median(one), median(all));
    let share = u128::from(all) * 1000;
    let Some(share) = share.checked_div(u128::from(one)) else {
        return Err(Fault::Impossible("nothing was done".to_owned()));
    };
    let whole = u128::from(Permille::WHOLE.get());
    let more = u32::try_from(share.saturating_sub(1000).min(whole));
    Ok(Permille::new(more.expect("it is no more than the whole")))
}

fn undisturbed(bench: &mut impl Bench, threads: usize, left: &mut usize) -> Result<u64, Fault> {
    loop {
        match bench.run(threads) {
            Err(Fault::Busy) if *left > 0 => *left -= 1,
            done => return done,
        }
    }
}

fn median(mut runs: Vec<u64>) -> u64 {
    runs.sort_unstable();
    runs.get(runs.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Does so much with one thread and with all; each run that is named fails.
    struct Script {
        one: Vec<u64>,
        all: u64,
        run: usize,
        busy: Vec<usize>,
    }

    impl Bench for Script {
        fn run(&mut self, threads: usize) -> Result<u64, Fault> {
            self.run += 1;
            if self.busy.contains(&self.run) {
                return Err(Fault::Busy);
            }
            if threads > 1 { Ok(self.all) } else { Ok(self.one[self.run % self.one.len()]) }
        }
    }

    fn measured(one: &[u64], all: u64, busy: &[usize]) -> Result<u32, Fault> {
        let mut script = Script { one: one.to_vec(), all, run: 0, busy: busy.to_vec() };
        gain(&mut script, 2).map(Permille::get)
    }

    #[test]
    fn the_gain_is_what_all_threads_do_more_than_one() {
        assert_eq!(measured(&[1000], 1254, &[]), Ok(254));
        assert_eq!(measured(&[1000], 900, &[]), Ok(0), "threads in each other's way add nothing");
        assert_eq!(measured(&[1000], 2600, &[]), Ok(1000), "no thread is more than a core");
        assert_eq!(measured(&[u64::MAX], u64::MAX, &[]), Ok(0));
        assert!(matches!(measured(&[0], 5, &[]), Err(Fault::Impossible(_))));
    }

    #[test]
    fn a_bad_run_is_outvoted_and_a_disturbed_one_is_made_again() {
        assert_eq!(measured(&[1000, 1000, 1000, 1000, 10], 1250, &[]), Ok(250));
        assert_eq!(measured(&[1000], 1250, &[1, 4, 9]), Ok(250));
        let always: Vec<usize> = (1..100).collect();
        assert_eq!(measured(&[1000], 1250, &always), Err(Fault::Busy));
        assert_eq!(measured(&[1000], 1250, &[1, 2, 3, 4, 5, 6]), Err(Fault::Busy));
    }

    proptest! {
        #[test]
        fn a_gain_is_a_share_whatever_was_done(one in any::<[u64; 5]>(), all in any::<u64>()) {
            if let Ok(gain) = measured(&one, all, &[]) {
                prop_assert!(gain <= 1000);
            }
        }
    }
}
