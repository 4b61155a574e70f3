//! The yardsticks beside the reference simulator `sim.py`, run here and now on the stacked days.
//!
//! It needs the shared traces, which may not be shipped, and Python with numpy, pandas and pyarrow.
//! Without them it says so and is skipped; `TENGYUN_LAB_REFERENCE` names the directory that holds
//! `traces` and `reference` and turns a skip into a failure; `TENGYUN_LAB_PYTHON` names the
//! interpreter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tengyun_lab::fleet::{Fleet, MemoryMode, Shape};
use tengyun_lab::rules::Rules;
use tengyun_lab::score::Scores;
use tengyun_lab::trace::{Trace, parquet};
use tengyun_lab::yardstick::Yardstick;

const DAYS: [&str; 5] = ["20110303", "20110306", "20110309", "20110322", "20110325"];
/// Names here and in the reference, and whether the figures must agree exactly.
const PAIRS: [(&str, &str, bool); 12] = [
    ("ffd-1", "ii/iii FFD request overcommit 1x", true),
    ("ffd-2", "ii/iii FFD request overcommit 2x", true),
    ("ffd-4", "ii/iii FFD request overcommit 4x", true),
    ("oracle-24h@80", "v oracle repack 24h peak<=0.8", false),
    ("oracle-24h@100", "v oracle repack 24h peak<=1.0", false),
    ("oracle-1h@80", "v oracle repack 1h peak<=0.8", false),
    ("oracle-1h@100", "v oracle repack 1h peak<=1.0", false),
    ("oracle-15min@90", "v oracle repack 15min peak<=0.9", false),
    ("nsigma-5", "iv N-sigma N=5 hourly", false),
    ("rc-99", "iv RC-like p99 hourly", false),
    ("max", "iv max(N5,RC99) hourly", false),
    ("short-nsigma-2@85", "iv short N-sigma N=2 W=1h replan 5min target .85", false),
];

#[test]
fn yardsticks_match_the_reference_on_the_stacked_days() {
    let Some((shared, reference)) = reference("pl-dev5") else {
        println!(
            "skipped: shared/reference/sim.py and Python with numpy, pandas, pyarrow are needed"
        );
        return;
    };
    let read = |day| parquet::read(&shared.join(format!("traces/planetlab-{day}"))).unwrap();
    let trace = Trace::stacked(DAYS.map(read).into());
    let fleet = Fleet::new(&trace, Shape::parse("32/128").unwrap(), MemoryMode::None);
    for (ours, theirs, exactly) in PAIRS {
        let mut planner = Yardstick::parse(ours).unwrap().planner(&fleet);
        let scores = Scores::of(&fleet, planner.as_mut(), &Rules::FREE);
        compare(ours, &scores, &reference[theirs], exactly);
    }
}

fn compare(name: &str, ours: &Scores, theirs: &BTreeMap<String, f64>, exactly: bool) {
    let [used, band, above80, above90, above100, lost] = ours.figures();
    // What the reference rounds to.
    let (points, share) = if exactly { (0.005, 0.0) } else { (1.0, 0.15) };
    assert!((used - theirs["util"]).abs() <= points, "{name}: {used} against {theirs:?}");
    assert!((band - theirs["band60_80"]).abs() <= points.max(0.005), "{name}: {band} in band");
    for (key, value) in
        [("over80", above80), ("over90", above90), ("over100", above100), ("demand_lost_pct", lost)]
    {
        let wanted = theirs[key];
        let near = (value - wanted).abs() <= share * wanted + 0.0006;
        assert!(near, "{name}: {key} is {value}, the reference has {wanted}");
    }
    let nodes = (ours.nodes_mean() - theirs["hosts_mean"]).abs();
    assert!(nodes <= if exactly { 0.005 } else { 0.5 }, "{name}: {nodes} nodes apart");
}

type Table = BTreeMap<String, BTreeMap<String, f64>>;

fn reference(fleet: &str) -> Option<(PathBuf, Table)> {
    let forced = std::env::var_os("TENGYUN_LAB_REFERENCE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = forced.clone().unwrap_or(beside);
    let script = shared.join("reference/sim.py");
    let python = std::env::var_os("TENGYUN_LAB_PYTHON").unwrap_or_else(|| "python3".into());
    #[expect(clippy::disallowed_methods, reason = "the reference is a program of its own")]
    let output = std::process::Command::new(python)
        .arg(&script)
        .args([fleet, "32", "128", "none", "quick"])
        .output();
    let output = output.ok().filter(|o| o.status.success());
    let Some(output) = output else {
        assert!(forced.is_none(), "cannot run {}", script.display());
        return None;
    };
    let mut table = Table::new();
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let policy = row["policy"].as_str().expect("a name").to_owned();
        let numbers = row.as_object().expect("a row").iter();
        let numbers = numbers.filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect();
        table.insert(policy, numbers);
    }
    Some((shared, table))
}
