//! `tengyun lab journal`: a scheduler's journal replayed; a recorded day planned anew beside what
//! happened.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use tengyun_lab::fleet::Shape;
use tengyun_lab::journal::Journal;
use tengyun_lab::note::Note;
use tengyun_lab::replan::{Branch, Compared, ReplanError, SideFigures, Variant, html, replan};
use tengyun_model::{At, Millis, NodeName, Sequence};
use tengyun_scheduler::{
    BackedUpJournal, JournalReader, KeptSnapshot, Recording, RecordingError, state_digest,
};

use super::{engine, shape, usage, write};
use crate::describe::lines;
use crate::failure::{Failure, chain};
use crate::message::{Message, lab_label, lab_note, word};
use crate::output::{Format, clean_lines, joined, show, table, time};
use crate::text::{Language, heading};

/// The most nodes of one --add-node.
const ADDED_MAX: usize = 100_000;

/// What `lab journal` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct JournalArgs {
    /// The journal, a scheduler's state directory, or what `tengyun backup` made; it is only read, its
    /// scheduler may be running
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Plan anew, beside what happened; needs --volatile
    #[arg(long, requires = "volatile")]
    replan: bool,
    /// The directory that the scheduler recorded in (`--record-volatile`)
    #[arg(long, value_name = "DIR", requires = "replan")]
    volatile: Option<PathBuf>,
    /// What to plan by: default, energy, careful or a file of knobs; several are compared [default: as recorded]
    #[arg(long = "policy", value_name = "POLICY", requires = "replan")]
    policies: Vec<String>,
    /// From when on to plan anew: the number of an entry, a time such as 2027-01-04T08:00:00Z, or
    /// so long after the beginning, such as +90m [default: from the beginning of the recording]
    #[arg(long, value_name = "WHEN", requires = "replan", value_parser = branch)]
    at: Option<Branch>,
    /// Add a node, or N of them, from then on
    #[arg(long = "add-node", value_name = "CORES/GIB[*N]", requires = "replan", value_parser = shapes)]
    add: Vec<Added>,
    /// Take a node away from then on: it is drained by force
    #[arg(long = "remove-node", value_name = "NAME", requires = "replan")]
    remove: Vec<NodeName>,
    /// The length of a measured step
    #[arg(long, value_name = "SECONDS", requires = "replan", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    step: u64,
    /// Write the comparison with plots
    #[arg(long, value_name = "FILE.html", requires = "replan")]
    report: Option<PathBuf>,
}

/// Nodes of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Added {
    shape: Shape,
    count: usize,
}

/// Replays a journal, or plans it anew.
pub(crate) fn run(args: &JournalArgs, format: Format) -> Result<(), Failure> {
    let taken = BackedUpJournal::take_out(&args.journal).map_err(usage)?;
    let journal = taken.as_ref().map_or(args.journal.as_path(), BackedUpJournal::directory);
    let reader = JournalReader::open(journal).map_err(usage)?;
    match &args.volatile {
        Some(directory) if args.replan => {
            let recording = Recording::open(reader, directory).map_err(usage)?;
            run_replan(args, recording, format)
        }
        Some(_) | None => run_replay(args, reader, format),
    }
}

fn run_replay(args: &JournalArgs, reader: JournalReader, format: Format) -> Result<(), Failure> {
    let last = reader.end();
    let kept = reader.snapshots().map_err(usage)?;
    let mut compared: BTreeMap<Sequence, bool> = BTreeMap::new();
    let mut journal = Journal::default();
    let fault = journal
        .replay(reader, |sequence, state| {
            for snapshot in kept.iter().filter(|k| k.sequence == sequence) {
                compared.insert(sequence, snapshot.intact && snapshot.is(state));
            }
        })
        .err();
    let snapshots: Vec<(&KeptSnapshot, &str)> =
        kept.iter().map(|k| (k, verdict(k, compared.get(&k.sequence).copied()))).collect();
    let fault = fault.map(|error| chain(&error));
    let digest = state_digest(&journal.state).to_string();
    let text = || {
        let mut rows = found(&journal);
        rows.insert(0, ("journal", args.journal.display().to_string()));
        let whole = Message::JournalWhole { entries: &last }.said();
        rows.push(("integrity", fault.clone().unwrap_or(whole)));
        rows.push(("state", format!("sha256 {digest}")));
        rows.extend(snapshots.iter().map(|(kept, verdict)| {
            let (entry, verdict) = (&kept.sequence, lab_label(verdict));
            ("snapshot", Message::SnapshotIs { entry, verdict: &verdict }.said())
        }));
        lines(&rows)
    };
    let json = summary(&journal, &digest, fault.as_deref(), &snapshots);
    show(format, text, &json)?;
    if let Some(fault) = fault {
        return Err(Failure::Refused(fault));
    }
    match snapshots.iter().find(|(_, verdict)| *verdict != SAME) {
        Some((kept, verdict)) => {
            let (entry, verdict) = (&kept.sequence, lab_label(verdict));
            Err(Failure::Refused(Message::SnapshotNot { entry, verdict: &verdict }.said()))
        }
        None => Ok(()),
    }
}

/// What is said of a snapshot that is the state.
const SAME: &str = "is the same state, byte for byte";

fn verdict(snapshot: &KeptSnapshot, same: Option<bool>) -> &'static str {
    match (snapshot.intact, same) {
        (false, _) => "is damaged",
        (true, Some(true)) => SAME,
        (true, Some(false)) => "is another state",
        (true, None) => "is of an entry that is not there",
    }
}

fn found(journal: &Journal) -> Vec<(&'static str, String)> {
    let (nodes, workloads, instances) = journal.counts();
    let counted = |counts: &BTreeMap<&'static str, u64>| {
        let one = |(word, count): (&&str, &u64)| format!("{count} {word}");
        counts.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let refused: u64 = journal.refused.values().sum();
    let (from, to) = journal.span.unwrap_or_default();
    vec![
        ("entries", format!("{} ({})", journal.entries, counted(&journal.kinds))),
        ("span", Message::FromTo { from: &time(from.millis()), to: &time(to.millis()) }.said()),
        ("nodes", nodes.to_string()),
        ("workloads", workloads.to_string()),
        ("instances", instances.to_string()),
        ("moves", Message::MovesHeld { held: &journal.moves.0, stale: &journal.moves.1 }.said()),
        ("refused", if refused == 0 { word("none") } else { counted(&journal.refused) }),
    ]
}

fn summary(
    journal: &Journal,
    digest: &str,
    fault: Option<&str>,
    snapshots: &[(&KeptSnapshot, &str)],
) -> Value {
    let (nodes, workloads, instances) = journal.counts();
    let (from, to) = journal.span.unwrap_or_default();
    let snapshot = |(kept, verdict): &(&KeptSnapshot, &str)| {
        json!({
            "sequence": kept.sequence.get(),
            "sha256": kept.digest().to_string(),
            "same": *verdict == SAME,
            "verdict": verdict,
        })
    };
    json!({
        "entries": journal.entries,
        "kinds": journal.kinds,
        "from_millis": from.millis(),
        "to_millis": to.millis(),
        "epoch": journal.state.epoch().get(),
        "nodes": nodes,
        "workloads": workloads,
        "instances": instances,
        "moves_held": journal.moves.0,
        "moves_stale": journal.moves.1,
        "refused": journal.refused,
        "fault": fault,
        "state_sha256": digest,
        "snapshots": snapshots.iter().map(snapshot).collect::<Vec<_>>(),
    })
}

fn run_replan(args: &JournalArgs, mut recording: Recording, format: Format) -> Result<(), Failure> {
    let variants = variants(args)?;
    let (branch, step) = (args.at.unwrap_or(Branch::Beginning), Millis::from_secs(args.step));
    let entries = recording.by_ref().map(|read| read.map(|r| (r.sequence, r.entry)));
    let compared = replan::<RecordingError>(entries, branch, step, &variants);
    let mut compared = compared.map_err(|error| match error {
        ReplanError::Source(error) => Failure::Refused(chain(&error)),
        other => usage(other),
    })?;
    if recording.torn() > 0 {
        let torn = recording.torn();
        compared.notes.push(Note::new(
            format!("记录中有 {torn} 段残缺或损坏"),
            format!("{torn} parts of the recording were torn or damaged"),
        ));
    }
    if let Some(path) = &args.report {
        write(path, &html(&args.journal.display().to_string(), &compared))?;
    }
    let json = json!({
        "volatile_entries": recording.volatile(),
        "branch_sequence": compared.branch.get(),
        "branch_millis": compared.span.0.millis(),
        "to_millis": compared.span.1.millis(),
        "step_seconds": args.step,
        "sides": compared.sides.iter().map(|(figures, _)| figures).collect::<Vec<_>>(),
        "notes": compared.notes,
    });
    show(format, || side_by_side(&compared), &json)
}

fn variants(args: &JournalArgs) -> Result<Vec<Variant>, Failure> {
    let add: Vec<Shape> =
        args.add.iter().flat_map(|a| std::iter::repeat_n(a.shape, a.count)).collect();
    let variant = |name: String, knobs| Variant {
        name,
        knobs,
        add: add.clone(),
        remove: args.remove.clone(),
    };
    if args.policies.is_empty() {
        return Ok(vec![variant("planned anew".to_owned(), None)]);
    }
    let one = |name: &String| {
        let knobs = engine(name, &Message::LabPlans {}.said())?;
        Ok(variant(name.clone(), Some(knobs)))
    };
    args.policies.iter().map(one).collect()
}

/// One row of the comparison: its name and how to show it.
type Row = (&'static str, fn(&SideFigures) -> String);

fn side_by_side(compared: &Compared) -> String {
    let rows: [Row; 11] = [
        ("nodes in use, mean", |f| f.nodes_mean.to_string()),
        ("nodes in use, most", |f| f.nodes_max.to_string()),
        ("utilisation %", |f| f.utilisation_pct.to_string()),
        ("in band 60-80 %", |f| f.in_band_pct.to_string()),
        ("above 80 %", |f| f.above80_pct.to_string()),
        ("above 90 %", |f| f.above90_pct.to_string()),
        ("demand lost %", |f| f.demand_lost_pct.to_string()),
        ("moves", |f| f.moves.to_string()),
        ("instance-time waiting %", |f| f.waiting_pct.to_string()),
        ("energy kWh", |f| f.energy_kwh.to_string()),
        ("refused", |f| f.refused.to_string()),
    ];
    let names = compared.sides.iter().map(|(f, _)| f.name.to_uppercase());
    let figure = heading(Language::of_locale(), "FIGURE").to_owned();
    let headings: Vec<String> = std::iter::once(figure).chain(names).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let row = |(name, figure): &Row| {
        let cells = compared.sides.iter().map(|(f, _)| figure(f));
        std::iter::once(lab_label(name)).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    let (from, to) = compared.span;
    let (from, to) = (time(from.millis()), time(to.millis()));
    let span = Message::ComparedSpan { entry: &compared.branch, from: &from, to: &to }.said();
    let note = |note| Message::Note { note: &lab_note(note) }.said();
    let notes = joined(compared.notes.iter().map(note));
    clean_lines(&(span + "\n" + &table(&headings, &rows) + &notes))
}

fn branch(text: &str) -> Result<Branch, String> {
    let fault = || Message::GiveBranch {}.said();
    if let Some(after) = text.strip_prefix('+') {
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
        let parsed = units.iter().find_map(|(unit, secs)| {
            let count: u64 = after.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(*secs)
        });
        return parsed.map(|secs| Branch::After(Millis::from_secs(secs))).ok_or_else(fault);
    }
    if let Ok(sequence) = text.parse() {
        return Ok(Branch::Sequence(Sequence::new(sequence)));
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| fault())?;
    let millis = u64::try_from(at.as_millisecond()).map_err(|_| fault())?;
    Ok(Branch::At(At::from_millis(millis)))
}

fn shapes(text: &str) -> Result<Added, String> {
    let (size, count) = text.split_once('*').unwrap_or((text, "1"));
    let count = count.parse().ok().filter(|n| (1..=ADDED_MAX).contains(n));
    let count = count.ok_or_else(|| Message::GiveCount { most: &ADDED_MAX }.said())?;
    Ok(Added { shape: shape(size)?, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_an_entry_a_time_or_a_while() {
        assert_eq!(branch("12"), Ok(Branch::Sequence(Sequence::new(12))));
        assert_eq!(branch("+90m"), Ok(Branch::After(Millis::from_secs(5400))));
        let at = At::from_millis(1_799_020_800_000);
        assert_eq!(branch("2027-01-04T00:00:00Z"), Ok(Branch::At(at)));
        for bad in ["", "+", "+5", "+5w", "yesterday", "-3", "+99999999999999999999h"] {
            assert!(branch(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn added_nodes_have_a_size_and_a_count() {
        assert_eq!(shapes("32/128*3").map(|a| a.count), Ok(3));
        assert_eq!(shapes("32/128").map(|a| a.count), Ok(1));
        assert!(shapes("32/128*0").is_err() && shapes("32").is_err());
    }
}
