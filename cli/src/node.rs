//! `tengyun cordon`, `uncordon` and `drain`: what operators wish of a node.

use std::time::Duration;

use serde_json::json;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::get::list_nodes;
use crate::output::{clean, note, show, table};
use crate::session::{Session, operation_id, path};

/// How often a drain looks how far it is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What `drain` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// The node
    node: String,
    /// Also what must not move: it stops here before it starts elsewhere
    #[arg(long)]
    force: bool,
    /// Do not wait until the node is empty
    #[arg(long)]
    no_wait: bool,
}

/// Keeps new instances away from a node.
pub(crate) async fn cordon(session: &Session, name: &str) -> Result<(), Failure> {
    let node = find(session, name).await?;
    wish(session, &node, v1::NodeWish::Cordon).await?;
    done(session, name, "cordoned")
}

/// Opens a node again.
pub(crate) async fn uncordon(session: &Session, name: &str) -> Result<(), Failure> {
    let node = find(session, name).await?;
    wish(session, &node, v1::NodeWish::Serve).await?;
    done(session, name, "open")
}

/// Empties a node and says how far it is.
pub(crate) async fn drain(session: &Session, args: DrainArgs) -> Result<(), Failure> {
    let node = find(session, &args.node).await?;
    let force = if args.force { v1::NodeWish::DrainByForce } else { v1::NodeWish::Drain };
    wish(session, &node, force).await?;
    if args.no_wait {
        return done(session, &args.node, "draining");
    }
    follow(session, &node, &args.node).await?;
    done(session, &args.node, "drained and empty: `tengyun uncordon` opens it again")
}

/// Waits until a node is empty, or until only what must not move is left.
async fn follow(session: &Session, node: &v1::NodeView, name: &str) -> Result<(), Failure> {
    let mut said = String::new();
    loop {
        let left = leaving(session, node.node).await?;
        if !matches!(left.wish.as_str(), "drain" | "drain-by-force") {
            let problem = format!("somebody ended the drain of {name}: it is {} now", left.wish);
            return Err(Failure::Refused(problem));
        }
        if left.instances.is_empty() {
            return Ok(());
        }
        let stays =
            |i: &v1::LeavingView| matches!(i.state.as_str(), "must-not-move" | "keeps-volumes");
        if left.instances.iter().all(stays) {
            // Not even force takes an instance away from its volumes.
            let forced = left.instances.iter().any(|i| i.state == "must-not-move");
            let next = if forced {
                format!("tengyun drain {name} --force")
            } else {
                "tengyun stop NAME: it starts again where its volumes are".to_owned()
            };
            return Err(Failure::Refused(format!(
                "what is left on {name} must not move:\n{}next: {next}",
                list(session, &left.instances)
            )));
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
    let line = format!("{name}: {} left, {moving} moving, {stopping} stopping", left.len());
    if waiting.is_empty() { line } else { format!("{line}\n{}", list(session, &waiting)) }
}

fn list(session: &Session, left: &[v1::LeavingView]) -> String {
    let row = |i: &v1::LeavingView| {
        let key = path(i.key.clone().unwrap_or_default());
        vec![i.instance.to_string(), key, i.state.clone(), i.reason.clone()]
    };
    let rows: Vec<_> = left.iter().map(row).collect();
    table(&session.headings(&["INSTANCE", "WORKLOAD", "STATE", "REASON"]), &rows)
}

async fn leaving(session: &Session, node: u32) -> Result<v1::ListLeavingResponse, Failure> {
    let request = v1::ListLeavingRequest { node };
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
        let next = "next: tengyun get nodes";
        Failure::Refused(format!("no node is called {}\n{next}", clean(name)))
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

fn done(session: &Session, name: &str, effect: &str) -> Result<(), Failure> {
    let text = || format!("{}: {effect}\n", clean(name));
    show(session.format, text, &json!({"node": name, "effect": effect}))
}
