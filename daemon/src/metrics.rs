//! Metrics as `OpenMetrics` text: written exactly, without floating point.
//!
//! A family is declared once with its kind, unit and help; its samples follow. Labels have a handful of
//! values each: what grows with the cloud is counted, not listed.

mod histogram;
mod process;
mod serve;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

pub use histogram::Histogram;
pub use process::process;
pub use serve::{Socket, SocketError};

/// What the text is sent as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Where the text is asked for.
pub const PATH: &str = "/metrics";

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value now.
    Gauge,
    /// A count that only grows.
    Counter,
    /// Facts that are words.
    Info,
}

/// A value in base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// As it is.
    Whole(u64),
    /// Milliseconds, shown as seconds; or thousandths of a whole.
    Thousandths(u64),
    /// Microseconds, shown as seconds.
    Millionths(u64),
}

impl From<u64> for Value {
    fn from(whole: u64) -> Self {
        Self::Whole(whole)
    }
}

impl From<usize> for Value {
    fn from(whole: usize) -> Self {
        Self::Whole(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Value {
    fn from(holds: bool) -> Self {
        Self::Whole(u64::from(holds))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Thousandths(parts) => write!(f, "{}.{:03}", parts / 1000, parts % 1000),
            Self::Millionths(parts) => {
                write!(f, "{}.{:06}", parts / 1_000_000, parts % 1_000_000)
            }
        }
    }
}

/// A text in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    names: BTreeSet<&'static str>,
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    suffix: &'static str,
}

impl Exposition {
    /// Declares a family. Its name ends with its unit; a unit is empty where there is none.
    pub fn family(
        &mut self,
        kind: Kind,
        name: &'static str,
        unit: &'static str,
        help: &str,
    ) -> Family<'_> {
        let (word, suffix) = match kind {
            Kind::Gauge => ("gauge", ""),
            Kind::Counter => ("counter", "_total"),
            Kind::Info => ("info", "_info"),
        };
        self.declare(word, name, unit, help);
        Family { text: &mut self.text, name, suffix }
    }

    /// Declares a family of one sample without labels.
    pub fn one(
        &mut self,
        kind: Kind,
        (name, unit): (&'static str, &'static str),
        help: &str,
        value: impl Into<Value>,
    ) {
        self.family(kind, name, unit, help).sample(&[], value);
    }

    /// Writes a histogram of durations.
    pub fn histogram(&mut self, name: &'static str, help: &str, histogram: &Histogram) {
        self.declare("histogram", name, "seconds", help);
        histogram.write(name, &mut self.text);
    }

    fn declare(&mut self, kind: &str, name: &'static str, unit: &'static str, help: &str) {
        assert!(self.names.insert(name), "{name} is declared twice");
        assert!(unit.is_empty() || name.ends_with(unit), "{name} does not end with its unit");
        line(&mut self.text, format_args!("# TYPE {name} {kind}"));
        if !unit.is_empty() {
            line(&mut self.text, format_args!("# UNIT {name} {unit}"));
        }
        line(&mut self.text, format_args!("# HELP {name} {}", escaped(help)));
    }

    /// Ends the text.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

impl Family<'_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        let (name, suffix) = (self.name, self.suffix);
        let value = value.into();
        line(self.text, format_args!("{name}{suffix}{} {value}", Labels(labels)));
    }
}

/// Labels in their braces; nothing where there are none.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(f, "{before}{name}=\"{}\"", escaped(value))?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn line(text: &mut String, content: fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("a string takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_in_base_units() {
        assert_eq!(Value::Thousandths(1_234_567).to_string(), "1234.567");
        assert_eq!(Value::Millionths(1).to_string(), "0.000001");
        assert_eq!(Value::from(u64::MAX).to_string(), "18446744073709551615");
    }

    #[test]
    fn families_have_their_suffixes_and_labels_are_escaped() {
        let mut text = Exposition::default();
        let mut moves = text.family(Kind::Counter, "tengyun_moves", "", "Moves \"ever\".");
        moves.sample(&[("reason", "a\"b\\c\nd")], 3_u64);
        text.one(Kind::Gauge, ("tengyun_age_seconds", "seconds"), "Age.", Value::Thousandths(5));
        text.family(Kind::Info, "tengyun_build", "", "Version.").sample(&[("version", "1")], true);
        let expected = "# TYPE tengyun_moves counter\n\
            # HELP tengyun_moves Moves \\\"ever\\\".\n\
            tengyun_moves_total{reason=\"a\\\"b\\\\c\\nd\"} 3\n\
            # TYPE tengyun_age_seconds gauge\n\
            # UNIT tengyun_age_seconds seconds\n\
            # HELP tengyun_age_seconds Age.\n\
            tengyun_age_seconds 0.005\n\
            # TYPE tengyun_build info\n\
            # HELP tengyun_build Version.\n\
            tengyun_build_info{version=\"1\"} 1\n\
            # EOF\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    #[should_panic(expected = "declared twice")]
    fn a_family_is_declared_once() {
        let mut text = Exposition::default();
        text.one(Kind::Gauge, ("tengyun_x", ""), "X.", 1_u64);
        text.one(Kind::Gauge, ("tengyun_x", ""), "X.", 1_u64);
    }
}
