//! Who calls, and who may call what: the one table of rights, and the gate in front of every service
//! that holds calls to it.
//!
//! Invariant: every call has a row, and what has none is refused
//! (`every_call_has_one_row_and_every_row_is_of_a_call`). A call of the protocol without a row does not
//! compile.

use std::collections::BTreeMap;
use std::convert::Infallible;

use tengyun_model::{Admission, DepartmentPath, Name, NodeId, Role, Said, Wisher, said};
use tengyun_proto::CALLS;
use tengyun_proto::refused::status;
use tengyun_proto::uds::Peer;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Context, Poll, Service};
use tracing::warn;

use crate::connections::{Visit, Void, Who};
use crate::roster::Roster;
use crate::route::Calls;
use std::sync::Arc;
use tokio::sync::watch;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Ourselves or root, over the Unix socket: this user.
    Local(u32),
    /// Another user of this machine, in the role that the scheduler was started with for it.
    User(u32, Role),
    /// A node, as it was let in.
    Node(NodeId, Admission),
    /// A person in a role.
    Person(Name, Role),
    /// Somebody who showed no certificate that holds.
    Unknown,
}

/// What a caller sees and changes of the departments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    All,
    /// This one and those below it.
    Department(DepartmentPath),
    /// None.
    Nothing,
}

impl Scope {
    /// Returns what the caller of a request that passed the gate may see.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        match request.extensions().get::<Caller>() {
            Some(
                Caller::Local(_)
                | Caller::Person(_, Role::Operator | Role::Viewer)
                | Caller::User(_, Role::Operator | Role::Viewer),
            ) => Self::All,
            Some(
                Caller::Person(_, Role::Department(path)) | Caller::User(_, Role::Department(path)),
            ) => Self::Department(path.clone()),
            Some(Caller::Node(..) | Caller::Unknown) | None => Self::Nothing,
        }
    }

    /// Says whether a department, by its path, is within.
    pub(crate) fn covers(&self, department: &str) -> bool {
        match self {
            Self::All => true,
            Self::Department(own) => {
                let rest = department.strip_prefix(own.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Nothing => false,
        }
    }
}

/// Who asks for something, as far as it matters behind the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// What it may see and change.
    pub scope: Scope,
    /// Who it is, for the record.
    pub wisher: Option<Wisher>,
}

impl Asker {
    /// Returns who makes a request that passed the gate.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        let wisher = match request.extensions().get::<Caller>() {
            Some(Caller::Local(uid) | Caller::User(uid, _)) => Some(Wisher::Local(*uid)),
            Some(Caller::Person(name, role)) => Some(Wisher::Person(name.clone(), role.clone())),
            Some(Caller::Node(..) | Caller::Unknown) | None => None,
        };
        Self { scope: Scope::of(request), wisher }
    }
}

/// Who may make one call. Operators and whoever is local to the scheduler may make every call that
/// people make.
#[derive(Clone, Copy, Debug)]
struct Right {
    call: &'static str,
    to: &'static [Kind],
}

/// The kinds of callers that the table tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Operator,
    Department,
    Viewer,
    Node,
    Unknown,
}

use Kind::{Department, Local, Node, Operator, Unknown, Viewer};

/// For those who run the cloud.
const RUN: &[Kind] = &[Local, Operator];
/// For those who run the cloud, and departments about what is theirs.
const OWN: &[Kind] = &[Local, Operator, Department];
/// For all people; departments see what is theirs.
const LOOK: &[Kind] = &[Local, Operator, Department, Viewer];
/// For people who may see the whole cloud.
const LOOK_AT_ALL: &[Kind] = &[Local, Operator, Viewer];
/// For everybody who was let in.
const MEMBERS: &[Kind] = &[Local, Operator, Department, Viewer, Node];

/// The table. A call that is not in it is made by nobody.
const RIGHTS: &[Right] = &[
    Right { call: "/tengyun.v1.AgentService/Attach", to: &[Local, Node] },
    Right { call: "/tengyun.v1.OperatorService/Apply", to: OWN },
    Right { call: "/tengyun.v1.OperatorService/Stop", to: OWN },
    Right { call: "/tengyun.v1.OperatorService/Delete", to: OWN },
    Right { call: "/tengyun.v1.OperatorService/ListNodes", to: LOOK_AT_ALL },
    Right { call: "/tengyun.v1.OperatorService/ListDepartments", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/ListWorkloads", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/ListInstances", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/Explain", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/Logs", to: OWN },
    Right { call: "/tengyun.v1.OperatorService/GetPolicy", to: LOOK_AT_ALL },
    Right { call: "/tengyun.v1.OperatorService/SetPolicy", to: RUN },
    Right { call: "/tengyun.v1.OperatorService/ListPolicies", to: LOOK_AT_ALL },
    Right { call: "/tengyun.v1.OperatorService/Status", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/ListMeters", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/SetNodeWish", to: RUN },
    Right { call: "/tengyun.v1.OperatorService/ListLeaving", to: LOOK_AT_ALL },
    Right { call: "/tengyun.v1.OperatorService/Move", to: RUN },
    Right { call: "/tengyun.v1.OperatorService/AcknowledgeLoss", to: RUN },
    Right { call: "/tengyun.v1.OperatorService/Release", to: RUN },
    Right { call: "/tengyun.v1.OperatorService/ListEvents", to: LOOK_AT_ALL },
    Right { call: "/tengyun.v1.OperatorService/ListVolumes", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/DeleteVolumes", to: OWN },
    Right { call: "/tengyun.v1.OperatorService/ConfirmRestore", to: RUN },
    Right { call: "/tengyun.v1.OperatorService/GetRollout", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/SteerRollout", to: OWN },
    Right { call: "/tengyun.v1.OperatorService/ListRuns", to: LOOK },
    Right { call: "/tengyun.v1.OperatorService/ForgetNode", to: RUN },
    Right { call: "/tengyun.v1.IdentityService/Join", to: &[Unknown] },
    Right { call: "/tengyun.v1.IdentityService/Renew", to: &[Operator, Department, Viewer, Node] },
    Right { call: "/tengyun.v1.IdentityService/CreateToken", to: RUN },
    Right { call: "/tengyun.v1.IdentityService/RevokeMember", to: RUN },
    Right { call: "/tengyun.v1.IdentityService/ListMembers", to: LOOK_AT_ALL },
    Right { call: "/tengyun.v1.SecretService/SetSecret", to: OWN },
    Right { call: "/tengyun.v1.SecretService/ListSecrets", to: OWN },
    Right { call: "/tengyun.v1.SecretService/DeleteSecret", to: OWN },
    Right { call: "/tengyun.v1.SecretService/RotateSecretKeys", to: RUN },
    Right { call: tengyun_daemon::metrics::PATH, to: LOOK_AT_ALL },
    Right { call: "/grpc.health.v1.Health/Check", to: MEMBERS },
    Right { call: "/grpc.health.v1.Health/Watch", to: MEMBERS },
    Right { call: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", to: LOOK_AT_ALL },
];

/// The calls that the protocol has no descriptor of, or another crate's.
const FURTHER: usize = 4;

const _: () = assert!(RIGHTS.len() == CALLS.len() + FURTHER, "a call has no row of RIGHTS, or two");
const _: () = assert!(all_have_rows(), "a call has no row of RIGHTS");

/// Says whether each call of the protocol has a row.
const fn all_have_rows() -> bool {
    let mut call = 0;
    while call < CALLS.len() {
        let mut row = 0;
        while row < RIGHTS.len() && !is_same(RIGHTS[row].call, CALLS[call]) {
            row += 1;
        }
        if row == RIGHTS.len() {
            return false;
        }
        call += 1;
    }
    true
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

fn may(caller: &Caller, call: &str) -> bool {
    let kind = match caller {
        Caller::Local(_) => Local,
        Caller::Node(..) => Node,
        Caller::Person(_, role) | Caller::User(_, role) => match role {
            Role::Operator => Operator,
            Role::Department(_) => Department,
            Role::Viewer => Viewer,
        },
        Caller::Unknown => Unknown,
    };
    RIGHTS.iter().any(|right| right.call == call && right.to.contains(&kind))
}

/// The gate in front of the services.
#[derive(Clone, Debug)]
pub(crate) struct Gate<S> {
    services: S,
    roster: watch::Receiver<Arc<Roster>>,
    locals: Arc<BTreeMap<u32, Role>>,
}

impl<S> Gate<S> {
    /// Puts a gate in front of services.
    pub(crate) fn new(
        services: S,
        roster: watch::Receiver<Arc<Roster>>,
        locals: Arc<BTreeMap<u32, Role>>,
    ) -> Self {
        Self { services, roster, locals }
    }

    fn caller(&self, request: &Request<Body>) -> Result<Caller, Said> {
        if let Some(peer) = request.extensions().get::<Peer>() {
            return Ok(match self.locals.get(&peer.uid) {
                Some(role) => Caller::User(peer.uid, role.clone()),
                None => Caller::Local(peer.uid),
            });
        }
        let Some(visit) = request.extensions().get::<Visit>() else {
            return Err(said!(ConnectionUnknown));
        };
        match &visit.who {
            Who::Unknown => Ok(Caller::Unknown),
            Who::Void(why) => Err(why.said()),
            Who::Member(claim) => {
                let caller = self.roster.borrow().caller(claim);
                caller.ok_or_else(|| Void::Revoked.said())
            }
        }
    }
}

impl<S: Calls> Service<Request<Body>> for Gate<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let call = request.uri().path();
        let refused = match self.caller(&request) {
            Ok(caller) if may(&caller, call) => {
                request.extensions_mut().insert(caller);
                return self.services.call(request);
            }
            Ok(Caller::Unknown) => status(Code::Unauthenticated, &said!(NeedsCertificate)),
            Ok(caller) => {
                warn!(?caller, ?call, "call refused");
                status(Code::PermissionDenied, &said!(MayNot, title(&caller)))
            }
            Err(why) => status(Code::Unauthenticated, &said!(JoinAgain, why)),
        };
        Box::pin(async move { Ok(refused.into_http()) })
    }
}

fn title(caller: &Caller) -> Said {
    match caller {
        Caller::Local(_) => said!(LocalUser),
        Caller::User(uid, role) => said!(UserInRole, uid, Said::from(role)),
        Caller::Node(node, _) => said!(MemberNode, node),
        Caller::Person(name, role) => said!(InRole, name, Said::from(role)),
        Caller::Unknown => said!(WithoutCertificate),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET as REFLECTION;

    use super::*;

    /// Every call that the descriptors of these services name.
    fn calls(descriptors: &[u8]) -> BTreeSet<String> {
        let set = prost_types::FileDescriptorSet::decode(descriptors).unwrap();
        let mut calls = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    calls.insert(format!("/{package}.{service}/{}", method.name()));
                }
            }
        }
        calls
    }

    #[test]
    fn every_call_has_one_row_and_every_row_is_of_a_call() {
        let mut served = calls(tengyun_proto::DESCRIPTORS);
        served.append(&mut calls(tonic_health::pb::FILE_DESCRIPTOR_SET));
        served.append(&mut calls(REFLECTION));
        // Plain HTTP, which no descriptor names.
        served.insert(tengyun_daemon::metrics::PATH.to_owned());
        // The library lists a method of health that it does not serve to anybody.
        let rows: Vec<String> = RIGHTS.iter().map(|right| right.call.to_owned()).collect();
        let known: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(known.len(), rows.len(), "a call has two rows");
        assert_eq!(known, served);
    }

    #[test]
    fn what_has_no_row_is_done_by_nobody() {
        for caller in
            [Caller::Local(0), Caller::Unknown, Caller::Node(NodeId::new(1), Admission::new(1))]
        {
            assert!(!may(&caller, "/tengyun.v1.OperatorService/NoSuchCall"));
            assert!(!may(&caller, ""));
        }
    }

    #[test]
    fn a_department_covers_what_is_below_it_and_no_namesake() {
        let scope = Scope::Department("city/finance".parse().unwrap());
        assert!(scope.covers("city/finance") && scope.covers("city/finance/treasury"));
        assert!(!scope.covers("city/finances") && !scope.covers("city") && !scope.covers(""));
        assert!(Scope::All.covers("x") && !Scope::Nothing.covers("x"));
    }
}
