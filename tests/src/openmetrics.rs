//! A strict reader of `OpenMetrics` text (version 1.0), as far as our exporters use it: whatever the
//! specification forbids is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What an exporter says that it tells.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One family of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// Its type.
    pub kind: String,
    /// Its unit; empty where it has none.
    pub unit: String,
    /// What it means.
    pub help: String,
    /// Its samples: name, labels, value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// Labels by their names.
pub type Labels = BTreeMap<String, String>;

/// Asks a socket as a scraper does, and returns the text.
///
/// # Panics
/// It is not answered as the specification says.
pub fn scrape(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).expect("the exporter is there");
    let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answer = String::new();
    asked.and_then(|()| stream.read_to_string(&mut answer)).expect("the exporter answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains(&format!("Content-Type: {CONTENT_TYPE}")), "{head}");
    body.to_owned()
}

/// Returns the sample of a name without labels.
///
/// # Panics
/// There is none.
pub fn figure(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no whole number {name} in\n{text}"))
}

/// Reads a whole text.
///
/// # Errors
/// Says what is wrong with which line.
pub fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut open = String::new();
    for line in body.lines() {
        let fault = |what: &str| format!("{what}: {line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').ok_or_else(|| fault("no descriptor"))?;
            let (name, value) = rest.split_once(' ').ok_or_else(|| fault("no value"))?;
            if !is_name(name) {
                return Err(fault("a bad name"));
            }
            if name != open {
                if families.contains_key(name) {
                    return Err(fault("a family that was closed"));
                }
                name.clone_into(&mut open);
            }
            let family = families.entry(name.to_owned()).or_default();
            let place = match word {
                "TYPE" => &mut family.kind,
                "UNIT" if name.ends_with(&format!("_{value}")) => &mut family.unit,
                "HELP" => &mut family.help,
                _ => return Err(fault("an unknown descriptor, or a unit that is no suffix")),
            };
            if !place.is_empty() || !family.samples.is_empty() {
                return Err(fault("a descriptor twice, or after samples"));
            }
            value.clone_into(place);
            continue;
        }
        let sample = sample(line).map_err(|what| fault(&what))?;
        let family = families.get_mut(&open).ok_or_else(|| fault("a sample without a family"))?;
        if !allowed(&family.kind, &open, &sample) {
            return Err(fault("a sample that its family may not have"));
        }
        if family.samples.iter().any(|(n, l, _)| (n, l) == (&sample.0, &sample.1)) {
            return Err(fault("a sample twice"));
        }
        family.samples.push(sample);
    }
    for (name, family) in &families {
        if family.kind == "histogram" {
            histogram(family).map_err(|what| format!("{name}: {what}"))?;
        }
        if family.help.is_empty() || family.kind.is_empty() {
            return Err(format!("{name} has no help or no type"));
        }
    }
    Ok(families)
}

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(good)
}

/// Says whether a family of a kind may have such a sample.
fn allowed(kind: &str, family: &str, (name, labels, value): &(String, Labels, f64)) -> bool {
    let Some(suffix) = name.strip_prefix(family) else { return false };
    match kind {
        "gauge" => suffix.is_empty(),
        "counter" => suffix == "_total" && *value >= 0.0,
        "info" => suffix == "_info" && (*value - 1.0).abs() < f64::EPSILON,
        "histogram" => match suffix {
            "_bucket" => labels.contains_key("le") && *value >= 0.0,
            "_count" | "_sum" => *value >= 0.0,
            _ => false,
        },
        _ => false,
    }
}

/// Checks that buckets ascend, grow, and end with all.
fn histogram(family: &Family) -> Result<(), String> {
    let of = |suffix: &str| {
        let all = family.samples.iter().filter(|(name, ..)| name.ends_with(suffix));
        all.map(|(_, labels, value)| (labels.get("le").cloned(), *value)).collect::<Vec<_>>()
    };
    let (buckets, counts) = (of("_bucket"), of("_count"));
    let bound = |le: &Option<String>| match le.as_deref() {
        Some("+Inf") => Some(f64::INFINITY),
        Some(le) => le.parse::<f64>().ok().filter(|_| le.contains('.')),
        None => None,
    };
    let bounds: Option<Vec<f64>> = buckets.iter().map(|(le, _)| bound(le)).collect();
    let bounds = bounds.ok_or("a bound is no number")?;
    if bounds.windows(2).any(|w| w[0] >= w[1]) || bounds.last() != Some(&f64::INFINITY) {
        return Err("the bounds do not ascend to +Inf".to_owned());
    }
    if buckets.windows(2).any(|w| w[0].1 > w[1].1) {
        return Err("the buckets do not grow".to_owned());
    }
    if of("_sum").len() != 1 || counts.len() != 1 {
        return Err("it has no sum or no count".to_owned());
    }
    let last = buckets.last().map(|(_, value)| *value);
    if last == Some(counts[0].1) { Ok(()) } else { Err("the count is another".to_owned()) }
}

fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return Err("a bad name".to_owned());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = value.parse::<f64>().map_err(|_| "the value is no number")?;
    Ok((name.to_owned(), labels, value))
}

/// Reads labels up to their closing brace.
fn labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let (mut labels, mut seen) = (Labels::new(), BTreeSet::new());
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name) || !seen.insert(name.to_owned()) {
            return Err("a bad label, or one twice".to_owned());
        }
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a value without an end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next().map(|(_, c)| c) {
                    Some('n') => value.push('\n'),
                    Some(c @ ('\\' | '"')) => value.push(c),
                    _ => return Err("a bad escape".to_owned()),
                },
                (_, c) => value.push(c),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = after.get(end + 1..).unwrap_or_default();
        match rest.split_at_checked(1) {
            Some((",", more)) => rest = more,
            Some(("}", after)) => return Ok((labels, after)),
            _ => return Err("labels without an end".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n# HELP a_seconds A.\n\
        a_seconds_bucket{le=\"0.5\"} 1\na_seconds_bucket{le=\"+Inf\"} 2\na_seconds_count 2\n\
        a_seconds_sum 1.5\n# TYPE b counter\n# HELP b B.\nb_total{of=\"x\\\"\\\\\\ny\"} 3\n# EOF\n";

    #[test]
    fn what_is_right_is_read() {
        let families = parse(GOOD).unwrap();
        assert_eq!(families["a_seconds"].unit, "seconds");
        assert_eq!(families["b"].samples[0].1["of"], "x\"\\\ny");
    }

    #[test]
    fn what_the_specification_forbids_is_found() {
        for (good, bad) in [
            ("# EOF\n", ""),
            ("# EOF\n", "# EOF\nx 1\n"),
            ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
            ("b_total{", "b{"),
            ("a_seconds_count 2", "a_seconds_count 3"),
            ("le=\"0.5\"} 1", "le=\"0.5\"} 9"),
            ("le=\"0.5\"", "le=\"1\""),
            ("a_seconds_sum 1.5\n", ""),
            ("# TYPE b counter", "# TYPE a_seconds counter"),
            ("} 3", "} three"),
            ("} 3", "}  3"),
            ("\\ny", "\\ty"),
            ("# HELP b B.\n", ""),
            ("# HELP b B.\n", "# HELP b B.\n\n"),
        ] {
            let text = GOOD.replacen(good, bad, 1);
            assert!(parse(&text).is_err(), "{bad:?} was not found in\n{text}");
        }
    }
}
