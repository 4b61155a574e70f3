//! Files of a workload: written beneath its working directory and nowhere else.
//!
//! Every step is taken from an open directory and no link is followed, so that neither a hostile
//! path nor a link set meanwhile leads out of it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, fchown, symlinkat};
use tengyun_model::FileSpec;

/// The deepest path of a file; deeper trees have not been seen in configuration.
const DEPTH_MAX: usize = 32;
/// The longest part of a path that the kernel takes.
const PART_BYTES_MAX: usize = 255;

/// The user and group that own what a workload may change.
pub(super) type Owner = Option<(Uid, Gid)>;

/// Tells why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// The path does not stay beneath the working directory, or is no path.
    #[error("file path {path:?} is refused: {reason}")]
    Path {
        /// The path asked for.
        path: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The file system refused.
    #[error("cannot write file {path:?}")]
    Io {
        /// The path asked for.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes every file beneath `work`, puts every link there, and gives all of it to the owner.
pub(super) fn write_all(
    work: &Path,
    files: &[FileSpec],
    links: &[(String, PathBuf)],
    owner: Owner,
) -> Result<(), FilesError> {
    let failed = |source: io::Error| FilesError::Io { path: String::from("."), source };
    let top = File::open(work).map_err(failed)?;
    for file in files {
        let parts = parts(&file.path)?;
        write_one(&top, &parts, file, owner)
            .map_err(|source| FilesError::Io { path: file.path.clone(), source })?;
    }
    for (path, target) in links {
        let parts = parts(path)?;
        link_one(&top, &parts, target, owner)
            .map_err(|source| FilesError::Io { path: path.clone(), source })?;
    }
    own(&top, owner).map_err(failed)
}

/// Splits a path into parts that are names, or refuses it.
fn parts(path: &str) -> Result<Vec<&str>, FilesError> {
    let refuse = |reason| FilesError::Path { path: path.to_owned(), reason };
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > DEPTH_MAX {
        return Err(refuse("it is too deep"));
    }
    for part in &parts {
        if part.is_empty() || *part == "." || *part == ".." {
            return Err(refuse("it must be relative, without empty parts, '.' or '..'"));
        }
        if part.len() > PART_BYTES_MAX || part.contains('\0') {
            return Err(refuse("a part of it is no file name"));
        }
    }
    Ok(parts)
}

fn link_one(top: &File, parts: &[&str], target: &Path, owner: Owner) -> io::Result<()> {
    let (dir, name) = descend(top, parts, owner)?;
    Ok(symlinkat(target, dir, name)?)
}

fn write_one(top: &File, parts: &[&str], spec: &FileSpec, owner: Owner) -> io::Result<()> {
    let (dir, name) = descend(top, parts, owner)?;
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(&dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let mut file = File::from(fd);
    file.write_all(&spec.content)?;
    fchmod(&file, Mode::from_bits_truncate(spec.mode & 0o777))?;
    own(&file, owner)
}

/// Makes the directories of a path; returns the last one, open, and the name in it.
fn descend<'a>(top: &File, parts: &[&'a str], owner: Owner) -> io::Result<(OwnedFd, &'a str)> {
    let (name, dirs) = parts.split_last().expect("splitting gives at least one part");
    let mut dir: OwnedFd = top.try_clone()?.into();
    for part in dirs {
        match mkdirat(&dir, *part, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        dir = openat(&dir, *part, flags, Mode::empty())?;
        own(&dir, owner)?;
    }
    Ok((dir, name))
}

/// Gives a file or directory to the owner.
pub(super) fn own(file: &impl std::os::fd::AsFd, owner: Owner) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    Ok(fchown(file.as_fd(), Some(uid), Some(gid))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn file(path: &str) -> FileSpec {
        FileSpec { path: path.to_owned(), content: b"x".to_vec(), mode: 0o640 }
    }

    #[test]
    fn files_are_written_with_their_directories_and_bits() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), &[file("a/b/c"), file("d")], &[], None).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a/b/c")).unwrap(), b"x");
        let mode = std::fs::metadata(dir.path().join("d")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
    }

    #[test]
    fn hostile_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let deep = "d/".repeat(DEPTH_MAX) + "f";
        let long = "n".repeat(PART_BYTES_MAX + 1);
        for bad in
            ["", "/", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b", &deep, &long]
        {
            assert!(
                matches!(write_all(&work, &[file(bad)], &[], None), Err(FilesError::Path { .. })),
                "{bad:?} passed"
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something was written");
    }

    #[test]
    fn links_are_not_followed_and_files_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, work.join("link")).unwrap();
        symlink(outside.join("target"), work.join("file")).unwrap();
        for bad in ["link/x", "file"] {
            assert!(matches!(
                write_all(&work, &[file(bad)], &[], None),
                Err(FilesError::Io { .. })
            ));
        }
        assert!(matches!(
            write_all(&work, &[file("twice"), file("twice")], &[], None),
            Err(FilesError::Io { .. })
        ));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn links_are_put_below_and_take_nobody_s_place() {
        let dir = tempfile::tempdir().unwrap();
        let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&outside).unwrap();
        let link = |path: &str| [(path.to_owned(), outside.clone())];
        write_all(&work, &[], &link("var/data"), None).unwrap();
        assert_eq!(std::fs::read_link(work.join("var/data")).unwrap(), outside);
        assert!(matches!(
            write_all(&work, &[file("data")], &link("data"), None),
            Err(FilesError::Io { .. })
        ));
        for bad in ["../data", "/data", "var/data/x", "."] {
            assert!(write_all(&work, &[], &link(bad), None).is_err(), "{bad:?} passed");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
