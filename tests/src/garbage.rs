//! Garbage for every call, made from the descriptors: a new call is covered by itself.
//!
//! It knows how protobuf is written and what the fields are called, and nothing of what they are for.
//! Everything is made from a seed, so that the same garbage comes again.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// How deep messages are filled: deeper than ours go, and an end for those that hold themselves.
const DEPTH_MAX: usize = 8;
/// How many alternatives of a oneof are tried at most.
const ALTERNATIVES_MAX: usize = 16;
/// How often a field is repeated where it is repeated too often.
const REPEATS: usize = 50_000;
/// How deep unknown groups and messages are nested: more than any stack takes.
const NESTED: usize = 100_000;
/// How many times bits of an honest message are flipped.
const FLIPS: u64 = 24;

/// The calls and messages of some services.
#[derive(Debug, Default)]
pub struct Schema {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, Vec<i32>>,
    calls: Vec<Call>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its path, such as `/tengyun.v1.OperatorService/Status`.
    pub path: String,
    /// The name of the message that asks.
    pub input: String,
}

/// One field of a message that is about to be written.
#[derive(Clone, Debug)]
struct Field {
    number: u64,
    name: String,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Enum(u64),
    Fixed32(u32),
    Fixed64(u64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
    /// Written as it is, with its key.
    Raw(Vec<u8>),
}

/// One piece of garbage.
#[derive(Clone, Debug)]
pub struct Garbage {
    /// What it is, to find it again.
    pub what: String,
    /// The message.
    pub bytes: Vec<u8>,
}

impl Schema {
    /// Reads encoded sets of descriptors.
    pub fn of(sets: &[&[u8]]) -> Self {
        let mut schema = Self::default();
        for set in sets {
            let set = FileDescriptorSet::decode(*set).expect("a set of descriptors");
            for file in set.file {
                let package = format!(".{}", file.package());
                for message in &file.message_type {
                    schema.add(&package, message);
                }
                for words in &file.enum_type {
                    schema.add_enum(&package, words);
                }
                for service in &file.service {
                    for method in &service.method {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        schema.calls.push(Call { path, input: method.input_type().to_owned() });
                    }
                }
            }
        }
        schema
    }

    /// Returns every call.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    fn add(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        for words in &message.enum_type {
            self.add_enum(&name, words);
        }
        self.messages.insert(name, message.clone());
    }

    fn add_enum(&mut self, scope: &str, words: &prost_types::EnumDescriptorProto) {
        let numbers = words.value.iter().map(prost_types::EnumValueDescriptorProto::number);
        self.enums.insert(format!("{scope}.{}", words.name()), numbers.collect());
    }

    /// Makes messages in which every field is set to something honest: one for each alternative of
    /// the message's oneofs.
    pub fn honest(&self, message: &str) -> Vec<Vec<u8>> {
        self.alternatives(message).iter().map(|fields| encode(fields)).collect()
    }

    fn alternatives(&self, message: &str) -> Vec<Vec<Field>> {
        let most = self.messages.get(message).map_or(1, |found| {
            let of = |field: &FieldDescriptorProto| field.oneof_index;
            let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
            for oneof in found.field.iter().filter_map(of) {
                *counts.entry(oneof).or_default() += 1;
            }
            counts.into_values().max().unwrap_or(1)
        });
        (0..most.min(ALTERNATIVES_MAX)).map(|pick| self.fill(message, pick, 0)).collect()
    }

    fn fill(&self, message: &str, pick: usize, depth: usize) -> Vec<Field> {
        let Some(found) = self.messages.get(message).filter(|_| depth < DEPTH_MAX) else {
            return Vec::new();
        };
        let mut fields = Vec::new();
        for field in &found.field {
            if let Some(oneof) = field.oneof_index {
                let alternatives: Vec<i32> = found
                    .field
                    .iter()
                    .filter(|other| other.oneof_index == Some(oneof))
                    .map(FieldDescriptorProto::number)
                    .collect();
                if alternatives.get(pick % alternatives.len()) != Some(&field.number()) {
                    continue;
                }
            }
            let number = u64::from(field.number().unsigned_abs());
            let value = self.value(message, field, pick, depth);
            fields.push(Field { number, name: field.name().to_owned(), value });
        }
        fields
    }

    fn value(&self, owner: &str, field: &FieldDescriptorProto, pick: usize, depth: usize) -> Value {
        match field.r#type() {
            Type::Message | Type::Group => {
                Value::Message(self.fill(field.type_name(), pick, depth + 1))
            }
            Type::Enum => {
                let known = self.enums.get(field.type_name());
                let first = known.and_then(|numbers| numbers.iter().find(|n| **n > 0));
                Value::Enum(u64::from(first.copied().unwrap_or_default().unsigned_abs()))
            }
            Type::String => Value::Text(honest_text(owner, field.name()).into()),
            Type::Bytes => Value::Bytes(vec![7; 32]),
            Type::Fixed32 | Type::Sfixed32 | Type::Float => Value::Fixed32(1),
            Type::Fixed64 | Type::Sfixed64 | Type::Double => Value::Fixed64(1),
            Type::Bool => Value::Number(0),
            Type::Int32
            | Type::Int64
            | Type::Uint32
            | Type::Uint64
            | Type::Sint32
            | Type::Sint64 => Value::Number(honest_number(field)),
        }
    }

    /// Makes garbage for a message: honest ones with one thing wrong, and what is no message at all.
    pub fn garbage(&self, message: &str, seed: u64) -> Vec<Garbage> {
        let mut all = nonsense(seed);
        for (pick, honest) in self.alternatives(message).iter().enumerate() {
            let bytes = encode(honest);
            all.extend(damaged(&bytes, seed).map(|g| g.of(pick)));
            for path in paths(honest) {
                for (what, changed) in wrong(honest, &path) {
                    let what = format!("{}: {what}", named(honest, &path));
                    all.push(Garbage { what, bytes: encode(&changed) }.of(pick));
                }
            }
        }
        all
    }
}

impl Garbage {
    fn of(self, pick: usize) -> Self {
        Self { what: format!("{} (alternative {pick})", self.what), ..self }
    }
}

/// Makes a text that passes for what the field is called.
fn honest_text(owner: &str, name: &str) -> &'static str {
    match name {
        "operation_id" => "000000000000000000000000000000ab",
        "machine_id" | "boot_id" => "00000000000000000000000000000007",
        "department" => "city/garbage",
        "name" if owner.ends_with(".NodeFacts") => "n1",
        "name" if owner.ends_with(".KnobValue") => "moves_per_pass",
        "path" => "a/b",
        "address" => "127.0.0.1:1",
        "symbol" | "list_services" => "tengyun.v1.OperatorService",
        _ => "garbage",
    }
}

fn honest_number(field: &FieldDescriptorProto) -> u64 {
    match field.name() {
        "number" => 8080,
        "mode" => 0o644,
        "signal" => 15,
        "pids" | "grace_millis" | "backoff_millis" | "backoff_max_millis" => 100,
        _ => 1,
    }
}

fn nonsense(seed: u64) -> Vec<Garbage> {
    let mut random = Random(seed | 1);
    let mut all: Vec<Garbage> = [1, 2, 9, 100, 1000, 60_000]
        .into_iter()
        .map(|length| Garbage {
            what: format!("{length} random bytes"),
            bytes: (0..length).map(|_| random.byte()).collect(),
        })
        .collect();
    let fixed: [(&str, Vec<u8>); 12] = [
        ("nothing", Vec::new()),
        ("field 0", vec![0, 0]),
        ("the largest field number", [key(u64::from(u32::MAX >> 3), 0), vec![1]].concat()),
        ("a field number beyond 32 bits", [varint(u64::MAX), vec![1]].concat()),
        ("a number that never ends", [key(1, 0), vec![0xff; 4096]].concat()),
        ("a length of 2^63", [key(1, 2), varint(1 << 63)].concat()),
        ("a length of 4 GiB", [key(1, 2), varint(1 << 32)].concat()),
        ("a length of 2^31 - 1", [key(1, 2), varint((1 << 31) - 1)].concat()),
        ("groups that never end", key(1, 3).repeat(NESTED)),
        ("groups that end before they begin", key(1, 4).repeat(NESTED)),
        ("wire types that are none", vec![0x0e, 0x0f, 0x16, 0x17]),
        ("unknown fields", (1000..3000).flat_map(|n| [key(n, 0), vec![1]].concat()).collect()),
    ];
    all.extend(fixed.map(|(what, bytes)| Garbage { what: what.to_owned(), bytes }));
    for number in 1..=6 {
        let bytes = nested(number);
        all.push(Garbage { what: format!("field {number} within itself"), bytes });
    }
    all
}

/// Nests a message in itself until there are some kilobytes of it.
fn nested(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < 4096 {
        bytes = [key(number, 2), varint(wide(bytes.len())), bytes].concat();
    }
    bytes
}

/// Cuts, floods and flips an honest message.
fn damaged(honest: &[u8], seed: u64) -> impl Iterator<Item = Garbage> + use<> {
    let mut random = Random(seed.wrapping_add(0x9e37_79b9) | 1);
    let mut all = Vec::new();
    for sixteenth in 1..16 {
        let bytes = honest[..honest.len() * sixteenth / 16].to_vec();
        all.push(Garbage { what: format!("cut at {sixteenth}/16"), bytes });
    }
    let twice = [honest, honest].concat();
    all.push(Garbage { what: "said twice".to_owned(), bytes: twice });
    let unknown = [honest, &key(500, 2), &varint(3), b"new", &key(501, 0), &[1]].concat();
    all.push(Garbage { what: "of a newer version".to_owned(), bytes: unknown });
    let padded = [honest, &key(502, 2), &varint(5 << 20), &vec![0; 5 << 20]].concat();
    all.push(Garbage { what: "of 5 MiB".to_owned(), bytes: padded });
    for flip in 0..FLIPS {
        let mut bytes = honest.to_vec();
        for _ in 0..=flip % 4 {
            let Some(at) = random.below(bytes.len()) else { break };
            bytes[at] ^= 1 << random.below(8).unwrap_or_default();
        }
        all.push(Garbage { what: format!("flipped, {flip}"), bytes });
    }
    all.into_iter()
}

/// The places of all fields, those of inner messages too.
fn paths(fields: &[Field]) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        all.push(vec![index]);
        if let Value::Message(inner) = &field.value {
            all.extend(paths(inner).into_iter().map(|path| [vec![index], path].concat()));
        }
    }
    all
}

fn named(fields: &[Field], path: &[usize]) -> String {
    let Some((first, rest)) = path.split_first() else { return String::new() };
    let field = &fields[*first];
    match &field.value {
        Value::Message(inner) if !rest.is_empty() => {
            format!("{}.{}", field.name, named(inner, rest))
        }
        _ => field.name.clone(),
    }
}

/// Makes the message with one field wrong, in every way that its kind knows.
fn wrong(fields: &[Field], path: &[usize]) -> Vec<(&'static str, Vec<Field>)> {
    let mut all = Vec::new();
    let Some(field) = found(fields, path) else { return all };
    let number = field.number;
    let mut instead = |what, value: Value| all.push((what, replaced(fields, path, &[value])));
    match &field.value {
        Value::Number(_) | Value::Fixed32(_) | Value::Fixed64(_) | Value::Raw(_) => {
            instead("0", Value::Number(0));
            instead("2^31", Value::Number(1 << 31));
            instead("2^32 - 1", Value::Number(u64::from(u32::MAX)));
            instead("2^63", Value::Number(1 << 63));
            instead("2^64 - 1", Value::Number(u64::MAX));
            instead("a text", Value::Text(b"1".to_vec()));
        }
        Value::Enum(_) => {
            instead("nothing said", Value::Enum(0));
            instead("an unknown word", Value::Enum(99));
            instead("a negative word", Value::Enum(u64::MAX));
            instead("a text", Value::Text(b"1".to_vec()));
        }
        Value::Text(_) => {
            for (what, bytes) in hostile_texts() {
                instead(what, Value::Text(bytes));
            }
            instead("a number", Value::Number(7));
        }
        Value::Bytes(_) => {
            instead("empty", Value::Bytes(Vec::new()));
            instead("a megabyte", Value::Bytes(vec![0xff; 1_000_000]));
            instead("a number", Value::Number(7));
        }
        Value::Message(_) => {
            instead("empty", Value::Message(Vec::new()));
            instead("no message", Value::Text(vec![0xff; 9]));
            instead("a number", Value::Number(7));
        }
    }
    instead("a length beyond the end", Value::Raw([key(number, 2), varint(1 << 40)].concat()));
    instead("another wire type", Value::Raw([key(number, 5), vec![1; 4]].concat()));
    let once = encode(&[Field { value: small(&field.value), ..field.clone() }]);
    instead("far too often", Value::Raw(once.repeat(REPEATS)));
    all.push(("missing", replaced(fields, path, &[])));
    all
}

/// The same kind of value, as small as it can be, so that very many of it fit.
fn small(value: &Value) -> Value {
    match value {
        Value::Message(_) => Value::Message(Vec::new()),
        Value::Text(text) => Value::Text(text.iter().take(1).copied().collect()),
        Value::Bytes(_) => Value::Bytes(Vec::new()),
        other => other.clone(),
    }
}

fn hostile_texts() -> [(&'static str, Vec<u8>); 10] {
    [
        ("empty", Vec::new()),
        ("no UTF-8", vec![0xff, 0xfe, 0x80]),
        ("half a character", "腾".as_bytes()[..2].to_vec()),
        ("a zero byte", b"a\0b".to_vec()),
        ("what steers a terminal", b"\x1b[2J\x1b]0;owned\x07\r\n".to_vec()),
        ("a line that forges another", b"x\n2026 INFO all is well".to_vec()),
        ("a way up", b"../../../etc/passwd".to_vec()),
        ("writing that turns around", "a\u{202e}b\u{2066}".as_bytes().to_vec()),
        ("longer than allowed", vec![b'x'; 5000]),
        ("far longer than allowed", vec![b'x'; 900_000]),
    ]
}

fn found<'a>(fields: &'a [Field], path: &[usize]) -> Option<&'a Field> {
    let (first, rest) = path.split_first()?;
    let field = fields.get(*first)?;
    match &field.value {
        Value::Message(inner) if !rest.is_empty() => found(inner, rest),
        _ => Some(field),
    }
}

fn replaced(fields: &[Field], path: &[usize], values: &[Value]) -> Vec<Field> {
    let mut changed = Vec::with_capacity(fields.len() + values.len());
    for (index, field) in fields.iter().enumerate() {
        match path.split_first() {
            Some((first, rest)) if *first == index => match &field.value {
                Value::Message(inner) if !rest.is_empty() => {
                    let value = Value::Message(replaced(inner, rest, values));
                    changed.push(Field { value, ..field.clone() });
                }
                _ => changed.extend(
                    values.iter().map(|value| Field { value: value.clone(), ..field.clone() }),
                ),
            },
            _ => changed.push(field.clone()),
        }
    }
    changed
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value, .. } in fields {
        match value {
            Value::Number(n) | Value::Enum(n) => {
                bytes.extend([key(*number, 0), varint(*n)].concat());
            }
            Value::Fixed64(n) => {
                bytes.extend(key(*number, 1));
                bytes.extend(n.to_le_bytes());
            }
            Value::Fixed32(n) => {
                bytes.extend(key(*number, 5));
                bytes.extend(n.to_le_bytes());
            }
            Value::Text(text) | Value::Bytes(text) => {
                bytes.extend([key(*number, 2), varint(wide(text.len()))].concat());
                bytes.extend(text);
            }
            Value::Message(inner) => {
                let inner = encode(inner);
                bytes.extend([key(*number, 2), varint(wide(inner.len()))].concat());
                bytes.extend(inner);
            }
            Value::Raw(raw) => bytes.extend(raw),
        }
    }
    bytes
}

fn key(number: u64, wire: u64) -> Vec<u8> {
    varint(number << 3 | wire)
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits")
}

/// Xorshift: small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.next().to_le_bytes();
        byte
    }

    fn below(&mut self, limit: usize) -> Option<usize> {
        let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0)?;
        usize::try_from(self.next() % limit).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_message_and_much_garbage() {
        let schema = Schema::of(&[tengyun_proto::DESCRIPTORS]);
        assert!(schema.calls().len() >= 20);
        for call in schema.calls() {
            assert!(schema.messages.contains_key(&call.input), "{}", call.path);
            assert!(schema.garbage(&call.input, 1).len() >= 60, "{}", call.path);
        }
    }

    #[test]
    fn honest_messages_are_read_and_the_same_seed_gives_the_same_garbage() {
        use tengyun_proto::v1;
        let schema = Schema::of(&[tengyun_proto::DESCRIPTORS]);
        let honest = schema.honest(".tengyun.v1.AgentMessage");
        let hello = v1::AgentMessage::decode(honest[0].as_slice()).unwrap();
        let Some(v1::agent_message::Message::Hello(hello)) = hello.message else {
            panic!("the first alternative is a greeting")
        };
        assert_eq!(hello.facts.unwrap().name, "n1");
        let apply = schema.honest(".tengyun.v1.ApplyRequest");
        let apply = v1::ApplyRequest::decode(apply[0].as_slice()).unwrap();
        assert_eq!(apply.items[0].spec.as_ref().unwrap().key.as_ref().unwrap().name, "garbage");
        let bytes = |seed| -> Vec<Vec<u8>> {
            let all = schema.garbage(".tengyun.v1.ApplyRequest", seed);
            all.into_iter().map(|garbage| garbage.bytes).collect()
        };
        assert_eq!(bytes(7), bytes(7));
        assert_ne!(bytes(7), bytes(8));
    }
}
