//! The ledger: the last assignment, kept on disk before it is acted on.
//!
//! An agent lives by its ledger when the scheduler is away, and refuses whatever is older than it.
//! It never edits an assignment: it takes the whole one or refuses the whole one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tengyun_model::{Assignment, Epoch, Generation};
use tengyun_proto::convert::ConvertError;
use tengyun_proto::v1;

const FILE: &str = "assignment";
const MAGIC: &[u8; 8] = b"TYLEDG01";
const CHECKSUM_BYTES: usize = 32;
/// The largest assignment; the limit of a message, with room for the header.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Tells why an assignment was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// A deposed scheduler made it.
    #[error("assignment of epoch {offered} is older than epoch {held}")]
    OlderEpoch {
        /// Of the assignment offered.
        offered: Epoch,
        /// Of the assignment held.
        held: Epoch,
    },
    /// A newer one was taken already.
    #[error("assignment generation {offered} is older than generation {held}")]
    OlderGeneration {
        /// Of the assignment offered.
        offered: Generation,
        /// Of the assignment held.
        held: Generation,
    },
    /// The same generation came with other content.
    #[error("assignment generation {0} came before with other content")]
    OtherContent(Generation),
    /// It is not an assignment.
    #[error("assignment cannot be read")]
    Unreadable(#[from] ConvertError),
    /// It cannot be kept.
    #[error("cannot keep the assignment in {path}")]
    Store {
        /// The ledger's file.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// What an offered assignment was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Newer; it is held now.
    New,
    /// The one held already.
    Same,
}

/// Keeps the last assignment.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    held: Option<Assignment>,
}

impl Ledger {
    /// Opens the ledger in a directory; a damaged file is set aside and named in the log.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(FILE);
        let held = match read(&path)? {
            Read::Nothing => None,
            Read::Assignment(assignment) => Some(assignment),
            Read::Damaged(what) => {
                let aside = dir.join("assignment.damaged");
                fs::rename(&path, &aside)?;
                tracing::error!(
                    what,
                    aside = %aside.display(),
                    "the ledger is damaged and was set aside; instances run on until the next assignment"
                );
                None
            }
        };
        Ok(Self { path, held })
    }

    /// Returns the assignment held.
    pub(crate) fn held(&self) -> Option<&Assignment> {
        self.held.as_ref()
    }

    /// Takes a newer assignment: it is on disk when this returns.
    pub(crate) fn take(&mut self, wire: v1::Assignment) -> Result<Taken, LedgerError> {
        let bytes = wire.encode_to_vec();
        let offered = Assignment::try_from(wire)?;
        if let Some(held) = &self.held {
            match compare(held, &offered)? {
                Taken::Same => return Ok(Taken::Same),
                Taken::New => {}
            }
        }
        write(&self.path, &bytes).map_err(|source| LedgerError::Store {
            path: self.path.display().to_string(),
            source,
        })?;
        self.held = Some(offered);
        Ok(Taken::New)
    }
}

fn compare(held: &Assignment, offered: &Assignment) -> Result<Taken, LedgerError> {
    if offered.epoch < held.epoch {
        return Err(LedgerError::OlderEpoch { offered: offered.epoch, held: held.epoch });
    }
    // Generations are journaled: they never fall, not even in a new epoch.
    if offered.generation < held.generation {
        let (offered, held) = (offered.generation, held.generation);
        return Err(LedgerError::OlderGeneration { offered, held });
    }
    if (offered.epoch, offered.generation) == (held.epoch, held.generation) {
        let same = offered == held;
        return if same {
            Ok(Taken::Same)
        } else {
            Err(LedgerError::OtherContent(held.generation))
        };
    }
    Ok(Taken::New)
}

enum Read {
    Nothing,
    Assignment(Assignment),
    Damaged(&'static str),
}

fn read(path: &Path) -> io::Result<Read> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read::Nothing),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Ok(Read::Damaged("it is too large"));
        }
        Ok(_) => {}
    }
    let bytes = fs::read(path)?;
    let Some((checksum, payload)) =
        bytes.strip_prefix(MAGIC.as_slice()).and_then(|rest| rest.split_at_checked(CHECKSUM_BYTES))
    else {
        return Ok(Read::Damaged("it has no header"));
    };
    if Sha256::digest(payload).as_slice() != checksum {
        return Ok(Read::Damaged("its checksum is wrong"));
    }
    let wire = v1::Assignment::decode(payload).ok();
    let assignment = wire.and_then(|wire| Assignment::try_from(wire).ok());
    Ok(assignment.map_or(Read::Damaged("it holds no assignment"), Read::Assignment))
}

fn write(path: &Path, payload: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(MAGIC)?;
    file.write_all(Sha256::digest(payload).as_slice())?;
    file.write_all(payload)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let dir = path.parent().expect("the ledger lies in a directory");
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tengyun_model::{Band, NodeId};

    use super::*;
    use crate::fixture::assigned;

    fn assignment(epoch: u64, generation: u64, instances: &[u64]) -> v1::Assignment {
        let assignment = Assignment {
            node: NodeId::new(1),
            epoch: Epoch::new(epoch),
            generation: Generation::new(generation),
            band: Band::DEFAULT,
            instances: instances.iter().map(|i| assigned(*i)).collect(),
            removed: Vec::new(),
        };
        (&assignment).into()
    }

    #[test]
    fn what_was_taken_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        assert!(ledger.held().is_none());
        assert_eq!(ledger.take(assignment(1, 5, &[1, 2])).unwrap(), Taken::New);
        assert_eq!(ledger.take(assignment(1, 5, &[1, 2])).unwrap(), Taken::Same);
        let again = Ledger::open(dir.path()).unwrap();
        assert_eq!(again.held(), ledger.held());
        assert_eq!(again.held().unwrap().instances.len(), 2);
    }

    #[test]
    fn older_and_forged_assignments_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        ledger.take(assignment(2, 5, &[1])).unwrap();
        let refused = |ledger: &mut Ledger, wire| ledger.take(wire).unwrap_err().to_string();
        assert_eq!(
            refused(&mut ledger, assignment(1, 9, &[1])),
            "assignment of epoch 1 is older than epoch 2"
        );
        assert_eq!(
            refused(&mut ledger, assignment(2, 4, &[1])),
            "assignment generation 4 is older than generation 5"
        );
        assert_eq!(
            refused(&mut ledger, assignment(3, 4, &[1])),
            "assignment generation 4 is older than generation 5"
        );
        assert_eq!(
            refused(&mut ledger, assignment(2, 5, &[2])),
            "assignment generation 5 came before with other content"
        );
        assert_eq!(ledger.take(assignment(3, 5, &[2])).unwrap(), Taken::New);
    }

    #[test]
    fn a_damaged_ledger_is_set_aside() {
        for damage in
            [&b""[..], b"TYLEDG01", b"TYLEDG01 and then nonsense that is long enough to be a sum"]
        {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), damage).unwrap();
            let ledger = Ledger::open(dir.path()).unwrap();
            assert!(ledger.held().is_none());
            assert_eq!(fs::read(dir.path().join("assignment.damaged")).unwrap(), damage);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        ledger.take(assignment(1, 1, &[1])).unwrap();
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 1;
            fs::write(dir.path().join(FILE), &bytes).unwrap();
            assert!(matches!(read(&dir.path().join(FILE)).unwrap(), Read::Damaged(_)), "{index}");
        }
    }

    #[test]
    fn an_assignment_that_cannot_be_kept_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        // A directory where the new file should be makes the write fail, for root too.
        fs::create_dir(dir.path().join("assignment.new")).unwrap();
        assert!(matches!(ledger.take(assignment(1, 1, &[1])), Err(LedgerError::Store { .. })));
        assert!(ledger.held().is_none());
    }
}
