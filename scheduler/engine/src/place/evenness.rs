//! Evenness: how many copies of a workload each value of a label has while a plan is made. It is worked
//! out once for a guest and kept while no seat changes: every seat is asked for the same guest.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{InstanceId, WorkloadKey, WorkloadSpec};

use super::feasible;
use super::problem::Problem;
use crate::command::Refusal;
use crate::image::NodeImage;

/// What is known of evenness so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Evenness<'a> {
    /// The values of a label that open nodes have.
    values: RefCell<BTreeMap<String, BTreeSet<&'a str>>>,
    newest: RefCell<Option<Newest<'a>>>,
}

/// The copies of the guest that was asked for last.
#[derive(Clone, Debug)]
struct Newest<'a> {
    guest: (WorkloadKey, Option<InstanceId>, String),
    /// How often seats had been changed by then.
    changes: u64,
    copies: BTreeMap<&'a str, u64>,
}

impl<'a> Evenness<'a> {
    /// Checks that the values of a label stay even with one more copy on a node.
    pub(super) fn check(
        &self,
        problem: &Problem<'a>,
        (spec, replaces, label): (&WorkloadSpec, Option<InstanceId>, &str),
        node: &NodeImage,
    ) -> Result<(), Refusal> {
        let changes = problem.seats.changes();
        let mut newest = self.newest.borrow_mut();
        let same = |n: &&mut Newest<'a>| {
            let (key, replaced, of) = &n.guest;
            n.changes == changes && *key == spec.key && *replaced == replaces && of == label
        };
        if let Some(known) = newest.as_mut().filter(same) {
            return feasible::evenly(label, &known.copies, node);
        }
        let whom = (spec, replaces, label);
        let given = problem.seats.given();
        let guests = given.flat_map(|seat| seat.guests.iter().map(|guest| (seat.node, *guest)));
        let mut values = self.values.borrow_mut();
        if !values.contains_key(label) {
            values.insert(label.to_owned(), feasible::values(problem.state, label));
        }
        let values = &values[label];
        let copies = feasible::copies(problem.state, whom, values, guests);
        let answer = feasible::evenly(label, &copies, node);
        let guest = (spec.key.clone(), replaces, label.to_owned());
        *newest = Some(Newest { guest, changes, copies });
        answer
    }
}
