//! The agents' service: one stream for each node, reports up and assignments down.
//!
//! A stream's answer begins at once and everything that goes wrong is its last message, so an agent
//! need not send before it listens.

mod logs;
mod pace;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tengyun_model::{Millis, said};
use tengyun_proto::WIRE_VERSION;
use tengyun_proto::refused::status;
use tengyun_proto::v1::agent_service_server::AgentService;
use tengyun_proto::v1::{AgentMessage, SchedulerMessage};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::connections::{Connections, Visit};
use crate::desk::{Desk, Speaker};
use crate::dispatch::LinkId;
use crate::secrets::Secrets;
use crate::tasks::Tasks;
use session::Session;

/// How many messages may wait in front of one stream's transport; assignments and acknowledgements
/// have queues of their own behind it.
const OUT_MAX: usize = 8;

/// Serves agents.
#[derive(Debug)]
pub(crate) struct Agents {
    pub desk: Desk,
    pub tasks: Arc<Tasks>,
    pub stop: watch::Receiver<bool>,
    pub report_interval: Millis,
    pub links: AtomicU64,
    pub connections: Arc<Connections>,
    pub secrets: Arc<Secrets>,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type AttachStream = ReceiverStream<Result<SchedulerMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        if let Some(reason) = self.desk.read_only() {
            return Err(status(Code::FailedPrecondition, &said!(ReadOnlyNow, reason)));
        }
        let speaker = match request.extensions().get::<Caller>() {
            Some(Caller::Local(_)) => Speaker::Local,
            Some(Caller::Node(node, admission)) => Speaker::Node(*node, *admission),
            Some(Caller::User(..) | Caller::Person(..) | Caller::Unknown) | None => {
                return Err(Status::permission_denied("only agents attach"));
            }
        };
        let (out, stream) = mpsc::channel(OUT_MAX);
        let id = LinkId(self.links.fetch_add(1, Ordering::Relaxed));
        let session = Session {
            desk: self.desk.clone(),
            stop: self.stop.clone(),
            report_interval: self.report_interval,
            id,
            out,
            speaker,
            from: request.extensions().get::<Visit>().map(|visit| visit.from),
            connections: Arc::clone(&self.connections),
            secrets: Arc::clone(&self.secrets),
        };
        self.tasks.spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Checks the wire version of an agent: ours and the one before are spoken.
fn check_version(own: u32, theirs: u32) -> Result<(), Status> {
    if theirs == own || (theirs > 0 && theirs.checked_add(1) == Some(own)) {
        return Ok(());
    }
    let remedy = if theirs > own { "upgrade the scheduler first" } else { "upgrade the agent" };
    Err(Status::failed_precondition(format!(
        "the agent speaks wire version {theirs}, this scheduler {own} and the one before: {remedy}"
    )))
}

/// The version that is spoken with an agent of an accepted version.
fn spoken(theirs: u32) -> u32 {
    WIRE_VERSION.min(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_is_accepted_and_others_are_refused_with_the_remedy() {
        assert!(check_version(2, 2).is_ok());
        assert!(check_version(2, 1).is_ok());
        let newer = check_version(2, 3).unwrap_err();
        assert!(newer.message().contains("upgrade the scheduler first"), "{newer}");
        let older = check_version(3, 1).unwrap_err();
        assert!(older.message().contains("upgrade the agent"), "{older}");
        assert!(check_version(1, 0).is_err(), "there was never a version 0");
    }

    #[test]
    fn the_older_side_sets_the_spoken_version() {
        assert_eq!(spoken(WIRE_VERSION), WIRE_VERSION);
        assert_eq!(spoken(WIRE_VERSION.saturating_sub(1)), WIRE_VERSION.saturating_sub(1));
    }
}
