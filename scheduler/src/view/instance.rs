//! Instances, explanations and the policy as operators see them.

use std::collections::BTreeMap;

use tengyun_engine::explain::{NodeVerdict, explain};
use tengyun_engine::image::InstanceWish;
use tengyun_engine::policy::KNOBS;
use tengyun_engine::predict::{Forecast, HorizonForecast, InstanceForecast};
use tengyun_engine::{Effect, InstanceImage, PolicyImage, Refusal, StopReason};
use tengyun_model::{InstanceId, Mebibytes, Millicores, Said, WorkloadKey, said};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::v1;

use super::View;
use super::refusal::refusal;

/// The newest use of every instance.
pub(super) struct Used(BTreeMap<InstanceId, (Millicores, Mebibytes)>);

impl Used {
    /// Returns what one instance used; nothing when it is not known.
    pub(super) fn of(&self, id: InstanceId) -> (Millicores, Mebibytes) {
        self.0.get(&id).copied().unwrap_or_default()
    }

    /// Returns what several instances used.
    pub(super) fn sum(&self, ids: impl Iterator<Item = InstanceId>) -> (Millicores, Mebibytes) {
        ids.map(|id| self.of(id)).fold(Default::default(), |sum, each| {
            (sum.0.saturating_add(each.0), sum.1.saturating_add(each.1))
        })
    }
}

impl View<'_> {
    /// Returns the instances of one workload or of all; ended ones when asked for.
    pub(crate) fn instances(
        &self,
        key: Option<&WorkloadKey>,
        ended: bool,
    ) -> v1::ListInstancesResponse {
        let (used, forecast) = (self.used(), self.forecast());
        let instances = self
            .state
            .instances()
            .filter(|instance| ended || !instance.status.phase.is_final())
            .filter(|instance| key.is_none_or(|key| self.state.spec(instance).key == *key))
            .map(|instance| self.instance(instance, &used, &forecast))
            .collect();
        v1::ListInstancesResponse { instances, at_millis: self.now.millis() }
    }

    /// Explains one instance.
    pub(crate) fn explain(&self, id: InstanceId) -> v1::ExplainResponse {
        match explain(self.state, &self.forecast(), id, self.now) {
            Some(explained) => answered(vec![explanation(&explained)]),
            None => refused(&Refusal::UnknownInstance(id)),
        }
    }

    /// Explains every instance of a workload.
    pub(crate) fn explain_workload(&self, key: &WorkloadKey) -> v1::ExplainResponse {
        let Some(workload) = self.state.workload_keyed(key) else {
            return refused(&Refusal::UnknownWorkload(key.clone()));
        };
        let forecast = self.forecast();
        let explained = self
            .state
            .of_workload(workload.id)
            .filter_map(|id| explain(self.state, &forecast, id, self.now));
        answered(explained.map(|explained| explanation(&explained)).collect())
    }

    /// Returns every knob.
    pub(crate) fn policy(&self) -> v1::PolicyResponse {
        let policy = self.state.policy();
        let knobs = KNOBS.iter().map(|knob| v1::Knob {
            name: knob.name.to_owned(),
            value: policy.value(knob.name).unwrap_or(knob.default),
            unit: knob.unit.to_owned(),
            default_value: knob.default,
            reason: knob.reason.to_owned(),
            min: knob.min,
            max: knob.max,
        });
        let version = self.state.policy_version();
        let label = self.state.policies().next_back().map(|kept| kept.label.clone());
        let label = label.unwrap_or_default();
        v1::PolicyResponse { version, knobs: knobs.collect(), refusal: None, label }
    }

    /// Returns the versions of the policy that are kept.
    pub(crate) fn policies(&self) -> v1::ListPoliciesResponse {
        let version = |kept: &PolicyImage| v1::PolicyVersion {
            version: kept.version,
            at_millis: kept.at.millis(),
            label: kept.label.clone(),
            values: kept
                .values
                .iter()
                .map(|(name, value)| v1::KnobValue { name: name.clone(), value: *value })
                .collect(),
        };
        v1::ListPoliciesResponse { versions: self.state.policies().map(version).collect() }
    }

    pub(super) fn used(&self) -> Used {
        let usages = self.state.nodes().filter_map(|node| self.state.usage(node.id));
        let each = usages.flat_map(|usage| &usage.instances);
        Used(each.map(|used| (used.instance, (used.cpu, used.memory))).collect())
    }

    fn instance(
        &self,
        instance: &InstanceImage,
        used: &Used,
        forecast: &Forecast,
    ) -> v1::InstanceView {
        let id = instance.status.instance;
        let spec = self.state.spec(instance);
        let node = instance.node.and_then(|node| self.state.node(node));
        let (cpu, memory) = used.of(id);
        let reason = reason(instance);
        v1::InstanceView {
            instance: id.get(),
            key: Some((&spec.key).into()),
            ordinal: instance.ordinal,
            revision: instance.revision.get(),
            class: v1::Class::from(spec.class).into(),
            node: instance.node.map(tengyun_model::NodeId::get),
            node_name: node.map(|node| node.facts.name.to_string()).unwrap_or_default(),
            status: Some((&instance.status).into()),
            wanted: instance.wish == InstanceWish::Run,
            replaces: instance.replaces.map(InstanceId::get),
            cpu_used_millicores: cpu.get(),
            memory_used_mib: memory.get(),
            forecast_cpu_millicores: forecast.instance(id).peak.get(),
            reason: reason.to_string(),
            reason_said: to_wire(&reason),
            ports: self.state.ports(instance).iter().map(Into::into).collect(),
            expected: Some(expected(forecast.instance(id), forecast.margin(id, instance.node))),
        }
    }
}

fn expected(forecast: InstanceForecast, margin: Millicores) -> v1::Expected {
    v1::Expected {
        mean_millicores: forecast.mean.get(),
        margin_millicores: margin.get(),
        measured: forecast.measured,
    }
}

fn reason(instance: &InstanceImage) -> Said {
    match instance.wish {
        InstanceWish::Run if instance.replaces.is_some() => said!(ReasonReplaces),
        InstanceWish::Run if instance.node.is_none() => said!(ReasonRoom),
        InstanceWish::Run => Said::NOTHING,
        InstanceWish::Stop(StopReason::NotWanted) => said!(ReasonNotWanted),
        InstanceWish::Stop(StopReason::Replaced) => said!(ReasonReplaced),
        InstanceWish::Stop(StopReason::Evicted) => said!(ReasonEvicted),
        InstanceWish::Stop(StopReason::GivenUp) => said!(ReasonGivenUp),
        InstanceWish::Stop(StopReason::Drained) => said!(ReasonDrained),
        InstanceWish::Stop(StopReason::Lost) => said!(ReasonLost),
        InstanceWish::Stop(StopReason::Renewed) => said!(ReasonRenewed),
        InstanceWish::Stop(StopReason::Failed) => said!(ReasonFailed),
    }
}

fn explanation(explained: &tengyun_engine::explain::Explanation) -> v1::Explanation {
    v1::Explanation {
        instance: explained.instance.get(),
        key: Some((&explained.key).into()),
        expected: Some(expected(explained.expected, explained.margin)),
        summary: explained.summary.to_string(),
        summary_said: to_wire(&explained.summary),
        nodes: explained.nodes.iter().map(verdict).collect(),
        remedy: explained.remedy.to_string(),
        remedy_said: to_wire(&explained.remedy),
        horizons: explained.horizons.iter().map(horizon).collect(),
        seasonal: explained.seasonal,
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

/// Returns the word for an effect.
pub(crate) const fn effect_word(effect: &Effect) -> &'static str {
    match effect {
        Effect::Created(..) => "created",
        Effect::Updated(..) => "updated",
        Effect::Unchanged(..) => "unchanged",
        Effect::Done | Effect::Node(_) | Effect::Planned { .. } | Effect::Admitted { .. } => "done",
    }
}

/// Returns the revision that an effect left behind; 0 when it is not about one.
pub(crate) const fn effect_revision(effect: &Effect) -> u32 {
    match effect {
        Effect::Created(_, revision)
        | Effect::Updated(_, revision)
        | Effect::Unchanged(_, revision) => revision.get(),
        Effect::Done | Effect::Node(_) | Effect::Planned { .. } | Effect::Admitted { .. } => 0,
    }
}
