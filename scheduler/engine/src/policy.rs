//! The policy: every knob with unit, default, range and reason.
//!
//! A policy keeps only what differs from the defaults, so a new default reaches every cloud that
//! never chose otherwise. Knobs are whole numbers; their unit is the last word of their name or said
//! beside it.

use std::collections::BTreeMap;

use tengyun_model::{Band, Millis, Permille, said};

use crate::command::Refusal;
use crate::occupancy::Dimension;

/// One knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knob {
    /// Its name.
    pub name: &'static str,
    /// The unit of its value.
    pub unit: &'static str,
    /// Its value when nobody chose one.
    pub default: u64,
    /// The least allowed.
    pub min: u64,
    /// The most allowed.
    pub max: u64,
    /// What it does and why the default is what it is.
    pub reason: &'static str,
}

/// What may be lost while everything still has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Nobody looks.
    Off,
    /// The largest node.
    Node,
    /// The largest rack: all nodes with the same label `rack`; one without it counts as a rack.
    Rack,
}

macro_rules! knobs {
    ($($id:ident $name:literal $unit:literal $default:literal $min:literal..$max:literal $reason:literal)*) => {
        /// Every knob, in the order of `policy show`.
        pub const KNOBS: &[Knob] = &[$(Knob {
            name: $name, unit: $unit, default: $default, min: $min, max: $max, reason: $reason,
        }),*];

        /// The value of every knob, so that nobody has to look one up by its name.
        #[derive(Clone, Debug, PartialEq, Eq)]
        struct Chosen {
            $($id: u64),*
        }

        impl Chosen {
            fn of(values: &BTreeMap<String, u64>) -> Self {
                Self { $($id: values.get($name).copied().unwrap_or($default)),* }
            }
        }

        impl Policy {
            $(
                #[doc = $reason]
                fn $id(&self) -> u64 {
                    self.chosen.$id
                }
            )*
        }
    };
}

/// The values that operators chose, and the defaults of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    values: BTreeMap<String, u64>,
    chosen: Chosen,
}

impl Default for Policy {
    fn default() -> Self {
        Self { values: BTreeMap::new(), chosen: Chosen::of(&BTreeMap::new()) }
    }
}

knobs! {
    raw_floor "band_floor" "permille of CPU" 600 0..1000
        "below it a node in use is worth emptying"
    raw_target "band_target" "permille of CPU" 790 0..1000
        "what harvest fills a node to; it gives back within a second, so a percent of room is enough"
    raw_ceiling "band_ceiling" "permille of CPU" 800 0..1000
        "what foreseen peaks fill a node to; above it a node counts as overloaded"
    raw_budget "violation_budget" "hundredths of a percent of node-time" 100 1..5000
        "so much of the time of nodes in use may be above the ceiling; margins are set by what came"
    raw_overload "overload_share" "permille of the violation budget" 75 0..1000
        "so much of the budget may be above the capacity; work is lost there, not only slowed"
    raw_window "window_seconds" "seconds" 300 1..3600
        "use is averaged over such windows, and foreseen for the next; the band is meant of these"
    raw_season "season" "0 no, 1 yes" 1 0..1
        "whether how use goes through days of work and of rest is learnt; it speaks where it was right"
    raw_history "history_min_seconds" "seconds" 300 1..604_800
        "until it was measured so long an instance counts its request; Borg waits 300 s"
    raw_stale "data_stale_seconds" "seconds" 60 2..3600
        "measurements older than this never overcommit a node and never move an instance"
    raw_by_use "memory_by_use" "0 no, 1 yes" 0 0..1
        "whether standard and harvest count the memory they use instead of what they ask for; limits stay"
    raw_memory_margin "memory_margin" "permille of the peak" 150 0..4000
        "so much is added to the highest working set, and more when more is missed than the budget has"
    raw_oom "oom_budget" "misses per 1000 instance-days" 10 1..1000
        "so often may one use more than it was promised, a kill counts as four; limits are not lowered"
    raw_memory_history "memory_history_min_seconds" "seconds" 86_400 300..2_592_000
        "until its memory was measured so long an instance counts its request; a day has a day's peak"
    raw_consolidate "consolidate" "0 no, 1 yes" 1 0..1
        "whether nodes are emptied and kept level; overloaded ones are relieved in any case"
    raw_interval "consolidate_interval_seconds" "seconds" 240 0..86_400
        "at least so long between two rounds of moves; nothing new is known within a window"
    raw_moves "moves_per_pass" "moves" 8 1..1000
        "the most instances that leave drained nodes at a time; each start costs its new node"
    raw_rebalance "rebalance_moves" "moves" 256 0..100_000
        "the most instances moved by a round that empties or opens nodes; a thousand nodes take hours"
    raw_level "level_moves" "thousandths of all instances" 4 0..1000
        "the most instances moved by a round that levels nodes in use; more would follow noise"
    raw_daily "moves_per_instance_day" "hundredths of a move" 105 0..1_000_000
        "moves that empty and level nodes, on average; what relieves an overload is not held back"
    raw_cooldown "moves_per_workload_interval_seconds" "seconds" 1800 0..604_800
        "an instance is not moved again for so long; a move has to pay back first"
    raw_replacement "replacement_timeout_seconds" "seconds" 120 5..86_400
        "a replacement that is not healthy by then is given up and the old copy stays"
    raw_requeue "requeue_seconds" "seconds" 30 1..86_400
        "a copy whose replacement failed, or that was just moved, is not renewed for so long"
    raw_failed "failed_pause_seconds" "seconds" 10 1..86_400
        "a service's copy that failed for good is placed anew after so long; each failure doubles it"
    raw_failed_max "failed_pause_max_seconds" "seconds" 600 1..604_800
        "the longest such pause; a copy that was healthy for so long begins anew with the shortest"
    raw_reports "reports_before_rebalance" "permille of nodes" 900 0..1000
        "nothing is rebalanced until so many nodes have reported lately"
    raw_suspect "suspect_after_seconds" "seconds" 30 2..3600
        "a node that was not heard for so long gets nothing new; agents report every few seconds"
    raw_lost "lost_after_seconds" "seconds" 60 4..86_400
        "a node that was not heard for so long may be declared lost; Mesos waits 75 s, Slurm 300 s"
    raw_grace "return_grace_seconds" "seconds" 120 0..86_400
        "after a start or pause of the scheduler nothing is declared lost for so long"
    raw_loss_interval "loss_interval_seconds" "seconds" 10 0..86_400
        "at least so long between declaring two nodes lost; Kubernetes evicts one node in 10 s"
    raw_loss_slow_interval "loss_slow_interval_seconds" "seconds" 100 0..86_400
        "the same while more nodes than usual are silent; Kubernetes slows down to 100 s"
    raw_loss_slow "loss_slow_above" "permille of nodes" 20 0..1000
        "while more nodes (and more than one) fell silent, losses are declared slowly"
    raw_loss_hold "loss_hold_above" "permille of nodes" 100 0..1000
        "while more (and more than one) fell silent none is declared lost: the network is to blame"
    raw_harm "harm_window_seconds" "seconds" 300 0..86_400
        "a node lost so soon after an instance was placed there counts as harmed by its workload"
    raw_power "prefer_low_power" "0 no, 1 yes" 0 0..1
        "whether nodes that draw the fewest watts a core (label power-watts) are used first, others emptied first"
    raw_reserve "reserve" "0 none, 1 node, 2 rack" 0 0..2
        "nodes are emptied only while all would fit without the largest node, or rack; few nodes seldom could"
    raw_disk "disk_busy_ceiling" "permille of time" 800 100..1000
        "a node whose busiest disk was busier over a window gets nothing new; above it waits grow fast, 1000 is off"
    raw_network "network_ceiling" "permille of a link" 800 100..1000
        "a node whose fullest link was fuller over a window gets nothing new; the rest is for bursts, 1000 is off"
    raw_port_first "port_first" "port number" 20_000 1024..65_535
        "the first port that is chosen for workloads which leave it open"
    raw_port_last "port_last" "port number" 29_999 1024..65_535
        "the last one; below the kernel's own range, which begins at 32768"
}

/// Knobs of earlier releases. Journals may hold them: they are taken and do nothing.
const RETIRED: [&str; 4] =
    ["peak_percentile", "peak_deviations", "peak_margin", "half_life_seconds"];

impl Policy {
    /// Makes a policy of chosen values; the others have their defaults.
    pub fn new(values: BTreeMap<String, u64>) -> Result<Self, Refusal> {
        let present = |name: &&String| !RETIRED.contains(&name.as_str());
        for (name, value) in values.iter().filter(|(name, _)| present(name)) {
            let knob = KNOBS.iter().find(|k| k.name == name);
            let knob = knob.ok_or_else(|| Refusal::UnknownKnob(name.clone()))?;
            if *value < knob.min || *value > knob.max {
                let expected = said!(KnobRange, knob.min, knob.max, knob.unit);
                return Err(Refusal::BadKnob { name: name.clone(), expected });
            }
        }
        let differs = |(name, value): &(String, u64)| {
            KNOBS.iter().any(|k| k.name == name && k.default != *value)
        };
        let values: BTreeMap<String, u64> = values.into_iter().filter(differs).collect();
        let policy = Self { chosen: Chosen::of(&values), values };
        if !policy.band().is_valid() {
            let expected = said!(KnobBandOrder);
            return Err(Refusal::BadKnob { name: "band_target".to_owned(), expected });
        }
        let (first, last) = policy.ports();
        if first > last {
            let expected = said!(KnobPortOrder);
            return Err(Refusal::BadKnob { name: "port_last".to_owned(), expected });
        }
        Ok(policy)
    }

    /// Returns the first and the last port that may be chosen.
    pub fn ports(&self) -> (u16, u16) {
        let port = |raw: u64| u16::try_from(raw).unwrap_or(u16::MAX);
        (port(self.raw_port_first()), port(self.raw_port_last()))
    }

    /// Returns the values that differ from the defaults.
    pub fn values(&self) -> &BTreeMap<String, u64> {
        &self.values
    }

    /// Returns the value of a knob.
    pub fn value(&self, name: &str) -> Option<u64> {
        let default = KNOBS.iter().find(|k| k.name == name)?.default;
        Some(self.values.get(name).copied().unwrap_or(default))
    }

    /// Returns the wanted utilisation.
    pub fn band(&self) -> Band {
        Band {
            floor: permille(self.raw_floor()),
            target: permille(self.raw_target()),
            ceiling: permille(self.raw_ceiling()),
        }
    }

    /// Returns the share of node-time that may be above the ceiling, in millionths.
    pub fn violation_budget(&self) -> u64 {
        self.raw_budget() * 100
    }

    /// Returns the share of node-time that may be above the capacity, in millionths.
    pub fn overload_budget(&self) -> u64 {
        (self.violation_budget() * self.raw_overload() / 1000).max(1)
    }

    /// Returns the windows that use is averaged over. An instance that is measured long enough has
    /// been measured for one.
    pub fn window(&self) -> Millis {
        Millis::from_secs(self.raw_window().min(self.raw_history()))
    }

    /// Returns how long an instance is measured before its measurements count.
    pub fn history_min(&self) -> Millis {
        Millis::from_secs(self.raw_history())
    }

    /// Returns after how long a measurement is stale.
    pub fn data_stale(&self) -> Millis {
        Millis::from_secs(self.raw_stale())
    }

    /// Says whether memory counts by what is used of it.
    pub fn memory_by_use(&self) -> bool {
        self.raw_by_use() == 1
    }

    /// Returns what is added to the highest working set at least, in thousandths of it.
    pub fn memory_margin(&self) -> u64 {
        self.raw_memory_margin()
    }

    /// Returns how often in 1000 instance-days one may use more memory than it was promised.
    pub fn oom_budget(&self) -> u64 {
        self.raw_oom()
    }

    /// Returns how long the memory of an instance is measured before that counts.
    pub fn memory_history_min(&self) -> Millis {
        Millis::from_secs(self.raw_memory_history())
    }

    /// Says whether seasons are learnt.
    pub fn has_seasons(&self) -> bool {
        self.raw_season() == 1
    }

    /// Says whether nodes are emptied and levelled.
    pub fn consolidates(&self) -> bool {
        self.raw_consolidate() == 1
    }

    /// Says whether nodes that draw little for what they do come first.
    pub fn prefers_low_power(&self) -> bool {
        self.raw_power() == 1
    }

    /// Returns what may be lost while everything still has its place.
    pub fn reserve(&self) -> Reserve {
        match self.raw_reserve() {
            0 => Reserve::Off,
            1 => Reserve::Node,
            _ => Reserve::Rack,
        }
    }

    /// Returns how busy a node may be for something new to come; nothing where that does not matter.
    pub fn occupancy_ceiling(&self, what: Dimension) -> Option<Permille> {
        let ceiling = permille(match what {
            Dimension::Disk => self.raw_disk(),
            Dimension::Network => self.raw_network(),
        });
        (ceiling < Permille::WHOLE).then_some(ceiling)
    }

    /// Returns the pause between two rounds of moves.
    pub fn consolidate_interval(&self) -> Millis {
        Millis::from_secs(self.raw_interval())
    }

    /// Returns the most shifts of one round that empties or opens nodes.
    pub fn rebalance_moves(&self) -> usize {
        usize::try_from(self.raw_rebalance()).unwrap_or(usize::MAX)
    }

    /// Returns the most shifts of one round that levels so many instances.
    pub fn level_moves(&self, instances: usize) -> usize {
        let share = usize::try_from(self.raw_level()).unwrap_or(usize::MAX);
        instances.saturating_mul(share).div_ceil(1000)
    }

    /// Returns how many moves an instance may make a day on average, in hundredths.
    pub fn daily_moves(&self) -> u64 {
        self.raw_daily()
    }

    /// Returns the most shifts away from drained nodes at a time.
    pub fn moves_per_pass(&self) -> usize {
        usize::try_from(self.raw_moves()).unwrap_or(usize::MAX)
    }

    /// Returns how long an instance stays after a shift.
    pub fn move_cooldown(&self) -> Millis {
        Millis::from_secs(self.raw_cooldown())
    }

    /// Returns how long a replacement may take to become healthy.
    pub fn replacement_timeout(&self) -> Millis {
        Millis::from_secs(self.raw_replacement())
    }

    /// Returns how long a copy is not renewed after its replacement failed or it was moved.
    pub fn requeue_after(&self) -> Millis {
        Millis::from_secs(self.raw_requeue())
    }

    /// Returns how long a copy rests that failed so often in a row.
    pub fn failed_pause(&self, failures: u32) -> Millis {
        let (first, most) = (self.raw_failed(), self.failed_pause_max());
        let doubled = 2_u64.saturating_pow(failures.saturating_sub(1)).saturating_mul(first);
        Millis::from_secs(doubled).min(most)
    }

    /// Returns how long a copy rests at the most, and how long it must be healthy to have recovered.
    pub fn failed_pause_max(&self) -> Millis {
        Millis::from_secs(self.raw_failed_max().max(self.raw_failed()))
    }

    /// Returns after how long without a word a node is suspect.
    pub fn suspect_after(&self) -> Millis {
        Millis::from_secs(self.raw_suspect())
    }

    /// Returns after how long without a word a node may be declared lost.
    pub fn lost_after(&self) -> Millis {
        Millis::from_secs(self.raw_lost().max(self.raw_suspect()))
    }

    /// Returns how long agents may take to return to a scheduler that started or was paused, or after
    /// a cut.
    pub fn return_grace(&self) -> Millis {
        Millis::from_secs(self.raw_grace())
    }

    /// Returns the pause between declaring two nodes lost, at the usual and at the slow rate.
    pub fn loss_intervals(&self) -> (Millis, Millis) {
        let slow = Millis::from_secs(self.raw_loss_slow_interval());
        (Millis::from_secs(self.raw_loss_interval()), slow)
    }

    /// Returns the shares of silent nodes above which losses are declared slowly, and not at all.
    pub fn loss_limits(&self) -> (Permille, Permille) {
        (permille(self.raw_loss_slow()), permille(self.raw_loss_hold()))
    }

    /// Returns for how long after a placement a lost node counts as harmed by the workload.
    pub fn harm_window(&self) -> Millis {
        Millis::from_secs(self.raw_harm())
    }

    /// Returns the share of nodes that must have reported before anything is rebalanced.
    pub fn reports_before_rebalance(&self) -> Permille {
        permille(self.raw_reports())
    }
}

fn permille(raw: u64) -> Permille {
    Permille::new(u32::try_from(raw).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(values: &[(&str, u64)]) -> Result<Policy, Refusal> {
        Policy::new(values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect())
    }

    #[test]
    fn defaults_are_in_their_ranges_and_names_are_unique() {
        for (index, knob) in KNOBS.iter().enumerate() {
            assert!((knob.min..=knob.max).contains(&knob.default), "{}", knob.name);
            assert!(KNOBS[..index].iter().all(|k| k.name != knob.name), "{} twice", knob.name);
        }
        assert_eq!(Policy::default().band(), Band::DEFAULT);
    }

    #[test]
    fn bad_knobs_are_refused_with_their_range() {
        assert_eq!(policy(&[("nope", 1)]), Err(Refusal::UnknownKnob("nope".to_owned())));
        let refusal = policy(&[("moves_per_pass", 0)]).unwrap_err().to_string();
        assert_eq!(refusal, "knob moves_per_pass must be 1 to 1000 (moves)");
        assert!(policy(&[("band_floor", 900)]).is_err());
        assert!(
            policy(&[("band_floor", 900), ("band_target", 900), ("band_ceiling", 950)]).is_ok()
        );
    }

    #[test]
    fn knobs_of_earlier_releases_are_taken_and_do_nothing() {
        assert_eq!(policy(&[("half_life_seconds", 120)]).unwrap(), Policy::default());
    }

    #[test]
    fn a_default_that_was_chosen_is_not_kept() {
        assert_eq!(policy(&[("consolidate", 1)]).unwrap(), Policy::default());
    }
}
