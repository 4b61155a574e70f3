//! Evenness: how many copies of a guest's workload each value of its label has while a plan is made. It
//! is counted once for a guest, not once for every seat that is looked at.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::feasible;
use super::problem::{Guest, Problem};
use crate::command::Refusal;
use crate::image::NodeImage;

/// The values that open nodes have of labels, for those labels that were asked for.
pub(super) type Values<'a> = BTreeMap<String, BTreeSet<&'a str>>;

/// What a guest has to be even with.
#[derive(Clone, Debug)]
pub(crate) enum Evenness<'a> {
    /// Nothing: its workload is not spread.
    Free,
    /// The copies of its workload by the values of its label.
    Copies(BTreeMap<&'a str, u64>),
    /// The plan in the making gives up copies on lost nodes: what is even is known after it.
    Unsettled,
}

impl<'a> Evenness<'a> {
    /// Counts the copies as they are now.
    pub(super) fn of(problem: &Problem<'a>, values: &Values<'a>, guest: &Guest<'_>) -> Self {
        let Some(label) = &guest.spec.constraints.spread else { return Self::Free };
        if problem.is_unsettled(&guest.spec.key) {
            return Self::Unsettled;
        }
        let found = || feasible::values(problem.seats.iter().map(|seat| seat.node), label);
        let values = values.get(label).map_or_else(|| Cow::Owned(found()), Cow::Borrowed);
        let given = problem.seats.given();
        let guests = given.flat_map(|seat| seat.guests.iter().map(|guest| (seat.node, *guest)));
        let whom = (guest.spec, guest.replaces, label.as_str());
        Self::Copies(feasible::copies(problem.state, whom, &values, guests))
    }

    /// Checks that the values stay even with one more copy on a node.
    pub(super) fn check(&self, guest: &Guest<'_>, node: &NodeImage) -> Result<(), Refusal> {
        let Some(label) = &guest.spec.constraints.spread else { return Ok(()) };
        match self {
            Self::Free => Ok(()),
            Self::Copies(copies) => feasible::evenly(label, copies, node),
            Self::Unsettled => Err(Refusal::Spread(label.clone())),
        }
    }
}
