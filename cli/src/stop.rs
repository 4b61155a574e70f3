//! `tengyun stop` and `tengyun delete`.

use serde_json::json;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::Message;
use crate::output::{clean, show};
use crate::session::{Session, key_of, operation_id, path};

/// Stops every instance and keeps the workload.
pub(crate) async fn stop(session: &Session, name: &str) -> Result<(), Failure> {
    let key = key_of(session.workload(name).await?.spec.as_ref());
    let request = v1::StopRequest { operation_id: operation_id()?, key: Some(key.clone()) };
    let call = session.call(|mut o| {
        let request = request.clone();
        async move { o.stop(request).await }
    });
    let message = Message::WorkloadStopping { workload: &clean(&path(key.clone())) }.said();
    done(session, key, ("stopping", &message), call.await?)
}

/// Stops every instance and forgets the workload.
pub(crate) async fn delete(session: &Session, name: &str) -> Result<(), Failure> {
    let key = key_of(session.workload(name).await?.spec.as_ref());
    let request = v1::DeleteRequest { operation_id: operation_id()?, key: Some(key.clone()) };
    let call = session.call(|mut o| {
        let request = request.clone();
        async move { o.delete(request).await }
    });
    let message = Message::WorkloadDeleting { workload: &clean(&path(key.clone())) }.said();
    done(session, key, ("deleting", &message), call.await?)
}

fn done(
    session: &Session,
    key: v1::WorkloadKey,
    (effect, message): (&str, &str),
    response: v1::OperationResponse,
) -> Result<(), Failure> {
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let path = path(key);
    let text = || format!("{message}\n");
    show(session.format, text, &json!({"workload": path, "effect": effect}))
}
