//! Completions and the manual, as shells and readers use them.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::path::Path;
use std::process::{Command, Stdio};

use tengyun_tests::cluster::program;
use tengyun_tests::skip;

fn tengyun(words: &[&str]) -> String {
    let output = program("tengyun").args(words).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a tool of the system; nothing when it is not there.
#[expect(clippy::disallowed_methods, reason = "a test runs shells and readers of manuals")]
fn run(program: &str, words: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).env("LC_ALL", "C").env("MANWIDTH", "80");
    let output = command.output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// What bash completes after these words.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let line = words.join(" ");
    let last = words.len() - 1;
    let array = words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" ");
    let ask = format!(
        "source {script} && COMP_WORDS=({array}) COMP_CWORD={last} COMP_LINE='{line}' \
         COMP_POINT={point} && _tengyun tengyun '{word}' '{before}' && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script = script.display(),
        point = line.len(),
        word = words[last],
        before = words[last - 1],
    );
    let (well, said) = run("bash", &["-c", &ask]).expect("bash is there");
    assert!(well, "{said}");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_options_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("tengyun.bash");
    std::fs::write(&script, tengyun(&["completions", "bash"])).unwrap();
    let verbs = completed(&script, &["tengyun", "dr"]);
    assert_eq!(verbs, ["drain"]);
    assert!(completed(&script, &["tengyun", "drain", "--no"]).contains(&"--no-wait".to_owned()));
    let formats = completed(&script, &["tengyun", "status", "--output", ""]);
    assert_eq!(formats, ["table", "json"]);
    let all = completed(&script, &["tengyun", ""]);
    assert!(all.contains(&"backup".to_owned()) && all.contains(&"doctor".to_owned()), "{all:?}");
    assert!(!all.iter().any(|verb| verb.starts_with("demo-")), "hidden verbs are completed");
}

#[test]
fn scripts_for_other_shells_are_sound_where_the_shell_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, words) in [("zsh", ["-n"]), ("fish", ["--no-execute"])] {
        let script = tengyun(&["completions", shell]);
        assert!(script.contains("confirm-restore"), "{shell}");
        let path = dir.path().join(shell);
        std::fs::write(&path, script).unwrap();
        match run(shell, &[words[0], path.to_str().unwrap()]) {
            Some((well, said)) => assert!(well, "{shell}: {said}"),
            None => println!("{shell} is not there"),
        }
    }
}

#[test]
fn the_manual_has_a_page_for_every_verb_that_a_reader_can_show() {
    let dir = tempfile::tempdir().unwrap();
    let said = tengyun(&["man", dir.path().to_str().unwrap()]);
    let pages: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert!(said.contains(&pages.len().to_string()), "{said}");
    assert!(pages.len() > 30, "{} pages", pages.len());
    let whole = std::fs::read_to_string(dir.path().join("tengyun.1")).unwrap();
    assert!(whole.contains(".SH SYNOPSIS") && whole.contains("tengyun\\-drain"), "{whole}");
    let drain = dir.path().join("tengyun-drain.1");
    assert!(std::fs::read_to_string(&drain).unwrap().contains("\\-\\-force"));
    let path = drain.to_str().unwrap();
    let readers: [(&str, &[&str]); 2] =
        [("mandoc", &["-T", "lint", "-W", "error", path]), ("man", &["--warnings", "-l", path])];
    let mut shown = false;
    for (reader, words) in readers {
        if let Some((well, said)) = run(reader, words) {
            assert!(well && !said.contains("warning:"), "{reader}: {said}");
            shown = true;
        }
    }
    if !shown {
        // A reader is no part of a small server; CI has one.
        skip("needs man or mandoc");
    }
}
