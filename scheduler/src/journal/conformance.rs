//! What every journal must do, whoever keeps it: one suite, run on each.

use tengyun_engine::{Entry, State};
use tengyun_model::Sequence;

use super::{Journal, JournalError, snapshot};
use crate::fixture::story;

/// Opens the same journal again and again.
pub(super) type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Journal>, JournalError>;

/// Runs every test of the suite; each gets an empty journal of its own.
pub(super) fn suite(fresh: impl Fn(&dyn Fn(Open<'_>))) {
    fresh(&an_empty_journal_replays_nothing);
    fresh(&what_was_appended_is_there_after_opening_again);
    fresh(&replay_starts_after_any_row_and_stops_when_told);
    fresh(&the_newest_snapshot_is_loaded_and_old_ones_go);
    fresh(&replay_from_a_snapshot_is_replay_from_the_start);
    fresh(&two_cannot_hold_one_journal);
}

/// Reads all entries after one.
pub(super) fn read(journal: &mut dyn Journal, after: u64) -> Result<Vec<Entry>, JournalError> {
    let mut entries = Vec::new();
    let mut next = after;
    journal.replay(Sequence::new(after), &mut |sequence, entry| {
        next += 1;
        assert_eq!(sequence.get(), next, "entries come in order");
        entries.push(entry);
        true
    })?;
    Ok(entries)
}

/// Appends the story in batches of this many entries.
pub(super) fn write_story(journal: &mut dyn Journal, batch: usize) -> Vec<Entry> {
    let story = story();
    let mut first = 1;
    for entries in story.chunks(batch) {
        journal.append(Sequence::new(first), entries).unwrap();
        first += u64::try_from(entries.len()).unwrap();
    }
    story
}

/// Makes the state that entries make.
pub(super) fn state_of(entries: &[Entry]) -> State {
    let mut state = State::new();
    for entry in entries {
        crate::commit::apply(&mut state, entry);
    }
    state
}

fn an_empty_journal_replays_nothing(open: Open<'_>) {
    let mut journal = open().unwrap();
    assert_eq!(journal.load_snapshot().unwrap(), None);
    assert_eq!(read(&mut *journal, 0).unwrap(), []);
    journal.verify().unwrap();
}

fn what_was_appended_is_there_after_opening_again(open: Open<'_>) {
    let written = write_story(&mut *open().unwrap(), 3);
    let mut journal = open().unwrap();
    journal.verify().unwrap();
    assert_eq!(read(&mut *journal, 0).unwrap(), written);
    let next = u64::try_from(written.len()).unwrap() + 1;
    journal.append(Sequence::new(next), &written[..1]).unwrap();
    drop(journal);
    assert_eq!(read(&mut *open().unwrap(), 0).unwrap().len(), written.len() + 1);
}

fn replay_starts_after_any_row_and_stops_when_told(open: Open<'_>) {
    let mut journal = open().unwrap();
    let written = write_story(&mut *journal, 2);
    assert_eq!(read(&mut *journal, 4).unwrap(), written[4..]);
    let mut seen = 0;
    let stopped = journal.replay(Sequence::default(), &mut |_, _| {
        seen += 1;
        seen < 3
    });
    stopped.unwrap();
    assert_eq!(seen, 3);
}

fn the_newest_snapshot_is_loaded_and_old_ones_go(open: Open<'_>) {
    let mut journal = open().unwrap();
    let written = write_story(&mut *journal, 1);
    let mut newest = None;
    for entries in 1..=written.len() {
        let image = state_of(&written[..entries]).image();
        journal.save_snapshot(&image).unwrap();
        newest = Some(image);
    }
    drop(journal);
    assert_eq!(open().unwrap().load_snapshot().unwrap(), newest);
}

fn replay_from_a_snapshot_is_replay_from_the_start(open: Open<'_>) {
    let mut journal = open().unwrap();
    let written = write_story(&mut *journal, 1);
    let live = snapshot::encode(&state_of(&written).image());
    for at in 0..written.len() {
        let image = state_of(&written[..at]).image();
        let kept = snapshot::decode(&snapshot::encode(&image)).unwrap();
        assert_eq!(kept, image, "a snapshot of entry {at} is another image");
        let mut state = State::from_image(kept).unwrap();
        for entry in read(&mut *journal, u64::try_from(at).unwrap()).unwrap() {
            crate::commit::apply(&mut state, &entry);
        }
        assert_eq!(snapshot::encode(&state.image()), live, "replay from entry {at} differs");
    }
}

fn two_cannot_hold_one_journal(open: Open<'_>) {
    let held = open().unwrap();
    let error = open().err().expect("a second one is refused");
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("--state-dir"), "{error}");
    drop(held);
    open().unwrap();
}
