//! Tokens and members: what lets whom in, and what no longer does.

use tengyun_engine::{Command, Effect, Entry, Outcome, Refusal, State};
use tengyun_model::{
    Admission, At, Digest, Grant, Member, Millis, Name, NodeId, NodeName, OperationId, Role,
};

use crate::cloud::facts;

const NOW: At = At::from_millis(1_000_000);
const LIFETIME: Millis = Millis::from_secs(600);

fn digest(of: u8) -> Digest {
    Digest::new([of; 32])
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

fn node(text: &str) -> Member {
    Member::Node(name(text))
}

fn person(text: &str) -> Member {
    Member::Person(text.parse().expect("a name"))
}

#[derive(Default)]
struct World(State);

impl World {
    fn enter(&mut self, at: At, command: Command) -> Outcome {
        self.0.apply(&Entry { at, by: None, command })
    }

    fn token(&mut self, token: u8, grant: Grant) {
        let command =
            Command::CreateToken { token: digest(token), grant, expires: NOW.after(LIFETIME) };
        assert_eq!(self.enter(NOW, command), Outcome::Applied(Effect::Done));
    }

    fn redeem(&mut self, token: u8, member: &Member, key: u8) -> Outcome {
        self.redeem_at(NOW, token, member, key)
    }

    fn redeem_at(&mut self, at: At, token: u8, member: &Member, key: u8) -> Outcome {
        let (token, key) = (digest(token), digest(key));
        self.enter(at, Command::RedeemToken { token, member: member.clone(), key })
    }

    fn revoke(&mut self, operation: u128, member: &Member) -> Outcome {
        let operation = OperationId::new(operation);
        self.enter(NOW, Command::RevokeMember { operation, member: member.clone() })
    }
}

fn admitted(node: Option<u32>, admission: u32) -> Outcome {
    let (node, admission) = (node.map(NodeId::new), Admission::new(admission));
    Outcome::Applied(Effect::Admitted { node, admission })
}

#[test]
fn a_token_lets_one_key_in_as_often_as_it_asks_and_no_other() {
    let mut world = World::default();
    world.token(1, Grant::NewNode);
    assert_eq!(world.redeem(2, &node("n1"), 9), Outcome::Refused(Refusal::UnknownToken));
    assert_eq!(world.redeem(1, &node("n1"), 9), admitted(Some(1), 1));
    assert_eq!(world.redeem(1, &node("n1"), 9), admitted(Some(1), 1));
    assert_eq!(world.redeem(1, &node("n1"), 8), Outcome::Refused(Refusal::TokenUsed));
    assert_eq!(world.redeem(1, &node("n2"), 9), Outcome::Refused(Refusal::TokenUsed));
    assert_eq!(world.0.members().count(), 1);
}

#[test]
fn a_token_holds_until_its_time_and_is_forgotten_after() {
    let mut world = World::default();
    world.token(1, Grant::NewNode);
    let end = NOW.after(LIFETIME);
    let late = world.redeem_at(end, 1, &node("n1"), 9);
    assert_eq!(late, Outcome::Refused(Refusal::TokenExpired));
    assert_eq!(
        world.0.check_token(digest(1), &node("n1"), digest(9), end),
        Err(Refusal::TokenExpired)
    );
    let just = At::from_millis(end.millis() - 1);
    assert_eq!(world.0.check_token(digest(1), &node("n1"), digest(9), just), Ok(()));
    let next = Command::CreateToken { token: digest(2), grant: Grant::NewNode, expires: end };
    world.enter(end, next);
    assert_eq!(world.redeem(1, &node("n1"), 9), Outcome::Refused(Refusal::UnknownToken));
}

#[test]
fn a_node_keeps_the_id_it_was_let_in_under() {
    let mut world = World::default();
    world.token(1, Grant::NewNode);
    assert_eq!(world.redeem(1, &node("n1"), 9), admitted(Some(1), 1));
    assert_eq!(
        world.enter(NOW, Command::RegisterNode(facts(2))),
        Outcome::Applied(Effect::Node(NodeId::new(2)))
    );
    assert_eq!(
        world.enter(NOW, Command::RegisterNode(facts(1))),
        Outcome::Applied(Effect::Node(NodeId::new(1)))
    );
}

#[test]
fn a_name_that_is_taken_needs_a_token_made_for_it() {
    let mut world = World::default();
    world.enter(NOW, Command::RegisterNode(facts(9)));
    world.token(1, Grant::NewNode);
    let taken = Outcome::Refused(Refusal::NameTaken(node("n9")));
    assert_eq!(world.redeem(1, &node("n9"), 9), taken);
    let grant = Grant::Node(name("n9"));
    world.token(2, grant.clone());
    let other = Outcome::Refused(Refusal::TokenForOther(grant));
    assert_eq!(world.redeem(2, &node("n1"), 9), other);
    assert_eq!(world.redeem(2, &node("n9"), 9), admitted(Some(1), 1));
    world.token(3, Grant::Node(name("n9")));
    assert_eq!(world.redeem(3, &node("n9"), 8), admitted(Some(1), 2));
}

#[test]
fn a_person_has_the_role_of_the_newest_token() {
    let mut world = World::default();
    let grant = |role| Grant::Person(Name::new("alice").expect("a name"), role);
    world.token(1, grant(Role::Viewer));
    assert!(matches!(world.redeem(1, &node("alice"), 9), Outcome::Refused(_)));
    assert_eq!(world.redeem(1, &person("alice"), 9), admitted(None, 1));
    world.token(2, grant(Role::Operator));
    assert_eq!(world.redeem(2, &person("alice"), 8), admitted(None, 2));
    let known = world.0.member(&person("alice")).expect("alice is in");
    assert_eq!(known.role, Some(Role::Operator));
}

#[test]
fn revocation_holds_until_the_member_is_let_in_again() {
    let mut world = World::default();
    let stranger = Outcome::Refused(Refusal::UnknownMember(node("n1")));
    assert_eq!(world.revoke(1, &node("n1")), stranger);
    world.token(1, Grant::NewNode);
    world.redeem(1, &node("n1"), 9);
    let before = world.0.member_changes();
    assert_eq!(world.revoke(2, &node("n1")), Outcome::Applied(Effect::Done));
    assert_eq!(world.0.member_changes(), before + 1);
    let again = world.revoke(2, &node("n1"));
    assert_eq!(again, Outcome::Applied(Effect::Done), "a repeated wish changes nothing");
    assert_eq!(world.0.member_changes(), before + 1);
    assert!(world.0.member(&node("n1")).expect("it is known").revoked.is_some());
    world.token(2, Grant::Node(name("n1")));
    assert_eq!(world.redeem(2, &node("n1"), 8), admitted(Some(1), 2));
    assert_eq!(world.0.member(&node("n1")).expect("it is known").revoked, None);
}

#[test]
fn tokens_and_members_survive_an_image() {
    let mut world = World::default();
    world.token(1, Grant::NewNode);
    world.token(2, Grant::NewNode);
    world.redeem(1, &node("n1"), 9);
    let image = world.0.image();
    let mut again = World(State::from_image(image.clone()).expect("an image of ours"));
    assert_eq!(again.0.image(), image);
    assert_eq!(again.redeem(1, &node("n1"), 9), admitted(Some(1), 1));
    assert_eq!(again.redeem(2, &node("n2"), 9), admitted(Some(2), 1));
}

#[test]
fn a_token_is_made_once() {
    let mut world = World::default();
    world.token(1, Grant::NewNode);
    let again = Command::CreateToken {
        token: digest(1),
        grant: Grant::NewNode,
        expires: NOW.after(LIFETIME),
    };
    assert_eq!(world.enter(NOW, again), Outcome::Refused(Refusal::TokenUsed));
}
