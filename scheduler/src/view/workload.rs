//! Departments, workloads and their meters as operators see them.

use std::collections::BTreeMap;

use tengyun_engine::image::WorkloadWish;
use tengyun_engine::predict::{Accuracy, Forecast};
use tengyun_engine::{HomeImage, InstanceImage, WorkloadImage, rollout};
use tengyun_model::{At, DepartmentPath, InstanceId, Millicores, Phase};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::v1;

use super::instance::{Used, accuracy};
use super::{View, small};
use crate::calendar;

impl View<'_> {
    /// Returns every department that has or had workloads.
    pub(crate) fn departments(&self) -> Vec<v1::DepartmentView> {
        let used = self.used();
        let mut all: BTreeMap<&DepartmentPath, v1::DepartmentView> = BTreeMap::new();
        for workload in self.state.workloads() {
            let Some(spec) = workload.revisions.get(&workload.revision) else { continue };
            let view = all.entry(&spec.key.department).or_default();
            view.workloads = view.workloads.saturating_add(1);
            for instance in self.living(workload) {
                self.add_to_department(view, instance, &used);
            }
        }
        for meter in self.state.meters() {
            let view = all.entry(&meter.key.department).or_default();
            let record = &meter.record;
            view.metered_core_millis = view.metered_core_millis.saturating_add(record.cpu.get());
            view.metered_mib_seconds = view.metered_mib_seconds.saturating_add(record.memory.get());
        }
        let named = |(path, view): (&DepartmentPath, v1::DepartmentView)| v1::DepartmentView {
            department: path.to_string(),
            ..view
        };
        all.into_iter().map(named).collect()
    }

    /// Returns the workloads of a department and those below it; of all when it is empty.
    pub(crate) fn workloads(&self, department: &str) -> Vec<v1::WorkloadView> {
        let (used, forecast) = (self.used(), self.forecast());
        let looked = (&used, &forecast);
        let all = self.state.workloads();
        all.filter_map(|workload| self.workload(workload, department, looked)).collect()
    }

    /// Returns the journaled meters of one instance or of all.
    pub(crate) fn meters(&self, instance: Option<InstanceId>) -> Vec<v1::MeterView> {
        self.state
            .meters()
            .filter(|meter| instance.is_none_or(|id| meter.record.key.instance == id))
            .map(|meter| v1::MeterView {
                node: meter.node.get(),
                key: Some((&*meter.key).into()),
                record: Some((&meter.record).into()),
            })
            .collect()
    }

    /// Returns the volumes of every copy on every node.
    pub(crate) fn volumes(&self) -> Vec<v1::VolumeView> {
        self.state.homes().map(|home| self.volume(home)).collect()
    }

    fn volume(&self, home: &HomeImage) -> v1::VolumeView {
        let node = self.state.node(home.node);
        let usage = self.state.usage(home.node).into_iter().flat_map(|usage| &usage.volumes);
        let used = usage.filter(|used| used.copy == home.copy).map(|used| used.used.get()).next();
        let user = self.state.user_of(home);
        v1::VolumeView {
            copy: Some((&home.copy).into()),
            node: home.node.get(),
            node_name: node.map(|node| node.facts.name.to_string()).unwrap_or_default(),
            volumes: home
                .volumes
                .iter()
                .map(|(name, size)| v1::VolumeSize { name: name.to_string(), size_mib: size.get() })
                .collect(),
            used_mib: used,
            state: home.fate.as_str().to_owned(),
            since_millis: home.since.millis(),
            instance: user.map_or(0, |user| user.status.instance.get()),
        }
    }

    fn living(&self, workload: &WorkloadImage) -> impl Iterator<Item = &InstanceImage> {
        self.state
            .of_workload(workload.id)
            .filter_map(|id| self.state.instance(id))
            .filter(|instance| !instance.status.phase.is_final())
    }

    fn add_to_department(
        &self,
        view: &mut v1::DepartmentView,
        instance: &InstanceImage,
        used: &Used,
    ) {
        let (cpu, memory) = used.of(instance.status.instance);
        let asked = self.state.spec(instance).resources.cpu;
        view.instances = view.instances.saturating_add(1);
        view.cpu_requested_millicores = view.cpu_requested_millicores.saturating_add(asked.get());
        view.cpu_used_millicores = view.cpu_used_millicores.saturating_add(cpu.get());
        view.memory_used_mib = view.memory_used_mib.saturating_add(memory.get());
    }

    fn workload(
        &self,
        workload: &WorkloadImage,
        department: &str,
        (used, forecast): (&Used, &Forecast),
    ) -> Option<v1::WorkloadView> {
        let spec = workload.revisions.get(&workload.revision)?;
        if !is_within(spec.key.department.as_str(), department) {
            return None;
        }
        let all: Vec<&InstanceImage> =
            self.state.of_workload(workload.id).filter_map(|id| self.state.instance(id)).collect();
        let count = |phases: &[Phase]| {
            small(all.iter().filter(|i| phases.contains(&i.status.phase)).count())
        };
        let (cpu, memory) = used.sum(all.iter().map(|i| i.status.instance));
        let rollout = rollout::summary(self.state, workload, self.now);
        let foreseen = Foreseen::of(self, &all, forecast);
        Some(v1::WorkloadView {
            workload: workload.id.get(),
            spec: Some((&**spec).into()),
            revision: workload.revision.get(),
            wish: wish(workload.wish).to_owned(),
            waiting: count(&[Phase::Waiting]),
            running: count(&[
                Phase::Starting,
                Phase::Running,
                Phase::Unhealthy,
                Phase::BackingOff,
                Phase::Stopping,
            ]),
            healthy: count(&[Phase::Healthy]),
            succeeded: count(&[Phase::Succeeded]),
            failed: count(&[Phase::Failed]),
            cpu_used_millicores: cpu.get(),
            memory_used_mib: memory.get(),
            applied_millis: workload.applied.millis(),
            rollout: rollout.to_string(),
            rollout_said: to_wire(&rollout),
            next_run_millis: calendar::next_run(workload).map_or(0, At::millis),
            mean_cpu_millicores: foreseen.mean.get(),
            margin_cpu_millicores: foreseen.margin.get(),
            accuracy: accuracy(foreseen.accuracy),
        })
    }
}

/// What the instances of a workload are expected to use in all, and how good that was.
#[derive(Default)]
struct Foreseen {
    mean: Millicores,
    margin: Millicores,
    accuracy: Accuracy,
}

impl Foreseen {
    fn of(view: &View<'_>, all: &[&InstanceImage], forecast: &Forecast) -> Self {
        let mut sum = Self::default();
        for instance in all.iter().filter(|i| !i.status.phase.is_final()) {
            let id = instance.status.instance;
            sum.mean = sum.mean.saturating_add(forecast.instance(id).mean);
            sum.margin = sum.margin.saturating_add(forecast.margin(id, instance.node));
            sum.accuracy = sum.accuracy.with(&view.state.accuracy(id));
        }
        sum
    }
}

/// Returns true when a department is the other or below it; everything is below the empty one.
fn is_within(department: &str, above: &str) -> bool {
    above.is_empty()
        || department.strip_prefix(above).is_some_and(|r| r.is_empty() || r.starts_with('/'))
}

const fn wish(wish: WorkloadWish) -> &'static str {
    match wish {
        WorkloadWish::Run => "running",
        WorkloadWish::Stop => "stopped",
        WorkloadWish::Delete => "deleting",
    }
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn a_department_holds_what_is_below_it_and_no_namesake() {
        assert!(is_within("city/finance", ""));
        assert!(is_within("city/finance", "city"));
        assert!(is_within("city/finance", "city/finance"));
        assert!(!is_within("city/finance", "city/fin"));
        assert!(!is_within("city", "city/finance"));
    }
}
