//! The report opens in a browser without an error and without asking for anything else.
//!
//! It needs Chromium; without it the test says so and is skipped, and fails where
//! `TENGYUN_LAB_BROWSER` names one that cannot be run.

use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::generate::Statistics;
use tengyun_lab::replay::{Choice, Replay, replay};

#[test]
fn the_report_opens_in_a_browser_and_speaks_both_languages() {
    let trace = Statistics { instances: 60, ..Statistics::PLANETLAB }.trace(2);
    let choice = Choice::parse("nsigma-3").unwrap();
    let shape = Shape::parse("8/32").unwrap();
    let wish = Replay { choice, ..Replay::new(shape, MemoryMode::None) };
    let page = tengyun_lab::report::replay("a day", "nsigma-3", &replay(&trace, &wish).unwrap());
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("url("));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html");
    std::fs::write(&file, &page).unwrap();
    let Some(dom) = opened(&file) else {
        println!("skipped: chromium is needed");
        return;
    };
    for word in
        ["腾云实验室", "tengyun laboratory", "利用率随时间变化", "Load of each node", "<svg"]
    {
        assert!(dom.contains(word), "the page as the browser has it lacks {word}");
    }
}

fn opened(file: &std::path::Path) -> Option<String> {
    let named = std::env::var_os("TENGYUN_LAB_BROWSER");
    let browser = named.clone().unwrap_or_else(|| "chromium".into());
    #[expect(clippy::disallowed_methods, reason = "the browser is a program of its own")]
    let output = std::process::Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("file://{}", file.display()))
        .output();
    let output = output.ok().filter(|o| o.status.success());
    assert!(output.is_some() || named.is_none(), "the browser that is named cannot be run");
    String::from_utf8(output?.stdout).ok()
}
