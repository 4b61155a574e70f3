//! `tengyun top`: use as it is now, again and again on a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde_json::json;

use crate::failure::Failure;
use crate::get::{instance_json, instance_table, list_nodes, node_json, node_table};
use crate::output::{Format, print, show};
use crate::session::Session;

/// How often the table is made anew; agents report about as often.
const REFRESH: Duration = Duration::from_secs(2);
/// Moves a terminal to its first corner and clears what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// What `top` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// Of what
    #[arg(value_enum, default_value_t = What::Nodes)]
    what: What,
    /// Show it once
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Nodes,
    Instances,
}

/// Shows use, refreshed on a terminal until Ctrl-C.
pub(crate) async fn run(session: &Session, args: TopArgs) -> Result<(), Failure> {
    let again = io::stdout().is_terminal() && !args.once && session.format == Format::Table;
    loop {
        if again {
            print(CLEAR)?;
        }
        once(session, args.what).await?;
        if !again {
            return Ok(());
        }
        tokio::time::sleep(REFRESH).await;
    }
}

async fn once(session: &Session, what: What) -> Result<(), Failure> {
    match what {
        What::Nodes => {
            let list = list_nodes(session).await?;
            let json: Vec<_> = list.nodes.iter().map(node_json).collect();
            show(session.format, || node_table(session, &list), &json!(json))
        }
        What::Instances => {
            let mut list = session.instances(None).await?;
            list.instances.retain(|i| i.node.is_some());
            list.instances.sort_by_key(|i| (std::cmp::Reverse(i.cpu_used_millicores), i.instance));
            let json: Vec<_> = list.instances.iter().map(instance_json).collect();
            show(session.format, || instance_table(session, &list), &json!(json))
        }
    }
}
