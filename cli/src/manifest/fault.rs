//! Faults: what is wrong in a manifest, where, and what would be right.
//!
//! They may show a value, cut and escaped, but never one of a secret or of the environment.

use std::fmt;

use super::sentence::Sentence;
use crate::text::Language;

/// The most faults kept; a person repairs the first ones and tries again.
const FAULTS_MAX: usize = 100;
/// The most characters of a value or name shown.
const SHOWN_CHARS_MAX: usize = 64;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub origin: String,
    /// The document in the file, counted from one.
    pub document: usize,
    /// The line in the file, counted from one.
    pub line: usize,
    /// The field, such as `ports[0].number`; empty for the whole document.
    pub field: String,
    /// What is wrong and what would be right.
    pub(super) message: Sentence,
}

impl Fault {
    /// Says it in a language; file and line stand in front as editors and terminals know them.
    pub fn text(&self, language: Language) -> String {
        let document = Sentence::InDocument { document: self.document }.text(language);
        let message = self.message.text(language);
        let field = Some(self.field.as_str()).filter(|field| !field.is_empty());
        let parts: Vec<&str> = [Some(document.as_str()), field, Some(message.as_str())]
            .into_iter()
            .flatten()
            .collect();
        format!("{}:{}: {}", self.origin, self.line, parts.join(language.pick(": ", "：")))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::English))
    }
}

impl std::error::Error for Fault {}

/// The faults of one file, gathered.
#[derive(Debug)]
pub(super) struct Faults {
    origin: String,
    found: Vec<Fault>,
    more: usize,
}

impl Faults {
    pub(super) fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), found: Vec::new(), more: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Adds one, or counts it when there are too many to read.
    pub(super) fn add(
        &mut self,
        document: usize,
        line: usize,
        field: impl Into<String>,
        message: Sentence,
    ) {
        if self.found.len() >= FAULTS_MAX {
            self.more += 1;
            return;
        }
        let (origin, field) = (self.origin.clone(), field.into());
        self.found.push(Fault { origin, document, line, field, message });
    }

    /// Returns the faults in the order of lines.
    pub(super) fn finish(mut self) -> Result<(), Vec<Fault>> {
        self.found.sort_by_key(|f| (f.line, f.document));
        if let (Some(last), 1..) = (self.found.last().cloned(), self.more) {
            let message = Sentence::MoreFaults { count: self.more };
            self.found.push(Fault { field: String::new(), message, ..last });
        }
        if self.found.is_empty() { Ok(()) } else { Err(self.found) }
    }
}

/// Shows a text from a manifest in quotes: escaped and cut, so that it cannot forge a line.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let rest = if short.len() < text.len() { "..." } else { "" };
    format!("\"{}{rest}\"", short.escape_debug())
}

/// Shows the name of a field: a plain one as it is, any other as a text.
pub(super) fn shown_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let is_plain = !name.is_empty() && name.len() <= SHOWN_CHARS_MAX && name.chars().all(plain);
    if is_plain { name.to_owned() } else { shown(name) }
}
