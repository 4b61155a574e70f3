//! Ids: opaque numbers that cannot be mixed up.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $raw:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($raw);

        impl $name {
            /// Wraps a raw number.
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// Returns the raw number.
            pub const fn get(self) -> $raw {
                self.0
            }

            /// Returns the following id; it stops at the largest.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Wraps a raw number.
            pub const fn new(raw: u128) -> Self {
                Self(raw)
            }

            /// Returns the raw number.
            pub const fn get(self) -> u128 {
                self.0
            }

            /// Parses 32 hexadecimal digits; dashes are ignored.
            pub fn parse(text: &str) -> Option<Self> {
                let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
                if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                u128::from_str_radix(&digits, 16).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
    };
}

id! {
    /// One server with an agent, numbered by the state in the order of joining.
    NodeId, u32
}
id! {
    /// One workload, numbered by the state in the order of first application.
    WorkloadId, u32
}
id! {
    /// One copy of a workload on at most one node; a move makes a new one.
    InstanceId, u64
}
id! {
    /// The version of a workload's specification, counted from 1.
    Revision, u32
}
id! {
    /// The version of one node's assignment; an agent refuses an older one.
    Generation, u64
}
id! {
    /// The reign of one scheduler; an agent refuses an assignment of an older one.
    Epoch, u64
}
id! {
    /// One start of an instance on its node, counted from 1.
    Incarnation, u32
}
id! {
    /// One joining of a node or person, counted from 1; certificates of an earlier one are void.
    Admission, u32
}
id! {
    /// The place of an entry in the journal, counted from 1.
    Sequence, u64
}
id128! {
    /// One boot of a server's kernel (`/proc/sys/kernel/random/boot_id`).
    BootId
}
id128! {
    /// One installation of an operating system (`/etc/machine-id`): evidence, not identity.
    MachineId
}
id128! {
    /// One wish of an operator, made by the client, so that a retried call is applied once.
    OperationId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_reads_as_the_kernel_writes_it() {
        let boot = BootId::parse("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n").unwrap();
        assert_eq!(boot.to_string(), "0f1e2d3c4b5a69788796a5b4c3d2e1f0");
        assert_eq!(BootId::parse("zz"), None);
        assert_eq!(BootId::parse("+f1e2d3c4b5a69788796a5b4c3d2e1f0"), None);
    }
}
