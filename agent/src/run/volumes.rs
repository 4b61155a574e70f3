//! Volumes: directories below the node's state directory that outlive the instances which use them.
//!
//! Each copy that has any has one directory here, its home, which only the agent may change; its
//! volumes lie in it and belong to the user that the copy runs as. That user stays the same for as
//! long as the home is there, so what is in a volume never changes hands and is never walked over.
//! Every step is taken from an open directory and no link is followed.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{Gid, Uid};
use prost::Message;
use tengyun_model::{CopyKey, Mebibytes, Name, VolumeSpec, VolumeUsage};
use tengyun_proto::v1;

use super::beneath::{self, Owner};
use super::cgroup::group_name;

/// The record of whose home it is.
const RECORD: &str = "home.pb";
/// The directory of all homes, in the state directory.
pub(crate) const VOLUMES: &str = "volumes";
/// The way from the working directory of a start to the state directory.
const TO_STATE: &str = "../../..";
/// What a home is renamed to before it is removed; no copy's home is called so.
const REMOVED: &str = "_removed";
/// The most homes looked at; a bound against a directory that others fill.
const HOMES_MAX: usize = 10_000;
/// The most entries counted of one home: above it the number said is too small.
const ENTRIES_MAX: usize = 200_000;
/// The deepest directory counted.
const DEPTH_MAX: usize = 64;
/// The kernel counts the space of a file in blocks of this many bytes.
const BLOCK_BYTES: u64 = 512;

/// Whose home it is.
#[derive(Clone, PartialEq, Eq, Message)]
struct Record {
    #[prost(message, optional, tag = "1")]
    copy: Option<v1::CopyKey>,
    /// The user and group of its volumes, counted from the first that volumes have.
    #[prost(uint32, tag = "2")]
    number: u32,
}

/// The directory of all homes.
#[derive(Clone, Debug)]
pub(crate) struct VolumeDirs {
    root: PathBuf,
    /// Held while a home is made, so that no two get the same user.
    making: Arc<Mutex<()>>,
}

/// A home that is ready for its instance.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    name: String,
    /// The number of the user that the copy runs as.
    pub(super) number: u32,
}

impl VolumeDirs {
    /// Opens it; a new one lets others pass through and look at nothing.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(root)?;
        Ok(Self { root: root.to_owned(), making: Arc::default() })
    }

    fn path(&self, copy: &CopyKey) -> PathBuf {
        self.root.join(name(copy))
    }

    /// Finds or makes the home of a copy.
    pub(super) fn home(&self, copy: &CopyKey) -> io::Result<Home> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.path(copy);
        if let Some(record) = read(&dir)? {
            return Ok(Home { dir, name: name(copy), number: record.number });
        }
        let all = self.records()?;
        let number = (0..=u32::MAX).find(|n| all.iter().all(|(_, record)| record.number != *n));
        let number = number.ok_or_else(|| io::Error::other("no user is left for volumes"))?;
        match fs::DirBuilder::new().mode(0o711).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let record = Record { copy: Some(copy.into()), number };
        let new = dir.join("home.new");
        fs::write(&new, record.encode_to_vec())?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, dir.join(RECORD))?;
        File::open(&dir)?.sync_all()?;
        File::open(&self.root)?.sync_all()?;
        Ok(Home { dir, name: name(copy), number })
    }

    fn records(&self) -> io::Result<Vec<(PathBuf, Record)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.root)?.take(HOMES_MAX) {
            let path = entry?.path();
            if let Some(record) = read(&path)? {
                all.push((path, record));
            }
        }
        Ok(all)
    }

    /// Says which copies have a home and how much it holds, in ascending order; what cannot be
    /// counted counts as nothing.
    pub(super) fn survey(&self) -> io::Result<Vec<VolumeUsage>> {
        let mut all: Vec<VolumeUsage> = Vec::new();
        for (path, record) in self.records()? {
            let copy = record.copy.and_then(|wire| CopyKey::try_from(wire).ok());
            if let Some(copy) = copy {
                let bytes = used(&path).unwrap_or_default();
                all.push(VolumeUsage { copy, used: Mebibytes::new(bytes.div_ceil(1024 * 1024)) });
            }
        }
        all.sort_by(|one, other| one.copy.cmp(&other.copy));
        Ok(all)
    }

    /// Removes the home of a copy; one that is not there is removed.
    pub(super) fn remove(&self, copy: &CopyKey) -> io::Result<()> {
        let aside = self.root.join(REMOVED);
        remove_tree(&aside)?;
        match fs::rename(self.path(copy), &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        remove_tree(&aside)
    }
}

/// Names the home of a copy.
fn name(copy: &CopyKey) -> String {
    format!("{}.{}", group_name(&copy.workload.to_string()), copy.ordinal)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Home {
    /// Makes its volumes, gives them to the owner, and returns where each is to appear and where it
    /// is, as seen from there: whoever may be in the one place finds the other, wherever the state
    /// directory is.
    pub(super) fn volumes(
        &self,
        volumes: &[VolumeSpec],
        owner: Owner,
    ) -> io::Result<Vec<(String, PathBuf)>> {
        let top = File::open(&self.dir)?;
        let made = |volume: &VolumeSpec| {
            make(&top, &volume.name, owner)?;
            let up = "../".repeat(volume.path.split('/').count() - 1);
            let target = Path::new(&up).join(TO_STATE).join(VOLUMES).join(&self.name);
            Ok((volume.path.clone(), target.join(volume.name.as_str())))
        };
        volumes.iter().map(made).collect()
    }
}

fn make(top: &File, name: &Name, owner: Owner) -> io::Result<()> {
    match mkdirat(top, name.as_str(), Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    beneath::own(&open_dir(top, name.as_str())?, owner)
}

fn open_dir(dir: &impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

fn read(home: &Path) -> io::Result<Option<Record>> {
    match fs::read(home.join(RECORD)) {
        Ok(bytes) => Record::decode(bytes.as_slice()).map(Some).map_err(io::Error::other),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns the bytes that everything below a directory takes, itself included.
fn used(path: &Path) -> io::Result<u64> {
    let top = File::open(path)?;
    let own = top.metadata()?.blocks().saturating_mul(BLOCK_BYTES);
    let mut left = ENTRIES_MAX;
    Ok(own.saturating_add(below(&top.into(), DEPTH_MAX, &mut left)))
}

fn below(dir: &OwnedFd, depth: usize, left: &mut usize) -> u64 {
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    // Listed by the open directory: whatever happens to its name meanwhile, no other is listed.
    let listed = fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let mut sum: u64 = 0;
    for entry in listed.into_iter().flatten().flatten() {
        let Some(rest) = left.checked_sub(1) else { return sum };
        *left = rest;
        let name = entry.file_name();
        let Ok(stat) = fstatat(dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
            continue;
        };
        sum = sum.saturating_add(bytes(&stat));
        if is_dir(&stat)
            && let Some(name) = name.to_str()
            && let Ok(inner) = open_dir(dir, name)
        {
            sum = sum.saturating_add(below(&inner, depth, left));
        }
    }
    sum
}

fn bytes(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK_BYTES)
}

fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Says whom a copy with this number runs as: above the users of instances without volumes.
pub(super) fn owner(first: u32, number: u32) -> (Uid, Gid) {
    let id = first.saturating_add(number);
    (Uid::from_raw(id), Gid::from_raw(id))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn copy(name: &str, ordinal: u32) -> CopyKey {
        CopyKey { workload: format!("city/tests/app/{name}").parse().unwrap(), ordinal }
    }

    fn volume(name: &str) -> VolumeSpec {
        VolumeSpec { name: name.parse().unwrap(), path: name.to_owned(), size: Mebibytes::new(1) }
    }

    #[test]
    fn a_home_keeps_its_number_and_no_two_have_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = VolumeDirs::open(&dir.path().join("volumes")).unwrap();
        let numbers: Vec<u32> = (0..3).map(|n| dirs.home(&copy("db", n)).unwrap().number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(dirs.home(&copy("db", 1)).unwrap().number, 1, "it is found again");
        dirs.remove(&copy("db", 1)).unwrap();
        assert_eq!(dirs.home(&copy("other", 0)).unwrap().number, 1);
        assert_eq!(dirs.home(&copy("db", 1)).unwrap().number, 3);
    }

    #[test]
    fn what_a_volume_holds_is_counted_and_stays_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = VolumeDirs::open(&dir.path().join("volumes")).unwrap();
        let home = dirs.home(&copy("db", 0)).unwrap();
        let links = home.volumes(&[volume("data")], None).unwrap();
        let target = "../../../volumes/city.tests.app.db.0/data";
        assert_eq!(links, [("data".to_owned(), PathBuf::from(target))]);
        let data = home.dir.join("data");
        fs::create_dir(data.join("inner")).unwrap();
        fs::write(data.join("inner/file"), vec![7; 3 * 1024 * 1024]).unwrap();
        // A link to something large, and one that goes round.
        symlink("/proc", data.join("elsewhere")).unwrap();
        symlink("..", data.join("inner/round")).unwrap();
        let survey = dirs.survey().unwrap();
        assert_eq!(survey.len(), 1);
        assert_eq!(survey[0].copy, copy("db", 0));
        assert!((3..=4).contains(&survey[0].used.get()), "{survey:?}");
        dirs.home(&copy("db", 0)).unwrap().volumes(&[volume("data")], None).unwrap();
        assert!(data.join("inner/file").exists());
        dirs.remove(&copy("db", 0)).unwrap();
        dirs.remove(&copy("db", 0)).unwrap();
        assert!(dirs.survey().unwrap().is_empty());
    }

    #[test]
    fn a_link_in_place_of_a_volume_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = VolumeDirs::open(&dir.path().join("volumes")).unwrap();
        let home = dirs.home(&copy("db", 0)).unwrap();
        symlink("/tmp", home.dir.join("data")).unwrap();
        assert!(home.volumes(&[volume("data")], None).is_err());
    }
}
