//! The seats: all nodes while a plan is made, and the order in which they are looked at. What changes a
//! seat goes through here, so that the order always follows.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Deref;

use tengyun_model::{Band, Class};

use super::feasible::Room;
use super::order::Order;
use super::problem::{Guest, Seat};
use crate::image::NodeImage;
use crate::predict::InstanceForecast;

/// As many searches without an order cost as much as making one. Builds that check themselves always use
/// it.
const SEARCHES: usize = if cfg!(debug_assertions) { 0 } else { 3 };

/// All seats by ascending node id.
#[derive(Clone, Debug)]
pub(crate) struct Seats<'a> {
    all: Vec<Seat<'a>>,
    /// How many open ones others than harvest use.
    used: usize,
    /// Those that were given guests, if only for a moment.
    given: BTreeSet<usize>,
    /// How many guests looked for a seat.
    searches: usize,
    /// As harvest sees them, and as all others do; made when they are first asked for.
    harvest: Option<Order>,
    others: Option<Order>,
}

impl<'a> Deref for Seats<'a> {
    type Target = [Seat<'a>];

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl<'a> Seats<'a> {
    pub(crate) fn new(all: Vec<Seat<'a>>) -> Self {
        let used = all.iter().filter(|seat| is_used(seat)).count();
        Self { all, used, given: BTreeSet::new(), searches: 0, harvest: None, others: None }
    }

    /// Puts one more instance on a seat.
    pub(crate) fn put(&mut self, at: usize, guest: &Guest<'a>) {
        self.given.insert(at);
        self.change(at, |seat| seat.put(guest));
    }

    /// Takes away the load of a critical or standard instance that leaves; its room stays taken.
    pub(crate) fn release(&mut self, at: usize, expected: InstanceForecast) {
        self.change(at, |seat| seat.crew.remove(expected));
    }

    /// Gives a seat another room.
    pub(super) fn make(&mut self, at: usize, room: Room) {
        self.change(at, |seat| seat.room = Cow::Owned(room));
    }

    /// Sees the node of a seat as it would be with another wish.
    pub(super) fn see(&mut self, at: usize, node: &'a NodeImage) {
        self.change(at, |seat| seat.node = node);
    }

    /// Makes a seat what it was before.
    pub(crate) fn restore(&mut self, at: usize, before: Seat<'a>) {
        self.change(at, |seat| *seat = before);
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Seat<'a>)) {
        let seat = &mut self.all[at];
        self.used -= usize::from(is_used(seat));
        change(seat);
        self.used += usize::from(is_used(seat));
        for order in [&mut self.harvest, &mut self.others].into_iter().flatten() {
            order.enter(at, seat);
        }
    }

    /// Says whether others than harvest use any open node.
    pub(crate) fn any_used(&self) -> bool {
        self.used > 0
    }

    /// Returns the seats that were given guests, if only for a moment.
    pub(crate) fn given(&self) -> impl Iterator<Item = &Seat<'a>> {
        self.given.iter().map(|at| &self.all[*at])
    }

    /// Says whether so many guests look for a seat that an order pays; counts one more.
    pub(super) fn is_worth_sorting(&mut self) -> bool {
        self.searches += 1;
        self.searches > SEARCHES
    }

    /// Makes the order in which a class looks at seats.
    pub(super) fn sort_for(&mut self, class: Class, band: Band) {
        let (order, line) = match class {
            Class::Harvest => (&mut self.harvest, band.target),
            Class::Critical | Class::Standard => (&mut self.others, band.ceiling),
        };
        order.get_or_insert_with(|| Order::new(&self.all, class, line));
    }

    /// Returns the order in which a class looks at seats, once it was made.
    pub(super) fn order(&self, class: Class) -> Option<&Order> {
        match class {
            Class::Harvest => self.harvest.as_ref(),
            Class::Critical | Class::Standard => self.others.as_ref(),
        }
    }
}

fn is_used(seat: &Seat<'_>) -> bool {
    seat.crew.others > 0 && seat.node.is_open()
}
