//! Manifests, good and bad: what is read from them, and what is said of each kind of mistake.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use expect_test::{expect, expect_file};
use serde_json::Value;
use tengyun::manifest::{self, Fault};
use tengyun::text::Language;
use tengyun_model::workload::SPEC_BYTES_MAX;
use tengyun_model::{Kind, MovePolicy, RestartMode, WorkloadSpec};

const BASE: [&str; 5] = [
    "application: tests",
    "department: city/tests",
    "name: hello",
    "kind: service",
    "command: [/bin/sleep, 60]",
];
/// How long a hostile manifest may take; all take milliseconds, a slow machine some more.
const PATIENCE: Duration = Duration::from_secs(5);
const FIELDS: &str = "<!-- fields -->\n";

fn parse(text: &str) -> Result<Vec<WorkloadSpec>, Vec<Fault>> {
    manifest::parse(text.as_bytes(), "m.yaml", Path::new("."))
}

fn said(result: Result<Vec<WorkloadSpec>, Vec<Fault>>) -> String {
    match result {
        Ok(specs) => format!("{} workloads\n", specs.len()),
        Err(faults) => faults.iter().map(|fault| format!("{fault}\n")).collect::<Vec<_>>().concat(),
    }
}

/// Puts a case below the base, less the lines that it gives itself.
fn complete(case: &str) -> String {
    if let Some(whole) = case.strip_prefix("whole\n") {
        return whole.to_owned();
    }
    let key = |line: &str| line.split(':').next().map(|key| format!("{key}:"));
    let given = |line: &str| {
        let first = case.split("---\n").next().unwrap_or_default();
        key(line).is_some_and(|key| first.lines().any(|line| line.starts_with(&key)))
    };
    let base: Vec<&str> = BASE.into_iter().filter(|line| !given(line)).collect();
    format!("{}\n{case}", base.join("\n"))
}

fn one(case: &str) -> WorkloadSpec {
    let specs = parse(&complete(case)).map_err(|faults| said(Err(faults)));
    specs.expect("a good manifest").remove(0)
}

#[test]
fn every_bad_manifest_is_refused_with_its_remedy() {
    let table = include_str!("manifest/bad.txt");
    let mut blocks = table.split("\n## ");
    let mut actual = blocks.next().unwrap().trim_end().to_owned();
    let mut count = 0;
    for block in blocks {
        let (name, rest) = block.split_once('\n').unwrap();
        let lines = rest.lines().filter(|line| !line.starts_with("=> "));
        let case = lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n";
        let result = parse(&complete(&case));
        assert!(result.is_err(), "{name} passed");
        write!(actual, "\n\n## {name}\n{case}").unwrap();
        for fault in result.unwrap_err() {
            writeln!(actual, "=> {fault}").unwrap();
        }
        actual.truncate(actual.trim_end().len());
        count += 1;
    }
    actual.push('\n');
    assert!(count >= 60, "{count} cases");
    expect_file!["manifest/bad.txt"].assert_eq(&actual);
}

/// The same cases in Chinese, without the manifests: the table of the English ones has them.
#[test]
fn every_bad_manifest_is_refused_in_chinese_too() {
    let mut actual = String::new();
    for block in include_str!("manifest/bad.txt").split("\n## ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let lines = rest.lines().filter(|line| !line.starts_with("=> "));
        let case = lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n";
        writeln!(actual, "## {name}").unwrap();
        for fault in parse(&complete(&case)).unwrap_err() {
            let said = fault.text(Language::Chinese);
            assert_chinese(&said);
            writeln!(actual, "=> {said}").unwrap();
        }
    }
    expect_file!["manifest/bad-zh.txt"].assert_eq(&actual);
}

/// Checks that no English sentence is left, and that words of the two scripts have spaces between them
/// and the stops are full ones. What is quoted or an example may be anything.
fn assert_chinese(said: &str) {
    let is_chinese = |c: char| matches!(c, '\u{4e00}'..='\u{9fff}');
    let (place, message) = said.split_once(": ").expect("the place and the message");
    assert!(place.starts_with("m.yaml:") && message.contains(is_chinese), "{said}");
    let mut open: Vec<char> = Vec::new();
    let mut plain = String::new();
    for c in message.chars() {
        match (c, open.last()) {
            (_, Some(end)) if c == *end => drop(open.pop()),
            ('{', None | Some('}')) => open.push('}'),
            ('"' | '\'' | '`', None) => open.push(c),
            _ => {}
        }
        plain.push(if open.is_empty() { c } else { '_' });
    }
    let chars: Vec<char> = plain.chars().collect();
    for (at, pair) in chars.windows(2).enumerate() {
        let right = match pair {
            [a, b] if is_chinese(*a) => !b.is_ascii_alphanumeric() && !matches!(b, ',' | ':' | '('),
            [a, b] if is_chinese(*b) => !a.is_ascii_alphanumeric() && !matches!(a, ',' | ':' | ')'),
            _ => true,
        };
        assert!(right, "{said}: {pair:?} at {at}");
    }
    let spaced = plain.split("；").flat_map(|part| part.split(' ')).collect::<Vec<_>>();
    let word = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase());
    for pair in spaced.windows(2) {
        assert!(!pair.iter().all(|each| word(each)), "{said}: {pair:?} is English");
    }
    for pair in chars.windows(3) {
        let apart = is_chinese(pair[0]) && pair[1] == ' ' && is_chinese(pair[2]);
        assert!(!apart, "{said}: {pair:?}");
    }
}

#[test]
fn a_service_of_which_little_is_said_is_what_the_model_makes() {
    let command = ["/bin/sleep", "60"].map(str::to_owned).to_vec();
    let made = WorkloadSpec::service("city/tests/tests/hello".parse().unwrap(), command);
    assert_eq!(one(""), made);
}

#[test]
fn nothing_confidential_is_shown() {
    let cases = [
        "env: {DB_PASSWORD: hunter2}\n",
        "env: [hunter2]\n",
        "env: hunter2\n",
        "secrets: hunter2\n",
        "secrets: [hunter2]\n",
        "secrets: {a: hunter2}\n",
        "secrets: [{from: a, path: b, value: hunter2}]\n",
        "secrets: [{from: hunter2_A, path: b}]\n",
        "command: run --password=hunter2\n",
        "files: [{path: a, content: [hunter2]}]\n",
    ];
    for case in cases {
        let said = said(parse(&complete(case)));
        assert!(said.starts_with("m.yaml:") && !said.contains("hunter2"), "{case}: {said}");
    }
}

#[test]
fn defaults_follow_the_kind() {
    let service = one("");
    assert_eq!(service.restart.mode, RestartMode::Always);
    assert_eq!(service.move_policy, MovePolicy::Any);
    let job = one("kind: job\n");
    assert_eq!((job.kind, job.restart.mode), (Kind::Job, RestartMode::OnFailure));
    assert_eq!(job.move_policy, MovePolicy::Never);
    expect_file!["manifest/defaults.txt"].assert_eq(&format!("{service:#?}\n"));
}

#[test]
fn every_field_reaches_the_specification() {
    let examples = Path::new("../examples");
    let text = fs::read(examples.join("full.yaml")).unwrap();
    let mut specs = manifest::parse(&text, "full.yaml", examples).unwrap();
    let hello = fs::read(examples.join("hello.yaml")).unwrap();
    let contents = specs[0].files.iter_mut().map(|file| std::mem::take(&mut file.content));
    assert_eq!(contents.collect::<Vec<_>>(), [b"while :; do sleep 1; done\n".to_vec(), hello]);
    expect_file!["manifest/full.txt"].assert_eq(&format!("{specs:#?}\n"));
}

#[test]
fn the_examples_are_right_by_parser_and_by_schema() {
    let examples = Path::new("../examples");
    let mut all = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let specs = manifest::parse(text.as_bytes(), "example", examples);
        let count = specs.map_err(|faults| said(Err(faults))).unwrap().len();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(documents.len(), count);
        let schema = manifest::schema();
        for document in &documents {
            let faults = violations(document, &schema, &schema, "");
            assert!(faults.is_empty(), "{}: {faults:?}", path.display());
        }
        all += count;
    }
    assert!(all >= 7, "{all} workloads in the examples");
}

#[test]
fn text_is_taken_as_it_is_written() {
    let spec =
        one("command: [run, 010, 1.50, true, yes, '~', \"\"]\nenv: {A: 0755, B: no, C: 1_0}\n");
    assert_eq!(spec.command, ["run", "010", "1.50", "true", "yes", "~", ""]);
    let env: Vec<&str> = spec.env.values().map(String::as_str).collect();
    assert_eq!(env, ["0755", "no", "1_0"]);
}

#[test]
fn modes_are_octal_and_signals_have_names() {
    for mode in ["0640", "640", "\"0640\"", "0o640"] {
        let spec = one(&format!("files: [{{path: a/b, content: c, mode: {mode}}}]\n"));
        assert_eq!(spec.files[0].mode, 0o640, "{mode}");
    }
    for (signal, number) in [("TERM", 15), ("sigint", 2), ("9", 9), ("SIGUSR1", 10)] {
        assert_eq!(one(&format!("stop: {{signal: {signal}}}\n")).stop.signal, number);
    }
}

#[test]
fn references_are_completed_by_their_workload() {
    let spec = one("constraints: {anti_affinity: [hello, other/api, city/health/web/front]}\n");
    let keys: Vec<String> =
        spec.constraints.anti_affinity.iter().map(ToString::to_string).collect();
    let expected = ["city/tests/tests/hello", "city/tests/other/api", "city/health/web/front"];
    assert_eq!(keys, expected);
}

#[test]
fn documents_are_separate_and_empty_ones_are_left_out() {
    let base = BASE.join("\n");
    let other = base.replace("hello", "other");
    let text = format!("\u{feff}---\n# empty\n---\n{base}\n---\n{other}\n...\n---\n");
    assert_eq!(parse(&text).unwrap().len(), 2);
    let windows = text.replace('\n', "\r\n");
    assert_eq!(parse(&windows).unwrap().len(), 2);
}

#[test]
fn a_source_is_read_beside_the_manifest_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("binary"), [0, 255, 10]).unwrap();
    fs::write(dir.path().join("large"), vec![0; SPEC_BYTES_MAX + 1]).unwrap();
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let read = |source: &str| {
        let text = complete(&format!("files: [{{path: a, source: {source}}}]\n"));
        manifest::parse(text.as_bytes(), "m.yaml", dir.path())
    };
    assert_eq!(read("binary").unwrap()[0].files[0].content, [0, 255, 10]);
    let all = ["large", "pipe", "."].map(|source| said(read(source))).concat();
    expect![[r#"
        m.yaml:6: document 1: files[0].source: cannot read "large" beside the manifest: it is larger than 524288 bytes: fetch it another way
        m.yaml:6: document 1: files[0].source: cannot read "pipe" beside the manifest: it is not a plain file
        m.yaml:6: document 1: files[0].source: must be a relative path without empty parts, '.' and '..', at most 32 parts deep, not "."
    "#]]
    .assert_eq(&all);
}

#[test]
fn a_specification_has_a_size() {
    let half = "a".repeat(SPEC_BYTES_MAX / 2);
    let text = complete(&format!("env: {{A: {half}}}\nfiles: [{{path: a, content: {half}}}]\n"));
    expect![[r"
        m.yaml:1: document 1: command, env and files have 524302 bytes together: at most 524288 are allowed
    "]]
    .assert_eq(&said(parse(&text)));
}

#[test]
fn hostile_manifests_are_refused_at_once() {
    let bomb = (1..30).fold("a0: &a0 [x,x,x]\n".to_owned(), |text, n| {
        let alias = format!("*a{},", n - 1).repeat(9);
        text + &format!("a{n}: &a{n} [{alias}]\n")
    });
    let many = |line: &str| line.repeat(1_000_000 / line.len());
    let keys: String = (0..60_000).map(|n| format!("k{n}: {n}\n")).collect::<Vec<_>>().concat();
    let cases = [
        ("bomb", bomb),
        ("flow lists", many("[")),
        ("flow maps", many("{a: ")),
        ("block lists", many("- ")),
        ("nested maps", (0..1300).map(|n| " ".repeat(n) + "a:\n").collect()),
        ("complex keys", many("? ")),
        ("anchors", many("&a ")),
        ("scalars", many("- a\n")),
        ("documents", many("---\na: b\n")),
        ("keys", keys),
        ("one key", many("a: b\n")),
        ("comments", many("# a\n")),
        ("words", format!("command: [{}]\n", many("a,"))),
        ("quotes", many("\"")),
        ("long key", format!("{}: a\n", many("k"))),
        ("tags", many("!<a> ")),
        ("NUL", "name: a\0b\n".to_owned()),
        ("escape", "name: a\u{1b}[2J\n".to_owned()),
        ("delete", "name: a\n# \u{7f}\n".to_owned()),
        ("too large", many("# a\n") + &many("# b\n")),
        ("mark inside", "name: a\n\u{feff}kind: job\n".to_owned()),
    ];
    let mut all = String::new();
    for (name, text) in cases {
        let start = Instant::now();
        let faults = parse(&text).expect_err(name);
        assert!(start.elapsed() < PATIENCE, "{name} took {:?}", start.elapsed());
        assert!(faults.len() <= 101, "{name}");
        let said = said(Err(faults));
        assert!(said.len() < 64 * 1024, "{name} says {} bytes", said.len());
        writeln!(all, "{name}: {}", said.lines().next().unwrap()).unwrap();
    }
    let start = Instant::now();
    let faults = manifest::parse(b"name: a\nkind: \xff\n", "m.yaml", Path::new(".")).unwrap_err();
    writeln!(all, "bytes: {}", said(Err(faults)).trim_end()).unwrap();
    assert!(start.elapsed() < PATIENCE);
    expect_file!["manifest/hostile.txt"].assert_eq(&all);
}

/// Changes good manifests at random: nothing may panic, and whoever refuses gives a reason.
#[test]
fn no_text_makes_it_panic() {
    const ROUNDS: u64 = 3000;
    let seed = 20_240_601_u64;
    let examples = ["hello", "city", "full"];
    let read = |name: &str| fs::read(format!("../examples/{name}.yaml")).unwrap();
    let mut texts: Vec<Vec<u8>> = examples.map(read).to_vec();
    texts.push(include_bytes!("manifest/bad.txt").to_vec());
    let mut random = Random(seed);
    let mut refused = 0;
    for round in 0..ROUNDS {
        let text = mutate(&texts, &mut random);
        let parse = || manifest::parse(&text, "m.yaml", Path::new("../examples"));
        let result = std::panic::catch_unwind(parse);
        assert!(result.is_ok(), "seed {seed}, round {round}: {}", text.escape_ascii());
        refused += u64::from(result.unwrap().is_err());
    }
    assert!(refused > ROUNDS / 2 && refused < ROUNDS, "{refused} of {ROUNDS} were refused");
}

/// A small generator (xorshift64), so that a failing seed can be repeated anywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = u64::try_from(bound.max(1)).expect("a length fits");
        usize::try_from(self.0 % bound).expect("below a length")
    }
}

fn mutate(texts: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 24] = [
        b"\n",
        b"- ",
        b": ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\"",
        b"'",
        b"|\n",
        b">\n",
        b"&a ",
        b"*a ",
        b"!!int ",
        b"? ",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"---\n",
        b"...\n",
        b"%YAML\n",
        b"~",
        b"\xc3\xa9",
    ];
    let mut text = texts[random.below(texts.len())].clone();
    text.truncate(2000);
    for _ in 0..=random.below(6) {
        let at = random.below(text.len() + 1);
        let until = (at + random.below(30)).min(text.len());
        match random.below(4) {
            0 => drop(text.drain(at..until)),
            1 => drop(text.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            2 => {
                let copy = text[at..until].to_vec();
                let to = random.below(text.len() + 1);
                drop(text.splice(to..to, copy));
            }
            _ => {
                let byte = u8::try_from(random.below(256)).expect("below 256");
                drop(text.splice(at..at, [byte]));
            }
        }
    }
    text
}

#[test]
fn the_schema_is_published() {
    let schema = format!("{:#}\n", manifest::schema());
    expect_file!["../../docs/manifest.schema.json"].assert_eq(&schema);
}

#[test]
fn the_schema_refuses_what_the_parser_refuses_by_shape() {
    let schema = manifest::schema();
    for case in ["zebra: 1\n", "kind: deployment\n", "instances: -1\n", "name: Hello\n"] {
        let document: Value = serde_saphyr::from_str(&complete(case)).unwrap();
        assert!(!violations(&document, &schema, &schema, "").is_empty(), "{case} passed");
    }
    let missing = violations(&serde_json::json!({}), &schema, &schema, "");
    assert_eq!(missing.len(), 5, "{missing:?}");
}

#[test]
fn every_field_is_in_the_reference() {
    let text = include_str!("../../docs/manifest.md");
    let (before, rest) = text.split_once(FIELDS).unwrap();
    let (_, after) = rest.rsplit_once(FIELDS).unwrap();
    let schema = manifest::schema();
    let mut rows = String::new();
    rows_of(&schema, &schema, "", &mut rows);
    let head = "| field | type | default | meaning |\n|---|---|---|---|\n";
    let actual = format!("{before}{FIELDS}\n{head}{rows}\n{FIELDS}{after}");
    expect_file!["../../docs/manifest.md"].assert_eq(&actual);
}

fn rows_of(section: &Value, root: &Value, path: &str, rows: &mut String) {
    let required = |name: &str| {
        section["required"].as_array().is_some_and(|all| all.iter().any(|each| each == name))
    };
    for (name, field) in section["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = match &field["default"] {
            Value::Null if required(name) => "required".to_owned(),
            Value::Null => String::new(),
            default if default.as_object().is_some_and(serde_json::Map::is_empty) => String::new(),
            default if default.as_array().is_some_and(Vec::is_empty) => String::new(),
            default => format!("`{}`", default.to_string().trim_matches('"')),
        };
        let meaning = field["description"].as_str().unwrap_or_default();
        let sort = sort_of(field, root);
        writeln!(rows, "| `{path}` | {sort} | {default} | {meaning} |")
            .expect("a string takes everything");
        let inner = resolve(field, root);
        let items = resolve(&inner["items"], root);
        rows_of(inner, root, &path, rows);
        rows_of(items, root, &format!("{path}[]"), rows);
    }
}

fn sort_of(schema: &Value, root: &Value) -> String {
    let schema = resolve(schema, root);
    if let Some(words) = schema["enum"].as_array() {
        let shown = |word: &Value| format!("`{}`", word.as_str().unwrap_or_default());
        return words.iter().map(shown).collect::<Vec<_>>().join(", ");
    }
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    if schema["type"] == "array" {
        return format!("list of {}", sort_of(&schema["items"], root));
    }
    let values = schema["patternProperties"].as_object().and_then(|all| all.values().next());
    match values.or(schema.get("additionalProperties").filter(|each| each.is_object())) {
        Some(values) => format!("map to {}", sort_of(values, root)),
        None => "map".to_owned(),
    }
}

fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let pointer = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// Checks a value by the part of JSON Schema that ours uses, patterns by their parser's tests.
fn violations(value: &Value, schema: &Value, root: &Value, path: &str) -> Vec<String> {
    let schema = resolve(schema, root);
    let mut found = Vec::new();
    let mut fault = |what: &str| found.push(format!("{path}: {what}"));
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("boolean") => value.is_boolean(),
        _ => false,
    };
    match &schema["type"] {
        Value::Null => {}
        Value::Array(types) if types.iter().any(is) => {}
        name if is(name) => {}
        _ => fault("type"),
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        fault("enum");
    }
    if schema.get("const").is_some_and(|word| word != value) {
        fault("const");
    }
    let below = |key: &str| schema[key].as_f64().is_some_and(|min| value.as_f64() < Some(min));
    let above = |key: &str| schema[key].as_f64().is_some_and(|max| value.as_f64() > Some(max));
    if value.is_number() && (below("minimum") || above("maximum")) {
        fault("range");
    }
    let capital = |text: &str| text.contains(|c: char| c.is_ascii_uppercase());
    let names = schema["pattern"].as_str().is_some_and(|p| p.starts_with("^[a-z0-9]("));
    if names && value.as_str().is_some_and(capital) {
        fault("pattern");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap_or_default()).is_none() {
            fault(&format!("required {name}"));
        }
    }
    if let Some(any) = schema["anyOf"].as_array()
        && !any.iter().any(|each| violations(value, each, root, path).is_empty())
    {
        fault("anyOf");
    }
    found.extend(inner_violations(value, schema, root, path));
    found
}

fn inner_violations(value: &Value, schema: &Value, root: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for item in value.as_array().into_iter().flatten() {
        found.extend(violations(item, &schema["items"], root, &format!("{path}[]")));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let pattern = schema["patternProperties"].as_object().and_then(|all| all.values().next());
        let known = schema["properties"].get(name).or(pattern);
        match known.or(schema.get("additionalProperties").filter(|each| each.is_object())) {
            Some(schema) => found.extend(violations(inner, schema, root, &path)),
            None if schema["additionalProperties"] == false => {
                found.push(format!("{path}: unknown"));
            }
            None => {}
        }
    }
    found
}
