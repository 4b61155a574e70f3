//! Planning a recorded day anew: what happened beside what the engine would have made of it under
//! another policy, with other nodes, from some moment on.
//!
//! Facts and wishes are those of the recording; decisions, and what agents did about them, are made
//! anew: agents obey at once. What a copy of a workload used then it uses here, wherever it is. What
//! happened is only ever applied, never planned.

mod measure;
mod report;
mod side;

use std::collections::BTreeMap;

use serde::Serialize;
use tengyun_engine::{Command, Effect, Entry, Outcome, State};
use tengyun_model::{At, Mebibytes, Millicores, Millis, NodeId, NodeName, Sequence, WorkloadId};

use crate::fleet::Shape;
use crate::note::Note;
use crate::score::Scores;
use measure::Meter;
use side::Side;

pub use report::html;

/// What keeps a recording from being planned anew.
#[derive(Debug, thiserror::Error)]
pub enum ReplanError<E: std::error::Error + 'static> {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] E),
    /// It ends before the moment that was asked for.
    #[error("the recording ends before it: choose an earlier --at")]
    NeverReached,
    /// No node of this name is there at that moment.
    #[error("no node is called {0} at that moment")]
    UnknownNode(NodeName),
    /// The engine refused what must hold.
    #[error("the engine refused {what}: {refusal}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        refusal: String,
    },
}

/// From when on the engine plans anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// From the first volatile entry.
    Beginning,
    /// After this durable entry.
    Sequence(Sequence),
    /// From this moment.
    At(At),
    /// So long after the first volatile entry.
    After(Millis),
}

/// What is done differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// How it is called in tables.
    pub name: String,
    /// The knobs from then on; those of the recording where none are given.
    pub knobs: Option<BTreeMap<String, u64>>,
    /// Nodes that are added.
    pub add: Vec<Shape>,
    /// Nodes that are drained, by force.
    pub remove: Vec<NodeName>,
}

/// What one side came to: what happened, or one variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideFigures {
    /// Its name.
    pub name: String,
    /// Mean of nodes with instances.
    pub nodes_mean: f64,
    /// Most of them in a step.
    pub nodes_max: u64,
    /// Their mean utilisation.
    pub utilisation_pct: f64,
    /// Share of their time from 60 to 80 %.
    pub in_band_pct: f64,
    /// Share above 80 %.
    pub above80_pct: f64,
    /// Share above 90 %.
    pub above90_pct: f64,
    /// Demand above capacity; of what happened it is not known and 0.
    pub demand_lost_pct: f64,
    /// Instances moved.
    pub moves: u64,
    /// Share of wanted instance-time without a node.
    pub waiting_pct: f64,
    /// Energy of nodes with instances, by the power curve.
    pub energy_kwh: f64,
    /// Entries of the recording that did not fit any more.
    pub refused: u64,
}

/// What happened beside what would have been.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The last durable entry before the branch.
    pub branch: Sequence,
    /// The moments of the branch and of the last entry.
    pub span: (At, At),
    /// The length of a step.
    pub step: Millis,
    /// What happened, then each variant.
    pub sides: Vec<(SideFigures, Scores)>,
    /// What a reader should know.
    pub notes: Vec<Note>,
}

/// What the copies of workloads use, as their nodes reported it last.
pub(crate) type Copies = BTreeMap<(WorkloadId, u32), (Millicores, Mebibytes)>;

/// Plans a recording anew. Each item is a durable entry with its number, or a volatile one.
///
/// # Errors
/// See [`ReplanError`].
pub fn replan<E: std::error::Error + 'static>(
    entries: impl Iterator<Item = Result<(Option<Sequence>, Entry), E>>,
    branch: Branch,
    step: Millis,
    variants: &[Variant],
) -> Result<Compared, ReplanError<E>> {
    let mut replan = Replan {
        past: State::new(),
        begun: None,
        last: At::default(),
        copies: Copies::new(),
        meter: None,
        sides: Vec::new(),
        left_out: 0,
    };
    for read in entries {
        let (sequence, entry) = read?;
        if replan.meter.is_none() && replan.reached(branch, sequence, &entry) {
            replan.begin(entry.at, step, variants)?;
        }
        replan.take(&entry);
    }
    replan.finish(step)
}

struct Replan {
    past: State,
    /// The moment of the first volatile entry.
    begun: Option<At>,
    last: At,
    copies: Copies,
    /// Measures what happened, from the branch on.
    meter: Option<(Sequence, At, Meter)>,
    sides: Vec<Side>,
    /// Moves by operators, which name instances that may not be there.
    left_out: u64,
}

impl Replan {
    /// Says whether the branch lies right before an entry.
    fn reached(&mut self, branch: Branch, sequence: Option<Sequence>, entry: &Entry) -> bool {
        if sequence.is_none() {
            self.begun.get_or_insert(entry.at);
        }
        let Some(begun) = self.begun else { return false };
        match branch {
            Branch::Beginning => true,
            Branch::Sequence(wanted) => self.past.sequence() >= wanted,
            Branch::At(at) => entry.at >= at,
            Branch::After(time) => entry.at >= begun.after(time),
        }
    }

    fn begin<E: std::error::Error + 'static>(
        &mut self,
        at: At,
        step: Millis,
        variants: &[Variant],
    ) -> Result<(), ReplanError<E>> {
        self.meter = Some((self.past.sequence(), at, Meter::new(&self.past, step, at)));
        for variant in variants {
            self.sides.push(Side::branch(&self.past, variant, (at, step))?);
        }
        Ok(())
    }

    /// Applies an entry to what happened, and to what would have been.
    fn take(&mut self, entry: &Entry) {
        self.last = self.last.max(entry.at);
        if let Some((_, _, meter)) = &mut self.meter {
            meter.advance(&self.past, entry.at);
        }
        if let Command::ReportUsage { node, usage } = &entry.command {
            self.note_use(usage);
            if let Some((_, _, meter)) = &mut self.meter {
                meter.report(&self.past, *node, usage.cpu, usage.interval);
            }
        }
        self.left_out += u64::from(
            self.meter.is_some() && matches!(entry.command, Command::MoveInstance { .. }),
        );
        for side in &mut self.sides {
            side.mirror(&self.past, entry);
        }
        let registered = match self.past.apply(entry) {
            Outcome::Applied(Effect::Node(id)) => Some(id),
            Outcome::Applied(_) | Outcome::Refused(_) => None,
        };
        for side in &mut self.sides {
            side.take(entry, registered, &self.copies);
        }
    }

    /// Keeps what each copy used. While one is being replaced the older one does the work.
    fn note_use(&mut self, usage: &tengyun_model::NodeUsage) {
        for used in &usage.instances {
            let Some(instance) = self.past.instance(used.instance) else { continue };
            let copy = (instance.workload, instance.ordinal);
            if instance.replaces.is_none() || !self.copies.contains_key(&copy) {
                self.copies.insert(copy, (used.cpu, used.memory));
            }
        }
    }

    fn finish<E: std::error::Error + 'static>(
        self,
        step: Millis,
    ) -> Result<Compared, ReplanError<E>> {
        let Some((branch, begun, meter)) = self.meter else {
            return Err(ReplanError::NeverReached);
        };
        let happened = meter.finish(&self.past, self.last, ("what happened".to_owned(), 0));
        let mut notes = Vec::new();
        let (measured, held) = (happened.1.len(), self.sides.iter().map(|s| s.violations).sum());
        if measured == 0 {
            notes.push(Note::new(
                "该时刻之后没有节点上报，无法测量",
                "no node reported after that moment: nothing could be measured",
            ));
        }
        if self.left_out > 0 {
            let count = self.left_out;
            notes.push(Note::new(
                format!("未计入管理员的 {count} 次迁移：它们指定的是具体实例"),
                format!("{count} moves by operators were left out: they name instances"),
            ));
        }
        let held: u64 = held;
        if held > 0 {
            notes.push(Note::new(
                format!("复核拦下了 {held} 个计划"),
                format!("the second opinion held back {held} plans"),
            ));
        }
        let sides = self.sides.into_iter().map(|side| side.finish(self.last));
        Ok(Compared {
            branch,
            span: (begun, self.last),
            step,
            sides: std::iter::once(happened).chain(sides).collect(),
            notes,
        })
    }
}

/// Returns the place of a node in lists; nodes are numbered from 1.
pub(crate) fn place(node: NodeId) -> usize {
    usize::try_from(node.get()).unwrap_or(usize::MAX).saturating_sub(1)
}
