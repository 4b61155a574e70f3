//! Services: takes in where workloads are and has it written down, the newest list only.
//!
//! While the scheduler is away, what was written last stays.

use std::collections::BTreeMap;

use tengyun_model::{At, PortSpec, WorkloadKey};
use tengyun_proto::convert::ConvertError;
use tengyun_proto::v1;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::act::{blocking, chain};
use crate::run::{Endpoint, RunRequest, Runner, ServiceList};

/// The task that has lists written down.
#[derive(Debug)]
pub(crate) struct Services {
    newest: watch::Sender<Option<ServiceList>>,
    task: JoinHandle<()>,
}

impl Services {
    /// Starts it.
    pub(crate) fn start(runner: Runner) -> Self {
        let (newest, mut told) = watch::channel(None::<ServiceList>);
        let task = tokio::spawn(async move {
            while told.changed().await.is_ok() {
                let Some(list) = told.borrow_and_update().clone() else { continue };
                let hands = runner.clone();
                let request = RunRequest::WriteServices(Box::new(list));
                if let Err(error) = blocking(move || hands.handle(request)).await {
                    tracing::warn!(error = chain(&error), "where services are cannot be written");
                }
            }
        });
        Self { newest, task }
    }

    /// Takes in a list; one that was not written yet is replaced.
    pub(crate) fn take(&self, wire: v1::Services) {
        match list(wire) {
            Ok(list) => drop(self.newest.send_replace(Some(list))),
            Err(error) => tracing::warn!(%error, "list of services refused"),
        }
    }

    /// Ends it and waits until the last list is written.
    pub(crate) async fn stop(self) {
        drop(self.newest);
        // It panics when the runner does, and then there is nothing to wait for.
        drop(self.task.await);
    }
}

fn list(wire: v1::Services) -> Result<ServiceList, ConvertError> {
    let mut services = BTreeMap::new();
    for service in wire.services {
        let key = service.key.ok_or_else(|| ConvertError::new("key", "is missing"))?;
        let endpoints: Result<Vec<Endpoint>, _> =
            service.endpoints.into_iter().map(endpoint).collect();
        services.insert(WorkloadKey::try_from(key)?, endpoints?);
    }
    Ok(ServiceList { at: At::from_millis(wire.at_millis), services })
}

fn endpoint(wire: v1::Endpoint) -> Result<Endpoint, ConvertError> {
    let address = wire.address.parse();
    let address = address.map_err(|_| ConvertError::new("address", "is no address"))?;
    let mut ports = Vec::new();
    for port in wire.ports {
        let port = PortSpec::try_from(port)?;
        ports.extend(port.number.map(|number| (port.name, number)));
    }
    Ok(Endpoint { address, ports, instance: wire.instance })
}
