//! Members: the tokens that let nodes and people in, and who came in by them.
//!
//! A token is used once. A member that comes in again, by a token made for its name, is the same
//! member under the next admission, and all that an earlier admission was given is void.

use std::collections::BTreeMap;

use tengyun_model::{At, Digest, Grant, Member, NodeId, NodeName, Role};

use super::State;
use crate::command::{Effect, Many, Refusal};
use crate::image::{MemberImage, TokenImage, TokenUse};

/// The most tokens whose time is not over: a rack of servers a minute for the time of a token.
const TOKENS_MAX: usize = 10_000;
/// The most members: as many as nodes, and some people.
const MEMBERS_MAX: usize = 1_100_000;

/// Tokens and members.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    tokens: BTreeMap<Digest, TokenImage>,
    of: BTreeMap<Member, MemberImage>,
    /// Counts changes of members since this state was made; it is not part of the durable state.
    changes: u64,
}

impl Members {
    pub(super) fn new(tokens: Vec<TokenImage>, members: Vec<MemberImage>) -> Self {
        Self {
            tokens: tokens.into_iter().map(|t| (t.digest, t)).collect(),
            of: members.into_iter().map(|m| (m.member.clone(), m)).collect(),
            changes: 0,
        }
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = &TokenImage> {
        self.tokens.values()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &MemberImage> {
        self.of.values()
    }

    pub(super) fn check_create(&self, token: Digest) -> Result<(), Refusal> {
        if self.tokens.contains_key(&token) {
            return Err(Refusal::TokenUsed);
        }
        at_most(Many::Tokens, TOKENS_MAX, self.tokens.len())
    }

    pub(super) fn create(&mut self, token: Digest, grant: &Grant, expires: At, now: At) -> Effect {
        self.tokens.retain(|_, known| known.expires > now);
        let image = TokenImage { digest: token, grant: grant.clone(), expires, used: None };
        self.tokens.insert(token, image);
        Effect::Done
    }

    pub(super) fn check_revoke(&self, member: &Member) -> Result<(), Refusal> {
        if self.of.contains_key(member) {
            return Ok(());
        }
        Err(Refusal::UnknownMember(member.clone()))
    }

    /// Revokes a member; one that is revoked already stays so.
    pub(super) fn revoke(&mut self, member: &Member, at: At) -> Result<Effect, Refusal> {
        let known = self.of.get_mut(member);
        let known = known.ok_or_else(|| Refusal::UnknownMember(member.clone()))?;
        if known.revoked.is_none() {
            known.revoked = Some(at);
            self.changes = self.changes.saturating_add(1);
        }
        Ok(Effect::Done)
    }

    /// Forgets which node a member is: its certificate holds no longer, and if it comes in again, it
    /// is another node.
    pub(super) fn forget_node(&mut self, name: &NodeName, at: At) {
        let known = self.of.get_mut(&Member::Node(name.clone()));
        let Some(known) = known else { return };
        known.revoked.get_or_insert(at);
        known.node = None;
        self.changes = self.changes.saturating_add(1);
    }

    fn admit(
        &mut self,
        member: &Member,
        node: Option<NodeId>,
        role: Option<Role>,
        at: At,
    ) -> Effect {
        let before = self.of.get(member).map(|known| known.admission);
        let admission = before.unwrap_or_default().next();
        let image = MemberImage {
            member: member.clone(),
            node,
            role,
            admission,
            admitted: at,
            revoked: None,
        };
        self.of.insert(member.clone(), image);
        self.changes = self.changes.saturating_add(1);
        Effect::Admitted { node, admission }
    }
}

impl State {
    /// Says whether a member may come in by a token, its time apart, and by what grant.
    pub(super) fn check_redeem(
        &self,
        token: Digest,
        member: &Member,
        key: Digest,
    ) -> Result<&Grant, Refusal> {
        let known = self.members.tokens.get(&token).ok_or(Refusal::UnknownToken)?;
        if let Some(used) = &known.used {
            // The same key asks again: the answer was lost on its way.
            let again = used.key == key && used.member == *member;
            return if again { Ok(&known.grant) } else { Err(Refusal::TokenUsed) };
        }
        if !known.grant.admits(member) {
            return Err(Refusal::TokenForOther(known.grant.clone()));
        }
        if known.grant == Grant::NewNode && self.is_taken(member) {
            return Err(Refusal::NameTaken(member.clone()));
        }
        if !self.members.of.contains_key(member) {
            at_most(Many::Members, MEMBERS_MAX, self.members.of.len())?;
        }
        Ok(&known.grant)
    }

    fn is_taken(&self, member: &Member) -> bool {
        let registered = match member {
            Member::Node(name) => self.names.contains_key(name),
            Member::Person(_) => false,
        };
        registered || self.members.of.contains_key(member)
    }

    pub(super) fn redeem_token(
        &mut self,
        token: Digest,
        member: &Member,
        key: Digest,
        at: At,
    ) -> Result<Effect, Refusal> {
        let grant = self.check_redeem(token, member, key)?.clone();
        let known = self.members.tokens.get_mut(&token).ok_or(Refusal::UnknownToken)?;
        if known.expires <= at {
            return Err(Refusal::TokenExpired);
        }
        if known.used.is_some() {
            let held = self.members.of.get(member).ok_or(Refusal::TokenUsed)?;
            return Ok(Effect::Admitted { node: held.node, admission: held.admission });
        }
        known.used = Some(TokenUse { member: member.clone(), key });
        let (node, role) = match (member, grant) {
            (Member::Node(name), _) => (Some(self.node_id(name)), None),
            (Member::Person(_), Grant::Person(_, role)) => (None, Some(role)),
            (Member::Person(_), other) => return Err(Refusal::TokenForOther(other)),
        };
        Ok(self.members.admit(member, node, role, at))
    }

    /// Returns the id that a node has, or the next free one.
    fn node_id(&mut self, name: &NodeName) -> NodeId {
        let known = self.names.get(name).copied();
        known.unwrap_or_else(|| self.new_node_id(name))
    }

    /// Returns the id for a node that is not registered: the one it was let in under, or the next.
    pub(super) fn new_node_id(&mut self, name: &NodeName) -> NodeId {
        let member = Member::Node(name.clone());
        if let Some(id) = self.members.of.get(&member).and_then(|known| known.node) {
            return id;
        }
        self.next_node = self.next_node.next();
        self.next_node
    }
}

/// What can be read.
impl State {
    /// Returns one member.
    pub fn member(&self, member: &Member) -> Option<&MemberImage> {
        self.members.of.get(member)
    }

    /// Returns every member in order.
    pub fn members(&self) -> impl Iterator<Item = &MemberImage> {
        self.members.all()
    }

    /// Returns how often members changed since this state was made.
    pub fn member_changes(&self) -> u64 {
        self.members.changes
    }

    /// Says whether a token would let a member in at a moment.
    pub fn check_token(
        &self,
        token: Digest,
        member: &Member,
        key: Digest,
        now: At,
    ) -> Result<(), Refusal> {
        self.check_redeem(token, member, key)?;
        let known = self.members.tokens.get(&token).ok_or(Refusal::UnknownToken)?;
        if known.expires > now { Ok(()) } else { Err(Refusal::TokenExpired) }
    }
}

fn at_most(what: Many, limit: usize, present: usize) -> Result<(), Refusal> {
    let limit_shown = u64::try_from(limit).unwrap_or(u64::MAX);
    if present < limit { Ok(()) } else { Err(Refusal::TooMany { what, limit: limit_shown }) }
}
