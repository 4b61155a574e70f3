//! `tengyun cordon`, `uncordon` and `drain`: what operators wish of a node.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde_json::json;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::get::list_nodes;
use crate::message::{Message, heard, word};
use crate::output::{clean, note, show, table};
use crate::session::{Session, operation_id, path};

/// How often a drain looks how far it is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What `drain` takes.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct DrainArgs {
    /// The node
    node: String,
    /// Also what must not move: it stops here before it starts elsewhere
    #[arg(long)]
    force: bool,
    /// Do not ask about only copies, which run twice until the old one stops
    #[arg(long, short)]
    yes: bool,
    /// Do not wait until the node is empty
    #[arg(long)]
    no_wait: bool,
    /// Say what would go where and what has no place, and change nothing
    #[arg(long, conflicts_with_all = ["yes", "no_wait"])]
    dry_run: bool,
}

/// Keeps new instances away from a node.
pub(crate) async fn cordon(session: &Session, name: &str) -> Result<(), Failure> {
    let node = find(session, name).await?;
    wish(session, &node, v1::NodeWish::Cordon).await?;
    let message = Message::NodeCordoned { node: &clean(name) }.said();
    done(session, name, "cordoned", &message)
}

/// Opens a node again.
pub(crate) async fn uncordon(session: &Session, name: &str) -> Result<(), Failure> {
    let node = find(session, name).await?;
    wish(session, &node, v1::NodeWish::Serve).await?;
    let message = Message::NodeOpened { node: &clean(name) }.said();
    done(session, name, "open", &message)
}

/// Empties a node and says how far it is.
pub(crate) async fn drain(session: &Session, args: DrainArgs) -> Result<(), Failure> {
    let node = find(session, &args.node).await?;
    if args.dry_run {
        return rehearse(session, &node, &args).await;
    }
    if !args.force && !args.yes {
        ask_about_singles(session, &node, &args.node).await?;
    }
    let force = if args.force { v1::NodeWish::DrainByForce } else { v1::NodeWish::Drain };
    wish(session, &node, force).await?;
    if args.no_wait {
        let message = Message::NodeDraining { node: &clean(&args.node) }.said();
        return done(session, &args.node, "draining", &message);
    }
    follow(session, &node, &args.node).await?;
    let message = Message::NodeDrained { node: &clean(&args.node) }.said();
    let effect = "drained and empty: `tengyun uncordon` opens it again";
    done(session, &args.node, effect, &message)
}

/// Says what a drain would do.
async fn rehearse(session: &Session, node: &v1::NodeView, args: &DrainArgs) -> Result<(), Failure> {
    let request = v1::ListLeavingRequest { node: node.node, rehearse: true, force: args.force };
    let told = ask(session, request).await?;
    if !told.rehearsed {
        return Err(Failure::Refused(Message::DrainUnrehearsed {}.said()));
    }
    let one = |i: &v1::LeavingView| {
        let workload = path(i.key.clone().unwrap_or_default());
        json!({
            "instance": i.instance, "workload": workload, "state": i.state, "to": i.to,
            "reason": i.reason,
        })
    };
    let instances: Vec<_> = told.instances.iter().map(one).collect();
    let json = json!({"node": args.node, "instances": instances});
    show(session.format, || rehearsal(session, &args.node, &told.instances), &json)?;
    note(&Message::DryRun {}.said());
    Ok(())
}

/// Counts what would go, be queued again and stay, and lists it.
fn rehearsal(session: &Session, name: &str, all: &[v1::LeavingView]) -> String {
    let goes = |i: &&v1::LeavingView| !i.to.is_empty();
    let (go, stop) =
        (all.iter().filter(goes).count(), all.iter().filter(|i| i.state == "stopping").count());
    let (node, stay) = (&clean(name), &(all.len() - go - stop));
    let head = Message::WouldDrain { node, go: &go, stop: &stop, stay }.said() + "\n";
    if all.is_empty() {
        return head;
    }
    let row = |i: &v1::LeavingView| {
        let key = path(i.key.clone().unwrap_or_default());
        let to = if i.to.is_empty() { "-".to_owned() } else { i.to.clone() };
        let why = heard(i.reason_said.as_ref(), &i.reason);
        vec![i.instance.to_string(), key, word(&i.state), to, why]
    };
    let headings = session.headings(&["INSTANCE", "WORKLOAD", "STATE", "GOES TO", "REASON"]);
    head + &table(&headings, &all.iter().map(row).collect::<Vec<_>>())
}

/// Asks whether the only copies of services may run twice for a moment; a script says so before.
async fn ask_about_singles(
    session: &Session,
    node: &v1::NodeView,
    name: &str,
) -> Result<(), Failure> {
    let singles = singles(session, node.node).await?;
    if singles.is_empty() {
        return Ok(());
    }
    let list = table(&session.headings(&["INSTANCE", "WORKLOAD"]), &singles);
    let list = list.trim_end();
    let question = Message::DrainSingles { node: &clean(name), list: &list };
    if !io::stdin().is_terminal() {
        return Err(Failure::refused(&question, &Message::DrainYes { node: &clean(name) }));
    }
    note(&format!("{}\n{}", question.said(), Message::DrainAsk {}.said()));
    let mut answer = String::new();
    // Who cannot be heard has not said yes.
    let heard = io::stdin().read_line(&mut answer).is_ok();
    if heard && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::refused(&question, &Message::DrainYes { node: &clean(name) }))
}

/// Returns the instances of a node that are the only copy of a service which may move at any time, with
/// their workloads.
async fn singles(session: &Session, node: u32) -> Result<Vec<Vec<String>>, Failure> {
    let workloads = session.workloads().await?;
    let single = |spec: &v1::WorkloadSpec| {
        let service = spec.kind() == v1::Kind::Service && spec.class() != v1::Class::Harvest;
        let moves = spec.move_policy() == v1::MovePolicy::Any && spec.volumes.is_empty();
        spec.instances == 1 && service && moves
    };
    let specs = workloads.into_iter().filter_map(|workload| workload.spec);
    let singles: Vec<v1::WorkloadKey> = specs.filter(single).filter_map(|spec| spec.key).collect();
    let here = |i: &v1::InstanceView| {
        let key = i.key.as_ref();
        i.wanted && i.node == Some(node) && key.is_some_and(|key| singles.contains(key))
    };
    let instances = session.instances(None).await?.instances;
    let row = |i: v1::InstanceView| vec![i.instance.to_string(), path(i.key.unwrap_or_default())];
    Ok(instances.into_iter().filter(here).map(row).collect())
}

/// Waits until a node is empty, or until only what must not move is left.
async fn follow(session: &Session, node: &v1::NodeView, name: &str) -> Result<(), Failure> {
    let mut said = String::new();
    loop {
        let left = leaving(session, node.node).await?;
        if !matches!(left.wish.as_str(), "drain" | "drain-by-force") {
            let problem = Message::DrainEnded { node: &name, wish: &word(&left.wish) };
            return Err(Failure::Refused(problem.said()));
        }
        if left.instances.is_empty() {
            return Ok(());
        }
        let stays =
            |i: &v1::LeavingView| matches!(i.state.as_str(), "must-not-move" | "keeps-volumes");
        if left.instances.iter().all(stays) {
            // Not even force takes an instance away from its volumes.
            let forced = left.instances.iter().any(|i| i.state == "must-not-move");
            let next =
                if forced { Message::DrainForce { node: &name } } else { Message::DrainVolumes {} };
            let list = list(session, &left.instances);
            let list = list.trim_end();
            return Err(Failure::refused(&Message::DrainStays { node: &name, list: &list }, &next));
        }
        let progress = progress(session, name, &left.instances);
        if progress != said {
            note(&progress);
            said = progress;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Says how many are left and what each waits for that is not on its way.
fn progress(session: &Session, name: &str, left: &[v1::LeavingView]) -> String {
    let count = |state: &str| left.iter().filter(|i| i.state == state).count();
    let (moving, stopping) = (count("moving"), count("stopping"));
    let waiting: Vec<_> = left.iter().filter(|i| !i.reason.is_empty()).cloned().collect();
    let all = left.len();
    let (left, moving, stopping) = (&all, &moving, &stopping);
    let line = Message::DrainLeft { node: &name, left, moving, stopping }.said();
    if waiting.is_empty() { line } else { format!("{line}\n{}", list(session, &waiting)) }
}

fn list(session: &Session, left: &[v1::LeavingView]) -> String {
    let row = |i: &v1::LeavingView| {
        let key = path(i.key.clone().unwrap_or_default());
        let why = heard(i.reason_said.as_ref(), &i.reason);
        vec![i.instance.to_string(), key, word(&i.state), why]
    };
    let rows: Vec<_> = left.iter().map(row).collect();
    table(&session.headings(&["INSTANCE", "WORKLOAD", "STATE", "REASON"]), &rows)
}

async fn leaving(session: &Session, node: u32) -> Result<v1::ListLeavingResponse, Failure> {
    ask(session, v1::ListLeavingRequest { node, ..Default::default() }).await
}

async fn ask(
    session: &Session,
    request: v1::ListLeavingRequest,
) -> Result<v1::ListLeavingResponse, Failure> {
    let left = session.call(|mut o| async move { o.list_leaving(request).await }).await?;
    match left.refusal {
        Some(refusal) => Err(refusal.into()),
        None => Ok(left),
    }
}

/// Finds the node with a name.
pub(crate) async fn find(session: &Session, name: &str) -> Result<v1::NodeView, Failure> {
    let list = list_nodes(session).await?;
    let named = |n: &v1::NodeView| n.facts.as_ref().is_some_and(|f| f.name == name);
    let unknown = || {
        let name = clean(name);
        Failure::refused(&Message::NoNode { name: &name }, &Message::SeeNodes {})
    };
    list.nodes.into_iter().find(named).ok_or_else(unknown)
}

async fn wish(session: &Session, node: &v1::NodeView, wish: v1::NodeWish) -> Result<(), Failure> {
    let request = v1::SetNodeWishRequest {
        operation_id: operation_id()?,
        node: node.node,
        wish: wish.into(),
    };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.set_node_wish(request).await }
    });
    match response.await?.refusal {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

fn done(session: &Session, name: &str, effect: &str, message: &str) -> Result<(), Failure> {
    let text = || format!("{message}\n");
    show(session.format, text, &json!({"node": name, "effect": effect}))
}
