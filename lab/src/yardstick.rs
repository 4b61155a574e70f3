//! Yardsticks: the policies of the peers and clairvoyant ones, written as the reference simulator
//! `sim.py` writes them, so that a claim of ours stands beside what others would have done.
//!
//! They decide by floats and by hindsight and must never be used outside the laboratory.

mod fit;
mod oracle;
mod sticky;

pub use fit::{Fixed, first_fit};
pub use oracle::Oracle;
pub use sticky::{Predictor, Sticky};

use crate::fleet::{Fleet, HOUR_STEPS};
use crate::rules::Honest;
use crate::score::Planner;

/// A peer's policy, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Yardstick {
    /// First fit decreasing by request, each node promised this many times over.
    FirstFit {
        /// Overcommitment, 1 for none.
        factor: f64,
    },
    /// Sticky consolidation by a predicted peak.
    Sticky {
        /// How peaks are predicted.
        predictor: Predictor,
        /// Steps between two decisions.
        every: usize,
        /// Steps looked back at; `None` for as long as the warm-up.
        window: Option<usize>,
        /// The share of a node that a predicted peak may fill.
        target: f64,
    },
    /// Packs from scratch, knowing the future.
    Oracle {
        /// Steps known and packed for.
        horizon: usize,
        /// The share of a node that the true peak may fill.
        target: f64,
    },
}

impl Yardstick {
    /// Parses `ffd-N`, `nsigma-N`, `rc-P`, `max`, `borg`, `oracle-24h`, `oracle-1h`; `@PCT` behind an
    /// oracle or a predictor sets the share of a node that may be filled (`oracle-1h@90`), and
    /// `short-nsigma-N` looks back one hour and decides every 5 minutes.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, target) = match text.split_once('@') {
            Some((name, pct)) => (name, Some(number(pct, 1.0, 200.0)? / 100.0)),
            None => (text, None),
        };
        if let Some(span) = name.strip_prefix("oracle-") {
            let horizon = match span {
                "24h" => 24 * HOUR_STEPS,
                "1h" => HOUR_STEPS,
                "15min" => 3,
                _ => return None,
            };
            return Some(Self::Oracle { horizon, target: target.unwrap_or(0.8) });
        }
        if let Some(factor) = name.strip_prefix("ffd-") {
            let factor = number(factor, 0.1, 1000.0)?;
            return target.is_none().then_some(Self::FirstFit { factor });
        }
        let (name, short) = name.strip_prefix("short-").map_or((name, false), |n| (n, true));
        let (every, window) = if short { (1, Some(HOUR_STEPS)) } else { (HOUR_STEPS, None) };
        let predictor = Predictor::parse(name)?;
        Some(Self::Sticky { predictor, every, window, target: target.unwrap_or(1.0) })
    }

    /// Makes the planner for a fleet, with free moves.
    pub fn planner(self, fleet: &Fleet) -> Box<dyn Planner> {
        self.held(fleet, None, Vec::new())
    }

    /// Makes the planner for a fleet, held to honest rules as far as it moves anything. An oracle
    /// packs from scratch and cannot be held.
    pub fn held(
        self,
        fleet: &Fleet,
        honest: Option<Honest>,
        immovable: Vec<bool>,
    ) -> Box<dyn Planner> {
        match self {
            Self::FirstFit { factor } => Box::new(Fixed::first_fit(fleet, factor)),
            Self::Sticky { predictor, every, window, target } => {
                let window = window.unwrap_or(fleet.warm).max(1);
                let sticky = Sticky::new(fleet, predictor, (every, window), target);
                Box::new(sticky.held(honest, immovable))
            }
            Self::Oracle { horizon, target } => Box::new(Oracle::new(horizon, target)),
        }
    }
}

/// Parses a number within bounds.
pub(crate) fn number(text: &str, min: f64, max: f64) -> Option<f64> {
    text.parse().ok().filter(|n| (min..=max).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_command_line_is_known() {
        for name in ["ffd-4", "nsigma-5", "rc-99", "max", "borg", "oracle-24h", "oracle-1h@90"] {
            assert!(Yardstick::parse(name).is_some(), "{name}");
        }
        for name in ["", "ffd-", "ffd-0", "ffd-nan", "nsigma-x", "rc-101", "oracle-2h", "max@0"] {
            assert_eq!(Yardstick::parse(name), None, "{name}");
        }
    }
}
