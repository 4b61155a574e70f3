//! The load: what each department's application uses through the demo's day. A recorded day where the
//! traces are, a generated set otherwise; either way every node stays under a tenth of its CPU.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tengyun_lab::trace::{self, Trace};

use crate::demo::player::{DEPARTMENTS, generated};
use crate::failure::Failure;
use crate::message::Message;

/// The recorded day that is played where it is there.
const RECORDED: &str = "../shared/traces/planetlab-20110303";
/// How long a point is played: either day passes in a little over three minutes.
const RECORDED_STEP: Duration = Duration::from_millis(700);
const GENERATED_STEP: Duration = Duration::from_secs(2);
/// How many recorded instances make up one department.
const MEMBERS: usize = 50;
/// The largest point of each department in millicores: those of the generated set.
const PEAKS: [u64; 4] = [20, 44, 44, 40];

/// The series of the departments, in millicores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// One for each department.
    pub(crate) series: Vec<Vec<u64>>,
    /// How long a point is played.
    pub(crate) step: Duration,
    /// What it was taken from.
    pub(crate) source: String,
}

impl Load {
    /// Takes the trace that was asked for, else the shared one, else the generated set.
    pub(crate) fn find(asked: Option<&PathBuf>) -> Result<Self, Failure> {
        let Some(dir) = asked else {
            let shared = trace::read(Path::new(RECORDED), None).ok();
            return Ok(shared.and_then(|t| Self::recorded(&t)).unwrap_or_else(Self::generated));
        };
        let trace = trace::read(dir, None).map_err(crate::lab::usage)?;
        Self::recorded(&trace).ok_or_else(|| {
            let needed = MEMBERS * PEAKS.len();
            let dir = dir.display();
            Failure::Usage(Message::TooFewInstances { dir: &dir, needed: &needed }.said())
        })
    }

    /// Sums up recorded instances in order and brings each sum under its peak.
    fn recorded(trace: &Trace) -> Option<Self> {
        let mut series = Vec::new();
        for (department, peak) in PEAKS.into_iter().enumerate() {
            let rows = department * MEMBERS..(department + 1) * MEMBERS;
            if rows.end > trace.instances.len() {
                return None;
            }
            let mut sum = vec![0_u64; trace.steps()];
            for row in rows {
                sum.iter_mut().zip(trace.cpu.held(row)).for_each(|(s, used)| *s += u64::from(used));
            }
            let most = sum.iter().copied().max().filter(|most| *most > 0)?;
            series.push(sum.into_iter().map(|used| used * peak / most).collect());
        }
        Some(Self { series, step: RECORDED_STEP, source: trace.name.clone() })
    }

    fn generated() -> Self {
        let count = u32::try_from(DEPARTMENTS.len()).unwrap_or(0);
        let series = (0..count).map(generated).collect();
        Self { series, step: GENERATED_STEP, source: Message::GeneratedSet {}.said() }
    }
}

#[cfg(test)]
mod tests {
    use tengyun_lab::generate::Statistics;

    use super::*;

    #[test]
    fn a_recorded_day_keeps_its_form_under_the_peaks() {
        let trace = Statistics { instances: 200, ..Statistics::PLANETLAB }.trace(3);
        let load = Load::recorded(&trace).unwrap();
        for (series, peak) in load.series.iter().zip(PEAKS) {
            assert_eq!(series.len(), trace.steps());
            assert_eq!(series.iter().max(), Some(&peak));
            assert!(series.iter().min() < Some(&peak), "a day is no constant");
        }
    }

    #[test]
    fn too_small_a_trace_is_refused_and_none_gives_the_generated_set() {
        let trace = Statistics { instances: 199, ..Statistics::PLANETLAB }.trace(3);
        assert_eq!(Load::recorded(&trace), None);
        let missing = PathBuf::from("/no/such/trace");
        assert!(Load::find(Some(&missing)).is_err());
        let generated = Load::generated();
        for (series, peak) in generated.series.iter().zip(PEAKS) {
            assert!(series.iter().all(|m| m <= &(peak + 2)), "{series:?} above {peak}");
        }
    }
}
