//! Validation of what an instance is given before it starts.

use std::collections::BTreeSet;

use tengyun_model::provision::{ARTIFACTS_MAX, SECRETS_MAX};
use tengyun_model::{Origin, WorkloadSpec, template};

use super::check::bad;
use crate::command::Refusal;

/// The longest address or path of an artifact; the longest path that Linux takes.
const ORIGIN_BYTES_MAX: usize = 4096;

/// Checks artifacts, templates and secrets; paths stay below where they start, and none is given
/// twice.
pub(super) fn check(spec: &WorkloadSpec) -> Result<(), Refusal> {
    let provision = &spec.provision;
    if provision.artifacts.len() > ARTIFACTS_MAX {
        return Err(bad("artifacts", &format!("at most {ARTIFACTS_MAX}")));
    }
    if provision.secrets.len() > SECRETS_MAX {
        return Err(bad("secrets", &format!("at most {SECRETS_MAX}")));
    }
    let mut taken: BTreeSet<&str> = spec.files.iter().map(|file| file.path.as_str()).collect();
    for artifact in &provision.artifacts {
        check_origin(&artifact.origin)?;
        // An archive may be unpacked into a directory that has other files.
        let place = !artifact.unpack;
        if (place || !artifact.to.is_empty()) && !is_plain(&artifact.to) {
            return Err(bad("artifacts.to", BELOW));
        }
        if place && !taken.insert(&artifact.to) {
            return Err(bad("artifacts.to", "different for each file"));
        }
    }
    for file in &provision.templates {
        if !is_plain(&file.path) || !taken.insert(&file.path) {
            return Err(bad("templates.path", BELOW));
        }
        if let Err(error) = template::check(&file.content, spec) {
            return Err(bad("templates", &format!("right in {}: {error}", file.path)));
        }
    }
    let mut files = BTreeSet::new();
    for secret in &provision.secrets {
        if !is_plain(&secret.path) || !files.insert(&secret.path) {
            return Err(bad("secrets.path", BELOW));
        }
    }
    Ok(())
}

const BELOW: &str = "relative, below where it starts, without .., different for each file";

fn check_origin(origin: &Origin) -> Result<(), Refusal> {
    let (field, text, begins) = match origin {
        Origin::Url(url) => {
            let known = url.starts_with("https://") || url.starts_with("http://");
            ("artifacts.url", url, known)
        }
        Origin::Path(path) => ("artifacts.path", path, path.starts_with('/')),
    };
    let plain = text.len() <= ORIGIN_BYTES_MAX && !text.contains(char::is_control);
    if begins && plain {
        return Ok(());
    }
    Err(bad(field, "an address with http:// or https://, or an absolute path on the node"))
}

fn is_plain(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
