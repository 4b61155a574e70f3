//! Rollouts and runs to and from journal and snapshot messages.

use tengyun_engine::days::Stretch;
use tengyun_engine::{
    Command, CronImage, Fate, RevisionNote, RolloutImage, RunImage, RunOutcome, Stage, Steer,
    Verdict, WorkloadImage,
};
use tengyun_model::{At, DayKind, InstanceId, Revision, Said, WorkloadId};
use tengyun_proto::convert::said;
use tengyun_proto::v1::{self, journal_entry as wire};

use super::codec::{CodecError, operation};

/// Encodes a command about rollouts, runs and windows.
pub(super) fn to_wire(command: &Command) -> wire::Command {
    match command {
        Command::JudgeRollout { workload, revision, verdict, why } => {
            wire::Command::JudgeRollout(v1::JudgeRollout {
                workload: workload.get(),
                revision: revision.get(),
                verdict: match verdict {
                    Verdict::Complete => v1::RolloutVerdict::Complete,
                    Verdict::Return => v1::RolloutVerdict::Return,
                    Verdict::Halt => v1::RolloutVerdict::Halt,
                }
                .into(),
                why: why.to_string(),
                why_said: said::to_wire(why),
            })
        }
        Command::SteerRollout { operation, key, steer } => {
            let (steer, revision) = match steer {
                Steer::Pause => (v1::RolloutSteer::Pause, None),
                Steer::Resume => (v1::RolloutSteer::Resume, None),
                Steer::Undo(to) => (v1::RolloutSteer::Undo, to.map(Revision::get)),
            };
            wire::Command::SteerRollout(v1::SteerRollout {
                operation_id: operation.to_string(),
                key: Some(key.into()),
                steer: steer.into(),
                revision,
            })
        }
        Command::FireRun { workload, scheduled, missed } => wire::Command::FireRun(v1::FireRun {
            workload: workload.get(),
            scheduled_millis: scheduled.millis(),
            missed: *missed,
        }),
        Command::NoteWindows(windows) => {
            let windows = windows.iter().map(|(workload, (from, until))| v1::WorkloadWindow {
                workload: workload.get(),
                from_millis: from.millis(),
                until_millis: until.millis(),
            });
            wire::Command::NoteWindows(v1::NoteWindows { windows: windows.collect() })
        }
        Command::NoteDays(stretches) => {
            let stretch = |stretch: &Stretch| v1::DayStretch {
                from_millis: stretch.from.millis(),
                minute: stretch.minute.into(),
                rest: stretch.kind == DayKind::Rest,
            };
            let stretches = stretches.iter().map(stretch).collect();
            wire::Command::NoteDays(v1::NoteDays { stretches })
        }
        other => unreachable!("{other:?} is encoded with the others"),
    }
}

/// Decodes a command about rollouts, runs and windows.
pub(super) fn from_wire(command: wire::Command) -> Result<Command, CodecError> {
    match command {
        wire::Command::JudgeRollout(m) => judge_from_wire(m),
        wire::Command::SteerRollout(m) => steer_from_wire(m),
        wire::Command::FireRun(m) => Ok(fire_from_wire(&m)),
        wire::Command::NoteWindows(m) => Ok(windows_from_wire(m)),
        wire::Command::NoteDays(m) => days_from_wire(m),
        _ => Err(CodecError::Unknown("the command")),
    }
}

fn judge_from_wire(wire: v1::JudgeRollout) -> Result<Command, CodecError> {
    let verdict = match wire.verdict() {
        v1::RolloutVerdict::Complete => Verdict::Complete,
        v1::RolloutVerdict::Return => Verdict::Return,
        v1::RolloutVerdict::Halt => Verdict::Halt,
        v1::RolloutVerdict::Unspecified => {
            return Err(CodecError::Unknown("the verdict on a rollout"));
        }
    };
    let (workload, revision) = (WorkloadId::new(wire.workload), Revision::new(wire.revision));
    let why = why_from_wire(wire.why_said.as_ref(), wire.why);
    Ok(Command::JudgeRollout { workload, revision, verdict, why })
}

/// Takes a reason; older journals have it in English words only.
fn why_from_wire(said: Option<&v1::Said>, words: String) -> Said {
    said.and_then(said::from_wire).unwrap_or_else(|| Said::verbatim(words))
}

fn steer_from_wire(wire: v1::SteerRollout) -> Result<Command, CodecError> {
    let steer = match wire.steer() {
        v1::RolloutSteer::Pause => Steer::Pause,
        v1::RolloutSteer::Resume => Steer::Resume,
        v1::RolloutSteer::Undo => Steer::Undo(wire.revision.map(Revision::new)),
        v1::RolloutSteer::Unspecified => {
            return Err(CodecError::Unknown("what is wished of a rollout"));
        }
    };
    Ok(Command::SteerRollout {
        operation: operation(&wire.operation_id)?,
        key: wire.key.ok_or(CodecError::Missing("key"))?.try_into()?,
        steer,
    })
}

fn fire_from_wire(wire: &v1::FireRun) -> Command {
    Command::FireRun {
        workload: WorkloadId::new(wire.workload),
        scheduled: At::from_millis(wire.scheduled_millis),
        missed: wire.missed,
    }
}

fn windows_from_wire(wire: v1::NoteWindows) -> Command {
    let window = |w: v1::WorkloadWindow| {
        let times = (At::from_millis(w.from_millis), At::from_millis(w.until_millis));
        (WorkloadId::new(w.workload), times)
    };
    Command::NoteWindows(wire.windows.into_iter().map(window).collect())
}

fn days_from_wire(wire: v1::NoteDays) -> Result<Command, CodecError> {
    let stretch = |s: v1::DayStretch| -> Result<Stretch, CodecError> {
        let minute = u16::try_from(s.minute).map_err(|_| CodecError::Unknown("the time of day"))?;
        let kind = if s.rest { DayKind::Rest } else { DayKind::Working };
        Ok(Stretch { from: At::from_millis(s.from_millis), minute, kind })
    };
    Ok(Command::NoteDays(wire.stretches.into_iter().map(stretch).collect::<Result<_, _>>()?))
}

/// Returns the place of a word in its list, which is its number in snapshots.
fn place<T: PartialEq>(all: &[T], word: &T) -> u32 {
    let at = all.iter().position(|each| each == word).expect("the list has every word");
    u32::try_from(at).expect("lists of words are short")
}

fn word<T: Copy>(all: &[T], at: u32, what: &'static str) -> Result<T, CodecError> {
    let at = usize::try_from(at).ok();
    at.and_then(|at| all.get(at)).copied().ok_or(CodecError::Unknown(what))
}

/// Adds what a workload has of rollouts and runs.
pub(super) fn workload_to_wire(workload: &WorkloadImage) -> v1::SnapshotWorkload {
    v1::SnapshotWorkload {
        good: workload.good.map_or(0, Revision::get),
        rollout: workload.rollout.as_ref().map(|rollout| v1::SnapshotRollout {
            stage: place(&Stage::ALL, &rollout.stage),
            began_millis: rollout.began.millis(),
            failures: rollout.failures,
            why: rollout.why.to_string(),
            why_said: said::to_wire(&rollout.why),
        }),
        notes: workload
            .notes
            .iter()
            .map(|(revision, note)| v1::SnapshotRevisionNote {
                revision: revision.get(),
                applied_millis: note.applied.millis(),
                fate: place(&Fate::ALL, &note.fate),
                why: note.why.to_string(),
                why_said: said::to_wire(&note.why),
            })
            .collect(),
        runs: workload.cron.runs.iter().map(run_to_wire).collect(),
        fired_millis: workload.cron.fired.millis(),
        runs_total: workload.cron.total,
        ..v1::SnapshotWorkload::default()
    }
}

/// Returns the last good revision. A snapshot that speaks of no rollout at all is older than
/// rollouts, and then what ran counts as good.
pub(super) fn good_from_wire(wire: &v1::SnapshotWorkload) -> Option<Revision> {
    let known = wire.good > 0 || wire.rollout.is_some();
    let good = if known { wire.good } else { wire.revision };
    Some(Revision::new(good)).filter(|good| good.get() > 0)
}

pub(super) fn rollout_from_wire(
    wire: Option<v1::SnapshotRollout>,
) -> Result<Option<RolloutImage>, CodecError> {
    let Some(wire) = wire else { return Ok(None) };
    Ok(Some(RolloutImage {
        stage: word(&Stage::ALL, wire.stage, "the stage of a rollout")?,
        began: At::from_millis(wire.began_millis),
        failures: wire.failures,
        why: why_from_wire(wire.why_said.as_ref(), wire.why),
    }))
}

pub(super) fn note_from_wire(
    wire: v1::SnapshotRevisionNote,
) -> Result<(Revision, Box<RevisionNote>), CodecError> {
    let note = RevisionNote {
        applied: At::from_millis(wire.applied_millis),
        fate: word(&Fate::ALL, wire.fate, "the fate of a revision")?,
        why: why_from_wire(wire.why_said.as_ref(), wire.why),
    };
    Ok((Revision::new(wire.revision), Box::new(note)))
}

pub(super) fn cron_from_wire(
    fired: u64,
    total: u32,
    runs: Vec<v1::SnapshotRun>,
) -> Result<CronImage, CodecError> {
    let runs = runs.into_iter().map(run_from_wire).collect::<Result<_, _>>()?;
    Ok(CronImage { fired: At::from_millis(fired), total, runs })
}

fn run_to_wire(run: &RunImage) -> v1::SnapshotRun {
    v1::SnapshotRun {
        number: run.number,
        scheduled_millis: run.scheduled.millis(),
        began_millis: run.began.millis(),
        ended_millis: run.ended.map(At::millis),
        outcome: place(&RunOutcome::ALL, &run.outcome),
        instance: run.instance.map(InstanceId::get),
        why: run.why.to_string(),
        why_said: said::to_wire(&run.why),
    }
}

fn run_from_wire(wire: v1::SnapshotRun) -> Result<RunImage, CodecError> {
    Ok(RunImage {
        number: wire.number,
        scheduled: At::from_millis(wire.scheduled_millis),
        began: At::from_millis(wire.began_millis),
        ended: wire.ended_millis.map(At::from_millis),
        outcome: word(&RunOutcome::ALL, wire.outcome, "the outcome of a run")?,
        instance: wire.instance.map(InstanceId::new),
        why: why_from_wire(wire.why_said.as_ref(), wire.why),
    })
}

#[cfg(test)]
mod tests {
    use tengyun_engine::Entry;

    use super::*;
    use crate::journal::codec::{decode, encode};

    #[test]
    fn every_command_about_rollouts_runs_and_windows_survives() {
        let (workload, revision) = (WorkloadId::new(3), Revision::new(2));
        let mut commands = vec![
            Command::FireRun { workload, scheduled: At::from_millis(9), missed: true },
            Command::NoteWindows([(workload, (At::from_millis(1), At::from_millis(2)))].into()),
            Command::NoteDays(vec![
                Stretch { from: At::from_millis(5), minute: 0, kind: DayKind::Rest },
                Stretch { from: At::from_millis(9), minute: 61, kind: DayKind::Working },
            ]),
        ];
        for verdict in [Verdict::Complete, Verdict::Return, Verdict::Halt] {
            let why = tengyun_model::said!(WhyLate, 7_u64, 120_u64);
            commands.push(Command::JudgeRollout { workload, revision, verdict, why });
        }
        for steer in [Steer::Pause, Steer::Resume, Steer::Undo(None), Steer::Undo(Some(revision))] {
            let (operation, key) = (tengyun_model::OperationId::new(5), "a/b/c".parse().unwrap());
            commands.push(Command::SteerRollout { operation, key, steer });
        }
        let entry = |command| Entry { at: At::from_millis(1), by: None, command };
        let entries: Vec<Entry> = commands.into_iter().map(entry).collect();
        assert_eq!(decode(&encode(&entries)).unwrap(), entries);
    }

    #[test]
    fn a_snapshot_older_than_rollouts_counts_what_ran_as_good() {
        let old = v1::SnapshotWorkload { revision: 4, ..v1::SnapshotWorkload::default() };
        assert_eq!(good_from_wire(&old), Some(Revision::new(4)));
        let rollout = Some(v1::SnapshotRollout::default());
        assert_eq!(good_from_wire(&v1::SnapshotWorkload { rollout, ..old }), None);
    }
}
