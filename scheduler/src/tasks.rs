//! The tasks that the services start: each is joined before the daemon ends.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;

/// Running tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Ended tasks are taken out here, so the set is as large as what runs.
        while let Some(ended) = set.try_join_next() {
            if let Err(error) = ended {
                error!(%error, "a task of a service failed");
            }
        }
        set.spawn(task);
    }

    /// Waits until every task has ended.
    pub(crate) async fn join(&self) {
        let set = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        set.join_all().await;
    }
}

/// Waits for the stop; that its sender is gone is a stop as well.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    while !*stop.borrow_and_update() {
        if stop.changed().await.is_err() {
            return;
        }
    }
}
