//! Devices: threads that share cores, and disks and links of which the use can be read.

use std::path::Path;

use tengyun_agent::{known_smt, machine_below};
use tengyun_model::{Inventory, Permille};

use super::host::Host;
use super::{Level, Report};
use crate::message::{Message, word_in};

/// Where the agent of the packages keeps what it measured.
const AGENT_STATE: &str = "/var/lib/tengyun/agent";

/// Looks at the devices that the agent measures.
pub(super) fn look(report: &mut Report, host: &Host) {
    smt(report, host);
    disks(report, host);
    links(report, host);
}

/// Says what is known of threads that share a core; nothing of it is a fault.
fn smt(report: &mut Report, host: &Host) {
    let machine = machine_below(&host.path(Path::new("/")));
    let known = known_smt(None, &host.path(Path::new(AGENT_STATE)), &machine);
    let Inventory { cores, threads, .. } = machine;
    let source = word_in(report.language, known.source.as_str());
    let gain: Permille = known.gain;
    let found = if known.cores == 0 {
        Message::SmtCores { cores: &cores }
    } else {
        Message::SmtThreads { cores: &cores, threads: &threads, gain: &gain, source: &source }
    };
    report.pass("smt", &found);
}

fn disks(report: &mut Report, host: &Host) {
    let disks = driven(host, "/sys/block");
    let read = !disks.is_empty() && host.has("/proc/diskstats");
    let disks = disks.join(", ");
    let found = if read { Message::DisksRead { disks: &disks } } else { Message::DisksUnread {} };
    report.judge("disk-use", (read, Level::Warn), &found, &Message::DisksUnreadNext {});
}

fn links(report: &mut Report, host: &Host) {
    let language = report.language;
    let speed = |link: &String| {
        let megabits = host.number(&format!("/sys/class/net/{link}/speed"));
        match megabits.filter(|megabits| *megabits > 0) {
            Some(megabits) => Message::LinkFast { link, megabits: &megabits }.text(language),
            None => Message::LinkUnknown { link }.text(language),
        }
    };
    let links: Vec<String> = driven(host, "/sys/class/net").iter().map(speed).collect();
    let read = !links.is_empty() && host.has("/proc/net/dev");
    let links = links.join(", ");
    let found = if read { Message::LinksRead { links: &links } } else { Message::LinksUnread {} };
    report.judge("network-use", (read, Level::Warn), &found, &Message::LinksUnreadNext {});
}

/// Returns the devices of a class that a driver stands behind, as the agent chooses them.
fn driven(host: &Host, class: &str) -> Vec<String> {
    let all = host.list(class).into_iter();
    all.filter(|name| host.has(&format!("{class}/{name}/device"))).collect()
}
