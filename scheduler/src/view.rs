//! Views: what operators see of the state. Looking changes nothing.

mod explained;
mod figures;
mod instance;
mod node;
mod refusal;
mod rehearsal;
mod restore;
mod rollout;
mod workload;

use std::collections::BTreeSet;

use tengyun_engine::explain::{self, Decisions};
use tengyun_engine::{Effect, MemberImage, Refusal, State, predict};
use tengyun_model::{
    At, DepartmentPath, Digest, InstanceId, Member, NodeId, Revision, SecretName, WorkloadId,
    WorkloadSpec,
};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::{WIRE_VERSION, v1};

use crate::dispatch::Links;
use crate::secrets;

pub(crate) use figures::Figures;
pub(crate) use instance::{effect_revision, effect_word};
pub(crate) use refusal::{helped, read_only, refusal, refused};

/// One look at the state.
#[derive(Debug)]
pub(crate) struct View<'a> {
    state: &'a State,
    links: &'a Links,
    decisions: &'a Decisions,
    now: At,
    read_only: Option<&'a str>,
}

impl<'a> View<'a> {
    /// Looks at a state, at who is attached, and at what is recorded of decisions.
    pub(crate) fn new(
        state: &'a State,
        (links, decisions): (&'a Links, &'a Decisions),
        now: At,
        read_only: Option<&'a str>,
    ) -> Self {
        Self { state, links, decisions, now, read_only }
    }

    /// Returns the state of the scheduler itself.
    pub(crate) fn status(&self) -> v1::StatusResponse {
        let forecast = self.forecast();
        let (nodes_needed, nodes_needed_by) = self.nodes_needed(&forecast);
        let outlook = explain::outlook(self.state, &forecast, self.now);
        let (reserve, memory) =
            (Self::reserve(outlook.reserve), Self::memory(outlook.memory.as_ref()));
        let (rebalancing, losses) = (self.rebalancing(&outlook.stuck), self.losses());
        let restore = self.restore();
        v1::StatusResponse {
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            wire_version: WIRE_VERSION,
            epoch: self.state.epoch().get(),
            sequence: self.state.sequence().get(),
            at_millis: self.now.millis(),
            read_only: self.read_only.is_some(),
            moves_total: self.state.moves_total(),
            nodes: small(self.state.nodes().count()),
            nodes_connected: small(self.links.len()),
            nodes_in_use: small(self.nodes_in_use()),
            read_only_reason: self.read_only.unwrap_or_default().to_owned(),
            rebalancing: rebalancing.to_string(),
            rebalancing_said: to_wire(&rebalancing),
            losses: losses.to_string(),
            losses_said: to_wire(&losses),
            nodes_needed,
            nodes_needed_by,
            restore: restore.to_string(),
            restore_said: to_wire(&restore),
            strangers: self.strangers(),
            budget: Some(self.budget()),
            reserve: reserve.to_string(),
            reserve_said: to_wire(&reserve),
            ledger: Some(self.ledger()),
            memory: memory.to_string(),
            memory_said: to_wire(&memory),
        }
    }

    /// Returns the present moment.
    pub(crate) fn now(&self) -> At {
        self.now
    }

    /// Returns everybody who was ever let in.
    pub(crate) fn members(&self) -> Vec<MemberImage> {
        self.state.members().cloned().collect()
    }

    /// Returns the department of an instance.
    pub(crate) fn department_of(&self, id: InstanceId) -> Option<DepartmentPath> {
        let instance = self.state.instance(id)?;
        Some(self.state.spec(instance).key.department.clone())
    }

    /// Returns which workloads are given each secret, by names.
    pub(crate) fn secret_uses(&self) -> secrets::Uses {
        let mut uses = secrets::Uses::new();
        for workload in self.state.workloads() {
            // An older revision still runs somewhere.
            for spec in workload.revisions.values() {
                for name in secrets::names(spec) {
                    let users = uses.entry(name).or_default();
                    let user = spec.key.to_string();
                    if users.last() != Some(&user) {
                        users.push(user);
                    }
                }
            }
        }
        uses
    }

    /// Returns the secrets that instances assigned to a node are given.
    pub(crate) fn secrets_on(&self, node: NodeId) -> BTreeSet<SecretName> {
        let here = self.state.on_node(node).filter_map(|id| self.state.instance(id));
        here.flat_map(|instance| secrets::names(self.state.spec(instance))).collect()
    }

    /// Says whether a token would let a member in now.
    pub(crate) fn check_token(
        &self,
        token: Digest,
        member: &Member,
        key: Digest,
    ) -> Result<(), Refusal> {
        self.state.check_token(token, member, key, self.now)
    }

    fn forecast(&self) -> predict::Forecast {
        predict::forecast(self.state, self.now)
    }
}

/// Says what applying a valid specification would do.
pub(crate) fn foreseen(state: &State, spec: &WorkloadSpec) -> Effect {
    match state.workload_keyed(&spec.key) {
        None => Effect::Created(WorkloadId::default(), Revision::new(1)),
        Some(known) if known.revisions.get(&known.revision).is_some_and(|held| **held == *spec) => {
            Effect::Unchanged(known.id, known.revision)
        }
        Some(known) => Effect::Updated(known.id, state.revision_after(known, spec)),
    }
}

/// Counts for the wire, where no count of ours comes near the largest number.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
