//! Health: what the checks of one start said so far, and what follows. Pure.
//!
//! Checks are made elsewhere; here their answers are counted. An instance is healthy after some
//! passes in a row and not any more after some failures in a row; what fails while it starts and was
//! not healthy yet is not counted.

use tengyun_model::HealthCheck;

/// How an instance stands by its checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has neither passed nor failed often enough yet.
    #[default]
    Unknown,
    /// It is healthy.
    Passing,
    /// It is not healthy, or not any more.
    Failing,
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It passed.
    Passed,
    /// It failed, for this reason.
    Failed(String),
    /// It was not answered in time.
    Late,
}

/// What the checks of one start said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    standing: Standing,
    passes: u32,
    failures: u32,
    /// Whether the start is being ended because it is not healthy.
    ending: bool,
}

impl Health {
    /// Takes over what an earlier agent found out.
    pub(crate) fn adopted(passing: bool) -> Self {
        let standing = if passing { Standing::Passing } else { Standing::Unknown };
        Self { standing, ..Self::default() }
    }

    /// Returns how the instance stands.
    pub(crate) const fn standing(&self) -> Standing {
        self.standing
    }

    /// Counts an answer; returns true when the standing changed. `starting` says whether the
    /// start-up time of the instance is still running.
    pub(crate) fn note(&mut self, check: &HealthCheck, answer: &Answer, starting: bool) -> bool {
        let before = self.standing;
        match answer {
            Answer::Passed => {
                self.failures = 0;
                self.passes = self.passes.saturating_add(1);
                if self.passes >= check.passes {
                    self.standing = Standing::Passing;
                }
            }
            Answer::Failed(_) | Answer::Late => {
                self.passes = 0;
                if starting && self.standing == Standing::Unknown {
                    return false;
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures >= check.failures {
                    self.standing = Standing::Failing;
                }
            }
        }
        self.standing != before
    }

    /// Notes that the start was asked to end; if it is not healthy, for that reason.
    pub(crate) fn asked(&mut self) {
        self.ending = self.standing == Standing::Failing;
    }

    /// Says whether the start was asked to end because it was not healthy.
    pub(crate) const fn is_ending(&self) -> bool {
        self.ending
    }
}

impl Answer {
    /// Says what went wrong; nothing when it passed.
    pub(crate) fn reason(&self, check: &HealthCheck) -> String {
        match self {
            Self::Passed => String::new(),
            Self::Failed(reason) => reason.clone(),
            Self::Late => format!("no answer within {} ms", check.timeout.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::{HealthProbe, Millis, OnUnhealthy};

    use super::*;

    fn check(passes: u32, failures: u32) -> HealthCheck {
        HealthCheck {
            probe: HealthProbe::Command(vec!["/bin/true".to_owned()]),
            interval: Millis::from_secs(1),
            timeout: Millis::from_secs(1),
            passes,
            failures,
            on_unhealthy: OnUnhealthy::Restart,
        }
    }

    fn failed() -> Answer {
        Answer::Failed("no".to_owned())
    }

    #[test]
    fn an_instance_is_healthy_after_passes_in_a_row() {
        let (check, mut health) = (check(2, 1), Health::default());
        assert!(!health.note(&check, &Answer::Passed, false));
        assert!(health.note(&check, &failed(), false));
        assert_eq!(health.standing(), Standing::Failing);
        assert!(!health.note(&check, &Answer::Passed, false));
        assert!(health.note(&check, &Answer::Passed, false));
        assert_eq!(health.standing(), Standing::Passing);
    }

    #[test]
    fn single_failures_of_a_healthy_instance_are_forgiven() {
        let (check, mut health) = (check(1, 3), Health::default());
        assert!(health.note(&check, &Answer::Passed, true));
        for _ in 0..5 {
            assert!(!health.note(&check, &failed(), false));
            assert!(!health.note(&check, &Answer::Late, false));
            assert!(!health.note(&check, &Answer::Passed, false));
        }
        for _ in 0..2 {
            assert!(!health.note(&check, &failed(), false));
        }
        assert!(health.note(&check, &Answer::Late, false));
        assert_eq!(health.standing(), Standing::Failing);
    }

    #[test]
    fn what_fails_while_it_starts_is_not_counted_until_it_was_healthy() {
        let (check, mut health) = (check(1, 1), Health::default());
        for _ in 0..10 {
            assert!(!health.note(&check, &failed(), true));
        }
        assert!(health.note(&check, &Answer::Passed, true));
        assert!(health.note(&check, &failed(), true), "it was healthy");
        let mut late = Health::default();
        assert!(late.note(&check, &failed(), false), "its start-up time is over");
        late.asked();
        assert!(late.is_ending());
    }
}
