//! The role that unpacks: reads an archive from standard input and writes what is in it below the
//! present directory, as the user whose instance needs it.
//!
//! It never writes elsewhere, makes no devices, follows no link, and stops at bounds of bytes,
//! entries, depth and ratio. What is there already stays as it is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use nix::sys::resource::Resource;
use tar::{Archive, Entry, EntryType};

use super::privilege::confine;
use super::{Failed, user};
use crate::run::beneath::{Beneath, parts};

/// The most bytes of all that is unpacked: a program with its libraries and data.
const BYTES_MAX: u64 = 8 << 30;
/// The most entries; the largest public packages have a tenth of them.
const ENTRIES_MAX: usize = 100_000;
/// The most bytes that come out of one byte of archive. Text packs at 4 to 20, a bomb at 1000.
const RATIO_MAX: u64 = 200;
/// What may come out of the smallest archive.
const RATIO_FREE_BYTES: u64 = 64 << 20;
/// The most memory; names in an archive may claim any length.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// The longest target of a link; the longest path that Linux takes.
const LINK_BYTES_MAX: usize = 4096;
/// The most open files: a path is as deep as its bound.
const FILES_MAX: u64 = 64;
/// The most CPU time in seconds.
const CPU_SECS_MAX: u64 = 900;
/// Where a tar archive says that it is one.
const USTAR_AT: usize = 257;

/// Unpacks; the words are the user, the group and the directory below the present one.
pub(super) fn run(mut args: impl Iterator<Item = OsString>) -> Result<(), Failed> {
    let (uid, gid) = (user(args.next())?, user(args.next())?);
    let to = args.next().and_then(|to| to.into_string().ok()).unwrap_or_default();
    let limits = [
        (Resource::RLIMIT_NOFILE, FILES_MAX),
        (Resource::RLIMIT_FSIZE, BYTES_MAX),
        (Resource::RLIMIT_AS, MEMORY_BYTES_MAX),
        (Resource::RLIMIT_CPU, CPU_SECS_MAX),
    ];
    confine(uid, gid, &limits)
        .map_err(|e| Failed::refused(format!("privilege cannot be given up: {e}")))?;
    let archive = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let unpacked =
        archive.map_err(Wrong::Io).and_then(|archive| unpack(archive, Path::new("."), &to));
    unpacked.map_err(|wrong| Failed::refused(wrong.to_string()))
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("it is no tar or tar.gz archive")]
    NotTar,
    #[error("the path {0:?} in it is refused: {1}")]
    Path(String, &'static str),
    #[error("{0:?} in it is {1}, which is not unpacked")]
    Kind(String, &'static str),
    #[error("it has more than {ENTRIES_MAX} entries")]
    Entries,
    #[error("{0:?} in it cannot be written: {1}")]
    Write(String, io::Error),
    #[error("{0}")]
    Io(io::Error),
}

fn unpack(archive: File, dir: &Path, to: &str) -> Result<(), Wrong> {
    let packed = archive.metadata().map_err(Wrong::Io)?.len();
    let most = packed.saturating_mul(RATIO_MAX).clamp(RATIO_FREE_BYTES, BYTES_MAX);
    let mut reader = BufReader::new(archive);
    let mut begin = [0; 512];
    let known = read_begin(&mut reader, &mut begin).map_err(Wrong::Io)?;
    let whole = begin.get(..known).unwrap_or_default().chain(reader);
    let top = Beneath::open(dir).map_err(Wrong::Io)?;
    let into = if to.is_empty() { String::new() } else { format!("{to}/") };
    if begin.starts_with(&[0x1f, 0x8b]) {
        let bounded = Bounded { inner: MultiGzDecoder::new(whole), left: most };
        return Unpacking::new(&top, &into, most).all(bounded);
    }
    let is_tar = begin.get(USTAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar"));
    if !is_tar {
        return Err(Wrong::NotTar);
    }
    Unpacking::new(&top, &into, most).all(Bounded { inner: whole, left: most })
}

fn read_begin(reader: &mut impl Read, begin: &mut [u8]) -> io::Result<usize> {
    let mut known = 0;
    while let Some(rest) = begin.get_mut(known..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest)? {
            0 => break,
            count => known += count,
        }
    }
    Ok(known)
}

/// Reads until its bound and is then an error, not an end.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(read).ok_or_else(too_large)?;
        Ok(count)
    }
}

fn too_large() -> io::Error {
    io::Error::other(format!(
        "it unpacks to more than {RATIO_MAX} times its size or {} GiB: split it",
        BYTES_MAX >> 30
    ))
}

/// The work on one archive.
struct Unpacking<'a> {
    top: &'a Beneath,
    into: &'a str,
    /// What may still be written: holes of sparse files come from no byte of the archive.
    left: u64,
    /// What this archive has written: a later entry of the same name takes its place.
    written: BTreeSet<String>,
}

impl<'a> Unpacking<'a> {
    fn new(top: &'a Beneath, into: &'a str, left: u64) -> Self {
        Self { top, into, left, written: BTreeSet::new() }
    }

    fn all(mut self, reader: impl Read) -> Result<(), Wrong> {
        let mut archive = Archive::new(reader);
        let entries = archive.entries().map_err(Wrong::Io)?;
        for (count, entry) in entries.enumerate() {
            if count >= ENTRIES_MAX {
                return Err(Wrong::Entries);
            }
            self.one(entry.map_err(Wrong::Io)?)?;
        }
        Ok(())
    }

    fn one(&mut self, mut entry: Entry<'_, impl Read>) -> Result<(), Wrong> {
        let name = String::from_utf8(entry.path_bytes().into_owned());
        let name = name.map_err(|e| {
            Wrong::Path(String::from_utf8_lossy(e.as_bytes()).into_owned(), "it is not UTF-8")
        })?;
        let Some(path) = self.place(&name)? else { return Ok(()) };
        let failed = |source| Wrong::Write(name.clone(), source);
        match entry.header().entry_type() {
            EntryType::Directory => self.top.make_dirs(&path).map_err(failed),
            EntryType::Regular | EntryType::Continuous => self.file(&path, &mut entry, &name),
            EntryType::Symlink => {
                let target = target(&entry, &name)?;
                check_link(&path, self.into, &target)
                    .map_err(|why| Wrong::Path(format!("{name} -> {target}"), why))?;
                self.fresh(&path, |top| top.symlink(Path::new(&target), &path, None))
                    .map_err(failed)
            }
            EntryType::Link => {
                let target = target(&entry, &name)?;
                let Some(from) = self.place(&target)? else {
                    return Err(Wrong::Path(target, "it is no file"));
                };
                self.fresh(&path, |top| top.hard_link(&from, &path)).map_err(failed)
            }
            EntryType::XGlobalHeader => Ok(()),
            EntryType::Char | EntryType::Block => Err(Wrong::Kind(name, "a device")),
            EntryType::Fifo => Err(Wrong::Kind(name, "a pipe")),
            _ => Err(Wrong::Kind(name, "of an unknown kind")),
        }
    }

    /// Says where a name of the archive is; `None` is the directory that is unpacked into.
    fn place(&self, name: &str) -> Result<Option<String>, Wrong> {
        let mut inner = name;
        while let Some(rest) = inner.strip_prefix("./") {
            inner = rest.trim_start_matches('/');
        }
        // A directory may be written with a slash at its end; at its begin, it is of elsewhere.
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if name.starts_with('/') {
            return Err(Wrong::Path(name.to_owned(), "it begins at the root"));
        }
        if matches!(inner, "" | ".") {
            return Ok(None);
        }
        let path = format!("{}{inner}", self.into);
        parts(&path).map_err(|why| Wrong::Path(name.to_owned(), why))?;
        Ok(Some(path))
    }

    fn file(
        &mut self,
        path: &str,
        entry: &mut Entry<'_, impl Read>,
        name: &str,
    ) -> Result<(), Wrong> {
        let failed = |source| Wrong::Write(name.to_owned(), source);
        // Writable by its user, whatever the archive says, and never set-user-id.
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777 | 0o600;
        let mut made = None;
        self.fresh(path, |top| {
            made = Some(top.create(path, mode, None)?);
            Ok(())
        })
        .map_err(failed)?;
        let Some(mut file) = made else { return Ok(()) };
        let copied = io::copy(&mut entry.take(self.left.saturating_add(1)), &mut file);
        let copied = copied.map_err(failed)?;
        self.left = self.left.checked_sub(copied).ok_or_else(|| failed(too_large()))?;
        file.flush().map_err(failed)
    }

    /// Makes what is not there; what this archive has made before makes place.
    fn fresh(
        &mut self,
        path: &str,
        mut make: impl FnMut(&Beneath) -> io::Result<()>,
    ) -> io::Result<()> {
        match make(self.top) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !self.written.contains(path) {
                    return Ok(());
                }
                self.top.remove_file(path)?;
                make(self.top)
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.written.insert(path.to_owned());
                Ok(())
            }
        }
    }
}

fn target(entry: &Entry<'_, impl Read>, name: &str) -> Result<String, Wrong> {
    let wrong = |why| Wrong::Path(name.to_owned(), why);
    let bytes = entry.link_name_bytes().ok_or_else(|| wrong("it is a link to nothing"))?;
    let target = String::from_utf8(bytes.into_owned());
    let target = target.map_err(|_| wrong("it is a link to what is not UTF-8"))?;
    if target.is_empty() || target.len() > LINK_BYTES_MAX || target.contains('\0') {
        return Err(wrong("it is a link to what is no path"));
    }
    Ok(target)
}

/// Refuses a link that leads out of the directory that is unpacked into, as it is written: links on
/// its way are checked in the same manner, and writing follows none.
fn check_link(path: &str, into: &str, target: &str) -> Result<(), &'static str> {
    if target.starts_with('/') {
        return Err("it leads to the root");
    }
    let inner = path.strip_prefix(into).unwrap_or(path);
    let mut depth = inner.split('/').count().saturating_sub(1);
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or("it leads out")?,
            _ => depth += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
