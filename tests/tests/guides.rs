//! Every command of the operators' guides, run as it stands: by root and by an ordinary user.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]
#![expect(clippy::print_stdout, reason = "what was tried is shown where the result is read")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tengyun_tests::guide::{Block, Mark, Reader, blocks};
use tengyun_tests::skip;

/// Guides that are not in the folder of the operators' guides.
const ELSEWHERE: [&str; 4] =
    ["docs/applications.md", "docs/install.md", "docs/join.md", "docs/operations.md"];
/// What the virtual machine runs.
const VM: &str = "tests/vm/single";
/// Fewer blocks than this would mean that they are not found any more.
const BLOCKS_MIN: usize = 25;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn guides() -> Vec<(String, Vec<Block>)> {
    let operators = fs::read_dir(sources().join("docs/operators")).unwrap().flatten();
    let mut names: Vec<String> = operators
        .map(|entry| format!("docs/operators/{}", entry.file_name().to_string_lossy()))
        .chain(ELSEWHERE.map(ToOwned::to_owned))
        .collect();
    names.sort();
    let mut faults = Vec::new();
    let mut guides = Vec::new();
    for name in names {
        let text = fs::read_to_string(sources().join(&name)).unwrap();
        match blocks(&text) {
            Ok(blocks) => guides.push((name, blocks)),
            Err(fault) => faults.push(format!("{name}: {fault}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    guides
}

fn run_all(root: bool) {
    for (name, blocks) in guides() {
        if blocks.is_empty() {
            continue;
        }
        let mut reader = Reader::new(&sources(), root);
        for block in &blocks {
            println!("{name}:{}: {:?}", block.line, block.mark);
            if let Err(problem) = reader.run(block) {
                panic!("{name}:{}: {problem}\n{}", block.line, reader.logs());
            }
        }
    }
}

#[test]
fn every_block_of_commands_says_where_it_is_run() {
    let guides = guides();
    let all: Vec<&Block> = guides.iter().flat_map(|(_, blocks)| blocks).collect();
    assert!(all.len() >= BLOCKS_MIN, "only {} blocks", all.len());
    let never = all.iter().filter(|block| matches!(block.mark, Mark::Never(_))).count();
    assert_eq!(never, 0, "every command of a guide can be run");
}

/// The sections that the virtual machine goes through: the guide's name and the heading.
fn sections_of_the_vm() -> BTreeSet<(String, String)> {
    let script = fs::read_to_string(sources().join(VM)).unwrap();
    let told = script.lines().filter_map(|line| {
        let (_, told) = line.split_once("carry_out ")?;
        let (guide, heading) = told.split_once(" \"")?;
        let (heading, _) = heading.split_once('"')?;
        Some((guide.to_owned(), heading.to_owned()))
    });
    told.collect()
}

#[test]
fn every_block_for_the_virtual_machine_is_run_there() {
    let mut wanted = BTreeSet::new();
    for (name, blocks) in guides() {
        let file = Path::new(&name).file_name().unwrap().to_string_lossy().into_owned();
        for block in blocks {
            match block.mark {
                Mark::Vm => {
                    wanted.insert((file.clone(), block.heading));
                }
                Mark::By(script) => {
                    let text = fs::read_to_string(sources().join(&script)).unwrap_or_default();
                    let programs = block.text.lines().filter_map(|line| line.split(' ').next());
                    // Of `dnf` the part that is tried is `rpm`.
                    let known = programs.map(|p| if p == "dnf" { "rpm" } else { p });
                    let known = known.map(|program| program.trim_start_matches("./"));
                    let missing: Vec<&str> = known.filter(|p| !text.contains(p)).collect();
                    assert!(
                        missing.is_empty(),
                        "{name}:{}: {script} runs no {missing:?}",
                        block.line
                    );
                }
                Mark::Cluster { .. } | Mark::Daemon | Mark::Never(_) => {}
            }
        }
    }
    assert_eq!(wanted, sections_of_the_vm(), "left is what guides have, right what {VM} runs");
}

#[test]
fn every_command_of_the_guides_does_what_it_says() {
    run_all(true);
}

#[test]
fn every_command_of_the_guides_does_what_it_says_without_root() {
    if !nix::unistd::geteuid().is_root() {
        return skip("the other test runs them as an ordinary user already");
    }
    run_all(false);
}
