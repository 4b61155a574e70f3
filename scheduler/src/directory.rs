//! The directory: where workloads are, told to the nodes whose instances may ask for them.
//!
//! A node learns of the workloads of the departments that it runs instances of, and of no others. It
//! gets the whole list whenever that list changed, and keeps it while this scheduler is away. A list
//! names healthy instances only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tengyun_engine::image::InstanceWish;
use tengyun_engine::{InstanceImage, State};
use tengyun_model::{At, DepartmentPath, Millis, NodeId, Phase, Sequence, WorkloadKey};
use tengyun_proto::v1;
use tokio::time::Instant;
use tracing::warn;

use crate::dispatch::Links;

/// The most workloads told to one node; a department has tens.
const SERVICES_MAX: usize = 1000;
/// The most instances told to one node; a list of so many has well under a mebibyte.
const ENDPOINTS_MAX: usize = 10_000;
/// The shortest time between two lists: changes that come together are told together.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// How many times as long as a list took to make the next one waits, so that lists of a large cloud
/// take no more than a twentieth of the writer's time.
const PAUSE_FACTOR: u32 = 20;
/// The pause before the next look while agents may still return.
const RETRY: Duration = Duration::from_secs(1);
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
    /// Whether something changed while it had to wait.
    waits: bool,
}

/// One workload and where its healthy instances are.
type Entry<'a> = (&'a WorkloadKey, Vec<(NodeId, &'a InstanceImage)>);

impl Directory {
    /// Returns when it has something to do, if it has.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.waits)
    }

    /// Gives every attached agent the list of what its instances may ask for, if that changed.
    pub(crate) fn refresh(&mut self, state: &State, links: &mut Links, now: At) {
        let version = (state.sequence(), links.attachments());
        let begin = Instant::now();
        self.waits = self.made_of != Some(version);
        if !self.waits || self.not_before.is_some_and(|moment| begin < moment) {
            return;
        }
        let known = by_department(state);
        self.not_before = Some(begin + RETRY);
        if is_too_early(state, links, &known, now) {
            return;
        }
        for node in links.nodes() {
            let services = services(state, links, &known, node);
            links.tell_services(node, services, now);
        }
        self.made_of = Some(version);
        self.waits = false;
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
    use tengyun_engine::{Command, Entry, Move, Plan};
    use tengyun_model::{InstanceId, PortSpec};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::commit;
    use crate::dispatch::{Link, LinkId};
    use crate::fixture::{apply, facts, spec, status};

    const NOW: At = At::from_millis(60_000);

    fn enter(state: &mut State, command: Command) {
        commit::apply(state, &Entry { at: NOW, by: None, command });
    }

    /// A service of a department, placed as this instance on a node.
    fn serve(state: &mut State, department: &str, (instance, node): (u64, u32)) {
        let mut serving = spec(&format!("web{instance}"), 1);
        serving.key.department = department.parse().unwrap();
        serving.ports = vec![PortSpec { name: "http".parse().unwrap(), number: None }];
        enter(state, apply(u128::from(instance), serving));
        let (instance, node) = (InstanceId::new(instance), NodeId::new(node));
        let plan = Plan { base: state.sequence(), moves: vec![Move::Start { instance, node }] };
        enter(state, Command::CommitPlan(plan));
    }

    fn observe(state: &mut State, (instance, node): (u64, u32), phase: Phase) {
        let (node, instances) = (NodeId::new(node), vec![status(instance, phase)]);
        let generation = state.node(node).unwrap().generation;
        enter(state, Command::ObserveInstances { node, generation, instances, gone: Vec::new() });
    }

    type Told = watch::Receiver<Option<v1::Services>>;

    fn attach(links: &mut Links, node: u32) -> Told {
        let (services, told) = watch::channel(None);
        let link = Link {
            id: LinkId(u64::from(node)),
            process: Vec::new(),
            assignment: watch::channel(None).0,
            down: mpsc::channel(1).0,
            services,
            address: IpAddr::from([10, 0, 0, u8::try_from(node).unwrap()]),
        };
        links.attach(NodeId::new(node), link, NOW);
        told
    }

    /// What a node was told: departments, addresses and ports.
    fn told(told: &mut Told) -> Vec<String> {
        let list = told.borrow_and_update().clone().unwrap_or_default();
        let one = |service: &v1::Service| {
            let ends = service.endpoints.iter();
            let ends = ends.map(|e| format!("{}:{}", e.address, e.ports[0].number));
            let department = &service.key.as_ref().unwrap().department;
            format!("{department} {}", ends.collect::<Vec<_>>().join(" "))
        };
        list.services.iter().map(one).collect()
    }

    #[test]
    fn a_node_is_told_of_healthy_instances_of_the_departments_that_it_runs() {
        let mut state = State::new();
        let (mut links, mut directory) = (Links::new(Millis::from_secs(1)), Directory::default());
        for name in ["n1", "n2"] {
            enter(&mut state, Command::RegisterNode(facts(name)));
        }
        serve(&mut state, "city/finance", (1, 1));
        serve(&mut state, "city/health", (2, 2));
        let (mut one, mut two) = (attach(&mut links, 1), attach(&mut links, 2));
        let mut tell = |state: &State, links: &mut Links| {
            directory.not_before = None;
            directory.refresh(state, links, NOW);
        };
        tell(&state, &mut links);
        assert!(told(&mut one).is_empty() && told(&mut two).is_empty(), "nothing is healthy");
        observe(&mut state, (1, 1), Phase::Healthy);
        observe(&mut state, (2, 2), Phase::Unhealthy);
        tell(&state, &mut links);
        assert_eq!(told(&mut one), ["city/finance 10.0.0.1:20000"]);
        assert!(told(&mut two).is_empty());
        observe(&mut state, (2, 2), Phase::Healthy);
        tell(&state, &mut links);
        assert!(!one.has_changed().unwrap(), "the same is not told again");
        assert_eq!(told(&mut two), ["city/health 10.0.0.2:20000"]);
        enter(&mut state, Command::DeclareLost(NodeId::new(1)));
        tell(&state, &mut links);
        assert!(told(&mut one).is_empty(), "what a lost node ran is not told of");
    }

    #[test]
    fn nothing_is_told_while_agents_may_still_return_after_a_start() {
        let mut state = State::new();
        let (mut links, mut directory) = (Links::new(Millis::from_secs(1)), Directory::default());
        enter(&mut state, Command::BeginEpoch);
        for name in ["n1", "n2"] {
            enter(&mut state, Command::RegisterNode(facts(name)));
        }
        serve(&mut state, "city/finance", (1, 1));
        serve(&mut state, "city/finance", (2, 2));
        observe(&mut state, (1, 1), Phase::Healthy);
        let mut other = attach(&mut links, 2);
        directory.refresh(&state, &mut links, NOW);
        assert!(directory.due().is_some(), "it looks again");
        assert_eq!(told(&mut other), Vec::<String>::new());
        directory.not_before = None;
        directory.refresh(&state, &mut links, NOW.after(RETURN_PATIENCE));
        assert_eq!(other.borrow_and_update().as_ref().map(|list| list.services.len()), Some(1));
    }

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
