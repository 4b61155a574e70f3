//! The address of a socket: a path of any length, though the kernel takes 107 bytes.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::UdsError;

/// The longest path in a socket address (`sun_path` less its final zero byte).
const ADDRESS_BYTES_MAX: usize = 107;
/// The longest last part of a path, so that it fits behind `/proc/self/fd/<number>/` together with
/// the suffix of a file that is not yet renamed.
pub(super) const NAME_BYTES_MAX: usize = 64;
/// Room for the suffix of a file that is not yet renamed.
const SUFFIX_BYTES_MAX: usize = 16;

/// A path that fits into a socket address, for as long as this value lives.
#[derive(Debug)]
pub(super) struct Address {
    path: PathBuf,
    /// Keeps `/proc/self/fd/<number>` meaning the directory.
    _directory: Option<OwnedFd>,
}

impl Address {
    /// Makes an address of a path; a long one is reached through its opened directory.
    pub(super) fn of(path: &Path) -> Result<Self, UdsError> {
        let (directory, name) = split(path)?;
        if path.as_os_str().len() + SUFFIX_BYTES_MAX <= ADDRESS_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(directory, flags, Mode::empty())
            .map_err(|e| UdsError::Directory { path: directory.to_owned(), source: e.into() })?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(name);
        Ok(Self { path: short, _directory: Some(opened) })
    }

    /// Returns the path to give to the kernel.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes a socket's path apart into its directory and its name.
pub(super) fn split(path: &Path) -> Result<(&Path, &OsStr), UdsError> {
    let bad = || UdsError::BadName { path: path.to_owned(), max: NAME_BYTES_MAX };
    let name = path.file_name().filter(|n| n.as_bytes().len() <= NAME_BYTES_MAX).ok_or_else(bad)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((directory, name))
}
