//! The problem: nodes as the planner sees them, kept up to date while it decides.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{
    At, Class, Kind, Mebibytes, Millicores, NodeId, Permille, WorkloadKey, WorkloadSpec,
};

use super::evenness::{Evenness, Values};
use super::feasible::{self, Room};
use super::seats::Seats;
use crate::command::Refusal;
use crate::image::{InstanceImage, InstanceWish, NodeImage};
use crate::occupancy::Occupied;
use crate::policy::Policy;
use crate::predict::{Crew, Forecast, InstanceForecast, Terms, empty_crew};
use crate::state::{Live, State, VolumeNeed};

/// The label by which a node says what it draws when all its cores are busy, in whole watts.
const WATTS_LABEL: &str = "power-watts";
/// No server draws more; what claims to is not believed.
const WATTS_MAX: u64 = 1_000_000;

/// What a node draws for what it does: microwatts a millicore when it is full. One that does not say
/// comes after all that do, and all are equal unless the policy prefers low power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PowerRank(u64);

impl PowerRank {
    fn of(policy: &Policy, node: &NodeImage) -> Self {
        if !policy.prefers_low_power() {
            return Self::default();
        }
        let said = node.facts.labels.get(WATTS_LABEL).and_then(|watts| watts.parse::<u64>().ok());
        let watts = said.filter(|watts| (1..=WATTS_MAX).contains(watts));
        let rank = |watts: u64| (watts * 1_000_000).checked_div(node.facts.capacity.cpu.get());
        Self(watts.and_then(rank).unwrap_or(u64::MAX))
    }
}

/// One node while a plan is made.
#[derive(Clone, Debug)]
pub(crate) struct Seat<'a> {
    pub(crate) node: &'a NodeImage,
    /// What is taken, by what leaves too.
    pub(crate) room: Cow<'a, Room>,
    /// What its instances add up to.
    pub(crate) crew: Crew,
    /// What others than us use at most; the crew's load has it too.
    pub(crate) foreign: Millicores,
    /// What the plan in the making put here.
    pub(crate) guests: Vec<&'a WorkloadSpec>,
    /// What these ask for of memory and do not count.
    lent: Mebibytes,
    /// Whether its agent is there.
    pub(crate) connected: bool,
    /// Whether its use was measured lately.
    pub(crate) measured: bool,
    /// Why nothing new should come, if its disks or links are that busy.
    pub(crate) occupied: Option<Occupied>,
    /// How dear a core of it is; equal for all unless the policy minds power.
    pub(crate) power: PowerRank,
}

impl<'a> Seat<'a> {
    fn new(
        state: &'a State,
        forecast: &Forecast,
        (node, live, room): (&'a NodeImage, Option<&Live>, &'a Room),
        now: At,
    ) -> Self {
        let expected = forecast.node(node.id);
        let crew = forecast.crew(state, node.id);
        let mut seat = Self {
            node,
            room: Cow::Borrowed(room),
            crew: crew.unwrap_or_default(),
            foreign: expected.foreign,
            guests: Vec::new(),
            lent: Mebibytes::ZERO,
            connected: live.is_some_and(Live::connected) && !state.withholds(node.id),
            measured: expected.measured,
            occupied: live.and_then(|live| live.occupied(state.policy(), now)),
            power: PowerRank::of(state.policy(), node),
        };
        if let Some(usage) = live.and_then(Live::usage) {
            let fresh = now.since(usage.at) <= state.policy().data_stale();
            seat.measured &= fresh || expected.measured;
            if !usage.memory_foreign.is_zero() {
                let room = seat.room.to_mut();
                room.memory = room.memory.saturating_add(usage.memory_foreign);
            }
        }
        // What is not measured now counts its requests: nothing new is placed by what it used once.
        if !seat.measured && !room.lent.is_zero() {
            let lent = room.lent;
            let room = seat.room.to_mut();
            room.memory = room.memory.saturating_add(lent);
        }
        if crew.is_none() {
            // The forecast was made of an earlier state: only what it says of instances holds.
            let terms = Terms::of(state);
            seat.crew = empty_crew(state, node.id, &terms);
            for id in state.on_node(node.id) {
                let instance = state.instance(id).expect("the index names instances that exist");
                if !instance.status.phase.is_final() {
                    let spec = state.spec(instance);
                    seat.crew.add(spec.class, spec.resources.cpu, forecast.instance(id));
                    seat.crew.pass_over(spec.class, spec.kind == Kind::PerNode);
                }
            }
        }
        seat
    }

    /// Puts one more instance here.
    pub(crate) fn put(&mut self, guest: &Guest<'a>) {
        let room = self.room.to_mut();
        room.take(guest.spec, &BTreeMap::new());
        let lent = guest.spec.resources.memory.saturating_sub(guest.memory);
        room.lend(lent);
        let space = guest.volumes.map(|need| need.space).unwrap_or_default();
        room.disk = room.disk.saturating_add(space);
        self.crew.add(guest.spec.class, guest.spec.resources.cpu, guest.expected);
        self.crew.pass_over(guest.spec.class, guest.spec.kind == Kind::PerNode);
        self.guests.push(guest.spec);
        self.lent = self.lent.saturating_add(lent);
    }

    /// Adds what the plan in the making put here to what else is taken.
    pub(super) fn seat_guests(&self, room: &mut Room) {
        self.guests.iter().for_each(|guest| room.take(guest, &BTreeMap::new()));
        room.lend(self.lent);
    }

    /// Returns the CPU that may be filled up to a share.
    pub(crate) fn line(&self, share: Permille) -> Millicores {
        self.node.facts.capacity.cpu.share(share)
    }

    /// Returns the forecast peak of everything but harvest.
    pub(crate) fn peak(&self) -> Millicores {
        self.crew.load.peak()
    }

    /// Returns the CPU that is spoken for, as one of this class sees it.
    pub(crate) fn filled(&self, class: Class) -> Millicores {
        match class {
            // Harvest is squeezed within a second: it counts beside what the others seldom leave free.
            Class::Harvest => self.crew.load.seldom_less().saturating_add(self.crew.harvest),
            Class::Critical | Class::Standard => self.peak(),
        }
    }

    /// Says whether the forecast peak with one more instance is at most this much.
    fn is_within(&self, guest: &Guest<'_>, line: Millicores) -> bool {
        match guest.spec.class {
            Class::Harvest => self.peak_with(guest.spec, guest.expected) <= line,
            Class::Critical | Class::Standard => {
                self.crew.load.with(guest.expected).is_within(line)
            }
        }
    }

    /// Says whether an instance too large to share a node may have this one: nobody else uses it.
    fn is_for_one(&self, guest: &Guest<'_>, line: Millicores) -> bool {
        let large = guest.expected.peak > line && guest.spec.class != Class::Harvest;
        let whole = self.node.facts.capacity.cpu;
        large && self.crew.others == 0 && self.peak_with(guest.spec, guest.expected) <= whole
    }

    /// Returns the forecast peak with one more instance.
    pub(crate) fn peak_with(&self, spec: &WorkloadSpec, expected: InstanceForecast) -> Millicores {
        match spec.class {
            Class::Harvest => self.filled(spec.class).saturating_add(spec.resources.cpu),
            Class::Critical | Class::Standard => self.crew.load.with(expected).peak(),
        }
    }
}

/// An instance that looks for a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) spec: &'a WorkloadSpec,
    pub(crate) expected: InstanceForecast,
    /// The memory that it counts.
    pub(crate) memory: Mebibytes,
    /// The copy it would replace.
    pub(crate) replaces: Option<tengyun_model::InstanceId>,
    /// What its volumes ask of the node.
    pub(crate) volumes: Option<VolumeNeed>,
    /// Where it is already, or belongs: there it is nothing new.
    pub(crate) home: Option<NodeId>,
    /// Whether it may also go where disks or links are busy.
    pub(crate) presses: bool,
}

impl Guest<'_> {
    /// Checks that the disks and links of a seat are calm enough for it.
    pub(crate) fn check_calm(&self, seat: &Seat<'_>) -> Result<(), Refusal> {
        match seat.occupied {
            Some(occupied) if !self.presses && self.home != Some(seat.node.id) => {
                Err(Refusal::Occupied(occupied))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the CPU that it is counted with.
    fn wanted(&self) -> Millicores {
        match self.spec.class {
            Class::Harvest => self.spec.resources.cpu,
            Class::Critical | Class::Standard => self.expected.peak,
        }
    }
}

/// All nodes while a plan is made, by ascending id.
#[derive(Clone, Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) state: &'a State,
    pub(crate) forecast: &'a Forecast,
    pub(crate) now: At,
    pub(crate) seats: Seats<'a>,
    /// What was looked up for evenness.
    values: Values<'a>,
    /// Workloads of which the plan in the making gives up copies.
    unsettled: BTreeSet<&'a WorkloadKey>,
}

impl<'a> Problem<'a> {
    /// Sees the state as a problem.
    pub(crate) fn new(state: &'a State, forecast: &'a Forecast, now: At) -> Self {
        let seats = state.surveyed().map(|node| Seat::new(state, forecast, node, now)).collect();
        Self {
            state,
            forecast,
            now,
            seats: Seats::new(seats),
            values: Values::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// Returns the place of a node in `seats`.
    pub(crate) fn seat_of(&self, node: NodeId) -> usize {
        self.seats
            .binary_search_by_key(&node, |seat| seat.node.id)
            .expect("an instance is on a node that exists")
    }

    /// Returns an instance as a guest.
    pub(crate) fn guest(&self, instance: &InstanceImage, replaces: bool) -> Guest<'a> {
        let id = instance.status.instance;
        let state: &'a State = self.state;
        let workload = state.workload(instance.workload).expect("its workload outlives it");
        let home = if replaces { instance.node } else { state.bound_to(instance) };
        let revision = if replaces { workload.revision } else { instance.revision };
        Guest {
            spec: &workload.revisions[&revision],
            expected: self.forecast.instance(id),
            memory: if replaces { state.copy_memory(instance) } else { state.promised(instance) },
            replaces: replaces.then_some(id),
            volumes: state.volume_need(instance, &workload.revisions[&revision]),
            home,
            presses: false,
        }
    }

    /// Notes that the plan gives up a copy on a lost node, which then no longer counts where copies are
    /// spread: others of its workload wait for the next plan.
    pub(crate) fn give_up(&mut self, instance: &'a InstanceImage) {
        self.unsettled.insert(&self.state.spec(instance).key);
    }

    /// Says whether the plan gives up copies of a workload.
    pub(super) fn is_unsettled(&self, key: &WorkloadKey) -> bool {
        self.unsettled.contains(key)
    }

    /// Looks up what is needed to spread a guest, so that it is known for others like it.
    pub(crate) fn look_up(&mut self, guest: &Guest<'_>) {
        if let Some(label) = &guest.spec.constraints.spread
            && !self.values.contains_key(label)
        {
            let nodes = self.seats.iter().map(|seat| seat.node);
            self.values.insert(label.clone(), feasible::values(nodes, label));
        }
    }

    /// Counts the copies that a guest has to be even with.
    pub(crate) fn evenness(&self, guest: &Guest<'_>) -> Evenness<'a> {
        Evenness::of(self, &self.values, guest)
    }

    /// Says whether an instance fits on a seat, with the CPU filled to a share at most.
    pub(crate) fn fits(
        &self,
        at: usize,
        guest: &Guest<'_>,
        share: Permille,
    ) -> Result<(), Refusal> {
        self.fits_evenly(at, (guest, &self.evenness(guest)), share)
    }

    /// Says the same, with copies counted before.
    pub(crate) fn fits_evenly(
        &self,
        at: usize,
        (guest, evenness): (&Guest<'_>, &Evenness<'_>),
        share: Permille,
    ) -> Result<(), Refusal> {
        let seat = &self.seats[at];
        feasible::open(seat.node)?;
        if !seat.connected {
            return Err(Refusal::NodeAway);
        }
        guest.check_calm(seat)?;
        let whom = (guest.spec, guest.memory);
        seat.room.fits_counting(whom, &seat.node.facts.capacity)?;
        feasible::ports(self.state, guest.spec, (seat.node.id, &seat.room))?;
        feasible::volumes(guest.volumes, guest.spec, (seat.node, &seat.room))?;
        self.keeps_apart(at, (guest, evenness))?;
        if !seat.is_within(guest, seat.line(share)) && !seat.is_for_one(guest, seat.line(share)) {
            let left = seat.line(share).saturating_sub(seat.filled(guest.spec.class));
            return Err(Refusal::NoCpu { wanted: guest.wanted(), left });
        }
        Ok(())
    }

    /// Says whether labels, anti-affinity and spread let an instance be on a seat.
    pub(crate) fn keeps_apart(
        &self,
        at: usize,
        (guest, evenness): (&Guest<'_>, &Evenness<'_>),
    ) -> Result<(), Refusal> {
        let seat = &self.seats[at];
        let whom = (guest.spec, guest.replaces);
        feasible::constraints(self.state, whom, seat.node, &seat.guests)?;
        evenness.check(guest, seat.node)
    }

    /// Returns what is taken on a seat by the instances that count, by what the plan put there, and by
    /// what is not ours.
    pub(crate) fn room(&self, at: usize, counts: impl Fn(&InstanceImage) -> bool) -> Room {
        let (state, seat) = (self.state, &self.seats[at]);
        let with_guests = |mut room: Room| {
            seat.seat_guests(&mut room);
            room
        };
        let all = with_guests(state.room(seat.node.id).clone());
        let mut room = with_guests(Room::taken(state, seat.node.id, counts));
        let memory = seat.room.memory.saturating_sub(all.memory);
        let disk = seat.room.disk.saturating_sub(all.disk);
        room.memory = room.memory.saturating_add(memory);
        room.disk = room.disk.saturating_add(disk);
        room
    }

    /// Says whether harvest may be here: where others are, or anywhere while nobody else is.
    pub(crate) fn takes_harvest(&self, seat: &Seat<'_>) -> bool {
        seat.crew.others > 0 || !self.seats.any_used()
    }
}

/// Says whether an instance is wanted and alive.
pub(crate) fn lives(instance: &InstanceImage) -> bool {
    instance.wish == InstanceWish::Run && !instance.status.phase.is_final()
}
