//! The directory: where workloads are, told to the nodes whose instances may ask for them.
//!
//! A node learns of the workloads of the departments that it runs instances of, and of no others. It
//! gets the whole list whenever that list changed, and keeps it while this scheduler is away. A list
//! names healthy instances only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tengyun_engine::image::InstanceWish;
use tengyun_engine::{InstanceImage, State};
use tengyun_model::{At, DepartmentPath, Millis, NodeId, Phase, Sequence, WorkloadKey};
use tengyun_proto::v1;
use tracing::warn;

use crate::dispatch::Links;

/// The most workloads told to one node; a department has tens.
const SERVICES_MAX: usize = 1000;
/// The most instances told to one node; a list of so many has well under a mebibyte.
const ENDPOINTS_MAX: usize = 10_000;
/// The shortest time between two lists: changes that come together are told together.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How many times as long as a list took to make the next one waits, so that lists of a large cloud
/// take no more than a twentieth of the writer's time.
const PAUSE_FACTOR: u32 = 20;
/// How long after the start agents may take to return. Until then a list would lack what is on the
/// nodes that have not, and the nodes' own lists are better.
const RETURN_PATIENCE: Millis = Millis::from_secs(30);

/// What a list was made of: the durable state, and which streams were attached.
type Version = (Sequence, u64);

/// Makes the lists.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    made_of: Option<Version>,
    not_before: Option<Instant>,
}

/// One workload and where its healthy instances are.
type Entry<'a> = (&'a WorkloadKey, Vec<(NodeId, &'a InstanceImage)>);

impl Directory {
    /// Gives every attached agent the list of what its instances may ask for, if that changed.
    pub(crate) fn refresh(&mut self, state: &State, links: &mut Links, now: At) {
        let version = (state.sequence(), links.attachments());
        let begin = Instant::now();
        let waits = self.not_before.is_some_and(|moment| begin < moment);
        if waits || self.made_of == Some(version) {
            return;
        }
        let known = by_department(state);
        if is_too_early(state, links, &known, now) {
            return;
        }
        for node in links.nodes() {
            let services = services(state, links, &known, node);
            links.tell_services(node, services, now);
        }
        self.made_of = Some(version);
        let pause = begin.elapsed().saturating_mul(PAUSE_FACTOR).max(PAUSE_MIN);
        self.not_before = Some(Instant::now() + pause);
    }
}

/// Lists the workloads that have ports and healthy instances.
fn by_department(state: &State) -> BTreeMap<&DepartmentPath, Vec<Entry<'_>>> {
    let mut all: BTreeMap<&DepartmentPath, Vec<Entry<'_>>> = BTreeMap::new();
    for workload in state.workloads() {
        let Some(spec) = workload.revisions.get(&workload.revision) else { continue };
        let instances = state.of_workload(workload.id).filter_map(|id| state.instance(id));
        let serves = |i: &&InstanceImage| {
            i.wish == InstanceWish::Run
                && i.status.phase == Phase::Healthy
                && !state.spec(i).ports.is_empty()
        };
        let there = |i: &&InstanceImage| {
            i.node.and_then(|id| state.node(id)).is_some_and(|node| node.loss.is_none())
        };
        let serving = instances.filter(serves).filter(there);
        let serving: Vec<_> = serving.filter_map(|i| Some((i.node?, i))).collect();
        if !serving.is_empty() {
            all.entry(&spec.key.department).or_default().push((&spec.key, serving));
        }
    }
    for entries in all.values_mut() {
        entries.sort_by_key(|(key, _)| *key);
    }
    all
}

/// Says whether agents of nodes with healthy instances may still return after a start.
fn is_too_early(
    state: &State,
    links: &Links,
    known: &BTreeMap<&DepartmentPath, Vec<Entry<'_>>>,
    now: At,
) -> bool {
    let mut places = known.values().flatten().flat_map(|(_, serving)| serving);
    now.since(state.listening_since()) < RETURN_PATIENCE
        && places.any(|(node, _)| links.address(*node).is_none())
}

/// Makes the list of one node.
fn services(
    state: &State,
    links: &Links,
    known: &BTreeMap<&DepartmentPath, Vec<Entry<'_>>>,
    node: NodeId,
) -> Vec<v1::Service> {
    let here = state.on_node(node).filter_map(|id| state.instance(id));
    let alive = here.filter(|i| !i.status.phase.is_final());
    let departments: BTreeSet<&DepartmentPath> =
        alive.map(|i| &state.spec(i).key.department).collect();
    let mut services = Vec::new();
    let mut endpoints_left = ENDPOINTS_MAX;
    for (key, serving) in departments.iter().filter_map(|d| known.get(d)).flatten() {
        let endpoint = |(place, instance): &(NodeId, &InstanceImage)| {
            let address = as_seen_by((node, links.address(node)), (*place, links.address(*place)))?;
            Some(v1::Endpoint {
                address: address.to_string(),
                ports: state.ports(instance).iter().map(Into::into).collect(),
                instance: instance.status.instance.get(),
            })
        };
        let endpoints: Vec<_> = serving.iter().filter_map(endpoint).take(endpoints_left).collect();
        endpoints_left -= endpoints.len();
        services.push(v1::Service { key: Some((*key).into()), endpoints });
        if services.len() >= SERVICES_MAX || endpoints_left == 0 {
            warn!(%node, "more services than are told to one node");
            break;
        }
    }
    services
}

/// Returns the address of a node as another reaches it. One that speaks over the socket of this
/// machine is reached over the loopback, by others that do and by itself only.
fn as_seen_by(
    (client, client_address): (NodeId, Option<IpAddr>),
    (server, server_address): (NodeId, Option<IpAddr>),
) -> Option<IpAddr> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if client == server {
        return Some(server_address.unwrap_or(loopback));
    }
    let address = server_address?;
    let together = client_address.is_some_and(|client| client.is_loopback());
    (!address.is_loopback() || together).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_on_the_loopback_is_told_to_those_of_the_same_machine_only() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let (near, far): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let [one, two] = [1, 2].map(NodeId::new);
        let seen = |client, server| as_seen_by((one, client), (two, server));
        assert_eq!(seen(Some(loopback), Some(loopback)), Some(loopback));
        assert_eq!(seen(Some(near), Some(loopback)), None);
        assert_eq!(seen(Some(near), Some(far)), Some(far));
        assert_eq!(seen(Some(loopback), Some(far)), Some(far));
        assert_eq!(seen(Some(near), None), None, "where it is is not known yet");
        assert_eq!(as_seen_by((one, None), (one, None)), Some(loopback));
    }
}
