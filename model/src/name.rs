//! Names: checked once, where they enter; afterwards they are safe in a path, a table and a log.
//!
//! The alphabet is lower-case ASCII letters, digits and inner dashes, so a name can never be `..`,
//! hold a slash, a control character or an escape sequence.

use std::fmt;
use std::str::FromStr;

/// The longest single name; the limit of a DNS label.
pub const NAME_BYTES_MAX: usize = 63;
/// The longest node name; the limit of a DNS host name.
pub const NODE_NAME_BYTES_MAX: usize = 253;
/// The deepest department path; deeper organisations have not been seen.
pub const DEPARTMENT_DEPTH_MAX: usize = 8;

/// Tells why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing.
    Empty,
    /// It is longer than the limit in bytes.
    TooLong(usize),
    /// It holds a character outside `a-z`, `0-9` and `-`.
    BadCharacter,
    /// It starts or ends with a dash or is not started by a letter or digit.
    BadEdge,
    /// A path has more parts than the limit, or fewer than it needs.
    BadDepth,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a name must not be empty"),
            Self::TooLong(max) => write!(f, "a name has at most {max} characters"),
            Self::BadCharacter => {
                write!(f, "a name has only lower-case letters a-z, digits and dashes")
            }
            Self::BadEdge => write!(f, "a name starts and ends with a letter or a digit"),
            Self::BadDepth => {
                write!(f, "a department path has 1 to {DEPARTMENT_DEPTH_MAX} names joined by '/'")
            }
        }
    }
}

impl std::error::Error for NameError {}

fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(NAME_BYTES_MAX));
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(NameError::BadCharacter);
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::BadEdge);
    }
    Ok(())
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a text.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

fn check_path(text: &str) -> Result<(), NameError> {
    let depth = text.split('/').count();
    if depth > DEPARTMENT_DEPTH_MAX {
        return Err(NameError::BadDepth);
    }
    text.split('/').try_for_each(check_label)
}

fn check_node_name(text: &str) -> Result<(), NameError> {
    if text.len() > NODE_NAME_BYTES_MAX {
        return Err(NameError::TooLong(NODE_NAME_BYTES_MAX));
    }
    text.split('.').try_for_each(check_label)
}

text_type! {
    /// One name: a DNS label of at most 63 characters.
    Name, check_label
}
text_type! {
    /// A department as a path of names, such as `city/finance/treasury`.
    DepartmentPath, check_path
}
text_type! {
    /// The name of a node: a DNS host name in lower case.
    NodeName, check_node_name
}

/// Names one workload: its department, application and own name.
///
/// Shown and parsed as one path whose last two parts are the application and the workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// The department that owns it.
    pub department: DepartmentPath,
    /// The application that it is part of.
    pub application: Name,
    /// Its own name, unique in the application.
    pub name: Name,
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.department, self.application, self.name)
    }
}

impl FromStr for WorkloadKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (rest, name) = text.rsplit_once('/').ok_or(NameError::BadDepth)?;
        let (department, application) = rest.rsplit_once('/').ok_or(NameError::BadDepth)?;
        Ok(Self {
            department: department.parse()?,
            application: application.parse()?,
            name: name.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for bad in ["", "..", ".", "a/b", "A", "-a", "a-", "a\0", "a\n", "a b", "é", "\u{202e}a"] {
            assert!(Name::new(bad).is_err(), "{bad:?} passed");
        }
        assert!(Name::new("a".repeat(64)).is_err());
        assert!(Name::new("a".repeat(63)).is_ok());
        for bad in ["", "/", "a//b", "/a", "a/", "../a", "a/b/c/d/e/f/g/h/i"] {
            assert!(DepartmentPath::new(bad).is_err(), "{bad:?} passed");
        }
        for bad in ["", ".", "a..b", "a.", "a_b"] {
            assert!(NodeName::new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_workload_key_reads_as_it_is_written() {
        let key: WorkloadKey = "city/finance/treasury/ledger/api".parse().unwrap();
        assert_eq!(key.department.as_str(), "city/finance/treasury");
        assert_eq!(key.application.as_str(), "ledger");
        assert_eq!(key.name.as_str(), "api");
        assert_eq!(key.to_string(), "city/finance/treasury/ledger/api");
        assert!("ledger/api".parse::<WorkloadKey>().is_err());
    }
}
