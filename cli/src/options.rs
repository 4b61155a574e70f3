//! The command line: every verb and option, and where the scheduler is by default.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::output::Format;
use crate::session::Session;
use crate::text::Language;
use crate::{
    apply, backup, completion, demo, describe, doctor, events, get, join, lab, logs, loss, member,
    moves, node, plan, policy, rollout, secret, token, top, up, volume,
};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused by the scheduler, 2 wrong command line, \
manifest or policy, 3 the scheduler cannot be reached, 4 anything else.";

/// tengyun (腾云): one government cloud from a city's idle servers.
#[derive(Debug, Parser)]
#[command(name = "tengyun", version, after_help = EXIT_CODES)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Directory that holds the state [default: /var/lib/tengyun as root, else
    /// ~/.local/state/tengyun]
    #[arg(long, global = true, env = "TENGYUN_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Socket of the scheduler [default: scheduler/scheduler.sock in the state directory]
    #[arg(long, global = true, env = "TENGYUN_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Identity of a person, to speak with a scheduler on another machine [default: `identity` in the
    /// state directory, where `tengyun login` keeps it, unless --socket is given]
    #[arg(
        long,
        global = true,
        env = "TENGYUN_IDENTITY",
        value_name = "FILE",
        conflicts_with = "socket"
    )]
    identity: Option<PathBuf>,
    /// How results are shown
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a scheduler and one or more agents for this machine, until Ctrl-C
    Up(up::UpArgs),
    /// Apply the workloads of a manifest
    Apply(apply::ApplyArgs),
    /// List nodes, departments, workloads, instances, volumes or runs
    Get(get::GetArgs),
    /// Show everything about one node, workload or instance
    Describe(describe::DescribeArgs),
    /// Say why a workload or instance is where it is, why not elsewhere, and what would help
    Explain {
        /// A workload's name or an instance's number
        name: String,
    },
    /// Show what an instance wrote
    Logs(logs::LogsArgs),
    /// Show use as it is now
    Top(top::TopArgs),
    /// Stop every instance of a workload and keep the workload
    Stop {
        /// The workload
        name: String,
    },
    /// Stop every instance of a workload and forget it
    Delete {
        /// The workload
        name: String,
    },
    /// Keep new instances away from a node
    Cordon {
        /// The node
        node: String,
    },
    /// Open a node that was cordoned or drained
    Uncordon {
        /// The node
        node: String,
    },
    /// Empty a node: replacements are healthy elsewhere before anything stops
    Drain(node::DrainArgs),
    /// Move an instance to a node
    Move(moves::MoveArgs),
    /// Say that silent nodes are lost, where the scheduler waits for an operator's word
    AcknowledgeLoss(loss::LossArgs),
    /// Remove a lost node from the register, and end what its certificate may do
    Forget(loss::ForgetArgs),
    /// Let a workload start again that was held because nodes were lost under it
    Release {
        /// The workload
        name: String,
    },
    /// Show where a new revision stands and what became of those before; pause, resume or undo it
    Rollout(rollout::RolloutArgs),
    /// Show what happened
    Events(events::EventsArgs),
    /// Show all that is kept of a workload, a deleted one too
    History {
        /// The workload
        name: String,
    },
    /// Show or set the policy
    Policy(policy::PolicyArgs),
    /// Show the journaled meters
    Meters,
    /// Show the state of the scheduler
    Status,
    /// Print the scheduler's metrics as scrapers read them
    Metrics,
    /// Check whether this server is fit for the cloud, and say what to do where it is not
    Doctor(doctor::DoctorArgs),
    /// Replay recorded fleets through the engine, beside the policies of others
    Lab(lab::LabArgs),
    /// Before you move: how many servers, which workload where, what it saves
    Plan(plan::PlanArgs),
    /// Make a token that lets a server or a person in, once, within ten minutes
    Token(token::TokenArgs),
    /// Join the cloud with this server, by a token
    Join(join::JoinArgs),
    /// Come in as a person, by a token
    Login(join::LoginArgs),
    /// List everybody who was ever let in
    Members,
    /// Manage one node
    Node(member::NodeArgs),
    /// Manage one person
    Person(member::PersonArgs),
    /// Keep, list and delete the secrets of departments
    Secret(secret::SecretArgs),
    /// Manage what stays on the nodes
    Volume(volume::VolumeArgs),
    /// Print the JSON Schema of manifests
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: completion::ShellName,
    },
    /// Write the manual: a page for the command and one for each verb
    Man(completion::ManArgs),
    /// Back up the scheduler of this machine into one file, while it runs
    Backup(backup::BackupArgs),
    /// Restore a backup into a state directory that holds no scheduler
    Restore(backup::RestoreArgs),
    /// After a restore: let nodes run what the journal says
    ConfirmRestore(backup::ConfirmArgs),
    /// Tell the city's story in about three minutes, with real processes and real limits (root)
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    DemoPlayer(demo::PlayerArgs),
    #[command(hide = true)]
    DemoService(demo::ServiceArgs),
}

impl Options {
    pub(crate) fn session(&self) -> Session {
        Session {
            socket: self.global.socket(),
            identity: self.global.identity(),
            format: self.global.output,
            language: Language::of_locale(),
        }
    }
}

impl Global {
    /// Returns the directory that holds the state.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| {
            let home = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
            let root = nix::unistd::Uid::effective().is_root();
            default_state_dir(
                root,
                home("XDG_STATE_HOME").as_deref().map(Path::new),
                home("HOME").as_deref().map(Path::new),
            )
        })
    }

    /// Returns the identity to speak with, if that is how.
    pub(crate) fn identity(&self) -> Option<PathBuf> {
        let kept = || Some(self.identity_path()).filter(|path| path.exists());
        let default = || if self.socket.is_some() { None } else { kept() };
        self.identity.clone().or_else(default)
    }

    /// Returns where the identity of a person is kept.
    pub(crate) fn identity_path(&self) -> PathBuf {
        self.identity.clone().unwrap_or_else(|| self.state_dir().join("identity"))
    }

    /// Returns the socket of the scheduler.
    pub(crate) fn socket(&self) -> PathBuf {
        let default = || self.state_dir().join("scheduler/scheduler.sock");
        self.socket.clone().unwrap_or_else(default)
    }
}

fn default_state_dir(root: bool, state_home: Option<&Path>, home: Option<&Path>) -> PathBuf {
    match (root, state_home, home) {
        (true, ..) => PathBuf::from("/var/lib/tengyun"),
        (false, Some(state), _) => state.join("tengyun"),
        (false, None, Some(home)) => home.join(".local/state/tengyun"),
        (false, None, None) => {
            std::env::temp_dir().join(format!("tengyun-{}", nix::unistd::Uid::effective()))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_documentation_has_every_verb_and_option() {
        let text = include_str!("../../docs/cli.md");
        for verb in Options::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = verb.get_name();
            assert!(text.contains(&format!("`tengyun {name}`")), "no line about {name}");
            for option in verb.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(text.contains(&format!("--{option}")), "{name} --{option} is missing");
            }
        }
    }

    #[test]
    fn the_state_is_where_its_user_may_write() {
        let path = |text| Some(Path::new(text));
        assert_eq!(default_state_dir(true, None, path("/root")), Path::new("/var/lib/tengyun"));
        assert_eq!(default_state_dir(false, path("/s"), path("/h")), Path::new("/s/tengyun"));
        assert_eq!(
            default_state_dir(false, None, path("/h")),
            Path::new("/h/.local/state/tengyun")
        );
    }
}
