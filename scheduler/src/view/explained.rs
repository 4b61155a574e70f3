//! Explanations as operators see them: what is calculated now, and what was recorded when it was decided.

use tengyun_engine::Refusal;
use tengyun_engine::event::shift_said;
use tengyun_engine::explain::memory::Counted;
use tengyun_engine::explain::{Decision, Excluded, Explanation, NodeVerdict, explain};
use tengyun_engine::predict::{Forecast, HorizonForecast};
use tengyun_model::{InstanceId, NodeId, Said, WorkloadKey};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::v1;

use super::instance::{accuracy, expected};
use super::refusal::refusal;
use super::{View, small};

impl View<'_> {
    /// Explains one instance.
    pub(crate) fn explain(&self, id: InstanceId) -> v1::ExplainResponse {
        match self.explained(&self.forecast(), id) {
            Some(explained) => answered(vec![explained]),
            None => refused(&Refusal::UnknownInstance(id)),
        }
    }

    /// Explains every instance of a workload.
    pub(crate) fn explain_workload(&self, key: &WorkloadKey) -> v1::ExplainResponse {
        let Some(workload) = self.state.workload_keyed(key) else {
            return refused(&Refusal::UnknownWorkload(key.clone()));
        };
        let forecast = self.forecast();
        let all = self.state.of_workload(workload.id);
        answered(all.filter_map(|id| self.explained(&forecast, id)).collect())
    }

    fn explained(&self, forecast: &Forecast, id: InstanceId) -> Option<v1::Explanation> {
        let explained = explain(self.state, forecast, id, self.now)?;
        let placed = self.state.instance(id).is_some_and(|instance| instance.node.is_some());
        Some(v1::Explanation {
            placed,
            decision: self.decisions.of(id).filter(|_| placed).map(|d| self.decision(d)),
            accuracy: accuracy(self.state.accuracy(id)),
            ..explanation(&explained)
        })
    }

    fn decision(&self, of: &Decision) -> v1::DecisionView {
        let reason = of.reason.map_or(Said::NOTHING, shift_said);
        let runner_up = of.runner_up;
        v1::DecisionView {
            at_millis: of.at.millis(),
            from: of.from.map(|node| self.node_name(node)).unwrap_or_default(),
            to: self.node_name(of.to),
            reason: reason.to_string(),
            reason_said: to_wire(&reason),
            expected: Some(expected(of.expected, of.margin)),
            before_millicores: of.peak.0.get(),
            after_millicores: of.peak.1.get(),
            bound_millicores: of.bound.get(),
            left_before_millicores: of.left.0.get(),
            left_after_millicores: of.left.1.get(),
            nodes_in_use: small(of.in_use),
            nodes_needed: of.needed,
            runner_up: runner_up.map(|r| self.node_name(r.node)).unwrap_or_default(),
            runner_up_millicores: runner_up.map_or(0, |r| r.peak.get()),
            runner_up_bound_millicores: runner_up.map_or(0, |r| r.bound.get()),
        }
    }

    /// Returns the name of a node; its number when it was forgotten meanwhile.
    pub(super) fn node_name(&self, id: NodeId) -> String {
        self.state.node(id).map_or_else(|| id.to_string(), |node| node.facts.name.to_string())
    }
}

fn explanation(explained: &Explanation) -> v1::Explanation {
    v1::Explanation {
        instance: explained.instance.get(),
        key: Some((&explained.key).into()),
        expected: Some(expected(explained.expected, explained.margin)),
        summary: explained.summary.to_string(),
        summary_said: to_wire(&explained.summary),
        nodes: explained.nodes.iter().map(verdict).collect(),
        excluded: explained.excluded.iter().map(excluded).collect(),
        remedy: explained.remedy.to_string(),
        remedy_said: to_wire(&explained.remedy),
        memory: Some(counted(explained.memory)),
        horizons: explained.horizons.iter().map(horizon).collect(),
        seasonal: explained.seasonal,
        ..v1::Explanation::default()
    }
}

fn horizon(ahead: &HorizonForecast) -> v1::Horizon {
    v1::Horizon {
        seconds: ahead.horizon.get() / 1000,
        mean_millicores: ahead.expected.mean.get(),
        deviation_millicores: ahead.expected.deviation.get(),
        peak_millicores: ahead.expected.peak.get(),
        judged: ahead.judged,
    }
}

fn counted(memory: Counted) -> v1::MemoryCounted {
    v1::MemoryCounted {
        request_mib: memory.request.get(),
        promised_mib: memory.promised.get(),
        peak_mib: memory.peak.get(),
        margin_permille: memory.margin,
        until_millis: memory.until.map_or(0, tengyun_model::At::millis),
    }
}

fn excluded(of: &Excluded) -> v1::ExcludedView {
    v1::ExcludedView {
        nodes: small(of.nodes),
        nearest: of.nearest.to_string(),
        reason: of.why.to_string(),
        reason_said: to_wire(&of.why.said()),
    }
}

fn verdict(verdict: &NodeVerdict) -> v1::ExplainedNode {
    v1::ExplainedNode {
        node: verdict.node.get(),
        name: verdict.name.to_string(),
        feasible: verdict.refusal.is_none(),
        reason: verdict.refusal.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason_said: verdict.refusal.as_ref().and_then(|refusal| to_wire(&refusal.said())),
        score: verdict.score,
        peak_millicores: verdict.peak.get(),
        margin_millicores: verdict.margin.get(),
        bound_millicores: verdict.bound.get(),
    }
}

const fn answered(explanations: Vec<v1::Explanation>) -> v1::ExplainResponse {
    v1::ExplainResponse { explanations, refusal: None }
}

fn refused(why: &Refusal) -> v1::ExplainResponse {
    v1::ExplainResponse { explanations: Vec::new(), refusal: Some(refusal(why)) }
}
