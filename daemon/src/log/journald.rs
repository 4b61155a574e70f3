//! The native protocol of systemd's journal: one datagram an entry, one field a line.
//!
//! What cannot be sent is written to standard error, which systemd keeps as well; logging never makes
//! a daemon wait or fail.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The longest value of a field; longer ones come from outside and are cut.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// The longest entry that is sent again when the whole one is too large for a datagram.
const SHORT_BYTES_MAX: usize = 2 * 1024;
/// The longest name of a field, as the journal has it.
const NAME_BYTES_MAX: usize = 64;
/// Before the name of each of our own fields, so that none is taken for one of the journal's.
const PREFIX: &str = "TENGYUN_";

/// Writes entries to the journal.
#[derive(Debug)]
pub struct Journald {
    socket: UnixDatagram,
    path: PathBuf,
    program: &'static str,
}

impl Journald {
    /// Opens the way to a journal.
    pub fn open(path: &Path, program: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A journal that stands still must not make the daemon stand still.
        socket.set_nonblocking(true)?;
        let opened = Self { socket, path: path.to_owned(), program };
        // An empty datagram is passed over by the journal and tells whether there is one.
        opened.socket.send_to(&[], path)?;
        Ok(opened)
    }

    fn send(&self, entry: &Entry) {
        let (socket, path) = (&self.socket, &self.path);
        let sent = match socket.send_to(&entry.bytes(self.program, VALUE_BYTES_MAX), path) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {
                socket.send_to(&entry.bytes(self.program, SHORT_BYTES_MAX), path)
            }
            sent => sent,
        };
        if sent.is_err() {
            // Nobody is left to tell when this fails as well.
            drop(writeln!(io::stderr().lock(), "{}", entry.line()));
        }
    }
}

impl<S: Subscriber> Layer<S> for Journald {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut entry = Entry {
            level: *metadata.level(),
            target: metadata.target(),
            place: metadata.file().zip(metadata.line()),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut entry);
        self.send(&entry);
    }
}

/// One entry in the making.
struct Entry {
    level: Level,
    target: &'static str,
    place: Option<(&'static str, u32)>,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    /// The line that `journalctl` shows: the message and the fields behind it.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in &self.fields {
            let gap = if line.is_empty() { "" } else { " " };
            write!(line, "{gap}{name}={value}").expect("a string takes what is written");
        }
        line
    }

    fn bytes(&self, program: &str, value_bytes_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |name: &str, value: &str| put(&mut bytes, name, cut(value, value_bytes_max));
        put("MESSAGE", &self.line());
        put("PRIORITY", priority(self.level));
        put("SYSLOG_IDENTIFIER", program);
        put("TARGET", self.target);
        if let Some((file, line)) = self.place {
            put("CODE_FILE", file);
            put("CODE_LINE", &line.to_string());
        }
        for (name, value) in &self.fields {
            put(&field_name(name), value);
        }
        bytes
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The priorities of syslog.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// Makes a name that the journal takes: capitals, digits and underscores.
fn field_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut made: String = PREFIX.chars().chain(name.chars().map(plain)).collect();
    made.truncate(NAME_BYTES_MAX);
    made
}

fn cut(value: &str, most: usize) -> &str {
    let end = (0..=most.min(value.len())).rev().find(|at| value.is_char_boundary(*at));
    &value[..end.unwrap_or(0)]
}

/// Adds a field; a value of several lines is given with its length.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        bytes.push(b'\n');
        bytes.extend_from_slice(&length.to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A journal that only listens.
    struct Fake {
        dir: tempfile::TempDir,
        socket: UnixDatagram,
    }

    impl Fake {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(dir.path().join("socket")).unwrap();
            Self { dir, socket }
        }

        /// What arrives when these events are logged.
        fn hear(&self, log: impl FnOnce()) -> Vec<BTreeMap<String, String>> {
            let journal = Journald::open(&self.dir.path().join("socket"), "tengyun-test").unwrap();
            tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), log);
            self.socket.set_nonblocking(true).unwrap();
            let mut heard = Vec::new();
            let mut buffer = vec![0; 1 << 20];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                if length > 0 {
                    heard.push(parse(&buffer[..length]));
                }
            }
            heard
        }
    }

    /// Reads an entry as the journal does.
    fn parse(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n').unwrap();
            let line = std::str::from_utf8(&bytes[..end]).unwrap();
            let (name, value, rest) = if let Some((name, value)) = line.split_once('=') {
                (name, value.to_owned(), &bytes[end + 1..])
            } else {
                let rest = &bytes[end + 1..];
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap());
                let length = usize::try_from(length).unwrap();
                let value = String::from_utf8(rest[8..8 + length].to_vec()).unwrap();
                assert_eq!(rest[8 + length], b'\n');
                (line, value, &rest[8 + length + 1..])
            };
            assert!(fields.insert(name.to_owned(), value).is_none(), "{name} twice");
            bytes = rest;
        }
        fields
    }

    #[test]
    fn an_event_arrives_with_its_level_and_every_field() {
        let heard = Fake::new().hear(|| {
            tracing::warn!(node = 7, generation = "9", "assignment refused");
            tracing::error!("alone");
        });
        assert_eq!(heard.len(), 2);
        let first = &heard[0];
        assert!(first["MESSAGE"].starts_with("assignment refused node=7"), "{first:?}");
        assert_eq!((first["PRIORITY"].as_str(), heard[1]["PRIORITY"].as_str()), ("4", "3"));
        assert_eq!(first["SYSLOG_IDENTIFIER"], "tengyun-test");
        assert_eq!(first["TENGYUN_NODE"], "7");
        assert_eq!(first["TENGYUN_GENERATION"], "9");
        assert!(first["CODE_FILE"].ends_with("journald.rs") && first.contains_key("CODE_LINE"));
        assert_eq!(heard[1]["MESSAGE"], "alone");
    }

    #[test]
    fn a_value_of_several_lines_forges_no_field() {
        let heard = Fake::new().hear(|| {
            tracing::info!(said = "a\nPRIORITY=0\n_UID=0", "line\nMESSAGE_ID=x");
        });
        let first = &heard[0];
        assert_eq!(first["PRIORITY"], "6");
        assert_eq!(first["TENGYUN_SAID"], "a\nPRIORITY=0\n_UID=0");
        assert!(!first.contains_key("_UID") && !first.contains_key("MESSAGE_ID"));
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let heard = Fake::new().hear(|| tracing::info!(long = "字".repeat(100_000), "cut"));
        let long = &heard[0]["TENGYUN_LONG"];
        assert!(long.len() <= VALUE_BYTES_MAX && long.ends_with('字'), "{} bytes", long.len());
    }

    #[test]
    fn a_journal_that_is_gone_costs_no_event() {
        let fake = Fake::new();
        let journal = Journald::open(&fake.dir.path().join("socket"), "tengyun-test").unwrap();
        drop(fake);
        let subscriber = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(subscriber, || tracing::info!("goes to standard error"));
    }

    #[test]
    fn a_missing_journal_is_an_error_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Journald::open(&dir.path().join("none"), "tengyun-test").is_err());
    }
}
