//! Adoption: an agent that starts takes over what runs, and learns how the rest has ended.
//!
//! Nothing is decided here and nothing that runs is touched, except starts that a later one of the
//! same instance has overtaken.

use std::collections::BTreeMap;

use tengyun_model::{AssignedInstance, InstanceId, Millis};

use super::Agent;
use crate::measure::ShimProcess;
use crate::run::{Found, FoundState, RunError, RunTarget};
use crate::shim::record;

impl Agent {
    /// Takes over what an earlier agent left, before anything is decided.
    pub(super) async fn adopt(&mut self) -> Result<(), RunError> {
        let volumes = self.hands.survey_volumes().await?;
        self.volumes.found(volumes);
        let removed = self.ledger.held().map(|held| held.removed.clone()).unwrap_or_default();
        for copy in self.volumes.remove(&removed) {
            self.hands.remove_volumes(copy);
        }
        let found = self.hands.survey().await?;
        let wanted = self.wanted();
        let mut newest: BTreeMap<InstanceId, Found> = BTreeMap::new();
        for start in found {
            let id = start.key.instance;
            self.newest.insert(id, start.key.incarnation);
            if let Some(overtaken) = newest.insert(id, start) {
                self.drop_overtaken(overtaken);
            }
        }
        for (id, start) in newest {
            self.adopt_one(start, wanted.get(&id));
        }
        Ok(())
    }

    fn adopt_one(&mut self, found: Found, wanted: Option<&AssignedInstance>) {
        let key = found.key;
        let Some(assigned) = found.assigned.or_else(|| wanted.cloned()) else {
            tracing::error!(%key, "nobody knows what this instance was; it is removed");
            return self.hands.remove(key);
        };
        let target = RunTarget::of(&assigned, key.incarnation);
        let before = (found.failures, found.healthy);
        self.instances.adopt(assigned, key.incarnation, before, self.clock.now());
        let since = found.started.as_ref().filter(|s| record::is_this_boot(&s.boot));
        let since = since.map(|s| self.clock.at(Millis::new(s.monotonic_millis)));
        let now = self.clock.now();
        match found.state {
            FoundState::Alive(shim) => {
                let group = self.cgroups.instance(key, target.class, &target.department);
                let process = ShimProcess { pid: shim.pid, start_ticks: shim.start_ticks };
                self.measure.begin(&target, group.as_ref(), process, since.unwrap_or(now));
                if let Some(started) = &found.started {
                    self.instances.started(key, started, &self.clock);
                }
                tracing::info!(%key, "adopted");
                self.hands.watch(key, shim, found.started.is_some());
            }
            FoundState::Ended(ended) => {
                if let Some(started) = &found.started {
                    self.instances.started(key, started, &self.clock);
                }
                if let Some(since) = since {
                    self.measure.begin_ended(key, since);
                }
                self.ended(key, &ended);
            }
        }
    }

    /// Ends and clears a start that a later one has overtaken.
    fn drop_overtaken(&mut self, found: Found) {
        let Some(assigned) = found.assigned else { return self.hands.remove(found.key) };
        let target = RunTarget::of(&assigned, found.key.incarnation);
        if let FoundState::Ended(ended) = &found.state {
            self.measure.ended(found.key, ended, self.clock.now());
        }
        self.hands.clear(target);
    }
}
