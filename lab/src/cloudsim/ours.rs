//! Our engine in the world of the experiment: it is told what every instance demands, and its shifts
//! become the moves of the world.

use std::collections::BTreeMap;

use super::CloudsimError;
use super::world::{Kind, MEMORY, NODES, World};
use crate::cloud::{Cloud, Guest, Place};
use crate::number::nearest;
use crate::score::NOWHERE;
use crate::trace::STEP_SECS;

/// The label that says how fast one core is: an instance runs on one core.
const CORE: &str = "core";
/// The label that says what a node draws when it is full.
const WATTS: &str = "power-watts";

/// The engine, and where it has everything.
#[derive(Debug)]
pub(crate) struct Ours {
    cloud: Cloud,
    step: u64,
}

impl Ours {
    /// Registers the nodes, applies the instances and lets the engine place them.
    pub(crate) fn new(
        world: &mut World,
        knobs: &BTreeMap<String, u64>,
        honour_memory: bool,
    ) -> Result<Self, CloudsimError> {
        let memory = if honour_memory { nearest(MEMORY) } else { u64::from(u32::MAX) };
        let place = |node: usize| {
            let kind = Kind::of(node);
            let core = (CORE.to_owned(), nearest(kind.core).to_string());
            let watts = (WATTS.to_owned(), nearest(kind.curve.watts(1.0)).to_string());
            Place {
                cpu: nearest(kind.mips),
                memory,
                labels: BTreeMap::from([core, watts]),
                ..Place::default()
            }
        };
        // Nothing is measured yet: the first placement may promise all that a node has, as in the
        // original, and no more.
        let whole = ["band_floor", "band_target", "band_ceiling"].map(|k| (k.to_owned(), 1000));
        let mut first = knobs.clone();
        first.extend(whole);
        let mut cloud = Cloud::new(&first, (0..NODES).map(place))?;
        for vm in &world.vms {
            let slow = nearest(Kind::of(0).core);
            let fast = (CORE.to_owned(), nearest(Kind::of(1).core).to_string());
            let mips = nearest(vm.mips);
            let labels = if mips > slow { BTreeMap::from([fast]) } else { BTreeMap::new() };
            let memory = nearest(vm.memory);
            cloud.apply(&Guest { cpu: mips, memory, labels, ..Guest::default() })?;
        }
        cloud.settle()?;
        for (vm, seat) in cloud.seats().to_vec().into_iter().enumerate() {
            if seat == NOWHERE {
                return Err(CloudsimError::Full(vm));
            }
            world.place(vm, seat);
        }
        cloud.set(knobs.clone())?;
        Ok(Self { cloud, step: 0 })
    }

    /// Reports the demand of a moment and returns what the engine moves.
    pub(crate) fn moves(&mut self, world: &World) -> Result<Vec<(usize, usize)>, CloudsimError> {
        self.step += 1;
        let used = |vm: usize| (nearest(world.vms[vm].requested), nearest(world.vms[vm].memory));
        self.cloud.report(self.step * STEP_SECS, used)?;
        self.cloud.settle()?;
        let seats = self.cloud.seats().iter().enumerate();
        // An instance that ended stays with the engine, idle, and moves nothing in the world.
        let moved = seats.filter(|(vm, seat)| world.vms[*vm].node.is_some_and(|n| n != **seat));
        Ok(moved.map(|(vm, seat)| (vm, *seat)).collect())
    }
}
