//! Placement: what runs where, decided in phases, each of which leaves what it promises.
//!
//! A plan changes nothing by itself, and planning again on the state that a plan leads to proposes
//! nothing new. Every choice is a total order whose last key is an id.

mod anew;
mod complement;
pub(crate) mod drain;
mod evenness;
pub(crate) mod feasible;
mod fleet;
mod gang;
mod improve;
mod level;
mod order;
pub(crate) mod pack;
pub(crate) mod problem;
mod promise;
pub mod rehearse;
pub(crate) mod relieve;
pub(crate) mod renew;
mod rescue;
pub mod reserve;
mod retire;
mod score;
mod seats;
pub mod stuck;
mod sums;

use tengyun_model::At;

use crate::plan::{Move, Plan};
use crate::predict::Forecast;
use crate::state::State;
use problem::Problem;

/// Proposes moves for the state as of a moment.
pub fn plan(state: &State, forecast: &Forecast, now: At) -> Plan {
    let mut problem = Problem::new(state, forecast, now);
    let mut moves = Vec::new();
    promise::raise(&problem, &mut moves);
    // All that follows is planned by what nodes have left, so it waits until that is known.
    if !moves.is_empty() {
        return Plan { base: state.sequence(), moves };
    }
    retire::retire(&problem, &mut moves);
    rescue::rescue(&mut problem, &mut moves);
    anew::anew(&problem, &mut moves);
    drain::drain(&mut problem, &mut moves);
    relieve::relieve(&mut problem, &mut moves);
    renew::renew(&mut problem, &mut moves);
    renew::come_home(&mut problem, &mut moves);
    pack::fill(&mut problem, &mut moves);
    renew::clear_homes(&problem, &mut moves);
    if moves.is_empty() {
        promise::lower(&problem, &mut moves);
    }
    if moves.is_empty() && improve::may_rebalance(&problem) {
        improve::rebalance(&mut problem, &mut moves);
    }
    debug_assert!(stops_hold(state, &moves), "planned {moves:?} on a state that refuses some stop");
    Plan { base: state.sequence(), moves }
}

/// Says whether every stop holds on the state that was planned for. Starts and shifts may need what
/// stands before them in the plan; committing it checks each in turn.
fn stops_hold(state: &State, moves: &[Move]) -> bool {
    let mut stops = moves.iter().filter(|step| matches!(step, Move::Stop { .. }));
    stops.all(|step| state.check_move(step).is_ok())
}
