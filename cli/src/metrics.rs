//! `tengyun metrics`: the scheduler's metrics as it tells them to whoever scrapes it.

use http_body_util::{BodyExt as _, Limited};
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::Request;

use crate::failure::Failure;
use crate::message::Message;
use crate::output::print;
use crate::session::Session;

/// Where a scheduler tells its metrics.
const PATH: &str = "/metrics";
/// The most bytes of an answer; ours has some ten thousand.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Prints the metrics.
pub(crate) async fn run(session: &Session) -> Result<(), Failure> {
    let mut channel = session.channel().await?;
    let failed = |error: &dyn std::error::Error| Failure::Unreachable(crate::failure::chain(error));
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(|error| failed(&error))?;
    let request = Request::builder().uri(PATH).body(Body::empty());
    let request = request.map_err(|error| Failure::internal(&error))?;
    let response = channel.call(request).await.map_err(|error| failed(&error))?;
    // A refusal comes as a status, as every other call has it.
    if let Some(status) = tonic::Status::from_header_map(response.headers()) {
        return Err(status.into());
    }
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
    let failed = |error| Failure::Internal(Message::CannotReadMetrics { error: &error }.said());
    let body = body.map_err(failed)?;
    print(&String::from_utf8_lossy(&body.to_bytes()))
}
