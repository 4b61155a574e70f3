//! Artifacts: fetched by a role without privilege, counted and checked here, kept in the cache.
//!
//! A download serves every instance that waits for it. Nothing here blocks the agent's loop, and
//! nothing that fails runs: what is wrong is told with the next step.

pub(crate) mod cache;
mod download;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use tengyun_model::{Artifact, Digest, Millis};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::link::jittered;
use crate::run::beneath::Owner;
use cache::Cache;
pub(crate) use download::FetchError;
use download::{Download, Tried};

/// How many downloads run at the same time: more would share the same line.
pub(crate) const DOWNLOADS_MAX: usize = 4;
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long what is wrong for good is not asked for again: a server must not be asked for a wrong
/// gigabyte at every restart.
const DENIED_FOR: Duration = Duration::from_mins(1);
/// The most remembered of what is wrong for good.
const DENIED_MAX: usize = 1024;

/// The bounds of artifacts on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactLimits {
    /// The most bytes of the cache.
    pub cache_bytes: u64,
    /// The most bytes of one artifact.
    pub artifact_bytes: u64,
    /// How long one try may take.
    pub total: Millis,
    /// In each such time a try must bring at least `stall_bytes`.
    pub stall: Millis,
    /// See `stall`.
    pub stall_bytes: u64,
    /// How often it is tried before the instance is told.
    pub tries: u32,
    /// The pause before the second try; it doubles, with jitter.
    pub pause: Millis,
    /// Hosts on other machines that may be asked in plain text.
    pub plain_hosts: Vec<String>,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        Self {
            cache_bytes: 10 << 30,
            artifact_bytes: 2 << 30,
            total: Millis::from_secs(3600),
            stall: Millis::from_secs(30),
            stall_bytes: 16 * 1024,
            tries: 4,
            pause: Millis::from_secs(1),
            plain_hosts: Vec::new(),
        }
    }
}

/// Fetches artifacts.
#[derive(Debug)]
pub(crate) struct Fetcher {
    cache: Cache,
    limits: ArtifactLimits,
    program: PathBuf,
    user: Owner,
    line: Semaphore,
    /// One lock a digest: the first who comes fetches, the others find it there.
    gates: Mutex<BTreeMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    denied: Mutex<BTreeMap<(Digest, String), (Instant, FetchError)>>,
}

impl Fetcher {
    /// Makes a fetcher; as root, its role becomes this user.
    pub(crate) fn new(
        cache: Cache,
        limits: ArtifactLimits,
        program: PathBuf,
        user: Option<u32>,
    ) -> Self {
        Self {
            cache,
            limits,
            program,
            user: user.map(|id| (Uid::from_raw(id), Gid::from_raw(id))),
            line: Semaphore::new(DOWNLOADS_MAX),
            gates: Mutex::default(),
            denied: Mutex::default(),
        }
    }

    /// Fetches what is not there yet.
    ///
    /// # Errors
    /// One of them cannot be fetched; the error says why, and what would help.
    pub(crate) async fn ensure(&self, artifacts: &[Artifact]) -> Result<(), FetchError> {
        for artifact in artifacts {
            let gate = self.gate(artifact.digest);
            let _gate = gate.lock().await;
            if !self.cache.has(artifact.digest) {
                self.fetch(artifact).await?;
            }
        }
        Ok(())
    }

    async fn fetch(&self, artifact: &Artifact) -> Result<(), FetchError> {
        if let Some(error) = self.known_denied(artifact) {
            return Err(error);
        }
        let mut pause = Duration::from_millis(self.limits.pause.get());
        let mut tries = 1;
        loop {
            match self.attempt(artifact).await {
                Ok(()) => return Ok(()),
                Err(Tried::Again(error)) if tries >= self.limits.tries => return Err(error),
                Err(Tried::Again(error)) => {
                    tracing::warn!(origin = %artifact.origin, %error, tries, "artifact not fetched yet");
                    tokio::time::sleep(jittered(pause)).await;
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                    tries += 1;
                }
                Err(Tried::Never(error)) => {
                    self.deny(artifact, &error);
                    return Err(error);
                }
            }
        }
    }

    async fn attempt(&self, artifact: &Artifact) -> Result<(), Tried> {
        let _line = self.line.acquire().await.expect("the semaphore is never closed");
        let cancel = Cancel::default();
        let download = Download {
            cache: self.cache.clone(),
            limits: self.limits.clone(),
            program: self.program.clone(),
            user: self.user,
            artifact: artifact.clone(),
            cancelled: Arc::clone(&cancel.0),
        };
        let run = tokio::task::spawn_blocking(move || download.run());
        run.await.expect("a download does not panic")
    }

    fn gate(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = lock(&self.gates);
        gates.retain(|_, gate| gate.strong_count() > 0);
        if let Some(gate) = gates.get(&digest).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Arc::default();
        gates.insert(digest, Arc::downgrade(&gate));
        gate
    }

    fn known_denied(&self, artifact: &Artifact) -> Option<FetchError> {
        let mut denied = lock(&self.denied);
        denied.retain(|_, (since, _)| since.elapsed() < DENIED_FOR);
        let found = denied.get(&(artifact.digest, artifact.origin.to_string()));
        found.map(|(_, error)| error.clone())
    }

    fn deny(&self, artifact: &Artifact, error: &FetchError) {
        let mut denied = lock(&self.denied);
        if denied.len() < DENIED_MAX {
            let key = (artifact.digest, artifact.origin.to_string());
            denied.insert(key, (Instant::now(), error.clone()));
        }
    }
}

/// Tells a download that nobody waits for it any more, when it is dropped.
#[derive(Default)]
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
