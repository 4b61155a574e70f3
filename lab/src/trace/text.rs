//! Lines of text files: bounded, whatever a file holds.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::{TraceError, fault, too_large};

/// The longest line; a longer one is a bad row.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The most files of one directory.
const FILES_MAX: usize = 200_000;
/// The largest JSON file: it is held in memory whole.
const JSON_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Hands over every line; one that is too long or not UTF-8 is handed over as `None`.
pub(crate) fn lines(
    path: &Path,
    mut each: impl FnMut(Option<&str>) -> Result<(), TraceError>,
) -> Result<(), TraceError> {
    let file = File::open(path).map_err(|e| fault(path, &e))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = reader.by_ref().take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line).map_err(|e| fault(path, &e))?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n') || line.len() < 64 * 1024;
        if !whole {
            skip_line(&mut reader).map_err(|e| fault(path, &e))?;
        }
        let text = std::str::from_utf8(&line).ok().filter(|_| whole);
        each(text.map(|t| t.trim_end_matches(['\n', '\r'])))?;
    }
}

fn skip_line(reader: &mut BufReader<File>) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (used, ends) = match buffer.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        if ends {
            return Ok(());
        }
    }
}

/// Returns the files of a directory in the order of their names, of those that a condition holds.
pub(crate) fn files(
    directory: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, TraceError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|e| fault(directory, &e))? {
        let entry = entry.map_err(|e| fault(directory, &e))?;
        let path = entry.path();
        let name = entry.file_name();
        if path.is_file() && name.to_str().is_some_and(&wanted) {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(too_large(directory, "files", FILES_MAX));
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a JSON file.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, TraceError> {
    let file = File::open(path).map_err(|e| fault(path, &e))?;
    let size = file.metadata().map_err(|e| fault(path, &e))?.len();
    if size > JSON_BYTES_MAX {
        let limit = usize::try_from(JSON_BYTES_MAX).unwrap_or(usize::MAX);
        return Err(too_large(path, "bytes", limit));
    }
    serde_json::from_reader(BufReader::new(file)).map_err(|e| fault(path, &e))
}

/// Parses a number; blanks and quotes around it do not matter.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.trim().trim_matches('"').parse().ok().filter(|n: &f64| n.is_finite())
}
