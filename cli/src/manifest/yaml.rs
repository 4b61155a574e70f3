//! YAML: text becomes trees that know their lines.
//!
//! Only the plain part of YAML is taken: no anchors and aliases (so no document can grow when it is
//! read), no tags, no directives; depth and number of values are bounded.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use serde_saphyr::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StrInput};

use super::DOCUMENTS_MAX;
use super::fault::{Faults, shown_name};
use super::sentence::Sentence;
use super::syntax::words;

/// The deepest nesting; a full manifest needs five.
const DEPTH_MAX: usize = 16;
/// The most values of one file; a bound on memory beside the file's size.
const NODES_MAX: usize = 100_000;

const TOO_DEEP: Sentence = Sentence::TooDeep { most: DEPTH_MAX };

/// One document.
#[derive(Debug)]
pub(super) struct Tree {
    /// Its place in the file, counted from one.
    pub(super) document: usize,
    pub(super) root: Node,
}

/// One value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Refused already; nothing more is to be said about it.
    Refused,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Scalar,
    pub(super) line: usize,
    pub(super) node: Node,
}

/// A text and what YAML takes it for.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) sort: Sort,
}

/// What a scalar is in YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Text,
    Number,
    Boolean,
    Null,
}

/// Reads every document that can be read. Empty documents are left out.
pub(super) fn read(text: &str, faults: &mut Faults) -> Vec<Tree> {
    let options = serde_saphyr::granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX + 1,
        block_nesting_limit: DEPTH_MAX + 1,
    };
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        faults,
        document: 0,
        nodes: 0,
        open: Vec::new(),
    };
    let mut trees = Vec::new();
    loop {
        match reader.document() {
            Ok(Next::Tree(tree)) => trees.push(tree),
            Ok(Next::Empty) => {}
            Err(Stop::Document) if reader.skip() => {}
            Ok(Next::End) | Err(Stop::Document | Stop::File) => return trees,
        }
    }
}

impl Node {
    /// Makes the node that a default would have been read as.
    pub(super) fn of_json(json: &Json, line: usize) -> Self {
        let scalar = |text: String, sort| Value::Scalar(Scalar { text, sort });
        let value = match json {
            Json::Null => scalar(String::new(), Sort::Null),
            Json::Bool(value) => scalar(value.to_string(), Sort::Boolean),
            Json::Number(number) => scalar(number.to_string(), Sort::Number),
            Json::String(text) => scalar(text.clone(), Sort::Text),
            Json::Array(items) => {
                Value::List(items.iter().map(|item| Self::of_json(item, line)).collect())
            }
            Json::Object(fields) => {
                let entry = |(key, json): (&String, &Json)| Entry {
                    key: Scalar { text: key.clone(), sort: Sort::Text },
                    line,
                    node: Self::of_json(json, line),
                };
                Value::Map(fields.iter().map(entry).collect())
            }
        };
        Self { line, value }
    }
}

impl Scalar {
    fn new(text: String, style: ScalarStyle) -> Self {
        let sort = if style == ScalarStyle::Plain { sort(&text) } else { Sort::Text };
        Self { text, sort }
    }
}

/// Says what a plain scalar is, by the core schema of YAML 1.2.
fn sort(text: &str) -> Sort {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Sort::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Sort::Boolean,
        _ if is_number(text) => Sort::Number,
        _ => Sort::Text,
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let special = matches!(unsigned, ".inf" | ".Inf" | ".INF");
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    special
        || matches!(text, ".nan" | ".NaN" | ".NAN")
        || numeric && unsigned.parse::<f64>().is_ok()
}

/// What comes next in a file.
enum Next {
    Tree(Tree),
    /// A document without a value.
    Empty,
    End,
}

/// Why reading went no further.
enum Stop {
    /// The rest of this document cannot be read.
    Document,
    /// Nothing more can be read.
    File,
}

/// A list or map that is not complete.
enum Open {
    List { line: usize, items: Vec<Node> },
    Map(OpenMap),
}

/// A map that is not complete.
struct OpenMap {
    line: usize,
    entries: Vec<Entry>,
    /// The key whose value comes next; one that was refused has no text.
    key: Option<(usize, Option<Scalar>)>,
    /// Where each key was first given.
    lines: BTreeMap<String, usize>,
}

impl OpenMap {
    const fn new(line: usize) -> Self {
        Self { line, entries: Vec::new(), key: None, lines: BTreeMap::new() }
    }
}

struct Reader<'a, 'f> {
    parser: Parser<'a, StrInput<'a>>,
    faults: &'f mut Faults,
    document: usize,
    nodes: usize,
    open: Vec<Open>,
}

impl Reader<'_, '_> {
    /// Reads the next document.
    fn document(&mut self) -> Result<Next, Stop> {
        let mut root = None;
        loop {
            let Some(next) = self.parser.next() else { return Ok(Next::End) };
            let (event, span) = next.map_err(|error| self.refuse_syntax(&error))?;
            let line = span.start.line();
            match event {
                Event::StreamEnd => return Ok(Next::End),
                Event::DocumentStart(..) => self.begin(line)?,
                Event::DocumentEnd => {
                    let document = self.document;
                    let tree = root.filter(|node| !is_empty(node));
                    return Ok(tree.map_or(Next::Empty, |root| Next::Tree(Tree { document, root })));
                }
                other => root = self.take(other, line)?.or(root),
            }
        }
    }

    fn begin(&mut self, line: usize) -> Result<(), Stop> {
        self.document += 1;
        self.open.clear();
        if self.document > DOCUMENTS_MAX {
            self.fault(line, Sentence::TooManyDocuments { most: DOCUMENTS_MAX });
            return Err(Stop::File);
        }
        Ok(())
    }

    /// Takes one event and returns the root when it is complete.
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<Option<Node>, Stop> {
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_node(line, anchor, tag.is_some())?;
                Value::Scalar(Scalar::new(text.into_owned(), style))
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_node(line, anchor, tag.is_some())?;
                self.push(line, Open::List { line, items: Vec::new() })?;
                return Ok(None);
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_node(line, anchor, tag.is_some())?;
                self.push(line, Open::Map(OpenMap::new(line)))?;
                return Ok(None);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                return Ok(self.close().and_then(|node| self.place(node)));
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.check_node(line, 0, false)?;
                self.fault(line, Sentence::NoAnchors {});
                Value::Refused
            }
            _ => return Ok(None),
        };
        Ok(self.place(Node { line, value }))
    }

    fn check_node(&mut self, line: usize, anchor: usize, tagged: bool) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.fault(line, Sentence::TooManyValues { most: NODES_MAX });
            return Err(Stop::File);
        }
        if anchor != 0 {
            self.fault(line, Sentence::NoAnchors {});
        }
        if tagged {
            self.fault(line, Sentence::NoTags {});
        }
        Ok(())
    }

    fn push(&mut self, line: usize, open: Open) -> Result<(), Stop> {
        if self.open.len() >= DEPTH_MAX {
            self.fault(line, TOO_DEEP);
            return Err(Stop::Document);
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Option<Node> {
        Some(match self.open.pop()? {
            Open::List { line, items } => Node { line, value: Value::List(items) },
            Open::Map(map) => Node { line: map.line, value: Value::Map(map.entries) },
        })
    }

    /// Puts a complete node where it belongs, or returns it as the root.
    fn place(&mut self, node: Node) -> Option<Node> {
        let Some(open) = self.open.last_mut() else { return Some(node) };
        match open {
            Open::List { items, .. } => items.push(node),
            Open::Map(map) => match map.key.take() {
                Some((line, Some(key))) => map.entries.push(Entry { key, line, node }),
                Some((_, None)) => {}
                None => self.take_key(node),
            },
        }
        None
    }

    fn take_key(&mut self, node: Node) {
        let line = node.line;
        let scalar = match node.value {
            Value::Scalar(scalar) if scalar.sort != Sort::Null => Some(scalar),
            Value::Refused => None,
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                self.fault(line, Sentence::NameNotText {});
                None
            }
        };
        let first = scalar.as_ref().and_then(|scalar| self.first_line_of(&scalar.text, line));
        if let (Some(first), Some(scalar)) = (first, &scalar) {
            let name = shown_name(&scalar.text);
            self.fault(line, Sentence::GivenTwiceSince { name, first });
        }
        // Of a field given twice the first one is looked at.
        let scalar = scalar.filter(|_| first.is_none());
        if let Some(Open::Map(map)) = self.open.last_mut() {
            map.key = Some((line, scalar));
        }
    }

    /// Returns where the open map already has a key, or keeps where it has it now.
    fn first_line_of(&mut self, name: &str, line: usize) -> Option<usize> {
        let Some(Open::Map(map)) = self.open.last_mut() else { return None };
        let first = map.lines.get(name).copied();
        if first.is_none() {
            map.lines.insert(name.to_owned(), line);
        }
        first
    }

    fn refuse_syntax(&mut self, error: &ScanError) -> Stop {
        let line = error.marker().line();
        // An error before any document belongs to the one that would have begun.
        self.document = self.document.max(1);
        let message = match error.kind() {
            ErrorKind::RecursionLimitExceeded => TOO_DEEP,
            ErrorKind::DirectiveDisallowed => Sentence::NoDirectives {},
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart => Sentence::NoTabs {},
            _ => Sentence::NotYaml { what: words(error) },
        };
        self.fault(line, message);
        Stop::Document
    }

    /// Goes on with the next document after a fault; false when there is none.
    fn skip(&mut self) -> bool {
        self.open.clear();
        self.parser.proceed_next_document().unwrap_or(false)
    }

    fn fault(&mut self, line: usize, message: Sentence) {
        let path = self.path();
        self.faults.add(self.document, line, path, message);
    }

    /// Returns the path to what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::List { items, .. } => path = format!("{path}[{}]", items.len()),
                Open::Map(map) => {
                    let Some((_, Some(key))) = &map.key else { continue };
                    let dot = if path.is_empty() { "" } else { "." };
                    path = format!("{path}{dot}{}", shown_name(&key.text));
                }
            }
        }
        path
    }
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.sort == Sort::Null)
}
