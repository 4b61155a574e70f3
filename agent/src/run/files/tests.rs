//! What is written is written beneath the working directory, whatever names say and others do.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use tengyun_model::{Digest, Origin, SecretName, SecretSpec};

use super::super::beneath::{DEPTH_MAX, PART_BYTES_MAX};
use super::super::{HandedSecret, RunKey, Vault};
use super::*;
use crate::fixture::{assigned, hostile};

fn file(path: &str) -> FileSpec {
    FileSpec { path: path.to_owned(), content: b"x".to_vec(), mode: 0o640 }
}

fn write_in(work: &Path, files: &[FileSpec]) -> Result<(), FilesError> {
    write_all(&open(work)?, files, None)
}

#[test]
fn files_are_written_with_their_directories_and_bits() {
    let dir = tempfile::tempdir().unwrap();
    write_in(dir.path(), &[file("a/b/c"), file("d")]).unwrap();
    assert_eq!(std::fs::read(dir.path().join("a/b/c")).unwrap(), b"x");
    let mode = std::fs::metadata(dir.path().join("d")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn a_hostile_file_path_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let deep = "d/".repeat(DEPTH_MAX) + "f";
    let long = "n".repeat(PART_BYTES_MAX + 1);
    for bad in ["", "/", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b", &deep, &long] {
        assert!(
            matches!(write_in(&work, &[file(bad)]), Err(FilesError::Path { .. })),
            "{bad:?} passed"
        );
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something was written");
}

#[test]
fn links_are_not_followed_and_files_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
    std::fs::create_dir(&work).unwrap();
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, work.join("link")).unwrap();
    symlink(outside.join("target"), work.join("file")).unwrap();
    for bad in ["link/x", "file"] {
        assert!(matches!(write_in(&work, &[file(bad)]), Err(FilesError::Io { .. })));
    }
    assert!(matches!(write_in(&work, &[file("twice"), file("twice")]), Err(FilesError::Io { .. })));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

/// Everything that writes what an instance is given, by the path that it is given at.
struct Writers {
    cache: Cache,
    vault: Vault,
    name: SecretName,
}

const BYTES: &[u8] = b"x";

impl Writers {
    fn new(dir: &Path) -> Self {
        let cache = Cache::open(&dir.join("cache"), 1 << 20).unwrap();
        let digest = Digest::new(Sha256::digest(BYTES).into());
        let mut part = cache.begin(digest).unwrap();
        part.file.write_all(BYTES).unwrap();
        cache.admit(digest, part).unwrap();
        let vault = Vault::new(dir.join("vault"), false);
        let name: SecretName = "city/tests/db".parse().unwrap();
        let value = Zeroizing::new(BYTES.to_vec());
        vault.hold(&[HandedSecret { name: name.clone(), value }]).unwrap();
        Self { cache, vault, name }
    }

    /// Writes at a path: a file, an artifact, a link to a template, a secret, in turn.
    fn write(&self, turn: u64, work: &Path, path: &str) -> bool {
        let top = open(work).unwrap();
        match turn % 4 {
            0 => write_all(&top, &[file(path)], None).is_ok(),
            1 => {
                let artifact = Artifact {
                    origin: Origin::Path("/a".to_owned()),
                    digest: Digest::new(Sha256::digest(BYTES).into()),
                    to: path.to_owned(),
                    mode: 0o755,
                    unpack: false,
                };
                copy(&top, &artifact, &self.cache, None).is_ok()
            }
            2 => top.symlink(Path::new("/filled"), path, None).is_ok(),
            _ => {
                let key = RunKey::parse("7.1").unwrap();
                let from = self.name.name.clone();
                let spec = SecretSpec { from, path: path.to_owned(), mode: 0o400 };
                let given = self.vault.give(key, &[(self.name.clone(), &spec)], None);
                self.vault.remove(key).unwrap();
                given.is_ok()
            }
        }
    }
}

#[test]
fn of_5000_hostile_names_none_is_written_outside() {
    // Secrets are kept in memory only.
    let dir = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
    let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(dir.path().join("a"), "untouched").unwrap();
    let writers = Writers::new(dir.path());
    let (mut written, mut refused) = (0, 0);
    for seed in 0..5000 {
        let name = hostile(seed);
        std::fs::create_dir(&work).unwrap();
        symlink(&outside, work.join("link")).unwrap();
        symlink("..", work.join("~")).unwrap();
        for turn in 0..4 {
            if writers.write(turn, &work, &name) { written += 1 } else { refused += 1 }
        }
        std::fs::remove_dir_all(&work).unwrap();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{name:?} was written outside");
        for (place, count) in [(dir.path(), 4), (&dir.path().join("vault"), 1)] {
            let around = std::fs::read_dir(place).unwrap().count();
            assert_eq!(around, count, "{name:?} was written beside in {}", place.display());
        }
    }
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"untouched");
    assert!(written > 100 && refused > 1000, "{written} written, {refused} refused");
}

/// How often a racer is raced against.
const ATTEMPTS: usize = 100_000;

#[test]
fn a_racer_in_the_working_directory_gets_nothing_written_outside() {
    let dir = tempfile::tempdir().unwrap();
    let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
    std::fs::create_dir(&work).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir(work.join("b")).unwrap();
    symlink(&outside, work.join("c")).unwrap();
    let (over, swapped) = (AtomicBool::new(false), std::sync::atomic::AtomicUsize::new(0));
    let (mut written, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Swaps a directory and a link at the same name, as fast as it can.
            while !over.load(Ordering::Relaxed) {
                for (from, to) in [("b", "a"), ("a", "b"), ("c", "a"), ("a", "c")] {
                    drop(std::fs::rename(work.join(from), work.join(to)));
                }
                swapped.fetch_add(1, Ordering::Relaxed);
            }
        });
        let top = open(&work).unwrap();
        for attempt in 0..ATTEMPTS {
            let name = format!("a/f{}", attempt % 64);
            match write_all(&top, &[file(&name)], None) {
                Ok(()) => {
                    written += 1;
                    for place in ["a", "b"] {
                        drop(std::fs::remove_file(work.join(place).join(&name[2..])));
                    }
                }
                Err(_) => refused += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let touched = std::fs::read_dir(&outside).unwrap().count();
    assert_eq!(touched, 0, "{touched} files outside after {ATTEMPTS} attempts");
    let swapped = swapped.into_inner();
    assert!(swapped > 100 && written > 100 && refused > 100, "{swapped} {written} {refused}");
}

#[test]
fn a_template_is_filled_in_with_what_the_instance_is_given() {
    let mut instance = assigned(7);
    instance.ordinal = 3;
    let variable = |name: &str, value: &str| Variable { name: name.into(), value: value.into() };
    let env = [variable("PORT_HTTP_API", "8080"), variable("TENGYUN_NODE", "n1")];
    let secret = |name: &str| (name == "db").then(|| Zeroizing::new(vec![0xff, b'!']));
    let filling = Filling { assigned: &instance, env: &env, secret: &secret };
    let fill = |content: &str| {
        filling.fill(&FileSpec { content: content.into(), ..file("t") }).map(|f| f.to_vec())
    };
    let text = "{{ port.http-api }} {{node}} {{ instance }} {{ ordinal }} {{ department }} \
                {{ application }}/{{ name }}";
    assert_eq!(fill(text).unwrap(), b"8080 n1 7 3 city/tests unit/sleeper");
    assert_eq!(fill("<{{ secret.db }}>").unwrap(), b"<\xff!>");
    for bad in ["{{ port.none }}", "{{ secret.none }}", "{{ nothing }}", "{{ secrets }}"] {
        assert!(matches!(fill(bad), Err(FilesError::Template { .. })), "{bad} passed");
    }
}

#[test]
fn links_are_put_below_and_take_nobody_s_place() {
    let dir = tempfile::tempdir().unwrap();
    let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
    std::fs::create_dir(&work).unwrap();
    std::fs::create_dir(&outside).unwrap();
    let top = open(&work).unwrap();
    let link = |path: &str| [(path.to_owned(), outside.clone())];
    link_all(&top, &link("var/data"), None).unwrap();
    assert_eq!(std::fs::read_link(work.join("var/data")).unwrap(), outside);
    write_in(&work, &[file("data")]).unwrap();
    assert!(matches!(link_all(&top, &link("data"), None), Err(FilesError::Io { .. })));
    for bad in ["../data", "/data", "var/data/x", "."] {
        assert!(link_all(&top, &link(bad), None).is_err(), "{bad:?} passed");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}
