//! The score: what the readings say, and whether it is what the story promises. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::demo::histogram::Latencies;
use crate::demo::kernel::Reading;
use crate::text::Language;

/// The band, in per cent of a node.
const BAND: (f64, f64) = (60.0, 80.0);
/// The most that a node is busy before, in per cent.
const BEFORE_MAX: f64 = 10.0;
/// The most nodes in use afterwards.
const NODES_MAX: usize = 2;
/// The most CPU that others may take of the machine before the figures mean nothing, in per cent.
const FOREIGN_MAX: f64 = 5.0;
/// How much longer the 99th percentile may be afterwards.
const SLOWER_MAX: f64 = 2.0;
/// The fewest requests a percentile may rest on.
const REQUESTS_MIN: usize = 10_000;

/// All that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// What each node can use at most, in cores.
    pub(crate) node_cores: f64,
    /// The cores of the machine.
    pub(crate) machine_cores: f64,
    /// The beginning and the end of the time before consolidation.
    pub(crate) before: [Reading; 2],
    /// The nodes in use in that time.
    pub(crate) nodes_before: usize,
    /// Readings through the last minute, a few seconds apart.
    pub(crate) after: Vec<Reading>,
    /// Which nodes were in use at any time of the last minute.
    pub(crate) in_use: Vec<bool>,
    /// Stretches in which foreign CPU was measured: each a beginning and an end.
    pub(crate) stretches: Vec<[Reading; 2]>,
    /// Latencies of the service alone.
    pub(crate) alone: Latencies,
    /// Latencies of the service on the consolidated node.
    pub(crate) together: Latencies,
    /// How many instances were moved.
    pub(crate) moves: u64,
}

/// The figures that are printed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Score {
    pub(crate) nodes_before: usize,
    pub(crate) nodes_after: usize,
    pub(crate) utilisation_before: f64,
    /// Of the busiest node before.
    pub(crate) busiest_before: f64,
    pub(crate) utilisation_after: f64,
    pub(crate) in_band: f64,
    pub(crate) p99_alone_millis: Option<f64>,
    pub(crate) p99_after_millis: Option<f64>,
    pub(crate) requests: [usize; 2],
    pub(crate) moves: u64,
    pub(crate) foreign: f64,
}

impl Score {
    /// Computes every figure.
    pub(crate) fn of(measured: &Measured) -> Self {
        let [begin, end] = &measured.before;
        let before = used(begin, end, measured.node_cores);
        let windows: Vec<Vec<f64>> = measured
            .after
            .windows(2)
            .map(|pair| in_use(&used(&pair[0], &pair[1], measured.node_cores), measured))
            .collect();
        let whole = match (measured.after.first(), measured.after.last()) {
            (Some(first), Some(last)) => used(first, last, measured.node_cores),
            _ => Vec::new(),
        };
        let after = in_use(&whole, measured);
        let all: Vec<f64> = windows.into_iter().flatten().collect();
        let inside = all.iter().filter(|share| (BAND.0..=BAND.1).contains(*share)).count();
        Self {
            nodes_before: measured.nodes_before,
            nodes_after: after.len(),
            utilisation_before: mean(&before),
            busiest_before: before.iter().copied().fold(0.0, f64::max),
            utilisation_after: mean(&after),
            in_band: percent(count(inside), count(all.len())),
            p99_alone_millis: measured.alone.p99().map(millis),
            p99_after_millis: measured.together.p99().map(millis),
            requests: [measured.alone.count(), measured.together.count()],
            moves: measured.moves,
            foreign: foreign(&measured.stretches, measured.machine_cores),
        }
    }

    /// Returns how many times longer the 99th percentile is afterwards.
    pub(crate) fn slower(&self) -> Option<f64> {
        Some(self.p99_after_millis? / self.p99_alone_millis?)
    }

    /// Returns the object that `--output json` ends with.
    pub(crate) fn json(&self) -> Value {
        json!({
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "utilisation_before_pct": hundredths(self.utilisation_before),
            "utilisation_after_pct": hundredths(self.utilisation_after),
            "in_band_pct": hundredths(self.in_band),
            "p99_alone_ms": self.p99_alone_millis.map(thousandths),
            "p99_after_ms": self.p99_after_millis.map(thousandths),
            "moves": self.moves,
            "foreign_cpu_pct": hundredths(self.foreign),
        })
    }

    /// Says what the figures do not show; nothing when they show the whole story.
    pub(crate) fn shortfalls(&self, language: Language) -> Vec<String> {
        let mut short = Vec::new();
        let mut demand = |holds: bool, english: String, chinese: String| {
            if !holds {
                short.push(if language == Language::Chinese { chinese } else { english });
            }
        };
        let (foreign, busiest) = (self.foreign, self.busiest_before);
        demand(
            foreign <= FOREIGN_MAX,
            format!(
                "others took {foreign:.1} % of the machine's CPU (more than {FOREIGN_MAX} %): the figures do not count; stop them and repeat"
            ),
            format!(
                "其他程序占用了本机 {foreign:.1} % 的 CPU（超过 {FOREIGN_MAX} %），结果无效；请停止它们后重试"
            ),
        );
        demand(
            busiest < BEFORE_MAX,
            format!("a node was {busiest:.1} % busy before, not under {BEFORE_MAX} %"),
            format!("整合前有节点利用率为 {busiest:.1} %，没有低于 {BEFORE_MAX} %"),
        );
        let nodes = self.nodes_after;
        demand(
            (1..=NODES_MAX).contains(&nodes),
            format!("{nodes} nodes were in use afterwards, not 1 or {NODES_MAX}"),
            format!("整合后仍有 {nodes} 个节点在用，而不是 1 或 {NODES_MAX} 个"),
        );
        let after = self.utilisation_after;
        demand(
            (BAND.0..=BAND.1).contains(&after),
            format!("the nodes in use were {after:.1} % busy, outside the band of 60 to 80 %"),
            format!("在用节点利用率为 {after:.1} %，不在 60–80 % 区间内"),
        );
        let [alone, together] = self.requests;
        demand(
            alone >= REQUESTS_MIN && together >= REQUESTS_MIN,
            format!("only {alone} and {together} requests were timed, not {REQUESTS_MIN} a phase"),
            format!("只测得 {alone} 和 {together} 个请求，每阶段不足 {REQUESTS_MIN} 个"),
        );
        let slower = self.slower().unwrap_or(f64::INFINITY);
        demand(
            slower <= SLOWER_MAX,
            format!("the service's p99 was {slower:.2} times that of it alone, above {SLOWER_MAX}"),
            format!("关键服务的 p99 是独占时的 {slower:.2} 倍，超过 {SLOWER_MAX} 倍"),
        );
        short
    }
}

/// Returns the utilisation of each node between two readings, in per cent.
fn used(begin: &Reading, end: &Reading, node_cores: f64) -> Vec<f64> {
    let time = end.at.saturating_duration_since(begin.at).as_secs_f64();
    let pairs = begin.nodes.iter().zip(&end.nodes);
    pairs.map(|(b, e)| percent(e.saturating_sub(*b).as_secs_f64(), time * node_cores)).collect()
}

fn in_use(used: &[f64], measured: &Measured) -> Vec<f64> {
    let pairs = used.iter().zip(&measured.in_use);
    pairs.filter(|(_, in_use)| **in_use).map(|(share, _)| *share).collect()
}

/// Returns the share of the machine that neither the nodes nor this process used, in per cent.
fn foreign(stretches: &[[Reading; 2]], machine_cores: f64) -> f64 {
    let (mut others, mut whole) = (0.0, 0.0);
    for [begin, end] in stretches {
        let sum = |r: &Reading| r.nodes.iter().sum::<Duration>() + r.own;
        let all = end.machine.saturating_sub(begin.machine).as_secs_f64();
        let ours = sum(end).saturating_sub(sum(begin)).as_secs_f64();
        others += (all - ours).max(0.0);
        whole += end.at.saturating_duration_since(begin.at).as_secs_f64() * machine_cores;
    }
    percent(others, whole)
}

fn mean(shares: &[f64]) -> f64 {
    if shares.is_empty() { 0.0 } else { shares.iter().sum::<f64>() / count(shares.len()) }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

/// Returns a small number as one that divides.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

fn millis(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1e3
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A reading so many seconds after the start, with the CPU seconds of two nodes.
    fn reading(start: Instant, second: u64, nodes: [f64; 2], others: f64) -> Reading {
        let nodes: Vec<Duration> = nodes.into_iter().map(Duration::from_secs_f64).collect();
        let own = Duration::from_millis(second * 10);
        let machine = nodes.iter().sum::<Duration>() + own + Duration::from_secs_f64(others);
        Reading { at: start + Duration::from_secs(second), nodes, machine, own }
    }

    fn latencies(millis: u64) -> Latencies {
        (0..REQUESTS_MIN).map(|_| Duration::from_millis(millis)).collect()
    }

    /// Two nodes of half a core: 8 and 4 % busy before; the first 70 % busy afterwards.
    fn measured() -> Measured {
        let start = Instant::now();
        let before = [reading(start, 0, [0.0, 0.0], 0.0), reading(start, 20, [0.8, 0.4], 0.2)];
        let after: Vec<Reading> = (0..=4_u32)
            .map(|n| {
                let first = 10.0 + [0.0, 1.75, 3.5, 4.5, 7.0][usize::try_from(n).unwrap()];
                reading(start, u64::from(n) * 5 + 60, [first, 0.4], 0.4)
            })
            .collect();
        Measured {
            node_cores: 0.5,
            machine_cores: 2.0,
            nodes_before: 2,
            stretches: vec![before.clone()],
            before,
            after,
            in_use: vec![true, false],
            alone: latencies(2),
            together: latencies(3),
            moves: 1,
        }
    }

    #[test]
    fn figures_come_from_the_counters() {
        let score = Score::of(&measured());
        assert_eq!((score.nodes_before, score.nodes_after, score.moves), (2, 1, 1));
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-6;
        assert!(near(score.utilisation_before, 6.0), "{score:?}");
        assert!(near(score.busiest_before, 8.0), "{score:?}");
        assert!(near(score.utilisation_after, 70.0), "{score:?}");
        // The four windows are 70, 70, 40 and 100 % full.
        assert!(near(score.in_band, 50.0), "{score:?}");
        // 0.2 of 40 core-seconds.
        assert!(near(score.foreign, 0.5), "{score:?}");
        assert!(near(score.slower().unwrap(), 1.5), "{score:?}");
        assert_eq!(score.shortfalls(Language::English), Vec::<String>::new());
    }

    #[test]
    fn the_object_has_exactly_the_promised_fields() {
        let Value::Object(object) = Score::of(&measured()).json() else { panic!("no object") };
        let mut fields: Vec<&str> = object.keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "foreign_cpu_pct",
                "in_band_pct",
                "moves",
                "nodes_after",
                "nodes_before",
                "p99_after_ms",
                "p99_alone_ms",
                "utilisation_after_pct",
                "utilisation_before_pct",
            ]
        );
    }

    #[test]
    fn every_promise_that_is_not_kept_is_named() {
        let good = Score::of(&measured());
        let short = |change: &dyn Fn(&mut Score)| {
            let mut score = good.clone();
            change(&mut score);
            score.shortfalls(Language::English).join(";")
        };
        assert!(short(&|s| s.foreign = 5.1).contains("others took 5.1 %"));
        assert!(short(&|s| s.busiest_before = 10.0).contains("10.0 % busy before"));
        assert!(short(&|s| s.nodes_after = 3).contains("3 nodes"));
        assert!(short(&|s| s.nodes_after = 0).contains("0 nodes"));
        assert!(short(&|s| s.utilisation_after = 59.9).contains("59.9 % busy"));
        assert!(short(&|s| s.utilisation_after = 80.1).contains("80.1 % busy"));
        assert!(short(&|s| s.requests = [9_999, 20_000]).contains("9999 and 20000"));
        assert!(short(&|s| s.p99_after_millis = Some(4.1)).contains("2.05 times"));
        assert!(short(&|s| s.p99_after_millis = None).contains("inf times"));
        let chinese = Score { foreign: 7.0, ..good }.shortfalls(Language::Chinese).join("");
        assert!(chinese.contains("7.0 %") && chinese.contains("结果无效"), "{chinese}");
    }
}
