//! A control group that somebody else made for us, by its path.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The path of a control group below the root of its hierarchy; it cannot lead out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPath(PathBuf);

/// Tells why a text is no path of a control group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a control group: write names with / between them")]
pub struct GroupPathError(String);

impl GroupPath {
    /// Returns the path, relative to the root of the hierarchy.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for GroupPath {
    type Err = GroupPathError;

    fn from_str(text: &str) -> Result<Self, GroupPathError> {
        let parts = text.strip_prefix('/').unwrap_or(text).split('/');
        let is_name = |part: &str| !["", ".", ".."].contains(&part) && !part.contains('\0');
        if parts.clone().all(is_name) {
            Ok(Self(parts.collect()))
        } else {
            Err(GroupPathError(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_below_the_root_of_its_hierarchy() {
        for text in ["tengyun.slice/tengyun-instances.service", "/tengyun.slice"] {
            let path: GroupPath = text.parse().unwrap();
            assert_eq!(Path::new("/").join(path.path()), Path::new("/").join(text));
        }
        for bad in ["", "/", "a//b", "a/../../etc", "./a", "a/", "a\0b"] {
            assert!(bad.parse::<GroupPath>().is_err(), "{bad:?} passed");
        }
    }
}
