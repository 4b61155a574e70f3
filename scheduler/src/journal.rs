//! The journal: every durable entry in order, kept before it is acted on.
//!
//! [`Journal`] is the seam: one node of control plane keeps it in `SQLite`, several will keep it in
//! etcd. Whoever keeps it passes the tests in [`conformance`].

pub(crate) mod codec;
mod life;
mod member;
pub(crate) mod reader;
pub(crate) mod snapshot;
pub(crate) mod sqlite;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod torture;

use tengyun_engine::{Entry, Image};
use tengyun_model::Sequence;

pub(crate) use sqlite::SqliteJournal;

/// The format of a row that this version writes; it reads this one and older ones.
pub(crate) const SCHEMA_VERSION: u32 = 4;

/// Keeps entries for good.
///
/// A call that returns `Ok` has made its entries durable. After an error the journal must not be
/// used again: what a failed fsync left behind is not known (see fsyncgate), so the daemon stops and
/// a new start reads what is really there.
pub(crate) trait Journal: Send + 'static {
    /// Keeps these entries, which follow the last kept one without a gap.
    fn append(&mut self, first: Sequence, entries: &[Entry]) -> Result<(), JournalError>;

    /// Keeps an image of the state, so that replay can start from it.
    fn save_snapshot(&mut self, image: &Image) -> Result<(), JournalError>;

    /// Returns the newest usable snapshot, if there is one.
    fn load_snapshot(&mut self) -> Result<Option<Image>, JournalError>;

    /// Checks every row from the first one on, those that a snapshot covers as well.
    fn verify(&mut self) -> Result<(), JournalError>;

    /// Calls `visit` for every entry after `after`, in order, until it returns false.
    fn replay(
        &mut self,
        after: Sequence,
        visit: &mut dyn FnMut(Sequence, Entry) -> bool,
    ) -> Result<(), JournalError>;
}

/// Tells why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another scheduler holds it.
    #[error(
        "journal {path} is in use by another scheduler: stop it, or choose another --state-dir"
    )]
    InUse {
        /// The journal's file.
        path: String,
    },
    /// Its lock cannot be made.
    #[error("cannot make lock {path}")]
    Lock {
        /// The lock's file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("cannot {what} journal {path}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// The journal's file.
        path: String,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The file is no journal.
    #[error("{path} is no journal of a scheduler")]
    Foreign {
        /// The file.
        path: String,
    },
    /// A newer version wrote it.
    #[error(
        "journal {path} has format {found}, this version reads up to {SCHEMA_VERSION}: install the \
         version that wrote it"
    )]
    Newer {
        /// The journal's file.
        path: String,
        /// The format found.
        found: u32,
    },
    /// A row is not what was written.
    #[error(
        "journal {path} is damaged at entry {sequence}: {what}; restore a backup, or start with \
         --read-only to see what stands before it"
    )]
    Damaged {
        /// The journal's file.
        path: String,
        /// The first entry that cannot be trusted.
        sequence: Sequence,
        /// What is wrong with it.
        what: String,
    },
}
