//! Services: files that say where the workloads of a department are, for its instances to read.
//!
//! A department has one directory, which its own instances may read and others may not. A file
//! appears whole or not at all, and stays as it is while nobody says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tengyun_model::{At, DepartmentPath, Name, WorkloadKey};

use super::cgroup::group_name;

/// The most entries looked at in a directory; a bound against one that others fill.
const ENTRIES_MAX: usize = 100_000;

/// One healthy instance of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The address of its node.
    pub(crate) address: std::net::IpAddr,
    /// Its ports.
    pub(crate) ports: Vec<(Name, u16)>,
    /// Its id.
    pub(crate) instance: u64,
}

/// Where workloads are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceList {
    /// Since when they are there.
    pub(crate) at: At,
    /// Each workload with its healthy instances.
    pub(crate) services: BTreeMap<WorkloadKey, Vec<Endpoint>>,
}

/// The directory of all departments' directories.
#[derive(Clone, Debug)]
pub(crate) struct ServiceDirs {
    root: PathBuf,
    /// The first of the groups that departments get; none when the agent is not root.
    first_group: Option<u32>,
    known: Arc<Mutex<Known>>,
}

/// What is on the disk, as far as this agent wrote it.
#[derive(Debug, Default)]
struct Known {
    written: BTreeMap<WorkloadKey, Vec<Endpoint>>,
}

impl ServiceDirs {
    /// Opens it; a new one lets others pass through and look at nothing.
    pub(crate) fn open(root: &Path, first_group: Option<u32>) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(root)?;
        Ok(Self { root: root.to_owned(), first_group, known: Arc::default() })
    }

    /// Finds or makes the directory of a department; returns it and the group that may read it.
    pub(super) fn department(
        &self,
        department: &DepartmentPath,
    ) -> io::Result<(PathBuf, Option<u32>)> {
        let _known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.find_or_make(department)
    }

    fn find_or_make(&self, department: &DepartmentPath) -> io::Result<(PathBuf, Option<u32>)> {
        let dir = self.root.join(group_name(department.as_str()));
        let Some(first) = self.first_group else {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            return Ok((dir, None));
        };
        if let Ok(found) = fs::symlink_metadata(&dir)
            && found.gid() >= first
        {
            return Ok((dir, Some(found.gid())));
        }
        let mut taken = BTreeSet::new();
        for entry in fs::read_dir(&self.root)?.take(ENTRIES_MAX) {
            taken.insert(entry?.metadata()?.gid());
        }
        let group = (first..=u32::MAX).find(|group| !taken.contains(group));
        let group = group.ok_or_else(|| io::Error::other("no group is left for departments"))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        chown(&dir, None, Some(group))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750))?;
        Ok((dir, Some(group)))
    }

    /// Writes what changed and removes what is no longer there.
    pub(super) fn write(&self, list: &ServiceList) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, endpoints) in &list.services {
            if known.written.get(key) != Some(endpoints) {
                self.write_one(key, endpoints, list.at)?;
                known.written.insert(key.clone(), endpoints.clone());
            }
        }
        known.written.retain(|key, _| list.services.contains_key(key));
        self.sweep(&list.services)
    }

    fn write_one(&self, key: &WorkloadKey, endpoints: &[Endpoint], at: At) -> io::Result<()> {
        let (department, _) = self.find_or_make(&key.department)?;
        let dir = department.join(key.application.as_str());
        // Who may pass the department's directory may read all below it.
        match fs::DirBuilder::new().mode(0o755).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        // A name has no dot, so this is no workload's file.
        let new = dir.join(".new");
        fs::write(&new, text(key, endpoints, at))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
        fs::rename(&new, dir.join(key.name.as_str()))
    }

    /// Removes the files of workloads that are not listed.
    fn sweep(&self, services: &BTreeMap<WorkloadKey, Vec<Endpoint>>) -> io::Result<()> {
        let files = services.keys().map(|key| {
            let department = self.root.join(group_name(key.department.as_str()));
            department.join(key.application.as_str()).join(key.name.as_str())
        });
        let listed: BTreeSet<PathBuf> = files.collect();
        for department in entries(&self.root)? {
            for application in entries(&department)? {
                for file in entries(&application)? {
                    if !listed.contains(&file) {
                        fs::remove_file(&file)?;
                    }
                }
                // One that still has files stays.
                drop(fs::remove_dir(&application));
            }
        }
        Ok(())
    }
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(dir)?.take(ENTRIES_MAX);
    listed.map(|entry| Ok(entry?.path())).collect()
}

/// Writes one line for each port of each instance: its name, where it is, and the instance.
fn text(key: &WorkloadKey, endpoints: &[Endpoint], at: At) -> String {
    let mut text = format!("# {key} since {} ms\n", at.millis());
    for endpoint in endpoints {
        for (name, number) in &endpoint.ports {
            let place = std::net::SocketAddr::new(endpoint.address, *number);
            writeln!(text, "{name} {place} {}", endpoint.instance)
                .expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16, instance: u64) -> Endpoint {
        let address = "10.0.0.7".parse().unwrap();
        Endpoint { address, ports: vec![("http".parse().unwrap(), port)], instance }
    }

    fn list(services: &[(&str, Vec<Endpoint>)]) -> ServiceList {
        let services =
            services.iter().map(|(key, ends)| (key.parse().unwrap(), ends.clone())).collect();
        ServiceList { at: At::from_millis(5), services }
    }

    #[test]
    fn files_follow_the_list_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = ServiceDirs::open(&dir.path().join("services"), None).unwrap();
        let read = |path: &str| fs::read_to_string(dir.path().join("services").join(path)).ok();
        let one = list(&[
            ("city/finance/ledger/api", vec![endpoint(80, 1), endpoint(81, 2)]),
            ("city/finance/ledger/db", vec![endpoint(5432, 3)]),
        ]);
        dirs.write(&one).unwrap();
        assert_eq!(
            read("city.finance/ledger/api").unwrap(),
            "# city/finance/ledger/api since 5 ms\nhttp 10.0.0.7:80 1\nhttp 10.0.0.7:81 2\n"
        );
        // Another agent on the same directory, after a restart.
        let again = ServiceDirs::open(&dir.path().join("services"), None).unwrap();
        again.write(&list(&[("city/finance/ledger/api", vec![endpoint(82, 4)])])).unwrap();
        assert!(read("city.finance/ledger/api").unwrap().ends_with("\nhttp 10.0.0.7:82 4\n"));
        assert_eq!(read("city.finance/ledger/db"), None);
        again.write(&ServiceList::default()).unwrap();
        assert_eq!(read("city.finance/ledger/api"), None);
        assert!(dir.path().join("services/city.finance").exists(), "its group is kept");
    }

    #[test]
    fn a_department_s_directory_is_for_its_own_group_only() {
        if !nix::unistd::geteuid().is_root() {
            let may_skip = std::env::var_os("TENGYUN_TEST_NO_SKIP").is_none_or(|v| v != "1");
            assert!(may_skip, "a skip is not accepted here: it needs root");
            println!("SKIPPED(needs root)");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("services");
        let dirs = ServiceDirs::open(&root, Some(700_000)).unwrap();
        let of = |path: &str| dirs.department(&path.parse().unwrap()).unwrap();
        let (finance, health) = (of("city/finance"), of("city/health"));
        assert_eq!((finance.1, health.1), (Some(700_000), Some(700_001)));
        assert_eq!(of("city/finance").1, Some(700_000), "it is found again");
        let mode = fs::metadata(&finance.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
    }
}
