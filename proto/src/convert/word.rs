//! Enums: each word of the model has one number on the wire, and 0 is none of them.

use tengyun_model::{
    CgroupVersion, Class, Control, EnforcementLevel, Kind, MovePolicy, Phase, RestartMode,
};

use super::ConvertError;
use crate::v1;

macro_rules! words {
    ($($name:ident { $($variant:ident),+ $(,)? })+) => {$(
        impl TryFrom<v1::$name> for $name {
            type Error = ConvertError;

            fn try_from(wire: v1::$name) -> Result<Self, ConvertError> {
                match wire {
                    v1::$name::Unspecified => Err(ConvertError::new("", "is missing")),
                    $(v1::$name::$variant => Ok(Self::$variant),)+
                }
            }
        }

        impl From<$name> for v1::$name {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$variant => Self::$variant,)+
                }
            }
        }

        impl From<&$name> for v1::$name {
            fn from(word: &$name) -> Self {
                Self::from(*word)
            }
        }
    )+};
}

words! {
    Kind { Service, Job, Cron, PerNode }
    Class { Critical, Standard, Harvest }
    MovePolicy { Never, Window, Any }
    RestartMode { Always, OnFailure, Never }
    CgroupVersion { None, V1, V2 }
    EnforcementLevel { Enforced, Approximate, NotEnforced }
    Control {
        NodeCapacity, CpuWeight, CpuLimit, CpuIdle, MemoryLimit, PidsLimit, OwnUser, CpuMeter,
        MemoryMeter,
    }
    Phase {
        Waiting, Starting, Running, Healthy, BackingOff, Stopping, Succeeded, Failed, Stopped,
        Unhealthy,
    }
}
