//! Conversion between the wire and the model: everything that enters is checked here, once.
//!
//! `TryFrom` takes a wire message apart and names the field that is wrong; `From<&model>` makes a
//! wire message and cannot fail. Nothing here does IO or knows what a value is for.
//! Invariant: model to wire to bytes and back is the identity (`tests/convert.rs`).

mod assignment;
mod calendar;
mod field;
mod health;
mod history;
mod identity;
mod node;
mod provision;
pub mod said;
mod usage;
mod word;
mod workload;

use std::fmt;

pub use field::operation_id;

/// The longest free text, such as a path, a reason or an environment value's name; the longest
/// path that Linux takes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// The most items of a short list: ports, files, labels, counters, disks, controls. No real server
/// or workload has more, and a table of them stays readable.
pub const ITEMS_MAX: usize = 1024;
/// The most instances in one report or assignment; processes on one server end before that.
pub const NODE_INSTANCES_MAX: usize = 10_000;
/// The most meter readings in one report: each instance of the node with some earlier starts.
pub const METERS_MAX: usize = 40_000;

/// The most sketches in one message: a few hundred KiB of a message of 4 MiB, so that the reports of
/// other nodes need not wait long for it.
pub const SKETCHES_MAX: usize = 256;

/// Tells which field of a message is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertError {
    path: String,
    problem: String,
}

impl ConvertError {
    /// Makes an error about one field.
    pub fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { path: field.to_owned(), problem: problem.into() }
    }

    /// Returns the path of the field, such as `spec.ports[2].number`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what is wrong with it.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// Says that the message with the field is itself the field `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let Self { path, problem } = self;
        let path = if path.is_empty() {
            outer.to_owned()
        } else if path.starts_with('[') {
            format!("{outer}{path}")
        } else {
            format!("{outer}.{path}")
        };
        Self { path, problem }
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

impl std::error::Error for ConvertError {}
