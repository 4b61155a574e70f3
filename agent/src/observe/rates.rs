//! Rates: what was used between two samples. Pure.

use std::collections::BTreeMap;

use tengyun_model::{InstanceId, InstanceUsage, Millicores, Millis, NodeIo, NodeUsage, Permille};

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
        let bytes = io_since(before.instances.get(key), *reading);
        sum.io_bytes = bytes.map(|bytes| bytes.saturating_add(sum.io_bytes.unwrap_or(0)));
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
            .map(|(instance, used)| InstanceUsage {
                instance,
                cpu: rate(used.cpu_nanos),
                memory: used.memory,
                io_bytes: used.io_bytes.and_then(|bytes| a_second(bytes, interval)),
            })
            .collect(),
        volumes: Vec::new(),
        io: io(before, now, interval),
    }
}

/// Derives how busy disks and links were. What the earlier sample lacks, and a counter that went back, says
/// nothing of this interval.
fn io(before: &Sample, now: &Sample, interval: Millis) -> NodeIo {
    let busy = now.io.disks.iter().filter_map(|(name, busy)| {
        let millis = busy.checked_sub(*before.io.disks.get(name)?)?;
        share(millis, interval.get())
    });
    let links = now.io.links.iter().filter_map(|(name, link)| {
        let before = before.io.links.get(name)?;
        let received = link.received.checked_sub(before.received)?;
        Some((received, link.sent.checked_sub(before.sent)?, link.speed))
    });
    let links: Vec<(u64, u64, Option<u64>)> = links.collect();
    let bytes = links.iter().map(|(received, sent, _)| received.saturating_add(*sent));
    let bytes = bytes.reduce(u64::saturating_add);
    let fullest = links.iter().filter_map(|(received, sent, speed)| {
        // Each direction has the whole speed.
        share(a_second(*received.max(sent), interval)?, (*speed)?)
    });
    NodeIo {
        disk_busy: busy.max(),
        network_busy: fullest.max(),
        network_bytes: bytes.and_then(|bytes| a_second(bytes, interval)),
    }
}

/// Returns the share that a part is of a whole, no more than that; nothing of nothing.
fn share(part: u64, whole: u64) -> Option<Permille> {
    let share = (u128::from(part) * 1000).checked_div(u128::from(whole))?;
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    Some(Permille::new(share).min(Permille::WHOLE))
}

/// Returns so much as a rate; nothing where no time passed.
fn a_second(amount: u64, interval: Millis) -> Option<u64> {
    let rate = (u128::from(amount) * 1000).checked_div(u128::from(interval.get()))?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// Returns what was read and written since; nothing where it was not counted before, and may be old.
fn io_since(before: Option<&Reading>, now: Reading) -> Option<u64> {
    let (before, now) = (before?.io_bytes?, now.io_bytes?);
    Some(now.checked_sub(before).unwrap_or(now))
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

#[cfg(test)]
mod tests {
    use tengyun_model::{Incarnation, Mebibytes};

    use super::super::io::{IoReading, LinkReading};
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

    /// Bytes received and sent, and the speed.
    type Counts = (u64, u64, Option<u64>);

    fn devices(second: u64, disks: &[(&str, u64)], links: &[(&str, Counts)]) -> Sample {
        let link = |(received, sent, speed)| LinkReading { received, sent, speed };
        let io = IoReading {
            disks: disks.iter().map(|(name, busy)| ((*name).into(), *busy)).collect(),
            links: links.iter().map(|(name, all)| ((*name).into(), link(*all))).collect(),
        };
        Sample { io, ..sample(second, 0, &[]) }
    }

    fn measured(before: &Sample, now: &Sample) -> (Option<u32>, Option<u32>, Option<u64>) {
        let io = usage(before, now, NodeScope::Machine).io;
        (io.disk_busy.map(Permille::get), io.network_busy.map(Permille::get), io.network_bytes)
    }

    #[test]
    fn the_busiest_disk_and_the_fullest_direction_of_a_link_count() {
        let fast = Some(1_000_000);
        let before =
            devices(0, &[("a", 0), ("b", 500)], &[("x", (0, 0, fast)), ("y", (9, 9, None))]);
        let links = [("x", (500_000, 1_400_000, fast)), ("y", (100_009, 9, None))];
        let now = devices(2, &[("a", 300), ("b", 2300)], &links);
        assert_eq!(measured(&before, &now), (Some(900), Some(700), Some(1_000_000)));
        let busier = devices(1, &[("a", 5000)], &[("x", (9_000_000, 0, fast))]);
        let (disk, link, _) = measured(&before, &busier);
        assert_eq!((disk, link), (Some(1000), Some(1000)), "no share is more than the whole");
    }

    #[test]
    fn what_was_not_there_or_counts_anew_says_nothing() {
        let none = devices(0, &[], &[]);
        let now = devices(1, &[("a", 900)], &[("x", (7, 7, Some(10)))]);
        assert_eq!(measured(&none, &now), (None, None, None), "a device that is new");
        assert_eq!(measured(&now, &now), (None, None, None), "no time");
        let wrapped = devices(2, &[("a", 3)], &[("x", (6, 9, Some(10)))]);
        assert_eq!(measured(&now, &wrapped), (None, None, None));
        let unknown = |second, sent| devices(second, &[], &[("x", (0, sent, None))]);
        assert_eq!(measured(&unknown(0, 0), &unknown(1, 5)), (None, None, Some(5)));
    }

    #[test]
    fn what_an_instance_reads_and_writes_is_a_rate_from_its_second_reading_on() {
        let with = |second, bytes: Option<u64>| {
            let mut sample = sample(second, 0, &[(1, 1, 0)]);
            sample.instances.values_mut().for_each(|reading| reading.io_bytes = bytes);
            sample
        };
        let rate = |before, now| usage(&before, &now, NodeScope::Group).instances[0].io_bytes;
        assert_eq!(rate(with(0, Some(100)), with(2, Some(4100))), Some(2000));
        assert_eq!(
            rate(with(0, Some(4100)), with(2, Some(100))),
            Some(50),
            "its group is a new one"
        );
        assert_eq!(rate(with(0, None), with(2, Some(100))), None);
        assert_eq!(rate(with(0, Some(100)), with(2, None)), None);
        assert_eq!(rate(sample(0, 0, &[]), with(2, Some(100))), None);
    }
}
