//! Archives from strangers, unpacked here and nowhere else.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;
use crate::fixture::hostile;

/// Adds one entry whose name is written as it is, however bad.
fn add(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str, data: &[u8]) {
    // The field has room for as much.
    let cut = |text: &str| text[..text.floor_char_boundary(99)].to_owned();
    let (name, target) = (cut(name), cut(target));
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_size(u64::try_from(data.len()).unwrap());
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name.as_bytes());
    gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    builder.append(&header, data).unwrap();
}

fn tar(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, target, data) in entries {
        add(&mut builder, *kind, name, target, data);
    }
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(dir: &Path, to: &str, bytes: &[u8]) -> Result<(), String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    unpack(file, dir, to).map_err(|wrong| wrong.to_string())
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

#[test]
fn an_archive_is_unpacked_with_its_directories_links_and_bits() {
    let archive = tar(&[
        (DIR, "./", "", b""),
        (DIR, "bin/", "", b""),
        (FILE, "./bin/run", "", b"#!/bin/sh\n"),
        (LINK, "lib/so", "so.1", b""),
        (FILE, "lib/so.1", "", b"so"),
        (LINK, "a/up", "../bin/run", b""),
        (HARD, "bin/same", "bin/run", b""),
        (FILE, "bin/run", "", b"later"),
    ]);
    for (bytes, to) in [(archive.clone(), ""), (gz(&archive), "opt/app")] {
        let dir = tempfile::tempdir().unwrap();
        unpacked(dir.path(), to, &bytes).unwrap();
        let at = |path: &str| dir.path().join(to).join(path);
        assert_eq!(fs::read(at("bin/run")).unwrap(), b"later", "the later entry wins");
        assert_eq!(fs::read(at("bin/same")).unwrap(), b"#!/bin/sh\n");
        assert_eq!(fs::read(at("lib/so")).unwrap(), b"so");
        assert_eq!(fs::read(at("a/up")).unwrap(), b"later");
        let mode = fs::metadata(at("bin/run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "never set-user-id");
    }
}

#[test]
fn what_is_there_already_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("conf"), "of the manifest").unwrap();
    let archive = tar(&[(FILE, "conf", "", b"of the archive"), (FILE, "other", "", b"x")]);
    unpacked(dir.path(), "", &archive).unwrap();
    assert_eq!(fs::read(dir.path().join("conf")).unwrap(), b"of the manifest");
    assert!(dir.path().join("other").exists());
}

#[test]
fn no_entry_leads_out() {
    let devices = [
        (EntryType::Char, "a device"),
        (EntryType::Block, "a device"),
        (EntryType::Fifo, "a pipe"),
    ];
    let mut cases: Vec<(Vec<u8>, &str)> =
        devices.iter().map(|(kind, why)| (tar(&[(*kind, "d", "", b"")]), *why)).collect();
    for name in ["../x", "a/../../x", "/etc/x", "a/./../../x", "..", "a//../x", "./../x", "//x"] {
        for kind in [FILE, DIR, LINK, HARD] {
            cases.push((tar(&[(kind, name, "a", b"")]), "is refused"));
        }
    }
    for target in ["/etc", "..", "../..", "a/../../..", "../outside"] {
        cases.push((tar(&[(LINK, "l", target, b"")]), "it leads"));
        cases.push((tar(&[(HARD, "l", target, b"")]), "is refused"));
    }
    // A link that is allowed as it is written, and written through.
    cases.push((tar(&[(LINK, "d/l", "..", b""), (FILE, "d/l/x", "", b"x")]), "cannot be written"));
    cases.push((tar(&[(HARD, "l", "none", b"")]), "cannot be written"));
    for (bytes, why) in cases {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let said = unpacked(&work, "", &bytes).unwrap_err();
        assert!(said.contains(why), "{said} says nothing of {why}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "{said}");
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0, "{said}");
    }
}

#[test]
fn of_5000_hostile_names_none_is_unpacked_outside() {
    let dir = tempfile::tempdir().unwrap();
    let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    let (mut written, mut refused) = (0, 0);
    for seed in 0..5000 {
        let name = hostile(seed);
        fs::create_dir(&work).unwrap();
        symlink(&outside, work.join("link")).unwrap();
        symlink("..", work.join("~")).unwrap();
        let kind = [FILE, DIR, LINK][usize::try_from(seed % 3).unwrap()];
        // A link whose target is as bad as its name.
        let target =
            if kind == LINK { hostile(seed + 1).replace('\0', "n") } else { String::new() };
        match unpacked(&work, "", &tar(&[(kind, &name, &target, b"")])) {
            Ok(()) => written += 1,
            Err(_) => refused += 1,
        }
        fs::remove_dir_all(&work).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name:?} was unpacked outside");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name:?} was unpacked beside");
    }
    assert!(written > 100 && refused > 1000, "{written} written, {refused} refused");
}

#[test]
fn a_link_that_was_there_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, work.join("link")).unwrap();
    assert!(unpacked(&work, "", &tar(&[(FILE, "link/x", "", b"x")])).is_err());
    assert!(unpacked(&work, "link", &tar(&[(FILE, "x", "", b"x")])).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn bombs_stop_at_their_bounds() {
    let dir = tempfile::tempdir().unwrap();
    // 256 MiB of zeros in a quarter of a mebibyte.
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut header = Header::new_gnu();
    header.set_size(256 << 20);
    header.set_cksum();
    builder.append_data(&mut header, "zeros", io::repeat(0).take(256 << 20)).unwrap();
    let bomb = builder.into_inner().unwrap().finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let said = unpacked(dir.path(), "", &bomb).unwrap_err();
    assert!(said.contains("unpacks to more than"), "{said}");
    let left = fs::metadata(dir.path().join("zeros")).unwrap().len();
    assert!(left <= RATIO_FREE_BYTES, "{left} bytes were written");
    let deep = "d/".repeat(40) + "f";
    let said = unpacked(dir.path(), "", &tar(&[(FILE, &deep, "", b"")])).unwrap_err();
    assert!(said.contains("too deep"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let mut many = Builder::new(Vec::new());
    for _ in 0..=ENTRIES_MAX {
        add(&mut many, DIR, "d/", "", b"");
    }
    let said = unpacked(empty.path(), "", &many.into_inner().unwrap()).unwrap_err();
    assert!(said.contains("more than 100000 entries"), "{said}");
}

#[test]
fn what_is_no_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let archive = tar(&[(FILE, "a", "", &[7; 2000])]);
    for bytes in [&b""[..], b"#!/bin/sh\n", b"PK\x03\x04", &[0x1f, 0x8b, 9, 9], &gz(b"text")] {
        assert!(unpacked(dir.path(), "", bytes).is_err());
    }
    assert!(unpacked(dir.path(), "", &archive[..1024]).is_err(), "a half archive passed");
    let whole = gz(&archive);
    assert!(unpacked(dir.path(), "", &whole[..whole.len() / 2]).is_err(), "a half archive passed");
}
