//! The journal in `SQLite`: an append-only table, one row for one group commit.
//!
//! Rows are never rewritten or removed. Each carries SHA-256 over the checksum of the row before it,
//! its own numbers and its bytes, so an edited, missing or torn row is found. WAL with
//! `synchronous=FULL` makes a commit durable before [`Journal::append`] returns; the exclusive lock
//! keeps a second scheduler out for as long as the first one lives.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};
use tengyun_engine::{Entry, Image};
use tengyun_model::Sequence;

use super::{Journal, JournalError, SCHEMA_VERSION, codec, snapshot};

/// How many snapshots are kept: the newest, and one before it in case it is damaged.
const SNAPSHOTS_KEPT: u32 = 2;
/// Marks the file as ours ("TYJ1").
pub(super) const APPLICATION_ID: i32 = 0x5459_4a31;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS batches (
        first INTEGER PRIMARY KEY,
        last INTEGER NOT NULL,
        schema INTEGER NOT NULL,
        batch BLOB NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS snapshots (
        sequence INTEGER PRIMARY KEY,
        schema INTEGER NOT NULL,
        image BLOB NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT;
";

pub(super) type Checksum = [u8; 32];

/// One row as it is stored.
pub(super) struct Row {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) schema: u32,
    pub(super) batch: Vec<u8>,
    checksum: Vec<u8>,
}

impl Row {
    /// Says whether a row that stands alone is what was written.
    pub(super) fn is_intact(&self) -> bool {
        let range = (self.first, self.last);
        self.checksum == checksum(&Checksum::default(), self.schema, range, &self.batch)
    }
}

/// The journal of one scheduler in one file.
#[derive(Debug)]
pub(crate) struct SqliteJournal {
    path: PathBuf,
    connection: Connection,
    /// Held, never read: the kernel frees it however the scheduler ends.
    _lock: Flock<File>,
    last: Sequence,
    chain: Checksum,
}

impl SqliteJournal {
    /// Opens or makes the journal `path`; only one opener at a time.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let lock = lock(path)?;
        let connection = Connection::open(path).map_err(|source| store("open", path, source))?;
        prepare(&connection, path)?;
        let mut journal = Self {
            path: path.to_owned(),
            connection,
            _lock: lock,
            last: Sequence::default(),
            chain: Checksum::default(),
        };
        sync_directory(path)?;
        journal.find_end()?;
        Ok(journal)
    }

    fn find_end(&mut self) -> Result<(), JournalError> {
        let sql = "SELECT last, checksum FROM batches ORDER BY first DESC LIMIT 1";
        let row: Option<(u64, Vec<u8>)> = self
            .connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|source| store("read", &self.path, source))?;
        if let Some((last, checksum)) = row {
            self.last = Sequence::new(last);
            self.chain = checksum
                .try_into()
                .map_err(|_| self.damaged(self.last, "its checksum has a wrong length"))?;
        }
        Ok(())
    }

    fn damaged(&self, sequence: Sequence, what: impl Into<String>) -> JournalError {
        let path = self.path.display().to_string();
        JournalError::Damaged { path, sequence, what: what.into() }
    }

    /// Returns the checksum that the row after `sequence` is chained to.
    fn chain_at(&self, sequence: Sequence) -> Result<Checksum, JournalError> {
        if sequence == Sequence::default() {
            return Ok(Checksum::default());
        }
        let sql = "SELECT checksum FROM batches WHERE last = ?1";
        let found: Option<Vec<u8>> = self
            .connection
            .query_row(sql, [sequence.get()], |row| row.get(0))
            .optional()
            .map_err(|source| store("read", &self.path, source))?;
        found
            .and_then(|checksum| checksum.try_into().ok())
            .ok_or_else(|| self.damaged(sequence, "the row that the snapshot ends at is missing"))
    }

    /// Keeps one row.
    pub(crate) fn append_bytes(
        &mut self,
        first: Sequence,
        last: Sequence,
        batch: &[u8],
    ) -> Result<(), JournalError> {
        self.chain = self
            .insert(first, last, batch)
            .map_err(|source| store("append to", &self.path, source))?;
        self.last = last;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) {
        self.connection.pragma_update(None, "max_page_count", pages).unwrap();
    }

    fn insert(&self, first: Sequence, last: Sequence, batch: &[u8]) -> rusqlite::Result<Checksum> {
        let checksum = checksum(&self.chain, SCHEMA_VERSION, (first.get(), last.get()), batch);
        let sql = "INSERT INTO batches (first, last, schema, batch, checksum) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        self.connection.prepare_cached(sql)?.execute(params![
            first.get(),
            last.get(),
            SCHEMA_VERSION,
            batch,
            checksum
        ])?;
        Ok(checksum)
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, first: Sequence, entries: &[Entry]) -> Result<(), JournalError> {
        assert_eq!(first, self.last.next(), "entries follow the last one without a gap");
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        assert!(count > 0, "a batch holds entries");
        let last = Sequence::new(self.last.get().saturating_add(count));
        self.append_bytes(first, last, &codec::encode(entries))
    }

    fn save_snapshot(&mut self, image: &Image) -> Result<(), JournalError> {
        let bytes = snapshot::encode(image);
        let range = (image.sequence.get(), image.sequence.get());
        let checksum = checksum(&Checksum::default(), SCHEMA_VERSION, range, &bytes);
        let save = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO snapshots (sequence, schema, image, checksum) \
                 VALUES (?1, ?2, ?3, ?4)",
                params![image.sequence.get(), SCHEMA_VERSION, bytes, checksum],
            )?;
            transaction.execute(
                "DELETE FROM snapshots WHERE sequence NOT IN \
                 (SELECT sequence FROM snapshots ORDER BY sequence DESC LIMIT ?1)",
                [SNAPSHOTS_KEPT],
            )?;
            transaction.commit()
        };
        save().map_err(|source| store("save a snapshot in", &self.path, source))
    }

    fn load_snapshot(&mut self) -> Result<Option<Image>, JournalError> {
        let rows = self.snapshot_rows().map_err(|source| store("read", &self.path, source))?;
        for row in rows {
            if row.schema > SCHEMA_VERSION || !row.is_intact() {
                tracing::warn!(sequence = row.first, "a snapshot is damaged and was passed over");
                continue;
            }
            match snapshot::decode(&row.batch) {
                Ok(image) => return Ok(Some(image)),
                Err(error) => {
                    tracing::warn!(sequence = row.first, %error, "a snapshot cannot be read");
                }
            }
        }
        Ok(None)
    }

    fn verify(&mut self) -> Result<(), JournalError> {
        self.replay(Sequence::default(), &mut |_, _| true)?;
        // The journal was longer when its snapshot was made: acknowledged entries are missing.
        let newest = self.newest_snapshot().map_err(|source| store("read", &self.path, source))?;
        match newest {
            Some(newest) if newest > self.last.get() => {
                Err(self.damaged(self.last.next(), format!("a snapshot knows entry {newest}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn replay(
        &mut self,
        after: Sequence,
        visit: &mut dyn FnMut(Sequence, Entry) -> bool,
    ) -> Result<(), JournalError> {
        let mut chain = self.chain_at(after)?;
        let mut next = after.next();
        while next <= self.last {
            let row = self
                .row_at(next)
                .map_err(|source| store("read", &self.path, source))?
                .ok_or_else(|| self.damaged(next, "its row is missing"))?;
            for entry in check_row(&self.path, &row, &mut chain)? {
                if !visit(next, entry) {
                    return Ok(());
                }
                next = next.next();
            }
        }
        Ok(())
    }
}

impl SqliteJournal {
    fn row_at(&self, first: Sequence) -> rusqlite::Result<Option<Row>> {
        row_at(&self.connection, first)
    }

    fn newest_snapshot(&self) -> rusqlite::Result<Option<u64>> {
        let sql = "SELECT max(sequence) FROM snapshots";
        self.connection.query_row(sql, [], |row| row.get(0))
    }

    fn snapshot_rows(&self) -> rusqlite::Result<Vec<Row>> {
        snapshot_rows(&self.connection)
    }
}

/// Reads the row that begins with an entry.
pub(super) fn row_at(connection: &Connection, first: Sequence) -> rusqlite::Result<Option<Row>> {
    let sql = "SELECT first, last, schema, batch, checksum FROM batches WHERE first = ?1";
    connection.prepare_cached(sql)?.query_row([first.get()], row).optional()
}

/// Reads every snapshot, the newest first.
pub(super) fn snapshot_rows(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let sql = "SELECT sequence, sequence, schema, image, checksum FROM snapshots \
               ORDER BY sequence DESC";
    connection.prepare_cached(sql)?.query_map([], row)?.collect()
}

/// Checks a row against the chain and returns its entries.
pub(super) fn check_row(
    path: &Path,
    row: &Row,
    chain: &mut Checksum,
) -> Result<Vec<Entry>, JournalError> {
    let damaged = |what: String| {
        let (path, sequence) = (path.display().to_string(), Sequence::new(row.first));
        JournalError::Damaged { path, sequence, what }
    };
    if row.schema > SCHEMA_VERSION {
        return Err(JournalError::Newer { path: path.display().to_string(), found: row.schema });
    }
    let expected = checksum(chain, row.schema, (row.first, row.last), &row.batch);
    if row.checksum != expected {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let entries = codec::decode(&row.batch).map_err(|error| damaged(error.to_string()))?;
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    if row.first.checked_add(count) != row.last.checked_add(1) {
        return Err(damaged("it does not hold the entries that it names".to_owned()));
    }
    *chain = expected;
    Ok(entries)
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        first: row.get(0)?,
        last: row.get(1)?,
        schema: row.get(2)?,
        batch: row.get(3)?,
        checksum: row.get(4)?,
    })
}

fn checksum(chain: &Checksum, schema: u32, range: (u64, u64), bytes: &[u8]) -> Checksum {
    Sha256::new()
        .chain_update(chain)
        .chain_update(schema.to_le_bytes())
        .chain_update(range.0.to_le_bytes())
        .chain_update(range.1.to_le_bytes())
        .chain_update(bytes)
        .finalize()
        .into()
}

pub(super) fn store(what: &'static str, path: &Path, source: rusqlite::Error) -> JournalError {
    JournalError::Store { what, path: path.display().to_string(), source }
}

/// Takes the lock beside the journal; the kernel frees it when this process ends, however it ends.
fn lock(path: &Path) -> Result<Flock<File>, JournalError> {
    let name = path.with_extension("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file =
        file.map_err(|source| JournalError::Lock { path: name.display().to_string(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| JournalError::InUse { path: path.display().to_string() })
}

/// Makes the names of new files durable: `SQLite` syncs their bytes only.
fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| JournalError::Lock { path: directory.display().to_string(), source })
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let set = || -> rusqlite::Result<u32> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_query_value(None, "user_version", |row| row.get(0))
    };
    let found = set().map_err(|source| store("open", path, source))?;
    if found > SCHEMA_VERSION {
        return Err(JournalError::Newer { path: path.display().to_string(), found });
    }
    let make = || -> rusqlite::Result<()> {
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)
    };
    make().map_err(|source| store("prepare", path, source))
}
