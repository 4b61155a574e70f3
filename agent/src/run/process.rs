//! One start of an instance: its directory, its shim, and what is left when it has ended.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, User};
use prost::Message;
use tengyun_model::{AssignedInstance, Class, CopyKey};
use tengyun_proto::v1;

use super::beneath::Owner;
use super::cgroup::{Group, Limits};
use super::provide::Place;
use super::volumes::{self, Home};
use super::{Preparation, RunError, RunKey, RunReply, RunTarget, Runner, ShimHandle, ports};
use crate::shim::record::{self, Started};
use crate::shim::spec::{self, ShimSpec, Variable};
use crate::shim::{child, control, reap};

/// The file with what was assigned, for an agent that adopts the instance.
pub(super) const ASSIGNED: &str = "assigned.pb";
/// The most directories looked at; a bound against a directory that others fill.
const ENTRIES_MAX: usize = 100_000;
/// How many user ids instances have; an id is used again after this many instances.
pub(crate) const UIDS: u32 = 99_999;
/// The first user of volumes, above those of instances and that of whoever fetches.
const FIRST_OF_VOLUMES: u32 = 100_000;
/// The first group of departments, above the users of volumes.
pub(crate) const FIRST_OF_DEPARTMENTS: u32 = 200_000;
/// The file that is there while a start is healthy by its check.
pub(super) const HEALTHY: &str = "healthy";
/// How long the processes of a start may take to die.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two rounds of killing and between two tries to remove a group.
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// What was assigned, kept beside the instance.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Kept {
    /// The instance.
    #[prost(message, optional, tag = "1")]
    pub(super) assigned: Option<v1::AssignedInstance>,
    /// How often in a row it failed before this start.
    #[prost(uint32, tag = "2")]
    pub(super) failures: u32,
}

/// The directory of all instances.
#[derive(Clone, Debug)]
pub(crate) struct InstanceDirs {
    root: PathBuf,
}

impl InstanceDirs {
    /// Opens it; a new one lets others pass through and look at nothing.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Returns the directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Lists every start that has a directory, in the order of keys.
    pub(crate) fn keys(&self) -> io::Result<Vec<RunKey>> {
        let entries = fs::read_dir(&self.root)?.take(ENTRIES_MAX);
        let mut keys: Vec<RunKey> =
            entries.filter_map(|entry| RunKey::parse(entry.ok()?.file_name().to_str()?)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Returns the directory of one start.
    pub(crate) fn dir(&self, key: RunKey) -> PathBuf {
        self.root.join(key.to_string())
    }
}

pub(super) trait At<T> {
    fn at(self, key: RunKey, what: &'static str) -> Result<T, RunError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, key: RunKey, what: &'static str) -> Result<T, RunError> {
        self.map_err(|error| RunError::Io { what, key, source: error.into() })
    }
}

impl Runner {
    pub(super) fn prepare(&self, preparation: &Preparation) -> Result<RunReply, RunError> {
        let Preparation { incarnation, assigned, failures } = preparation;
        let target = RunTarget::of(assigned, *incarnation);
        let key = target.key;
        let mut fixed = assigned.spec.ports.iter().filter_map(|port| port.number);
        if let Some(port) = fixed.find(|port| ports::is_taken(*port)) {
            return Err(RunError::PortTaken { port });
        }
        let home = self.home(assigned)?;
        let owner = self.owner(assigned, home.as_ref())?;
        let dir = self.dirs.dir(key);
        make_dir(&dir, 0o711).at(key, "make the directory")?;
        let kept = Kept { assigned: Some(assigned.into()), failures: *failures };
        write_private(&dir.join(ASSIGNED), &kept.encode_to_vec()).at(key, "keep the assignment")?;
        let work = dir.join(child::WORK);
        make_dir(&work, 0o700).at(key, "make the working directory")?;
        let links = match &home {
            Some(home) => home
                .volumes(&assigned.spec.volumes, owner)
                .map_err(|source| cannot_use(assigned, source))?,
            None => Vec::new(),
        };
        let mut spec = self.shim_spec(assigned, key, (&work, owner))?;
        let services = self.services.department(&assigned.spec.key.department);
        let (services, readers) = services.at(key, "make the directory of services")?;
        spec.groups.extend(readers);
        spec.env.push(Variable {
            name: "TENGYUN_SERVICES".to_owned(),
            value: services.to_string_lossy().into_owned(),
        });
        self.provide(key, assigned, Place { work: &work, owner, links: &links }, &spec.env)?;
        let limits = Limits::of(&assigned.spec.resources);
        let group = self.cgroups.create(key, target.class, &target.department, &limits)?;
        if let Some(group) = &group {
            spec.set_group(group);
        }
        write_private(&dir.join(spec::FILE), &spec.encode_to_vec())
            .at(key, "write the specification")?;
        Ok(RunReply::Prepared(group))
    }

    /// Finds or makes the home of the instance's volumes, if it has any.
    fn home(&self, assigned: &AssignedInstance) -> Result<Option<Home>, RunError> {
        if assigned.spec.volumes.is_empty() {
            return Ok(None);
        }
        let home = self.volumes.home(&copy_of(assigned));
        home.map(Some).map_err(|source| cannot_use(assigned, source))
    }

    pub(super) fn keep_health(&self, key: RunKey, healthy: bool) -> Result<RunReply, RunError> {
        let file = self.dirs.dir(key).join(HEALTHY);
        let kept = if healthy { fs::write(&file, []) } else { fs::remove_file(&file) };
        match kept {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RunReply::Done),
            other => other.at(key, "keep the health").map(|()| RunReply::Done),
        }
    }

    /// Says whom the instance runs as.
    fn owner(&self, assigned: &AssignedInstance, home: Option<&Home>) -> Result<Owner, RunError> {
        let refuse = |user: &str, reason| Err(RunError::User { user: user.to_owned(), reason });
        match (&assigned.spec.user, self.config.root) {
            (None, true) if let Some(home) = home => {
                let first = self.config.uid_base.saturating_add(FIRST_OF_VOLUMES);
                Ok(Some(volumes::owner(first, home.number)))
            }
            (None, true) => {
                let number = u32::try_from(assigned.instance.get() % u64::from(UIDS))
                    .expect("a remainder of 100,000 fits");
                let id = self.config.uid_base.saturating_add(number);
                Ok(Some((Uid::from_raw(id), Gid::from_raw(id))))
            }
            (None, false) => Ok(None),
            (Some(user), root) => match (User::from_name(user), root) {
                (Ok(Some(found)), true) => Ok(Some((found.uid, found.gid))),
                (Ok(Some(found)), false) if found.uid == Uid::effective() => Ok(None),
                (Ok(Some(_)), false) => refuse(user, "the agent is not root"),
                (Ok(None) | Err(_), _) => refuse(user, "this server does not know it"),
            },
        }
    }

    fn shim_spec(
        &self,
        assigned: &AssignedInstance,
        key: RunKey,
        (work, owner): (&Path, Owner),
    ) -> Result<ShimSpec, RunError> {
        let class = assigned.spec.class;
        let mut env = environment(assigned, self.config.node.as_str(), work)?;
        if !assigned.spec.provision.secrets.is_empty() {
            let value = self.vault.files(key).to_string_lossy().into_owned();
            env.push(Variable { name: "TENGYUN_SECRETS".to_owned(), value });
        }
        let output = self.config.output;
        Ok(ShimSpec {
            command: assigned.spec.command.clone(),
            env,
            uid: owner.map(|(uid, _)| uid.as_raw()),
            gid: owner.map(|(_, gid)| gid.as_raw()),
            group: Vec::new(),
            unified: false,
            idle: class == Class::Harvest && !self.cgroups.idle_class(),
            oom_score_adj: oom_score_adj(class),
            output_file_bytes: output.file_bytes,
            output_files: output.files,
            output_bytes_per_second: output.bytes_per_second,
            groups: Vec::new(),
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the module that starts workloads")]
    pub(super) fn start(&self, key: RunKey) -> Result<RunReply, RunError> {
        let (ready, told) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at(key, "make a pipe")?;
        let child = Command::new(&self.config.shim)
            .arg("shim")
            .arg(self.dirs.dir(key))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(told)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .at(key, "start the shim")?;
        let pid = child.id();
        // The shim is our child until we reap it, so its id cannot be another's here.
        let start_ticks = record::start_ticks(pid).unwrap_or_default();
        if let Err(error) = self.cgroups.house_shim(pid) {
            // It does its work all the same.
            tracing::warn!(%key, reason = error.reason(), "the shim stays in the agent's group");
        }
        Ok(RunReply::Started(ShimHandle {
            pid,
            start_ticks,
            pidfd: pidfd_open(pid),
            ready: Some(ready),
        }))
    }

    pub(super) fn signal(&self, key: RunKey, signal: i32) -> Result<RunReply, RunError> {
        let number = u8::try_from(signal).unwrap_or(15);
        let sent = control::send(&self.control(key), control::Order::Signal(number));
        let sent = sent.at(key, "signal the shim")?;
        Ok(if sent { RunReply::Done } else { RunReply::NoShim })
    }

    pub(super) fn kill_group(&self, target: &RunTarget) -> Result<RunReply, RunError> {
        let sent = control::send(&self.control(target.key), control::Order::Kill);
        // A shim that hangs must not save its workload.
        if let Some(group) = self.group(target) {
            group.kill_once();
        }
        let sent = sent.at(target.key, "tell the shim to kill")?;
        Ok(if sent { RunReply::Done } else { RunReply::NoShim })
    }

    pub(super) fn clear(&self, target: &RunTarget) -> Result<RunReply, RunError> {
        let key = target.key;
        let cpu_micros = if let Some(group) = self.group(target) {
            self.clear_group(target, &group)?
        } else {
            self.kill_session(key);
            None
        };
        let work = self.dirs.dir(key).join(child::WORK);
        self.vault.remove(key).at(key, "remove the secrets")?;
        remove_tree(&work).at(key, "remove the working directory")?;
        Ok(RunReply::Cleared { cpu_micros })
    }

    pub(super) fn remove(&self, key: RunKey) -> Result<RunReply, RunError> {
        self.vault.remove(key).at(key, "remove the secrets")?;
        remove_tree(&self.dirs.dir(key)).at(key, "remove the directory")?;
        Ok(RunReply::Done)
    }

    fn clear_group(&self, target: &RunTarget, group: &Group) -> Result<Option<u64>, RunError> {
        kill_all(target.key, group, KILL_PATIENCE)?;
        // Nothing runs in it any more: this is the last reading.
        let cpu_micros = group.cpu_micros();
        let start = Instant::now();
        loop {
            match self.cgroups.remove(target.key, target.class, &target.department) {
                // The kernel still takes leave of the last process.
                Err(_) if start.elapsed() < KILL_PATIENCE => std::thread::sleep(KILL_PAUSE),
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(cpu_micros),
            }
        }
    }

    /// Kills what is left of a workload without a group, when its shim is gone too: the processes
    /// of its session. Those that made a session of their own cannot be told from strangers.
    fn kill_session(&self, key: RunKey) {
        let started = record::read::<Started>(&self.dirs.dir(key).join(record::STARTED));
        let Ok(Some(started)) = started else { return };
        let Ok(session) = i32::try_from(started.pid) else { return };
        if !record::is_this_boot(&started.boot) || session <= 1 {
            return;
        }
        let processes = reap::processes();
        // The kernel gives no process the id of a session that still has members.
        let is_other =
            processes.get(&session).is_some_and(|stat| stat.start_ticks != started.start_ticks);
        for (pid, stat) in processes {
            if stat.session == session && !is_other && stat.start_ticks >= started.start_ticks {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
            }
        }
    }

    fn group(&self, target: &RunTarget) -> Option<Group> {
        self.cgroups.instance(target.key, target.class, &target.department)
    }

    fn control(&self, key: RunKey) -> PathBuf {
        self.dirs.dir(key).join(control::FILE)
    }
}

fn copy_of(assigned: &AssignedInstance) -> CopyKey {
    CopyKey { workload: assigned.spec.key.clone(), ordinal: assigned.ordinal }
}

fn cannot_use(assigned: &AssignedInstance, source: io::Error) -> RunError {
    RunError::Volumes { what: "use", copy: Box::new(copy_of(assigned)), source }
}

/// Kills a group round by round until it is empty.
pub(super) fn kill_all(key: RunKey, group: &Group, patience: Duration) -> Result<(), RunError> {
    let start = Instant::now();
    loop {
        let left = group.members().len();
        if left == 0 {
            return Ok(());
        }
        group.kill_once();
        if start.elapsed() > patience {
            return Err(RunError::StillAlive { key, left });
        }
        std::thread::sleep(KILL_PAUSE);
    }
}

/// Opens a process so that its end can be waited for and its id not mistaken.
#[expect(unsafe_code, reason = "nix has no pidfd_open")]
pub(super) fn pidfd_open(pid: u32) -> Option<OwnedFd> {
    // SAFETY: plain numbers; the kernel returns a new file or an error.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just given us this file and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Builds the whole environment: what the agent promises wins over what the workload sets.
fn environment(
    assigned: &AssignedInstance,
    node: &str,
    work: &Path,
) -> Result<Vec<Variable>, RunError> {
    let spec = &assigned.spec;
    let mut all = std::collections::BTreeMap::from([
        ("PATH".to_owned(), child::PATH.to_owned()),
        ("HOME".to_owned(), work.to_string_lossy().into_owned()),
    ]);
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(RunError::Variable(name.clone()));
        }
        all.insert(name.clone(), value.clone());
    }
    all.insert("TENGYUN_INSTANCE".to_owned(), assigned.instance.to_string());
    all.insert("TENGYUN_ORDINAL".to_owned(), assigned.ordinal.to_string());
    all.insert("TENGYUN_WORKLOAD".to_owned(), spec.key.to_string());
    all.insert("TENGYUN_NODE".to_owned(), node.to_owned());
    for port in &spec.ports {
        let name = port.name.as_str().to_ascii_uppercase().replace('-', "_");
        // The scheduler has chosen a number for each; one without is not promised to anybody.
        if let Some(number) = port.number {
            all.insert(format!("PORT_{name}"), number.to_string());
        }
    }
    Ok(all.into_iter().map(|(name, value)| Variable { name, value }).collect())
}

/// Says in which order the kernel kills when memory runs out: harvest first, critical last.
const fn oom_score_adj(class: Class) -> i32 {
    match class {
        Class::Critical => 100,
        Class::Standard => 500,
        Class::Harvest => 1000,
    }
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode).create(path)?;
    // Whatever mask the agent was started with.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Removes a directory and all in it; links are removed, not followed.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::PortSpec;

    use super::*;
    use crate::fixture::assigned;

    fn value<'a>(env: &'a [Variable], name: &str) -> Option<&'a str> {
        env.iter().find(|v| v.name == name).map(|v| v.value.as_str())
    }

    #[test]
    fn a_workload_cannot_pretend_to_be_another() {
        let mut instance = assigned(7);
        for name in ["TENGYUN_INSTANCE", "PORT_HTTP_API", "PATH"] {
            instance.spec.env.insert(name.to_owned(), "forged".to_owned());
        }
        let name = "http-api".parse().unwrap();
        instance.spec.ports.push(PortSpec { name, number: Some(8080) });
        let env = environment(&instance, "n1", Path::new("/w")).unwrap();
        assert_eq!(value(&env, "TENGYUN_INSTANCE"), Some("7"));
        assert_eq!(value(&env, "PORT_HTTP_API"), Some("8080"));
        assert_eq!(value(&env, "PATH"), Some("forged"), "its own path is its own affair");
        assert_eq!(value(&env, "HOME"), Some("/w"));
    }

    #[test]
    fn processes_that_do_not_die_are_an_error_with_their_number() {
        // In this tree a kill is a file that nobody reads.
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.procs"), "41\n42\n").unwrap();
        fs::write(dir.path().join("cgroup.kill"), "").unwrap();
        let group = Group::from_directories(true, &[("cpu".to_owned(), dir.path().to_owned())]);
        let key = RunKey::parse("7.2").unwrap();
        let error = kill_all(key, &group, Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "2 processes of instance 7.2 cannot be killed");
        assert_eq!(fs::read(dir.path().join("cgroup.kill")).unwrap(), b"1");
    }

    #[test]
    fn variables_without_a_name_are_refused() {
        for bad in ["", "A=B", "A\0"] {
            let mut instance = assigned(7);
            instance.spec.env.insert(bad.to_owned(), String::new());
            let result = environment(&instance, "n1", Path::new("/w"));
            assert!(matches!(result, Err(RunError::Variable(_))), "{bad:?} passed");
        }
    }
}
