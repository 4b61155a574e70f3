//! `tengyun lab`: recorded fleets through the very engine, beside yardsticks.

mod journal;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::Serialize;
use tengyun_engine::days::Stretch;
use tengyun_lab::arrivals;
use tengyun_lab::cloudsim::{self, Detector};
use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::pack;
use tengyun_lab::replay::{Choice, Replay, Replayed, replay};
use tengyun_lab::rules::Honest;
use tengyun_lab::trace::{self, Rows, STEP_SECS, Trace};
use tengyun_model::{At, Millis};
use tengyun_scheduler::PastDays;

use crate::failure::Failure;
use crate::message::{Message, lab_table};
use crate::output::{self, Format, clean_lines, show};

/// What `lab` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    verb: LabVerb,
}

#[derive(Debug, clap::Subcommand)]
enum LabVerb {
    /// Replay a recorded fleet under one policy
    Replay(ReplayArgs),
    /// Pack a list of instances on a list of nodes, one after the other
    Pack(PackArgs),
    /// Run the experiment of Beloglazov and Buyya on a recorded day
    Cloudsim(CloudsimArgs),
    /// Let instances come and go by a recorded list, beside the fewest nodes that could hold them
    Arrivals(ArrivalsArgs),
    /// Replay a scheduler's journal; with --replan, plan a recorded day anew
    Journal(journal::JournalArgs),
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// A recorded trace; several follow one another in time
    #[arg(long = "trace", value_name = "DIR", required = true)]
    traces: Vec<PathBuf>,
    /// The layout of the traces [default: seen by their files]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<trace::Format>,
    /// Lay several traces over each other instead
    #[arg(long)]
    stack: bool,
    /// The size of every node
    #[arg(long, value_name = "CORES/GIB", value_parser = shape)]
    node: Shape,
    /// How memory counts: none, request, used or forecast
    #[arg(long, value_name = "MODE", default_value = "request", value_parser = memory)]
    memory: MemoryMode,
    /// The share of node-time above the ceiling that is allowed [default: that of the policy, mostly 1]
    #[arg(long, value_name = "PCT", value_parser = percent)]
    budget: Option<f64>,
    /// default, energy, careful, ffd-N, nsigma-N, rc-P, max, borg, oracle-24h, oracle-1h or a file of knobs
    #[arg(long, value_name = "POLICY", default_value = "default")]
    policy: String,
    /// Fill what is left below the target with harvest work
    #[arg(long, value_name = "WORK", value_parser = ["pool"])]
    harvest: Option<String>,
    /// Charge power-on and moves, and move in the window only
    #[arg(long)]
    honest: bool,
    /// Hours of the day in which anything may be moved; with --honest [default: 22-6]
    #[arg(long, value_name = "FROM-UNTIL", value_parser = window, requires = "honest")]
    window: Option<(u8, u8)>,
    /// File that says on which days people rest and work, and in which time zone; without one every week
    /// has five working days
    #[arg(long, value_name = "FILE")]
    calendar: Option<PathBuf>,
    /// Time zone of the days, such as Asia/Shanghai [default: that of the calendar, else UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Option<TimeZone>,
    /// The share of instances that never move
    #[arg(long, value_name = "PCT", default_value = "0", value_parser = percent)]
    immovable: f64,
    /// Write a report with plots
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct PackArgs {
    /// Nodes: `sn,cpu_milli,memory_mib,gpu,model`
    #[arg(long, value_name = "FILE.csv")]
    nodes: PathBuf,
    /// Instances: `name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec`
    #[arg(long, value_name = "FILE.csv")]
    instances: PathBuf,
    /// default, energy, careful or a file of knobs; the list's own rules come before the policy's
    #[arg(long, value_name = "POLICY", default_value = "default")]
    policy: String,
}

#[derive(Debug, clap::Args)]
struct ArrivalsArgs {
    /// A directory with `instances.parquet` that has the columns `arrive_s` and `depart_s`
    #[arg(long = "trace", value_name = "DIR")]
    trace: PathBuf,
    /// The size of every node
    #[arg(long, value_name = "CORES/GIB", value_parser = shape)]
    node: Shape,
    /// default, energy, careful or a file of knobs
    #[arg(long, value_name = "POLICY", default_value = "default")]
    policy: String,
}

#[derive(Debug, clap::Args)]
struct CloudsimArgs {
    /// A recorded day
    #[arg(long = "trace", value_name = "DIR")]
    trace: PathBuf,
    /// thr-mmt, iqr-mmt, mad-mmt, lr-mmt, default, energy, careful or a file of knobs
    #[arg(long, value_name = "POLICY", default_value = "default")]
    policy: String,
    /// Count memory after the first placement too
    #[arg(long)]
    honour_memory: bool,
}

/// Runs an experiment.
pub(crate) fn run(args: LabArgs, format: Format) -> Result<(), Failure> {
    match args.verb {
        LabVerb::Replay(args) => run_replay(&args, format),
        LabVerb::Pack(args) => {
            let knobs = engine(&args.policy, &Message::LabPacks {}.said())?;
            let packed = pack::pack(&args.nodes, &args.instances, &knobs).map_err(usage)?;
            show_figures(format, &packed.figures, &of_rows(packed.rows))
        }
        LabVerb::Cloudsim(args) => run_cloudsim(&args, format),
        LabVerb::Arrivals(args) => run_arrivals(&args, format),
        LabVerb::Journal(args) => journal::run(&args, format),
    }
}

fn run_replay(args: &ReplayArgs, format: Format) -> Result<(), Failure> {
    let trace = joined(&args.traces, args.format, args.stack)?;
    let window = args.window.unwrap_or(Honest::DEFAULT.window);
    let honest = args.honest.then_some(Honest { window, ..Honest::DEFAULT });
    let wish = Replay {
        budget_pct: args.budget,
        choice: Choice::parse(&args.policy).map_err(usage)?,
        harvest: args.harvest.is_some(),
        honest,
        immovable_pct: args.immovable,
        days: days(args, &trace)?,
        ..Replay::new(args.node, args.memory)
    };
    let replayed = replay(&trace, &wish).map_err(usage)?;
    if let Some(path) = &args.report {
        write(path, &tengyun_lab::report::replay(&trace.name, &args.policy, &replayed))?;
    }
    let json = json(&replayed.figures)?;
    show(format, || table(&replayed), &json)
}

/// Says what is told of days while a trace lasts; nothing where neither a calendar nor a zone is given.
fn days(args: &ReplayArgs, trace: &Trace) -> Result<Vec<(At, Vec<Stretch>)>, Failure> {
    if args.calendar.is_none() && args.zone.is_none() {
        return Ok(Vec::new());
    }
    let days = PastDays::open(args.calendar.as_deref(), args.zone.clone()).map_err(usage)?;
    let begin = trace.begin_secs.ok_or_else(|| Failure::Usage(Message::LabNoBegin {}.said()))?;
    let steps = u64::try_from(trace.steps()).unwrap_or(u64::MAX);
    let begin = At::default().after(Millis::from_secs(begin));
    Ok(days.told(begin, begin.after(Millis::from_secs(STEP_SECS.saturating_mul(steps)))))
}

fn table(replayed: &Replayed) -> String {
    clean_lines(&lab_table(&replayed.table(), &replayed.notes))
}

fn run_cloudsim(args: &CloudsimArgs, format: Format) -> Result<(), Failure> {
    let trace = trace::read(&args.trace, None).map_err(usage)?;
    let policy = match Detector::parse(&args.policy) {
        Some(detector) => cloudsim::Policy::Theirs(detector),
        None => match Choice::parse(&args.policy).map_err(usage)? {
            Choice::Engine(knobs) => cloudsim::Policy::Ours(knobs),
            Choice::Yardstick(_) => {
                return Err(Failure::Usage(Message::CloudsimKnows {}.said()));
            }
        },
    };
    let figures = cloudsim::run(&trace, &policy, args.honour_memory).map_err(usage)?;
    let (share, bad) = (trace.coverage_pct(), trace.rows.bad);
    show_figures(format, &figures, &format!("{share:.2} % ({bad} bad rows)"))
}

fn run_arrivals(args: &ArrivalsArgs, format: Format) -> Result<(), Failure> {
    let knobs = engine(&args.policy, &Message::LabPlaces {}.said())?;
    let list = arrivals::read(&args.trace).map_err(usage)?;
    let name = args.trace.display().to_string();
    let figures = arrivals::play(&name, &list, args.node, &knobs).map_err(usage)?;
    // A list with a bad row is refused: when its instance comes and goes is not known.
    let rows = Rows { read: figures.instances.saturating_add(figures.unfit), bad: 0 };
    show_figures(format, &figures, &of_rows(rows))
}

/// Says how much of a list was used.
fn of_rows(rows: Rows) -> String {
    let used = rows.read.saturating_sub(rows.bad);
    format!("{used} of {} rows ({} bad rows)", rows.read, rows.bad)
}

/// Returns the knobs of a policy of ours, where only our engine can do what is asked.
pub(crate) fn engine(policy: &str, what: &str) -> Result<BTreeMap<String, u64>, Failure> {
    match Choice::parse(policy).map_err(usage)? {
        Choice::Engine(knobs) => Ok(knobs),
        Choice::Yardstick(_) => Err(Failure::Usage(Message::LabByEngine { what: &what }.said())),
    }
}

/// Reads traces and joins them.
pub(crate) fn joined(
    paths: &[PathBuf],
    format: Option<trace::Format>,
    stack: bool,
) -> Result<Trace, Failure> {
    let read = |path: &PathBuf| trace::read(path, format).map_err(usage);
    let mut traces: Vec<Trace> = paths.iter().map(read).collect::<Result<_, _>>()?;
    match (traces.len(), stack) {
        (1, _) => Ok(traces.remove(0)),
        (_, true) => Ok(Trace::stacked(traces)),
        (_, false) => Ok(Trace::following(&traces)),
    }
}

/// Shows figures: one line each for people, and what they were made of; one object for machines.
fn show_figures(format: Format, figures: &impl Serialize, coverage: &str) -> Result<(), Failure> {
    let json = json(figures)?;
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(json.clone()).map_err(|e| Failure::internal(&e))?;
    let line = |(name, value): (&String, &serde_json::Value)| format!("{name:<24}{value}");
    let coverage = format!("{:<24}{coverage}", "coverage");
    let table = || output::joined(fields.iter().map(line).chain([coverage.clone()]));
    show(format, table, &json)
}

/// Makes JSON of figures.
pub(crate) fn json(figures: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(figures).map_err(|e| Failure::internal(&e))
}

/// Writes a report.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| {
        let file = path.display();
        Failure::Internal(Message::CannotWrite { file: &file, error: &error }.said())
    })
}

/// What a person asked for cannot be done so.
pub(crate) fn usage(error: impl std::error::Error) -> Failure {
    Failure::Usage(crate::failure::chain(&error))
}

pub(crate) fn format(text: &str) -> Result<trace::Format, String> {
    trace::Format::parse(text).ok_or_else(|| {
        let names: Vec<&str> = trace::Format::ALL.iter().map(|(name, _)| *name).collect();
        Message::OneOf { list: &names.join(", ") }.said()
    })
}

pub(crate) fn shape(text: &str) -> Result<Shape, String> {
    Shape::parse(text).ok_or_else(|| Message::GiveShape {}.said())
}

pub(crate) fn memory(text: &str) -> Result<MemoryMode, String> {
    MemoryMode::parse(text).ok_or_else(|| Message::GiveMemoryOrForecast {}.said())
}

pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let value = text.trim_end_matches('%').trim().parse().ok();
    value.filter(|v| (0.0..=100.0).contains(v)).ok_or_else(|| Message::GivePercent {}.said())
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| Message::GiveZone {}.said())
}

fn window(text: &str) -> Result<(u8, u8), String> {
    let hours = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let valid = |(from, until): &(u8, u8)| *from < 24 && *until <= 24;
    hours.filter(valid).ok_or_else(|| Message::GiveWindow {}.said())
}

#[cfg(test)]
mod tests {
    use tengyun_model::DayKind;

    use super::*;

    #[test]
    fn options_are_read_with_their_units() {
        assert_eq!(percent("5 %"), Ok(5.0));
        assert!(percent("101").is_err() && percent("nan").is_err());
        assert_eq!(window("22-6"), Ok((22, 6)));
        assert!(window("22").is_err() && window("24-6").is_err());
        assert!(format("excel").unwrap_err().contains("bitbrains"));
        assert!(zone("Asia/Shanghai").is_ok() && zone("UTC").is_ok());
        assert!(zone("Mars/Base").unwrap_err().contains("Asia/Shanghai"));
    }

    /// Two days of a trace that begins at a moment, or at one that is not known.
    fn told(begin_secs: Option<u64>, given: &[&str]) -> Result<Vec<(At, Vec<Stretch>)>, Failure> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: ReplayArgs,
        }
        let line = ["replay", "--trace", "t", "--node", "8/32"].iter().chain(given);
        let line: Line = clap::Parser::try_parse_from(line).unwrap();
        let cpu = trace::Series::empty(1, 2 * trace::DAY_STEPS);
        days(&line.args, &Trace { cpu, begin_secs, ..Trace::default() })
    }

    #[test]
    fn a_calendar_and_a_zone_are_told_day_by_day_or_refused_with_the_reason() {
        use DayKind::{Rest, Working};
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        // 2026-09-30 at 10:00 in Shanghai, a Wednesday; the day after it is a holiday.
        let (begin, refused) = (1_790_733_600, |error: Failure| error.to_string());
        fs::write(path, "zone Asia/Shanghai\nrest 2026-10-01..2026-10-07\n").unwrap();
        let all = told(Some(begin), &["--calendar", path]).unwrap();
        let days: Vec<(u64, DayKind)> =
            all.iter().map(|(at, told)| (at.millis() / 1000 - begin, told[1].kind)).collect();
        let hours = |count: u64| count * 3600;
        assert_eq!(days, [(0, Working), (hours(14), Rest), (hours(38), Rest)]);
        // A zone that is given goes before that of the file.
        let all = told(Some(begin), &["--calendar", path, "--zone", "UTC"]).unwrap();
        assert_eq!(all[1].0.millis() / 1000 - begin, hours(22));
        let all = told(Some(begin), &["--zone", "Asia/Shanghai"]).unwrap();
        assert_eq!(all.iter().map(|(_, told)| told[1].kind).max(), Some(Working));
        assert_eq!(told(None, &[]).unwrap(), []);
        let unknown = refused(told(None, &["--zone", "UTC"]).unwrap_err());
        assert!(unknown.contains("does not say when it begins"), "{unknown}");
        fs::write(path, "zone UTC\nworked 2026-10-10\n").unwrap();
        let broken = refused(told(Some(begin), &["--calendar", path]).unwrap_err());
        assert!(broken.contains(path) && broken.contains("line 2: "), "{broken}");
        let missing = refused(told(Some(begin), &["--calendar", "/no/such"]).unwrap_err());
        assert!(missing.contains("cannot read the calendar /no/such"), "{missing}");
    }
}
