//! Recovery: the newest snapshot and every later entry give the state again.
//!
//! [`State::apply`] is total, but if replaying an entry panics all the same the daemon stops with the
//! entry's number. A release build aborts at a panic, so the number is also left in a small file, the
//! marker; with it a read-only scheduler of the same version serves the state before that entry.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tengyun_engine::{Entry, Outcome, Refusal, State};
use tengyun_model::{At, Sequence};

use crate::journal::{Journal, JournalError};

/// The version that a marker speaks of: another one may be able to replay the entry.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The panic hook is one for the whole process, so one recovery at a time may set it.
static HOOK: Mutex<()> = Mutex::new(());

/// Applies one entry.
pub(crate) type Apply = fn(&mut State, &Entry) -> Outcome;

/// Tells why the state cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A snapshot is not a state.
    #[error("the snapshot of entry {sequence} is not a state: {refusal}")]
    Snapshot {
        /// The last entry in it.
        sequence: Sequence,
        /// What is wrong with it.
        refusal: Box<Refusal>,
    },
    /// An entry cannot be applied by this version.
    #[error(
        "entry {sequence} cannot be replayed by version {VERSION}: install another version, or \
         start with --read-only to see what stands before it"
    )]
    Panicked {
        /// The entry.
        sequence: Sequence,
    },
}

/// A state made again.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The state.
    pub state: State,
    /// The moment of its last entry.
    pub at: At,
    /// Why it ends before the journal does, if it does.
    pub fault: Option<ReplayError>,
}

/// Makes the state again, or fails; never serves a part of it.
pub(crate) fn recover(
    journal: &mut dyn Journal,
    marker: &Path,
    apply: Apply,
) -> Result<Recovered, ReplayError> {
    journal.verify()?;
    let recovered = Replay { marker, apply, end: None }.run(journal)?;
    if let Some(fault) = recovered.fault {
        return Err(fault);
    }
    remove_marker(marker);
    Ok(recovered)
}

/// Makes as much of the state again as can be trusted, and says why it is not all.
pub(crate) fn recover_prefix(
    journal: &mut dyn Journal,
    marker: &Path,
    apply: Apply,
) -> Result<Recovered, ReplayError> {
    let damage = journal.verify().err();
    let marked = read_marker(marker);
    let mut recovered = Replay { marker, apply, end: marked }.run(journal)?;
    if let Some(ReplayError::Panicked { sequence }) = recovered.fault {
        // The state is torn by the panic: make it again and stop before.
        recovered = Replay { marker, apply, end: Some(sequence) }.run(journal)?;
    }
    recovered.fault = recovered.fault.or(damage.map(Into::into));
    Ok(recovered)
}

/// One walk through the journal.
struct Replay<'a> {
    marker: &'a Path,
    apply: Apply,
    /// The entry to stop before.
    end: Option<Sequence>,
}

impl Replay<'_> {
    fn run(&self, journal: &mut dyn Journal) -> Result<Recovered, ReplayError> {
        let (mut state, mut at) = start(journal)?;
        let from = state.sequence();
        let replaying = Arc::new(AtomicU64::new(0));
        let mut fault = None;
        let mut visit = |sequence: Sequence, entry: Entry| {
            if self.end == Some(sequence) {
                fault = Some(ReplayError::Panicked { sequence });
                return false;
            }
            replaying.store(sequence.get(), Ordering::Relaxed);
            let applied = catch_unwind(AssertUnwindSafe(|| (self.apply)(&mut state, &entry)));
            at = entry.at;
            if applied.is_err() {
                fault = Some(ReplayError::Panicked { sequence });
            }
            applied.is_ok()
        };
        let read = with_marker(self.marker, &replaying, || journal.replay(from, &mut visit));
        if let Err(error) = read {
            fault = fault.or(Some(error.into()));
        }
        Ok(Recovered { state, at, fault })
    }
}

fn start(journal: &mut dyn Journal) -> Result<(State, At), ReplayError> {
    let Some(image) = journal.load_snapshot()? else {
        return Ok((State::new(), At::default()));
    };
    let (sequence, at) = (image.sequence, image.at);
    let state = State::from_image(image)
        .map_err(|refusal| ReplayError::Snapshot { sequence, refusal: Box::new(refusal) })?;
    Ok((state, at))
}

/// Runs `body`; a panic in it, on this thread, leaves the entry's number in the marker before the
/// process can abort.
fn with_marker<T>(marker: &Path, replaying: &Arc<AtomicU64>, body: impl FnOnce() -> T) -> T {
    let _one = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let previous: Arc<dyn Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync> =
        Arc::from(std::panic::take_hook());
    let (inner, marker, at) = (Arc::clone(&previous), marker.to_owned(), Arc::clone(replaying));
    let own = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == own {
            leave_marker(&marker, at.load(Ordering::Relaxed));
        }
        inner(info);
    }));
    let result = body();
    std::panic::set_hook(Box::new(move |info| previous(info)));
    result
}

fn leave_marker(marker: &Path, sequence: u64) {
    tracing::error!(sequence, version = VERSION, "this entry cannot be replayed");
    if let Err(error) = std::fs::write(marker, format!("{sequence} {VERSION}\n")) {
        tracing::error!(path = %marker.display(), %error, "cannot leave the replay marker");
    }
}

/// Removes a marker that is no longer true.
fn remove_marker(marker: &Path) {
    match std::fs::remove_file(marker) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %marker.display(), %error, "cannot remove the replay marker");
        }
        Err(_) | Ok(()) => {}
    }
}

/// Returns the entry that this version could not replay, if a marker says so.
fn read_marker(marker: &Path) -> Option<Sequence> {
    let text = std::fs::read_to_string(marker).ok()?;
    let (sequence, version) = text.trim().split_once(' ')?;
    sequence.parse().ok().filter(|_| version == VERSION).map(Sequence::new)
}

#[cfg(test)]
mod tests {
    use tengyun_engine::Command;

    use super::*;
    use crate::commit;
    use crate::fixture::story;
    use crate::journal::{SqliteJournal, snapshot};

    fn panics_at_stop(state: &mut State, entry: &Entry) -> Outcome {
        assert!(!matches!(entry.command, Command::StopWorkload { .. }), "a bug of this version");
        commit::apply(state, entry)
    }

    struct Place {
        _dir: tempfile::TempDir,
        marker: std::path::PathBuf,
        journal: SqliteJournal,
        live: State,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::open(&dir.path().join("journal.db")).unwrap();
        let mut live = State::new();
        for entry in story() {
            journal.append(live.sequence().next(), std::slice::from_ref(&entry)).unwrap();
            commit::apply(&mut live, &entry);
        }
        Place { marker: dir.path().join("replay-at"), _dir: dir, journal, live }
    }

    fn bytes(state: &State) -> Vec<u8> {
        snapshot::encode(&state.image())
    }

    /// The entry of the story that the bug is about, and the state before it.
    fn before_stop() -> (Sequence, State) {
        let mut state = State::new();
        for entry in story() {
            if matches!(entry.command, Command::StopWorkload { .. }) {
                break;
            }
            commit::apply(&mut state, &entry);
        }
        (state.sequence().next(), state)
    }

    #[test]
    fn replay_gives_the_live_state_byte_for_byte() {
        let mut place = place();
        let recovered = recover(&mut place.journal, &place.marker, commit::apply).unwrap();
        assert_eq!(bytes(&recovered.state), bytes(&place.live));
        assert!(!place.marker.exists());
        place.journal.save_snapshot(&place.live.image()).unwrap();
        let recovered = recover(&mut place.journal, &place.marker, commit::apply).unwrap();
        assert_eq!(bytes(&recovered.state), bytes(&place.live));
        assert_eq!(recovered.at, story().last().unwrap().at);
    }

    #[test]
    fn an_entry_that_panics_stops_the_daemon_with_its_number() {
        let mut place = place();
        let (sequence, _) = before_stop();
        let error = recover(&mut place.journal, &place.marker, panics_at_stop).unwrap_err();
        assert!(error.to_string().starts_with(&format!("entry {sequence} cannot")), "{error}");
        let marker = std::fs::read_to_string(&place.marker).unwrap();
        assert_eq!(marker, format!("{sequence} {VERSION}\n"));
    }

    #[test]
    fn what_stands_before_the_panic_is_still_served() {
        let mut place = place();
        let (sequence, before) = before_stop();
        let recovered = recover_prefix(&mut place.journal, &place.marker, panics_at_stop).unwrap();
        assert_eq!(bytes(&recovered.state), bytes(&before));
        let fault = recovered.fault.unwrap().to_string();
        assert!(fault.contains(&format!("entry {sequence} ")), "{fault}");
    }

    #[test]
    fn a_marker_of_this_version_is_enough_where_a_panic_aborts() {
        let mut place = place();
        let (sequence, before) = before_stop();
        leave_marker(&place.marker, sequence.get());
        // This apply would not panic: only the marker says where to stop.
        let recovered = recover_prefix(&mut place.journal, &place.marker, commit::apply).unwrap();
        assert_eq!(bytes(&recovered.state), bytes(&before));
        assert!(recovered.fault.is_some());
    }

    #[test]
    fn a_marker_of_another_version_is_passed_over() {
        let mut place = place();
        std::fs::write(&place.marker, "3 0.0.0-other\n").unwrap();
        let recovered = recover_prefix(&mut place.journal, &place.marker, commit::apply).unwrap();
        assert_eq!(bytes(&recovered.state), bytes(&place.live));
        std::fs::write(&place.marker, "garbage").unwrap();
        let recovered = recover_prefix(&mut place.journal, &place.marker, commit::apply).unwrap();
        assert!(recovered.fault.is_none());
    }

    #[test]
    fn a_version_that_can_replay_removes_the_marker() {
        let mut place = place();
        leave_marker(&place.marker, 3);
        recover(&mut place.journal, &place.marker, commit::apply).unwrap();
        assert!(!place.marker.exists());
    }
}
