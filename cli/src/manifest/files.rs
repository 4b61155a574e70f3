//! Files: contents written in the manifest or read from beside it, bounded in number and size.

use std::collections::BTreeSet;
use std::fs::File as OpenFile;
use std::io::{Error, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tengyun_model::FileSpec;
use tengyun_model::workload::SPEC_BYTES_MAX;

use super::decode::Place;
use super::document::File;
use super::fault::{Faults, shown};
use super::sentence::Sentence;

/// Makes the files of one list of a specification.
pub(super) fn files(
    (field, files): (&str, &[File]),
    place: &Place<'_>,
    base: &Path,
    faults: &mut Faults,
) -> Vec<FileSpec> {
    check_paths((field, files), place, faults);
    let mut made = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let at = index.to_string();
        let content = match (&file.content, &file.source) {
            (Some(content), None) => Some(content.0.clone().into_bytes()),
            (None, Some(source)) => {
                let read = read(&base.join(&source.0));
                read.map_err(|why| {
                    let path = shown(&source.0);
                    let message = Sentence::CannotRead { path, why: Box::new(why) };
                    place.fault_at(&[field, &at, "source"], message, faults);
                })
                .ok()
            }
            (Some(_), Some(_)) | (None, None) => {
                place.fault_at(&[field, &at], Sentence::ContentOrSource {}, faults);
                None
            }
        };
        let spec = |content| FileSpec { path: file.path.0.clone(), content, mode: file.mode.0 };
        made.extend(content.map(spec));
    }
    made
}

/// Refuses paths that stand for a file twice, or for a file and a directory.
fn check_paths((field, files): (&str, &[File]), place: &Place<'_>, faults: &mut Faults) {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.0.as_str()).collect();
    let mut seen = BTreeSet::new();
    for (index, file) in files.iter().enumerate() {
        let path = file.path.0.as_str();
        let mut parents = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let message = if !seen.insert(path) {
            Sentence::GivenTwice { name: shown(path) }
        } else if let Some(parent) = parents.find(|parent| paths.contains(parent)) {
            Sentence::FileAlready { path: shown(parent) }
        } else {
            continue;
        };
        place.fault_at(&[field, &index.to_string(), "path"], message, faults);
    }
}

/// Reads a regular file; a pipe or device would never end.
fn read(path: &Path) -> Result<Vec<u8>, Sentence> {
    let said = |error: Error| match error.kind() {
        ErrorKind::NotFound => Sentence::FileNotThere {},
        _ => Sentence::Verbatim { text: error.to_string() },
    };
    let mut options = OpenFile::options();
    let file = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(said)?;
    if !file.metadata().map_err(said)?.is_file() {
        return Err(Sentence::FileNotPlain {});
    }
    let bound = u64::try_from(SPEC_BYTES_MAX).expect("half a mebibyte fits");
    let mut bytes = Vec::new();
    file.take(bound + 1).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() > SPEC_BYTES_MAX {
        return Err(Sentence::FileTooLarge { most: SPEC_BYTES_MAX });
    }
    Ok(bytes)
}
