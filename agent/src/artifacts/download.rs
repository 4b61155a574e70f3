//! One try to fetch one artifact: blocking, bounded in bytes and time, checked while it streams.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tengyun_model::{Artifact, Digest, Origin};

use super::ArtifactLimits;
use super::cache::Cache;
use crate::roles::parent::{Input, Order, Role, Unwell};
use crate::roles::{FETCH, FILE_ORDER, URL_ORDER};
use crate::run::beneath::Owner;

/// How much is read at once; a pipe holds as much.
const CHUNK_BYTES: usize = 64 * 1024;
/// After how many bytes room is looked for again.
const ROOM_EVERY_BYTES: u64 = 4 << 20;
/// The longest wait without a look around.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// Tells why an artifact was not fetched, and what would help.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The one who was asked, or the way there.
    #[error("cannot fetch {origin}: {reason}")]
    Role {
        /// From where.
        origin: String,
        /// Why not.
        reason: String,
    },
    /// Other bytes came.
    #[error(
        "cannot use {origin}: its SHA-256 is {found}, the manifest says {wanted}: correct the \
         manifest, or put the right file there"
    )]
    Digest {
        /// From where.
        origin: String,
        /// The digest of what came.
        found: String,
        /// The digest asked for.
        wanted: String,
    },
    /// It does not end in time.
    #[error("cannot fetch {origin}: {reason}; it is tried again")]
    Slow {
        /// From where.
        origin: String,
        /// How slow.
        reason: String,
    },
    /// It is too large.
    #[error("cannot fetch {origin}: it has more than {bytes} bytes: split it")]
    Large {
        /// From where.
        origin: String,
        /// The bound.
        bytes: u64,
    },
    /// Running instances use all of the cache.
    #[error(
        "cannot fetch {origin}: instances of this node use all of the cache: start its agent with \
         a larger --artifact-cache-mib"
    )]
    Full {
        /// From where.
        origin: String,
    },
    /// The disk.
    #[error("cannot keep {origin} on this node: {reason}")]
    Disk {
        /// From where.
        origin: String,
        /// What the system said.
        reason: String,
    },
    /// Nobody waits for it.
    #[error("nobody waits for {origin} any more")]
    Cancelled {
        /// From where.
        origin: String,
    },
}

/// A try that failed.
#[derive(Debug)]
pub(super) enum Tried {
    /// It may go better another time.
    Again(FetchError),
    /// It will not.
    Never(FetchError),
}

/// One try.
pub(super) struct Download {
    pub(super) cache: Cache,
    pub(super) limits: ArtifactLimits,
    pub(super) program: PathBuf,
    pub(super) user: Owner,
    pub(super) artifact: Artifact,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Download {
    /// Fetches; the artifact is in the cache, or nothing of it is.
    pub(super) fn run(self) -> Result<(), Tried> {
        let digest = self.artifact.digest;
        let mut part = self.cache.begin(digest).map_err(|e| self.disk(&e))?;
        self.stream(&mut part.file)?;
        self.cache.admit(digest, part).map_err(|e| self.disk(&e))?;
        tracing::info!(origin = %self.artifact.origin, %digest, "artifact fetched");
        Ok(())
    }

    fn stream(&self, file: &mut File) -> Result<(), Tried> {
        let mut role = self.start().map_err(|e| {
            Tried::Again(self.role(format!("the role that fetches cannot be started: {e}")))
        })?;
        let found = self.take(&mut role, file)?;
        role.end().map_err(|unwell| match unwell {
            Unwell::Again(why) => Tried::Again(self.role(why)),
            Unwell::Refused(why) => Tried::Never(self.role(why)),
        })?;
        if found == self.artifact.digest {
            return Ok(());
        }
        let (found, wanted) = (found.to_string(), self.artifact.digest.to_string());
        Err(Tried::Never(FetchError::Digest { origin: self.origin(), found, wanted }))
    }

    fn start(&self) -> io::Result<Role> {
        let (kind, address) = match &self.artifact.origin {
            Origin::Url(url) => (URL_ORDER, url),
            Origin::Path(path) => (FILE_ORDER, path),
        };
        let trusted = self.limits.plain_hosts.join("\n");
        Role::start(Order {
            program: &self.program,
            role: FETCH,
            user: self.user,
            words: &[],
            dir: Path::new("/"),
            input: Input::Words(&format!("{kind}\n{address}\n{trusted}\n")),
        })
    }

    /// Takes all bytes and returns their digest.
    fn take(&self, role: &mut Role, file: &mut File) -> Result<Digest, Tried> {
        let mut pace = Pace::new(&self.limits);
        let mut digest = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let (mut bytes, mut room_at) = (0_u64, ROOM_EVERY_BYTES);
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Tried::Again(FetchError::Cancelled { origin: self.origin() }));
            }
            pace.check(bytes).map_err(|reason| {
                Tried::Again(FetchError::Slow { origin: self.origin(), reason })
            })?;
            let lost = |e: io::Error| Tried::Again(self.role(format!("the role was lost: {e}")));
            if !role.wait_for_output(LOOK_AROUND).map_err(lost)? {
                continue;
            }
            let count = role.read(&mut chunk).map_err(lost)?;
            let read = chunk.get(..count).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            if bytes > self.limits.artifact_bytes {
                let bytes = self.limits.artifact_bytes;
                return Err(Tried::Never(FetchError::Large { origin: self.origin(), bytes }));
            }
            digest.update(read);
            file.write_all(read).map_err(|e| self.disk(&e))?;
            if bytes >= room_at {
                room_at = bytes.saturating_add(ROOM_EVERY_BYTES);
                self.make_room()?;
            }
        }
        self.make_room()?;
        Ok(Digest::new(digest.finalize().into()))
    }

    fn make_room(&self) -> Result<(), Tried> {
        let full = |_| Tried::Again(FetchError::Full { origin: self.origin() });
        self.cache.make_room().map_err(full)
    }

    fn disk(&self, error: &io::Error) -> Tried {
        Tried::Again(FetchError::Disk { origin: self.origin(), reason: error.to_string() })
    }

    fn role(&self, reason: String) -> FetchError {
        FetchError::Role { origin: self.origin(), reason }
    }

    fn origin(&self) -> String {
        self.artifact.origin.to_string()
    }
}

/// Whether bytes come fast enough: a server that hangs, or sends a byte now and then, is left.
struct Pace {
    total: Duration,
    stall: Duration,
    stall_bytes: u64,
    begin: Instant,
    window: Instant,
    before: u64,
}

impl Pace {
    fn new(limits: &ArtifactLimits) -> Self {
        let now = Instant::now();
        Self {
            total: Duration::from_millis(limits.total.get()),
            stall: Duration::from_millis(limits.stall.get()),
            stall_bytes: limits.stall_bytes,
            begin: now,
            window: now,
            before: 0,
        }
    }

    fn check(&mut self, bytes: u64) -> Result<(), String> {
        if self.begin.elapsed() > self.total {
            return Err(format!("it was not there after {} s", self.total.as_secs()));
        }
        let window = self.window.elapsed();
        if window <= self.stall {
            return Ok(());
        }
        let came = bytes.saturating_sub(self.before);
        if came < self.stall_bytes {
            return Err(format!("only {came} bytes came in {} s", window.as_secs()));
        }
        (self.window, self.before) = (Instant::now(), bytes);
        Ok(())
    }
}
