//! Lines of text files: bounded, whatever a file holds.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::packed::{open, plain};
use super::{TraceError, fault, too_large};

/// The longest line; a longer one is a bad row.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The most files of one directory.
const FILES_MAX: usize = 200_000;
/// The largest JSON file: it is held in memory whole.
const JSON_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Hands over every line of a file, packed or not; one that is too long or not UTF-8 is handed over as
/// `None`.
pub(crate) fn lines(
    path: &Path,
    mut each: impl FnMut(Option<&str>) -> Result<(), TraceError>,
) -> Result<(), TraceError> {
    let mut reader = open(path).map_err(|e| fault(path, &e))?;
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

fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
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

/// Returns the first line of a file, if it is one of text.
pub(crate) fn first_line(path: &Path) -> Option<String> {
    let mut first = None;
    // It alone decides; what follows is not read for it.
    let stop = lines(path, |line| {
        first = line.map(str::to_owned);
        Err(fault(path, &"read far enough"))
    });
    first.filter(|_| stop.is_err())
}

/// Returns the files of a directory in the order of their names, of whose plain names a condition holds.
/// A packed file beside the same one unpacked is left out: it would be read twice.
pub(crate) fn files(
    directory: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, TraceError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|e| fault(directory, &e))? {
        let entry = entry.map_err(|e| fault(directory, &e))?;
        let path = entry.path();
        let name = entry.file_name();
        if path.is_file() && name.to_str().is_some_and(|name| wanted(plain(name))) {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(too_large(directory, "files", FILES_MAX));
        }
    }
    let all: BTreeSet<PathBuf> = files.into_iter().collect();
    let twice = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        plain(name) != name && all.contains(&path.with_file_name(plain(name)))
    };
    Ok(all.iter().filter(|path| !twice(path)).cloned().collect())
}

/// Returns the file of a directory that is called so, whole, packed or in an archive of its own.
pub(crate) fn named(directory: &Path, stem: &str) -> Option<PathBuf> {
    let ends = [".csv", ".csv.gz", ".tar.gz"];
    ends.iter().map(|end| directory.join(format!("{stem}{end}"))).find(|path| path.is_file())
}

/// Returns the name of a file without what says how it is packed.
pub(crate) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    plain(&name).to_owned()
}

/// Reads a JSON file, packed or not.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, TraceError> {
    let file = open(path).map_err(|e| fault(path, &e))?;
    let mut bounded = file.take(JSON_BYTES_MAX + 1);
    let read = serde_json::from_reader(BufReader::new(&mut bounded));
    if bounded.limit() == 0 {
        let limit = usize::try_from(JSON_BYTES_MAX).unwrap_or(usize::MAX);
        return Err(too_large(path, "bytes", limit));
    }
    read.map_err(|e| fault(path, &e))
}

/// Parses a number; blanks and quotes around it do not matter.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.trim().trim_matches('"').parse().ok().filter(|n: &f64| n.is_finite())
}
