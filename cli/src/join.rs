//! `tengyun join` and `tengyun login`: coming in by a token.

use std::fs::DirBuilder;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tengyun_model::{Member, Name, NodeId, NodeName};
use tengyun_proto::join::{self, Evidence};
use tengyun_proto::token::{PREFIX, Token, TokenError};

use crate::failure::Failure;
use crate::message::Message;
use crate::options::Global;
use crate::output::{Format, note, show};

/// More than the longest token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// What `join` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// The token; `-` reads it from standard input, where no other user can see it
    token: String,
    /// Name of the node, unique in the cloud [default: the host name]
    #[arg(long)]
    name: Option<NodeName>,
    /// State directory of this server's agent [default: agent in the state directory]
    #[arg(long, value_name = "DIR")]
    agent_dir: Option<PathBuf>,
    /// Join again though this server has an identity, which is replaced
    #[arg(long)]
    again: bool,
}

/// What `login` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// The token; `-` reads it from standard input, where no other user can see it
    token: String,
    /// The name that the token was made for
    #[arg(long)]
    name: Name,
    /// Come in again though there is an identity, which is replaced
    #[arg(long)]
    again: bool,
}

/// Joins with this server.
pub(crate) async fn node(global: &Global, args: JoinArgs, format: Format) -> Result<(), Failure> {
    let token = token(&args.token)?;
    let name = args.name.map_or_else(host_name, Ok)?;
    let dir = args.agent_dir.unwrap_or_else(|| global.state_dir().join("agent"));
    let path = tengyun_agent::identity_path(&dir);
    check_new(&path, args.again)?;
    let identity = tengyun_agent::join(&dir, &name, &token).await?;
    let id = identity.node.map_or(0, NodeId::get);
    note(&Message::StartAgent {}.said());
    note(&format!("  tengyun-agent --state-dir {}", dir.display()));
    let text = || Message::NodeJoined { name: &name, id: &id }.said() + "\n";
    show(format, text, &json!({"node": name.as_str(), "id": id}))
}

/// Comes in as a person.
pub(crate) async fn person(
    global: &Global,
    args: LoginArgs,
    format: Format,
) -> Result<(), Failure> {
    let token = token(&args.token)?;
    let path = global.identity_path();
    check_new(&path, args.again)?;
    if let Some(dir) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| {
            let dir = dir.display();
            Failure::Usage(Message::CannotMake { what: &dir, error: &error }.said())
        })?;
    }
    let member = Member::Person(args.name.clone());
    join::join(&token, &member, Evidence::default(), &path).await?;
    let text = || {
        let file = path.display();
        Message::PersonIsIn { name: &args.name, file: &file }.said() + "\n"
    };
    show(format, text, &json!({"person": args.name.as_str(), "identity": path}))
}

fn check_new(path: &Path, again: bool) -> Result<(), Failure> {
    if again || !path.exists() {
        return Ok(());
    }
    Err(Failure::Usage(Message::JoinedBefore { file: &path.display() }.said()))
}

fn token(text: &str) -> Result<Token, Failure> {
    let mut read = String::new();
    let text = if text == "-" {
        let mut input = std::io::stdin().take(TOKEN_BYTES_MAX);
        let failed = |error| Failure::Usage(Message::CannotReadToken { error: &error }.said());
        input.read_to_string(&mut read).map_err(failed)?;
        read.as_str()
    } else {
        text
    };
    text.parse().map_err(|error| Failure::Usage(token_error(error)))
}

fn token_error(error: TokenError) -> String {
    match error {
        TokenError::Shape => Message::TokenShape { prefix: &PREFIX }.said(),
        TokenError::Address => Message::TokenAddress {}.said(),
    }
}

fn host_name() -> Result<NodeName, Failure> {
    let name = nix::unistd::gethostname().map_err(|error| Failure::internal(&error))?;
    let name = name.to_string_lossy().to_ascii_lowercase();
    let quoted = format!("{name:?}");
    let bad = |_| Failure::Usage(Message::HostNameIsNone { name: &quoted }.said());
    NodeName::new(name.as_str()).map_err(bad)
}
