//! Gain: what SMT adds was measured, and the node may promise more.

use tengyun_model::{Permille, Smt, SmtSource};

use super::Agent;
use crate::capacity::cpu;

impl Agent {
    /// Counts the further threads of cores by what they add, and tells the scheduler by greeting anew.
    pub(super) fn gained(&mut self, gain: Permille) {
        let inventory = &mut self.of_node.inventory;
        inventory.smt = Smt { gain, source: SmtSource::Measured, ..inventory.smt };
        // Only where nothing bounds the node is it measured.
        let promised = cpu(&self.config.capacity, crate::capacity::Bounds::default(), inventory);
        tracing::info!(%gain, cpu = promised.get(), "what SMT adds was measured");
        self.of_node.capacity.cpu = promised;
        self.measure.promise(promised);
        let facts = (&self.of_node).into();
        self.hello.send_modify(|hello| hello.facts = Some(facts));
    }
}

#[cfg(test)]
mod tests {
    use tengyun_daemon::metrics::Socket;
    use tengyun_model::{Capacity, Millicores, NodeName};

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn what_smt_adds_is_promised_to_the_scheduler_and_to_harvest() {
        let dir = tempfile::tempdir().unwrap();
        let lists = ["0-1", "0-1", "2"];
        for (cpu, list) in lists.iter().enumerate() {
            let topology = dir.path().join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
            std::fs::create_dir_all(&topology).unwrap();
            std::fs::write(topology.join("thread_siblings_list"), list).unwrap();
        }
        let state = dir.path().join("state");
        let mut config = Config::new(NodeName::new("n1").unwrap(), &state, dir.path().join("s"));
        (config.sys_root, config.cgroup_root) = (dir.path().join("sys"), dir.path().join("none"));
        let ready = crate::start::start(config).unwrap();
        assert_eq!(ready.unmeasured, [[0, 1]]);
        let readers = Socket::open(&ready.config.metrics_socket, None).unwrap();
        let mut agent = Agent::new(ready, readers);
        let promised = |agent: &Agent| {
            let facts = agent.hello.borrow().facts.clone().unwrap();
            let capacity = Capacity::try_from(facts.capacity.unwrap()).unwrap();
            (capacity.cpu, agent.measure.capacity())
        };
        let before = Millicores::new(2000);
        assert_eq!(promised(&agent), (before, before), "cores alone, until it was measured");
        let process = agent.hello.borrow().process.clone();
        agent.gained(Permille::new(250));
        let after = Millicores::new(2250);
        assert_eq!(promised(&agent), (after, after));
        let hello = agent.hello.borrow().clone();
        assert_eq!(hello.process, process, "it is the same agent");
        let smt = hello.facts.and_then(|facts| facts.inventory?.smt).unwrap();
        assert_eq!((smt.cores, smt.gain_permille), (1, 250));
        agent.finish().await.unwrap();
    }
}
