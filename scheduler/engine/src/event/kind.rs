//! The kinds of events, as stable words.

use std::fmt;

macro_rules! kinds {
    ($($name:ident $word:literal)*) => {
        /// What happened, in a word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the words say it")]
        pub enum EventKind {
            $($name,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the stable word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

kinds! {
    SchedulerStarted "scheduler-started"
    NodeRegistered "node-registered"
    NodeChanged "node-changed"
    WorkloadStopped "workload-stopped"
    WorkloadDeleted "workload-deleted"
    WorkloadReleased "workload-released"
    WorkloadCreated "workload-created"
    WorkloadUpdated "workload-updated"
    NodeWish "node-wish"
    NodeLost "node-lost"
    NodeReturned "node-returned"
    TokenCreated "token-created"
    MemberJoined "member-joined"
    MemberRevoked "member-revoked"
    Restored "restored"
    RestoreSettled "restore-settled"
    RestoreConfirmed "restore-confirmed"
    NodeSuspect "node-suspect"
    NodeConnected "node-connected"
    NodeAway "node-away"
    VolumesRemoving "volumes-removing"
    VolumesRemoved "volumes-removed"
    PolicyChanged "policy-changed"
    Started "started"
    Healthy "healthy"
    Unhealthy "unhealthy"
    Restarting "restarting"
    Ended "ended"
    Failed "failed"
    Stopped "stopped"
    Placed "placed"
    Moving "moving"
    Stopping "stopping"
    Moved "moved"
    Evicted "evicted"
    MoveGivenUp "move-given-up"
    InstanceLost "instance-lost"
    Renewing "renewing"
    Queued "queued"
    WorkloadHeld "workload-held"
    RolloutComplete "rollout-complete"
    RolloutReturned "rollout-returned"
    RolloutHalted "rollout-halted"
    RolloutPaused "rollout-paused"
    RolloutResumed "rollout-resumed"
    RolloutUndone "rollout-undone"
    RunDue "run-due"
    RunSkipped "run-skipped"
    RunMissed "run-missed"
    NodeForgotten "node-forgotten"
    Retried "retried"
    MemoryMissed "memory-missed"
}

impl EventKind {
    /// Returns the kind of a word; nothing where another version has more of them.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|kind| kind.as_str() == word).copied()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq<str> for EventKind {
    fn eq(&self, word: &str) -> bool {
        self.as_str() == word
    }
}

impl PartialEq<&str> for EventKind {
    fn eq(&self, word: &&str) -> bool {
        self.as_str() == *word
    }
}
