//! The journal that a backup holds, taken out to be read. Nothing else of the archive leaves it.

use std::fs::File;
use std::io::{self, BufReader, Seek as _};
use std::path::Path;

use super::{BackupError, FORMAT, Scratch, archive, damaged, extract, file};
use crate::config::Config;

/// The most names that are tried for a directory of a while.
const NAMES_MAX: u32 = 1000;

/// The journal of a backup, taken out to be read, without anything else: the rest, such as the
/// authority's key, stays in the archive. The copy is gone when this is dropped.
#[derive(Debug)]
pub struct BackedUpJournal(Scratch);

impl BackedUpJournal {
    /// Takes the journal out of an archive, after all of that was checked; `None` when the file does not
    /// begin as an archive.
    ///
    /// # Errors
    /// The archive is damaged or of a newer version, or the copy cannot be written.
    pub fn take_out(archive: &Path) -> Result<Option<Self>, BackupError> {
        if !archive.is_file() {
            return Ok(None);
        }
        let source = File::open(archive).map_err(|e| file("read", archive, e))?;
        let length = source.metadata().map_err(|e| file("read", archive, e))?.len();
        let mut source = BufReader::new(source);
        if !archive::begins(&mut source).map_err(|e| file("read", archive, e))? {
            return Ok(None);
        }
        let manifest = archive::check(&mut source, length, archive)?;
        if manifest.format > FORMAT {
            return Err(BackupError::Newer(manifest.format));
        }
        let place = scratch(&std::env::temp_dir())?;
        let target = Config::new(&place.0).journal();
        let name = target.file_name().unwrap_or_default();
        let mut at = archive::BEGIN;
        for entry in &manifest.files {
            if Path::new(&entry.path) == Path::new(name) {
                let begin = source.seek(io::SeekFrom::Start(at));
                begin.map_err(|e| file("read", archive, e))?;
                extract(&mut source, entry, &target, archive)?;
                return Ok(Some(Self(place)));
            }
            at = at.saturating_add(entry.bytes);
        }
        Err(damaged(archive, "it holds no journal"))
    }

    /// Returns the directory that the journal is in.
    pub fn directory(&self) -> &Path {
        &self.0.0
    }
}

/// Makes a directory for a while in one that others may write to: a name that is there already, whoever
/// made it, is not used.
fn scratch(directory: &Path) -> Result<Scratch, BackupError> {
    let mut number = 0;
    loop {
        let name = format!("tengyun-journal.{}.{number}", std::process::id());
        match Scratch::make(directory.join(name)) {
            Err(BackupError::File { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists && number < NAMES_MAX =>
            {
                number += 1;
            }
            made => return made,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use tengyun_engine::State;

    use super::super::tests::{Place, state};
    use super::*;
    use crate::commit;

    #[test]
    fn the_journal_alone_is_taken_out_of_a_backup_and_gone_afterwards() {
        let place = Place::new();
        place.backup().unwrap();
        let taken = BackedUpJournal::take_out(&place.path("archive")).unwrap().unwrap();
        let directory = taken.directory().to_owned();
        let names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["journal.db"]);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        let mut read = State::new();
        for entry in crate::JournalReader::open(&directory).unwrap() {
            commit::apply(&mut read, &entry.unwrap().1);
        }
        assert_eq!(read.image(), state(&place.path("state")).image());
        drop(taken);
        assert!(!directory.exists());
    }

    #[test]
    fn what_is_no_backup_is_none_and_a_damaged_one_is_refused() {
        let place = Place::new();
        place.backup().unwrap();
        let archive = place.path("archive");
        for other in [place.path("state"), place.path("state/journal.db"), place.path("nothing")] {
            assert!(BackedUpJournal::take_out(&other).unwrap().is_none(), "{}", other.display());
        }
        let whole = fs::read(&archive).unwrap();
        for (at, cut) in [(9, whole.len()), (whole.len() / 2, whole.len()), (0, whole.len() - 1)] {
            let mut bytes = whole[..cut].to_vec();
            bytes[at] ^= u8::from(at > 0);
            fs::write(&archive, bytes).unwrap();
            let refused = BackedUpJournal::take_out(&archive);
            assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{at} {cut}");
        }
    }
}
