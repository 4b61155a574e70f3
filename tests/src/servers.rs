//! Network namespaces as servers: each has an address of its own on one bridge, and its cable can be
//! pulled. Needs root and the `ip` command.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first two parts of every address; the third is of its servers.
const NETWORK: &str = "10.213";
/// The third part of the first servers of this process.
const THIRD: u32 = 77;
/// The last part of the first server's address.
const FIRST: u32 = 10;

/// How many sets of servers this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Some servers; dropped, they are gone.
#[derive(Debug)]
pub struct Servers {
    /// What tells them from all others on this machine, in the names of their parts.
    tag: String,
    third: u32,
    count: u32,
}

impl Servers {
    /// Makes so many servers, or says why it cannot.
    ///
    /// # Errors
    /// Names what is missing, for a test to be skipped.
    ///
    /// # Panics
    /// The system refuses one.
    pub fn make(count: u32) -> Result<Self, &'static str> {
        if !nix::unistd::geteuid().is_root() {
            return Err("needs root to make network namespaces");
        }
        if !["/usr/sbin/ip", "/sbin/ip"].iter().any(|ip| Path::new(ip).exists()) {
            return Err("needs the ip command");
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}s{number}", std::process::id() % 10_000);
        let made = Self { tag, third: THIRD + number, count };
        let bridge = made.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["addr", "add", &format!("{}/24", made.here()), "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        for server in 0..count {
            let (space, outer, inner) =
                (made.space(server), made.cable(server), format!("tyi{}n{server}", made.tag));
            ip(&["netns", "add", &space]);
            ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner]);
            ip(&["link", "set", &outer, "master", &bridge, "up"]);
            ip(&["link", "set", &inner, "netns", &space]);
            let address = format!("{}/24", made.address(server));
            ip(&["-n", &space, "addr", "add", &address, "dev", &inner]);
            ip(&["-n", &space, "link", "set", &inner, "up"]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
        }
        Ok(made)
    }

    /// The address of this machine on the bridge.
    pub fn here(&self) -> String {
        format!("{NETWORK}.{}.1", self.third)
    }

    /// The address of a server.
    pub fn address(&self, server: u32) -> String {
        format!("{NETWORK}.{}.{}", self.third, FIRST + server)
    }

    /// The name of a server's namespace.
    pub fn space(&self, server: u32) -> String {
        format!("tyn{}x{server}", self.tag)
    }

    /// Pulls the cable of a server.
    pub fn cut(&self, server: u32) {
        ip(&["link", "set", &self.cable(server), "down"]);
    }

    /// Puts the cable of a server back.
    pub fn heal(&self, server: u32) {
        ip(&["link", "set", &self.cable(server), "up"]);
    }

    fn bridge(&self) -> String {
        format!("tyb{}", self.tag)
    }

    fn cable(&self, server: u32) -> String {
        format!("tyo{}n{server}", self.tag)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in 0..self.count {
            drop(command("ip").args(["netns", "del", &self.space(server)]).output());
        }
        drop(command("ip").args(["link", "del", &self.bridge()]).output());
    }
}

fn ip(words: &[&str]) {
    let output = command("ip").args(words).output().expect("the ip command was found");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[expect(clippy::disallowed_methods, reason = "the harness makes network namespaces")]
fn command(program: &str) -> std::process::Command {
    std::process::Command::new(program)
}
