//! Joining, speaking for oneself only, renewal and revocation.

use std::time::{Duration, Instant};

use tengyun_model::{Grant, Millis};
use tengyun_proto::identity::Key;
use tengyun_proto::join;
use tengyun_proto::token::{Secret, Token};
use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::{limits, tls, v1};
use tonic::Code;

use crate::members::{House, SHORT, connect, node, request};
use crate::world::{Agent, hello, report, spec, until};

#[tokio::test]
async fn a_node_joins_by_a_token_and_works_with_its_certificate() {
    let mut house = House::open().await;
    let start = Instant::now();
    let token = house.token(&Grant::NewNode).await;
    let identity = house.join(&token, &node("n1")).await.unwrap();
    let mut agent = Agent::attach(&connect(&identity).await, "n1").await;
    println!("joined and attached in {:?}", start.elapsed());
    assert_eq!(Some(agent.welcome.node), identity.node.map(tengyun_model::NodeId::get));
    house.scheduler.apply(spec("web", 2)).await;
    let assignment = agent.assignment(2).await;
    agent.report(report(&assignment, v1::Phase::Running)).await;
    house.scheduler.stop().await;
}

#[tokio::test]
async fn a_token_lets_in_once_and_a_lost_answer_can_be_asked_for_again() {
    let house = House::open().await;
    let token = house.token(&Grant::NewNode).await;
    let (channel, _) = tls::connect_unknown(&token).await.unwrap();
    let mut identities = limits::identity_client(channel);
    let (key, other) = (Key::make().unwrap(), Key::make().unwrap());
    let secret = token.secret.bytes();
    let first = identities.join(request(secret, "n1", &key)).await.unwrap().into_inner();
    let again = identities.join(request(secret, "n1", &key)).await.unwrap().into_inner();
    assert_eq!((first.node, first.admission), (again.node, again.admission));
    for (name, key) in [("n1", &other), ("n2", &other), ("n2", &key)] {
        let no = identities.join(request(secret, name, key)).await.unwrap_err();
        assert!(no.message().contains("used before"), "{no}");
    }
    house.scheduler.stop().await;
}

#[tokio::test]
async fn of_two_that_race_with_one_token_one_comes_in() {
    let house = House::open().await;
    let token = house.token(&Grant::NewNode).await;
    let (one, other) = (node("n1"), node("n2"));
    let (one, other) = tokio::join!(house.join(&token, &one), house.join(&token, &other));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    house.scheduler.stop().await;
}

#[tokio::test]
async fn expired_foreign_and_guessed_tokens_are_refused() {
    let house = House::open_with(|config| config.token_lifetime = Millis::new(1)).await;
    let token = house.token(&Grant::NewNode).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = house.join(&token, &node("n1")).await.unwrap_err().to_string();
    assert!(error.contains("time is over") && error.contains("token create"), "{error}");

    // A token of another scheduler is not even told to this one.
    let elsewhere = House::open().await;
    let foreign = elsewhere.token(&Grant::NewNode).await;
    let misled = Token { address: token.address.clone(), ..foreign.clone() };
    let error = house.join(&misled, &node("n1")).await.unwrap_err().to_string();
    assert!(error.contains("not the scheduler that the token is of"), "{error}");
    let wrong = Token { secret: foreign.secret, ..token.clone() };
    let error = house.join(&wrong, &node("n1")).await.unwrap_err().to_string();
    assert!(error.contains("no such token"), "{error}");

    let (channel, _) = tls::connect_unknown(&token).await.unwrap();
    let mut identities = limits::identity_client(channel);
    let key = Key::make().unwrap();
    let (mut refused, mut slowed) = (0, 0);
    for _ in 0..200 {
        let guess = Secret::draw().unwrap();
        let no = identities.join(request(guess.bytes(), "n1", &key)).await.unwrap_err();
        match no.code() {
            Code::FailedPrecondition => refused += 1,
            Code::ResourceExhausted => slowed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused <= 25 && slowed >= 175, "{refused} guesses were looked at");
    house.scheduler.stop().await;
    elsewhere.scheduler.stop().await;
}

#[tokio::test]
async fn garbage_in_a_joining_is_refused_and_the_token_stays_good() {
    let house = House::open().await;
    let token = house.token(&Grant::NewNode).await;
    let (channel, _) = tls::connect_unknown(&token).await.unwrap();
    let mut identities = limits::identity_client(channel);
    let key = Key::make().unwrap();
    let good = request(token.secret.bytes(), "n1", &key);
    let person = v1::member::Member::Person("alice".to_owned());
    let bad = [
        v1::JoinRequest { secret: Vec::new(), ..good.clone() },
        v1::JoinRequest { secret: vec![0; 33], ..good.clone() },
        v1::JoinRequest { member: None, ..good.clone() },
        v1::JoinRequest { member: Some(v1::Member { member: None }), ..good.clone() },
        v1::JoinRequest { member: Some(v1::Member { member: Some(person) }), ..good.clone() },
        request(token.secret.bytes(), "n1", &key).with_name("../../etc"),
    ];
    for bad in bad {
        let no = identities.join(bad.clone()).await.unwrap_err();
        let expected = matches!(no.code(), Code::FailedPrecondition | Code::InvalidArgument);
        assert!(expected, "{bad:?}: {no}");
    }
    let large = v1::JoinRequest { machine_id: "x".repeat(20_000), ..good.clone() };
    let mut unbound = v1::identity_service_client::IdentityServiceClient::new(
        tls::connect_unknown(&token).await.unwrap().0,
    );
    assert_eq!(unbound.join(large).await.unwrap_err().code(), Code::OutOfRange);
    assert!(identities.join(good).await.is_ok());
    house.scheduler.stop().await;
}

trait WithName {
    fn with_name(self, name: &str) -> Self;
}

impl WithName for v1::JoinRequest {
    fn with_name(mut self, name: &str) -> Self {
        self.member = Some(v1::Member { member: Some(v1::member::Member::Node(name.to_owned())) });
        self
    }
}

#[tokio::test]
async fn a_node_may_speak_only_for_itself() {
    let house = House::open().await;
    let (one, two) = (house.node("n1").await, house.node("n2").await);
    let _other = Agent::attach(&connect(&two).await, "n2").await;
    for name in ["n2", "n3"] {
        let no = Agent::greet(&connect(&one).await, hello(name)).await.err().unwrap();
        assert_eq!(no.code(), Code::PermissionDenied, "{no}");
    }
    house.scheduler.stop().await;
}

#[tokio::test]
async fn a_taken_name_needs_a_token_made_for_it_and_voids_the_earlier_admission() {
    let house = House::open().await;
    let first = house.node("n1").await;
    let mut agent = Agent::attach(&connect(&first).await, "n1").await;
    let token = house.token(&Grant::NewNode).await;
    let error = house.join(&token, &node("n1")).await.unwrap_err().to_string();
    assert!(error.contains("--node NAME"), "{error}");
    // A node of this machine that never joined has its name as well.
    let _local = Agent::attach(&house.scheduler.channel, "n9").await;
    assert!(house.join(&token, &node("n9")).await.is_err());
    let second = house.node("n1").await;
    assert_eq!(first.node, second.node, "it is the same node");
    until("the earlier one is cut", async || agent.next().await.err()).await;
    Agent::attach(&connect(&second).await, "n1").await;
    let no = Agent::greet(&connect(&first).await, hello("n1")).await.err().unwrap();
    assert_eq!(no.code(), Code::Unauthenticated, "{no}");
    house.scheduler.stop().await;
}

#[tokio::test]
async fn revocation_cuts_live_streams_and_keeps_the_member_out() {
    let house = House::open().await;
    let identity = house.node("n1").await;
    let other = house.node("n2").await;
    let mut agent = Agent::attach(&connect(&identity).await, "n1").await;
    let mut stays = Agent::attach(&connect(&other).await, "n2").await;
    stays.assignment(0).await;
    let start = Instant::now();
    house.revoke(&node("n1")).await;
    until("the stream is cut", async || agent.next().await.err()).await;
    println!("cut {:?} after the revocation was asked for", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(30));
    let no = Agent::greet(&connect(&identity).await, hello("n1")).await.err().unwrap();
    assert!(no.message().contains("revoked"), "{no}");
    assert!(house.member(&node("n1")).await.revoked_millis > 0);
    assert_eq!(house.member(&node("n2")).await.connections, 1);
    // What is revoked stays so over a restart.
    let dir = house.dir;
    house.scheduler.stop().await;
    let mut config = tengyun_scheduler::Config::new(dir.path());
    config.listen = Some(identity.address.as_str().parse().unwrap());
    let scheduler = crate::world::Scheduler::start_with(config).await;
    let no = Agent::greet(&connect(&identity).await, hello("n1")).await.err().unwrap();
    assert!(no.message().contains("revoked"), "{no}");
    Agent::attach(&connect(&other).await, "n2").await;
    scheduler.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_keeps_the_stream_and_an_ended_one_cuts_it() {
    let house = House::open_with(|config| config.certificate_lifetime = SHORT).await;
    let (kept, left) = (house.node("n1").await, house.node("n2").await);
    let channel = connect(&kept).await;
    let mut renewing = Agent::attach(&channel, "n1").await;
    let mut ending = Agent::attach(&connect(&left).await, "n2").await;
    tokio::time::sleep(Duration::from_millis(SHORT.get() / 2)).await;
    let renewed = join::renew(channel, &kept).await.unwrap();
    assert!(renewed.certificate.until > kept.certificate.until);
    assert_ne!(renewed.key.digest(), kept.key.digest());
    until("the ended one is cut", async || ending.next().await.err()).await;
    let assignment = renewing.assignment(0).await;
    renewing.report(report(&assignment, v1::Phase::Running)).await;
    assert!(tls::connect(&left).await.is_err() || refused(&left).await, "an ended one is taken");
    drop(renewing);
    Agent::attach(&connect(&renewed).await, "n1").await;
    house.scheduler.stop().await;
}

/// Says whether the first call fails: the handshake's last word comes after the client's own.
async fn refused(identity: &tengyun_proto::identity::Identity) -> bool {
    match tls::connect(identity).await {
        Ok(channel) => Agent::greet(&channel, hello("n2")).await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn two_agents_with_one_identity_are_fenced_and_reported() {
    let house = House::open().await;
    let identity = house.node("n1").await;
    let first = v1::Hello { process: vec![1; 32], ..hello("n1") };
    let copy = v1::Hello { process: vec![2; 32], ..hello("n1") };
    let mut agent = Agent::greet(&connect(&identity).await, first.clone()).await.unwrap();
    let assignment = agent.assignment(0).await;
    let no = Agent::greet(&connect(&identity).await, copy).await.err().unwrap();
    assert_eq!(no.code(), Code::AlreadyExists, "{no}");
    assert_eq!(house.member(&node("n1")).await.doubles, 1);
    agent.report(report(&assignment, v1::Phase::Running)).await;
    // The same agent, whose stream broke without its knowing, takes its own place at once.
    let start = Instant::now();
    let again = Agent::greet(&connect(&identity).await, first).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    let end = until("the earlier stream ends", async || agent.next().await.err()).await;
    assert_eq!(end.code(), Code::Aborted, "{end}");
    again.say(Up::Report(report(&assignment, v1::Phase::Running))).await;
    let long = v1::Hello { process: vec![1; 33], ..hello("n1") };
    assert!(Agent::greet(&connect(&identity).await, long).await.is_err());
    house.scheduler.stop().await;
}

#[tokio::test]
async fn a_scheduler_that_listens_for_nobody_makes_no_tokens() {
    let dir = crate::world::dir();
    let scheduler = crate::world::Scheduler::start(dir.path()).await;
    let mut identities = limits::identity_client(scheduler.channel.clone());
    let grant = Some((&Grant::NewNode).into());
    let request = v1::CreateTokenRequest { grant, address: String::new() };
    let refusal = identities.create_token(request).await.unwrap().into_inner().refusal.unwrap();
    assert!(refusal.remedy.contains("--listen"), "{refusal:?}");
    scheduler.stop().await;
}

#[tokio::test]
async fn the_secret_of_a_token_and_the_authority_s_key_are_not_in_the_journal() {
    let house = House::open().await;
    let token = house.token(&Grant::NewNode).await;
    house.join(&token, &node("n1")).await.unwrap();
    let dir = house.dir;
    house.scheduler.stop().await;
    let key = std::fs::read(dir.path().join("authority/authority.key")).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("journal") {
            let bytes = std::fs::read(&path).unwrap();
            for secret in [token.secret.bytes().as_slice(), &key[key.len() - 100..]] {
                let found = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
}

#[tokio::test]
async fn journals_of_earlier_formats_are_replayed_and_go_on_in_this_one() {
    for (format, bytes) in crate::members::EARLIER_FORMATS {
        let dir = crate::world::dir();
        std::fs::write(dir.path().join("journal.db"), bytes).unwrap();
        let mut config = tengyun_scheduler::Config::new(dir.path());
        config.listen = Some(crate::members::loopback());
        let mut scheduler = crate::world::Scheduler::start_with(config.clone()).await;
        assert_eq!(scheduler.instances().await.len(), 1, "format {format}");
        assert_eq!(scheduler.status().await.nodes, 1, "format {format}");
        let house = House { dir, scheduler };
        house.node("n2").await;
        let House { dir, scheduler } = house;
        scheduler.stop().await;
        // Without its snapshot: every row is read again.
        let journal = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        journal.execute("DELETE FROM snapshots", []).unwrap();
        let schemas = "SELECT MIN(schema) < MAX(schema) FROM batches WHERE schema >= ?1";
        let both: bool = journal.query_row(schemas, [format], |row| row.get(0)).unwrap();
        assert!(both, "rows of format {format} and of this one");
        drop(journal);
        let scheduler = crate::world::Scheduler::start_with(config).await;
        let house = House { dir, scheduler };
        assert_eq!(house.member(&node("n2")).await.node, 2, "format {format}");
        house.scheduler.stop().await;
    }
}
