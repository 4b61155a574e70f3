//! Supply: what must be on this node before an instance can be prepared. Artifacts are fetched,
//! secrets are asked of the scheduler. It may take long, and the agent's loop does not wait for it.

use std::sync::Arc;
use std::time::Duration;

use tengyun_model::{AssignedInstance, SecretName};
use tengyun_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::act::{blocking, chain};
use crate::artifacts::Fetcher;
use crate::run::{HandedSecret, RunReply, RunRequest, Runner};

/// How long the scheduler may take to hand out secrets before those that are held must do.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Secrets that an instance is about to be given.
#[derive(Debug)]
pub(crate) struct SecretAsk {
    /// Which.
    pub(crate) names: Vec<v1::SecretName>,
    /// Where they go.
    pub(crate) answer: oneshot::Sender<v1::SecretAnswer>,
}

/// Brings what instances need.
#[derive(Clone, Debug)]
pub(crate) struct Supply {
    /// Fetches artifacts.
    pub(crate) fetcher: Arc<Fetcher>,
    /// Asks the scheduler.
    pub(crate) asks: mpsc::Sender<SecretAsk>,
    /// Keeps secrets.
    pub(crate) runner: Runner,
}

/// Says what an instance needs, in words; nothing when it can be prepared at once.
pub(crate) fn needs(assigned: &AssignedInstance) -> Option<String> {
    let provision = &assigned.spec.provision;
    match (provision.artifacts.len(), provision.secrets.len()) {
        (0, 0) => None,
        (artifacts, 0) => Some(format!("fetches {artifacts} artifacts")),
        (0, secrets) => Some(format!("asks for {secrets} secrets")),
        (artifacts, secrets) => {
            Some(format!("fetches {artifacts} artifacts and asks for {secrets} secrets"))
        }
    }
}

/// Names the secrets of an instance.
pub(crate) fn secrets(assigned: &AssignedInstance) -> impl Iterator<Item = SecretName> {
    let department = &assigned.spec.key.department;
    let named = move |name| SecretName { department: department.clone(), name };
    assigned.spec.provision.secrets.iter().map(move |secret| named(secret.from.clone()))
}

impl Supply {
    /// Brings all that an instance needs.
    ///
    /// # Errors
    /// Says what is wrong and what would help.
    pub(crate) async fn bring(&self, assigned: &AssignedInstance) -> Result<(), String> {
        let fetched = self.fetcher.ensure(&assigned.spec.provision.artifacts).await;
        fetched.map_err(|error| chain(&error))?;
        let names: Vec<SecretName> = secrets(assigned).collect();
        if names.is_empty() { Ok(()) } else { self.secrets(names).await }
    }

    /// Asks for the newest values; while the scheduler is away, those that are held must do.
    async fn secrets(&self, names: Vec<SecretName>) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let ask = SecretAsk { names: names.iter().map(Into::into).collect(), answer };
        let asked = async {
            self.asks.send(ask).await.ok()?;
            answered.await.ok()
        };
        match timeout(ANSWER_PATIENCE, asked).await.ok().flatten() {
            Some(answer) => self.take(answer).await,
            None => self.make_do(names).await,
        }
    }

    async fn take(&self, mut answer: v1::SecretAnswer) -> Result<(), String> {
        let mut handed = Vec::with_capacity(answer.values.len());
        for wire in &mut answer.values {
            let name = wire.name.take().and_then(|name| SecretName::try_from(name).ok());
            let value = Zeroizing::new(std::mem::take(&mut wire.value));
            handed.extend(name.map(|name| HandedSecret { name, value }));
        }
        let missing = answer.missing.iter().cloned();
        let missing: Vec<_> = missing.filter_map(|n| SecretName::try_from(n).ok()).collect();
        self.request(RunRequest::HoldSecrets(handed)).await?;
        let Some(first) = missing.first().cloned() else { return Ok(()) };
        self.request(RunRequest::ForgetSecrets(missing)).await?;
        Err(format!("there is no secret {first}: set it with `tengyun secret set {first}`"))
    }

    async fn make_do(&self, names: Vec<SecretName>) -> Result<(), String> {
        let reply = self.request(RunRequest::MissingSecrets(names)).await?;
        let RunReply::Missing(missing) = reply else { unreachable!("it answers what is missing") };
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "the secret {first} is not held by this node, and the scheduler cannot be asked: \
                 bring it back"
            )),
        }
    }

    async fn request(&self, request: RunRequest) -> Result<RunReply, String> {
        let runner = self.runner.clone();
        blocking(move || runner.handle(request)).await.map_err(|error| chain(&error))
    }
}
