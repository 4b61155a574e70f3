//! Refusals for operators: the stable word, the sentence, and what would help.

use tengyun_engine::Refusal;
use tengyun_proto::v1;

/// Says a refusal on the wire.
pub(crate) fn refusal(refusal: &Refusal) -> v1::Refusal {
    v1::Refusal {
        code: refusal.code().to_owned(),
        message: refusal.to_string(),
        remedy: remedy(refusal).to_owned(),
    }
}

const fn remedy(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownWorkload(_) => "list them with `tengyun get workloads`",
        Refusal::UnknownNode(_) | Refusal::NobodySilent => "list them with `tengyun get nodes`",
        Refusal::UnknownInstance(_) => "list them with `tengyun get instances`",
        Refusal::OperationReused(_) => "use a new operation id for a new wish",
        Refusal::Deleting(_) => "wait until it is gone and apply it again",
        Refusal::BadField { .. } => "correct the field and apply again",
        Refusal::NotSupportedYet(_) => "leave it out",
        Refusal::Immutable(_) => "delete the workload and apply it again",
        Refusal::NoPolicyVersion(_) => "list them with `tengyun policy history`",
        Refusal::UnknownKnob(_) => "list them with `tengyun policy show`",
        Refusal::BadKnob { .. } => "see its range with `tengyun policy show`",
        Refusal::TooMany { .. } => "delete what is not needed",
        Refusal::NoCpu { .. }
        | Refusal::NoMemory { .. }
        | Refusal::NoDisk { .. }
        | Refusal::NoPids { .. }
        | Refusal::NoCounter { .. } => "ask for less, or add a node",
        Refusal::PortTaken(_) => "choose another port, or add a node",
        Refusal::NoLabel { .. } => "label a node so, or drop the constraint",
        Refusal::AntiAffinity(_) | Refusal::Spread(_) => "add a node, or relax the constraint",
        Refusal::NodeAway => "start its agent",
        Refusal::NotOpen(_) => "open it with `tengyun uncordon`",
        Refusal::NodeLost => "bring it back; if it is off, `tengyun acknowledge-loss --dead`",
        Refusal::NodeThere(_) => "nothing: it is not lost",
        Refusal::AlreadyThere => "nothing: it is where it should be",
        Refusal::Held { .. } => "mend it, then `tengyun release`",
        Refusal::NoData => "wait for its first reports",
        Refusal::UnknownToken | Refusal::TokenUsed | Refusal::TokenExpired => {
            "make another with `tengyun token create`"
        }
        Refusal::TokenForOther(_) => "make one for it with `tengyun token create`",
        Refusal::NameTaken(_) => {
            "choose another --name, or make a token for this one with `tengyun token create --node NAME`"
        }
        Refusal::UnknownMember(_) => "list them with `tengyun members`",
        Refusal::NotThisNode(_) => {
            "give the agent its own --name, or make a token for this one with \
             `tengyun token create --node NAME` and join again"
        }
        Refusal::NoPort { .. } => "widen port_first to port_last, or add a node",
        Refusal::VolumesElsewhere(_) | Refusal::KeepsVolumes => {
            "see them with `tengyun get volumes`; a copy leaves its node only without them"
        }
        Refusal::UnknownVolumes(_) => "list them with `tengyun get volumes`",
        Refusal::VolumesInUse(_) => "stop its workload first",
        Refusal::OnlyThere(_) => "nothing: it belongs to that node",
        Refusal::DependsOn { .. } => "apply it, or mend it: `tengyun explain` says what it lacks",
        Refusal::Circle(_) => "drop one of the dependencies",
        Refusal::NoRollout(_) => "see where it stands with `tengyun rollout status`",
        Refusal::NoRevision(_) => "list them with `tengyun rollout history`",
        Refusal::Stale(_) => "nothing: the next plan takes it into account",
        Refusal::NotRestored => "nothing: see `tengyun status`",
    }
}
