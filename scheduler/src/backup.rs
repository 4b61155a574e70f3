//! Backup and restore of a scheduler's whole state: the journal with its snapshots, the authority's
//! key, what happened lately, and every other file it keeps.
//!
//! A backup is made while the scheduler runs and disturbs it by one long read; it is whole or it is
//! not there. It holds the authority's key, so it is as secret as that. A restore writes into an empty
//! place only, and what it leaves there begins to observe before it acts.

mod archive;
mod taken;

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use tengyun_engine::Command;
use tengyun_model::{At, Epoch, Sequence};
use tengyun_proto::v1;

use crate::clock::Clock;
use crate::commit::{self, Log};
use crate::config::Config;
use crate::events::Events;
use crate::journal::{JournalError, SqliteJournal};
use crate::replay::{self, ReplayError};
use archive::Writer;
pub use taken::BackedUpJournal;

/// The format of an archive that this version writes; it reads this one and older ones.
const FORMAT: u32 = 1;
/// The most files of a state directory: the artifacts of ten thousand departments.
const FILES_MAX: usize = 1_000_000;
/// How deep directories of a state directory may lie within each other.
const DEPTH_MAX: usize = 16;

/// Tells why there is no backup, or why it is not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The archive is there already.
    #[error("{} is there already: choose another name", .0.display())]
    Exists(PathBuf),
    /// There is nothing to back up.
    #[error("{} holds no journal: say where the scheduler's state is with --state-dir", .0.display())]
    NoState(PathBuf),
    /// The journal cannot be copied.
    #[error("cannot copy journal {}", path.display())]
    Copy {
        /// The journal.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The archive is not what was written.
    #[error("{} is no whole backup: {what}", path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer version wrote the archive.
    #[error(
        "the backup has format {0}, this version reads up to {FORMAT}: install the version that wrote it"
    )]
    Newer(u32),
    /// Something is in the way.
    #[error("{} is not empty: move it away, a restore writes over nothing", .0.display())]
    NotEmpty(PathBuf),
    /// There are too many files, or they lie too deep.
    #[error("{} holds too many files", .0.display())]
    TooMany(PathBuf),
}

/// How far a backup or a restore is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The journal is copied while the scheduler goes on.
    CopyJournal,
    /// The journal is replayed from its first entry on.
    CheckJournal,
    /// All of an archive is read and its checksum made.
    CheckArchive {
        /// How many bytes it has.
        bytes: u64,
    },
    /// A file goes in or out.
    File {
        /// Which, below the state directory.
        path: String,
        /// How many bytes it has.
        bytes: u64,
    },
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The last entry of its journal.
    pub sequence: Sequence,
    /// The reign of that entry.
    pub epoch: Epoch,
    /// When it was made.
    pub made: At,
    /// How many nodes it knows.
    pub nodes: usize,
    /// How many files it has.
    pub files: usize,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Backs the state in `state_dir` up into `archive`, which must not be there; a scheduler may run.
///
/// # Errors
/// After an error there is no archive. A journal that cannot be replayed is not backed up.
pub fn backup(
    state_dir: &Path,
    archive: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<Summary, BackupError> {
    let config = Config::new(state_dir);
    if !config.journal().is_file() {
        return Err(BackupError::NoState(state_dir.to_owned()));
    }
    if archive.exists() {
        return Err(BackupError::Exists(archive.to_owned()));
    }
    let place = Scratch::make(beside(archive, "copying"))?;
    tell(Progress::CopyJournal);
    let copy = Config::new(&place.0);
    copy_journal(&config.journal(), &copy.journal())?;
    tell(Progress::CheckJournal);
    let checked = check(&copy)?;
    // What the journal speaks of was there before it, so the other files are read after it.
    let mut files = Vec::new();
    list(state_dir, Path::new(""), &mut files)?;
    let part = place.0.join("archive");
    let sum = write(&part, &copy, state_dir, &files, (&checked, tell))?;
    fs::rename(&part, archive).map_err(|e| file("name", archive, e))?;
    sync_directory(archive)?;
    Ok(sum)
}

/// Writes the archive and makes it durable.
fn write(
    part: &Path,
    copy: &Config,
    state_dir: &Path,
    files: &[PathBuf],
    (checked, tell): (&Checked, &mut dyn FnMut(Progress)),
) -> Result<Summary, BackupError> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(part);
    let mut writer = Writer::begin(BufWriter::new(made.map_err(|e| file("make", part, e))?), part)?;
    let journal = copy.journal();
    let name = journal.file_name().map(PathBuf::from).unwrap_or_default();
    add(&mut writer, &journal, &name, tell)?;
    for path in files {
        add(&mut writer, &state_dir.join(path), path, tell)?;
    }
    let made = Clock::start(At::default()).now();
    let manifest = v1::BackupManifest {
        format: FORMAT,
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        made_millis: made.millis(),
        sequence: checked.sequence.get(),
        epoch: checked.epoch.get(),
        files: Vec::new(),
    };
    let manifest = writer.end(manifest)?;
    let bytes = manifest.files.iter().map(|f| f.bytes).fold(0, u64::saturating_add);
    let Checked { sequence, epoch, nodes } = *checked;
    Ok(Summary { sequence, epoch, made, nodes, files: manifest.files.len(), bytes })
}

/// Adds one file; one that went away since it was listed is passed over.
fn add<W: io::Write>(
    writer: &mut Writer<'_, W>,
    from: &Path,
    name: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<(), BackupError> {
    let source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file("read", from, error)),
    };
    let facts = source.metadata().map_err(|e| file("read", from, e))?;
    let path = name.to_string_lossy().into_owned();
    tell(Progress::File { path: path.clone(), bytes: facts.len() });
    writer.add(path, facts.mode() & 0o777, &mut BufReader::new(source), from)
}

/// Restores an archive into `state_dir`, which must be empty or not there. No scheduler may run.
///
/// # Errors
/// After an error `state_dir` is as it was.
pub fn restore(
    archive: &Path,
    state_dir: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<Summary, BackupError> {
    if fs::read_dir(state_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::NotEmpty(state_dir.to_owned()));
    }
    let source = File::open(archive).map_err(|e| file("read", archive, e))?;
    let length = source.metadata().map_err(|e| file("read", archive, e))?.len();
    tell(Progress::CheckArchive { bytes: length });
    let mut source = BufReader::new(source);
    let manifest = archive::check(&mut source, length, archive)?;
    if manifest.format > FORMAT {
        return Err(BackupError::Newer(manifest.format));
    }
    let parent = state_dir.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|e| file("make", parent, e))?;
    let place = Scratch::make(beside(state_dir, "restoring"))?;
    source.seek(io::SeekFrom::Start(archive::BEGIN)).map_err(|e| file("read", archive, e))?;
    for entry in &manifest.files {
        let path = inner(&entry.path).ok_or_else(|| damaged(archive, "a path leads outside"))?;
        tell(Progress::File { path: entry.path.clone(), bytes: entry.bytes });
        extract(&mut source, entry, &place.0.join(path), archive)?;
    }
    tell(Progress::CheckJournal);
    let restored = Config::new(&place.0);
    let checked = check(&restored)?;
    begin_to_observe(&restored)?;
    // An empty directory gives way to ours.
    fs::rename(&place.0, state_dir).map_err(|e| file("name", state_dir, e))?;
    sync_directory(state_dir)?;
    let bytes = manifest.files.iter().map(|f| f.bytes).fold(0, u64::saturating_add);
    let made = At::from_millis(manifest.made_millis);
    let Checked { sequence, epoch, nodes } = checked;
    Ok(Summary { sequence, epoch, made, nodes, files: manifest.files.len(), bytes })
}

/// Says in the journal that it was restored, so that the scheduler knows it however often it starts.
fn begin_to_observe(config: &Config) -> Result<(), BackupError> {
    let mut journal = SqliteJournal::open(&config.journal())?;
    let recovered = replay::recover(&mut journal, &config.marker(), commit::apply)?;
    let last = recovered.at;
    let clock = Clock::start(last);
    let log = Log::new(recovered.state, clock, Some(Box::new(journal)), config.snapshot_every);
    let mut log = log.telling(Events::open(&config.events()));
    let elapsed = log.now().since(last);
    log.commit(vec![Command::Restore { elapsed }])?;
    log.snapshot()?;
    Ok(())
}

/// What a journal turned out to be.
#[derive(Clone, Copy, Debug)]
struct Checked {
    sequence: Sequence,
    epoch: Epoch,
    nodes: usize,
}

/// Checks every row of a journal and makes its state.
fn check(config: &Config) -> Result<Checked, BackupError> {
    let mut journal = SqliteJournal::open(&config.journal())?;
    let state = replay::recover(&mut journal, &config.marker(), commit::apply)?.state;
    Ok(Checked { sequence: state.sequence(), epoch: state.epoch(), nodes: state.nodes().count() })
}

/// Copies a journal as it is at one moment, though a scheduler goes on writing it.
fn copy_journal(from: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Copy { path: from.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(failed)?;
    // One read transaction: unlike the backup interface it does not begin anew at every commit.
    let target = to.to_string_lossy();
    source.execute("VACUUM INTO ?1", [target.as_ref()]).map_err(failed)?;
    Ok(())
}

/// Lists the files of a state directory besides the journal, which has its own way; sockets, locks and
/// what belongs to one run of the scheduler stay out.
fn list(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), BackupError> {
    let dir = root.join(below);
    if below.components().count() > DEPTH_MAX || found.len() > FILES_MAX {
        return Err(BackupError::TooMany(dir));
    }
    let mut entries = fs::read_dir(&dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|e| file("read", &dir, e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let kind = entry.file_type().map_err(|e| file("read", &entry.path(), e))?;
        if kind.is_dir() {
            list(root, &path, found)?;
        } else if kind.is_file() && !is_of_one_run(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_of_one_run(path: &Path) -> bool {
    const NAMES: [&str; 4] = ["journal.db", "journal.db-wal", "journal.db-shm", "replay-at"];
    let lock = path.extension().is_some_and(|end| end == "lock") && path.components().count() == 1;
    lock || NAMES.iter().any(|name| path == Path::new(name))
}

/// Returns a path that stays below where it is put.
fn inner(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.components().next().is_some()).then(|| path.to_owned())
}

fn extract(
    source: &mut impl io::Read,
    entry: &v1::BackupFile,
    to: &Path,
    archive: &Path,
) -> Result<(), BackupError> {
    let dir = to.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| file("make", dir, e))?;
    let target = File::options().write(true).create_new(true).mode(entry.mode & 0o777).open(to);
    let mut target = target.map_err(|e| file("make", to, e))?;
    archive::copy(source, entry, &mut target, (archive, to))?;
    target.sync_all().map_err(|e| file("write", to, e))?;
    sync_directory(to)
}

/// A directory that is gone when its maker is done, unless it was given another name.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: PathBuf) -> Result<Self, BackupError> {
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| file("make", &path, e))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "cannot clear away");
            }
            Err(_) | Ok(()) => {}
        }
    }
}

/// Names what lies beside a path while it is made; two at a time do not meet.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}.{}", std::process::id()))
}

fn sync_directory(of: &Path) -> Result<(), BackupError> {
    let dir = of.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|e| file("write", dir, e))
}

fn file(what: &'static str, path: &Path, source: io::Error) -> BackupError {
    BackupError::File { what, path: path.to_owned(), source }
}

fn damaged(archive: &Path, what: impl Into<String>) -> BackupError {
    BackupError::Damaged { path: archive.to_owned(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::story;
    use crate::journal::{Journal as _, snapshot};
    use tengyun_engine::State;

    pub(super) struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        /// A state directory with a journal, keys, events, a nested file and what is of one run.
        pub(super) fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join("state");
            fs::create_dir_all(state.join("secrets/a")).unwrap();
            fs::create_dir_all(state.join("authority")).unwrap();
            let mut journal = SqliteJournal::open(&state.join("journal.db")).unwrap();
            let mut live = State::new();
            for entry in story() {
                journal.append(live.sequence().next(), std::slice::from_ref(&entry)).unwrap();
                commit::apply(&mut live, &entry);
            }
            journal.save_snapshot(&live.image()).unwrap();
            fs::write(state.join("authority/authority.key"), "key").unwrap();
            fs::write(state.join("events"), "events").unwrap();
            fs::write(state.join("secrets/a/b"), vec![7; 100_000]).unwrap();
            fs::write(state.join("replay-at"), "3 0.0.0\n").unwrap();
            fs::write(state.join("scheduler.sock.lock"), "").unwrap();
            std::os::unix::net::UnixListener::bind(state.join("scheduler.sock")).unwrap();
            Self { dir }
        }

        pub(super) fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        pub(super) fn backup(&self) -> Result<Summary, BackupError> {
            backup(&self.path("state"), &self.path("archive"), &mut |_| {})
        }

        fn restore(&self) -> Result<Summary, BackupError> {
            restore(&self.path("archive"), &self.path("again"), &mut |_| {})
        }

        /// What lies beside the state.
        fn left(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path()).unwrap().flatten();
            let mut names: Vec<String> =
                entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    pub(super) fn state(dir: &Path) -> State {
        let config = Config::new(dir);
        let mut journal = SqliteJournal::open(&config.journal()).unwrap();
        replay::recover(&mut journal, &config.marker(), commit::apply).unwrap().state
    }

    #[test]
    fn what_was_backed_up_is_there_after_a_restore_and_begins_to_observe() {
        let place = Place::new();
        let made = place.backup().unwrap();
        assert_eq!(fs::metadata(place.path("archive")).unwrap().mode() & 0o777, 0o600);
        let again = place.restore().unwrap();
        assert_eq!(made, again);
        assert_eq!(place.left(), ["again", "archive", "state"], "something was left behind");
        let read = |name: &str| fs::read(place.path("again").join(name)).unwrap();
        assert_eq!(read("authority/authority.key"), b"key");
        assert_eq!(read("secrets/a/b"), vec![7; 100_000]);
        for name in ["replay-at", "scheduler.sock", "scheduler.sock.lock", "journal.db-wal"] {
            assert!(!place.path("again").join(name).exists(), "{name} is of one run");
        }
        let (before, after) = (state(&place.path("state")), state(&place.path("again")));
        assert_eq!(after.sequence(), before.sequence().next());
        assert!(after.observes() && after.epoch() > before.epoch());
        let kept = |s: &State| {
            let mut image = s.image();
            image.nodes.iter_mut().for_each(|n| n.generation = tengyun_model::Generation::new(0));
            (image.nodes, image.workloads, image.instances, image.meters, image.members)
        };
        assert_eq!(kept(&after), kept(&before));
        let events = Events::read(&Config::new(place.path("again")).events());
        let list = events.list(&v1::ListEventsRequest::default());
        assert!(list.events.iter().any(|e| e.kind == "restored"));
    }

    #[test]
    fn a_backup_is_made_while_the_journal_is_written() {
        let place = Place::new();
        let mut journal = SqliteJournal::open(&place.path("state/journal.db")).unwrap();
        let mut live = replay::recover(&mut journal, &place.path("marker"), commit::apply).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let made = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let entry = tengyun_engine::Entry {
                        at: live.state.at(),
                        by: None,
                        command: Command::BeginEpoch,
                    };
                    let next = live.state.sequence().next();
                    journal.append(next, std::slice::from_ref(&entry)).unwrap();
                    commit::apply(&mut live.state, &entry);
                }
            });
            let made = place.backup();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            writing.join().unwrap();
            made.unwrap()
        });
        assert!(made.sequence <= live.state.sequence());
        assert_eq!(place.restore().unwrap().sequence, made.sequence);
    }

    #[test]
    fn a_restore_writes_over_nothing_and_a_backup_replaces_nothing() {
        let place = Place::new();
        place.backup().unwrap();
        assert!(matches!(place.backup(), Err(BackupError::Exists(_))));
        fs::create_dir(place.path("again")).unwrap();
        fs::write(place.path("again/journal.db"), "precious").unwrap();
        assert!(matches!(place.restore(), Err(BackupError::NotEmpty(_))));
        assert_eq!(fs::read(place.path("again/journal.db")).unwrap(), b"precious");
        fs::remove_file(place.path("again/journal.db")).unwrap();
        place.restore().unwrap();
    }

    #[test]
    fn a_changed_or_cut_archive_is_found_and_nothing_is_written() {
        let place = Place::new();
        place.backup().unwrap();
        let whole = fs::read(place.path("archive")).unwrap();
        let step = (whole.len() / 97).max(1);
        let ends = [0, 1, 7, 8, whole.len() - 1, whole.len() - 8, whole.len() - 40];
        for at in (0..whole.len()).step_by(step).chain(ends) {
            let mut bytes = whole.clone();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x10;
                fs::write(place.path("archive"), &bytes).unwrap();
                let error = place.restore().unwrap_err();
                assert!(matches!(error, BackupError::Damaged { .. }), "byte {at}: {error}");
            }
            fs::write(place.path("archive"), &whole[..at]).unwrap();
            let error = place.restore().unwrap_err();
            assert!(matches!(error, BackupError::Damaged { .. }), "cut at {at}: {error}");
        }
        assert_eq!(place.left(), ["archive", "state"]);
    }

    #[test]
    fn a_damaged_journal_is_not_backed_up() {
        let place = Place::new();
        let connection = Connection::open(place.path("state/journal.db")).unwrap();
        connection.execute("UPDATE batches SET batch = x'00' WHERE first = 2", []).unwrap();
        drop(connection);
        let error = place.backup().unwrap_err().to_string();
        assert!(error.contains("damaged at entry 2"), "{error}");
        assert_eq!(place.left(), ["state"]);
    }

    #[test]
    fn a_directory_without_a_journal_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        let made = backup(dir.path(), &dir.path().join("archive"), &mut |_| {});
        assert!(matches!(made, Err(BackupError::NoState(_))));
    }

    #[test]
    fn a_path_that_leads_outside_is_none() {
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "./a"] {
            let known = inner(bad);
            // A leading dot is dropped by the system's own rules of paths.
            assert!(known.is_none() || bad == "./a", "{bad}");
        }
        assert_eq!(inner("a/b"), Some(PathBuf::from("a/b")));
    }

    #[test]
    fn the_image_of_a_restore_survives_a_snapshot() {
        let place = Place::new();
        place.backup().unwrap();
        place.restore().unwrap();
        let image = state(&place.path("again")).image();
        assert!(image.restored.is_some());
        assert_eq!(snapshot::decode(&snapshot::encode(&image)).unwrap(), image);
    }
}
