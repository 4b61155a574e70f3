//! The manifest: YAML documents in which departments write what they want to run.
//!
//! Bytes become text, text becomes a tree that knows its lines, the tree becomes typed documents, and
//! documents become specifications; every step adds what it finds wrong to one list, so that a
//! person sees all of it at once. It never guesses: what is not understood is refused with the field,
//! the line and what would be right. The same types make the JSON Schema.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::generate::SchemaSettings;
use tengyun_model::{WorkloadKey, WorkloadSpec};

use decode::{Decode as _, Place};
use document::Document;
pub use fault::Fault;
use fault::Faults;
use sentence::Sentence;

#[macro_use]
mod declare;

mod amount;
mod decode;
mod document;
mod fault;
mod files;
mod health;
mod leaf;
mod life;
mod meaning;
mod port;
mod provision;
mod sentence;
mod spec;
mod suggest;
mod syntax;
mod text;
mod yaml;

/// The largest manifest that is read; a message to the scheduler is bounded at as much.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// The most documents of a manifest; larger sets are split into files.
pub const DOCUMENTS_MAX: usize = 1000;

/// Parses a manifest, all of it or, when anything in it is wrong, nothing.
///
/// `origin` names the file in messages, `base` is the directory that `source` paths start from.
/// Returns every fault that could be found, in the order of lines.
pub fn parse(bytes: &[u8], origin: &str, base: &Path) -> Result<Vec<WorkloadSpec>, Vec<Fault>> {
    let mut faults = Faults::new(origin);
    let specs = specs(bytes, base, &mut faults);
    faults.finish().map(|()| specs)
}

/// Makes the JSON Schema (draft 2020-12) of one document.
pub fn schema() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<Document>().to_value()
}

fn specs(bytes: &[u8], base: &Path, faults: &mut Faults) -> Vec<WorkloadSpec> {
    let Some(text) = text::check(bytes, faults) else { return Vec::new() };
    let trees = yaml::read(text, faults);
    if trees.is_empty() && faults.is_empty() {
        faults.add(1, 1, "", Sentence::NoWorkload {});
    }
    let mut seen = BTreeMap::new();
    let mut specs = Vec::new();
    for tree in &trees {
        let place = Place::root(tree);
        let Some(document) = Document::decode(&place, faults) else { continue };
        check_unique(&document.key(), &place, &mut seen, faults);
        specs.push(spec::spec(document, &place, base, faults));
    }
    specs
}

/// Refuses a second document for one workload: the later would silently win.
fn check_unique(
    key: &WorkloadKey,
    place: &Place<'_>,
    seen: &mut BTreeMap<WorkloadKey, usize>,
    faults: &mut Faults,
) {
    match seen.get(key) {
        Some(first) => {
            let message = Sentence::WrittenAlready { key: key.to_string(), first: *first };
            place.fault_at(&["name"], message, faults);
        }
        None => drop(seen.insert(key.clone(), place.document())),
    }
}
