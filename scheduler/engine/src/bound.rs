//! How few nodes could do: a proven lower bound for each resource, to stand beside the number in use.
//!
//! It never plans and nothing is decided by it. Where it says 7, no placement whatever that keeps the
//! planner's own rules (no resource promised twice, no forecast above the ceiling) needs fewer; it may
//! say less than what is needed, never more.
//!
//! Bin packing bounds in whole numbers: the bound L2 of Martello and Toth (Knapsack Problems, 1990,
//! ch. 8) and the dual feasible functions u(k) of Lueker, as in Fekete and Schepers (New classes of
//! fast lower bounds for bin packing problems, 2001). Nodes of different sizes count as the largest of
//! them there; the plain sum counts them as they are, the largest first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tengyun_model::{Class, NodeId};

use crate::image::InstanceWish;
use crate::predict::Forecast;
use crate::state::State;

/// The functions u(1) to u(this) are tried: later ones hardly ever bind.
const STEPS_MAX: u128 = 12;

/// The fewest nodes that could do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// By the resource that needs most.
    pub nodes: u64,
    /// That resource; empty while nothing needs a node.
    pub binding: String,
    /// By each resource alone.
    pub each: BTreeMap<String, u64>,
}

/// Says how few of the nodes that are not lost could hold every critical and standard instance that is
/// wanted. CPU counts by the forecast means, below the ceiling and beside foreign work; memory by
/// what is promised; all else by the requests. What fits on no node at all is left out.
pub fn nodes_needed(state: &State, forecast: &Forecast) -> Bound {
    let ceiling = state.policy().band().ceiling;
    let mut all: BTreeMap<String, Demand> = BTreeMap::new();
    for node in state.nodes().filter(|n| n.loss.is_none()) {
        let capacity = &node.facts.capacity;
        let usage = state.usage(node.id);
        let foreign = usage.map(|u| u.memory_foreign).unwrap_or_default();
        let cpu = capacity.cpu.share(ceiling).saturating_sub(forecast.node(node.id).foreign);
        let mut offer = |what: &str, amount: u64| {
            all.entry(what.to_owned()).or_default().bins.push((node.id, amount));
        };
        offer("cpu", cpu.get());
        offer("memory", capacity.memory.saturating_sub(foreign).get());
        offer("disk", capacity.disk.get());
        offer("pids", capacity.pids);
        for (name, count) in &capacity.counted {
            offer(name.as_str(), *count);
        }
    }
    let wanted = state.instances().filter(|i| {
        let runs = i.wish == InstanceWish::Run && !i.status.phase.is_final();
        runs && i.replaces.is_none() && state.spec(i).class != Class::Harvest
    });
    for instance in wanted {
        let spec = state.spec(instance);
        let mut take = |what: &str, amount: u64| {
            if let Some(demand) = all.get_mut(what) {
                demand.items.push(amount);
            }
        };
        take("cpu", forecast.instance(instance.status.instance).mean.get());
        take("memory", state.promised(instance).get());
        take("disk", spec.resources.disk.get());
        take("pids", spec.resources.pids);
        for (name, count) in &spec.counted {
            take(name.as_str(), *count);
        }
    }
    let each: BTreeMap<String, u64> =
        all.into_iter().map(|(what, demand)| (what, demand.bound())).collect();
    let most = each.iter().filter(|(_, nodes)| **nodes > 0);
    let most = most.max_by_key(|(what, nodes)| (**nodes, Reverse((*what).clone())));
    let (binding, nodes) = most.map(|(what, nodes)| (what.clone(), *nodes)).unwrap_or_default();
    Bound { nodes, binding, each }
}

/// What is wanted and offered of one resource.
#[derive(Debug, Default)]
struct Demand {
    items: Vec<u64>,
    bins: Vec<(NodeId, u64)>,
}

impl Demand {
    fn bound(self) -> u64 {
        let bins: Vec<u64> = self.bins.into_iter().map(|(_, amount)| amount).collect();
        bins_needed(&self.items, &bins)
    }
}

/// Returns a lower bound on how many of these bins hold these items. An item that is larger than every
/// bin is left out; where all bins are too few, more of the largest are counted.
pub fn bins_needed(items: &[u64], bins: &[u64]) -> u64 {
    let mut bins = bins.to_vec();
    bins.sort_unstable_by_key(|bin| Reverse(*bin));
    let Some(largest) = bins.first().copied().filter(|largest| *largest > 0) else { return 0 };
    let mut items: Vec<u64> =
        items.iter().copied().filter(|item| (1..=largest).contains(item)).collect();
    items.sort_unstable_by_key(|item| Reverse(*item));
    let sum: u128 = items.iter().map(|item| u128::from(*item)).sum();
    let largest = u128::from(largest);
    let best = by_sum(sum, &bins, largest).max(by_size(&items, largest));
    let best = (1..=STEPS_MAX).map(|k| by_steps(&items, largest, k)).fold(best, u128::max);
    u64::try_from(best).unwrap_or(u64::MAX)
}

/// The plain sum over the largest bins.
fn by_sum(sum: u128, bins: &[u64], largest: u128) -> u128 {
    let (mut left, mut count) = (sum, 0);
    for bin in bins.iter().map(|bin| u128::from(*bin)).take_while(|bin| *bin > 0) {
        if left == 0 {
            return count;
        }
        left = left.saturating_sub(bin);
        count += 1;
    }
    count + left.div_ceil(largest)
}

/// L2: large items need a bin each; of the middle ones, what their bins leave is all that smaller items
/// can use there. `items` are in falling order.
fn by_size(items: &[u64], bin: u128) -> u128 {
    let wide = |count: usize| u128::try_from(count).unwrap_or(u128::MAX);
    let mut sums = vec![0_u128];
    for item in items {
        sums.push(sums[sums.len() - 1] + u128::from(*item));
    }
    // The first item that is not larger than so much, and the first that is smaller.
    let above = |size: u128| items.partition_point(|item| u128::from(*item) > size);
    let from = |size: u128| items.partition_point(|item| u128::from(*item) >= size);
    let middle = items.partition_point(|item| u128::from(*item) * 2 > bin);
    let mut best = wide(middle);
    let mut at = middle;
    while at < items.len() {
        let threshold = u128::from(items[at]);
        let (large, end) = (above(bin - threshold), from(threshold));
        let left = wide(middle - large) * bin - (sums[middle] - sums[large]);
        let small = sums[end] - sums[middle];
        best = best.max(wide(middle) + small.saturating_sub(left).div_ceil(bin));
        at = end;
    }
    best
}

/// The dual feasible function u(k): every item is rounded to whole `k`-ths in a way that no bin which
/// holds the items can notice.
fn by_steps(items: &[u64], bin: u128, k: u128) -> u128 {
    let scaled = |item: &u64| {
        let share = u128::from(*item).saturating_mul(k + 1);
        // In units of one `k`-th of a bin times the bin, so that nothing is lost.
        if share.is_multiple_of(bin) { u128::from(*item) * k } else { share / bin * bin }
    };
    let sum: u128 = items.iter().map(scaled).fold(0, u128::saturating_add);
    sum.div_ceil(k.saturating_mul(bin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Says whether the items fit, by trying everything.
    fn fits(items: &[u64], left: &mut [u64]) -> bool {
        let Some((item, rest)) = items.split_first() else { return true };
        (0..left.len()).any(|bin| {
            if left[bin] < *item || left[..bin].contains(&left[bin]) {
                return false;
            }
            left[bin] -= item;
            let all = fits(rest, left);
            left[bin] += item;
            all
        })
    }

    /// The fewest of these bins; `None` when all are too few.
    fn fewest(items: &[u64], bins: &[u64]) -> Option<u32> {
        let mut items: Vec<u64> = items.to_vec();
        items.sort_unstable_by_key(|item| Reverse(*item));
        let chosen = |set: u32| -> Vec<u64> {
            (0..bins.len()).filter(|b| set >> b & 1 == 1).map(|b| bins[b]).collect()
        };
        (0..1_u32 << bins.len())
            .filter(|set| fits(&items, &mut chosen(*set)))
            .map(u32::count_ones)
            .min()
    }

    #[test]
    fn a_bound_is_never_above_the_optimum_and_never_below_the_sum() {
        let (mut tight, mut cases, mut better) = (0, 0, 0);
        for seed in 0..3000 {
            let mut random = Random(seed);
            let size = 6 + random.below(40);
            let alike = random.below(2) == 0;
            let bins: Vec<u64> =
                (0..6).map(|_| if alike { size } else { 1 + random.below(size) }).collect();
            let largest = bins.iter().max().copied().unwrap();
            let count = 1 + random.below(8);
            let items: Vec<u64> = (0..count).map(|_| 1 + random.below(largest)).collect();
            let bound = bins_needed(&items, &bins);
            let sum: u64 = items.iter().sum();
            assert!(bound >= sum.div_ceil(largest), "seed {seed}: {bound} for {items:?}");
            let Some(fewest) = fewest(&items, &bins) else { continue };
            let fewest = u64::from(fewest);
            assert!(bound <= fewest, "seed {seed}: {bound} above {fewest}: {items:?} in {bins:?}");
            cases += 1;
            tight += u32::from(bound == fewest);
            better += u32::from(bound > sum.div_ceil(largest));
        }
        assert!(cases > 1500 && tight * 10 > cases * 8, "{tight} of {cases} are tight");
        assert!(better > 100, "hardly ever better than the sum: {better}");
    }

    #[test]
    fn large_items_need_a_bin_each_and_thirds_leave_a_rest() {
        assert_eq!(bins_needed(&[60, 60, 60], &[100; 9]), 3);
        // Three of 34 never share a bin, so seven of them need four; their sum needs three.
        assert_eq!(bins_needed(&[34; 7], &[100; 9]), 4);
        assert_eq!(bins_needed(&[70, 35, 35], &[100; 9]), 2);
        assert_eq!(bins_needed(&[51, 50, 50], &[100; 9]), 2);
    }

    #[test]
    fn nothing_needs_nothing_and_the_impossible_is_left_out() {
        assert_eq!(bins_needed(&[], &[10]), 0);
        assert_eq!(bins_needed(&[5, 0], &[]), 0);
        assert_eq!(bins_needed(&[0, 0], &[10]), 0);
        assert_eq!(bins_needed(&[11, 4], &[10, 3]), 1);
        assert_eq!(bins_needed(&[5, 5, 5], &[10]), 2, "more bins are needed than there are");
        assert_eq!(bins_needed(&[u64::MAX; 3], &[u64::MAX; 5]), 3);
    }
}
