//! A file of the kernel that is read again and again: kept open and read into a reused buffer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The most that is read of one file: `/proc/stat` of a server with 1,000 CPUs fits.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// Where a buffer begins; most files of the kernel are smaller.
const BUFFER_BYTES: usize = 4096;

/// Where files are read into, and which of them stay open.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn new() -> Self {
        Self(vec![0; BUFFER_BYTES])
    }

    /// Reads an open file from its beginning; one that does not fit grows the buffer once.
    pub(super) fn fill(&mut self, file: &File) -> io::Result<&[u8]> {
        let mut filled = 0;
        loop {
            let offset = u64::try_from(filled).unwrap_or(u64::MAX);
            match file.read_at(&mut self.0[filled..], offset) {
                Ok(0) => return Ok(&self.0[..filled]),
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if filled == self.0.len() {
                if filled >= FILE_BYTES_MAX {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                self.0.resize(filled.saturating_mul(2), 0);
            }
        }
    }
}

/// Whether a file stays open between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// It stays open.
    Open,
    /// It is opened for each reading, because too many others stay open.
    Closed,
}

/// A file that is read again and again.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    keeping: Keeping,
    file: Option<File>,
}

impl Kept {
    pub(super) fn new(path: &Path, keeping: Keeping) -> Self {
        Self { path: path.to_owned(), keeping, file: None }
    }

    /// Reads it; one that is not there, or went away, is opened again the next time.
    pub(super) fn read<'a>(&mut self, buffer: &'a mut Buffer) -> Option<&'a str> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).ok()?,
        };
        let bytes = buffer.fill(&file).ok()?;
        if self.keeping == Keeping::Open {
            self.file = Some(file);
        }
        std::str::from_utf8(bytes).ok()
    }

    /// Reads it as one number.
    pub(super) fn number(&mut self, buffer: &mut Buffer) -> Option<u64> {
        self.read(buffer)?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_from_its_beginning_each_time_whether_it_stays_open_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counter");
        for keeping in [Keeping::Open, Keeping::Closed] {
            let (mut kept, mut buffer) = (Kept::new(&path, keeping), Buffer::new());
            for number in [1_u64, 22, 333] {
                std::fs::write(&path, format!("{number}\n")).unwrap();
                assert_eq!(kept.number(&mut buffer), Some(number));
                assert_eq!(kept.file.is_some(), keeping == Keeping::Open);
            }
        }
    }

    #[test]
    fn a_file_that_comes_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("late");
        let (mut kept, mut buffer) = (Kept::new(&path, Keeping::Open), Buffer::new());
        assert_eq!(kept.read(&mut buffer), None);
        std::fs::write(&path, "7").unwrap();
        assert_eq!(kept.number(&mut buffer), Some(7));
    }

    #[test]
    fn a_long_file_grows_the_buffer_and_an_endless_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        std::fs::write(&path, "x".repeat(3 * BUFFER_BYTES)).unwrap();
        let (mut kept, mut buffer) = (Kept::new(&path, Keeping::Open), Buffer::new());
        assert_eq!(kept.read(&mut buffer).map(str::len), Some(3 * BUFFER_BYTES));
        let mut endless = Kept::new(Path::new("/dev/zero"), Keeping::Open);
        assert_eq!(endless.read(&mut buffer), None);
        assert!(buffer.0.len() <= FILE_BYTES_MAX);
    }
}
