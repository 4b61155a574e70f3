//! Both ways hold the same promises.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::*;

fn both(check: impl Fn(&Beneath, &Path)) {
    for way in [Way::Resolve, Way::NoFollow] {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        check(&Beneath::open_by(&work, way).unwrap(), dir.path());
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0, "{way:?}");
    }
}

#[test]
fn links_lead_nowhere() {
    both(|top, dir| {
        symlink(dir.join("outside"), dir.join("work/out")).unwrap();
        symlink("in", dir.join("work/link")).unwrap();
        top.make_dirs("in/deep").unwrap();
        for path in ["out/x", "link/x", "link", "out"] {
            assert!(top.create(path, 0o644, None).is_err(), "{path}");
        }
        assert!(top.make_dirs("out/x").is_err());
        assert!(top.hard_link("out/x", "y").is_err());
        assert!(top.remove_file("out/x").is_err());
        assert!(top.hard_link("link", "y").is_err(), "a link is no plain file");
    });
}

#[test]
fn files_links_and_names_are_made_and_removed() {
    both(|top, dir| {
        top.create("a/b", 0o750, None).unwrap().write_all(b"x").unwrap();
        top.symlink(Path::new("../a/b"), "c/d", None).unwrap();
        top.hard_link("a/b", "e/f").unwrap();
        assert_eq!(fs::read(dir.join("work/c/d")).unwrap(), b"x");
        assert_eq!(fs::read(dir.join("work/e/f")).unwrap(), b"x");
        top.remove_file("a/b").unwrap();
        assert!(!dir.join("work/a/b").exists());
        let again = top.create("e/f", 0o644, None).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    });
}
