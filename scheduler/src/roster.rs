//! The roster: whose certificates hold now. The writer makes it from the state; the services and the
//! connections look at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tengyun_engine::State;
use tengyun_model::{Admission, Member, Name, NodeId, Role};
use tokio::sync::watch;

use crate::authority::claim::{Claim, Subject};
use crate::caller::Caller;

/// Whose certificates hold.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    nodes: BTreeMap<NodeId, Admission>,
    people: BTreeMap<Name, (Admission, Role)>,
}

impl Roster {
    /// Lists the members that are not revoked.
    pub(crate) fn of(state: &State) -> Self {
        let mut roster = Self::default();
        for known in state.members().filter(|known| known.revoked.is_none()) {
            match (&known.member, known.node, &known.role) {
                (Member::Node(_), Some(node), _) => {
                    roster.nodes.insert(node, known.admission);
                }
                (Member::Person(name), _, Some(role)) => {
                    roster.people.insert(name.clone(), (known.admission, role.clone()));
                }
                // The state lets nobody in so.
                (Member::Node(_), None, _) | (Member::Person(_), _, None) => {}
            }
        }
        roster
    }

    /// Returns who speaks with a certificate, if what it claims holds.
    pub(crate) fn caller(&self, claim: &Claim) -> Option<Caller> {
        match &claim.subject {
            Subject::Node(node) => {
                let holds = self.nodes.get(node) == Some(&claim.admission);
                holds.then_some(Caller::Node(*node, claim.admission))
            }
            Subject::Person(name) => {
                let (admission, role) = self.people.get(name)?;
                let caller = || Caller::Person(name.clone(), role.clone());
                (*admission == claim.admission).then(caller)
            }
        }
    }
}

/// The writer's end of the roster.
#[derive(Debug)]
pub(crate) struct Publisher {
    sender: watch::Sender<Arc<Roster>>,
    changes: u64,
}

impl Publisher {
    /// Makes a publisher of the roster of a state, and its readers' end.
    pub(crate) fn new(state: &State) -> (Self, watch::Receiver<Arc<Roster>>) {
        let (sender, roster) = watch::channel(Arc::new(Roster::of(state)));
        (Self { sender, changes: state.member_changes() }, roster)
    }

    /// Publishes the roster when members changed.
    pub(crate) fn refresh(&mut self, state: &State) {
        if self.changes != state.member_changes() {
            self.changes = state.member_changes();
            self.sender.send_replace(Arc::new(Roster::of(state)));
        }
    }
}
