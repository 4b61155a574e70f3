//! The service about identities: tokens, joining, renewal, revocation. Who may call what is decided
//! before this; what a token lets in is decided by the state.

mod attempts;

use std::net::IpAddr;
use std::sync::Arc;

use tengyun_engine::{Command, Effect, MemberImage, Outcome};
use tengyun_model::{Admission, At, Digest, Grant, Member, Millis, NodeId, Wisher, said};
use tengyun_proto::convert::{ConvertError, operation_id};
use tengyun_proto::identity::Certificate;
use tengyun_proto::refused::{of_refusal, status};
use tengyun_proto::token::{Address, Secret, Token, sha256};
use tengyun_proto::v1;
use tengyun_proto::v1::identity_service_server::IdentityService;
use tonic::{Code, Request, Response, Status};
use tracing::{error, info, warn};

use crate::authority::Authority;
use crate::authority::claim::{Claim, Subject};
use crate::caller::Asker;
use crate::connections::{Connections, Visit, Who};
use crate::desk::{self, Desk};
use crate::view::{self, effect_word, refusal};
use attempts::{Attempt, Attempts};

/// How much longer a person's certificate holds than a node's: people do not renew in the night.
const PERSON_FACTOR: u64 = 30;
/// The most hardware addresses that a server says of itself.
const HARDWARE_ADDRESSES_MAX: usize = 64;
/// The longest of the texts that a server says of itself.
const EVIDENCE_BYTES_MAX: usize = 128;

/// What lets members in, where the scheduler listens for them.
#[derive(Debug)]
pub(crate) struct Admittance {
    /// What signs.
    pub authority: Arc<Authority>,
    /// Where members find the scheduler.
    pub address: Address,
    /// How long a token holds.
    pub token_lifetime: Millis,
    /// How long a node's certificate holds.
    pub certificate_lifetime: Millis,
}

/// Serves whoever joins, and who decides about them.
#[derive(Debug)]
pub(crate) struct Identities {
    desk: Desk,
    admittance: Option<Admittance>,
    connections: Arc<Connections>,
    attempts: Attempts,
}

impl Identities {
    /// Makes the service; without an admittance nobody can join.
    pub(crate) fn new(
        desk: Desk,
        admittance: Option<Admittance>,
        connections: Arc<Connections>,
    ) -> Self {
        Self { desk, admittance, connections, attempts: Attempts::default() }
    }

    fn admittance(&self) -> Result<&Admittance, Box<v1::Refusal>> {
        if let Some(reason) = self.desk.read_only() {
            return Err(Box::new(view::read_only(reason)));
        }
        let closed = || view::refused("not-listening", &said!(NotListening), &said!(DoListen));
        self.admittance.as_ref().ok_or_else(|| Box::new(closed()))
    }

    async fn submit(&self, command: Command, by: Option<Wisher>) -> Result<Outcome, Status> {
        let command = Box::new(command);
        self.desk.ask(|answer| desk::Request::Wish { command, dry_run: false, by, answer }).await
    }

    async fn now(&self) -> Result<At, Status> {
        self.desk.read(|view| view.now()).await
    }

    /// Redeems a token; the state decides, and is asked first without leaving a trace.
    async fn redeem(
        &self,
        secret: &[u8],
        member: &Member,
        key: Digest,
    ) -> Result<(Option<NodeId>, Admission), Status> {
        let unknown = || refused(&tengyun_engine::Refusal::UnknownToken);
        let token = Secret::from_slice(secret).ok_or_else(unknown)?.digest();
        let asked = member.clone();
        let check = move |view: view::View<'_>| view.check_token(token, &asked, key);
        self.desk.read(check).await?.map_err(|no| refused(&no))?;
        let command = Command::RedeemToken { token, member: member.clone(), key };
        match self.submit(command, None).await? {
            Outcome::Applied(Effect::Admitted { node, admission }) => Ok((node, admission)),
            Outcome::Applied(effect) => {
                error!(?effect, "redeeming a token had another effect");
                Err(Status::internal("redeeming a token had another effect"))
            }
            Outcome::Refused(no) => Err(refused(&no)),
        }
    }
}

#[tonic::async_trait]
impl IdentityService for Identities {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let admittance = self.admittance().map_err(|no| ended(&no))?;
        let visit = request.extensions().get::<Visit>().cloned();
        let visit = visit.ok_or_else(|| Status::internal("a connection of an unknown kind"))?;
        let now = self.now().await?;
        let attempt = self.attempts.take(visit.from.ip(), now);
        if let Attempt::TooMany(count) = attempt {
            warn!(from = %visit.from, count, "attempts to join refused: they come too fast");
        }
        if attempt != Attempt::Taken {
            return Err(status(Code::ResourceExhausted, &said!(TooManyAttempts)));
        }
        let request = request.into_inner();
        let member = member(request.member.clone())?;
        let key = sha256(&request.public_key);
        let (node, admission) = match self.redeem(&request.secret, &member, key).await {
            Ok(admitted) => admitted,
            Err(status) => {
                let (from, reason) = (visit.from, status.message());
                warn!(%member, %from, reason, "attempt to join refused");
                return Err(status);
            }
        };
        self.attempts.give_back(visit.from.ip());
        let claim = admittance.claim(&member, node, admission, now);
        let certificate = admittance.certify(&claim, &request.public_key, now)?;
        note_joined(&member, visit.from.ip(), &request);
        Ok(Response::new(v1::JoinResponse {
            node: node.map_or(0, NodeId::get),
            admission: admission.get(),
            certificate: Some((&certificate).into()),
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let admittance = self.admittance().map_err(|no| ended(&no))?;
        let visit = request.extensions().get::<Visit>().cloned();
        let Some(Visit { who: Who::Member(shown), connection, .. }) = visit else {
            return Err(Status::unauthenticated("only a certificate is renewed"));
        };
        let now = self.now().await?;
        let lifetime = admittance.lifetime(&shown.subject);
        let claim = Claim { until: now.after(lifetime), ..shown };
        let key = request.into_inner().public_key;
        let certificate = admittance.certify(&claim, &key, now)?;
        self.connections.extend(connection, claim.until);
        info!(member = claim.name(), "certificate renewed");
        Ok(Response::new(v1::RenewResponse { certificate: Some((&certificate).into()) }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let no = |no| {
            let (token, expires_millis) = (String::new(), 0);
            Ok(Response::new(v1::CreateTokenResponse { token, expires_millis, refusal: Some(no) }))
        };
        let admittance = match self.admittance() {
            Ok(admittance) => admittance,
            Err(refusal) => return no(*refusal),
        };
        let by = Asker::of(&request).wisher;
        let request = request.into_inner();
        let grant = grant(request.grant)?;
        let address = if request.address.is_empty() {
            admittance.address.clone()
        } else {
            request.address.parse().map_err(|e| Status::invalid_argument(format!("{e}")))?
        };
        let secret = Secret::draw().map_err(|e| Status::internal(e.to_string()))?;
        let expires = self.now().await?.after(admittance.token_lifetime);
        let shown = grant.to_string();
        let command = Command::CreateToken { token: secret.digest(), grant, expires };
        if let Outcome::Refused(refused) = self.submit(command, by).await? {
            return no(refusal(&refused));
        }
        info!(grant = shown, "token made");
        let authority = admittance.authority.fingerprint();
        let token = Token { authority, secret, address }.to_string();
        let expires_millis = expires.millis();
        Ok(Response::new(v1::CreateTokenResponse { token, expires_millis, refusal: None }))
    }

    async fn revoke_member(
        &self,
        request: Request<v1::RevokeMemberRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let by = Asker::of(&request).wisher;
        let request = request.into_inner();
        if let Some(reason) = self.desk.read_only() {
            return Err(status(Code::FailedPrecondition, &said!(ReadOnlyNow, reason)));
        }
        let operation = operation_id("operation_id", &request.operation_id).map_err(invalid)?;
        let member = member(request.member)?;
        let shown = member.to_string();
        let command = Command::RevokeMember { operation, member };
        let response = match self.submit(command, by).await? {
            Outcome::Applied(effect) => {
                info!(member = shown, "member revoked");
                v1::OperationResponse { effect: effect_word(&effect).to_owned(), refusal: None }
            }
            Outcome::Refused(no) => {
                v1::OperationResponse { effect: String::new(), refusal: Some(refusal(&no)) }
            }
        };
        Ok(Response::new(response))
    }

    async fn list_members(
        &self,
        _: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let members = self.desk.read(|view| view.members()).await?;
        let members = members.iter().map(|known| self.shown(known)).collect();
        Ok(Response::new(v1::ListMembersResponse { members }))
    }
}

impl Identities {
    fn shown(&self, known: &MemberImage) -> v1::MemberView {
        let (connections, doubles) = self.connections.of(&subject(&known.member, known.node));
        v1::MemberView {
            member: Some((&known.member).into()),
            node: known.node.map_or(0, NodeId::get),
            role: known.role.as_ref().map(Into::into),
            admission: known.admission.get(),
            admitted_millis: known.admitted.millis(),
            revoked_millis: known.revoked.map_or(0, At::millis),
            connections: u32::try_from(connections).unwrap_or(u32::MAX),
            doubles,
        }
    }
}

impl Admittance {
    fn lifetime(&self, subject: &Subject) -> Millis {
        match subject {
            Subject::Node(_) => self.certificate_lifetime,
            Subject::Person(_) => self.certificate_lifetime.saturating_mul(PERSON_FACTOR),
        }
    }

    fn claim(&self, member: &Member, node: Option<NodeId>, admission: Admission, now: At) -> Claim {
        let subject = subject(member, node);
        let until = now.after(self.lifetime(&subject));
        Claim { subject, admission, until }
    }

    fn certify(&self, claim: &Claim, key: &[u8], now: At) -> Result<Certificate, Status> {
        match self.authority.issue(claim, key, now) {
            Ok(Some(certificate)) => Ok(certificate),
            Ok(None) => Err(Status::invalid_argument("public_key: must be a point of P-256")),
            Err(error) => {
                error!(%error, "cannot sign a certificate");
                Err(Status::internal("cannot sign a certificate"))
            }
        }
    }
}

fn subject(member: &Member, node: Option<NodeId>) -> Subject {
    match member {
        Member::Node(_) => Subject::Node(node.unwrap_or_default()),
        Member::Person(name) => Subject::Person(name.clone()),
    }
}

/// Logs who came in and what the server says of itself: images of one disk share a machine id, so
/// this is for people to look at and decides nothing.
fn note_joined(member: &Member, from: IpAddr, request: &v1::JoinRequest) {
    let cut = |text: &str| text.chars().take(EVIDENCE_BYTES_MAX).collect::<String>();
    let (machine, product) = (cut(&request.machine_id), cut(&request.product_id));
    let addresses = request.hardware_addresses.iter().take(HARDWARE_ADDRESSES_MAX);
    let addresses: Vec<String> = addresses.map(|text| cut(text)).collect();
    info!(%member, %from, ?machine, ?product, ?addresses, "joined");
}

fn member(wire: Option<v1::Member>) -> Result<Member, Status> {
    let wire = wire.ok_or_else(|| invalid(ConvertError::new("member", "is missing")))?;
    Member::try_from(wire).map_err(|e| invalid(e.within("member")))
}

fn grant(wire: Option<v1::Grant>) -> Result<Grant, Status> {
    let wire = wire.ok_or_else(|| invalid(ConvertError::new("grant", "is missing")))?;
    Grant::try_from(wire).map_err(|e| invalid(e.within("grant")))
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn invalid(error: ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn refused(no: &tengyun_engine::Refusal) -> Status {
    ended(&refusal(no))
}

fn ended(no: &v1::Refusal) -> Status {
    of_refusal(Code::FailedPrecondition, no)
}
