//! The server: both services, health and reflection on one socket.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tengyun_model::Millis;
use tengyun_proto::v1::agent_service_server::AgentServiceServer;
use tengyun_proto::v1::operator_service_server::OperatorServiceServer;
use tengyun_proto::{DESCRIPTORS, limits, uds};
use tokio::sync::watch;
use tokio_stream::Stream;

use crate::attach::Agents;
use crate::desk::Desk;
use crate::operator::Operators;
use crate::route::{Calls, Nothing, Route};
use crate::tasks::{Tasks, stopped};

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
}

impl Services {
    /// Serves until the stop.
    pub(crate) async fn serve(
        self,
        incoming: impl Stream<Item = Result<uds::PeerStream, std::io::Error>>,
    ) -> Result<(), ServerError> {
        let stopped = stopped(self.stop.clone());
        let routes = self.routes().await?;
        Ok(limits::server().serve_with_incoming_shutdown(routes, incoming, stopped).await?)
    }

    async fn routes(self) -> Result<impl Calls + Clone + Send + use<>, ServerError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<AgentServiceServer<Agents>>().await;
        health.set_serving::<OperatorServiceServer<Operators>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .build_v1()?;
        let agents = limits::agent_server(Agents {
            desk: self.desk.clone(),
            tasks: self.tasks,
            stop: self.stop,
            report_interval: self.report_interval,
            links: AtomicU64::new(1),
        });
        let operators = limits::operator_server(Operators { desk: self.desk });
        let others = Route::new(health_service, Route::new(reflection, Nothing));
        Ok(Route::new(agents, Route::new(operators, others)))
    }
}
