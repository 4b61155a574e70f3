//! Siblings: what a copy that was not measured yet is expected to use, by the copies of its workload that
//! were. Nothing else is known of it, so what sets those apart from each other counts as well.

use tengyun_model::{At, InstanceId, Millicores, Millis};

use super::{Forecast, InstanceForecast, Profile, Terms};
use crate::image::InstanceImage;
use crate::state::State;

/// So long a sibling has been measured: the load of a copy that just started is not that of one at work.
const HISTORY_MIN: Millis = Millis::from_secs(3600);
/// So many siblings say something of others: one alone may be the odd one.
const SIBLINGS_MIN: u64 = 2;

/// Says whether there are enough copies of a workload for one to be foreseen by others.
pub(super) fn may_have_some(state: &State, instance: &InstanceImage) -> bool {
    let least = usize::try_from(SIBLINGS_MIN).expect("it is small");
    state.of_workload(instance.workload).nth(least).is_some()
}

/// Returns what the copies of its workload and revision use on average that were measured for long enough,
/// and how far one of them is from that; nothing without enough of them.
pub(super) fn by_siblings(
    (state, forecast): (&State, &Forecast),
    instance: &InstanceImage,
    (terms, now): (&Terms, At),
) -> Option<InstanceForecast> {
    let knows = |id: &InstanceId| {
        let alike = state.instance(*id).is_some_and(|i| i.revision == instance.revision);
        alike && state.profile(*id).is_some_and(|profile| is_at_work(profile, terms, now))
    };
    let of = |id| forecast.instance(id);
    let siblings: Vec<InstanceForecast> =
        state.of_workload(instance.workload).filter(knows).map(of).collect();
    let count = u64::try_from(siblings.len()).unwrap_or(u64::MAX);
    if count < SIBLINGS_MIN {
        return None;
    }
    let sum: u64 = siblings.iter().map(|s| s.mean.get()).fold(0, u64::saturating_add);
    let mean = sum.div_ceil(count);
    let square = |n: u64| u128::from(n) * u128::from(n);
    let squares =
        siblings.iter().map(|s| square(s.deviation.get()) + square(s.mean.get().abs_diff(mean)));
    let variance = squares.fold(0, u128::saturating_add) / u128::from(count);
    let deviation = u64::try_from(variance.isqrt()).unwrap_or(u64::MAX).saturating_add(1);
    Some(InstanceForecast::new(Millicores::new(mean), Millicores::new(deviation), false))
}

fn is_at_work(profile: &Profile, terms: &Terms, now: At) -> bool {
    profile.track.as_ref().is_some_and(|track| {
        track.history() >= HISTORY_MIN && now.since(track.last()) <= terms.stale
    })
}
