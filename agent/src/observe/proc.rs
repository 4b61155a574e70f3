//! Parsers of `/proc` lines. The name of a process is chosen by whoever runs it: hostile.

/// Nanoseconds in one clock tick: user space always sees 100 ticks a second on Linux.
pub(super) const TICK_NANOS: u64 = 10_000_000;

/// What `/proc/PID/stat` says of a process. Times are in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) parent: u32,
    /// User and system time of the process itself.
    pub(super) own_ticks: u64,
    /// User and system time of children that it has waited for.
    pub(super) children_ticks: u64,
    pub(super) start_ticks: u64,
    pub(super) rss_pages: u64,
}

/// Parses `/proc/PID/stat`. The name stands in parentheses and may hold any character, so the
/// numbers begin after the last closing one.
pub(super) fn process(text: &str) -> Option<Process> {
    let numbers = text.get(text.rfind(')')?.checked_add(2)?..)?;
    let fields: Vec<&str> = numbers.split_ascii_whitespace().collect();
    // proc(5) counts fields from 1; the first one here, the state, is number 3.
    let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
    let child = |number: usize| {
        let ticks = fields.get(number.checked_sub(3)?)?.parse::<i64>().ok()?;
        Some(u64::try_from(ticks).unwrap_or(0))
    };
    Some(Process {
        parent: u32::try_from(field(4)?).ok()?,
        own_ticks: field(14)?.saturating_add(field(15)?),
        children_ticks: child(16)?.saturating_add(child(17)?),
        start_ticks: field(22)?,
        rss_pages: child(24)?,
    })
}

/// Parses the first line of `/proc/stat`: the busy time of all CPUs in nanoseconds.
///
/// Idle and waiting for IO are not busy. Time stolen by a hypervisor was used by somebody else.
/// Guest time is part of user time already.
pub(super) fn busy_nanos(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|t| t.parse().ok()).collect();
    let (user, nice, system) = (ticks.first()?, ticks.get(1)?, ticks.get(2)?);
    let interrupts = ticks.get(5).copied().unwrap_or(0);
    let soft = ticks.get(6).copied().unwrap_or(0);
    let busy = [*user, *nice, *system, interrupts, soft].into_iter().fold(0, u64::saturating_add);
    Some(busy.saturating_mul(TICK_NANOS))
}

/// Parses `/proc/meminfo`: memory in use, in KiB, as what is not available.
pub(super) fn memory_used_kib(text: &str) -> Option<u64> {
    let value = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(value("MemTotal")?.saturating_sub(value("MemAvailable").or_else(|| value("MemFree"))?))
}

/// Parses `/proc/pressure/cpu`: the time in which some task waited, in microseconds since boot.
pub(super) fn pressure_micros(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|l| l.strip_prefix("some "))?;
    some.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

/// Finds `name value` on a line of its own, as in `cpu.stat` and `memory.stat`.
pub(super) fn named(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAIL: &str = "S 7 1 1 0 -1 4194560 1 2 3 4 11 12 -1 14 20 0 1 0 999 1000 55 0 0 0";

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        for name in ["sh", "a) R 1 (", ") ) )", "(", "\u{1b}[2J", "x\ny"] {
            let process = process(&format!("42 ({name}) {TAIL}")).unwrap();
            assert_eq!(process.parent, 7, "{name:?}");
            assert_eq!(process.own_ticks, 23);
            assert_eq!(process.children_ticks, 14, "a negative count is none");
            assert_eq!((process.start_ticks, process.rss_pages), (999, 55));
        }
    }

    #[test]
    fn idle_io_wait_and_steal_are_not_busy() {
        let text = "cpu  10 1 5 1000 500 2 3 400 7 0\ncpu0 1 1 1 1 1\n";
        assert_eq!(busy_nanos(text), Some(21 * TICK_NANOS));
        assert_eq!(busy_nanos("cpu  10 1 5 1000"), Some(16 * TICK_NANOS));
        assert_eq!(busy_nanos("cpux"), None);
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let text = "MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:   400 kB\n";
        assert_eq!(memory_used_kib(text), Some(600));
        assert_eq!(memory_used_kib("MemTotal: 1000 kB\nMemFree: 100 kB\n"), Some(900));
        assert_eq!(memory_used_kib("MemFree: 1 kB"), None);
    }

    #[test]
    fn pressure_is_the_total_of_what_some_task_waited() {
        let text = "some avg10=12.34 avg60=0.00 avg300=0.00 total=815\nfull avg10=0.00 total=9\n";
        assert_eq!(pressure_micros(text), Some(815));
        assert_eq!(pressure_micros("full avg10=0.00 total=9"), None);
        assert_eq!(pressure_micros("some total=-1"), None);
    }

    #[test]
    fn a_named_value_is_found_whole() {
        let text = "inactive_file 5\ntotal_inactive_file 7\n";
        assert_eq!(named(text, "inactive_file"), Some(5));
        assert_eq!(named(text, "total_inactive_file"), Some(7));
        assert_eq!(named(text, "inactive"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            std::hint::black_box((
                process(&text),
                process(&format!("1 ({text}) {text}")),
                busy_nanos(&format!("cpu {text}")),
                memory_used_kib(&format!("MemTotal:{text}")),
                pressure_micros(&format!("some total={text}")),
                named(&text, "x"),
            ));
        }
    }
}
