//! `tengyun members`, `tengyun node` and `tengyun person`: who was let in, and who no longer is.

use serde_json::{Value, json};
use tengyun_model::{Member, Name, NodeName, Role, Said};
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::{Message, told, word};
use crate::output::{show, table, time};
use crate::session::{Session, operation_id};

/// What `node` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    verb: NodeVerb,
}

#[derive(Debug, clap::Subcommand)]
enum NodeVerb {
    /// Void the node's certificates and cut its connections; what runs there runs on
    Revoke {
        /// The node
        name: NodeName,
    },
}

/// What `person` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PersonArgs {
    #[command(subcommand)]
    verb: PersonVerb,
}

#[derive(Debug, clap::Subcommand)]
enum PersonVerb {
    /// Void the person's certificates and cut the connections
    Revoke {
        /// The person
        name: Name,
    },
}

/// Manages a node.
pub(crate) async fn node(session: &Session, args: NodeArgs) -> Result<(), Failure> {
    let NodeVerb::Revoke { name } = args.verb;
    revoke(session, &Member::Node(name)).await
}

/// Manages a person.
pub(crate) async fn person(session: &Session, args: PersonArgs) -> Result<(), Failure> {
    let PersonVerb::Revoke { name } = args.verb;
    revoke(session, &Member::Person(name)).await
}

async fn revoke(session: &Session, member: &Member) -> Result<(), Failure> {
    let operation_id = operation_id()?;
    let request = v1::RevokeMemberRequest { operation_id, member: Some(member.into()) };
    let response = session.call_identity(|mut identities| {
        let request = request.clone();
        async move { identities.revoke_member(request).await }
    });
    if let Some(refusal) = response.await?.refusal {
        return Err(refusal.into());
    }
    let text = || {
        let member = told(&Said::from(member));
        Message::MemberRevoked { member: &member }.said() + "\n"
    };
    show(session.format, text, &json!({"member": member.to_string(), "effect": "revoked"}))
}

/// Lists everybody who was ever let in.
pub(crate) async fn list(session: &Session) -> Result<(), Failure> {
    let list = session.call_identity(|mut identities| async move {
        identities.list_members(v1::ListMembersRequest {}).await
    });
    let members = list.await?.members;
    let text = || {
        let headings =
            ["MEMBER", "ROLE", "ADMISSION", "SINCE", "REVOKED", "CONNECTIONS", "DOUBLES"];
        let row = |view: &v1::MemberView| {
            vec![
                name(view),
                role(view),
                view.admission.to_string(),
                time(view.admitted_millis),
                if view.revoked_millis == 0 { word("no") } else { time(view.revoked_millis) },
                view.connections.to_string(),
                view.doubles.to_string(),
            ]
        };
        table(&session.headings(&headings), &members.iter().map(row).collect::<Vec<_>>())
    };
    let json: Vec<Value> = members.iter().map(member_json).collect();
    show(session.format, text, &json!(json))
}

fn name(view: &v1::MemberView) -> String {
    let member = view.member.clone().unwrap_or_default();
    Member::try_from(member).map(|member| told(&Said::from(&member))).unwrap_or_default()
}

fn role(view: &v1::MemberView) -> String {
    let role = view.role.clone().and_then(|role| Role::try_from(role).ok());
    role.map(|role| told(&Said::from(&role))).unwrap_or_default()
}

fn member_json(view: &v1::MemberView) -> Value {
    json!({
        "member": name(view),
        "node": view.node,
        "role": role(view),
        "admission": view.admission,
        "admitted_millis": view.admitted_millis,
        "revoked_millis": view.revoked_millis,
        "connections": view.connections,
        "doubles": view.doubles,
    })
}
