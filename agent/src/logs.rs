//! Output of instances on its way to an operator: the end of what is kept, and what comes after.
//!
//! Each request has a thread that reads bounded pieces and waits for the stream to take them; it
//! opens only files whose names it makes from numbers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use tengyun_model::InstanceId;
use tengyun_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::run::{InstanceDirs, RunKey};
use crate::shim::output;

/// The most requests at once; each has a thread.
const REQUESTS_MAX: usize = 16;
/// The bytes of one chunk: a small part of a message's limit.
const CHUNK_BYTES: usize = 32 * 1024;
/// How often followed output is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The most full files of one stream that are looked for; far above what is configured.
const FILES_MAX: u32 = 100;

/// The requests being served.
#[derive(Debug)]
pub(crate) struct Logs {
    dirs: InstanceDirs,
    chunks: mpsc::Sender<v1::LogChunk>,
    live: watch::Sender<BTreeSet<InstanceId>>,
    requests: BTreeMap<u64, Arc<AtomicBool>>,
    threads: JoinSet<u64>,
}

impl Logs {
    /// Serves none yet.
    pub(crate) fn new(dirs: InstanceDirs, chunks: mpsc::Sender<v1::LogChunk>) -> Self {
        let (live, _) = watch::channel(BTreeSet::new());
        Self { dirs, chunks, live, requests: BTreeMap::new(), threads: JoinSet::new() }
    }

    /// Says which instances may write more; following the others ends.
    pub(crate) fn set_live(&self, live: BTreeSet<InstanceId>) {
        self.live.send_if_modified(|known| {
            let changed = *known != live;
            *known = live;
            changed
        });
    }

    /// Begins to serve a request.
    pub(crate) fn request(&mut self, request: &v1::LogRequest) {
        self.forget_ended();
        if self.requests.len() >= REQUESTS_MAX {
            let error = format!("this node serves {REQUESTS_MAX} requests for output already");
            // A full stream drops the refusal; the scheduler's own limit of time then ends it.
            drop(self.chunks.try_send(last(request.request, error)));
            return;
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        self.requests.insert(request.request, Arc::clone(&cancelled));
        let reader = Reader {
            dirs: self.dirs.clone(),
            request: *request,
            chunks: self.chunks.clone(),
            live: self.live.subscribe(),
            cancelled,
        };
        self.threads.spawn_blocking(move || reader.serve());
    }

    /// Ends a request.
    pub(crate) fn cancel(&mut self, request: u64) {
        if let Some(cancelled) = self.requests.remove(&request) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Ends all requests: those who asked are gone.
    pub(crate) fn cancel_all(&mut self) {
        for (_, cancelled) in std::mem::take(&mut self.requests) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Ends all requests and waits for their threads.
    pub(crate) async fn stop(mut self) {
        self.cancel_all();
        // A thread that waits for room in the stream wakes when the stream is gone.
        drop(self.chunks);
        while self.threads.join_next().await.is_some() {}
    }

    fn forget_ended(&mut self) {
        while let Some(ended) = self.threads.try_join_next() {
            if let Ok(request) = ended {
                self.requests.remove(&request);
            }
        }
    }
}

fn last(request: u64, error: String) -> v1::LogChunk {
    v1::LogChunk { request, data: Vec::new(), end: true, error }
}

/// Why a reader stops early.
enum Stop {
    /// Nobody wants more.
    Unwanted,
    /// The disk failed.
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// The thread of one request.
struct Reader {
    dirs: InstanceDirs,
    request: v1::LogRequest,
    chunks: mpsc::Sender<v1::LogChunk>,
    live: watch::Receiver<BTreeSet<InstanceId>>,
    cancelled: Arc<AtomicBool>,
}

impl Reader {
    fn serve(mut self) -> u64 {
        let request = self.request.request;
        let error = match self.read() {
            Ok(()) => String::new(),
            Err(Stop::Unwanted) => return request,
            Err(Stop::Failed(error)) => {
                format!("cannot read the output of instance {}: {error}", self.request.instance)
            }
        };
        // Nobody is there to be told when the stream is gone.
        drop(self.chunks.blocking_send(last(request, error)));
        request
    }

    fn read(&mut self) -> Result<(), Stop> {
        let id = InstanceId::new(self.request.instance);
        let none = || io::Error::new(io::ErrorKind::NotFound, "none is kept on this node");
        let mut key = self.newest(id)?.ok_or_else(none)?;
        let mut files = Vec::new();
        for name in output::FILES {
            files.push(self.tail(&self.dirs.dir(key), name)?);
        }
        while self.request.follow {
            // Asked before the files are read, so that what came last is read.
            let live = self.live.borrow_and_update().contains(&id);
            let newest = self.newest(id)?;
            for file in &mut files {
                self.catch_up(file)?;
            }
            match newest {
                Some(next) if next != key => {
                    key = next;
                    let dir = self.dirs.dir(key);
                    files = output::FILES.iter().map(|name| Follow::new(&dir, name)).collect();
                }
                Some(_) if live => self.pause()?,
                Some(_) | None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Finds the newest start of an instance that is on disk.
    fn newest(&self, id: InstanceId) -> io::Result<Option<RunKey>> {
        let keys = self.dirs.keys()?;
        Ok(keys.into_iter().filter(|key| key.instance == id).max())
    }

    /// Sends the last lines of one stream and returns where to go on.
    fn tail(&self, dir: &Path, name: &'static str) -> Result<Follow, Stop> {
        let mut kept = VecDeque::new();
        for number in (1..FILES_MAX).rev() {
            kept.extend(open(&dir.join(output::numbered(name, number)))?);
        }
        let mut newest = Follow::new(dir, name);
        newest.file = open(&newest.path)?;
        if let Some(file) = &newest.file {
            kept.push_back(file.try_clone()?);
        }
        skip_to_tail(&mut kept, self.request.tail_lines)?;
        for mut file in kept {
            self.copy(&mut file)?;
        }
        Ok(newest)
    }

    /// Sends what was written since, also when the file was renamed away meanwhile.
    fn catch_up(&self, follow: &mut Follow) -> Result<(), Stop> {
        if let Some(file) = &mut follow.file {
            self.copy(file)?;
        }
        let next = open(&follow.path)?;
        if is_other(follow.file.as_ref(), next.as_ref())? {
            if let Some(file) = &mut follow.file {
                // What came between the copy and the change of names.
                self.copy(file)?;
            }
            follow.file = next;
            if let Some(file) = &mut follow.file {
                self.copy(file)?;
            }
        }
        Ok(())
    }

    fn copy(&self, file: &mut File) -> Result<(), Stop> {
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Stop::Unwanted);
            }
            let mut data = Vec::new();
            file.take(u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX)).read_to_end(&mut data)?;
            if data.is_empty() {
                return Ok(());
            }
            let request = self.request.request;
            let chunk = v1::LogChunk { request, data, end: false, error: String::new() };
            self.chunks.blocking_send(chunk).map_err(|_| Stop::Unwanted)?;
        }
    }

    fn pause(&self) -> Result<(), Stop> {
        std::thread::sleep(LOOK_AGAIN);
        let unwanted = self.cancelled.load(Ordering::Relaxed) || self.chunks.is_closed();
        if unwanted { Err(Stop::Unwanted) } else { Ok(()) }
    }
}

/// A file that is followed by name.
struct Follow {
    path: PathBuf,
    file: Option<File>,
}

impl Follow {
    fn new(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(name), file: None }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    match File::options().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_other(old: Option<&File>, new: Option<&File>) -> io::Result<bool> {
    match (old, new) {
        (Some(old), Some(new)) => Ok(old.metadata()?.ino() != new.metadata()?.ino()),
        (None, Some(_)) => Ok(true),
        (Some(_) | None, None) => Ok(false),
    }
}

/// Drops files and places the first one left so that this many lines follow; 0 keeps all.
fn skip_to_tail(files: &mut VecDeque<File>, lines: u32) -> io::Result<()> {
    if lines == 0 {
        return Ok(());
    }
    // A line's end at the very end of the output ends the last line, it does not begin another.
    let mut left = u64::from(lines);
    let mut at_end = true;
    for index in (0..files.len()).rev() {
        let file = &mut files[index];
        let mut position = file.seek(SeekFrom::End(0))?;
        while position > 0 {
            let length = position.min(u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX));
            position -= length;
            file.seek(SeekFrom::Start(position))?;
            let mut piece = Vec::new();
            file.take(length).read_to_end(&mut piece)?;
            for (offset, byte) in piece.iter().enumerate().rev() {
                let ends_last = std::mem::take(&mut at_end);
                if *byte != b'\n' || ends_last {
                    continue;
                }
                left -= 1;
                if left == 0 {
                    let behind = u64::try_from(offset).unwrap_or(u64::MAX).saturating_add(1);
                    file.seek(SeekFrom::Start(position.saturating_add(behind)))?;
                    files.drain(..index);
                    return Ok(());
                }
            }
        }
        files[index].seek(SeekFrom::Start(0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tengyun_model::Incarnation;

    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        logs: Logs,
        chunks: mpsc::Receiver<v1::LogChunk>,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let (send, chunks) = mpsc::channel(4);
        let dirs = InstanceDirs::open(dir.path()).unwrap();
        Fixture { dir, logs: Logs::new(dirs, send), chunks }
    }

    impl Fixture {
        fn write(&self, incarnation: u32, name: &str, text: &str) {
            let key =
                RunKey { instance: InstanceId::new(7), incarnation: Incarnation::new(incarnation) };
            let dir = self.dir.path().join(key.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            let mut options = File::options();
            let mut file = options.create(true).append(true).open(dir.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        async fn until(&mut self, wanted: &str) {
            let mut text = String::new();
            while text != wanted {
                let chunk = self.chunks.recv().await.unwrap();
                assert_eq!(chunk.error, "");
                text.push_str(std::str::from_utf8(&chunk.data).unwrap());
                assert!(wanted.starts_with(&text), "got {text:?}");
            }
        }

        async fn all(&mut self, tail_lines: u32) -> Result<String, String> {
            let request = v1::LogRequest { request: 1, instance: 7, tail_lines, follow: false };
            self.logs.request(&request);
            let mut text = String::new();
            loop {
                let chunk = self.chunks.recv().await.unwrap();
                text.push_str(std::str::from_utf8(&chunk.data).unwrap());
                if chunk.end {
                    return if chunk.error.is_empty() { Ok(text) } else { Err(chunk.error) };
                }
            }
        }
    }

    #[tokio::test]
    async fn the_tail_counts_lines_across_files() {
        let mut fixture = fixture();
        fixture.write(1, "stdout.log", "old start\n");
        fixture.write(2, "stdout.log.2", "a\nb\n");
        fixture.write(2, "stdout.log.1", "c\nd");
        fixture.write(2, "stdout.log", "e\nf\n");
        assert_eq!(fixture.all(0).await.unwrap(), "a\nb\nc\nde\nf\n");
        assert_eq!(fixture.all(1).await.unwrap(), "f\n");
        assert_eq!(fixture.all(2).await.unwrap(), "de\nf\n");
        assert_eq!(fixture.all(3).await.unwrap(), "c\nde\nf\n");
        assert_eq!(fixture.all(99).await.unwrap(), "a\nb\nc\nde\nf\n");
    }

    #[tokio::test]
    async fn an_instance_without_output_is_an_error_in_words() {
        let error = fixture().all(0).await.unwrap_err();
        assert_eq!(error, "cannot read the output of instance 7: none is kept on this node");
    }

    #[tokio::test]
    async fn following_survives_rotation_and_a_restart_and_ends_with_the_instance() {
        let mut fixture = fixture();
        fixture.write(1, "stdout.log", "one\n");
        fixture.logs.set_live(BTreeSet::from([InstanceId::new(7)]));
        let request = v1::LogRequest { request: 1, instance: 7, tail_lines: 0, follow: true };
        fixture.logs.request(&request);
        fixture.until("one\n").await;
        let dir = fixture.dir.path().join("7.1");
        fixture.write(1, "stdout.log", "two\n");
        std::fs::rename(dir.join("stdout.log"), dir.join("stdout.log.1")).unwrap();
        fixture.write(1, "stdout.log", "three\n");
        fixture.until("two\nthree\n").await;
        fixture.write(2, "stderr.log", "again\n");
        fixture.until("again\n").await;
        fixture.logs.set_live(BTreeSet::new());
        assert!(fixture.chunks.recv().await.unwrap().end);
        fixture.logs.stop().await;
    }

    #[tokio::test]
    async fn a_cancelled_request_ends_without_a_word() {
        let mut fixture = fixture();
        fixture.write(1, "stdout.log", "one\n");
        fixture.logs.set_live(BTreeSet::from([InstanceId::new(7)]));
        let request = v1::LogRequest { request: 1, instance: 7, tail_lines: 0, follow: true };
        fixture.logs.request(&request);
        fixture.until("one\n").await;
        fixture.logs.cancel(1);
        fixture.logs.stop().await;
        assert!(fixture.chunks.recv().await.is_none());
    }

    #[tokio::test]
    async fn more_requests_than_threads_are_refused() {
        let mut fixture = fixture();
        fixture.write(1, "stdout.log", "");
        fixture.logs.set_live(BTreeSet::from([InstanceId::new(7)]));
        let request =
            |request| v1::LogRequest { request, instance: 7, tail_lines: 0, follow: true };
        for number in 0..=u64::try_from(REQUESTS_MAX).unwrap() {
            fixture.logs.request(&request(number));
        }
        let chunk = fixture.chunks.recv().await.unwrap();
        assert_eq!(chunk.request, u64::try_from(REQUESTS_MAX).unwrap());
        assert!(chunk.end && chunk.error.contains("16 requests"), "{}", chunk.error);
        fixture.logs.stop().await;
    }
}
