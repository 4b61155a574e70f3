//! The log requests of one stream: lines come up from the agent and go to whoever asked.

use std::collections::BTreeMap;
use std::time::Duration;

use tengyun_model::{Said, said};
use tengyun_proto::refused::status;
use tengyun_proto::v1;
use tengyun_proto::v1::scheduler_message::Message as Out;
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::debug;

use crate::dispatch::LogSink;

/// The most log requests on one node at a time: some people looking, and no more load than that.
const REQUESTS_MAX: usize = 32;
/// How long a reader may hold up its node's stream, with its queue full, before it is cut off.
pub(super) const READER_PATIENCE: Duration = Duration::from_secs(2);

/// The open log requests of one stream.
#[derive(Debug)]
pub(super) struct Logs {
    open: BTreeMap<u64, LogSink>,
    last: u64,
    patience: Duration,
}

impl Logs {
    /// Makes an empty set whose readers may hold up the stream for this long.
    pub(super) fn new(patience: Duration) -> Self {
        Self { open: BTreeMap::new(), last: 0, patience }
    }

    /// Opens a request and returns what to send to the agent.
    pub(super) fn open(&mut self, request: v1::LogRequest, sink: LogSink) -> Vec<Out> {
        if self.open.len() >= REQUESTS_MAX {
            finish(&sink, status(Code::ResourceExhausted, &said!(LogsOpen, REQUESTS_MAX)));
            return Vec::new();
        }
        self.last = self.last.saturating_add(1);
        self.open.insert(self.last, sink);
        vec![Out::LogRequest(v1::LogRequest { request: self.last, ..request })]
    }

    /// Passes a chunk on and returns what to send to the agent.
    pub(super) async fn pass(&mut self, chunk: v1::LogChunk) -> Vec<Out> {
        let Some(sink) = self.open.get(&chunk.request) else {
            // The reader went away meanwhile, and the agent was told so.
            return Vec::new();
        };
        if !chunk.data.is_empty() {
            let data = v1::LogsResponse { data: chunk.data };
            match timeout(self.patience, sink.send(Ok(data))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return self.cancel(chunk.request),
                Err(_) => {
                    finish(sink, status(Code::ResourceExhausted, &said!(LogSlow)));
                    return self.cancel(chunk.request);
                }
            }
        }
        if chunk.end {
            if !chunk.error.is_empty() {
                finish(sink, Status::not_found(chunk.error));
            }
            self.open.remove(&chunk.request);
        }
        Vec::new()
    }

    /// Cancels the requests of readers that went away and returns what to send to the agent.
    pub(super) fn sweep(&mut self) -> Vec<Out> {
        let gone: Vec<u64> =
            self.open.iter().filter(|(_, s)| s.is_closed()).map(|(id, _)| *id).collect();
        gone.into_iter().flat_map(|request| self.cancel(request)).collect()
    }

    /// Ends every request.
    pub(super) fn close(&mut self, why: &Said) {
        for sink in std::mem::take(&mut self.open).into_values() {
            finish(&sink, status(Code::Unavailable, why));
        }
    }

    fn cancel(&mut self, request: u64) -> Vec<Out> {
        self.open.remove(&request);
        vec![Out::LogCancel(v1::LogCancel { request })]
    }
}

/// Tells a reader why there is no more; one whose queue is full only sees the end.
fn finish(sink: &LogSink, status: Status) {
    sink.try_send(Err(status)).unwrap_or_else(|e| debug!(error = %e, "reader of a log is gone"));
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn ask(logs: &mut Logs, queue: usize) -> mpsc::Receiver<Result<v1::LogsResponse, Status>> {
        let (sink, lines) = mpsc::channel(queue);
        logs.open(v1::LogRequest::default(), sink);
        lines
    }

    fn chunk(request: u64, data: &str, end: bool) -> v1::LogChunk {
        v1::LogChunk { request, data: data.into(), end, error: String::new() }
    }

    #[tokio::test]
    async fn lines_reach_the_one_who_asked_and_end() {
        let mut logs = Logs::new(READER_PATIENCE);
        let (mut first, mut second) = (ask(&mut logs, 4), ask(&mut logs, 4));
        assert!(logs.pass(chunk(2, "b", true)).await.is_empty());
        assert!(logs.pass(chunk(1, "a", false)).await.is_empty());
        assert_eq!(second.recv().await.unwrap().unwrap().data, b"b");
        assert!(second.recv().await.is_none());
        assert_eq!(first.recv().await.unwrap().unwrap().data, b"a");
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_cancelled_at_the_agent() {
        let mut logs = Logs::new(READER_PATIENCE);
        drop(ask(&mut logs, 4));
        assert_eq!(logs.sweep(), vec![Out::LogCancel(v1::LogCancel { request: 1 })]);
        assert!(logs.sweep().is_empty());
        drop(ask(&mut logs, 4));
        let sent = logs.pass(chunk(2, "a", false)).await;
        assert_eq!(sent, vec![Out::LogCancel(v1::LogCancel { request: 2 })]);
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_cut_off() {
        let mut logs = Logs::new(Duration::from_millis(10));
        let _lines = ask(&mut logs, 1);
        assert!(logs.pass(chunk(1, "a", false)).await.is_empty());
        let sent = logs.pass(chunk(1, "b", false)).await;
        assert_eq!(sent, vec![Out::LogCancel(v1::LogCancel { request: 1 })]);
    }

    #[tokio::test]
    async fn an_agents_error_and_its_end_reach_the_reader() {
        let mut logs = Logs::new(READER_PATIENCE);
        let mut lines = ask(&mut logs, 4);
        let mut failed = chunk(1, "", true);
        failed.error = "no such instance".to_owned();
        logs.pass(failed).await;
        assert_eq!(lines.recv().await.unwrap().unwrap_err().code(), Code::NotFound);
        let mut lines = ask(&mut logs, 4);
        logs.close(&said!(AgentWent));
        assert_eq!(lines.recv().await.unwrap().unwrap_err().code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn too_many_requests_on_one_node_are_refused() {
        let mut logs = Logs::new(READER_PATIENCE);
        let _open: Vec<_> = (0..REQUESTS_MAX).map(|_| ask(&mut logs, 1)).collect();
        let mut lines = ask(&mut logs, 1);
        let refused = lines.recv().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }
}
