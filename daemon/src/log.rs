//! The log of a daemon: to the journal of systemd with every field, or to standard error.

mod journald;

use std::io;
use std::path::Path;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use journald::Journald;

/// The variable that says what is logged, such as `info` or `tengyun_scheduler=debug`.
const LEVELS: &str = "TENGYUN_LOG";
/// What systemd says of the standard error that it gave us: its device and inode.
const STREAM: &str = "JOURNAL_STREAM";
/// Where the journal takes entries.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// How log lines look, and where they go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// The journal where systemd started us, else text
    #[default]
    Auto,
    /// For people, to standard error
    Text,
    /// For machines, to standard error
    Json,
    /// The journal of systemd, with every field
    Journald,
}

/// Tells why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The variable says nothing that can be understood.
    #[error("{LEVELS}={0:?} says no levels; try info")]
    Levels(String),
    /// The journal cannot be reached.
    #[error("cannot reach the journal at {JOURNAL}: choose another --log-format")]
    Journal(#[source] io::Error),
    /// Another log was started in this process.
    #[error("the log was started before")]
    Twice,
}

/// Starts the log of a program under a name.
pub fn start(format: LogFormat, program: &'static str) -> Result<(), LogError> {
    let text = std::env::var(LEVELS).unwrap_or_else(|_| "info".to_owned());
    let levels: Targets = text.parse().map_err(|_| LogError::Levels(text))?;
    let stream = std::env::var(STREAM).unwrap_or_default();
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    let started = match resolve(format, is_of_journal(&stream)) {
        LogFormat::Journald => {
            let journal = Journald::open(Path::new(JOURNAL), program).map_err(LogError::Journal)?;
            registry.with(journal.with_filter(levels)).try_init()
        }
        LogFormat::Json => registry.with(layer.json().with_filter(levels)).try_init(),
        LogFormat::Auto | LogFormat::Text => {
            registry.with(layer.with_ansi(false).with_filter(levels)).try_init()
        }
    };
    started.map_err(|_| LogError::Twice)
}

/// Says what `auto` means here.
fn resolve(format: LogFormat, of_journal: bool) -> LogFormat {
    match format {
        LogFormat::Auto if of_journal && Path::new(JOURNAL).exists() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        said => said,
    }
}

/// Says whether our standard error is the stream that systemd speaks of. It may not be: whoever a
/// service starts inherits the variable and may write elsewhere.
fn is_of_journal(stream: &str) -> bool {
    let Ok(own) = nix::sys::stat::fstat(io::stderr()) else { return false };
    is_stream(stream, (own.st_dev, own.st_ino))
}

fn is_stream(stream: &str, (device, inode): (u64, u64)) -> bool {
    let parts = stream.split_once(':');
    let parsed = parts.and_then(|(d, i)| Some((d.parse::<u64>().ok()?, i.parse::<u64>().ok()?)));
    parsed == Some((device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_taken_only_where_standard_error_is_its_stream() {
        assert!(is_stream("8:1234", (8, 1234)));
        for other in ["", "8", "8:", "8:1235", "9:1234", "8:1234:5", "x:y"] {
            assert!(!is_stream(other, (8, 1234)), "{other}");
        }
        assert_eq!(resolve(LogFormat::Auto, false), LogFormat::Text);
        assert_eq!(resolve(LogFormat::Json, true), LogFormat::Json);
    }
}
