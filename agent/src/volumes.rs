//! Volumes: which copies have any on this disk, and which of them are to be removed.
//!
//! A scheduler takes a copy that is to be removed and is not listed for one that has been: what was
//! told to be removed is therefore listed until it is gone, whether it was found or not.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{CopyKey, Mebibytes, VolumeUsage};

/// What is known of the volumes of this node.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    there: BTreeMap<CopyKey, Mebibytes>,
    removing: BTreeSet<CopyKey>,
}

impl Volumes {
    /// Takes in what was found on the disk.
    pub(crate) fn found(&mut self, found: Vec<VolumeUsage>) {
        self.there = found.into_iter().map(|each| (each.copy, each.used)).collect();
    }

    /// Takes in which copies' volumes are to be removed; returns those that are new.
    pub(crate) fn remove(&mut self, copies: &[CopyKey]) -> Vec<CopyKey> {
        self.removing.retain(|copy| copies.contains(copy));
        copies.iter().filter(|copy| self.removing.insert((*copy).clone())).cloned().collect()
    }

    /// Returns the copies whose volumes are still to be removed.
    pub(crate) fn removing(&self) -> Vec<CopyKey> {
        self.removing.iter().cloned().collect()
    }

    /// The volumes of a copy are gone.
    pub(crate) fn removed(&mut self, copy: &CopyKey) {
        self.removing.remove(copy);
        self.there.remove(copy);
    }

    /// Returns what to report, in ascending order.
    pub(crate) fn there(&self) -> Vec<VolumeUsage> {
        let mut there = self.there.clone();
        for copy in &self.removing {
            there.entry(copy.clone()).or_default();
        }
        there.into_iter().map(|(copy, used)| VolumeUsage { copy, used }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_removed_is_listed_until_it_is_gone() {
        let copy = CopyKey { workload: "city/tests/app/db".parse().unwrap(), ordinal: 0 };
        let mut volumes = Volumes::default();
        assert_eq!(volumes.remove(std::slice::from_ref(&copy)), std::slice::from_ref(&copy));
        assert_eq!(volumes.there().len(), 1, "it was not looked at yet");
        assert!(volumes.remove(std::slice::from_ref(&copy)).is_empty(), "it is under way");
        volumes.found(Vec::new());
        assert_eq!(volumes.there().len(), 1);
        volumes.removed(&copy);
        assert!(volumes.there().is_empty());
    }
}
