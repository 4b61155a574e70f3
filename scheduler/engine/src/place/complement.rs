//! Complements: of places that are nearly alike for an instance, the one whose day is high where its own is
//! not. It compares only what seasons say that have a say, and changes nothing where none has.

use tengyun_model::InstanceId;

use super::problem::Problem;
use crate::predict::DayShape;

/// So many places are compared at most.
const COMPARED_MAX: usize = 4;

/// Chooses among places, the emptiest first, those that are no more than `alike` fuller than the first:
/// the one where the highest part of the day grows least, of equal ones the emptiest. Without a season
/// of the instance it is the first.
pub(super) fn choose(
    problem: &Problem<'_>,
    instance: InstanceId,
    alike: u64,
    mut places: impl Iterator<Item = (u64, usize)>,
) -> Option<usize> {
    let (least, first) = places.next()?;
    let Some(own) = problem.state.day_shape(instance) else { return Some(first) };
    let near = places.take_while(|(share, _)| *share <= least.saturating_add(alike));
    let all = std::iter::once((least, first)).chain(near).take(COMPARED_MAX);
    let grows = |at: usize| {
        let node = problem.seats[at].node.id;
        let there = problem.state.on_node(node).filter_map(|id| problem.state.day_shape(id));
        let there = there.fold(DayShape::default(), sum);
        highest(&sum(there, own)).saturating_sub(highest(&there))
    };
    all.min_by_key(|(share, at)| (grows(*at), *share, *at)).map(|(_, at)| at)
}

fn sum(mut one: DayShape, other: DayShape) -> DayShape {
    one.iter_mut().zip(other).for_each(|(part, more)| *part = part.saturating_add(more));
    one
}

fn highest(shape: &DayShape) -> u64 {
    shape.iter().copied().max().unwrap_or(0)
}
