//! The cache: fetched artifacts on this node, each under its digest, bounded in bytes.
//!
//! What was used longest ago is removed first, and never what an instance of the assignment uses, so
//! that it can start again while its server is away. It holds nothing that was not checked, and its
//! users check it again.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tengyun_model::Digest;

/// What is still on its way.
const PART: &str = "part";

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The cache of one node.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    bytes_max: u64,
    /// What instances of the assignment use.
    pinned: Arc<Mutex<BTreeSet<Digest>>>,
    /// How many were begun.
    parts: Arc<AtomicU64>,
}

/// An artifact on its way; dropped before it is admitted, nothing of it stays.
#[derive(Debug)]
pub(crate) struct Part {
    /// What is written to.
    pub(crate) file: File,
    path: PathBuf,
    admitted: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.admitted {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// One file of the cache.
struct Kept {
    path: PathBuf,
    digest: Option<Digest>,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Opens the cache; what was on its way when the agent ended is removed.
    pub(crate) fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let cache =
            Self { dir: dir.to_owned(), bytes_max, pinned: Arc::default(), parts: Arc::default() };
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == PART) {
                fs::remove_file(path)?;
            }
        }
        Ok(cache)
    }

    /// Says what instances use from now on.
    pub(crate) fn pin(&self, digests: BTreeSet<Digest>) {
        *self.lock() = digests;
        // What is over the bound because it was used before makes room now.
        if self.make_room() == Err(Full) {
            tracing::warn!("instances use more artifacts than the cache may hold");
        }
    }

    /// Says whether an artifact is there; it counts as used now.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        self.open_file(digest).is_ok()
    }

    /// Opens an artifact; it counts as used now.
    pub(crate) fn open_file(&self, digest: Digest) -> io::Result<File> {
        let file = File::open(self.path(digest))?;
        // An older moment costs a download at worst.
        drop(file.set_modified(SystemTime::now()));
        Ok(file)
    }

    /// Begins to keep an artifact; one that nobody waits for any more may still be on its way.
    pub(crate) fn begin(&self, digest: Digest) -> io::Result<Part> {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{digest}.{number}.{PART}"));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Part { file, path, admitted: false })
    }

    /// Keeps what was begun and is right.
    pub(crate) fn admit(&self, digest: Digest, mut part: Part) -> io::Result<()> {
        fs::rename(&part.path, self.path(digest))?;
        part.admitted = true;
        Ok(())
    }

    /// Removes an artifact that is not what it should be.
    pub(crate) fn remove(&self, digest: Digest) {
        drop(fs::remove_file(self.path(digest)));
    }

    /// Removes what was used longest ago until all that is there, and all that is on its way, is
    /// within the bound.
    pub(crate) fn make_room(&self) -> Result<(), Full> {
        let pinned = self.lock().clone();
        let mut kept = self.kept();
        let mut bytes: u64 = kept.iter().map(|each| each.bytes).sum();
        kept.retain(|each| each.digest.is_some_and(|digest| !pinned.contains(&digest)));
        kept.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        for oldest in kept {
            if bytes <= self.bytes_max {
                return Ok(());
            }
            if fs::remove_file(&oldest.path).is_ok() {
                bytes = bytes.saturating_sub(oldest.bytes);
                tracing::info!(path = %oldest.path.display(), "artifact removed to make room");
            }
        }
        if bytes <= self.bytes_max { Ok(()) } else { Err(Full) }
    }

    fn kept(&self) -> Vec<Kept> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let (path, found) = (entry.path(), entry.metadata().ok()?);
            let digest = path.file_name()?.to_str().and_then(parse);
            Some(Kept { digest, bytes: found.len(), used: found.modified().ok()?, path })
        });
        kept.collect()
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses the name of a file: 64 hexadecimal digits.
fn parse(name: &str) -> Option<Digest> {
    if name.len() != 64 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(name.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
    Digest::from_slice(&bytes?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::new([number; 32])
    }

    /// Keeps an artifact of 100 bytes that was used so many seconds ago.
    fn keep(cache: &Cache, number: u8, age_secs: u64) {
        let mut part = cache.begin(digest(number)).unwrap();
        part.file.write_all(&[number; 100]).unwrap();
        cache.admit(digest(number), part).unwrap();
        let used = SystemTime::now() - Duration::from_secs(age_secs);
        let file = File::options().write(true).open(cache.path(digest(number))).unwrap();
        file.set_modified(used).unwrap();
    }

    fn there(cache: &Cache) -> Vec<u8> {
        (0..10).filter(|n| cache.path(digest(*n)).exists()).collect()
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_never_what_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 300).unwrap();
        for (number, age) in [(1, 500), (2, 400), (3, 300), (4, 200)] {
            keep(&cache, number, age);
        }
        cache.pin([digest(1)].into());
        assert_eq!(there(&cache), [1, 3, 4]);
        assert!(cache.has(digest(3)), "it is used now");
        keep(&cache, 5, 100);
        assert_eq!(cache.make_room(), Ok(()));
        assert_eq!(there(&cache), [1, 3, 5]);
        cache.pin((1..6).map(digest).collect());
        keep(&cache, 2, 0);
        assert_eq!(cache.make_room(), Err(Full));
        assert_eq!(there(&cache), [1, 2, 3, 5], "what is used was removed");
        cache.pin(BTreeSet::new());
        assert_eq!(there(&cache).len(), 3);
    }

    #[test]
    fn what_is_on_its_way_counts_and_is_gone_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 150).unwrap();
        keep(&cache, 1, 10);
        let mut part = cache.begin(digest(2)).unwrap();
        part.file.write_all(&[2; 100]).unwrap();
        assert_eq!(cache.make_room(), Ok(()));
        assert_eq!(there(&cache), [0; 0], "the older one makes room");
        let mut other = cache.begin(digest(2)).unwrap();
        other.file.write_all(&[2; 51]).unwrap();
        assert_eq!(cache.make_room(), Err(Full));
        drop(other);
        assert_eq!(cache.make_room(), Ok(()), "what was given up is counted");
        // As a kill would leave it.
        std::mem::forget(part);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let again = Cache::open(dir.path(), 150).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!again.has(digest(2)));
    }

    #[test]
    fn a_name_that_is_no_digest_is_not_removed_as_one() {
        assert_eq!(parse(&digest(7).to_string()), Some(digest(7)));
        for bad in ["", "a", &"g".repeat(64), &"ab".repeat(31), "../x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
