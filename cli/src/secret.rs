//! `tengyun secret`: a department's secrets. Values go in by standard input or a file, and none comes
//! back.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use tengyun_model::{DepartmentPath, SecretName};
use tengyun_proto::secret::SECRET_BYTES_MAX;
use tengyun_proto::v1;
use zeroize::{Zeroize as _, Zeroizing};

use crate::failure::Failure;
use crate::message::{Message, word};
use crate::output::{note, show, table, time};
use crate::session::Session;

/// What `secret` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    verb: SecretVerb,
}

#[derive(Debug, clap::Subcommand)]
enum SecretVerb {
    /// Keep a value, which is read from standard input; instances get it when they next start
    Set {
        /// The department and the name, such as city/finance/db-password
        #[arg(value_name = "DEPARTMENT/NAME")]
        name: SecretName,
        /// Read the value from this file, as it is
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// List the names of secrets, their versions and who uses them
    List {
        /// Only those of this department
        #[arg(value_name = "DEPARTMENT")]
        department: Option<DepartmentPath>,
    },
    /// Forget a value that no workload uses
    Delete {
        /// The department and the name
        #[arg(value_name = "DEPARTMENT/NAME")]
        name: SecretName,
    },
    /// Make new keys and encrypt every secret with them
    Rotate,
}

/// Manages secrets.
pub(crate) async fn run(session: &Session, args: SecretArgs) -> Result<(), Failure> {
    match args.verb {
        SecretVerb::Set { name, from_file } => set(session, &name, from_file.as_deref()).await,
        SecretVerb::List { department } => list(session, department).await,
        SecretVerb::Delete { name } => delete(session, &name).await,
        SecretVerb::Rotate => rotate(session).await,
    }
}

async fn set(session: &Session, name: &SecretName, file: Option<&Path>) -> Result<(), Failure> {
    let value = value(file)?;
    let request = || {
        let secret = v1::SecretValue { name: Some(name.into()), version: 0, value: value.to_vec() };
        v1::SetSecretRequest { secret: Some(secret) }
    };
    let call = session.call_secrets(|mut secrets| {
        let request = request();
        async move { secrets.set_secret(request).await }
    });
    let response = call.await?;
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let version = response.version;
    let json = json!({"secret": name.to_string(), "version": version});
    show(
        session.format,
        || Message::SecretKept { name: &name, version: &version }.said() + "\n",
        &json,
    )
}

/// Reads a value; one line break that ends standard input is no part of it.
fn value(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // As large as it can be from the start: a buffer that grew would leave copies behind.
    let mut value = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 2));
    let bound = u64::try_from(SECRET_BYTES_MAX + 2).expect("64 KiB fit");
    let read = match file {
        Some(path) => File::open(path).and_then(|file| file.take(bound).read_to_end(&mut value)),
        None if io::stdin().is_terminal() => {
            return Err(Failure::Usage(Message::GiveValue {}.said()));
        }
        None => io::stdin().lock().take(bound).read_to_end(&mut value),
    };
    read.map_err(|error| Failure::Usage(Message::CannotReadValue { error: &error }.said()))?;
    if file.is_none() && value.last() == Some(&b'\n') {
        value.pop();
    }
    if value.is_empty() || value.len() > SECRET_BYTES_MAX {
        value.zeroize();
        let most = &SECRET_BYTES_MAX;
        return Err(Failure::Usage(Message::SecretBytes { most }.said()));
    }
    Ok(value)
}

async fn list(session: &Session, department: Option<DepartmentPath>) -> Result<(), Failure> {
    let department = department.map(|path| path.to_string()).unwrap_or_default();
    let call = session.call_secrets(|mut secrets| {
        let request = v1::ListSecretsRequest { department: department.clone() };
        async move { secrets.list_secrets(request).await }
    });
    let secrets = call.await?.secrets;
    let text = || {
        let headings = session.headings(&["SECRET", "VERSION", "BYTES", "SET", "USED BY"]);
        let row = |secret: &v1::SecretView| {
            vec![
                name_of(secret),
                secret.version.to_string(),
                secret.bytes.to_string(),
                time(secret.set_millis),
                secret.workloads.join(", "),
            ]
        };
        table(&headings, &secrets.iter().map(row).collect::<Vec<_>>())
    };
    let json = |secret: &v1::SecretView| {
        json!({
            "secret": name_of(secret),
            "version": secret.version,
            "bytes": secret.bytes,
            "set_millis": secret.set_millis,
            "workloads": secret.workloads,
        })
    };
    show(session.format, text, &json!(secrets.iter().map(json).collect::<Vec<_>>()))
}

fn name_of(secret: &v1::SecretView) -> String {
    let name = secret.name.clone().unwrap_or_default();
    format!("{}/{}", name.department, name.name)
}

async fn delete(session: &Session, name: &SecretName) -> Result<(), Failure> {
    let call = session.call_secrets(|mut secrets| {
        let request = v1::DeleteSecretRequest { name: Some(name.into()) };
        async move { secrets.delete_secret(request).await }
    });
    let response = call.await?;
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let effect = response.effect;
    let json = json!({"secret": name.to_string(), "effect": effect});
    show(session.format, || format!("{name} {}\n", word(&effect)), &json)
}

async fn rotate(session: &Session) -> Result<(), Failure> {
    let call = session.call_secrets(|mut secrets| async move {
        secrets.rotate_secret_keys(v1::RotateSecretKeysRequest {}).await
    });
    let response = call.await?;
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let departments = response.departments;
    note(&Message::OldKeys {}.said());
    let json = json!({"departments": departments});
    show(session.format, || Message::NewKeys { departments: &departments }.said() + "\n", &json)
}
