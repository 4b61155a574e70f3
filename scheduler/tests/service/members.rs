//! Members that are let in over TLS, and those that are not.

use std::net::SocketAddr;
use std::path::PathBuf;

use tengyun_model::{Grant, Member, Millis, Role};
use tengyun_proto::identity::{Identity, Key};
use tengyun_proto::join::{self, Evidence, JoinError};
use tengyun_proto::tls;
use tengyun_proto::token::Token;
use tengyun_proto::{limits, v1};
use tengyun_scheduler::Config;
use tonic::transport::Channel;

use crate::world::{Scheduler, operation};

/// A scheduler that listens on this machine.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) scheduler: Scheduler,
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = crate::world::dir();
        let mut config = Config::new(dir.path());
        config.listen = Some(loopback());
        change(&mut config);
        let scheduler = Scheduler::start_with(config).await;
        Self { dir, scheduler }
    }

    /// Makes a token.
    pub(crate) async fn token(&self, grant: &Grant) -> Token {
        let request = v1::CreateTokenRequest { grant: Some(grant.into()), address: String::new() };
        let mut identities = limits::identity_client(self.scheduler.channel.clone());
        let answer = identities.create_token(request).await.unwrap().into_inner();
        assert_eq!(answer.refusal, None);
        answer.token.parse().unwrap()
    }

    /// Lets a node in that is new, or was made a token for.
    pub(crate) async fn node(&self, name: &str) -> Identity {
        let token = self.token(&Grant::Node(name.parse().unwrap())).await;
        self.join(&token, &node(name)).await.unwrap()
    }

    pub(crate) async fn person(&self, name: &str, role: Role) -> Identity {
        let token = self.token(&Grant::Person(name.parse().unwrap(), role)).await;
        self.join(&token, &Member::Person(name.parse().unwrap())).await.unwrap()
    }

    pub(crate) async fn join(&self, token: &Token, member: &Member) -> Result<Identity, JoinError> {
        join::join(token, member, Evidence::default(), &self.place()).await
    }

    /// Returns a place for one more identity.
    pub(crate) fn place(&self) -> PathBuf {
        self.dir.path().join(format!("identity-{}", operation()))
    }

    pub(crate) async fn revoke(&self, member: &Member) {
        let operation_id = operation();
        let request = v1::RevokeMemberRequest { operation_id, member: Some(member.into()) };
        let mut identities = limits::identity_client(self.scheduler.channel.clone());
        let answer = identities.revoke_member(request).await.unwrap().into_inner();
        assert_eq!(answer.refusal, None);
    }

    pub(crate) async fn member(&self, member: &Member) -> v1::MemberView {
        let mut identities = limits::identity_client(self.scheduler.channel.clone());
        let list = identities.list_members(v1::ListMembersRequest {}).await.unwrap();
        let wanted = Some(member.into());
        list.into_inner().members.into_iter().find(|view| view.member == wanted).unwrap()
    }
}

pub(crate) fn node(name: &str) -> Member {
    Member::Node(name.parse().unwrap())
}

pub(crate) async fn connect(identity: &Identity) -> Channel {
    tls::connect(identity).await.unwrap()
}

/// Makes a join request that is right but for its secret.
pub(crate) fn request(secret: &[u8], name: &str, key: &Key) -> v1::JoinRequest {
    v1::JoinRequest {
        secret: secret.to_vec(),
        member: Some((&node(name)).into()),
        public_key: key.public().to_vec(),
        ..v1::JoinRequest::default()
    }
}

/// A time that ends during a test.
pub(crate) const SHORT: Millis = Millis::from_secs(4);

/// Journals as earlier versions wrote them, with their formats: each of one node with one instance.
pub(crate) const EARLIER_FORMATS: [(u32, &[u8]); 3] = [
    (1, include_bytes!("../journals/format-1.db")),
    (2, include_bytes!("../journals/format-2.db")),
    (3, include_bytes!("../journals/format-3.db")),
];
