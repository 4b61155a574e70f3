//! Every command of the operators' guides, run as it stands: by root and by an ordinary user.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::fs;
use std::path::{Path, PathBuf};

use tengyun_tests::guide::{Block, Mark, Reader, blocks};
use tengyun_tests::skip;

/// Guides that are not in the folder of the operators' guides.
const ELSEWHERE: [&str; 2] = ["docs/join.md", "docs/operations.md"];
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
