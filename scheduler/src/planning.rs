//! The planning step: forecast, plan, second opinion, commit. It decides nothing itself.

use std::time::Instant;

use tengyun_engine::explain::{Decision, Decisions, decided};
use tengyun_engine::{Command, Effect, Move, Outcome, Plan, State, check, place, predict};
use tracing::{debug, error, info, warn};

use crate::commit::Log;
use crate::journal::JournalError;

/// The planning step, what it said last, so that what stays the same is said once, and by which figures
/// it decided.
#[derive(Debug, Default)]
pub(crate) struct Planning {
    violated: bool,
    decisions: Decisions,
}

impl Planning {
    /// Plans on the present state and commits the plan, if it moves anything and passes the check.
    pub(crate) fn run(&mut self, log: &mut Log) -> Result<(), JournalError> {
        if log.state().observes() {
            return Ok(());
        }
        let began = Instant::now();
        let now = log.now();
        let forecast = predict::forecast(log.state(), now);
        let plan = place::plan(log.state(), &forecast, now);
        debug!(micros = %began.elapsed().as_micros(), moves = plan.moves.len(), "planned");
        if plan.moves.is_empty() {
            self.violated = false;
            return Ok(());
        }
        if !self.passes(log, &plan) {
            return Ok(());
        }
        let moves = plan.moves.clone();
        let decided = decided(log.state(), &forecast, &plan, now);
        let outcomes = log.commit(vec![Command::CommitPlan(plan)])?;
        self.decisions.keep(log.state(), decided);
        for outcome in outcomes {
            tell(&moves, &outcome);
        }
        Ok(())
    }

    /// Records by which figures an operator's move was granted that was just committed.
    pub(crate) fn keep(&mut self, state: &State, decided: Decision) {
        self.decisions.keep(state, vec![decided]);
    }

    /// Returns the record of what was decided in this reign.
    pub(crate) fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    fn passes(&mut self, log: &Log, plan: &Plan) -> bool {
        let violations = check::check(log.state(), plan);
        if !violations.is_empty() && !self.violated {
            for violation in &violations {
                error!(base = %plan.base, ?violation, "plan not committed: it breaks an invariant");
            }
        }
        self.violated = !violations.is_empty();
        violations.is_empty()
    }
}

fn tell(moves: &[Move], outcome: &Outcome) {
    match outcome {
        Outcome::Applied(Effect::Planned { accepted, stale }) if *stale > 0 => {
            warn!(accepted, stale, "moves of a plan were stale");
        }
        Outcome::Applied(_) => {}
        Outcome::Refused(refusal) => {
            error!(%refusal, "plan refused");
            return;
        }
    }
    for step in moves {
        match step {
            Move::Start { instance, node } => info!(%instance, %node, "instance starts"),
            Move::Shift { instance, from, to, reason } => {
                info!(%instance, %from, %to, ?reason, "instance shifts");
            }
            Move::Stop { instance, reason } => info!(%instance, ?reason, "instance stops"),
            Move::Promise { instance, memory, reason } => {
                info!(%instance, %memory, ?reason, "instance counts other memory");
            }
        }
    }
}
