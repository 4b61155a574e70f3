//! The figures of a replay as a table for people.

use super::Replayed;
use crate::interval;
use crate::score::HourScore;

/// So many of the worst hours are shown; the report has all.
const WORST_MAX: usize = 3;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Replayed {
    /// Returns the figures as a table for people.
    pub fn table(&self) -> String {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: String| lines.push(format!("{name:<34}{value}\n"));
        self.fleet_lines(&mut line);
        self.load_lines(&mut line);
        self.harvest_lines(&mut line);
        self.hour_lines(&mut line);
        line("nodes off for 6 hours or more", self.long_off.to_string());
        line("energy", format!("{:.2} kWh", self.figures.energy_kwh));
        line("took", format!("{:.3} s", self.figures.seconds));
        if self.unfit > 0 {
            line("instances too large for a node", self.unfit.to_string());
        }
        for note in &self.notes {
            line("note", note.to_string());
        }
        lines.concat()
    }

    fn fleet_lines(&self, line: &mut impl FnMut(&str, String)) {
        let f = &self.figures;
        line("instances", f.instances.to_string());
        line("steps of 5 minutes", f.steps.to_string());
        line("coverage", format!("{:.2} % ({} bad rows)", f.coverage_pct, self.bad_rows));
        line("nodes in use, mean (most)", format!("{:.2} ({})", f.nodes_mean, f.nodes_max));
        let (nodes, pct) = self.above_bound;
        line("lower bound of nodes, mean", format!("{:.2}", f.lower_bound_nodes_mean));
        line("above the lower bound", format!("{nodes:.2} nodes ({pct:.2} %)"));
        line("binding resource", f.binding.to_owned());
    }

    fn load_lines(&self, line: &mut impl FnMut(&str, String)) {
        let f = &self.figures;
        line("utilisation", format!("{:.2} %", f.utilisation_pct));
        line("node-time in band 60-80 %", format!("{:.2} %", f.in_band_pct));
        let above = [f.above80_pct, f.above90_pct, f.above100_pct];
        line("node-time above 80/90/100 %", three(above));
        let (low, high) = interval::above80_pct(&self.scores.steps);
        line("95 % interval of that above 80 %", format!("{low:.3} to {high:.3} %"));
        let [band, above @ ..] = self.affected_pct;
        line("instance-time in band 60-80 %", format!("{band:.2} %"));
        line("instance-time above 80/90/100 %", three(above));
        line("demand lost", format!("{:.4} %", f.demand_lost_pct));
        let moves = format!("{} ({:.3})", f.moves, f.moves_per_instance_day);
        line("moves (per instance and day)", moves);
        line("instance-time without a node", format!("{:.4} %", self.waiting_pct));
        let Some(memory) = &f.memory else { return };
        line("memory in use", format!("{:.2} %", memory.used_pct));
        line("node-time above all memory", format!("{:.4} %", memory.above_capacity_pct));
        let misses = format!("{} ({:.3})", memory.misses, memory.misses_per_1000_instance_days);
        line("memory missed (1000 instance-days)", misses);
        line("moves for want of memory", memory.relieved.to_string());
    }

    fn harvest_lines(&self, line: &mut impl FnMut(&str, String)) {
        let Some(wait) = &self.harvest_wait else { return };
        let (done, back) = self.harvest_core_hours;
        line("harvest work", format!("{done:.1} core-hours done, {back:.1} given back"));
        let waits = format!(
            "{:.3} % of what it was given, in {:.2} % of steps, at worst {:.2} %",
            wait.waiting_pct, wait.steps_pct, wait.worst_pct
        );
        line("harvest work that had to wait", waits);
        line("room that harvest was not given", format!("{:.2} %", wait.room_missed_pct));
    }

    fn hour_lines(&self, line: &mut impl FnMut(&str, String)) {
        let worst = worst(&self.hours);
        for hour in &worst {
            let name = if self.civil {
                format!("{} {:02}:00", DAYS[hour.hour / 24 % 7], hour.hour % 24)
            } else {
                format!("hour {} of the trace", hour.hour)
            };
            let nodes = [hour.above80_pct, hour.above90_pct, hour.above100_pct];
            let [_, instances @ ..] = hour.affected_pct;
            let value = format!("{} of node-time above 80/90/100 %, ", three(nodes));
            line(&format!("worst: {name}"), value + &three(instances) + " of instance-time");
        }
        if !self.civil && !worst.is_empty() {
            let text = "counted from the trace's beginning: it does not state when that was";
            line("hours of the week", text.to_owned());
        }
    }
}

/// The hours with the most time above 80 %, then above 90 and 100 %; none that has nothing above.
fn worst(hours: &[HourScore]) -> Vec<HourScore> {
    let mut worst: Vec<HourScore> = hours.iter().filter(|h| h.above80_pct > 0.0).copied().collect();
    let key = |h: &HourScore| [h.above80_pct, h.above90_pct, h.above100_pct];
    worst.sort_by(|a, b| {
        let pairs = key(a).into_iter().zip(key(b));
        let by_time = pairs.map(|(a, b)| b.total_cmp(&a)).find(|o| o.is_ne());
        by_time.unwrap_or_else(|| a.hour.cmp(&b.hour))
    });
    worst.truncate(WORST_MAX);
    worst
}

fn three(shares: [f64; 3]) -> String {
    let [a, b, c] = shares;
    format!("{a:.3} / {b:.3} / {c:.3} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_hours_come_first_and_good_ones_are_not_shown() {
        let hour = |hour, above80_pct, above90_pct| HourScore {
            hour,
            above80_pct,
            above90_pct,
            ..HourScore::default()
        };
        let hours = [
            hour(0, 0.0, 0.0),
            hour(1, 2.0, 0.0),
            hour(2, 2.0, 1.0),
            hour(3, 1.0, 1.0),
            hour(4, 2.0, 1.0),
        ];
        assert_eq!(worst(&hours).iter().map(|h| h.hour).collect::<Vec<_>>(), [2, 4, 1]);
        assert!(worst(&hours[..1]).is_empty());
    }
}
