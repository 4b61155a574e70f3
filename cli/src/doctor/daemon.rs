//! The daemons on this server: their directories, disk, certificates, and the scheduler itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use tengyun_proto::identity::Identity;
use tengyun_proto::{WIRE_VERSION, v1};

use super::host::Host;
use super::{Level, Report};
use crate::failure::Failure;
use crate::message::Message;
use crate::output::{memory, now_millis, time};
use crate::session::Session;

/// How much of a disk should be free, and how much must be, in per cent.
const FREE_PERCENT: (u64, u64) = (10, 2);
/// How often the fsync of a small file is timed.
const SYNCS: usize = 16;
/// How long one may take, and how long it takes on a disk that is too slow.
const SYNC_MAX: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));
/// How far clocks may be apart, and how far is too far for certificates and bills.
const SKEW_MAX_MILLIS: (u64, u64) = (1000, 60_000);

/// Looks at the state directory and what is in it.
pub(super) fn look(report: &mut Report, host: &Host, state_dir: &Path) {
    let dir = host.path(state_dir);
    let shown = state_dir.display();
    if !dir.is_dir() {
        report.pass("state-directory", &Message::NoStateYet { dir: &shown });
        return;
    }
    private(report, &dir.join("scheduler"));
    disk(report, &dir);
    if host.is_alive() {
        sync(report, &dir);
    }
    for path in [dir.join("identity"), dir.join("agent/identity")] {
        certificate(report, &path);
    }
}

/// The scheduler's directory and the authority's key are for nobody else.
fn private(report: &mut Report, dir: &Path) {
    let key = dir.join("authority/authority.key");
    let open = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0);
    let opened: Vec<String> = [dir.to_owned(), key]
        .iter()
        .filter(|path| open(path))
        .map(|path| path.display().to_string())
        .collect();
    let shown = opened.join(", ");
    let found = if opened.is_empty() {
        Message::StatePrivate { dir: &dir.display() }
    } else {
        Message::StateOpen { paths: &shown }
    };
    let next = Message::StateOpenNext { paths: &shown };
    report.judge("state-private", (opened.is_empty(), Level::Fail), &found, &next);
}

fn disk(report: &mut Report, dir: &Path) {
    let Ok(disk) = statvfs(dir) else { return };
    let share = |free: u64, all: u64| free.saturating_mul(100).checked_div(all).unwrap_or(100);
    let size = disk.fragment_size();
    let free = disk.blocks_available().saturating_mul(size);
    let percent = share(disk.blocks_available(), disk.blocks());
    let (enough, least) = FREE_PERCENT;
    let level = |percent| if percent < least { Level::Fail } else { Level::Warn };
    let shown = memory(free >> 20);
    let found = Message::DiskFree { size: &shown, percent: &percent };
    let next = Message::DiskNext {};
    report.judge("disk-space", (percent >= enough, level(percent)), &found, &next);
    let percent = share(disk.files_available(), disk.files());
    let found = Message::InodesFree { percent: &percent };
    report.judge("disk-inodes", (percent >= enough, level(percent)), &found, &next);
}

/// Times what every commit of the journal waits for.
fn sync(report: &mut Report, dir: &Path) {
    let path = dir.join(format!(".doctor.{}", std::process::id()));
    let time = || -> std::io::Result<Vec<Duration>> {
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        let mut took = Vec::new();
        for _ in 0..SYNCS {
            let began = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            took.push(began.elapsed());
        }
        Ok(took)
    };
    let timed = time();
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        crate::output::note(&format!("{}: {error}", path.display()));
    }
    match timed {
        Ok(mut took) => {
            took.sort();
            let median = took.get(took.len() / 2).copied().unwrap_or_default();
            judge_sync(report, median);
        }
        Err(error) => {
            let found = Message::SyncNotTimed { reason: &error };
            report.not("disk-fsync", Level::Warn, &found, &Message::SyncNotTimedNext {});
        }
    }
}

fn judge_sync(report: &mut Report, median: Duration) {
    let (good, worst) = SYNC_MAX;
    let micros = median.as_micros();
    let shown = format!("{}.{:01}", micros / 1000, micros % 1000 / 100);
    let level = if median > worst { Level::Fail } else { Level::Warn };
    let found = Message::Sync { millis: &shown };
    report.judge("disk-fsync", (median <= good, level), &found, &Message::SyncNext {});
}

fn certificate(report: &mut Report, path: &Path) {
    if !path.exists() {
        return;
    }
    let file = path.display();
    match Identity::load(path) {
        Ok(identity) => {
            let (from, until) = (identity.certificate.from, identity.certificate.until);
            let left = until.millis().saturating_sub(now_millis());
            let level = if left == 0 { Level::Fail } else { Level::Warn };
            // It is renewed at half of its time: at a quarter something is wrong.
            let fresh = left >= until.since(from).get() / 4;
            let shown = time(until.millis());
            let found = Message::CertificateUntil { file: &file, until: &shown };
            let next = Message::CertificateNext {};
            report.judge("certificate", (fresh, level), &found, &next);
        }
        Err(error) => {
            let found = Message::CertificateBad { reason: &error };
            report.not("certificate", Level::Fail, &found, &Message::CertificateNext {});
        }
    }
}

/// Asks the scheduler, where there is one.
pub(super) async fn ask(report: &mut Report, session: &Session) {
    let before = now_millis();
    let asked: Result<v1::StatusResponse, Failure> =
        session.call(|mut o| async move { o.status(v1::StatusRequest {}).await }).await;
    let status = match asked {
        Ok(status) => status,
        Err(failure) => {
            let said = failure.to_string();
            let reason = said.lines().next().unwrap_or_default().to_owned();
            let found = Message::SchedulerAway { reason: &reason };
            report.not("scheduler", Level::Warn, &found, &Message::SchedulerAwayNext {});
            return;
        }
    };
    let spoken = status.wire_version == WIRE_VERSION || status.wire_version + 1 == WIRE_VERSION;
    let found =
        Message::SchedulerThere { version: &status.software_version, wire: &status.wire_version };
    report.judge("scheduler", (spoken, Level::Fail), &found, &Message::SchedulerVersionNext {});
    let middle = before.midpoint(now_millis());
    let apart = middle.abs_diff(status.at_millis);
    let (good, worst) = SKEW_MAX_MILLIS;
    let level = if apart > worst { Level::Fail } else { Level::Warn };
    let found = Message::ClockApart { millis: &apart };
    report.judge("clock-skew", (apart <= good, level), &found, &Message::TimeNext {});
    if status.read_only {
        let found = Message::ReadOnly { reason: &status.read_only_reason };
        report.not("read-only", Level::Warn, &found, &Message::ReadOnlyNext {});
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::text::Language;

    fn level(report: &Report, check: &str) -> Level {
        report.findings.iter().find(|f| f.check == check).unwrap().level
    }

    #[test]
    fn a_slow_disk_is_found() {
        for (millis, expected) in [(1, Level::Pass), (60, Level::Warn), (300, Level::Fail)] {
            let mut report = Report::new(Language::English);
            judge_sync(&mut report, Duration::from_millis(millis));
            assert_eq!(level(&report, "disk-fsync"), expected, "{millis} ms");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_found_and_a_private_one_passes() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("s/scheduler/authority/authority.key");
        fs::create_dir_all(key.parent().unwrap()).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&dir.path().join("s/scheduler"), 0o700);
        fs::write(&key, "key").unwrap();
        let host = Host::new(Some(dir.path().to_owned()));
        for (bits, expected) in [(0o600, Level::Pass), (0o640, Level::Fail)] {
            mode(&key, bits);
            let mut report = Report::new(Language::English);
            look(&mut report, &host, Path::new("/s"));
            assert_eq!(level(&report, "state-private"), expected);
        }
    }

    #[test]
    fn a_file_that_is_no_identity_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("s")).unwrap();
        tengyun_proto::identity::write_private(&dir.path().join("s/identity"), b"x").unwrap();
        let host = Host::new(Some(dir.path().to_owned()));
        let mut report = Report::new(Language::English);
        look(&mut report, &host, Path::new("/s"));
        assert_eq!(level(&report, "certificate"), Level::Fail);
    }
}
