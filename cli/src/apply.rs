//! `tengyun apply`: a manifest becomes wishes.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use tengyun_model::WorkloadSpec;
use tengyun_proto::v1;

use crate::failure::{Failure, refusal_text};
use crate::manifest;
use crate::message::{Message, word};
use crate::output::{clean, joined, note, show, table};
use crate::session::{Session, operation_id, path};

/// How many workloads go in one call, so that a large file makes no message beyond the limit.
const ITEMS_A_CALL: usize = 1;

/// What `apply` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// The manifest; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Check everything, say what would become of it and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Applies a manifest, all of it or, when a document is wrong, nothing.
pub(crate) async fn run(session: &Session, args: ApplyArgs) -> Result<(), Failure> {
    let (bytes, origin, base) = read(&args.file)?;
    let specs = manifest::parse(&bytes, &origin, &base).map_err(|faults| {
        let text = |fault: &manifest::Fault| fault.text(session.language);
        let lines: Vec<String> = faults.iter().map(text).collect();
        Failure::Usage(lines.join("\n"))
    })?;
    let mut results = Vec::new();
    for specs in specs.chunks(ITEMS_A_CALL) {
        results.extend(apply(session, specs, args.dry_run).await?);
    }
    let table = || results.iter().map(|r| line(r) + "\n" + &rehearsal(session, r)).collect();
    let json: Vec<_> = results.iter().map(json).collect();
    show(session.format, table, &json!(json))?;
    let refused = results.iter().filter(|r| r.refusal.is_some()).count();
    if args.dry_run {
        note(&Message::DryRun {}.said());
    }
    match refused {
        0 => Ok(()),
        count => {
            let all = results.len();
            Err(Failure::Refused(Message::SomeRefused { count: &count, all: &all }.said()))
        }
    }
}

async fn apply(
    session: &Session,
    specs: &[WorkloadSpec],
    dry_run: bool,
) -> Result<Vec<v1::ApplyResult>, Failure> {
    let item = |spec: &WorkloadSpec| {
        Ok(v1::ApplyItem { operation_id: operation_id()?, spec: Some(spec.into()) })
    };
    let items: Vec<v1::ApplyItem> = specs.iter().map(item).collect::<Result<_, Failure>>()?;
    let request = v1::ApplyRequest { items, dry_run };
    let call = session.call(|mut o| {
        let request = request.clone();
        async move { o.apply(request).await }
    });
    Ok(call.await?.results)
}

/// Says what became of one workload.
fn line(result: &v1::ApplyResult) -> String {
    let name = name(result);
    if let Some(refusal) = &result.refusal {
        return Message::ApplyRefused { name: &name, why: &refusal_text(refusal) }.said();
    }
    let (effect, revision) = (word(&result.effect), &result.revision);
    Message::Applied { name: &name, effect: &effect, revision }.said()
}

/// Says what would become of copies that are not there yet; nothing where nothing was rehearsed.
fn rehearsal(session: &Session, result: &v1::ApplyResult) -> String {
    let Some(of) = &result.rehearsal else { return String::new() };
    let mut lines = Vec::new();
    let copies = |nodes: &[v1::RehearsedNode]| nodes.iter().map(|n| n.copies).sum::<u32>();
    let listed = |nodes: &[v1::RehearsedNode]| {
        let node = |n: &v1::RehearsedNode| {
            Message::OnNode { node: &clean(&n.name), copies: &n.copies }.said()
        };
        nodes.iter().map(node).collect::<Vec<_>>().join(", ")
    };
    if !of.starts.is_empty() {
        let (copies, nodes) = (&copies(&of.starts), &listed(&of.starts));
        lines.push(Message::WouldStart { copies, nodes }.said());
    }
    if !of.after.is_empty() {
        let (copies, nodes) = (&copies(&of.after), &listed(&of.after));
        lines.push(Message::WouldStartAfter { copies, nodes }.said());
    }
    if of.waits > 0 {
        lines.push(Message::WouldWait { copies: &of.waits }.said());
    }
    if of.untold > 0 {
        lines.push(Message::WouldBeUntold { copies: &of.untold }.said());
    }
    lines.extend(victims(session, of));
    joined(lines.iter().flat_map(|lines| lines.lines()).map(|line| format!("  {line}")))
}

/// Names the harvest that would be evicted, where, and of which department.
fn victims(session: &Session, of: &v1::Rehearsal) -> Vec<String> {
    let all = u32::try_from(of.victims.len()).unwrap_or(u32::MAX);
    let all = all.saturating_add(of.victims_hidden);
    if all == 0 {
        return Vec::new();
    }
    let mut lines = vec![Message::WouldEvict { count: &all }.said()];
    if of.victims_hidden > 0 {
        lines.push(Message::WouldEvictHidden { count: &of.victims_hidden }.said());
    }
    let row = |victim: &v1::Victim| {
        let key = victim.key.clone().unwrap_or_default();
        let department = key.department.clone();
        vec![victim.instance.to_string(), path(key), victim.node_name.clone(), department]
    };
    if !of.victims.is_empty() {
        let headings = session.headings(&["INSTANCE", "WORKLOAD", "NODE", "DEPARTMENT"]);
        lines.push(table(&headings, &of.victims.iter().map(row).collect::<Vec<_>>()));
    }
    lines
}

fn rehearsal_json(of: &v1::Rehearsal) -> serde_json::Value {
    let nodes = |nodes: &[v1::RehearsedNode]| {
        let node = |n: &v1::RehearsedNode| json!({"node": n.name, "copies": n.copies});
        nodes.iter().map(node).collect::<Vec<_>>()
    };
    let victim = |victim: &v1::Victim| {
        let key = victim.key.clone().unwrap_or_default();
        json!({
            "instance": victim.instance, "node": victim.node_name, "department": key.department,
            "workload": path(key),
        })
    };
    json!({
        "starts": nodes(&of.starts), "after": nodes(&of.after), "waits": of.waits,
        "victims": of.victims.iter().map(victim).collect::<Vec<_>>(),
        "victims_hidden": of.victims_hidden, "untold": of.untold,
    })
}

fn name(result: &v1::ApplyResult) -> String {
    path(result.key.clone().unwrap_or_default())
}

fn json(result: &v1::ApplyResult) -> serde_json::Value {
    let refusal = result
        .refusal
        .as_ref()
        .map(|r| json!({"code": r.code, "message": r.message, "remedy": r.remedy}));
    json!({
        "workload": name(result),
        "effect": result.effect,
        "revision": result.revision,
        "refusal": refusal,
        "rehearsal": result.rehearsal.as_ref().map(rehearsal_json),
    })
}

/// Reads a manifest, and one byte more than it may have so that a larger one is noticed.
fn read(file: &Path) -> Result<(Vec<u8>, String, PathBuf), Failure> {
    let is_stdin = file == Path::new("-");
    let stdin = || Message::StandardInput {}.said();
    let origin = if is_stdin { stdin() } else { file.display().to_string() };
    let failed = |error: io::Error| {
        Failure::Usage(Message::CannotRead { what: &origin, error: &error }.said())
    };
    let bound = u64::try_from(manifest::MANIFEST_BYTES_MAX + 1).expect("a mebibyte fits");
    let mut bytes = Vec::new();
    let read = if is_stdin {
        io::stdin().lock().take(bound).read_to_end(&mut bytes)
    } else {
        fs::File::open(file).map_err(failed)?.take(bound).read_to_end(&mut bytes)
    };
    read.map_err(failed)?;
    let base = file.parent().unwrap_or(Path::new("")).to_owned();
    Ok((bytes, origin, base))
}
