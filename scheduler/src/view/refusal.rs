//! Refusals for operators: the stable word, the sentence, and what would help.

use tengyun_engine::Refusal;
use tengyun_model::{Said, said};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::v1;

/// Says a refusal of the engine on the wire.
pub(crate) fn refusal(refusal: &Refusal) -> v1::Refusal {
    refused(refusal.code(), &refusal.said(), &remedy(refusal))
}

/// Says a refusal on the wire.
pub(crate) fn refused(code: &str, message: &Said, remedy: &Said) -> v1::Refusal {
    v1::Refusal {
        code: code.to_owned(),
        message: message.to_string(),
        remedy: remedy.to_string(),
        said: to_wire(message),
        remedy_said: to_wire(remedy),
    }
}

/// Says what would help in this very case.
pub(crate) fn helped(refusal: v1::Refusal, remedy: &Said) -> v1::Refusal {
    v1::Refusal { remedy: remedy.to_string(), remedy_said: to_wire(remedy), ..refusal }
}

/// Says that nothing may be changed.
pub(crate) fn read_only(reason: &str) -> v1::Refusal {
    refused("read-only", &said!(ReadOnly, reason), &said!(DoWritable))
}

fn remedy(refusal: &Refusal) -> Said {
    match refusal {
        Refusal::UnknownWorkload(_) => said!(DoListWorkloads),
        Refusal::UnknownNode(_) | Refusal::NobodySilent => said!(DoListNodes),
        Refusal::UnknownInstance(_) => said!(DoListInstances),
        Refusal::OperationReused(_) => said!(DoNewOperation),
        Refusal::Deleting(_) => said!(DoWaitDeleted),
        Refusal::BadField { .. } => said!(DoCorrect),
        Refusal::NotSupportedYet(_) => said!(DoLeaveOut),
        Refusal::Immutable(_) => said!(DoDeleteFirst),
        Refusal::NoPolicyVersion(_) => said!(DoPolicyHistory),
        Refusal::UnknownKnob(_) => said!(DoListKnobs),
        Refusal::BadKnob { .. } => said!(DoSeeRange),
        Refusal::TooMany { .. } => said!(DoDelete),
        Refusal::NoCpu { .. }
        | Refusal::NoMemory { .. }
        | Refusal::NoDisk { .. }
        | Refusal::NoPids { .. }
        | Refusal::NoCounter { .. } => said!(DoAskLess),
        Refusal::PortTaken(_) => said!(DoOtherPort),
        Refusal::NoLabel { .. } => said!(DoLabel),
        Refusal::AntiAffinity(_) | Refusal::Spread(_) => said!(DoRelax),
        Refusal::Occupied(_) => said!(DoAwaitCalm),
        Refusal::NodeAway => said!(DoStartAgent),
        Refusal::NotOpen(_) => said!(DoUncordon),
        Refusal::NodeLost => said!(DoBringBack),
        Refusal::NodeThere(_) => said!(DoNothingNotLost),
        Refusal::AlreadyThere => said!(DoNothingThere),
        Refusal::Held { .. } => said!(DoMend),
        Refusal::NoData => said!(DoAwaitReports),
        Refusal::UnknownToken | Refusal::TokenUsed | Refusal::TokenExpired => {
            said!(DoNewToken)
        }
        Refusal::TokenForOther(_) => said!(DoTokenForIt),
        Refusal::NameTaken(_) => {
            said!(DoOtherName)
        }
        Refusal::UnknownMember(_) => said!(DoListMembers),
        Refusal::NotThisNode(_) => {
            said!(DoOwnName)
        }
        Refusal::NoPort { .. } => said!(DoWidenPorts),
        Refusal::VolumesElsewhere(_) | Refusal::KeepsVolumes => {
            said!(DoSeeVolumes)
        }
        Refusal::UnknownVolumes(_) => said!(DoListVolumes),
        Refusal::VolumesInUse(_) => said!(DoStopFirst),
        Refusal::OnlyThere(_) => said!(DoNothingBelongs),
        Refusal::DependsOn { .. } => said!(DoMendDependency),
        Refusal::Circle(_) => said!(DoDropDependency),
        Refusal::NoRollout(_) => said!(DoSeeRollout),
        Refusal::NoRevision(_) => said!(DoListRevisions),
        Refusal::Stale(_) => said!(DoNothingPlan),
        Refusal::NotRestored => said!(DoNothingStatus),
        Refusal::NotLost(node) => said!(DoDrainFirst, node),
        Refusal::MayStillRun { node, .. } => said!(DoAcknowledge, node),
        Refusal::HasVolumes { .. } => said!(DoDeleteVolumes),
        Refusal::Rests { .. } => said!(DoSeeLogs),
        Refusal::InGang(_) => said!(DoAwaitGang),
    }
}
