//! Reading a journal beside its scheduler, or after it: one moment of it, checked row by row.
//!
//! It must never write to the journal, lock its scheduler out or mend anything: what it reads may be
//! live, or evidence.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};
use tengyun_engine::{Entry, State};
use tengyun_model::{Digest, Sequence};

use super::sqlite::{self, APPLICATION_ID, Checksum, store};
use super::{JournalError, SCHEMA_VERSION, snapshot};

/// The name of the journal in a scheduler's state directory.
const JOURNAL_NAME: &str = "journal.db";

/// A journal that is only read. It gives every durable entry in order, and ends after the first fault.
#[derive(Debug)]
pub struct JournalReader {
    path: PathBuf,
    connection: Connection,
    chain: Checksum,
    next: Sequence,
    last: Sequence,
    waiting: std::vec::IntoIter<Entry>,
    failed: bool,
}

impl JournalReader {
    /// Opens a journal, or the one in a scheduler's state directory, as it is at this moment.
    ///
    /// # Errors
    /// It is not there, is no journal, or a newer version wrote it.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let path = if path.is_dir() { path.join(JOURNAL_NAME) } else { path.to_owned() };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&path, flags);
        let connection = opened.map_err(|source| store("open", &path, source))?;
        let look = || -> rusqlite::Result<(i32, u32, Option<u64>)> {
            // From its first read on the transaction sees one moment, whatever is appended meanwhile.
            connection.execute_batch("BEGIN")?;
            let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
            let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if id != APPLICATION_ID {
                return Ok((id, version, None));
            }
            let sql = "SELECT max(last) FROM batches";
            Ok((id, version, connection.query_row(sql, [], |row| row.get(0))?))
        };
        let (id, found, last) = look().map_err(|source| store("read", &path, source))?;
        if id != APPLICATION_ID {
            return Err(JournalError::Foreign { path: path.display().to_string() });
        }
        if found > SCHEMA_VERSION {
            return Err(JournalError::Newer { path: path.display().to_string(), found });
        }
        Ok(Self {
            path,
            connection,
            chain: Checksum::default(),
            next: Sequence::default().next(),
            last: Sequence::new(last.unwrap_or(0)),
            waiting: Vec::new().into_iter(),
            failed: false,
        })
    }

    /// Returns the last entry that the journal names.
    pub fn end(&self) -> Sequence {
        self.last
    }

    /// Returns the snapshots that are kept, the newest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn snapshots(&self) -> Result<Vec<KeptSnapshot>, JournalError> {
        let rows = sqlite::snapshot_rows(&self.connection);
        let rows = rows.map_err(|source| store("read", &self.path, source))?;
        let kept = |row: sqlite::Row| KeptSnapshot {
            sequence: Sequence::new(row.first),
            intact: row.schema <= SCHEMA_VERSION && row.is_intact(),
            bytes: row.batch,
        };
        Ok(rows.into_iter().map(kept).collect())
    }

    fn read_row(&mut self) -> Result<(), JournalError> {
        let row = sqlite::row_at(&self.connection, self.next);
        let row = row.map_err(|source| store("read", &self.path, source))?;
        let row = row.ok_or_else(|| JournalError::Damaged {
            path: self.path.display().to_string(),
            sequence: self.next,
            what: "its row is missing".to_owned(),
        })?;
        self.waiting = sqlite::check_row(&self.path, &row, &mut self.chain)?.into_iter();
        Ok(())
    }
}

impl Iterator for JournalReader {
    type Item = Result<(Sequence, Entry), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.waiting.len() == 0 {
            if self.failed || self.next > self.last {
                return None;
            }
            if let Err(error) = self.read_row() {
                self.failed = true;
                return Some(Err(error));
            }
        }
        let entry = self.waiting.next()?;
        let sequence = self.next;
        self.next = sequence.next();
        Some(Ok((sequence, entry)))
    }
}

/// A snapshot as a journal keeps it.
#[derive(Clone, Debug)]
pub struct KeptSnapshot {
    /// The last entry in it.
    pub sequence: Sequence,
    /// Whether its bytes are those that were written.
    pub intact: bool,
    bytes: Vec<u8>,
}

impl KeptSnapshot {
    /// Says whether it is this state, byte for byte; or, where another version of the scheduler wrote
    /// it, the same state once it is written again.
    pub fn is(&self, state: &State) -> bool {
        let mut is = state.image();
        if snapshot::encode(&is) == self.bytes {
            return true;
        }
        let Ok(kept) = snapshot::decode(&self.bytes) else { return false };
        if kept.policies.is_empty() {
            // It is of before versions of the policy were kept.
            is.policies.clear();
        }
        snapshot::encode(&kept) == snapshot::encode(&is)
    }

    /// Returns the digest of its bytes.
    pub fn digest(&self) -> Digest {
        digest(&self.bytes)
    }
}

/// Returns the digest of the bytes of a state: equal durable entries give equal digests.
pub fn state_digest(state: &State) -> Digest {
    digest(&snapshot::encode(&state.image()))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit;
    use crate::fixture::story;
    use crate::journal::{Journal as _, SqliteJournal};

    fn kept(dir: &Path) -> (SqliteJournal, State) {
        let mut journal = SqliteJournal::open(&dir.join(JOURNAL_NAME)).unwrap();
        let mut state = State::new();
        for entry in story() {
            journal.append(state.sequence().next(), std::slice::from_ref(&entry)).unwrap();
            commit::apply(&mut state, &entry);
        }
        (journal, state)
    }

    fn replayed(reader: &mut JournalReader) -> State {
        let mut state = State::new();
        for read in reader {
            commit::apply(&mut state, &read.unwrap().1);
        }
        state
    }

    /// Every file of a directory with its bytes, but for the index that readers share.
    fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        };
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(read).collect();
        files.retain(|(name, _)| !name.ends_with("-shm"));
        files.sort();
        files
    }

    #[test]
    fn a_journal_in_use_is_read_as_of_one_moment_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, mut live) = kept(dir.path());
        journal.save_snapshot(&live.image()).unwrap();
        let before = files(dir.path());
        let mut reader = JournalReader::open(dir.path()).unwrap();
        let snapshots = reader.snapshots().unwrap();
        assert_eq!((reader.end(), snapshots.len()), (live.sequence(), 1));
        assert_eq!(files(dir.path()), before);
        let moment = state_digest(&live);
        let entry = story().remove(0);
        journal.append(live.sequence().next(), std::slice::from_ref(&entry)).unwrap();
        let state = replayed(&mut reader);
        assert_eq!(state_digest(&state), moment, "a later entry was read");
        assert!(snapshots[0].intact && snapshots[0].is(&state));
        assert_eq!(snapshots[0].digest(), moment);
        commit::apply(&mut live, &entry);
        let now = replayed(&mut JournalReader::open(dir.path()).unwrap());
        assert_eq!(state_digest(&now), state_digest(&live));
        assert!(!snapshots[0].is(&now));
    }

    #[test]
    fn what_a_killed_scheduler_left_is_read_and_not_mended() {
        let dir = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let (_journal, live) = kept(dir.path());
        // The files as they are while it runs: its newest entries are in the write-ahead log alone.
        for (name, bytes) in files(dir.path()) {
            std::fs::write(copy.path().join(name), bytes).unwrap();
        }
        let before = files(copy.path());
        assert!(before.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()));
        let mut reader = JournalReader::open(copy.path()).unwrap();
        assert_eq!(state_digest(&replayed(&mut reader)), state_digest(&live));
        drop(reader);
        assert_eq!(files(copy.path()), before);
    }

    #[test]
    fn a_reader_ends_at_the_first_entry_that_was_edited() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = kept(dir.path());
        drop(journal);
        let path = dir.path().join(JOURNAL_NAME);
        let edit = Connection::open(&path).unwrap();
        edit.execute("UPDATE batches SET batch = x'00' WHERE first = 3", []).unwrap();
        drop(edit);
        let read: Vec<_> = JournalReader::open(&path).unwrap().collect();
        assert_eq!(read.len(), 3);
        assert!(read[..2].iter().all(Result::is_ok));
        let error = read[2].as_ref().unwrap_err().to_string();
        assert!(error.contains("damaged at entry 3"), "{error}");
    }

    #[test]
    fn what_is_no_journal_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.db");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE batches (a)").unwrap();
        drop(other);
        let error = JournalReader::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
        std::fs::write(
            &path,
            "no database at all, but longer than a header of one is, really it is",
        )
        .unwrap();
        assert!(JournalReader::open(&path).is_err());
        assert!(JournalReader::open(&dir.path().join("none")).is_err());
    }
}
