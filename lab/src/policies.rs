//! Policies: those that ship, by name, and files of knobs in TOML, read and written.
//!
//! A file names knobs by whole numbers, or by tables that also say unit, default and reason; what it
//! says of them must be so in this release. Reading judges no ranges: the engine does, when the values
//! are set. It must never change anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use tengyun_engine::policy::{KNOBS, Knob};
use tengyun_engine::{Policy, Refusal};
use toml::Value;

/// The largest policy file: far more than all knobs with their reasons.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The longest reason, in characters: a paragraph.
const TEXT_CHARS_MAX: usize = 1000;
/// How much of what was written wrongly is shown.
const SHOWN_CHARS_MAX: usize = 500;
/// The key of what a file says of itself.
const ABOUT: &str = "about";

/// The policies that ship, by name.
pub const NAMED: [(&str, &str); 3] = [
    ("default", include_str!("../policies/default.toml")),
    ("energy", include_str!("../policies/energy.toml")),
    ("careful", include_str!("../policies/careful.toml")),
];

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// No policy has this name and no file is called so.
    #[error("no policy is called {0} and no file either: give default, energy, careful or a file")]
    Unknown(String),
    /// The file cannot be read, or is no plain file of a reasonable size.
    #[error("{0}")]
    File(String),
    /// It is not TOML.
    #[error("{0}")]
    Syntax(String),
    /// A knob that does not exist.
    #[error("no knob is called {name}; did you mean {near}?")]
    UnknownKnob {
        /// As it was written.
        name: String,
        /// The nearest that there is.
        near: &'static str,
    },
    /// A value that is no whole number.
    #[error("{0} must be a whole number, 0 or more, or a table that says it as its value")]
    Number(&'static str),
    /// Something that is not said of a knob, or not in this way.
    #[error("{knob}: of a knob can be said value, unit, default and reason, not {field}")]
    Field {
        /// The knob.
        knob: &'static str,
        /// What was said.
        field: String,
    },
    /// Another unit than the knob has.
    #[error("the unit of {knob} is \"{is}\", not \"{said}\"")]
    Unit {
        /// The knob.
        knob: &'static str,
        /// Its unit.
        is: &'static str,
        /// What the file says.
        said: String,
    },
    /// Another default than the knob has.
    #[error(
        "the default of {knob} is {is} in this release, not {said}: the file was written for another"
    )]
    Default {
        /// The knob.
        knob: &'static str,
        /// Its default.
        is: u64,
        /// What the file says.
        said: String,
    },
    /// A text that is too long, or no text.
    #[error("{0} must be a text of at most {TEXT_CHARS_MAX} characters")]
    Text(String),
    /// The engine does not take these knobs.
    #[error("the engine does not take this policy: {0}")]
    Refused(Refusal),
}

/// A policy as a file says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFile {
    /// What it is for.
    pub about: String,
    /// Its knobs; all others have their defaults.
    pub knobs: BTreeMap<String, u64>,
    /// Why, knob by knob, where it says so.
    pub reasons: BTreeMap<String, String>,
}

impl PolicyFile {
    /// Parses a policy; ranges are left to the engine.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        let table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| PolicyFault::Syntax(shown(&e.to_string())))?;
        let mut file = Self::default();
        for (name, value) in table {
            if name == ABOUT {
                file.about = said_text(ABOUT, &value)?;
                continue;
            }
            file.take(known(&name)?, value)?;
        }
        Ok(file)
    }

    fn take(&mut self, knob: &'static Knob, value: Value) -> Result<(), PolicyFault> {
        let number = |value: &Value| {
            let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
            number.ok_or(PolicyFault::Number(knob.name))
        };
        let Value::Table(fields) = value else {
            self.knobs.insert(knob.name.to_owned(), number(&value)?);
            return Ok(());
        };
        let chosen = fields.get("value").ok_or(PolicyFault::Number(knob.name))?;
        self.knobs.insert(knob.name.to_owned(), number(chosen)?);
        for (field, said) in &fields {
            match field.as_str() {
                "value" => {}
                "unit" if said.as_str() == Some(knob.unit) => {}
                "unit" => {
                    let said = shown(said.as_str().unwrap_or("something else"));
                    return Err(PolicyFault::Unit { knob: knob.name, is: knob.unit, said });
                }
                "default" if number(said)? == knob.default => {}
                "default" => {
                    let said = number(said)?.to_string();
                    return Err(PolicyFault::Default { knob: knob.name, is: knob.default, said });
                }
                "reason" => {
                    let name = format!("the reason of {}", knob.name);
                    self.reasons.insert(knob.name.to_owned(), said_text(&name, said)?);
                }
                other => {
                    return Err(PolicyFault::Field { knob: knob.name, field: shown(other) });
                }
            }
        }
        Ok(())
    }

    /// Reads a file, which must be a plain one: a pipe without a writer would be an empty policy, and
    /// a device never ends.
    pub fn read(path: &Path) -> Result<Self, PolicyFault> {
        let fault = |error: std::io::Error| PolicyFault::File(error.to_string());
        // Asked before it is opened: opening a pipe waits for its other end.
        if !std::fs::metadata(path).map_err(fault)?.is_file() {
            return Err(PolicyFault::File("it is not a plain file".to_owned()));
        }
        let mut text = String::new();
        let mut file = File::open(path).map_err(fault)?.take(FILE_BYTES_MAX + 1);
        let bytes = file.read_to_string(&mut text).map_err(fault)?;
        if u64::try_from(bytes).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
            let kib = FILE_BYTES_MAX / 1024;
            return Err(PolicyFault::File(format!("it is larger than {kib} KiB")));
        }
        Self::parse(&text)
    }

    /// Finds the policy that a name or a path means. A name comes first: `./energy` is a file.
    pub fn find(text: &str) -> Result<Self, PolicyFault> {
        if let Some(named) = named(text) {
            return Ok(named);
        }
        let path = Path::new(text);
        if path.exists() { Self::read(path) } else { Err(PolicyFault::Unknown(shown(text))) }
    }

    /// Returns the knobs, once the engine would take them.
    pub fn checked(self) -> Result<BTreeMap<String, u64>, PolicyFault> {
        Policy::new(self.knobs.clone()).map_err(PolicyFault::Refused)?;
        Ok(self.knobs)
    }

    /// Writes it: every knob that it names, with unit, default and reason. What is written is read as
    /// the same policy again.
    pub fn render(&self) -> String {
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        let mut text = String::new();
        if !self.about.is_empty() {
            writeln!(text, "{ABOUT} = {}", quoted(&self.about)).expect("memory takes it");
        }
        for knob in KNOBS {
            let Some(value) = self.knobs.get(knob.name) else { continue };
            let reason = self.reasons.get(knob.name).map_or(knob.reason, String::as_str);
            let (name, unit, default) = (knob.name, quoted(knob.unit), knob.default);
            let reason = quoted(reason);
            writeln!(
                text,
                "\n[{name}]\nvalue = {value}\nunit = {unit}\ndefault = {default}\nreason = {reason}"
            )
            .expect("memory takes it");
        }
        text
    }
}

/// Returns a policy that ships.
pub fn named(name: &str) -> Option<PolicyFile> {
    let (_, text) = NAMED.iter().find(|(known, _)| *known == name)?;
    Some(PolicyFile::parse(text).expect("what ships is read by a test"))
}

/// Returns the knob of a name, or what it may have meant.
pub fn known(name: &str) -> Result<&'static Knob, PolicyFault> {
    let found = KNOBS.iter().find(|k| k.name == name);
    found.ok_or_else(|| {
        // The begin of a name is nearer to it than a short name that is spelt alike.
        let far = |knob: &str| (!knob.starts_with(name), strsim::osa_distance(knob, name));
        let near = KNOBS.iter().map(|k| k.name).min_by_key(|knob| (far(knob), *knob));
        PolicyFault::UnknownKnob { name: shown(name), near: near.unwrap_or("none") }
    })
}

fn said_text(what: &str, value: &Value) -> Result<String, PolicyFault> {
    let text = value.as_str().filter(|text| text.chars().count() <= TEXT_CHARS_MAX);
    text.map(str::to_owned).ok_or_else(|| PolicyFault::Text(what.to_owned()))
}

fn shown(text: &str) -> String {
    text.trim_end().chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_default() -> PolicyFile {
        let value = |k: &Knob| (k.name.to_owned(), k.default);
        let reason = |k: &Knob| (k.name.to_owned(), k.reason.to_owned());
        PolicyFile {
            about: named("default").unwrap().about,
            knobs: KNOBS.iter().map(value).collect(),
            reasons: KNOBS.iter().map(reason).collect(),
        }
    }

    #[test]
    fn the_default_that_ships_is_every_knob_as_the_engine_has_it() {
        expect_test::expect_file!["../policies/default.toml"].assert_eq(&every_default().render());
        assert_eq!(Policy::new(named("default").unwrap().knobs).unwrap(), Policy::default());
    }

    #[test]
    fn what_ships_says_unit_default_and_reason_of_every_knob_and_is_taken() {
        for (name, text) in NAMED {
            let file = named(name).unwrap();
            assert_eq!(file.render(), text, "{name} is written as it is read");
            assert!(!file.about.is_empty(), "{name}");
            for knob in file.knobs.keys() {
                assert!(file.reasons.contains_key(knob), "{name}: {knob}");
            }
            file.checked().unwrap();
        }
    }

    #[test]
    fn a_policy_that_was_written_is_read_as_the_same() {
        let mut file = every_default();
        file.about = "quotes \" and \\ and\nlines".to_owned();
        file.knobs.insert("band_target".to_owned(), 700);
        file.reasons.insert("band_target".to_owned(), "'''\t\u{7f}".to_owned());
        assert_eq!(PolicyFile::parse(&file.render()).unwrap(), file);
    }

    #[test]
    fn numbers_and_tables_are_read_alike() {
        let short = PolicyFile::parse("band_target = 700\n# a remark\n").unwrap();
        let long = "[band_target]\nvalue = 700\nunit = \"permille of CPU\"\ndefault = 720\n";
        assert_eq!(PolicyFile::parse(long).unwrap(), short);
        assert_eq!(short.knobs, BTreeMap::from([("band_target".to_owned(), 700)]));
        assert_eq!(PolicyFile::parse("# all defaults\n").unwrap(), PolicyFile::default());
    }

    #[test]
    fn bad_files_are_refused_and_say_why() {
        let long = format!("about = \"{}\"", "x".repeat(TEXT_CHARS_MAX + 1));
        let cases: [(&str, &str); 18] = [
            ("consolidate = -1", "must be a whole number, 0 or more"),
            ("consolidate = 1.5", "must be a whole number, 0 or more"),
            ("consolidate = \"1\"", "must be a whole number, 0 or more"),
            ("consolidate = 99999999999999999999", "consolidate"),
            ("band_flor = 1", "did you mean band_floor?"),
            ("[band]\nfloor = 1", "did you mean band_floor?"),
            ("consolidate = 1\nconsolidate = 0", "duplicate key"),
            ("[consolidate]\nvalue = 1\n[consolidate]\nvalue = 0", "duplicate key"),
            ("= 1", "TOML parse error"),
            ("\0", "TOML parse error"),
            ("[consolidate]\nunit = \"0 no, 1 yes\"", "must be a whole number"),
            ("[consolidate]\nvalue = [1]", "must be a whole number"),
            (
                "[band_floor]\nvalue = 60\nunit = \"percent\"",
                "is \"permille of CPU\", not \"percent",
            ),
            ("[band_floor]\nvalue = 60\nunit = 1", "not \"something else\""),
            ("[band_floor]\nvalue = 60\ndefault = 1", "written for another"),
            ("[band_floor]\nvalue = 60\nmax = 1", "not max"),
            ("[band_floor]\nvalue = 60\nreason = 1", "must be a text"),
            (&long, "about must be a text of at most 1000 characters"),
        ];
        for (text, why) in cases {
            let fault = PolicyFile::parse(text).unwrap_err().to_string();
            assert!(fault.contains(why), "{text:?}: {fault}");
        }
        let beyond = PolicyFile::parse("band_floor = 1001").unwrap().checked().unwrap_err();
        assert!(beyond.to_string().contains("must be 0 to 1000"), "{beyond}");
    }

    #[test]
    fn only_plain_files_of_a_reasonable_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.toml");
        let read = || PolicyFile::read(&path).map_err(|fault| fault.to_string());
        assert!(read().unwrap_err().contains("No such file"));
        std::fs::write(&path, "# x\n".repeat(20_000)).unwrap();
        assert_eq!(read().unwrap_err(), "it is larger than 64 KiB");
        std::fs::write(&path, b"consolidate = \xff").unwrap();
        assert!(read().unwrap_err().contains("UTF-8"));
        std::fs::write(&path, "consolidate = 0").unwrap();
        assert_eq!(read().unwrap().knobs["consolidate"], 0);
        assert_eq!(PolicyFile::read(dir.path()).unwrap_err().to_string(), "it is not a plain file");
        let unknown = PolicyFile::find("no-such-policy").unwrap_err().to_string();
        assert!(unknown.contains("give default, energy, careful or a file"), "{unknown}");
    }
}
