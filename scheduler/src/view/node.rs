//! Nodes as operators see them.

use tengyun_engine::image::InstanceWish;
use tengyun_engine::liveness::Mode;
use tengyun_engine::occupancy::Dimension;
use tengyun_engine::place::reserve;
use tengyun_engine::place::stuck::Stuck;
use tengyun_engine::policy::Reserve;
use tengyun_engine::predict::{Forecast, Spent, Violations};
use tengyun_engine::{InstanceImage, NodeImage, Refusal, bound, explain, liveness};
use tengyun_model::{Class, Kind, Mebibytes, Millicores, NodeId, Permille, Said, said};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::v1;

use super::instance::accuracy;
use super::{View, refusal, small};

impl View<'_> {
    /// Returns every node.
    pub(crate) fn nodes(&self) -> v1::ListNodesResponse {
        let forecast = self.forecast();
        let nodes = self.state.nodes().map(|node| self.node(node, &forecast)).collect();
        let (nodes_needed, nodes_needed_by) = self.nodes_needed(&forecast);
        v1::ListNodesResponse {
            nodes,
            at_millis: self.now.millis(),
            nodes_in_use: small(self.nodes_in_use()),
            nodes_needed,
            nodes_needed_by,
        }
    }

    /// Returns how few nodes could do at best, and the resource that says so.
    pub(super) fn nodes_needed(&self, forecast: &Forecast) -> (u32, String) {
        let bound = bound::nodes_needed(self.state, forecast);
        (u32::try_from(bound.nodes).unwrap_or(u32::MAX), bound.binding)
    }

    /// Counts the nodes that run or are to run something.
    pub(super) fn nodes_in_use(&self) -> usize {
        self.state.nodes().filter(|node| self.holds(node.id).next().is_some()).count()
    }

    /// Returns the violation budget, and what became of it.
    pub(super) fn budget(&self) -> v1::BudgetView {
        let policy = self.state.policy();
        let size = |spent: Spent| v1::BudgetSize {
            from_millicores: spent.from.get(),
            windows: spent.windows,
            above: spent.misses,
            foreseen: spent.foreseen,
            missed: spent.missed,
            margin_thousandths: spent.margin_thousandths(),
        };
        v1::BudgetView {
            budget_hundredths_percent: policy.violation_budget() / 100,
            ceiling_permille: policy.band().ceiling.get(),
            sizes: self.state.spent().into_iter().map(size).collect(),
            hours: self.state.hours().by_week().iter().map(hour).collect(),
            instance_windows: self.state.hours().all().instances,
            instance_windows_above: self.state.hours().all().affected,
        }
    }

    /// Returns where the move ledger stands.
    pub(super) fn ledger(&self) -> v1::MoveLedger {
        let moves = self.state.moves(self.now);
        let alive = self.state.instances().filter(|i| !i.status.phase.is_final()).count();
        v1::MoveLedger {
            last_day: moves.last_day,
            instances: small(alive).into(),
            left: moves.left,
            at_once: moves.at_once,
            daily: moves.daily,
            payback_millis: self.state.policy().move_cooldown().get(),
        }
    }

    /// Says whether rebalancing waits for reports, and of how many nodes; else which nodes it gave up on.
    pub(super) fn rebalancing(&self, stuck: &[Stuck]) -> Said {
        let nodes = self.state.nodes().filter(|n| n.loss.is_none()).count();
        let present = self.state.nodes().filter(|n| n.loss.is_none());
        let reported = present.filter(|n| self.state.usage(n.id).is_some()).count();
        let share = Millicores::new(u64::from(small(reported)))
            .share_of(Millicores::new(u64::from(small(nodes))));
        let needed = self.state.policy().reports_before_rebalance();
        if nodes > 0 && share < needed {
            return said!(StatusReports, reported, nodes);
        }
        let how =
            if self.state.policy().consolidates() { said!(StatusOn) } else { said!(StatusOff) };
        let Some(first) = stuck.first() else { return how };
        said!(StatusStuck, how, stuck.len(), &first.name, first.stay, first.instances)
    }

    /// Says whether the reserve is there that the policy asks for; empty when it asks for none.
    pub(super) fn reserve(standing: Option<reserve::Standing>) -> Said {
        let Some(standing) = standing else { return Said::NOTHING };
        let what = match standing.against {
            Reserve::Off => return Said::NOTHING,
            Reserve::Node => said!(ReserveNode),
            Reserve::Rack => said!(ReserveRack),
        };
        let (needed, there) = (standing.needed, standing.there);
        if standing.held {
            said!(ReserveHeld, what, needed, there)
        } else {
            said!(ReserveMissing, what, needed, there)
        }
    }

    /// Says how memory stands that is counted by its use; empty where none is.
    pub(super) fn memory(standing: Option<&explain::memory::Standing>) -> Said {
        let Some(standing) = standing else { return Said::NOTHING };
        let names: Vec<String> = standing.short.iter().map(ToString::to_string).collect();
        let short = match names.as_slice() {
            [] => Said::NOTHING,
            names => said!(MemoryShort, names.len(), names.join(", ")),
        };
        let margin = format!("{}.{}", standing.margin / 10, standing.margin % 10);
        said!(MemoryByUse, standing.promised, standing.request, margin, short)
    }

    /// Says what holds back declaring silent nodes lost; empty when nothing does.
    pub(super) fn losses(&self) -> Said {
        let standing = liveness::standing(self.state, self.now);
        if standing.silent == 0 {
            return Said::NOTHING;
        }
        let silent = said!(StatusSilent, standing.silent, standing.fleet);
        match standing.mode {
            Mode::Grace(left) => said!(StatusGrace, silent, left.get().div_ceil(1000)),
            Mode::Held => said!(StatusHeld, silent),
            Mode::Usual | Mode::Slow if !standing.held.is_empty() => {
                said!(StatusDomain, silent, standing.held.len())
            }
            Mode::Slow => said!(StatusSlow, silent),
            Mode::Usual => said!(StatusUsual, silent),
        }
    }

    /// Says what is still to leave a node; or what would leave it and where to, if it were drained, by force
    /// or not.
    pub(crate) fn leaving(&self, id: NodeId, rehearse: Option<bool>) -> v1::ListLeavingResponse {
        let Some(node) = self.state.node(id) else {
            let refusal = Some(refusal(&Refusal::UnknownNode(id)));
            return v1::ListLeavingResponse { refusal, ..v1::ListLeavingResponse::default() };
        };
        let (state, forecast) = (self.state, self.forecast());
        let list = match rehearse {
            None => explain::leaving(state, &forecast, id, self.now),
            Some(force) => explain::rehearsed(state, &forecast, (id, force), self.now),
        };
        let view = |leaving: explain::Leaving| v1::LeavingView {
            instance: leaving.instance.get(),
            key: Some((&leaving.key).into()),
            state: leaving.state.to_owned(),
            reason: leaving.reason.to_string(),
            reason_said: to_wire(&leaving.reason),
            to: leaving.to.map(|node| self.node_name(node)).unwrap_or_default(),
        };
        let instances = list.into_iter().map(view).collect();
        let (wish, rehearsed) = (node.wish.as_str().to_owned(), rehearse.is_some());
        v1::ListLeavingResponse { instances, wish, refusal: None, rehearsed }
    }

    /// Returns the instances that take room on a node.
    pub(super) fn holds(&self, node: NodeId) -> impl Iterator<Item = &InstanceImage> {
        let living = |instance: &&InstanceImage| !instance.status.phase.is_final();
        self.state.on_node(node).filter_map(|id| self.state.instance(id)).filter(living)
    }

    fn node(&self, node: &NodeImage, forecast: &Forecast) -> v1::NodeView {
        let seen = self.links.seen(node.id).unwrap_or_default();
        let (cpu, memory) = self.reserved(node.id);
        let wanted = self.holds(node.id).filter(|i| i.wish == InstanceWish::Run).count();
        let stays = |i: &&InstanceImage| {
            i.wish == InstanceWish::Run && self.state.spec(i).kind == Kind::PerNode
        };
        let staying = self.holds(node.id).filter(stays).count();
        let (expected, margin) = (forecast.node(node.id).peak, forecast.node(node.id).margin);
        let ceiling = node.facts.capacity.cpu.share(self.state.policy().band().ceiling);
        let occupied = self.state.occupied(node.id, self.now);
        let promised = self.holds(node.id).map(|i| self.state.promised(i)).sum();
        v1::NodeView {
            node: node.id.get(),
            facts: Some((&node.facts).into()),
            connected: self.state.connected(node.id),
            seen_millis: self.state.seen(node.id).map_or(0, tengyun_model::At::millis),
            generation: node.generation.get(),
            applied_generation: seen.generation.get(),
            usage: self.state.usage(node.id).map(Into::into),
            forecast_cpu_millicores: expected.get(),
            reserved_cpu_millicores: cpu.get(),
            reserved_memory_mib: memory.get(),
            instances: small(wanted),
            binding: self.binding(node, expected, promised).to_owned(),
            state: liveness::condition(self.state, node, self.now).as_str().to_owned(),
            wish: node.wish.as_str().to_owned(),
            lost_millis: node.loss.map_or(0, |loss| loss.at.millis()),
            staying: small(staying),
            margin_cpu_millicores: margin.get(),
            ceiling_cpu_millicores: ceiling.get(),
            accuracy: accuracy(self.state.node_accuracy(node.id)),
            disk_busy_permille: self.busy(node.id, Dimension::Disk),
            network_busy_permille: self.busy(node.id, Dimension::Network),
            occupied: occupied.map(|it| it.what.as_str()).unwrap_or_default().to_owned(),
            promised_memory_mib: promised.get(),
        }
    }

    fn busy(&self, node: NodeId, what: Dimension) -> Option<u32> {
        self.state.occupancy(node, what, self.now).map(Permille::get)
    }

    /// Returns the CPU reserved by critical instances and the memory reserved by all.
    fn reserved(&self, node: NodeId) -> (Millicores, Mebibytes) {
        let critical = |i: &&InstanceImage| self.state.spec(i).class == Class::Critical;
        let cpu = self.holds(node).filter(critical).map(|i| self.state.spec(i).resources.cpu).sum();
        let memory = self.holds(node).map(|i| self.state.spec(i).resources.memory).sum();
        (cpu, memory)
    }

    /// Names the resource of which the largest share is taken.
    fn binding(&self, node: &NodeImage, cpu: Millicores, memory: Mebibytes) -> &'static str {
        let capacity = &node.facts.capacity;
        let foreign = self.state.usage(node.id).map(|u| u.memory_foreign).unwrap_or_default();
        let disk: Mebibytes = self.holds(node.id).map(|i| self.state.spec(i).resources.disk).sum();
        let counter = capacity.counted.iter().map(|(name, all)| {
            let taken = |i: &InstanceImage| {
                self.state.spec(i).counted.get(name).copied().unwrap_or_default()
            };
            let taken = self.holds(node.id).map(taken).fold(0, u64::saturating_add);
            Mebibytes::new(taken).share_of(Mebibytes::new(*all))
        });
        let shares: [(Permille, &str); 4] = [
            (counter.max().unwrap_or_default(), "counter"),
            (disk.share_of(capacity.disk), "disk"),
            (memory.saturating_add(foreign).share_of(capacity.memory), "memory"),
            (cpu.share_of(capacity.cpu), "cpu"),
        ];
        shares.into_iter().max_by_key(|(share, _)| *share).map_or("cpu", |(_, name)| name)
    }
}

fn hour(of: &Violations) -> v1::BudgetHour {
    v1::BudgetHour {
        windows: of.windows,
        above: of.above,
        overloads: of.overloads,
        instance_windows: of.instances,
        instance_windows_above: of.affected,
    }
}

#[cfg(test)]
mod tests {
    use tengyun_engine::explain::Decisions;
    use tengyun_engine::{Command, Entry, State};
    use tengyun_model::{At, Millis, NodeIo, NodeUsage};

    use super::*;
    use crate::dispatch::Links;
    use crate::fixture::facts;

    #[test]
    fn a_node_whose_disk_is_busy_is_shown_and_counted_as_closed() {
        let decisions = Decisions::default();
        let (mut state, links, node) =
            (State::new(), Links::new(Millis::from_secs(3)), NodeId::new(1));
        let mut enter = |at: u64, command| {
            let entry = Entry { at: At::from_millis(at), by: None, command };
            assert!(matches!(state.apply(&entry), tengyun_engine::Outcome::Applied(_)));
        };
        enter(0, Command::BeginEpoch);
        enter(0, Command::RegisterNode(facts("n1")));
        enter(0, Command::ConnectNode(node));
        for second in (10..=300).step_by(10) {
            let busy = |share| Some(Permille::new(share));
            let io = NodeIo { disk_busy: busy(950), network_busy: busy(10), ..NodeIo::default() };
            let usage = NodeUsage { interval: Millis::from_secs(10), io, ..NodeUsage::default() };
            enter(second * 1000, Command::ReportUsage { node, usage });
        }
        let seen = |at: u64| {
            let view = View::new(&state, (&links, &decisions), At::from_millis(at), None);
            let node = view.nodes().nodes.remove(0);
            let counted = view.figures().occupied["disk"];
            (node.disk_busy_permille, node.network_busy_permille, node.occupied, counted)
        };
        assert_eq!(seen(301_000), (Some(950), Some(10), "disk".to_owned(), 1));
        assert_eq!(seen(400_000), (None, None, String::new(), 0), "nothing was heard for long");
    }
}
