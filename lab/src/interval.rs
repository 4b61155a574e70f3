//! How sure a measured share of node-time is. Steps that follow each other resemble each other, so hours
//! are drawn anew and not steps: the moving block bootstrap of Künsch (1989), in a circle, by percentiles.

use crate::generate::Random;
use crate::number::{length, percent, real};
use crate::score::StepScore;

/// Steps that are drawn together: an hour, after which a node's load says little of its next miss.
const BLOCK: usize = 12;
/// Times that the steps are drawn anew.
const DRAWS: usize = 2000;
/// Of 2,000 shares in order, those that leave 2.5 % on either side.
const LOW: usize = 50;
const HIGH: usize = 1949;
const SEED: u64 = 1989;

/// Returns the bounds, in percent, between which the share of node-time above 80 % lies in 95 of 100
/// drawings of these steps.
pub fn above80_pct(steps: &[StepScore]) -> (f64, f64) {
    if steps.is_empty() {
        return (0.0, 0.0);
    }
    let mut random = Random::new(SEED, 0);
    let mut shares: Vec<f64> = (0..DRAWS).map(|_| drawn(steps, &mut random)).collect();
    shares.sort_by(f64::total_cmp);
    (shares[LOW], shares[HIGH])
}

/// Draws as many steps as there are, an hour at a time, and returns their share.
fn drawn(steps: &[StepScore], random: &mut Random) -> f64 {
    let (mut above, mut nodes) = (0, 0);
    let mut left = steps.len();
    while left > 0 {
        let first = crate::number::floor_index(random.unit() * length(steps.len()));
        let block = left.min(BLOCK);
        for at in first..first + block {
            let step = &steps[at % steps.len()];
            above += step.above80;
            nodes += step.nodes;
        }
        left -= block;
    }
    percent(real(above), real(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(count: usize, above: impl Fn(usize) -> bool) -> Vec<StepScore> {
        let step =
            |at| StepScore { nodes: 10, above80: u64::from(above(at)), ..StepScore::default() };
        (0..count).map(step).collect()
    }

    #[test]
    fn what_never_differs_is_sure() {
        assert_eq!(above80_pct(&steps(288, |_| true)), (10.0, 10.0));
        assert_eq!(above80_pct(&steps(288, |_| false)), (0.0, 0.0));
        assert_eq!(above80_pct(&[]), (0.0, 0.0));
    }

    #[test]
    fn misses_that_come_together_are_less_sure_than_as_many_apart() {
        let apart = above80_pct(&steps(2880, |at| at % 10 == 0));
        let together = above80_pct(&steps(2880, |at| at / 12 % 10 == 0));
        for (low, high) in [apart, together] {
            assert!(low <= 1.0 && 1.0 <= high, "{low} to {high}");
        }
        assert!(together.1 - together.0 > 3.0 * (apart.1 - apart.0), "{together:?}, {apart:?}");
    }

    #[test]
    fn independent_misses_are_as_sure_as_the_binomial_law_says() {
        // 1 % of 28,800 node-steps: a deviation of 0.0586 %, twice 1.96 of which is 0.23 %.
        let mut random = Random::new(7, 7);
        let scores: Vec<StepScore> = (0..2880)
            .map(|_| {
                let above80 = (0..10).map(|_| u64::from(random.unit() < 0.01)).sum();
                StepScore { nodes: 10, above80, ..StepScore::default() }
            })
            .collect();
        let (low, high) = above80_pct(&scores);
        assert!((0.18..0.28).contains(&(high - low)), "{low} to {high}");
    }
}
