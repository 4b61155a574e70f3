//! Working below an open directory: no path leads out of it, whatever others do to it meanwhile.
//!
//! Every step is taken from an open directory, and a link is never followed. Where the kernel has
//! `openat2` (5.6), it is told to stay beneath and on the same file system too; before, each part is
//! opened by itself without following links.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, linkat, symlinkat, unlinkat};

/// The deepest path of a file; deeper trees have not been seen in configuration.
pub(crate) const DEPTH_MAX: usize = 32;
/// The longest part of a path that the kernel takes.
pub(crate) const PART_BYTES_MAX: usize = 255;
/// The longest path.
const PATH_BYTES_MAX: usize = 4096;

/// The user and group that own what a workload may change.
pub(crate) type Owner = Option<(Uid, Gid)>;

/// Splits a path into parts that are names, or says why it is refused.
pub(crate) fn parts(path: &str) -> Result<Vec<&str>, &'static str> {
    if path.len() > PATH_BYTES_MAX {
        return Err("it is too long");
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > DEPTH_MAX {
        return Err("it is too deep");
    }
    for part in &parts {
        if part.is_empty() || *part == "." || *part == ".." {
            return Err("it must be relative, without empty parts, '.' or '..'");
        }
        if part.len() > PART_BYTES_MAX || part.contains('\0') {
            return Err("a part of it is no file name");
        }
    }
    Ok(parts)
}

/// An open directory that is worked below.
#[derive(Debug)]
pub(crate) struct Beneath {
    top: OwnedFd,
    way: Way,
}

/// How a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The kernel is told to stay beneath.
    Resolve,
    /// The older way.
    NoFollow,
}

impl Beneath {
    /// Opens the directory itself, which its caller trusts.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_by(path, way())
    }

    fn open_by(path: &Path, way: Way) -> io::Result<Self> {
        Ok(Self { top: File::open(path)?.into(), way })
    }

    /// Gives the directory to an owner.
    pub(crate) fn give(&self, owner: Owner) -> io::Result<()> {
        own(&self.top, owner)
    }

    /// Makes a file that is not there, with its directories; it can be written to.
    pub(crate) fn create(&self, path: &str, mode: u32, owner: Owner) -> io::Result<File> {
        let (dir, name) = self.parent(path, owner)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = File::from(self.step(dir.as_fd(), name, flags, 0o600)?);
        fchmod(&file, Mode::from_bits_truncate(mode & 0o777))?;
        own(&file, owner)?;
        Ok(file)
    }

    /// Makes a symbolic link, with its directories.
    pub(crate) fn symlink(&self, target: &Path, path: &str, owner: Owner) -> io::Result<()> {
        let (dir, name) = self.parent(path, owner)?;
        Ok(symlinkat(target, &dir, name)?)
    }

    /// Makes another name of a plain file that is there.
    pub(crate) fn hard_link(&self, from: &str, path: &str) -> io::Result<()> {
        let (from_dir, from_name) = self.existing(from)?;
        let found = fstatat(&from_dir, from_name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(io::Error::other("it is a link to what is no plain file"));
        }
        let (dir, name) = self.parent(path, None)?;
        Ok(linkat(&from_dir, from_name, &dir, name, AtFlags::empty())?)
    }

    /// Removes a file or a link.
    pub(crate) fn remove_file(&self, path: &str) -> io::Result<()> {
        let (dir, name) = self.existing(path)?;
        Ok(unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Makes a directory and those above it.
    pub(crate) fn make_dirs(&self, path: &str) -> io::Result<()> {
        self.walk(&split(path)?, true, None).map(drop)
    }

    /// Opens the directory of a path, which is made if it is not there.
    fn parent<'p>(&self, path: &'p str, owner: Owner) -> io::Result<(OwnedFd, &'p str)> {
        let parts = split(path)?;
        let (name, dirs) = parts.split_last().expect("splitting gives at least one part");
        Ok((self.walk(dirs, true, owner)?, name))
    }

    fn existing<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let parts = split(path)?;
        let (name, dirs) = parts.split_last().expect("splitting gives at least one part");
        Ok((self.walk(dirs, false, None)?, name))
    }

    fn walk(&self, dirs: &[&str], make: bool, owner: Owner) -> io::Result<OwnedFd> {
        let mut dir = self.top.try_clone()?;
        for part in dirs {
            let mut made = false;
            if make {
                match mkdirat(&dir, *part, Mode::S_IRWXU) {
                    Ok(()) => made = true,
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
            dir = self.step(dir.as_fd(), part, flags, 0)?;
            if made {
                own(&dir, owner)?;
            }
        }
        Ok(dir)
    }

    /// Opens one name in an open directory, and never what a link points to.
    fn step(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        flags: OFlag,
        mode: u32,
    ) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let opened = match self.way {
            Way::NoFollow => openat(dir, name, flags, mode),
            Way::Resolve => {
                let stay = ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS
                    | ResolveFlag::RESOLVE_NO_XDEV;
                openat2(dir, name, OpenHow::new().flags(flags).mode(mode).resolve(stay))
            }
        };
        Ok(opened?)
    }
}

/// Asks the kernel once which way it has; a filter in front of it may refuse the newer one.
fn way() -> Way {
    static WAY: OnceLock<Way> = OnceLock::new();
    *WAY.get_or_init(|| {
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        let root = File::open("/");
        match root.and_then(|root| Ok(openat2(&root, ".", how)?)) {
            Ok(_) => Way::Resolve,
            Err(_) => Way::NoFollow,
        }
    })
}

fn split(path: &str) -> io::Result<Vec<&str>> {
    parts(path).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// Gives a file or directory to the owner.
pub(super) fn own(file: &impl AsFd, owner: Owner) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    Ok(fchown(file.as_fd(), Some(uid), Some(gid))?)
}

#[cfg(test)]
mod tests;
