//! `tengyun acknowledge-loss`, `tengyun forget` and `tengyun release`: an operator's word where the
//! scheduler waits for it.

use serde_json::json;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::get::list_nodes;
use crate::message::Message;
use crate::node::find;
use crate::output::{clean, joined, show};
use crate::session::{Session, key_of, operation_id, path};

/// What `acknowledge-loss` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct LossArgs {
    /// The lost nodes; without any, every node that is silent for long enough
    nodes: Vec<String>,
    /// They are known to be off: what must not run twice starts elsewhere too
    #[arg(long)]
    dead: bool,
}

/// Says that silent nodes are lost.
pub(crate) async fn acknowledge(session: &Session, args: LossArgs) -> Result<(), Failure> {
    let mut nodes = Vec::new();
    for name in &args.nodes {
        nodes.push(find(session, name).await?.node);
    }
    let request =
        v1::AcknowledgeLossRequest { operation_id: operation_id()?, nodes, dead: args.dead };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.acknowledge_loss(request).await }
    });
    let response = response.await?;
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let list = list_nodes(session).await?;
    let named = |n: &v1::NodeView| {
        let known = response.nodes.contains(&n.node);
        known.then(|| n.facts.clone().unwrap_or_default().name)
    };
    let names: Vec<String> = list.nodes.iter().filter_map(named).collect();
    let text =
        || joined(names.iter().map(|name| Message::NodeLostNow { node: &clean(name) }.said()));
    show(session.format, text, &json!({"lost": names, "dead": args.dead}))
}

/// What `forget` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    /// The node
    node: String,
    /// It is known to be off: what it ran starts elsewhere, and its volumes are given up
    #[arg(long)]
    dead: bool,
}

/// Removes a lost node from the register.
pub(crate) async fn forget(session: &Session, args: ForgetArgs) -> Result<(), Failure> {
    let node = find(session, &args.node).await?.node;
    let request = v1::ForgetNodeRequest { operation_id: operation_id()?, node, dead: args.dead };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.forget_node(request).await }
    });
    if let Some(refusal) = response.await?.refusal {
        return Err(refusal.into());
    }
    let name = args.node;
    let text = || Message::NodeForgotten { node: &clean(&name) }.said() + "\n";
    show(session.format, text, &json!({"node": name, "effect": "forgotten"}))
}

/// Lets a held workload start again.
pub(crate) async fn release(session: &Session, name: &str) -> Result<(), Failure> {
    let key = key_of(session.workload(name).await?.spec.as_ref());
    let request = v1::ReleaseRequest { operation_id: operation_id()?, key: Some(key.clone()) };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.release(request).await }
    });
    if let Some(refusal) = response.await?.refusal {
        return Err(refusal.into());
    }
    let path = path(key);
    let text = || Message::WorkloadReleased { workload: &clean(&path) }.said() + "\n";
    show(session.format, text, &json!({"workload": path, "effect": "released"}))
}
