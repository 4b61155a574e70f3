//! A recording: the volatile entries beside the journal, kept only where somebody asked for it, so
//! that the laboratory can plan a past day anew.
//!
//! A recording may lose its last second and its oldest parts: it is bounded, it is never synced, and a
//! fault of it never stops the scheduler.

mod reader;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tengyun_engine::{Command, Entry, State};
use tracing::warn;

use crate::journal::codec;

pub use reader::{Recorded, Recording, RecordingError};

/// A recording is cut into so many parts, of which the oldest goes when it grows too large.
const PARTS: u64 = 8;
/// What a part begins with: the form of what follows.
const MAGIC: &[u8; 4] = b"TYV1";
/// How the files of parts are called.
const PREFIX: &str = "volatile-";
const SUFFIX: &str = ".rec";
/// The longest entry: far longer than the report of a full node.
const ENTRY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a checksum that are kept: enough against torn writes, which is all they are for.
const CHECK_BYTES: usize = 4;

/// Writes a recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    directory: PathBuf,
    bytes_max: u64,
    number: u64,
    written: u64,
    /// Nothing after a fault: half a part is worse than none.
    out: Option<BufWriter<File>>,
}

impl Recorder {
    /// Begins a new part in a directory, which is made, beside those of earlier runs.
    pub(crate) fn open(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let number = parts(directory)?.last().map_or(0, |(number, _)| *number);
        let directory = directory.to_owned();
        let mut recorder = Self { directory, bytes_max, number, written: 0, out: None };
        recorder.begin_part()?;
        Ok(recorder)
    }

    /// Keeps an entry that was just applied.
    pub(crate) fn keep(&mut self, state: &State, entry: &Entry) {
        if self.out.is_none() {
            return;
        }
        if let Err(error) = self.try_keep(state, entry) {
            warn!(%error, directory = %self.directory.display(), "the recording ends here");
            self.out = None;
        }
    }

    fn try_keep(&mut self, state: &State, entry: &Entry) -> io::Result<()> {
        if self.written > self.bytes_max / PARTS {
            self.finish()?;
            self.begin_part()?;
            // A part can be read without those before it, which may be gone.
            if !state.stretches().is_empty() {
                let command = Command::NoteDays(state.stretches().to_vec());
                self.write(state, &Entry { at: entry.at, by: None, command })?;
            }
            for node in state.nodes().filter(|n| state.connected(n.id)) {
                self.write(
                    state,
                    &Entry { at: entry.at, by: None, command: Command::ConnectNode(node.id) },
                )?;
            }
        }
        self.write(state, entry)?;
        // Once a second is often enough, and rare enough to cost nothing.
        if entry.command == Command::Watch { self.finish() } else { Ok(()) }
    }

    fn write(&mut self, state: &State, entry: &Entry) -> io::Result<()> {
        let bytes = codec::encode_volatile(state.sequence(), entry);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let Some(out) = &mut self.out else { return Ok(()) };
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&check(&bytes))?;
        out.write_all(&bytes)?;
        self.written += u64::from(length) + 8;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), io::Write::flush)
    }

    /// Begins the next part and removes the oldest ones while all are too large together.
    fn begin_part(&mut self) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        self.number += 1;
        let path = self.directory.join(format!("{PREFIX}{:012}{SUFFIX}", self.number));
        let mut open = File::options();
        let mut out = BufWriter::new(open.write(true).create_new(true).mode(0o600).open(path)?);
        out.write_all(MAGIC)?;
        self.out = Some(out);
        self.written = 0;
        let parts = parts(&self.directory)?;
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |m| m.len());
        let mut all: u64 = parts.iter().map(|(_, path)| size(path)).sum();
        // The new part will grow to its own share.
        let most = self.bytes_max - self.bytes_max / PARTS;
        for (_, path) in parts.iter().filter(|(number, _)| *number < self.number) {
            if all <= most {
                break;
            }
            all = all.saturating_sub(size(path));
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Returns the parts of a recording in their order.
fn parts(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let number = name.strip_prefix(PREFIX).and_then(|n| n.strip_suffix(SUFFIX));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            parts.push((number, path));
        }
    }
    parts.sort();
    Ok(parts)
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    [digest[0], digest[1], digest[2], digest[3]]
}
