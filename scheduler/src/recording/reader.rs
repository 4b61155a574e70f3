//! Reading a recording: every entry, durable and volatile, in the order in which they were applied.
//!
//! What is torn or damaged ends its part and is counted; the other parts are read all the same.

use std::io;
use std::path::{Path, PathBuf};

use tengyun_engine::Entry;
use tengyun_model::Sequence;

use super::{CHECK_BYTES, ENTRY_BYTES_MAX, MAGIC, check, parts};
use crate::journal::JournalError;
use crate::journal::codec;
use crate::journal::reader::JournalReader;

/// Tells why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Its journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its files cannot be read.
    #[error("cannot read recording {path}")]
    File {
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{0} holds no recording: start the scheduler with --record-volatile")]
    Nothing(PathBuf),
}

/// One entry of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its number when it is durable.
    pub sequence: Option<Sequence>,
    /// The entry.
    pub entry: Entry,
}

/// A journal and the volatile entries recorded beside it, as one stream.
#[derive(Debug)]
pub struct Recording {
    journal: std::iter::Peekable<JournalReader>,
    volatile: Volatile,
    next: Option<(Sequence, Entry)>,
    last: Sequence,
}

impl Recording {
    /// Opens a recording and its journal.
    ///
    /// # Errors
    /// Either cannot be read, or nothing was recorded.
    pub fn open(journal: JournalReader, directory: &Path) -> Result<Self, RecordingError> {
        let fault = |source| RecordingError::File { path: directory.to_owned(), source };
        let files = parts(directory).map_err(fault)?;
        let files: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
        if files.is_empty() {
            return Err(RecordingError::Nothing(directory.to_owned()));
        }
        let last = journal.end();
        let mut volatile =
            Volatile { files: files.into_iter(), bytes: Vec::new(), at: 0, torn: 0, read: 0 };
        let next = volatile.next()?;
        Ok(Self { journal: journal.peekable(), volatile, next, last })
    }

    /// Returns how many volatile entries were read so far.
    pub fn volatile(&self) -> u64 {
        self.volatile.read
    }

    /// Returns how many parts were torn or damaged so far.
    pub fn torn(&self) -> u64 {
        self.volatile.torn
    }

    fn step(&mut self) -> Result<Option<Recorded>, RecordingError> {
        let durable = match self.journal.peek() {
            Some(Ok((sequence, _))) => Some(*sequence),
            Some(Err(_)) => return self.take_durable(),
            None => None,
        };
        let first = match (&self.next, durable) {
            (Some((after, _)), Some(durable)) => *after < durable,
            // Entries that came after the moment of which the journal was read have no place.
            (Some((after, _)), None) => *after <= self.last,
            (None, _) => false,
        };
        if !first {
            return self.take_durable();
        }
        let taken = std::mem::replace(&mut self.next, self.volatile.next()?);
        Ok(taken.map(|(_, entry)| Recorded { sequence: None, entry }))
    }

    fn take_durable(&mut self) -> Result<Option<Recorded>, RecordingError> {
        let Some(read) = self.journal.next() else { return Ok(None) };
        let (sequence, entry) = read?;
        Ok(Some(Recorded { sequence: Some(sequence), entry }))
    }
}

impl Iterator for Recording {
    type Item = Result<Recorded, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The volatile entries, part by part.
#[derive(Debug)]
struct Volatile {
    files: std::vec::IntoIter<PathBuf>,
    bytes: Vec<u8>,
    at: usize,
    torn: u64,
    read: u64,
}

impl Volatile {
    fn next(&mut self) -> Result<Option<(Sequence, Entry)>, RecordingError> {
        loop {
            if self.at < self.bytes.len() {
                if let Some(entry) = self.frame() {
                    self.read += 1;
                    return Ok(Some(entry));
                }
                self.torn += 1;
            }
            let Some(path) = self.files.next() else {
                self.bytes.clear();
                return Ok(None);
            };
            // A part is bounded by the daemon that wrote it.
            self.bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                // The scheduler that still records made room just now.
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(source) => return Err(RecordingError::File { path, source }),
            };
            self.at = MAGIC.len();
            if !self.bytes.starts_with(MAGIC) {
                self.torn += 1;
                self.bytes.clear();
            }
        }
    }

    /// Takes the next entry of the present part; nothing when it is torn.
    fn frame(&mut self) -> Option<(Sequence, Entry)> {
        let rest = self.bytes.get(self.at..)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<CHECK_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let body = rest.get(..length).filter(|_| length <= ENTRY_BYTES_MAX)?;
        let entry = codec::decode_volatile(body).ok().filter(|_| check(body) == *sum)?;
        self.at += 4 + CHECK_BYTES + length;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use tengyun_engine::{Command, State};
    use tengyun_model::{
        At, InstanceId, InstanceSketch, Mebibytes, Millicores, Millis, NodeId, NodeUsage, Peaks,
        Permille, Sketch, SketchWindow, UsageHistory,
    };

    use super::super::Recorder;
    use super::*;
    use crate::clock::Clock;
    use crate::commit::Log;
    use crate::fixture::{apply, facts, spec};
    use crate::journal::SqliteJournal;

    const NODE: NodeId = NodeId::new(1);

    fn usage() -> Command {
        let usage = NodeUsage { interval: Millis::new(1000), ..NodeUsage::default() };
        Command::ReportUsage { node: NODE, usage }
    }

    fn log(dir: &Path, bytes_max: u64) -> Log {
        let journal = SqliteJournal::open(&dir.join("journal.db")).unwrap();
        let log = Log::new(State::new(), Clock::start(At::default()), Some(Box::new(journal)), 100);
        log.recording(Some(Recorder::open(&dir.join("rec"), bytes_max).unwrap()))
    }

    fn read(dir: &Path) -> Recording {
        let journal = JournalReader::open(dir).unwrap();
        Recording::open(journal, &dir.join("rec")).unwrap()
    }

    fn words(recording: &mut Recording) -> Vec<&'static str> {
        let word = |read: Result<Recorded, RecordingError>| match read.unwrap().entry.command {
            Command::BeginEpoch => "epoch",
            Command::RegisterNode(_) => "node",
            Command::ApplyWorkload { .. } => "apply",
            Command::ConnectNode(_) => "connect",
            Command::ReportUsage { .. } => "report",
            Command::Watch => "watch",
            _ => "else",
        };
        recording.map(word).collect()
    }

    fn story(log: &mut Log) {
        log.note(Command::Watch);
        log.commit(vec![Command::BeginEpoch, Command::RegisterNode(facts("n1"))]).unwrap();
        log.note(Command::ConnectNode(NODE));
        log.note(usage());
        log.commit(vec![apply(1, spec("web", 1))]).unwrap();
        log.note(usage());
        log.note(Command::Watch);
    }

    #[test]
    fn a_recording_gives_every_entry_in_the_order_in_which_it_was_applied() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 20);
        story(&mut log);
        let mut recording = read(dir.path());
        let wanted = ["watch", "epoch", "node", "connect", "report", "apply", "report", "watch"];
        assert_eq!(words(&mut recording), wanted);
        assert_eq!((recording.volatile(), recording.torn()), (5, 0));
    }

    #[test]
    fn what_agents_remember_is_recorded_as_it_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 20);
        log.commit(vec![Command::BeginEpoch, Command::RegisterNode(facts("n1"))]).unwrap();
        let window = |cpu, covered| SketchWindow {
            cpu: Millicores::new(cpu),
            covered: Permille::new(covered),
        };
        let windows = vec![window(70_000, 1000), window(0, 0), window(3, 250)];
        let sketch = Sketch { from: At::from_millis(600_000), windows, memory: Mebibytes::new(9) };
        let instance = InstanceId::new(u64::MAX);
        let mut peaks = Peaks::default();
        peaks.note(At::from_millis(1_500_000), Mebibytes::new(70), Millis::new(1000));
        let history = UsageHistory {
            at: At::from_millis(1_600_000),
            window: Millis::from_secs(300),
            foreign: Some(sketch.clone()),
            instances: vec![InstanceSketch { instance, sketch, peaks }],
        };
        let command = Command::ReportHistory { node: NODE, history };
        log.note(command.clone());
        log.note(Command::Watch);
        let mut commands = read(dir.path()).map(|read| read.unwrap().entry.command);
        assert!(commands.any(|read| read == command));
    }

    #[test]
    fn a_torn_end_is_counted_and_what_stands_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 20);
        story(&mut log);
        let (_, part) = parts(&dir.path().join("rec")).unwrap().remove(0);
        let whole = std::fs::read(&part).unwrap();
        for cut in MAGIC.len() + 1..whole.len() {
            std::fs::write(&part, &whole[..cut]).unwrap();
            let mut recording = read(dir.path());
            let count = words(&mut recording).len();
            assert!((3..8).contains(&count), "{count} entries of {cut} bytes");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&part, &flipped).unwrap();
        let mut recording = read(dir.path());
        assert_eq!((words(&mut recording).len(), recording.torn()), (7, 1));
        std::fs::write(&part, "something else").unwrap();
        assert_eq!(words(&mut read(dir.path())), ["epoch", "node", "apply"]);
    }

    #[test]
    fn a_recording_is_bounded_and_its_parts_stand_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 8192);
        story(&mut log);
        for _ in 0..2000 {
            log.note(usage());
        }
        log.note(Command::Watch);
        let sizes = parts(&dir.path().join("rec")).unwrap();
        assert!(sizes[0].0 > 1, "the oldest part is still there");
        let all: u64 = sizes.iter().map(|(_, p)| std::fs::metadata(p).unwrap().len()).sum();
        assert!(all <= 8192 + 1024, "{all} bytes");
        let read = words(&mut read(dir.path()));
        assert_eq!(read[..4], ["epoch", "node", "apply", "connect"]);
    }

    #[test]
    fn a_disk_that_fails_ends_the_recording_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1024);
        std::fs::remove_dir_all(dir.path().join("rec")).unwrap();
        story(&mut log);
        for _ in 0..200 {
            log.note(usage());
        }
        assert_eq!(log.state().instances().count(), 1);
    }
}
