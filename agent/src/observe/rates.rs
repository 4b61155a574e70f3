//! Rates: what was used between two samples. Pure.

use std::collections::BTreeMap;

use tengyun_model::{InstanceId, InstanceUsage, Mebibytes, Millicores, NodeUsage};

use super::sampler::{Reading, Sample};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeScope {
    /// The whole machine: what is not ours counts as foreign.
    Machine,
    /// A share of it, held by a control group or by word: only what is ours counts.
    Group,
}

/// Derives rates from two samples of one node.
///
/// What the earlier sample lacks is counted from the first reading on. A counter that went back
/// belongs to something new, and all of it was used since.
pub(crate) fn usage(before: &Sample, now: &Sample, scope: NodeScope) -> NodeUsage {
    let interval = now.monotonic.saturating_sub(before.monotonic);
    let rate = |nanos: u64| {
        let per_milli = interval.get().saturating_mul(1000);
        Millicores::new(nanos.checked_div(per_milli).unwrap_or(0))
    };
    let mut used: BTreeMap<InstanceId, Reading> = BTreeMap::new();
    for (key, reading) in &now.instances {
        let sum = used.entry(key.0).or_default();
        let nanos = since(before.instances.get(key), *reading);
        sum.cpu_nanos = sum.cpu_nanos.saturating_add(nanos);
        sum.memory = sum.memory.saturating_add(reading.memory);
    }
    let summed = used.values().map(|r| r.cpu_nanos).fold(0, u64::saturating_add);
    let group = now.node.map(|node| since(before.node.as_ref(), node));
    let ours = rate(group.unwrap_or(summed));
    let ours_memory =
        now.node.map_or_else(|| used.values().map(|r| r.memory).sum(), |node: Reading| node.memory);
    let busy = match (before.busy_nanos, now.busy_nanos) {
        (Some(before), Some(now)) => rate(now.saturating_sub(before)).max(ours),
        _ => ours,
    };
    let (cpu, memory) = match scope {
        NodeScope::Machine => (busy, now.memory_used.max(ours_memory)),
        NodeScope::Group => (ours, ours_memory),
    };
    NodeUsage {
        at: now.wall,
        interval,
        cpu,
        cpu_foreign: cpu.saturating_sub(ours),
        memory,
        memory_foreign: memory.saturating_sub(ours_memory),
        pressure_cpu: pressure(before, now, scope),
        harvest_allowance: Millicores::ZERO,
        instances: used
            .into_iter()
            .map(|(id, used)| of(id, rate(used.cpu_nanos), used.memory))
            .collect(),
        volumes: Vec::new(),
    }
}

fn since(before: Option<&Reading>, now: Reading) -> u64 {
    let before = before.map_or(now.base_nanos, |reading| reading.cpu_nanos);
    now.cpu_nanos.checked_sub(before).unwrap_or(now.cpu_nanos)
}

/// Returns the share of the interval in which some task of the machine waited for a CPU.
///
/// A share of a machine has none: most of those who wait there are not its own.
fn pressure(before: &Sample, now: &Sample, scope: NodeScope) -> Option<u32> {
    if scope == NodeScope::Group {
        return None;
    }
    let micros = now.pressure_micros?.saturating_sub(before.pressure_micros?);
    let interval = now.monotonic.saturating_sub(before.monotonic).get();
    // Microseconds in each millisecond are thousandths.
    let share = micros.checked_div(interval).unwrap_or(0).min(1000);
    u32::try_from(share).ok()
}

const fn of(instance: InstanceId, cpu: Millicores, memory: Mebibytes) -> InstanceUsage {
    InstanceUsage { instance, cpu, memory }
}

#[cfg(test)]
mod tests {
    use tengyun_model::{Incarnation, Millis};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sample(second: u64, busy: u64, instances: &[(u64, u32, u64)]) -> Sample {
        let reading =
            |nanos| Reading { cpu_nanos: nanos, memory: Mebibytes::new(10), ..Reading::default() };
        let key = |i: u64, n: u32| (InstanceId::new(i), Incarnation::new(n));
        Sample {
            monotonic: Millis::from_secs(second),
            busy_nanos: Some(busy),
            memory_used: Mebibytes::new(1000),
            instances: instances
                .iter()
                .map(|(i, n, nanos)| (key(*i, *n), reading(*nanos)))
                .collect(),
            ..Sample::default()
        }
    }

    #[test]
    fn what_is_not_ours_is_foreign_on_a_machine() {
        let before = sample(0, 0, &[(1, 1, 0)]);
        let now = sample(2, 3 * SECOND, &[(1, 1, SECOND)]);
        let usage = usage(&before, &now, NodeScope::Machine);
        assert_eq!(usage.cpu, Millicores::new(1500));
        assert_eq!(usage.cpu_foreign, Millicores::new(1000));
        assert_eq!(usage.instances[0].cpu, Millicores::new(500));
        assert_eq!(usage.memory_foreign, Mebibytes::new(990));
    }

    #[test]
    fn nothing_is_foreign_in_a_group() {
        let before = sample(0, 0, &[(1, 1, 0)]);
        let now = sample(2, 3 * SECOND, &[(1, 1, SECOND)]);
        let usage = usage(&before, &now, NodeScope::Group);
        assert_eq!((usage.cpu, usage.cpu_foreign), (Millicores::new(500), Millicores::ZERO));
    }

    #[test]
    fn a_new_start_counts_from_its_beginning() {
        let before = sample(0, 0, &[(1, 1, 9 * SECOND)]);
        let now = sample(1, SECOND, &[(1, 2, SECOND / 4)]);
        let usage = usage(&before, &now, NodeScope::Group);
        assert_eq!(usage.instances[0].cpu, Millicores::new(250));
    }

    #[test]
    fn what_was_used_before_it_was_watched_is_not_used_now() {
        let before = sample(0, 0, &[]);
        let mut now = sample(1, SECOND, &[(1, 1, 3_600 * SECOND)]);
        let adopted = now.instances.values_mut().next().unwrap();
        adopted.base_nanos = adopted.cpu_nanos - SECOND / 2;
        let usage = usage(&before, &now, NodeScope::Group);
        assert_eq!(usage.instances[0].cpu, Millicores::new(500));
    }

    #[test]
    fn a_group_that_was_made_again_counts_from_zero() {
        let before = sample(0, 0, &[(1, 1, 9 * SECOND)]);
        let now = sample(1, SECOND, &[(1, 1, SECOND / 10)]);
        assert_eq!(usage(&before, &now, NodeScope::Group).cpu, Millicores::new(100));
    }

    #[test]
    fn the_group_of_the_node_counts_what_ended_in_between() {
        let node = |nanos| {
            Some(Reading { cpu_nanos: nanos, memory: Mebibytes::new(70), ..Reading::default() })
        };
        let before = Sample { node: node(0), ..sample(0, 0, &[(1, 1, 0)]) };
        let now = Sample { node: node(SECOND), ..sample(1, 2 * SECOND, &[]) };
        let whole = usage(&before, &now, NodeScope::Machine);
        assert_eq!((whole.cpu, whole.cpu_foreign), (Millicores::new(2000), Millicores::new(1000)));
        assert_eq!(whole.memory_foreign, Mebibytes::new(930));
        let share = usage(&before, &now, NodeScope::Group);
        assert_eq!((share.cpu, share.memory), (Millicores::new(1000), Mebibytes::new(70)));
    }

    #[test]
    fn pressure_is_that_of_the_interval_and_of_a_whole_machine_only() {
        let at = |second, micros| Sample { pressure_micros: micros, ..sample(second, 0, &[]) };
        let share = |before: Option<u64>, now: Option<u64>, scope| {
            usage(&at(10, before), &at(12, now), scope).pressure_cpu
        };
        assert_eq!(share(Some(1_000_000), Some(1_500_000), NodeScope::Machine), Some(250));
        assert_eq!(share(Some(0), Some(9_000_000), NodeScope::Machine), Some(1000));
        assert_eq!(share(None, Some(5), NodeScope::Machine), None);
        assert_eq!(share(Some(0), Some(5), NodeScope::Group), None);
    }

    #[test]
    fn no_time_gives_no_rate() {
        let one = sample(5, SECOND, &[(1, 1, SECOND)]);
        assert_eq!(usage(&one, &one, NodeScope::Machine).cpu, Millicores::ZERO);
    }
}
