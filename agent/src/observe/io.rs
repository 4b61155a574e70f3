//! Devices: how long the machine's disks were busy, and what went over its links.
//!
//! Those count that a driver stands behind: whole disks and links, not what is laid over them (partitions,
//! LVM, RAID, bridges, bonds, virtual pairs), which would count the same work again. What cannot be read is
//! left out, and then nobody is held back by it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tengyun_model::Millis;

use super::file::{Buffer, Keeping, Kept};

/// How often is looked which devices there are, and how fast links are: cables are changed by hand.
const LOOK: Millis = Millis::from_secs(60);
/// The most disks, and the most links, that are read.
const DEVICES_MAX: usize = 64;
/// No link is faster, in megabits a second; what claims to is not known.
const MEGABITS_MAX: u64 = 10_000_000;
/// Bytes a second of one megabit a second.
const BYTES_OF_MEGABIT: u64 = 125_000;

/// What disks and links counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IoReading {
    /// Milliseconds in which each disk had something to do.
    pub(crate) disks: BTreeMap<Arc<str>, u64>,
    /// What went over each link.
    pub(crate) links: BTreeMap<Arc<str>, LinkReading>,
}

/// What one link counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkReading {
    /// Bytes.
    pub(crate) received: u64,
    /// Bytes.
    pub(crate) sent: u64,
    /// Bytes a second in each direction, where that is known.
    pub(crate) speed: Option<u64>,
}

/// The disks and links of a machine.
#[derive(Debug)]
pub(super) struct Devices {
    sys_root: PathBuf,
    diskstats: Kept,
    net: Kept,
    looked: Option<Millis>,
    disks: Vec<Arc<str>>,
    links: BTreeMap<Arc<str>, Option<u64>>,
}

impl Devices {
    /// Opens the files of a machine and says what is there.
    pub(super) fn new(proc_root: &Path, sys_root: &Path) -> Self {
        let kept = |name: &str| Kept::new(&proc_root.join(name), Keeping::Open);
        let mut found = Self {
            sys_root: sys_root.to_owned(),
            diskstats: kept("diskstats"),
            net: kept("net/dev"),
            looked: None,
            disks: Vec::new(),
            links: BTreeMap::new(),
        };
        found.look();
        let disks = found.disks.join(" ");
        let speed = |(name, speed): (&Arc<str>, &Option<u64>)| match speed {
            Some(speed) => format!("{name} {} Mbit/s", speed / BYTES_OF_MEGABIT),
            None => format!("{name} of unknown speed"),
        };
        let links = found.links.iter().map(speed).collect::<Vec<_>>().join(", ");
        tracing::info!(disks, links, "disks and links that are measured");
        found
    }

    /// Reads everything once.
    pub(super) fn read(&mut self, now: Millis, buffer: &mut Buffer) -> IoReading {
        if self.looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK) {
            self.look();
            self.looked = Some(now);
        }
        let mut found = IoReading::default();
        for line in self.diskstats.read(buffer).unwrap_or_default().lines() {
            if let Some((name, busy)) = disk(line)
                && let Some(name) = self.disks.iter().find(|disk| ***disk == *name)
            {
                found.disks.insert(Arc::clone(name), busy);
            }
        }
        for line in self.net.read(buffer).unwrap_or_default().lines() {
            if let Some((name, received, sent)) = link(line)
                && let Some((name, speed)) = self.links.get_key_value(name)
            {
                let reading = LinkReading { received, sent, speed: *speed };
                found.links.insert(Arc::clone(name), reading);
            }
        }
        found
    }

    fn look(&mut self) {
        let disks = driven(&self.sys_root.join("block"));
        // What the kernel calls cciss/c0d0 is cciss!c0d0 where names are those of files.
        self.disks = disks.into_iter().map(|name| name.replace('!', "/").into()).collect();
        let links = self.sys_root.join("class/net");
        let speed = |name: String| {
            let text = fs::read_to_string(links.join(&name).join("speed")).unwrap_or_default();
            (name.into(), bytes_a_second(&text))
        };
        self.links = driven(&links).into_iter().map(speed).collect();
    }
}

/// Returns the devices of a class that a driver stands behind.
fn driven(class: &Path) -> Vec<String> {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let driven = entries.filter(|entry| entry.path().join("device").exists());
    let mut names: Vec<String> =
        driven.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names.truncate(DEVICES_MAX);
    names
}

/// Parses the speed of a link in megabits a second; one that is down or virtual says -1 or nothing.
fn bytes_a_second(text: &str) -> Option<u64> {
    let megabits = text.trim().parse::<u64>().ok()?;
    (1..=MEGABITS_MAX).contains(&megabits).then(|| megabits * BYTES_OF_MEGABIT)
}

/// Parses a line of `/proc/diskstats`: the name, and the milliseconds in which it had something to do.
fn disk(line: &str) -> Option<(&str, u64)> {
    let mut words = line.split_ascii_whitespace().skip(2);
    let name = words.next()?;
    // Reads, writes, four numbers each, and how many are under way come before.
    Some((name, words.nth(9)?.parse().ok()?))
}

/// Parses a line of `/proc/net/dev`: the name, and the bytes received and sent.
fn link(line: &str) -> Option<(&str, u64, u64)> {
    let (name, numbers) = line.split_once(':')?;
    let mut words = numbers.split_ascii_whitespace();
    let received = words.next()?.parse().ok()?;
    // Eight numbers of what was received come before what was sent.
    Some((name.trim(), received, words.nth(7)?.parse().ok()?))
}

/// Adds up what `io.stat` of version 2 says was read and written, over all devices.
pub(super) fn bytes_in_stat(text: &str) -> u64 {
    let words = text.split_ascii_whitespace();
    let value = |word: &str| {
        let bytes = word.strip_prefix("rbytes=").or_else(|| word.strip_prefix("wbytes="))?;
        bytes.parse::<u64>().ok()
    };
    words.filter_map(value).fold(0, u64::saturating_add)
}

/// Adds up what `blkio.throttle.io_service_bytes` of version 1 says was read and written.
pub(super) fn bytes_serviced(text: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let counts = matches!(words.next()?, "Read" | "Write");
        words.next()?.parse::<u64>().ok().filter(|_| counts)
    };
    text.lines().filter_map(value).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::tree;

    const DISKSTATS: &str = "   7  0 loop0 1 2 3 4 5 6 7 8 9 1111 11\n \
        259  0 nvme0n1 10 0 80 5 20 0 160 9 0 4500 30 0 0 0 0 1 2\n \
        259  1 nvme0n1p1 1 2 3 4\n 104 0 cciss/c0d0 1 0 8 5 2 0 16 9 0 77 30\nnonsense\n 1 2 vdb x\n";
    const NET: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    \
        lo: 5 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0\n  \
        eth0:1000 1 0 0 0 0 0 0 2000 2 0 0 0 0 0 0\nveth7: 9 0 0 0 0 0 0 0 9 0\neth1: x\n";

    fn devices(dir: &tempfile::TempDir) -> Devices {
        Devices::new(&dir.path().join("proc"), &dir.path().join("sys"))
    }

    #[test]
    fn whole_disks_and_links_with_a_driver_are_read_and_nothing_that_lies_on_them() {
        let dir = tree(&[
            ("proc/diskstats", DISKSTATS),
            ("proc/net/dev", NET),
            ("sys/block/nvme0n1/device/model", ""),
            ("sys/block/cciss!c0d0/device/model", ""),
            ("sys/block/loop0/size", ""),
            ("sys/block/vdb/device/model", ""),
            ("sys/class/net/eth0/device/x", ""),
            ("sys/class/net/eth0/speed", "10000\n"),
            ("sys/class/net/eth1/device/x", ""),
            ("sys/class/net/lo/speed", "10\n"),
            ("sys/class/net/veth7/speed", "10000\n"),
        ]);
        let found = devices(&dir).read(Millis::ZERO, &mut Buffer::new());
        let disks: Vec<(&str, u64)> = found.disks.iter().map(|(n, b)| (&**n, *b)).collect();
        assert_eq!(disks, [("cciss/c0d0", 77), ("nvme0n1", 4500)]);
        let links: Vec<(&str, LinkReading)> = found.links.iter().map(|(n, l)| (&**n, *l)).collect();
        let speed = Some(1_250_000_000);
        assert_eq!(links, [("eth0", LinkReading { received: 1000, sent: 2000, speed })]);
    }

    #[test]
    fn a_speed_that_is_unknown_down_or_absurd_is_none() {
        for text in ["", "-1\n", "0\n", "4294967295\n", "99999999999999999999", "fast", "1e3"] {
            assert_eq!(bytes_a_second(text), None, "{text:?}");
        }
        assert_eq!(bytes_a_second("1000\n"), Some(125_000_000));
    }

    #[test]
    fn a_container_that_sees_no_devices_measures_nothing() {
        let dir = tree(&[("proc/diskstats", DISKSTATS), ("proc/net/dev", NET)]);
        assert_eq!(devices(&dir).read(Millis::ZERO, &mut Buffer::new()), IoReading::default());
        let dir = tree(&[("sys/block/vda/device/model", "")]);
        assert_eq!(devices(&dir).read(Millis::ZERO, &mut Buffer::new()), IoReading::default());
    }

    #[test]
    fn a_disk_that_is_added_is_found_within_a_minute() {
        let dir = tree(&[("proc/diskstats", DISKSTATS), ("sys/block/vda/device/model", "")]);
        let (mut devices, mut buffer) = (devices(&dir), Buffer::new());
        assert!(devices.read(Millis::ZERO, &mut buffer).disks.is_empty());
        fs::create_dir_all(dir.path().join("sys/block/nvme0n1/device")).unwrap();
        assert!(devices.read(Millis::from_secs(59), &mut buffer).disks.is_empty());
        assert_eq!(devices.read(Millis::from_secs(60), &mut buffer).disks.len(), 1);
    }

    #[test]
    fn what_a_group_read_and_wrote_is_added_up_over_devices() {
        let v2 =
            "254:0 rbytes=100 wbytes=20 rios=1 wios=2 dbytes=7 dios=1\n8:0 rbytes=3 wbytes=x\n";
        assert_eq!(bytes_in_stat(v2), 123);
        let v1 = "8:0 Read 100\n8:0 Write 20\n8:0 Sync 5\n8:0 Async 115\n8:0 Total 120\n\
            8:16 Write 3\nTotal 123\n";
        assert_eq!(bytes_serviced(v1), 123);
        assert_eq!((bytes_in_stat(""), bytes_serviced("Total 0\n")), (0, 0), "it did nothing yet");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>(), n in any::<u64>()) {
            std::hint::black_box((
                disk(&text),
                disk(&format!("1 2 {text} {n} {n} {n} {n} {n} {n} {n} {n} {n} {n}")),
                link(&format!("{text}:{n} {text}")),
                bytes_a_second(&text),
                bytes_in_stat(&format!("8:0 rbytes={n} wbytes={n} wbytes={text}")),
                bytes_serviced(&format!("8:0 Read {n}\n8:0 Write {n}\n{text}")),
            ));
        }
    }
}
