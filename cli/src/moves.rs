//! `tengyun move`: brings one instance where an operator wants it.

use serde_json::json;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::Message;
use crate::node::find;
use crate::output::show;
use crate::session::{Session, operation_id};

/// What `move` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct MoveArgs {
    /// The instance's number
    instance: u64,
    /// The node it is to go to
    #[arg(long, value_name = "NODE")]
    to: String,
}

/// Starts a copy there; the old one stops when it is healthy.
pub(crate) async fn run(session: &Session, args: MoveArgs) -> Result<(), Failure> {
    let node = find(session, &args.to).await?;
    let (instance, to) = (args.instance, node.node);
    let request = v1::MoveRequest { operation_id: operation_id()?, instance, to };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.r#move(request).await }
    });
    if let Some(refusal) = response.await?.refusal {
        return Err(refusal.into());
    }
    let message = Message::InstanceMoves { instance: &instance, node: &args.to };
    let text = || message.said() + "\n";
    show(session.format, text, &json!({"instance": instance, "to": args.to, "effect": "moving"}))
}
