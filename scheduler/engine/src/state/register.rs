//! A register: something of every instance, by its id. Ids are given one after the other, so most of them
//! lie side by side in leaves, and one is found in few steps however many there are.

use std::collections::BTreeMap;
use std::ops::Index;

use tengyun_model::InstanceId;

/// Ids in a leaf: a leaf of which one is left holds half a kibibyte.
const LEAF: u64 = 64;

/// Something of every instance, by ascending id.
#[derive(Clone, Debug)]
pub(crate) struct Register<V> {
    leaves: BTreeMap<u64, Leaf<V>>,
    len: usize,
}

/// What there is of [`LEAF`] ids.
#[derive(Clone, Debug)]
struct Leaf<V> {
    slots: Vec<Option<Box<V>>>,
    used: usize,
}

impl<V> Default for Register<V> {
    fn default() -> Self {
        Self { leaves: BTreeMap::new(), len: 0 }
    }
}

/// Returns the leaf of an id and its place there.
fn place(id: InstanceId) -> (u64, usize) {
    let place = usize::try_from(id.get() % LEAF).expect("a leaf is small");
    (id.get() / LEAF, place)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is asked as a map is")]
impl<V> Register<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<&V> {
        let (leaf, place) = place(*id);
        self.leaves.get(&leaf)?.slots[place].as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: &InstanceId) -> Option<&mut V> {
        let (leaf, place) = place(*id);
        self.leaves.get_mut(&leaf)?.slots[place].as_deref_mut()
    }

    pub(crate) fn contains_key(&self, id: &InstanceId) -> bool {
        self.get(id).is_some()
    }

    /// Enters something in the place of what was there.
    pub(crate) fn insert(&mut self, id: InstanceId, value: V) {
        let (leaf, place) = place(id);
        let leaf = self
            .leaves
            .entry(leaf)
            .or_insert_with(|| Leaf { slots: (0..LEAF).map(|_| None).collect(), used: 0 });
        if leaf.slots[place].replace(Box::new(value)).is_none() {
            leaf.used += 1;
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) -> Option<V> {
        let (number, place) = place(*id);
        let leaf = self.leaves.get_mut(&number)?;
        let value = leaf.slots[place].take()?;
        leaf.used -= 1;
        self.len -= 1;
        if leaf.used == 0 {
            self.leaves.remove(&number);
        }
        Some(*value)
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
        self.iter().map(|(_, value)| value)
    }

    fn leaves_from(&self, leaf: u64) -> impl Iterator<Item = (InstanceId, &V)> {
        self.leaves.range(leaf..).flat_map(|(number, leaf)| {
            let slots = (0_u64..).zip(&leaf.slots);
            slots.filter_map(|(place, slot)| {
                Some((InstanceId::new(number.saturating_mul(LEAF) + place), slot.as_deref()?))
            })
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
