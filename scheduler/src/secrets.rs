//! The departments' secrets: who may set and delete them, who is given them. Values come in and go
//! out to agents whose instances need them; nothing here gives one back to a person.

mod seal;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tengyun_model::{NodeId, SecretName, Wisher, WorkloadSpec, said};
use tengyun_proto::convert::ConvertError;
use tengyun_proto::v1;
use tengyun_proto::v1::secret_service_server::SecretService;
use tonic::{Request, Response, Status};
use tracing::{error, info};

use crate::caller::{Asker, Scope};
use crate::desk::Desk;
use crate::view;

pub use store::SecretsError;
pub(crate) use store::{Kept, Secrets};

/// The most secrets that an agent asks for at once: those of one instance.
const ASKED_MAX: usize = tengyun_model::provision::SECRETS_MAX;

/// Serves departments about their secrets.
#[derive(Debug)]
pub(crate) struct Keepers {
    pub desk: Desk,
    pub secrets: Arc<Secrets>,
}

impl Keepers {
    fn read_only(&self) -> Option<v1::Refusal> {
        self.desk.read_only().map(view::read_only)
    }

    /// Works on the store in a thread that may wait for the disk.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Secrets) -> Result<T, SecretsError> + Send + 'static,
    ) -> Result<T, Status> {
        let secrets = Arc::clone(&self.secrets);
        let done = tokio::task::spawn_blocking(move || work(&secrets)).await;
        done.map_err(|_| Status::internal("the store of secrets failed"))?.map_err(|e| failed(&e))
    }
}

#[tonic::async_trait]
impl SecretService for Keepers {
    async fn set_secret(
        &self,
        request: Request<v1::SetSecretRequest>,
    ) -> Result<Response<v1::SetSecretResponse>, Status> {
        let no = |refusal| {
            Ok(Response::new(v1::SetSecretResponse { version: 0, refusal: Some(refusal) }))
        };
        let Asker { scope, wisher: by } = Asker::of(&request);
        if let Some(refusal) = self.read_only() {
            return no(refusal);
        }
        let secret = request.into_inner().secret;
        let mut secret = secret.ok_or_else(|| Status::invalid_argument("secret: is missing"))?;
        let name = name(secret.name.take())?;
        if !scope.covers(name.department.as_str()) {
            return no(not_yours(&name));
        }
        let now = self.desk.read(|view| view.now()).await?;
        let shown = name.clone();
        let set = self.work(move |secrets| secrets.set(&name, &secret.value, now)).await?;
        let version = match set {
            Kept::As(version) => version,
            Kept::Same(version) => return Ok(answer(version)),
            Kept::Refused(refusal) => return no(refusal),
        };
        info!(secret = %shown, version, by = shown_by(by.as_ref()), "secret set");
        Ok(answer(version))
    }

    async fn list_secrets(
        &self,
        request: Request<v1::ListSecretsRequest>,
    ) -> Result<Response<v1::ListSecretsResponse>, Status> {
        let scope = Scope::of(&request);
        let wanted = request.into_inner().department;
        let uses = self.desk.read(|view| view.secret_uses()).await?;
        let of = |view: &v1::SecretView| {
            let department = view.name.as_ref().map(|n| n.department.as_str()).unwrap_or_default();
            scope.covers(department) && (wanted.is_empty() || department == wanted)
        };
        let mut secrets = self.secrets.list();
        secrets.retain(of);
        for view in &mut secrets {
            let name = view.name.clone().and_then(|name| SecretName::try_from(name).ok());
            let users = name.and_then(|name| uses.get(&name));
            view.workloads = users.cloned().unwrap_or_default();
        }
        Ok(Response::new(v1::ListSecretsResponse { secrets }))
    }

    async fn delete_secret(
        &self,
        request: Request<v1::DeleteSecretRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let no = |refusal| {
            let effect = String::new();
            Ok(Response::new(v1::OperationResponse { effect, refusal: Some(refusal) }))
        };
        let Asker { scope, wisher: by } = Asker::of(&request);
        if let Some(refusal) = self.read_only() {
            return no(refusal);
        }
        let name = name(request.into_inner().name)?;
        if !scope.covers(name.department.as_str()) {
            return no(not_yours(&name));
        }
        let uses = self.desk.read(|view| view.secret_uses()).await?;
        if let Some(user) = uses.get(&name).and_then(|users| users.first()) {
            let message = said!(SecretInUse, user, name.to_string());
            return no(view::refused("secret-in-use", &message, &said!(DoDeleteUser)));
        }
        let shown = name.clone();
        let deleted = self.work(move |secrets| secrets.delete(&name)).await?;
        if deleted {
            info!(secret = %shown, by = shown_by(by.as_ref()), "secret deleted");
        }
        let effect = if deleted { "deleted" } else { "unchanged" }.to_owned();
        Ok(Response::new(v1::OperationResponse { effect, refusal: None }))
    }

    async fn rotate_secret_keys(
        &self,
        request: Request<v1::RotateSecretKeysRequest>,
    ) -> Result<Response<v1::RotateSecretKeysResponse>, Status> {
        let by = Asker::of(&request).wisher;
        if let refusal @ Some(_) = self.read_only() {
            return Ok(Response::new(v1::RotateSecretKeysResponse { departments: 0, refusal }));
        }
        let departments = self.work(Secrets::rotate).await?;
        info!(departments, by = shown_by(by.as_ref()), "keys of secrets rotated");
        Ok(Response::new(v1::RotateSecretKeysResponse { departments, refusal: None }))
    }
}

/// Answers an agent: the values of those that instances assigned to its node are given.
pub(crate) async fn hand_out(
    desk: &Desk,
    secrets: &Secrets,
    node: NodeId,
    request: v1::SecretRequest,
) -> Result<v1::SecretAnswer, Status> {
    let v1::SecretRequest { request, secrets: asked } = request;
    if asked.len() > ASKED_MAX {
        let problem = format!("secrets: {} are more than {ASKED_MAX}", asked.len());
        return Err(Status::invalid_argument(problem));
    }
    let given: BTreeSet<SecretName> = desk.read(move |view| view.secrets_on(node)).await?;
    let (mut values, mut missing) = (Vec::new(), Vec::new());
    for asked in asked {
        let name = name(Some(asked))?;
        let revealed = if given.contains(&name) { secrets.reveal(&name) } else { Ok(None) };
        match revealed.map_err(|e| failed(&e))? {
            Some(mut revealed) => values.push(v1::SecretValue {
                name: Some((&name).into()),
                version: revealed.version,
                value: std::mem::take(&mut *revealed.value),
            }),
            None => missing.push((&name).into()),
        }
    }
    Ok(v1::SecretAnswer { request, values, missing })
}

/// Refuses a workload that is given a secret which is not there.
pub(crate) fn check(spec: &WorkloadSpec, secrets: &Secrets) -> Result<(), Box<v1::Refusal>> {
    for secret in &spec.provision.secrets {
        let name =
            SecretName { department: spec.key.department.clone(), name: secret.from.clone() };
        if !secrets.contains(&name) {
            let shown = name.to_string();
            let message = said!(UnknownSecret, &shown);
            let remedy = said!(DoSetSecret, shown);
            return Err(Box::new(view::refused("unknown-secret", &message, &remedy)));
        }
    }
    Ok(())
}

/// Returns the names of a specification's secrets.
pub(crate) fn names(spec: &WorkloadSpec) -> impl Iterator<Item = SecretName> {
    let department = &spec.key.department;
    let named = move |name| SecretName { department: department.clone(), name };
    spec.provision.secrets.iter().map(move |secret| named(secret.from.clone()))
}

/// Which workloads are given a secret.
pub(crate) type Uses = BTreeMap<SecretName, Vec<String>>;

/// Names who wished something, for the log.
fn shown_by(by: Option<&Wisher>) -> String {
    by.map(ToString::to_string).unwrap_or_default()
}

fn answer(version: u32) -> Response<v1::SetSecretResponse> {
    Response::new(v1::SetSecretResponse { version, refusal: None })
}

fn name(wire: Option<v1::SecretName>) -> Result<SecretName, Status> {
    let invalid = |error: ConvertError| Status::invalid_argument(error.to_string());
    let wire = wire.ok_or_else(|| invalid(ConvertError::new("name", "is missing")))?;
    SecretName::try_from(wire).map_err(|e| invalid(e.within("name")))
}

fn not_yours(name: &SecretName) -> v1::Refusal {
    view::refused("not-yours", &said!(NotYours, &name.department), &said!(DoAskOperator))
}

fn failed(error: &SecretsError) -> Status {
    error!(%error, source = ?std::error::Error::source(error), "the store of secrets failed");
    Status::internal(error.to_string())
}
