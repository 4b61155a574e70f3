//! Decoding: trees become typed values, and every fault on the way is gathered.
//!
//! Nothing here knows a field; the types that `declare` writes do.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value as Json;
use tengyun_proto::convert::ITEMS_MAX;

use super::fault::{Faults, shown, shown_name};
use super::meaning::meaning;
use super::sentence::{Choice, Names, Sentence};
use super::suggest::nearest;
use super::yaml::{Entry, Node, Scalar, Sort, Tree, Value};

/// A value that a manifest can hold.
pub(super) trait Decode: JsonSchema + Sized {
    /// Decodes a value; whoever returns nothing has added a fault.
    fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self>;
}

/// A value written as one word or number.
pub(super) trait Leaf: JsonSchema + Sized {
    /// What would be right, as in "must be ...".
    const EXPECTED: Sentence;

    /// Parses it.
    fn parse(scalar: &Scalar) -> Option<Self>;
}

/// A value of a field, which may be left out if it is an option.
pub(super) trait Field: Sized {
    /// Whether leaving it out is a fault.
    const REQUIRED: bool;

    /// Decodes a present value.
    fn present(place: &Place<'_>, faults: &mut Faults) -> Option<Self>;

    /// Returns the value when it is left out.
    fn absent() -> Option<Self>;

    /// Describes a present value.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// What the macro `section!` knows of a field.
#[derive(Debug)]
pub(super) struct FieldFacts {
    pub(super) key: &'static str,
    pub(super) doc: &'static str,
    pub(super) default: Option<Json>,
}

/// A value, where it is, and how one gets there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    document: usize,
    line: usize,
    node: &'a Node,
    from: Option<(&'a Self, Step<'a>)>,
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl<'a> Place<'a> {
    pub(super) const fn root(tree: &'a Tree) -> Self {
        Self { document: tree.document, line: tree.root.line, node: &tree.root, from: None }
    }

    pub(super) const fn document(&self) -> usize {
        self.document
    }

    /// Adds a fault here.
    pub(super) fn fault(&self, message: Sentence, faults: &mut Faults) {
        faults.add(self.document, self.line, self.path(), message);
    }

    /// Adds a fault at a value below, or where it would be; a number is an item of a list.
    pub(super) fn fault_at(&self, steps: &[&str], message: Sentence, faults: &mut Faults) {
        let Some((step, rest)) = steps.split_first() else { return self.fault(message, faults) };
        if let (Value::List(items), Ok(index)) = (&self.node.value, step.parse::<usize>())
            && let Some(item) = items.get(index)
        {
            return self.item(index, item).fault_at(rest, message, faults);
        }
        match self.entry(step) {
            Some(entry) => self.below(entry).fault_at(rest, message, faults),
            None => self.absent(step, self.node).fault(message, faults),
        }
    }

    /// Adds the fault of a value that is something else than it must be.
    pub(super) fn refuse(&self, expected: Sentence, faults: &mut Faults) {
        if let Some(found) = self.found() {
            let (expected, found) = (Box::new(expected), Box::new(found));
            self.fault(Sentence::MustBe { expected, found }, faults);
        }
    }

    /// Says what stands here; nothing when that was refused already.
    fn found(&self) -> Option<Sentence> {
        Some(match &self.node.value {
            Value::Refused => return None,
            Value::List(_) => Sentence::FoundList {},
            Value::Map(_) => Sentence::FoundMap {},
            Value::Scalar(Scalar { sort: Sort::Null, .. }) => Sentence::FoundNothing {},
            Value::Scalar(_) if self.is_confidential() => Sentence::FoundSingleText {},
            Value::Scalar(scalar) => found(scalar),
        })
    }

    /// Returns the scalar that stands here, if one does.
    pub(super) fn scalar(&self) -> Option<&'a Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::List(_) | Value::Map(_) | Value::Refused => None,
        }
    }

    pub(super) const fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Opens a map of known fields and refuses the unknown ones.
    pub(super) fn open(&self, fields: &[&str], faults: &mut Faults) -> Option<()> {
        let Value::Map(entries) = &self.node.value else {
            self.refuse(a_map_of(fields), faults);
            return None;
        };
        let unknown = |entry: &&Entry| !fields.contains(&entry.key.text.as_str());
        for entry in entries.iter().filter(unknown) {
            let message = match nearest(&entry.key.text, fields) {
                Some(near) => Sentence::NoFieldNear { near: near.to_owned() },
                None => Sentence::NoField { fields: Names::new(fields) },
            };
            self.below(entry).fault(message, faults);
        }
        Some(())
    }

    /// Decodes one field of an open map.
    pub(super) fn field<T: Field>(&self, facts: &FieldFacts, faults: &mut Faults) -> Option<T> {
        if let Some(entry) = self.entry(facts.key) {
            return T::present(&self.below(entry), faults);
        }
        if let Some(default) = &facts.default {
            let node = Node::of_json(default, self.line);
            return T::present(&self.absent(facts.key, &node), faults);
        }
        if T::REQUIRED {
            let message = Sentence::Missing { meaning: meaning(facts.doc) };
            self.absent(facts.key, self.node).fault(message, faults);
        }
        T::absent()
    }

    /// Says whether this is a map with such a field.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        let Value::Map(entries) = &self.node.value else { return None };
        entries.iter().find(|entry| entry.key.text == key)
    }

    fn below<'b>(&'b self, entry: &'b Entry) -> Place<'b> {
        let from = Some((self, Step::Field(&entry.key.text)));
        Place { document: self.document, line: entry.line, node: &entry.node, from }
    }

    fn absent<'b>(&'b self, key: &'b str, node: &'b Node) -> Place<'b> {
        let from = Some((self, Step::Field(key)));
        Place { document: self.document, line: self.line, node, from }
    }

    fn item<'b>(&'b self, index: usize, node: &'b Node) -> Place<'b> {
        let from = Some((self, Step::Item(index)));
        Place { document: self.document, line: node.line, node, from }
    }

    fn path(&self) -> String {
        let Some((parent, step)) = &self.from else { return String::new() };
        let mut path = parent.path();
        match step {
            Step::Item(index) => write!(path, "[{index}]").expect("a string takes everything"),
            Step::Field(key) => {
                let dot = if path.is_empty() { "" } else { "." };
                path.push_str(dot);
                path.push_str(&shown_name(key));
            }
        }
        path
    }

    /// Says whether the value may be a secret, which is never shown.
    fn is_confidential(&self) -> bool {
        let Some((parent, step)) = &self.from else { return false };
        let named = matches!(step, Step::Field("env" | "secrets" | "content" | "command"));
        named || parent.is_confidential()
    }
}

fn found(scalar: &Scalar) -> Sentence {
    match scalar.sort {
        Sort::Text => Sentence::FoundText { text: shown(&scalar.text) },
        Sort::Number => Sentence::FoundNumber { number: shown_name(&scalar.text) },
        Sort::Boolean => Sentence::FoundTruthValue { value: scalar.text.clone() },
        Sort::Null => Sentence::FoundNothing {},
    }
}

/// Names the first fields of a map; the whole list would hide the fault.
fn a_map_of(fields: &[&str]) -> Sentence {
    const NAMED_MAX: usize = 4;
    match fields.get(..NAMED_MAX) {
        Some(first) if fields.len() > NAMED_MAX => {
            Sentence::ExpectsMapOfMany { fields: Names::new(first) }
        }
        _ => Sentence::ExpectsMapOf { fields: Names::new(fields) },
    }
}

impl<T: Leaf> Decode for T {
    fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        let parsed = place.scalar().and_then(Self::parse);
        if parsed.is_none() {
            place.refuse(Self::EXPECTED, faults);
        }
        parsed
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        let Value::List(items) = &place.node.value else {
            place.refuse(Sentence::ExpectsList {}, faults);
            return None;
        };
        check_count(items.len(), place, faults)?;
        let decode = |(index, node)| T::decode(&place.item(index, node), faults);
        // Every item is decoded, so that all their faults are found.
        let decoded: Vec<Option<T>> = items.iter().enumerate().map(decode).collect();
        decoded.into_iter().collect()
    }
}

impl<K: Leaf + Ord, V: Decode> Decode for BTreeMap<K, V> {
    fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        let Value::Map(entries) = &place.node.value else {
            place.refuse(Sentence::ExpectsMap {}, faults);
            return None;
        };
        check_count(entries.len(), place, faults)?;
        let mut all = Some(Self::new());
        for entry in entries {
            let below = place.below(entry);
            let key = K::parse(&entry.key);
            if key.is_none() {
                let expected = Box::new(K::EXPECTED);
                below.fault(Sentence::NameMustBe { expected }, faults);
            }
            let value = V::decode(&below, faults);
            match (all.as_mut(), key, value) {
                (Some(map), Some(key), Some(value)) => drop(map.insert(key, value)),
                _ => all = None,
            }
        }
        all
    }
}

fn check_count(count: usize, place: &Place<'_>, faults: &mut Faults) -> Option<()> {
    if count > ITEMS_MAX {
        place.fault(Sentence::TooManyItems { count, most: ITEMS_MAX }, faults);
        return None;
    }
    Some(())
}

impl<T: Decode> Field for T {
    const REQUIRED: bool = true;

    fn present(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        Self::decode(place, faults)
    }

    fn absent() -> Option<Self> {
        None
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl<T: Decode> Field for Option<T> {
    const REQUIRED: bool = false;

    fn present(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        T::decode(place, faults).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// Adds one field to the schema of a section.
pub(super) fn describe<T: Field>(
    facts: &FieldFacts,
    object: &mut Schema,
    generator: &mut SchemaGenerator,
) {
    let mut schema = T::schema(generator);
    schema.insert("description".to_owned(), facts.doc.into());
    let required = T::REQUIRED && facts.default.is_none();
    if let Some(default) = &facts.default {
        schema.insert("default".to_owned(), default.clone());
    }
    insert(facts.key, schema, required, object);
}

fn insert(key: &str, schema: Schema, required: bool, object: &mut Schema) {
    let object = object.ensure_object();
    if required && let Some(Json::Array(required)) = object.get_mut("required") {
        required.push(key.into());
    }
    if let Some(Json::Object(properties)) = object.get_mut("properties") {
        properties.insert(key.to_owned(), schema.to_value());
    }
}

/// Decodes one of several words.
pub(super) fn word<T: Copy>(
    words: &[(&'static str, T)],
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<T> {
    let text = place.scalar().filter(|s| s.sort == Sort::Text).map(|s| s.text.as_str());
    let found = words.iter().find(|(word, _)| Some(*word) == text);
    if let (None, Some(other)) = (found, place.found()) {
        let all: Vec<&'static str> = words.iter().map(|w| w.0).collect();
        let near = text.and_then(|text| nearest(text, &all));
        let what = Sentence::MustBeOneOf { words: Choice(all), found: Box::new(other) };
        let message = match near {
            Some(near) => Sentence::Near { what: Box::new(what), near },
            None => what,
        };
        place.fault(message, faults);
    }
    found.map(|(_, value)| *value)
}

/// Takes `r#` off a name that is a word of Rust.
pub(super) const fn key(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}
