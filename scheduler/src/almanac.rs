//! The almanac that an operator keeps in a file: read at the start, and again when the file changes. A
//! file that cannot be used changes nothing: what was read before holds, and the log says so once.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use tengyun_model::almanac::ALMANAC_BYTES_MAX;
use tengyun_model::{Almanac, AlmanacFault};
use tracing::{info, warn};

/// How often it is looked whether the file changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Tells why an almanac cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AlmanacError {
    /// The file cannot be read.
    #[error("cannot read the calendar {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error("the calendar {path} is {what}")]
    Kind {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It says something that cannot be.
    #[error("the calendar {path} cannot be used")]
    Fault {
        /// Which.
        path: PathBuf,
        /// What, and in which line.
        source: AlmanacFault,
    },
    /// Its time zone is not known here.
    #[error("the calendar {path} names the time zone {zone:?}, which is not known here")]
    Zone {
        /// Which.
        path: PathBuf,
        /// The name.
        zone: String,
    },
}

/// Special days in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) almanac: Almanac,
    pub(crate) zone: TimeZone,
}

impl Default for Kept {
    fn default() -> Self {
        Self { almanac: Almanac::default(), zone: TimeZone::system() }
    }
}

/// What tells one version of a file from another.
type Version = Option<(SystemTime, u64)>;

/// An almanac, and the file that it is from.
#[derive(Debug, Default)]
pub(crate) struct AlmanacFile {
    path: Option<PathBuf>,
    version: Version,
    looked: Option<Instant>,
    kept: Kept,
}

impl AlmanacFile {
    /// Reads a file; without one weeks have five working days, in the time zone of the machine.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, AlmanacError> {
        let Some(path) = path else { return Ok(Self::default()) };
        // Asked before it is read: what changes meanwhile is read again.
        let version = version(path);
        let kept = read(path)?;
        told(path, &kept);
        Ok(Self { path: Some(path.to_owned()), version, looked: None, kept })
    }

    /// Returns what holds.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Reads the file again if it changed and it is time to look; says whether anything else holds now.
    pub(crate) fn look(&mut self) -> bool {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY) {
            return false;
        }
        self.looked = Some(now);
        self.read_again()
    }

    fn read_again(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        let version = version(path);
        if version == self.version {
            return false;
        }
        self.version = version;
        match read(path) {
            Ok(kept) => {
                told(path, &kept);
                self.kept = kept;
                true
            }
            Err(error) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                let reason = reason.unwrap_or_default();
                warn!(%error, %reason, "the calendar that was read before still holds");
                false
            }
        }
    }
}

fn told(path: &Path, kept: &Kept) {
    let zone = kept.zone.iana_name().unwrap_or("of the machine");
    info!(path = %path.display(), dates = kept.almanac.len(), zone, "calendar read");
}

fn version(path: &Path) -> Version {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads a file once.
pub(crate) fn read(path: &Path) -> Result<Kept, AlmanacError> {
    let at = || path.to_owned();
    let fault = |source| AlmanacError::Read { path: at(), source };
    // Asked before it is opened: opening a pipe waits for its other end.
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err(AlmanacError::Kind { path: at(), what: "not a plain file" });
    }
    let most = u64::try_from(ALMANAC_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(fault)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| AlmanacError::Kind { path: at(), what: "not text in UTF-8" })?;
    let almanac =
        Almanac::parse(&text).map_err(|source| AlmanacError::Fault { path: at(), source })?;
    let zone = match &almanac.zone {
        None => TimeZone::system(),
        Some(name) => TimeZone::get(name)
            .map_err(|_| AlmanacError::Zone { path: at(), zone: name.clone() })?,
    };
    Ok(Kept { almanac, zone })
}

#[cfg(test)]
mod tests {
    use tengyun_model::{Date, DayKind};

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }

    fn kind(file: &AlmanacFile) -> DayKind {
        // A Thursday.
        file.kept().almanac.kind(Date::new(2026, 10, 1).unwrap())
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("days");
        write(&path, "zone Asia/Shanghai\nrest 2026-10-01\n");
        let mut file = AlmanacFile::open(Some(&path)).unwrap();
        assert_eq!(kind(&file), DayKind::Rest);
        assert!(!file.read_again(), "nothing changed");
        for broken in
            ["rest 2026-10-99\nlonger than before", "zone Mars/Base\nrest 2026-10-02", "\u{0}"]
        {
            write(&path, broken);
            assert!(!file.read_again());
            assert_eq!(kind(&file), DayKind::Rest, "{broken:?}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(!file.read_again());
        fs::remove_file(&path).unwrap();
        assert!(!file.read_again());
        assert_eq!(kind(&file), DayKind::Rest);
        write(&path, "# nothing special\n");
        assert!(file.read_again());
        assert_eq!(kind(&file), DayKind::Working);
    }

    #[test]
    fn what_cannot_be_used_is_refused_at_the_start_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("days");
        let refused = |path: &Path| AlmanacFile::open(Some(path)).unwrap_err();
        assert!(matches!(refused(&path), AlmanacError::Read { .. }));
        assert!(matches!(refused(directory.path()), AlmanacError::Kind { .. }));
        write(&path, "zone Asia/Shangai\n");
        assert!(refused(&path).to_string().contains("Shangai"));
        write(&path, "zone UTC\nworked 2026-10-10\n");
        let source = std::error::Error::source(&refused(&path)).map(ToString::to_string);
        assert!(source.unwrap().starts_with("line 2: "));
        write(&path, &"#".repeat(1_000_000));
        assert!(matches!(refused(&path), AlmanacError::Fault { .. }));
    }
}
