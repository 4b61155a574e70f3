//! The codes of what is said, and what each says in English; `{0}` is its first argument.
//!
//! A code is never given another meaning: readers of other versions know it.

macro_rules! codes {
    ($($name:ident $word:literal $english:literal)*) => {
        /// What is said, apart from what it is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "what each says stands beside it in the table")]
        pub enum Code {
            $($name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns its stable word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// Returns the code of a word.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Returns the sentence in English.
            pub const fn english(self) -> &'static str {
                match self {
                    $(Self::$name => $english,)*
                }
            }
        }
    };
}

impl Code {
    /// Returns how many arguments it has: one more than the highest it names.
    pub const fn arity(self) -> usize {
        let bytes = self.english().as_bytes();
        let (mut at, mut arity) = (1, 0);
        while at < bytes.len() {
            if bytes[at - 1] == b'{' {
                // A digit follows; there are fewer than ten arguments.
                let (mut digit, mut count) = (b'0', 1);
                while digit < bytes[at] {
                    digit += 1;
                    count += 1;
                }
                if count > arity {
                    arity = count;
                }
            }
            at += 1;
        }
        arity
    }
}

codes! {
    Nothing "nothing" ""
    Verbatim "verbatim" "{0}"
    ErrorWith "error-with" "{0}: {1}"
    Aside "aside" " ({0})"
    Further "further" "; {0}"
    Joined "joined" "{0}{1}"
    Because "because" ": {0}"

    // Refusals.
    UnknownWorkload "unknown-workload" "no workload is called {0}"
    UnknownNode "unknown-node" "no node has the id {0}"
    UnknownInstance "unknown-instance" "no instance has the id {0}"
    OperationReused "operation-reused" "operation {0} was another wish before"
    Deleting "deleting" "workload {0} is being deleted"
    BadField "bad-field" "{0} must be {1}"
    NotSupportedYet "not-supported-yet" "{0} is not supported yet"
    ImmutableKind "immutable-kind" "the kind of a workload cannot change"
    ImmutableClass "immutable-class" "the class of a workload cannot change"
    UnknownKnob "unknown-knob" "no knob is called {0}"
    BadKnob "bad-knob" "knob {0} must be {1}"
    KnobRange "knob-range" "{0} to {1} ({2})"
    KnobBandOrder "knob-band-order" "in the order band_floor, band_target, band_ceiling"
    KnobPortOrder "knob-port-order" "at least port_first"
    TooMany "too-many" "there may be at most {0} {1}"
    ManyNodes "many-nodes" "nodes"
    ManyWorkloads "many-workloads" "workloads"
    ManyInstances "many-instances" "instances"
    ManyTokens "many-tokens" "tokens"
    ManyMembers "many-members" "members"
    NoCpu "no-cpu" "wants {0} CPU, {1} left"
    NoMemory "no-memory" "wants {0} memory, {1} left"
    NoDisk "no-disk" "wants {0} disk, {1} left"
    NoPids "no-pids" "wants {0} processes, {1} left"
    PortTaken "port-taken" "port {0} is taken"
    NoCounter "no-counter" "wants {1} of counter {0}, {2} left"
    NoLabel "no-label" "has no label {0}={1}"
    AntiAffinity "anti-affinity" "runs {0}, which must not share a node with it"
    Spread "spread" "would make {0} uneven by more than one"
    DiskBusy "disk-busy" "its busiest disk was busy {0} of the time, nothing new comes above {1}"
    NetworkBusy "network-busy" "its fullest link was {0} full, nothing new comes above {1}"
    NodeAway "node-away" "its agent is away"
    NodeCordoned "node-cordoned" "is cordoned"
    NodeOpen "node-open" "is open"
    NodeDrained "node-drained" "is drained"
    NodeLost "node-lost" "is lost"
    NodeThere "node-there" "the agent of node {0} is there"
    NobodySilent "nobody-silent" "no node has been silent for long enough"
    AlreadyThere "already-there" "the instance is there already"
    Held "held" "{0} is held: {1} nodes were lost soon after it started there"
    NoData "no-data" "its use is not known yet"
    UnknownToken "unknown-token" "no such token is known"
    TokenUsed "token-used" "the token was used before"
    TokenExpired "token-expired" "the token's time is over"
    TokenForOther "token-for-other" "the token is for {0}"
    NameTaken "name-taken" "{0} is there already"
    UnknownMember "unknown-member" "{0} was never let in"
    NotThisNode "not-this-node" "the certificate is not, or no longer, that of node {0}"
    Stale "stale" "{0} is no longer so"
    NoPort "no-port" "wants {0} chosen ports, {1} are left in the range"
    VolumesElsewhere "volumes-elsewhere" "its volumes are on node {0}"
    KeepsVolumes "keeps-volumes" "its volumes stay on its node, and it with them"
    UnknownVolumes "unknown-volumes" "{0} has no volumes there"
    VolumesInUse "volumes-in-use" "instance {0} uses the volumes"
    NotRestored "not-restored" "no restore waits for a word"
    OnlyThere "only-there" "it belongs to node {0} and starts only there"
    DependsOn "depends-on" "it depends on {0}, which {1}"
    LacksExistence "lacks-existence" "is not there"
    LacksWish "lacks-wish" "is stopped"
    LacksHealthyCopy "lacks-healthy-copy" "has no healthy copy"
    LacksGoodEnd "lacks-good-end" "has not ended well"
    LacksGoodRun "lacks-good-run" "has had no run that ended well"
    Circle "circle" "it would depend on itself, by way of {0}"
    NoRollout "no-rollout" "nothing of {0} is being rolled out"
    NoRevision "no-revision" "no such revision of {0} is kept, or none to go back to"
    NoPolicyVersion "no-policy-version" "version {0} of the policy is not kept"
    NotLost "not-lost" "node {0} is not lost: it may still run what it was told"
    MayStillRun "may-still-run" "{1} instances may still run on node {0}"
    HasVolumes "has-volumes" "node {0} keeps volumes of {1} copies"
    RestsAfterFailure "rests-after-failure" "it failed {0} times in a row and rests for another {1} s"
    InGang "in-gang" "the {0} instances of its gang that wait start all at once or not at all"

    // What is no longer so.
    PastReplaced "past-replaced" "a replaced instance"
    PastRevision "past-revision" "a workload's revision"
    PastNode "past-node" "an instance's node"
    PastWorkloadOf "past-workload-of" "an instance's workload"
    PastOthersUse "past-others-use" "its use by others, beside whom harvest runs,"
    PastHolderOfVolumes "past-holder-of-volumes" "the earlier copy, which holds its volumes,"
    PastEarlierCopy "past-earlier-copy" "the earlier copy, which must not run twice,"
    PastEarlierRun "past-earlier-run" "the earlier run's end"
    PastGoodRevision "past-good-revision" "the good revision"
    PastAlone "past-alone" "the instance's being alone"
    PastWaiting "past-waiting" "the instance's waiting"
    PastNodeOfVolumes "past-node-of-volumes" "the node of volumes"
    PastPlace "past-place" "the place of the instance"
    PastShiftReason "past-shift-reason" "the reason of the shift"
    PastStopReason "past-stop-reason" "the reason of the stop"
    PastPromise "past-promise" "the memory that the instance is promised"
    PastRemoval "past-removal" "the removal of its earlier volumes"
    PastRollout "past-rollout" "the rollout"
    PastScheduled "past-scheduled" "the scheduled time"
    PastInstanceWish "past-instance-wish" "the wish to run the instance"
    PastWorkloadWish "past-workload-wish" "the wish to run the workload"
    PastWorkload "past-workload" "the workload"
    PastPolicyVersions "past-policy-versions" "the versions of the policy"

    // Refusals of the daemon.
    ReadOnly "read-only" "the scheduler is read-only: {0}"
    NotListening "not-listening" "the scheduler listens for nobody outside of its machine"
    NotYours "not-yours" "{0} is not within the department that you speak for"
    SecretInUse "secret-in-use" "{0} is given the secret {1}"
    UnknownSecret "unknown-secret" "there is no secret {0}"
    ReadOnlyNow "read-only-now" "read-only: {0}"
    NeedsCertificate "needs-certificate" "this needs a certificate: join first"
    MayNot "may-not" "{0} may not do this"
    LocalUser "local-user" "a local user"
    InRole "in-role" "{0} ({1})"
    UserInRole "user-in-role" "user {0} ({1})"
    WithoutCertificate "without-certificate" "somebody without a certificate"
    JoinAgain "join-again" "{0}: join again"
    CertificateNobody "certificate-nobody" "the certificate names nobody"
    CertificateRevoked "certificate-revoked" "the certificate was revoked"
    ConnectionUnknown "connection-unknown" "a connection of an unknown kind"
    TooManyAttempts "too-many-attempts" "too many attempts to join: wait a minute"
    NothingSoCalled "nothing-so-called" "nothing of this department is called so"
    MoreThan "more-than" "{0}: {1} are more than {2}"
    NoOutputYet "no-output-yet" "instance {0} waits and has no output yet"
    AgentAway "agent-away" "the agent of node {0} is away; try again"
    AgentWent "agent-went" "the agent went away"
    LogsOpen "logs-open" "{0} log requests are open on this node; end one"
    LogSlow "log-slow" "the reader of the log is too slow"
    SchedulerStops "scheduler-stops" "the scheduler is stopping; retry with the same operation id"
    UnreadOfYou "unread-of-you" "{0} MiB of answers to you wait to be read: read them or close their connections, then ask again"
    UnreadOfAll "unread-of-all" "{0} MiB of answers to people wait to be read: ask again in a moment, or on the scheduler's machine"
    BadSecret "bad-secret" "a secret has 1 to {0} bytes"
    TooManySecrets "too-many-secrets" "{0} has {1} secrets"

    // What would help.
    DoListWorkloads "do-list-workloads" "list them with `tengyun get workloads`"
    DoListNodes "do-list-nodes" "list them with `tengyun get nodes`"
    DoListInstances "do-list-instances" "list them with `tengyun get instances`"
    DoNewOperation "do-new-operation" "use a new operation id for a new wish"
    DoWaitDeleted "do-wait-deleted" "wait until it is gone and apply it again"
    DoCorrect "do-correct" "correct the field and apply again"
    DoLeaveOut "do-leave-out" "leave it out"
    DoDeleteFirst "do-delete-first" "delete the workload and apply it again"
    DoListKnobs "do-list-knobs" "list them with `tengyun policy show`"
    DoPolicyHistory "do-policy-history" "list them with `tengyun policy history`"
    DoSeeRange "do-see-range" "see its range with `tengyun policy show`"
    DoDelete "do-delete" "delete what is not needed"
    DoAskLess "do-ask-less" "ask for less, or add a node"
    DoOtherPort "do-other-port" "choose another port, or add a node"
    DoLabel "do-label" "label a node so, or drop the constraint"
    DoRelax "do-relax" "add a node, or relax the constraint"
    DoStartAgent "do-start-agent" "start its agent"
    DoUncordon "do-uncordon" "open it with `tengyun uncordon`"
    DoBringBack "do-bring-back" "bring it back; if it is off, `tengyun acknowledge-loss --dead`"
    DoNothingNotLost "do-nothing-not-lost" "nothing: it is not lost"
    DoNothingThere "do-nothing-there" "nothing: it is where it should be"
    DoMend "do-mend" "mend it, then `tengyun release`"
    DoAwaitReports "do-await-reports" "wait for its first reports"
    DoNewToken "do-new-token" "make another with `tengyun token create`"
    DoTokenForIt "do-token-for-it" "make one for it with `tengyun token create`"
    DoOtherName "do-other-name" "choose another --name, or make a token for this one with `tengyun token create --node NAME`"
    DoListMembers "do-list-members" "list them with `tengyun members`"
    DoOwnName "do-own-name" "give the agent its own --name, or make a token for this one with `tengyun token create --node NAME` and join again"
    DoAwaitCalm "do-await-calm" "wait until it calms down, or raise disk_busy_ceiling or network_ceiling"
    DoWidenPorts "do-widen-ports" "widen port_first to port_last, or add a node"
    DoSeeVolumes "do-see-volumes" "see them with `tengyun get volumes`; a copy leaves its node only without them"
    DoListVolumes "do-list-volumes" "list them with `tengyun get volumes`"
    DoStopFirst "do-stop-first" "stop its workload first"
    DoNothingBelongs "do-nothing-belongs" "nothing: it belongs to that node"
    DoMendDependency "do-mend-dependency" "apply it, or mend it: `tengyun explain` says what it lacks"
    DoDropDependency "do-drop-dependency" "drop one of the dependencies"
    DoSeeRollout "do-see-rollout" "see where it stands with `tengyun rollout status`"
    DoListRevisions "do-list-revisions" "list them with `tengyun rollout history`"
    DoNothingPlan "do-nothing-plan" "nothing: the next plan takes it into account"
    DoNothingStatus "do-nothing-status" "nothing: see `tengyun status`"
    DoWritable "do-writable" "stop it and start it without --read-only"
    DoListen "do-listen" "start it with --listen ADDRESS:PORT"
    DoAskOperator "do-ask-operator" "ask an operator, or name a department of yours"
    DoDeleteUser "do-delete-user" "delete that workload, or apply it without the secret, first"
    DoSetSecret "do-set-secret" "set it with `tengyun secret set {0}` and apply again"
    DoArtifact "do-artifact" "put what is larger into an artifact"
    DoDrainFirst "do-drain-first" "drain it and stop its agent; if it is off, `tengyun acknowledge-loss {0} --dead`"
    DoAcknowledge "do-acknowledge" "if it is off, `tengyun acknowledge-loss {0} --dead`, or say --dead"
    DoDeleteVolumes "do-delete-volumes" "see them with `tengyun get volumes`, and delete those that nobody needs"
    DoSeeLogs "do-see-logs" "see why with `tengyun logs`, and apply what mends it"
    DoAwaitGang "do-await-gang" "see what it lacks with `tengyun explain`, or apply it with gang: false"

    // Phases, exits, roles, members.
    PhaseWaiting "phase-waiting" "waiting"
    PhaseStarting "phase-starting" "starting"
    PhaseRunning "phase-running" "running"
    PhaseHealthy "phase-healthy" "healthy"
    PhaseBackingOff "phase-backing-off" "backing off"
    PhaseStopping "phase-stopping" "stopping"
    PhaseSucceeded "phase-succeeded" "succeeded"
    PhaseFailed "phase-failed" "failed"
    PhaseStopped "phase-stopped" "stopped"
    PhaseUnhealthy "phase-unhealthy" "unhealthy"
    ExitCode "exit-code" "exit code {0}"
    ExitSignal "exit-signal" "signal {0}"
    ExitOutOfMemory "exit-out-of-memory" "out of memory"
    ExitNotStarted "exit-not-started" "could not be started"
    ExitUnknown "exit-unknown" "unknown"
    ExitUnhealthy "exit-unhealthy" "not healthy"
    ExitPortTaken "exit-port-taken" "port {0} is taken by another program"
    RoleOperator "role-operator" "operator"
    RoleDepartment "role-department" "department {0}"
    RoleViewer "role-viewer" "viewer"
    MemberNode "member-node" "node {0}"
    MemberPerson "member-person" "person {0}"
    GrantNewNode "grant-new-node" "a new node"
    GrantPerson "grant-person" "person {0} as {1}"
    CopyOf "copy-of" "copy {0} of {1}"

    // Events.
    EventEpoch "event-epoch" "epoch {0}"
    EventCapacity "event-capacity" "{0} CPU, {1} memory"
    EventRestored "event-restored" "from a backup that ends {0} s before"
    EventSettled "event-settled" "{0} nodes run what is known"
    EventDefaults "event-defaults" "defaults"
    EventPolicy "event-policy" "version {0}{1}: {2}"
    EventSaysSo "event-says-so" "an operator says so"
    EventKnowsOff "event-knows-off" "an operator knows that it is off"
    EventSilent "event-silent" "it was silent for too long"
    EventNotHeard "event-not-heard" "it was not heard for some time"
    EventAdmitted "event-admitted" "{0}, admission {1}"
    EventFor "event-for" "for {0}"
    EventRevision "event-revision" "revision {0}"
    EventMoving "event-moving" "from {0} to {1} as instance {2}: {3}"
    EventMemoryMissed "event-memory-missed" "it used more memory than it was promised, and counts its request again: {0}"
    EventHarms "event-harms" "{0} nodes were lost under it"
    EventOfCopy "event-of-copy" "of copy {0}"
    EventStart "event-start" "start {0}"
    EventForgotten "event-forgotten" "its id was {0}; its certificate holds no longer"
    EventReturned "event-returned" "from revision {0} to {1}: {2}"
    EventHalted "event-halted" "revision {0}: {1}"
    EventUndone "event-undone" "to revision {0}: an operator said so"
    EventRun "event-run" "run {0}"
    EventRunWhy "event-run-why" "run {0}: {1}"
    WishServe "wish-serve" "serve"
    WishCordon "wish-cordon" "cordon"
    WishDrain "wish-drain" "drain"
    WishDrainByForce "wish-drain-by-force" "drain-by-force"
    ShiftConsolidate "shift-consolidate" "its node is worth emptying"
    ShiftOverload "shift-overload" "its node is above the ceiling"
    ShiftMemory "shift-memory" "its node has too little memory"
    ShiftRevision "shift-revision" "its workload has a newer revision"
    ShiftDrain "shift-drain" "its node is drained"
    ShiftOperator "shift-operator" "an operator said so"
    StopNotWanted "stop-not-wanted" "its workload no longer wants it"
    StopReplaced "stop-replaced" "its replacement is healthy"
    StopEvicted "stop-evicted" "others need the room or its node is drained, it is queued again"
    StopGivenUp "stop-given-up" "it did not become healthy in time, the old copy stays"
    StopDrained "stop-drained" "its node is drained, it is queued again"
    StopLost "stop-lost" "its node is lost, it is queued again"
    StopRenewed "stop-renewed" "its workload has a newer revision, which starts in its place"
    StopFailed "stop-failed" "it failed and has rested, it is queued again"

    // Why a copy, a rollout or a run failed.
    WhyLate "why-late" "instance {0} was not healthy within {1} s"
    WhyFailed "why-failed" "instance {0} failed{1}{2}"
    WhySank "why-sank" "instance {0} was healthy and is not any more{1}"
    WhyEnded "why-ended" "instance {0} ended by itself"
    WhyNoRoom "why-no-room" "copy {0} found no room within {1} s: {2}"
    WhyRunMissed "why-run-missed" "the scheduler noticed it too late"
    WhyRunBefore "why-run-before" "the run before had not ended"
    WhyRunsMany "why-runs-many" "too many runs are under way"
    WhyRunReplaced "why-run-replaced" "the next run took its place"
    WhyRunStopped "why-run-stopped" "its workload was stopped"

    // Rollouts.
    RolloutAdvances "rollout-advances" "revision {0} is rolled out: {1} of {2} copies proved healthy{3}{4}"
    RolloutPaused "rollout-paused" "revision {0} is paused: {1} of {2} copies proved healthy{3}"
    RolloutHalted "rollout-halted" "revision {0} has failed and waits: {1}"
    RolloutReturns "rollout-returns" "returns to revision {0}: {1} of {2} copies proved healthy{3}"
    RolloutFailures "rollout-failures" ", {0} failed ({1})"
    RolloutWindow "rollout-window" "; it waits for its window"
    RolloutNoRoom "rollout-no-room" "; no room for {0} of them: {1}"
    RolloutFailed "rollout-failed" "; revision {0} failed: {1}"

    // Explanations.
    WaitsNobody "waits-nobody" "waits: no node has joined"
    WaitsVolumes "waits-volumes" "waits for {0}, where its volumes are: {1}"
    WaitsSoon "waits-soon" "it starts soon"
    WaitsNone "waits-none" "waits: none of {0} nodes can take it"
    WaitsCalm "waits-calm" "waits: none of {0} nodes can take it; disks are too busy on {1}, links on {2}"
    WaitsSome "waits-some" "waits: {0} of {1} nodes can take it soon"
    WaitsLeaving "waits-leaving" "waits for room on {0}, which something is leaving"
    WaitsFor "waits-for" "waits: {0}"
    WaitsHome "waits-home" "waits for {0}, where it belongs: {1}"
    WaitsGang "waits-gang" "waits with its gang of {0} as a whole (gang: true): {1} would fit now, the first that does not lacks: {2}"
    StartsHome "starts-home" "is about to start on {0}, where it belongs"
    Uses "uses" "expected to use at most {0} ({1})"
    BasisMeasured "basis-measured" "measured"
    BasisRequested "basis-requested" "requested"
    IsStopping "is-stopping" "stops on {0}: {1}"
    IsReplacing "is-replacing" "starts on {0} to replace instance {1}, {2}"
    IsReplaced "is-replaced" "runs on {0} until instance {1} is healthy elsewhere, {2}"
    LostLeaves "lost-leaves" "was on {0}, which is lost, and is about to start elsewhere"
    LostOnly "lost-only" "waits for {0}, which is lost: it is the only copy, and may still run there"
    LostWaits "lost-waits" "waits for {0}, which is lost: it may still run there (on_lost: wait)"
    NotHeard "not-heard" "is on {0}, which was not heard for {1} s"
    DrainedStays "drained-stays" "; the node is drained, but it must not move"
    DrainedKeeps "drained-keeps" "; the node is drained, but its volumes are here"
    DrainedWindow "drained-window" "; the node is drained, it waits for its window"
    DrainedLeaves "drained-leaves" "; it leaves, the node is drained"
    CannotStart "cannot-start" "cannot be started on {0}: {1}{2}{3}"
    TriedAgain "tried-again" "; it is tried again"
    Crashes "crashes" "crashes on {0}: {1} at start {2}, and starts again{3}"
    Ended "ended" "ended"
    Is "is" "is {0}{1} on {2}, {3}{4}{5}"

    // The nearest change that would help.
    HelpRelease "help-release" "mend it, then `tengyun release {0}`"
    HelpBringBack "help-bring-back" "bring {0} back, or, if it is off, `tengyun acknowledge-loss {0} --dead`"
    HelpStop "help-stop" "`tengyun stop {0}`: it starts again where its volumes are"
    HelpForce "help-force" "`tengyun drain {0} --force` stops it before it starts elsewhere"
    HelpAgent "help-agent" "start an agent: `tengyun up`, or `tengyun-agent` on a server"
    HelpForeign "help-foreign" "end what is not of this cloud on {0}, it uses up to {1}, or add a node"
    HelpNode "help-node" "add a node"
    HelpLowerCpu "help-lower-cpu" "lower resources.cpu to at most {0} to fit on {1}, or add a node"
    HelpLowerMemory "help-lower-memory" "lower resources.memory to at most {0} to fit on {1}, or add a node"
    HelpLowerDisk "help-lower-disk" "lower resources.disk to at most {0} to fit on {1}, or add a node"
    HelpLowerPids "help-lower-pids" "lower resources.pids to at most {0} to fit on {1}, or add a node"
    HelpLowerCounter "help-lower-counter" "ask for at most {1} of counter {0} to fit on {2}"
    HelpPort "help-port" "choose another port than {0}, or add a node"
    HelpPorts "help-ports" "widen port_first to port_last, or add a node"
    HelpLabel "help-label" "drop the constraint {0}={1}, or add a node that has it"
    HelpAntiAffinity "help-anti-affinity" "drop the anti-affinity to {0}, or add a node"
    HelpSpread "help-spread" "add a node with another value of {0}"
    HelpDiskBusy "help-disk-busy" "wait until the disks of {0} calm down, or raise disk_busy_ceiling, or add a node"
    HelpNetworkBusy "help-network-busy" "wait until the links of {0} calm down, or raise network_ceiling, or add a node"
    HelpAgentOf "help-agent-of" "start the agent of {0} again"
    HelpBack "help-back" "bring {0} back, or add a node"
    HelpUncordon "help-uncordon" "`tengyun uncordon {0}`, or add a node"
    HelpHarvest "help-harvest" "harvest runs beside others: it starts where critical or standard instances leave room"
    HelpMove "help-move" "`tengyun move {0} --to {1}` would do"

    // What keeps an instance on a drained node.
    LeaveReturns "leave-returns" "it stops when the node returns"
    LeaveNever "leave-never" "move: never; --force stops it before it starts elsewhere"
    LeaveVolumes "leave-volumes" "its volumes are on this node: it leaves only when stopped"
    LeaveWindow "leave-window" "move: window, and its window is not open; --force moves it now"
    LeaveRests "leave-rests" "it was moved or tried a moment ago and rests"
    LeaveLost "leave-lost" "the node is lost and it may still run there"
    LeaveUnhealthy "leave-unhealthy" "it replaces another and is not healthy yet"
    LeaveRenewed "leave-renewed" "it is being renewed"
    LeaveTurn "leave-turn" "its turn: only so many move at a time"
    LeaveNoRoom "leave-no-room" "no other node can take it: {0}"

    // Why an instance is as it is wished, in a word or two.
    ReasonReplaces "reason-replaces" "replaces an earlier copy"
    ReasonRoom "reason-room" "waits for room"
    ReasonNotWanted "reason-not-wanted" "no longer wanted"
    ReasonReplaced "reason-replaced" "its replacement is healthy"
    ReasonEvicted "reason-evicted" "evicted: others need the room"
    ReasonGivenUp "reason-given-up" "did not become healthy in time"
    ReasonDrained "reason-drained" "its node is drained"
    ReasonLost "reason-lost" "its node was lost; stops when it returns"
    ReasonRenewed "reason-renewed" "a newer revision starts in its place"
    ReasonFailed "reason-failed" "it failed, it is queued again"

    // The state of the scheduler.
    ReserveHeld "reserve-held" "held: without the largest {0} all would have its place; {1} nodes needed, {2} there"
    ReserveMissing "reserve-missing" "not held: without the largest {0} some would not have its place; {1} nodes needed, {2} there; no node is emptied meanwhile"
    ReserveNode "reserve-node" "node"
    ReserveRack "reserve-rack" "rack"
    MemoryByUse "memory-by-use" "by use {0} count of {1} asked for, margin {2} %{3}"
    MemoryShort "memory-short" "; {0} nodes have too little and nothing there may leave, or is about to: {1}"
    StatusReports "status-reports" "waits for reports: {0} of {1} nodes reported"
    StatusOn "status-on" "on"
    StatusOff "status-off" "off"
    StatusStuck "status-stuck" "{0}; no move helps {1} nodes above the ceiling, first {2}: {3} of its {4} instances must not move now, no node has room for the others; let them move or add a node"
    StatusSilent "status-silent" "{0} of {1} nodes fell silent"
    StatusGrace "status-grace" "{0}; none counts as lost for another {1} s, agents may return"
    StatusHeld "status-held" "{0}: none is declared lost, look at the network; `tengyun acknowledge-loss` if they are lost"
    StatusDomain "status-domain" "{0}: {1} of them are a rack or zone, look at its network; `tengyun acknowledge-loss` if they are lost"
    StatusSlow "status-slow" "{0}: losses are declared slowly"
    StatusUsual "status-usual" "{0}: losses are declared one by one"
    StatusFound "status-found" "{0} of {1} nodes reported; {2} instances run that the journal does not know, {3} are missing that it does"
    StatusObserves "status-observes" "only observing, nothing is started or stopped: {0}"
    StatusUnsettled "status-unsettled" "{0} nodes are told nothing yet: {1}"
}
