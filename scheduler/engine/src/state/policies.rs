//! The versions of the policy that can be returned to. It never judges values: what was taken once may
//! be out of range by now, and is checked again when it is set again.

use std::collections::VecDeque;

use crate::command::Refusal;
use crate::image::PolicyImage;

/// The most versions kept: months of an operator who tries something every day.
const POLICIES_KEPT: usize = 100;
/// The longest label, in characters: it is a name, not an essay.
const LABEL_CHARS_MAX: usize = 64;

/// The last versions, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policies(VecDeque<PolicyImage>);

impl Policies {
    /// Takes up kept versions; they must ascend and end with the present one. Snapshots of before
    /// there were any have none.
    pub(super) fn new(kept: Vec<PolicyImage>, present: u64) -> Result<Self, Refusal> {
        let ascend = kept.is_sorted_by(|a, b| a.version < b.version);
        let ends = kept.last().is_none_or(|last| last.version == present);
        if !ascend || !ends || kept.len() > POLICIES_KEPT {
            return Err(Refusal::Stale("the versions of the policy"));
        }
        Ok(Self(kept.into()))
    }

    /// Enters the newest version.
    pub(super) fn enter(&mut self, policy: PolicyImage) {
        self.0.push_back(policy);
        while self.0.len() > POLICIES_KEPT {
            self.0.pop_front();
        }
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &PolicyImage> {
        self.0.iter()
    }
}

/// Checks what is said of where values are from.
pub(super) fn check_label(label: &str) -> Result<(), Refusal> {
    if label.chars().count() <= LABEL_CHARS_MAX && !label.chars().any(char::is_control) {
        return Ok(());
    }
    let expected =
        format!("at most {LABEL_CHARS_MAX} characters, none of them a control character");
    Err(Refusal::BadField { field: "label", expected })
}
