//! The start of an agent: takes its state directory, looks at the machine and makes its tools.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use tengyun_model::{CgroupVersion, Control, EnforcementLevel, Inventory, NodeFacts};

use crate::artifacts::Fetcher;
use crate::artifacts::cache::Cache;
use crate::capacity::{Bounds, capacity};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::measure::{Measure, Node};
use crate::observe::{NodeScope, Probe, Roots, enforcement, inventory};
use crate::run::cgroup::{Cgroups, Controller, own_limits};
use crate::run::{
    FIRST_OF_DEPARTMENTS, InstanceDirs, RunError, Runner, RunnerConfig, ServiceDirs, Stores, UIDS,
    VOLUMES, Vault, VolumeDirs,
};
use crate::smt;

/// Others pass through to reach the working directories of their instances, and look at nothing.
const STATE_MODE: u32 = 0o711;
const LOCK: &str = "lock";
const LEDGER: &str = "ledger";
const INSTANCES: &str = "instances";
const ARTIFACTS: &str = "artifacts";
const SERVICES: &str = "services";

/// Tells why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("cannot use {}", path.display())]
    State {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent works on the same directory.
    #[error("another agent uses {}: stop it or choose another --state-dir", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// What an earlier agent left cannot be surveyed.
    #[error("cannot take over what runs: {0}")]
    Survey(String),
}

impl From<RunError> for StartError {
    fn from(error: RunError) -> Self {
        Self::Survey(crate::act::chain(&error))
    }
}

/// Everything an agent works with.
pub(crate) struct Ready {
    pub(crate) config: Config,
    pub(crate) cgroups: Arc<Cgroups>,
    pub(crate) runner: Runner,
    pub(crate) dirs: InstanceDirs,
    pub(crate) facts: NodeFacts,
    /// Cores of which the gain of SMT is to be measured.
    pub(crate) unmeasured: Vec<Vec<u32>>,
    pub(crate) ledger: Ledger,
    pub(crate) measure: Measure,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) cache: Cache,
    pub(crate) vault: Vault,
    pub(crate) lock: Flock<File>,
}

/// Takes the state directory and makes an agent's tools.
pub(crate) fn start(config: Config) -> Result<Ready, StartError> {
    let lock = take(&config.state_dir)?;
    if let Err(error) = crate::roles::no_core_dumps() {
        tracing::warn!(%error, "core dumps of the agent are not forbidden");
    }
    let at = |path: PathBuf| move |source| StartError::State { path, source };
    let ledger_dir = config.state_dir.join(LEDGER);
    let ledger = Ledger::open(&ledger_dir).map_err(at(ledger_dir.clone()))?;
    let instances = config.state_dir.join(INSTANCES);
    let dirs = InstanceDirs::open(&instances).map_err(at(instances.clone()))?;
    let (cgroup_root, parent) = (&config.cgroup_root, config.cgroup_parent.as_ref());
    let own = own_limits(&config.proc_root, cgroup_root, parent);
    let machine = machine(&config);
    let bounds = Bounds::of(&config.capacity, own, &machine);
    let unmeasured = smt::unmeasured(&machine, bounds, &config.sys_root);
    let mut cgroups = Cgroups::probe(cgroup_root, parent, &config.cgroup_name, &config.name);
    let bounded = cgroups.bound(bounds.cpu, bounds.memory);
    let cgroups = Arc::new(cgroups);
    let root = nix::unistd::geteuid().is_root();
    let artifacts = config.state_dir.join(ARTIFACTS);
    let cache =
        Cache::open(&artifacts, config.artifacts.cache_bytes).map_err(at(artifacts.clone()))?;
    let vault = Vault::new(config.secrets_dir.clone(), root);
    let fetcher = Fetcher::new(
        cache.clone(),
        config.artifacts.clone(),
        config.shim.clone(),
        // Between those of instances and those of volumes.
        root.then(|| config.uid_base.saturating_add(UIDS)),
    );
    let volumes = config.state_dir.join(VOLUMES);
    let volumes = VolumeDirs::open(&volumes).map_err(at(volumes.clone()))?;
    let first_group = root.then(|| config.uid_base.saturating_add(FIRST_OF_DEPARTMENTS));
    let services = config.state_dir.join(SERVICES);
    let services = ServiceDirs::open(&services, first_group).map_err(at(services.clone()))?;
    let runner = Runner::new(
        RunnerConfig {
            node: config.name.clone(),
            shim: config.shim.clone(),
            uid_base: config.uid_base,
            root,
            output: config.output,
        },
        Arc::clone(&cgroups),
        dirs.clone(),
        Stores { cache: cache.clone(), vault: vault.clone(), volumes, services },
    );
    let facts = facts(&config, machine, &cgroups, (bounds, bounded));
    let node = Node {
        boot: facts.inventory.boot_id,
        capacity: facts.capacity.cpu,
        scope: if bounds.is_less() { NodeScope::Group } else { NodeScope::Machine },
        sys_root: &config.sys_root,
        group: cgroups.node(),
    };
    let measure = Measure::open(&node, &config.proc_root, &config.state_dir)
        .map_err(at(config.state_dir.join(crate::meter::FILE)))?;
    let fetcher = Arc::new(fetcher);
    Ok(Ready {
        config,
        cgroups,
        runner,
        dirs,
        facts,
        unmeasured,
        ledger,
        measure,
        fetcher,
        cache,
        vault,
        lock,
    })
}

/// Finds out what the machine is made of, and what is known of its SMT.
fn machine(config: &Config) -> Inventory {
    let machine = inventory(&roots(config), CgroupVersion::None);
    let smt = smt::known(config.capacity.smt_gain, &config.state_dir, &machine);
    Inventory { smt, ..machine }
}

/// Makes the state directory and takes it for this agent alone.
fn take(dir: &Path) -> Result<Flock<File>, StartError> {
    let failed = |source| StartError::State { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(STATE_MODE).create(dir).map_err(failed)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(STATE_MODE)).map_err(failed)?;
    let mut options = File::options();
    let path = dir.join(LOCK);
    let file = options.create(true).append(true).open(&path);
    let file = file.map_err(|source| StartError::State { path, source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| StartError::Busy { path: dir.to_owned() })
}

fn roots(config: &Config) -> Roots {
    Roots {
        proc: config.proc_root.clone(),
        sys: config.sys_root.clone(),
        etc: PathBuf::from("/etc"),
    }
}

/// Says all that the node says of itself when it joins.
fn facts(
    config: &Config,
    machine: Inventory,
    cgroups: &Cgroups,
    (bounds, bounded): (Bounds, Result<(), String>),
) -> NodeFacts {
    let inventory = Inventory { cgroup: cgroups.version(), ..machine };
    let mut held = enforcement(&probe(cgroups, bounds));
    if let (true, Err(reason)) = (bounds.is_less(), bounded) {
        let node = held.iter_mut().filter(|e| e.control == Control::NodeCapacity);
        for capacity in node {
            capacity.level = EnforcementLevel::NotEnforced;
            capacity.reason.clone_from(&reason);
        }
    }
    NodeFacts {
        name: config.name.clone(),
        labels: config.labels.clone(),
        capacity: capacity(config, bounds, &inventory),
        inventory,
        enforcement: held,
    }
}

fn probe(cgroups: &Cgroups, bounds: Bounds) -> Probe {
    Probe {
        version: cgroups.version(),
        reason: cgroups.reason().to_owned(),
        controllers: Controller::ALL.into_iter().filter(|c| cgroups.controls(*c)).collect(),
        idle: cgroups.idle_class(),
        root: nix::unistd::geteuid().is_root(),
        bounded: bounds.is_less(),
    }
}
