//! Damage to the `SQLite` journal: every kind is found, or what is read is an exact prefix.

use std::path::Path;

use prost::Message as _;
use rusqlite::Connection;
use tengyun_engine::Entry;
use tengyun_model::Sequence;

use super::conformance::{Open, read, state_of, suite, write_story};
use super::{Journal, JournalError, SqliteJournal};

fn boxed(path: &Path) -> Result<Box<dyn Journal>, JournalError> {
    Ok(Box::new(SqliteJournal::open(path)?))
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("journal.db")
    }

    fn open(&self) -> SqliteJournal {
        SqliteJournal::open(&self.path()).unwrap()
    }

    /// Changes the file behind the journal's back.
    fn edit(&self, sql: &str, params: impl rusqlite::Params) {
        let connection = Connection::open(self.path()).unwrap();
        assert!(connection.execute(sql, params).unwrap() > 0, "{sql} changed nothing");
    }

    fn verify(&self) -> Result<(), JournalError> {
        self.open().verify()
    }
}

fn written(batch: usize) -> (Place, Vec<Entry>) {
    let place = Place::new();
    let entries = write_story(&mut place.open(), batch);
    (place, entries)
}

#[track_caller]
fn damaged_at(place: &Place, expected: u64) {
    match place.verify() {
        Err(JournalError::Damaged { sequence, .. }) => assert_eq!(sequence.get(), expected),
        other => panic!("expected damage at {expected}, found {other:?}"),
    }
}

#[test]
fn sqlite_keeps_the_promises_of_a_journal() {
    suite(|test| {
        let place = Place::new();
        let open: Open<'_> = &|| boxed(&place.path());
        test(open);
    });
}

#[test]
fn an_edited_row_is_found_with_its_number_and_the_prefix_is_served() {
    let (place, entries) = written(3);
    place.edit("UPDATE batches SET batch = CAST(batch || x'00' AS BLOB) WHERE first = 7", []);
    damaged_at(&place, 7);
    let error = place.verify().unwrap_err().to_string();
    assert!(error.contains("entry 7") && error.contains("--read-only"), "{error}");
    let mut seen = Vec::new();
    let result = place.open().replay(Sequence::default(), &mut |_, entry| {
        seen.push(entry);
        true
    });
    assert!(result.is_err());
    assert_eq!(seen, entries[..6]);
}

#[test]
fn a_row_that_was_replaced_with_a_right_checksum_of_its_own_breaks_the_chain() {
    let (place, _) = written(3);
    // The second row's bytes and checksum put in place of the third's.
    place.edit(
        "UPDATE batches SET (batch, checksum) = \
         (SELECT batch, checksum FROM batches WHERE first = 4) WHERE first = 7",
        [],
    );
    damaged_at(&place, 7);
}

#[test]
fn a_missing_row_is_found() {
    let (place, _) = written(3);
    place.edit("DELETE FROM batches WHERE first = 4", []);
    damaged_at(&place, 4);
}

#[test]
fn rows_cut_off_behind_a_snapshot_are_found() {
    let (place, entries) = written(3);
    place.open().save_snapshot(&state_of(&entries).image()).unwrap();
    place.edit("DELETE FROM batches WHERE first > 6", []);
    damaged_at(&place, 7);
}

#[test]
fn damage_behind_a_snapshot_is_found() {
    let (place, entries) = written(3);
    place.open().save_snapshot(&state_of(&entries).image()).unwrap();
    place.edit("UPDATE batches SET batch = x'' WHERE first = 1", []);
    damaged_at(&place, 1);
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_one_before_it() {
    let (place, entries) = written(1);
    let earlier = state_of(&entries[..5]).image();
    let mut journal = place.open();
    journal.save_snapshot(&earlier).unwrap();
    journal.save_snapshot(&state_of(&entries).image()).unwrap();
    drop(journal);
    place.edit("UPDATE snapshots SET image = CAST(image || x'00' AS BLOB) WHERE sequence > 5", []);
    assert_eq!(place.open().load_snapshot().unwrap(), Some(earlier));
}

#[test]
fn a_newer_row_or_file_is_refused_with_clear_words() {
    let (place, _) = written(3);
    place.edit("UPDATE batches SET schema = 5 WHERE first = 10", []);
    let error = place.verify().unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 5, .. }), "{error}");
    assert!(error.to_string().contains("install the version that wrote it"), "{error}");
    let (place, _) = written(3);
    Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let error = SqliteJournal::open(&place.path()).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 9, .. }), "{error}");
}

#[test]
fn fields_of_a_newer_version_stay_in_the_row() {
    let place = Place::new();
    let mut journal = place.open();
    let story = crate::fixture::story();
    let mut batch = super::codec::encode(&story);
    // Field 15000, a varint, at the end of the batch.
    batch.extend([0xc0, 0xa9, 0x07, 0x07]);
    let last = Sequence::new(u64::try_from(story.len()).unwrap());
    journal.append_bytes(Sequence::new(1), last, &batch).unwrap();
    drop(journal);
    let mut journal = place.open();
    assert_eq!(read(&mut journal, 0).unwrap(), story);
    journal.save_snapshot(&state_of(&story).image()).unwrap();
    drop(journal);
    let connection = Connection::open(place.path()).unwrap();
    let kept: Vec<u8> =
        connection.query_row("SELECT batch FROM batches", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, batch);
}

#[test]
fn an_entry_that_this_version_does_not_know_is_not_passed_over() {
    let place = Place::new();
    let unknown = tengyun_proto::v1::JournalEntry { at_millis: 1, command: None, wisher: None };
    let batch = tengyun_proto::v1::JournalBatch { entries: vec![unknown] }.encode_to_vec();
    place.open().append_bytes(Sequence::new(1), Sequence::new(1), &batch).unwrap();
    damaged_at(&place, 1);
}

/// Copies the closed journal, changes the copy's bytes, and reads it.
fn after(place: &Place, change: impl Fn(&mut Vec<u8>)) -> Result<Vec<Entry>, JournalError> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("journal.db");
    let mut bytes = std::fs::read(place.path()).unwrap();
    change(&mut bytes);
    std::fs::write(&copy, bytes).unwrap();
    let mut journal = SqliteJournal::open(&copy)?;
    journal.verify()?;
    read(&mut journal, 0)
}

#[test]
fn a_file_cut_anywhere_is_found_or_gives_a_prefix() {
    let (place, entries) = written(2);
    let bytes = usize::try_from(std::fs::metadata(place.path()).unwrap().len()).unwrap();
    for cut in (1..bytes).step_by(509) {
        if let Ok(read) = after(&place, |bytes| bytes.truncate(cut)) {
            assert_eq!(read, entries[..read.len()], "cut at {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_is_found_or_changes_nothing() {
    let (place, entries) = written(2);
    let bytes = usize::try_from(std::fs::metadata(place.path()).unwrap().len()).unwrap();
    let mut found = 0;
    for at in (0..bytes).step_by(97) {
        match after(&place, |bytes| bytes[at] ^= 1 << (at % 8)) {
            Ok(read) => assert_eq!(read, entries[..read.len()], "bit flipped in byte {at}"),
            Err(_) => found += 1,
        }
    }
    assert!(found > 0, "no flip was found");
}

#[test]
fn a_torn_write_ahead_log_gives_the_exact_acknowledged_prefix() {
    let place = Place::new();
    let mut journal = place.open();
    let entries = write_story(&mut journal, 2);
    // The process is killed here: the log is as it is on the disk, not checkpointed.
    let file = std::fs::read(place.path()).unwrap();
    let log = std::fs::read(place.dir.path().join("journal.db-wal")).unwrap();
    for cut in (0..=log.len()).step_by(211) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("journal.db"), &file).unwrap();
        std::fs::write(dir.path().join("journal.db-wal"), &log[..cut]).unwrap();
        let mut journal = match SqliteJournal::open(&dir.path().join("journal.db")) {
            Ok(journal) => journal,
            Err(error) => panic!("cut at {cut}: {error}"),
        };
        let read = read(&mut journal, 0).unwrap();
        assert_eq!(read, entries[..read.len()], "cut at {cut}");
        assert_eq!(read.len() % 2, 0, "half of a commit is visible at {cut}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_with_the_path() {
    let error = SqliteJournal::open(Path::new("/proc/nowhere/journal.db")).unwrap_err();
    assert!(error.to_string().contains("/proc/nowhere"), "{error}");
}

#[test]
fn a_full_store_fails_the_append() {
    let place = Place::new();
    let mut journal = place.open();
    journal.limit_pages(8);
    let big = crate::fixture::story();
    let failed = (0..100).try_for_each(|i| {
        let first = Sequence::new(1 + i * u64::try_from(big.len()).unwrap());
        journal.append(first, &big)
    });
    assert!(matches!(failed, Err(JournalError::Store { .. })), "{failed:?}");
}
