//! What a shim is told: a file that the agent writes once, before it starts the shim.
//!
//! Fields are only ever added, because an upgraded agent meets shims that an older one started.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::run::cgroup::Group;

/// The file in the instance's directory.
pub(crate) const FILE: &str = "spec.pb";
/// The largest specification: a command and an environment of the largest workload, with room.
const BYTES_MAX: u64 = 2 * 1024 * 1024;

/// One variable of the environment.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Variable {
    /// What it is called.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// What it says.
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// One directory of the instance's control group.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct GroupDirectory {
    /// The controller, in the kernel's word.
    #[prost(string, tag = "1")]
    pub(crate) controller: String,
    /// The directory.
    #[prost(string, tag = "2")]
    pub(crate) path: String,
}

/// What one start of an instance needs.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ShimSpec {
    /// The program and its arguments.
    #[prost(string, repeated, tag = "1")]
    pub(crate) command: Vec<String>,
    /// The whole environment.
    #[prost(message, repeated, tag = "2")]
    pub(crate) env: Vec<Variable>,
    /// The user and group to become; absent without root.
    #[prost(uint32, optional, tag = "3")]
    pub(crate) uid: Option<u32>,
    /// See `uid`.
    #[prost(uint32, optional, tag = "4")]
    pub(crate) gid: Option<u32>,
    /// The control group to join; empty without one.
    #[prost(message, repeated, tag = "5")]
    pub(crate) group: Vec<GroupDirectory>,
    /// Whether the control group is of the unified hierarchy.
    #[prost(bool, tag = "6")]
    pub(crate) unified: bool,
    /// Whether to run only when nothing else wants the CPU.
    #[prost(bool, tag = "7")]
    pub(crate) idle: bool,
    /// The order in which the kernel kills when memory runs out.
    #[prost(int32, tag = "8")]
    pub(crate) oom_score_adj: i32,
    /// The most bytes of one file of output.
    #[prost(uint64, tag = "9")]
    pub(crate) output_file_bytes: u64,
    /// The most files of one stream of output.
    #[prost(uint32, tag = "10")]
    pub(crate) output_files: u32,
    /// The most bytes a second of one stream, over time.
    #[prost(uint64, tag = "11")]
    pub(crate) output_bytes_per_second: u64,
    /// Groups that it is in besides its own.
    #[prost(uint32, repeated, tag = "12")]
    pub(crate) groups: Vec<u32>,
}

impl ShimSpec {
    /// Reads the file; the outer error is the disk's, the inner one the content's.
    pub(crate) fn read(path: &Path) -> io::Result<Result<Self, prost::DecodeError>> {
        let bytes = super::read_bounded(path, BYTES_MAX)?;
        Ok(Self::decode(bytes.as_slice()))
    }

    /// Takes the directories of a control group.
    pub(crate) fn set_group(&mut self, group: &Group) {
        self.unified = group.is_unified();
        let dirs = group.directories().into_iter();
        self.group = dirs
            .map(|(controller, path)| GroupDirectory {
                controller,
                path: path.to_string_lossy().into_owned(),
            })
            .collect();
    }

    /// Returns the control group, if there is one.
    pub(crate) fn group(&self) -> Option<Group> {
        if self.group.is_empty() {
            return None;
        }
        let dirs: Vec<(String, PathBuf)> =
            self.group.iter().map(|d| (d.controller.clone(), PathBuf::from(&d.path))).collect();
        Some(Group::from_directories(self.unified, &dirs))
    }
}
