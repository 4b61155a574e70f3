//! Who may speak to a scheduler: nodes and people, as what they are let in, and by what.

use std::fmt;

use crate::name::{DepartmentPath, Name, NodeName};

/// A SHA-256 digest: of a token's secret, of a public key, of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the bytes of a digest.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a person may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everything.
    Operator,
    /// Everything about the workloads of one department and of those below it.
    Department(DepartmentPath),
    /// Look at everything and change nothing.
    Viewer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => write!(f, "operator"),
            Self::Department(path) => write!(f, "department {path}"),
            Self::Viewer => write!(f, "viewer"),
        }
    }
}

/// Who wished something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wisher {
    /// A user of the scheduler's machine, by the credentials of the Unix socket.
    Local(u32),
    /// A person by the subject of a certificate, in the role it had then.
    Person(Name, Role),
}

impl Wisher {
    /// Returns what it is called, in one word: a name, or `uid:` and a number.
    pub fn name(&self) -> String {
        match self {
            Self::Local(uid) => format!("uid:{uid}"),
            Self::Person(name, _) => name.to_string(),
        }
    }

    /// Returns the role that it had; none of a local user, who may do everything.
    pub const fn role(&self) -> Option<&Role> {
        match self {
            Self::Local(_) => None,
            Self::Person(_, role) => Some(role),
        }
    }
}

impl fmt::Display for Wisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(_) => write!(f, "{}", self.name()),
            Self::Person(name, role) => write!(f, "{name} ({role})"),
        }
    }
}

/// One who may be let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A server with an agent.
    Node(NodeName),
    /// A person, or a program that acts for one.
    Person(Name),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Person(name) => write!(f, "person {name}"),
        }
    }
}

/// What a token lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// One node under a name that nobody has yet.
    NewNode,
    /// The node of this name, also when it was let in before.
    Node(NodeName),
    /// This person in this role, also when it was let in before.
    Person(Name, Role),
}

impl Grant {
    /// Says whether a member may come in by it, if its name is free.
    pub fn admits(&self, member: &Member) -> bool {
        match (self, member) {
            (Self::NewNode, Member::Node(_)) => true,
            (Self::Node(granted), Member::Node(name)) => granted == name,
            (Self::Person(granted, _), Member::Person(name)) => granted == name,
            (Self::NewNode | Self::Node(_), Member::Person(_))
            | (Self::Person(..), Member::Node(_)) => false,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewNode => write!(f, "a new node"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Person(name, role) => write!(f, "person {name} as {role}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_admits_its_own_kind_and_name_only() {
        let node = |name: &str| Member::Node(name.parse().unwrap());
        let person = |name: &str| Member::Person(name.parse().unwrap());
        let alice = Grant::Person("alice".parse().unwrap(), Role::Viewer);
        assert!(Grant::NewNode.admits(&node("n1")) && !Grant::NewNode.admits(&person("n1")));
        let named = Grant::Node("n1".parse().unwrap());
        assert!(named.admits(&node("n1")) && !named.admits(&node("n2")));
        assert!(alice.admits(&person("alice")) && !alice.admits(&person("bob")));
        assert!(!alice.admits(&node("alice")) && !named.admits(&person("n1")));
    }

    #[test]
    fn a_digest_has_32_bytes_and_is_shown_in_hexadecimal() {
        assert_eq!(Digest::from_slice(&[1; 31]), None);
        let shown = Digest::from_slice(&[0xab; 32]).unwrap().to_string();
        assert_eq!(shown, "ab".repeat(32));
    }
}
