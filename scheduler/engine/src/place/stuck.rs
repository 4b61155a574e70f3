//! Stuck: nodes that are foreseen above the ceiling and that no move relieves. The planner gives up on
//! them until something changes; people are told which, and why.

use tengyun_model::{NodeId, NodeName};

use super::fleet::Fleet;
use super::improve::{may_move, may_rebalance, others};
use super::level;
use super::problem::Problem;
use crate::plan::Move;

/// A node that no move relieves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// How many critical and standard instances it has.
    pub instances: usize,
    /// How many of them must not move now, by their policy, window or volumes, or because too little is
    /// known of them. The others have nowhere to go.
    pub stay: usize,
}

/// Returns the nodes that are overloaded and that no move would relieve, the fullest first. While moves are
/// under way, or too few nodes have reported, nothing is known to be stuck.
pub(crate) fn stuck(mut problem: Problem<'_>) -> Vec<Stuck> {
    if !may_rebalance(&problem) {
        return Vec::new();
    }
    let mut fleet = Fleet::new(&problem);
    let full: Vec<usize> = fleet.overloaded().collect();
    if full.is_empty() {
        return Vec::new();
    }
    let before: Vec<(usize, usize)> = full
        .iter()
        .map(|at| {
            let here: Vec<_> = others(&problem, *at).collect();
            let stay = here.iter().filter(|instance| !may_move(&problem, instance)).count();
            (here.len(), stay)
        })
        .collect();
    let mut moves = Vec::new();
    fleet.open(&mut problem, &mut moves);
    level::level(&mut fleet, &mut problem, &mut moves);
    if moves.len() >= problem.state.policy().rebalance_moves() {
        return Vec::new();
    }
    let gives = |node: NodeId| {
        moves.iter().any(|step| matches!(step, Move::Shift { from, .. } if *from == node))
    };
    let found = full.iter().zip(before).map(|(at, (instances, stay))| {
        let node = problem.seats[*at].node;
        Stuck { node: node.id, name: node.facts.name.clone(), instances, stay }
    });
    found.filter(|stuck| !gives(stuck.node)).collect()
}
