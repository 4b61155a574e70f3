//! What an instance is given before it starts: artifacts, templates, references to secrets.

use std::collections::BTreeSet;

use tengyun_model::provision::{ARTIFACTS_MAX, SECRETS_MAX};
use tengyun_model::{
    Artifact as ModelArtifact, Digest, Origin, Provision, SecretSpec, WorkloadSpec,
};
use tengyun_model::{FileSpec, template};

use super::decode::{Decode, Place};
use super::fault::{Faults, shown};
use super::leaf::{Flag, Line, Mode, NameText, RelativePath, Sha256, Url};
use super::sentence::Sentence;

section! {
    /// A file fetched to the node before the start: from `url` or `path`, one of the two.
    ArtifactFields {
        /// Where it is fetched from.
        url: Option<Url>;
        /// Where it is on the node.
        path: Option<Line>;
        /// The digest of its bytes; anything else is refused.
        sha256: Sha256;
        /// Where it is put, below the working directory; left out: an archive is unpacked there, and a
        /// file keeps its name.
        to: Option<RelativePath>;
        /// The permission bits of a file that is not unpacked.
        mode: Mode = "0755";
        /// Whether it is a tar or tar.gz archive to unpack.
        unpack: Flag = false;
    }
}

section! {
    /// A secret of the department, by reference: its value is never written in a manifest.
    SecretFields {
        /// Its name in the department's store of secrets.
        from: NameText;
        /// The file it is put into, below the directory of the instance's secrets.
        path: RelativePath;
        /// The permission bits of that file.
        mode: Mode = "0400";
    }
}

/// Wraps a section that has a rule beyond its fields.
macro_rules! ruled {
    ($(#[doc = $about:literal])+ $name:ident($fields:ty), $check:path) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(super) struct $name($fields);

        impl Decode for $name {
            fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
                $check(place, faults).map(Self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$fields as schemars::JsonSchema>::json_schema(generator)
            }
        }
    };
}

ruled! {
    /// An artifact that has exactly one origin.
    Artifact(ArtifactFields), check_artifact
}

ruled! {
    /// References to secrets; a map of clear ones is refused with the way out.
    Secrets(Vec<Secret>), check_secrets
}

ruled! {
    /// A reference to a secret; a clear one is refused with the way out.
    Secret(SecretFields), check_secret
}

fn check_artifact(place: &Place<'_>, faults: &mut Faults) -> Option<ArtifactFields> {
    let artifact = ArtifactFields::decode(place, faults)?;
    if artifact.url.is_some() == artifact.path.is_some() {
        place.fault(Sentence::UrlOrPath {}, faults);
        return None;
    }
    if artifact.url.as_ref().is_some_and(|url| has_user(&url.0)) {
        place.fault_at(&["url"], Sentence::NoUserInUrl {}, faults);
        return None;
    }
    if artifact.path.as_ref().is_some_and(|path| !path.0.starts_with('/')) {
        place.fault_at(&["path"], Sentence::PathOnNode {}, faults);
        return None;
    }
    if place_of(&artifact).is_none() {
        place.fault_at(&["to"], Sentence::MissingTo {}, faults);
        return None;
    }
    Some(artifact)
}

/// Says whether an address has something before an @ in its authority.
fn has_user(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    authority.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// Says where an artifact is put; `None` when nothing says so.
fn place_of(artifact: &ArtifactFields) -> Option<String> {
    if let Some(to) = &artifact.to {
        return Some(to.0.clone());
    }
    if artifact.unpack.0 {
        return Some(String::new());
    }
    let url = artifact.url.as_ref().map(|url| url.0.as_str());
    let path = match url {
        Some(url) => url.split_once("://")?.1.split(['?', '#']).next()?.split_once('/')?.1,
        None => artifact.path.as_ref()?.0.as_str(),
    };
    let name = path.rsplit('/').next()?;
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

fn check_secrets(place: &Place<'_>, faults: &mut Faults) -> Option<Vec<Secret>> {
    if place.is_list() {
        return Vec::<Secret>::decode(place, faults);
    }
    place.fault(Sentence::ClearSecret {}, faults);
    None
}

fn check_secret(place: &Place<'_>, faults: &mut Faults) -> Option<SecretFields> {
    let clear = ["value", "content", "data", "stringData"].into_iter().find(|key| place.has(key));
    if let Some(key) = clear {
        place.fault_at(&[key], Sentence::ClearSecret {}, faults);
        return None;
    }
    if place.is_map() {
        return SecretFields::decode(place, faults);
    }
    place.fault(Sentence::ClearSecret {}, faults);
    None
}

/// Makes what an instance is given.
pub(super) fn provision(
    artifacts: Vec<Artifact>,
    templates: Vec<FileSpec>,
    secrets: Option<Secrets>,
) -> Provision {
    let secrets = secrets.map(|Secrets(list)| list).unwrap_or_default();
    Provision {
        artifacts: artifacts.into_iter().filter_map(|Artifact(fields)| artifact(&fields)).collect(),
        templates,
        secrets: secrets.into_iter().map(|Secret(fields)| secret(fields)).collect(),
    }
}

fn artifact(fields: &ArtifactFields) -> Option<ModelArtifact> {
    let origin = match (&fields.url, &fields.path) {
        (Some(url), _) => Origin::Url(url.0.clone()),
        (None, Some(path)) => Origin::Path(path.0.clone()),
        (None, None) => return None,
    };
    let byte = |at: usize| u8::from_str_radix(fields.sha256.0.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
    Some(ModelArtifact {
        origin,
        digest: Digest::from_slice(&bytes?)?,
        to: place_of(fields)?,
        mode: fields.mode.0,
        unpack: fields.unpack.0,
    })
}

fn secret(fields: SecretFields) -> SecretSpec {
    SecretSpec { from: fields.from.0, path: fields.path.0, mode: fields.mode.0 }
}

/// Checks what no field can say of itself.
pub(super) fn check(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let provision = &spec.provision;
    for (field, count, most) in [
        ("artifacts", provision.artifacts.len(), ARTIFACTS_MAX),
        ("secrets", provision.secrets.len(), SECRETS_MAX),
    ] {
        if count > most {
            place.fault_at(&[field], Sentence::TooManyItems { count, most }, faults);
        }
    }
    for (index, file) in provision.templates.iter().enumerate() {
        if let Err(error) = template::check(&file.content, spec) {
            let message = Sentence::of_template(error);
            place.fault_at(&["templates", &index.to_string()], message, faults);
        }
    }
    let files = spec.files.iter().map(|file| ("files", file.path.as_str()));
    let artifacts = provision.artifacts.iter().filter(|artifact| !artifact.unpack);
    let artifacts = artifacts.map(|artifact| ("artifacts", artifact.to.as_str()));
    let templates = provision.templates.iter().map(|file| ("templates", file.path.as_str()));
    refuse_twice(files.chain(artifacts).chain(templates), place, faults);
    refuse_twice(provision.secrets.iter().map(|s| ("secrets", s.path.as_str())), place, faults);
}

/// Refuses a path in one list that another list, or the same one, has already.
fn refuse_twice<'a>(
    paths: impl Iterator<Item = (&'static str, &'a str)>,
    place: &Place<'_>,
    faults: &mut Faults,
) {
    let mut seen = BTreeSet::new();
    for (field, path) in paths {
        // Within the files this is said where it is.
        if !seen.insert(path) && field != "files" {
            let message = Sentence::PathTwice { path: shown(path) };
            place.fault_at(&[field], message, faults);
        }
    }
}
