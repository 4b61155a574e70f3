//! `tengyun token create`: what lets a server or a person in.

use serde_json::json;
use tengyun_model::{DepartmentPath, Grant, Name, NodeName, Role, Said};
use tengyun_proto::token::Address;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::{Message, told};
use crate::output::{note, show, time};
use crate::session::Session;

/// What `token` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    verb: TokenVerb,
}

#[derive(Debug, clap::Subcommand)]
enum TokenVerb {
    /// Make a token; it is shown once and kept nowhere
    Create(CreateArgs),
}

/// Whom the token lets in: a server with a new name, unless something else is said.
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Let in the node of this name, also when it was in before: it is the same node then
    #[arg(long, value_name = "NAME", conflicts_with = "person")]
    node: Option<NodeName>,
    /// Let in a person of this name
    #[arg(long, value_name = "NAME", requires = "role")]
    person: Option<Name>,
    /// What the person may do
    #[arg(long, value_enum, requires = "person")]
    role: Option<RoleWord>,
    /// The department that the person speaks for
    #[arg(long, value_name = "PATH", required_if_eq("role", "department"))]
    department: Option<DepartmentPath>,
    /// Where the scheduler is, as seen by whom it is for [default: as the scheduler was told]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<Address>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum RoleWord {
    /// Everything
    Operator,
    /// The workloads of one department
    Department,
    /// Look and change nothing
    Viewer,
}

/// Makes a token and shows it.
pub(crate) async fn run(session: &Session, args: TokenArgs) -> Result<(), Failure> {
    let TokenVerb::Create(args) = args.verb;
    let address = args.address.as_ref().map(ToString::to_string).unwrap_or_default();
    let grant = grant(args)?;
    let request = v1::CreateTokenRequest { grant: Some((&grant).into()), address };
    let response = session.call_identity(|mut identities| {
        let request = request.clone();
        async move { identities.create_token(request).await }
    });
    let response = response.await?;
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let until = time(response.expires_millis);
    let whom = told(&Said::from(&grant));
    note(&Message::TokenLetsIn { whom: &whom, until: &until }.said());
    let verb = match grant {
        Grant::NewNode | Grant::Node(_) => "join",
        Grant::Person(..) => "login",
    };
    note(&format!("  tengyun {verb} TOKEN"));
    let json = json!({"token": response.token, "expires_millis": response.expires_millis});
    show(session.format, || format!("{}\n", response.token), &json)
}

fn grant(args: CreateArgs) -> Result<Grant, Failure> {
    let role = match (args.role, args.department) {
        (Some(RoleWord::Operator), None) => Some(Role::Operator),
        (Some(RoleWord::Viewer), None) => Some(Role::Viewer),
        (Some(RoleWord::Department), Some(path)) => Some(Role::Department(path)),
        (None, None) => None,
        (_, department) => {
            let said = department.map_or_else(String::new, |path| format!(" {path}"));
            return Err(Failure::Usage(Message::DepartmentWithRole { said: &said }.said()));
        }
    };
    match (args.node, args.person, role) {
        (Some(node), None, None) => Ok(Grant::Node(node)),
        (None, Some(person), Some(role)) => Ok(Grant::Person(person, role)),
        (None, None, None) => Ok(Grant::NewNode),
        _ => Err(Failure::Usage(Message::NodeOrPerson {}.said())),
    }
}
