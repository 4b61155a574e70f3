//! Tokens and members to and from the wire.

use tengyun_model::{Grant, Member, Role};

use super::ConvertError;
use super::field::parsed;
use crate::v1;

impl From<&Member> for v1::Member {
    fn from(member: &Member) -> Self {
        use v1::member::Member as Kind;
        let member = match member {
            Member::Node(name) => Kind::Node(name.to_string()),
            Member::Person(name) => Kind::Person(name.to_string()),
        };
        Self { member: Some(member) }
    }
}

impl TryFrom<v1::Member> for Member {
    type Error = ConvertError;

    fn try_from(wire: v1::Member) -> Result<Self, ConvertError> {
        use v1::member::Member as Kind;
        match wire.member {
            Some(Kind::Node(name)) => Ok(Self::Node(parsed("node", &name)?)),
            Some(Kind::Person(name)) => Ok(Self::Person(parsed("person", &name)?)),
            None => Err(ConvertError::new("", "must be a node or a person")),
        }
    }
}

impl From<&Role> for v1::Role {
    fn from(role: &Role) -> Self {
        let (kind, department) = match role {
            Role::Operator => (v1::RoleKind::Operator, String::new()),
            Role::Department(path) => (v1::RoleKind::Department, path.to_string()),
            Role::Viewer => (v1::RoleKind::Viewer, String::new()),
        };
        Self { kind: kind.into(), department }
    }
}

impl TryFrom<v1::Role> for Role {
    type Error = ConvertError;

    fn try_from(wire: v1::Role) -> Result<Self, ConvertError> {
        match v1::RoleKind::try_from(wire.kind) {
            Ok(v1::RoleKind::Operator) => Ok(Self::Operator),
            Ok(v1::RoleKind::Department) => {
                Ok(Self::Department(parsed("department", &wire.department)?))
            }
            Ok(v1::RoleKind::Viewer) => Ok(Self::Viewer),
            Ok(v1::RoleKind::Unspecified) | Err(_) => {
                Err(ConvertError::new("kind", format!("{} is not known here", wire.kind)))
            }
        }
    }
}

impl From<&Grant> for v1::Grant {
    fn from(grant: &Grant) -> Self {
        use v1::grant::{Grant as Kind, NewNode, Person};
        let grant = match grant {
            Grant::NewNode => Kind::NewNode(NewNode {}),
            Grant::Node(name) => Kind::Node(name.to_string()),
            Grant::Person(name, role) => {
                Kind::Person(Person { name: name.to_string(), role: Some(role.into()) })
            }
        };
        Self { grant: Some(grant) }
    }
}

impl TryFrom<v1::Grant> for Grant {
    type Error = ConvertError;

    fn try_from(wire: v1::Grant) -> Result<Self, ConvertError> {
        use v1::grant::Grant as Kind;
        match wire.grant {
            Some(Kind::NewNode(_)) => Ok(Self::NewNode),
            Some(Kind::Node(name)) => Ok(Self::Node(parsed("node", &name)?)),
            Some(Kind::Person(person)) => {
                let role = super::field::message("role", person.role);
                let role = role.map_err(|e: ConvertError| e.within("person"))?;
                Ok(Self::Person(parsed("person.name", &person.name)?, role))
            }
            None => Err(ConvertError::new("", "must be a node or a person")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grant_reads_as_it_is_written() {
        let person = |role| Grant::Person("alice".parse().unwrap(), role);
        for grant in [
            Grant::NewNode,
            Grant::Node("n1".parse().unwrap()),
            person(Role::Operator),
            person(Role::Viewer),
            person(Role::Department("city/finance".parse().unwrap())),
        ] {
            assert_eq!(Grant::try_from(v1::Grant::from(&grant)), Ok(grant));
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_refused_with_its_field() {
        use v1::grant::{Grant as Kind, Person};
        let person = |name: &str, role| {
            let name = name.to_owned();
            v1::Grant { grant: Some(Kind::Person(Person { name, role })) }
        };
        let role = |kind| Some(v1::Role { kind, department: "../x".to_owned() });
        for (bad, field) in [
            (v1::Grant { grant: None }, ""),
            (v1::Grant { grant: Some(Kind::Node("A".to_owned())) }, "node"),
            (person("alice", None), "person.role"),
            (person("alice", role(0)), "person.role.kind"),
            (person("alice", role(99)), "person.role.kind"),
            (person("alice", role(2)), "person.role.department"),
            (person("../alice", role(1)), "person.name"),
        ] {
            assert_eq!(Grant::try_from(bad).unwrap_err().path(), field);
        }
        let hostile = v1::member::Member::Person("a\u{1b}[2J".to_owned());
        assert!(Member::try_from(v1::Member { member: Some(hostile) }).is_err());
        assert!(Member::try_from(v1::Member { member: None }).is_err());
    }
}
