//! A register: something of every instance, by its id. Ids are given one after the other, so most of them
//! lie side by side in leaves, and one is found in few steps however many there are.

use std::collections::BTreeMap;
use std::ops::Index;

use tengyun_model::InstanceId;

/// Ids in a leaf: as many as a word has bits.
const LEAF: u64 = 64;

/// Something of every instance, by ascending id.
#[derive(Clone, Debug)]
pub(crate) struct Register<V> {
    leaves: BTreeMap<u64, Leaf<V>>,
    len: usize,
}

/// What there is of [`LEAF`] ids. It holds what is there and no room for what is not: there are a million
/// instances, and a pointer to each would take as much as all that is known of their nodes.
#[derive(Clone, Debug)]
struct Leaf<V> {
    /// A bit for each id that is there.
    present: u64,
    /// What is there, by ascending id.
    values: Vec<V>,
}

impl<V> Leaf<V> {
    /// Returns where in the values one is, or belongs, and whether it is there.
    fn find(&self, bit: u64) -> (usize, bool) {
        let before = (self.present & (bit - 1)).count_ones();
        let at = usize::try_from(before).expect("a leaf is small");
        (at, self.present & bit != 0)
    }

    fn at(&self, bit: u64) -> Option<usize> {
        let (at, is_there) = self.find(bit);
        is_there.then_some(at)
    }

    /// Returns what is there with its place.
    fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let places = (0..LEAF).filter(|place| self.present & (1 << place) != 0);
        places.zip(&self.values)
    }
}

impl<V> Default for Register<V> {
    fn default() -> Self {
        Self { leaves: BTreeMap::new(), len: 0 }
    }
}

/// Returns the leaf of an id and its bit there.
const fn place(id: InstanceId) -> (u64, u64) {
    (id.get() / LEAF, 1 << (id.get() % LEAF))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is asked as a map is")]
impl<V> Register<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<&V> {
        let (leaf, bit) = place(*id);
        let leaf = self.leaves.get(&leaf)?;
        Some(&leaf.values[leaf.at(bit)?])
    }

    pub(crate) fn get_mut(&mut self, id: &InstanceId) -> Option<&mut V> {
        let (leaf, bit) = place(*id);
        let leaf = self.leaves.get_mut(&leaf)?;
        let at = leaf.at(bit)?;
        Some(&mut leaf.values[at])
    }

    pub(crate) fn contains_key(&self, id: &InstanceId) -> bool {
        self.get(id).is_some()
    }

    /// Enters something in the place of what was there.
    pub(crate) fn insert(&mut self, id: InstanceId, value: V) {
        let (leaf, bit) = place(id);
        let fresh = || Leaf { present: 0, values: Vec::new() };
        let leaf = self.leaves.entry(leaf).or_insert_with(fresh);
        match leaf.find(bit) {
            (at, true) => leaf.values[at] = value,
            (at, false) => {
                leaf.values.insert(at, value);
                leaf.present |= bit;
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) -> Option<V> {
        let (number, bit) = place(*id);
        let leaf = self.leaves.get_mut(&number)?;
        let at = leaf.at(bit)?;
        let value = leaf.values.remove(at);
        leaf.present &= !bit;
        self.len -= 1;
        if leaf.present == 0 {
            self.leaves.remove(&number);
        } else if leaf.values.len() <= leaf.values.capacity() / 2 {
            leaf.values.shrink_to_fit();
        }
        Some(value)
    }

    /// Returns everything with its id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (InstanceId, &V)> {
        self.leaves_from(0)
    }

    /// Returns what has a later id.
    pub(crate) fn after(&self, id: InstanceId) -> impl Iterator<Item = &V> {
        let later = move |(other, _): &(InstanceId, &V)| *other > id;
        self.leaves_from(id.get() / LEAF).filter(later).map(|(_, value)| value)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = InstanceId> {
        self.iter().map(|(id, _)| id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.leaves.values().flat_map(|leaf| &leaf.values)
    }

    fn leaves_from(&self, leaf: u64) -> impl Iterator<Item = (InstanceId, &V)> {
        self.leaves.range(leaf..).flat_map(|(number, leaf)| {
            let id = |place: u64| InstanceId::new(number.saturating_mul(LEAF) + place);
            leaf.iter().map(move |(place, value)| (id(place), value))
        })
    }
}

impl<V> Index<&InstanceId> for Register<V> {
    type Output = V;

    fn index(&self, id: &InstanceId) -> &V {
        self.get(id).expect("only what is there is looked up")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_a_map_by_ascending_id() {
        let (mut register, mut map) = (Register::default(), BTreeMap::new());
        let mut draw = 7_u64;
        for step in 0..20_000_u64 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
            // Few ids, far apart ones and the very last.
            let id = [(draw >> 40) % 500, u64::MAX - (draw >> 40) % 70];
            let id = InstanceId::new(id[usize::from(draw >> 63 == 1)]);
            if (draw >> 33).is_multiple_of(3) {
                assert_eq!(register.remove(&id), map.remove(&id));
            } else {
                register.insert(id, step);
                map.insert(id, step);
            }
            assert_eq!((register.len(), register.get(&id)), (map.len(), map.get(&id)));
        }
        assert!(map.len() > 200);
        assert!(register.iter().eq(map.iter().map(|(id, value)| (*id, value))));
        assert!(register.keys().eq(map.keys().copied()));
        for id in [0, 63, 64, 250, 600, u64::MAX - 64, u64::MAX].map(InstanceId::new) {
            assert!(
                register.after(id).eq(map.range(id..).filter(|(k, _)| **k > id).map(|(_, v)| v))
            );
        }
        for id in map.keys() {
            *register.get_mut(id).unwrap() += 1;
            assert_eq!(register[id], map[id] + 1);
        }
        for id in map.keys() {
            assert!(register.remove(id).is_some());
        }
        assert!(register.leaves.is_empty());
    }
}
