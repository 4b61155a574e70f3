//! Every page opens in a browser without asking for anything else, speaks both languages, and its
//! picture shows something.
//!
//! It needs Chromium; without it the test says so and is skipped, and fails where
//! `TENGYUN_LAB_BROWSER` names one that cannot be run. `TENGYUN_LAB_PICTURES` names a directory that the
//! pictures are kept in, to be looked at.

#[path = "shared/picture.rs"]
mod picture;
#[path = "shared/recorded.rs"]
mod recorded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use picture::Picture;
use recorded::{EVERY, Recorded};
use tengyun_lab::before_you_move::{self, Wish, plan};
use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::generate::Statistics;
use tengyun_lab::replan::{self, Branch, Variant, replan};
use tengyun_lab::replay::{Choice, Replay, replay};
use tengyun_lab::report;

fn shape(text: &str) -> Shape {
    Shape::parse(text).expect("a shape")
}

#[test]
fn the_page_of_a_replay_opens_in_a_browser_and_shows_its_plots() {
    let trace = Statistics { instances: 60, ..Statistics::PLANETLAB }.trace(2);
    let choice = Choice::parse("nsigma-3").unwrap();
    let wish = Replay {
        choice,
        harvest: true,
        budget_pct: Some(1.0),
        ..Replay::new(shape("8/32"), MemoryMode::Request)
    };
    let page = report::replay("a day", "nsigma-3", &replay(&trace, &wish).unwrap());
    let words = [
        "腾云实验室",
        "tengyun laboratory",
        "利用率随时间变化",
        "Load of each node",
        "越限预算只对腾云自身的策略有效",
        "a violation budget is for our engine alone",
        "Harvest work that had to wait",
        "<span class=\"zh\">内存</span><span class=\"en\">memory</span>",
        "<svg",
    ];
    // The blue of lines, the green of the band's nodes, the ground of notes.
    opens("replay", &page, &words, &[[0x1f, 0x5f, 0x99], [0x3c, 0x8f, 0x5b], [0xff, 0xf7, 0xe0]]);
}

#[test]
fn the_page_of_a_plan_opens_in_a_browser_and_shows_its_tables() {
    let history = Statistics { instances: 40, days: 2, ..Statistics::OFFICES }.trace(9);
    let page =
        before_you_move::html("history", &plan(&history, &Wish::new(shape("16/8"))).unwrap());
    let words = [
        "上云前评估",
        "before you move",
        "历史不足一周，看不到每周的高峰",
        "the history is shorter than a week",
        "<span class=\"zh\">内存</span><span class=\"en\">memory</span>",
        "department-3",
    ];
    // Text, lines of tables, the ground of notes.
    opens("plan", &page, &words, &[[0x1c, 0x25, 0x30], [0xe7, 0xeb, 0xef], [0xff, 0xf7, 0xe0]]);
}

#[test]
fn the_page_of_a_day_planned_anew_opens_in_a_browser_and_shows_both_sides() {
    let variant = Variant {
        name: "default".to_owned(),
        knobs: Some(BTreeMap::new()),
        add: vec![shape("4/4")],
        remove: Vec::new(),
    };
    let entries = Recorded::hours(2).into_iter();
    let step = EVERY.saturating_mul(60);
    let made = replan(entries, Branch::Beginning, step, &[variant]).expect("a comparison");
    let page = replan::html("journal.db", &made);
    let words = [
        "重新规划",
        "planned anew",
        "<p class=\"sub\"><span class=\"zh\">实际</span>",
        "What happened",
        "在用节点数",
        "<svg",
    ];
    opens("replan", &page, &words, &[[0x1f, 0x5f, 0x99], [0xe8, 0xf1, 0xf8]]);
}

/// Opens a page and looks for words in what the browser has, and for colours in what it shows.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn opens(name: &str, page: &str, words: &[&str], colours: &[[u8; 3]]) {
    for foreign in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{name} asks for something: {foreign}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.html");
    std::fs::write(&file, page).expect("a file");
    let kept = std::env::var_os("TENGYUN_LAB_PICTURES").map(PathBuf::from);
    let shot = kept.unwrap_or_else(|| directory.path().into()).join(format!("{name}.png"));
    let Some(dom) = browser(&["--dump-dom"], &file) else {
        println!("skipped: chromium is needed");
        return;
    };
    let dom = String::from_utf8(dom).expect("a page is text");
    for word in words {
        assert!(dom.contains(word), "{name} as the browser has it lacks {word}");
    }
    let screenshot = format!("--screenshot={}", shot.display());
    let size = ["--hide-scrollbars", "--window-size=1000,3000", screenshot.as_str()];
    browser(&size, &file).expect("it ran before");
    let picture = Picture::read(&std::fs::read(&shot).expect("a screenshot"));
    assert_eq!((picture.width, picture.height), (1000, 3000), "{name}");
    let ground = picture.share([0xff; 3]);
    assert!((0.2..0.97).contains(&ground), "{ground} of {name} is blank");
    assert!(picture.colours() > 50, "{name} has {} colours", picture.colours());
    for colour in colours {
        assert!(picture.share(*colour) > 1e-4, "{name} shows nothing in {colour:x?}");
    }
}

/// Runs the browser and returns what it printed; nothing where there is none.
fn browser(arguments: &[&str], file: &Path) -> Option<Vec<u8>> {
    let named = std::env::var_os("TENGYUN_LAB_BROWSER");
    let browser = named.clone().unwrap_or_else(|| "chromium".into());
    #[expect(clippy::disallowed_methods, reason = "the browser is a program of its own")]
    let output = std::process::Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
        .args(arguments)
        .arg(format!("file://{}", file.display()))
        .output();
    let output = output.ok().filter(|o| o.status.success());
    assert!(output.is_some() || named.is_none(), "the browser that is named cannot be run");
    output.map(|o| o.stdout)
}
