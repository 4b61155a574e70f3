//! The server: every service, health and reflection, behind one gate, on the socket and, where it is
//! asked for, at the door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tengyun_model::{Millis, Role};
use tengyun_proto::v1::agent_service_server::AgentServiceServer;
use tengyun_proto::v1::identity_service_server::IdentityServiceServer;
use tengyun_proto::v1::operator_service_server::OperatorServiceServer;
use tengyun_proto::v1::secret_service_server::SecretServiceServer;
use tengyun_proto::{DESCRIPTORS, limits, uds};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::attach::Agents;
use crate::caller::Gate;
use crate::connections::Connections;
use crate::desk::Desk;
use crate::door::Visitor;
use crate::identity::{Admittance, Identities};
use crate::metrics::{MetricsRoute, Scrape};
use crate::operator::Operators;
use crate::roster::Roster;
use crate::route::{Calls, Nothing, Route};
use crate::secrets::{Keepers, Secrets};
use crate::tasks::{Tasks, stopped};
use crate::unread::Counted;

/// Why the server cannot be made or went down.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The reflection service cannot be made.
    #[error("cannot describe the services")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server ended with an error.
    #[error("cannot serve")]
    Serve(#[from] tonic::transport::Error),
}

/// What the server serves.
#[derive(Debug)]
pub(crate) struct Services {
    pub desk: Desk,
    pub tasks: Arc<Tasks>,
    pub stop: watch::Receiver<bool>,
    pub report_interval: Millis,
    pub roster: watch::Receiver<Arc<Roster>>,
    pub connections: Arc<Connections>,
    pub admittance: Option<Admittance>,
    pub secrets: Arc<Secrets>,
    pub locals: Arc<BTreeMap<u32, Role>>,
    pub scrape: Scrape,
}

/// Those who came in by the door; none where there is none.
pub(crate) type Visitors = Option<mpsc::Receiver<std::io::Result<Visitor>>>;

impl Services {
    /// Serves until the stop.
    pub(crate) async fn serve(
        self,
        incoming: impl Stream<Item = Result<uds::PeerStream, std::io::Error>>,
        visitors: Visitors,
    ) -> Result<(), ServerError> {
        let stop = self.stop.clone();
        let (socket_stop, door_stop) = (stopped(stop.clone()), stopped(stop));
        let routes = self.routes().await?;
        let at_door = routes.clone();
        let socket = limits::server().serve_with_incoming_shutdown(routes, incoming, socket_stop);
        let door = async {
            match visitors {
                Some(visitors) => {
                    let visitors = ReceiverStream::new(visitors);
                    limits::server()
                        .serve_with_incoming_shutdown(at_door, visitors, door_stop)
                        .await
                }
                None => Ok(()),
            }
        };
        tokio::try_join!(socket, door)?;
        Ok(())
    }

    async fn routes(self) -> Result<impl Calls + Clone + Send + use<>, ServerError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<AgentServiceServer<Agents>>().await;
        health.set_serving::<OperatorServiceServer<Operators>>().await;
        health.set_serving::<IdentityServiceServer<Identities>>().await;
        health.set_serving::<SecretServiceServer<Keepers>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .build_v1()?;
        let agents = limits::agent_server(Agents {
            desk: self.desk.clone(),
            tasks: self.tasks,
            stop: self.stop,
            report_interval: self.report_interval,
            links: AtomicU64::new(1),
            connections: Arc::clone(&self.connections),
            secrets: Arc::clone(&self.secrets),
        });
        let identities = Identities::new(self.desk.clone(), self.admittance, self.connections);
        let identities = limits::identity_server(identities);
        let keepers = Keepers { desk: self.desk.clone(), secrets: Arc::clone(&self.secrets) };
        let keepers = limits::secret_server(keepers);
        let operators = Operators { desk: self.desk, secrets: self.secrets };
        let operators = limits::operator_server(operators);
        let others = Route::new(health_service, Route::new(reflection, Nothing));
        let others = Route::new(identities, Route::new(keepers, others));
        let services = Route::new(agents, Route::new(operators, others));
        let services = Counted::new(MetricsRoute::new(self.scrape, services));
        Ok(Gate::new(services, self.roster, self.locals))
    }
}
