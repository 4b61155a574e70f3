//! A session: the connection to the scheduler, and what names mean there.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tengyun_model::{OperationId, WorkloadKey};
use tengyun_proto::identity::Identity;
use tengyun_proto::v1::identity_service_client::IdentityServiceClient;
use tengyun_proto::v1::operator_service_client::OperatorServiceClient;
use tengyun_proto::v1::secret_service_client::SecretServiceClient;
use tengyun_proto::{join, limits, tls, uds, v1};
use tonic::transport::Channel;

use crate::failure::{Failure, chain};
use crate::message::Message;
use crate::output::{Format, note, now_millis};
use crate::text::{Language, heading};

/// How often a call that may have been lost is made again.
const ATTEMPTS_MAX: u32 = 5;
/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// The client of the operator API.
pub type Operator = OperatorServiceClient<Channel>;
/// The client of the identity API.
pub type Identities = IdentityServiceClient<Channel>;

/// The client of the API of secrets.
pub type SecretKeepers = SecretServiceClient<Channel>;

/// What every command knows.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where the scheduler answers.
    pub socket: PathBuf,
    /// The identity to speak with instead, to a scheduler on another machine.
    pub identity: Option<PathBuf>,
    /// How results are shown.
    pub format: Format,
    /// What language headings are in.
    pub language: Language,
}

impl Session {
    /// Connects to the scheduler.
    pub async fn operator(&self) -> Result<Operator, Failure> {
        Ok(limits::operator_client(self.channel().await?))
    }

    /// Opens the connection.
    pub(crate) async fn channel(&self) -> Result<Channel, Failure> {
        match &self.identity {
            Some(path) => {
                let identity = Identity::load(path)?;
                let channel = tls::connect(&identity).await?;
                renew(channel.clone(), &identity, path).await;
                Ok(channel)
            }
            None => Ok(uds::connect(&self.socket).await?),
        }
    }

    /// Makes a call about identities that is safe to repeat until it is answered.
    pub async fn call_identity<T, F>(&self, call: impl Fn(Identities) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.attempt(|channel| call(limits::identity_client(channel))).await
    }

    /// Makes a call about secrets that is safe to repeat until it is answered.
    pub async fn call_secrets<T, F>(&self, call: impl Fn(SecretKeepers) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.attempt(|channel| call(limits::secret_client(channel))).await
    }

    /// Makes a call that is safe to repeat until it is answered.
    pub async fn call<T, F>(&self, call: impl Fn(Operator) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.attempt(|channel| call(limits::operator_client(channel))).await
    }

    async fn attempt<T, F>(&self, call: impl Fn(Channel) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            // A scheduler that is not there at first is not waited for; one that was lost is.
            let failure = match self.channel().await {
                Ok(channel) => match call(channel).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) => status.into(),
                },
                Err(failure) if attempt == 1 => return Err(failure),
                Err(failure) => failure,
            };
            if attempt >= ATTEMPTS_MAX || !matches!(failure, Failure::Unreachable(_)) {
                return Err(failure);
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    /// Says how the scheduler is reached.
    pub fn reached(&self) -> (&'static str, String) {
        match &self.identity {
            Some(path) => ("identity", path.display().to_string()),
            None => ("socket", self.socket.display().to_string()),
        }
    }

    /// Returns the headings of a table in the language of the session.
    pub fn headings(&self, english: &[&'static str]) -> Vec<&'static str> {
        english.iter().map(|h| heading(self.language, h)).collect()
    }

    /// Lists the workloads.
    pub async fn workloads(&self) -> Result<Vec<v1::WorkloadView>, Failure> {
        let request = v1::ListWorkloadsRequest { department: String::new() };
        let list = self.call(|mut o| {
            let request = request.clone();
            async move { o.list_workloads(request).await }
        });
        Ok(list.await?.workloads)
    }

    /// Lists the instances of a workload, or of all.
    pub async fn instances(
        &self,
        key: Option<v1::WorkloadKey>,
    ) -> Result<v1::ListInstancesResponse, Failure> {
        let request = v1::ListInstancesRequest { key, all: true };
        self.call(|mut o| {
            let request = request.clone();
            async move { o.list_instances(request).await }
        })
        .await
    }

    /// Finds the workload that a name means: its full path, or the end of exactly one.
    pub async fn workload(&self, name: &str) -> Result<v1::WorkloadView, Failure> {
        let views = self.workloads().await?;
        let keys: Vec<String> = views.iter().map(|v| path(key_of(v.spec.as_ref()))).collect();
        let found = find(&keys, name)?;
        Ok(views.into_iter().nth(found).expect("the index is of this list"))
    }
}

/// Renews a person's certificate whose time is half over; what goes wrong is tried again by the next
/// command.
async fn renew(channel: Channel, identity: &Identity, path: &Path) {
    let (from, until) = (identity.certificate.from, identity.certificate.until);
    let lived = now_millis().saturating_sub(from.millis());
    if lived < until.since(from).get() / 2 {
        return;
    }
    let renewed = join::renew(channel, identity).await;
    if let Err(error) = renewed.and_then(|renewed| Ok(renewed.save(path)?)) {
        note(&Message::NotRenewed { error: &chain(&error) }.said());
    }
}

/// Returns the index of the path that a name means.
fn find(paths: &[String], name: &str) -> Result<usize, Failure> {
    if let Some(exact) = paths.iter().position(|p| p == name) {
        return Ok(exact);
    }
    let ends = |p: &String| p.strip_suffix(name).is_some_and(|rest| rest.ends_with('/'));
    let found: Vec<usize> = (0..paths.len()).filter(|i| ends(&paths[*i])).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::Refused(unknown(paths, name))),
        several => {
            let list: Vec<&str> = several.iter().map(|i| paths[*i].as_str()).collect();
            let list = list.join("\n  ");
            let several = Message::SeveralWorkloads { name: &name, list: &list };
            Err(Failure::Usage(several.said()))
        }
    }
}

fn unknown(paths: &[String], name: &str) -> String {
    let last = |p: &str| p.rsplit('/').next().unwrap_or_default().to_owned();
    let near = paths
        .iter()
        .map(|p| (strsim::osa_distance(&last(p), &last(name)), p))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    if let Some((_, near)) = near {
        return Message::NoWorkloadNear { name: &name, near }.said();
    }
    let what = Message::NoWorkload { name: &name }.said();
    Message::Next { what: &what, next: &Message::SeeWorkloads {}.said() }.said()
}

/// Returns the key in a specification; an empty one where it is missing.
pub fn key_of(spec: Option<&v1::WorkloadSpec>) -> v1::WorkloadKey {
    spec.and_then(|s| s.key.clone()).unwrap_or_default()
}

/// Returns the path of a key.
pub fn path(key: v1::WorkloadKey) -> String {
    WorkloadKey::try_from(key).map(|k| k.to_string()).unwrap_or_default()
}

/// Makes the id of a new wish.
pub fn operation_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).map_err(|error| {
        let what = &"/dev/urandom";
        Failure::Internal(Message::CannotRead { what, error: &error }.said())
    })?;
    Ok(OperationId::new(u128::from_le_bytes(bytes)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_full_path_or_the_end_of_one() {
        let paths = ["city/a/app/api", "city/b/app/api", "city/b/app/web"].map(str::to_owned);
        assert_eq!(find(&paths, "city/a/app/api").unwrap(), 0);
        assert_eq!(find(&paths, "web").unwrap(), 2);
        assert_eq!(find(&paths, "b/app/api").unwrap(), 1);
        let several = find(&paths, "api").unwrap_err().to_string();
        assert!(several.contains("city/a/app/api") && several.contains("city/b/app/api"));
        assert!(find(&paths, "ap").is_err(), "a part of a word is no name");
        let near = find(&paths, "wbe").unwrap_err().to_string();
        assert_eq!(near, "no workload is called wbe; did you mean city/b/app/web?");
    }

    #[test]
    fn two_operations_differ() {
        assert_ne!(operation_id().unwrap(), operation_id().unwrap());
    }
}
