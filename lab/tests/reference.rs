//! The yardsticks beside the reference simulator `sim.py`, run here and now on the stacked days: every
//! policy of its table that moves anything or packs by request.
//!
//! It needs the shared traces, which may not be shipped, and Python with numpy, pandas and pyarrow.
//! Without them it says so and is skipped; `TENGYUN_LAB_REFERENCE` names the directory that holds
//! `traces` and `reference` and turns a skip into a failure; `TENGYUN_LAB_PYTHON` names the
//! interpreter.

mod shared;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use tengyun_lab::fleet::{Fleet, MemoryMode, Shape};
use tengyun_lab::rules::Rules;
use tengyun_lab::score::Scores;
use tengyun_lab::trace::Trace;
use tengyun_lab::yardstick::Yardstick;

const DAYS: [&str; 5] = ["20110303", "20110306", "20110309", "20110322", "20110325"];
/// Names here and in the reference, and whether the figures must agree exactly.
const PAIRS: [(&str, &str, bool); 20] = [
    ("ffd-1", "ii/iii FFD request overcommit 1x", true),
    ("ffd-2", "ii/iii FFD request overcommit 2x", true),
    ("ffd-4", "ii/iii FFD request overcommit 4x", true),
    ("ffd-8", "ii/iii FFD request overcommit 8x", true),
    ("oracle-24h@80", "v oracle repack 24h peak<=0.8", false),
    ("oracle-24h@90", "v oracle repack 24h peak<=0.9", false),
    ("oracle-24h@100", "v oracle repack 24h peak<=1.0", false),
    ("oracle-1h@80", "v oracle repack 1h peak<=0.8", false),
    ("oracle-1h@90", "v oracle repack 1h peak<=0.9", false),
    ("oracle-1h@100", "v oracle repack 1h peak<=1.0", false),
    ("oracle-15min@90", "v oracle repack 15min peak<=0.9", false),
    ("borg", "iv borg-default 0.9", false),
    ("nsigma-5", "iv N-sigma N=5 hourly", false),
    ("nsigma-3", "iv N-sigma N=3 hourly", false),
    ("nsigma-2", "iv N-sigma N=2 hourly", false),
    ("rc-99", "iv RC-like p99 hourly", false),
    ("rc-95", "iv RC-like p95 hourly", false),
    ("max", "iv max(N5,RC99) hourly", false),
    ("short-nsigma-2", "iv short N-sigma N=2 W=1h replan 5min", false),
    ("short-nsigma-2@85", "iv short N-sigma N=2 W=1h replan 5min target .85", false),
];

/// Runs the whole table of the reference but for two of the three oracles that pack every quarter of an
/// hour: those two take as long as all that is compared.
const SCRIPT: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import sim
whole = sim.oracle_repack
def repack(U, Q, QC, C, cfg, memon, target, hor):
    if hor == 3 and target != .9:
        return sim.static(U, sim.np.arange(len(U)), C, cfg['warm'])
    return whole(U, Q, QC, C, cfg, memon, target, hor)
sim.oracle_repack = repack
sys.argv = ['sim.py', sys.argv[2], '32', '128', 'none']
sim.main(sys.argv[1], 32, 128, 'none')
";

#[test]
fn yardsticks_match_the_reference_on_the_stacked_days() {
    let days = DAYS.map(|day| shared::trace(&format!("planetlab-{day}")));
    let days: Option<Vec<Trace>> = days.into_iter().collect();
    let (Some(days), Some(reference)) = (days, Reference::start("pl-dev5")) else {
        println!("skipped: shared/reference/sim.py and Python with numpy, pandas, pyarrow needed");
        return;
    };
    let fleet =
        Fleet::new(&Trace::stacked(days), Shape::parse("32/128").unwrap(), MemoryMode::None);
    let scores = PAIRS.map(|(ours, _, _)| {
        let mut planner = Yardstick::parse(ours).unwrap().planner(&fleet);
        Scores::of(&fleet, planner.as_mut(), &Rules::FREE)
    });
    let table = reference.table();
    for ((ours, theirs, exactly), scores) in PAIRS.iter().zip(&scores) {
        let theirs = table.get(*theirs).unwrap_or_else(|| panic!("the reference has no {theirs}"));
        compare(ours, scores, theirs, *exactly);
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
    let (moves, wanted) = (f64::from(u32::try_from(ours.moves).expect("few")), theirs["mig"]);
    let near = (moves - wanted).abs() <= if exactly { 0.0 } else { 0.01 * wanted };
    assert!(near, "{name}: {moves} moves, the reference has {wanted}");
}

/// The reference at work, beside ours.
struct Reference(Child);

impl Reference {
    /// Starts it on a fleet; nothing where it cannot be.
    fn start(fleet: &str) -> Option<Self> {
        let (directory, must) = shared::directory();
        let place = directory.join("reference");
        let script = place.join("sim.py");
        let python = std::env::var_os("TENGYUN_LAB_PYTHON").unwrap_or_else(|| "python3".into());
        #[expect(clippy::disallowed_methods, reason = "the reference is a program of its own")]
        let ready = Command::new(&python).args(["-c", "import numpy, pandas, pyarrow"]).output();
        if !script.is_file() || !ready.is_ok_and(|o| o.status.success()) {
            assert!(!must, "cannot run {}", script.display());
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "the reference is a program of its own")]
        let child = Command::new(python)
            .args(["-c", SCRIPT])
            .arg(place)
            .arg(fleet)
            .stdout(Stdio::piped())
            .spawn();
        Some(Self(child.expect("it ran before")))
    }

    /// Waits for its end and returns the figures of each policy.
    fn table(self) -> BTreeMap<String, BTreeMap<String, f64>> {
        let output = self.0.wait_with_output().expect("it was started");
        assert!(output.status.success(), "the reference ended with {}", output.status);
        let row = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let policy = row["policy"].as_str().expect("a name").to_owned();
            let numbers = row.as_object().expect("a row").iter();
            (policy, numbers.filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect())
        };
        String::from_utf8(output.stdout).expect("text").lines().map(row).collect()
    }
}
