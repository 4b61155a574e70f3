//! Runs of cron workloads: which are under way, and what became of those that are kept.
//!
//! When one is due is worked out by the shell, which knows time zones; what is due is journaled.

use tengyun_model::{At, InstanceId, Said};

/// The most runs of one workload under way together.
pub const RUNS_UNDER_WAY_MAX: usize = 100;

/// What is known of the runs of a cron workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CronImage {
    /// The scheduled time that was handled last.
    pub fired: At,
    /// How many runs there were.
    pub total: u32,
    /// Those kept, in order.
    pub runs: Vec<RunImage>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunImage {
    /// Its number, counted from 1.
    pub number: u32,
    /// For when it was scheduled.
    pub scheduled: At,
    /// When it was handled.
    pub began: At,
    /// When it ended, if so.
    pub ended: Option<At>,
    /// What became of it.
    pub outcome: RunOutcome,
    /// Its instance, if it had one.
    pub instance: Option<InstanceId>,
    /// How it ended.
    pub why: Said,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunOutcome {
    /// It waits or runs.
    UnderWay,
    /// It ended well.
    Succeeded,
    /// It ended otherwise.
    Failed,
    /// The run before had not ended.
    Skipped,
    /// It was noticed too late.
    Missed,
    /// It was stopped: by its department, or for the next run.
    Stopped,
}

impl RunOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::UnderWay, Self::Succeeded, Self::Failed, Self::Skipped, Self::Missed, Self::Stopped];

    /// Returns the word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under-way",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Stopped => "stopped",
        }
    }
}
