//! Sections whose features come later: fully typed and checked for their shape, so that a manifest
//! that uses them will not need to change. Nothing here reaches a specification yet.

use super::amount::{Count, Seconds, Size};
use super::decode::{Decode, Place};
use super::fault::Faults;
use super::leaf::{Flag, Line, Mode, NameText, RelativePath, Sha256, Text, Url, Word};

const CLEAR_SECRET: &str = "a secret is never written in a manifest: list references \
such as {from: db-password, path: db-password}";

section! {
    /// A file fetched to the node before the start: from `url` or `path`, one of the two.
    ArtifactFields {
        /// Where it is fetched from.
        url: Option<Url>;
        /// Where it is on the node.
        path: Option<Line>;
        /// The digest of its bytes; anything else is refused.
        sha256: Sha256;
        /// Where it is put, below the working directory.
        to: Option<RelativePath>;
        /// Whether it is an archive to unpack.
        unpack: Flag = false;
    }
}

section! {
    /// A file that is filled in at the start: from `content` or `source`, one of the two.
    Template {
        /// Where it is put, below the working directory.
        path: RelativePath;
        /// Its text.
        content: Option<Text>;
        /// The file that holds its text, relative to the manifest.
        source: Option<RelativePath>;
        /// Its permission bits.
        mode: Mode = "0644";
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

section! {
    /// A directory that stays on the node and keeps its instance there.
    Volume {
        /// What it is called.
        name: NameText;
        /// Where it appears, below the working directory.
        path: RelativePath;
        /// Its space.
        size: Option<Size>;
    }
}

section! {
    /// How one learns that an instance is healthy: `http`, `tcp` or `command`, one of the three.
    HealthFields {
        /// A request that must be answered.
        http: Option<HttpCheck>;
        /// A port that must accept connections.
        tcp: Option<TcpCheck>;
        /// A command that must end with 0.
        command: Option<Vec<Word>>;
        /// The time between two checks, in seconds.
        interval_s: Seconds = 10;
        /// How long an answer may take, in seconds.
        timeout_s: Seconds = 5;
        /// After how many failures in a row the instance is not healthy.
        failures: Count = 3;
    }
}

section! {
    /// An HTTP request.
    HttpCheck {
        /// The name of the port.
        port: NameText;
        /// The path asked for.
        path: Line = "/";
    }
}

section! {
    /// A TCP connection.
    TcpCheck {
        /// The name of the port.
        port: NameText;
    }
}

/// Wraps a section that has a rule beyond its fields.
macro_rules! ruled {
    ($(#[doc = $about:literal])+ $name:ident($fields:ty), $check:path) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(super) struct $name;

        impl Decode for $name {
            fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
                $check(place, faults).then_some(Self)
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
    /// A health check of exactly one sort.
    Health(HealthFields), check_health
}

ruled! {
    /// References to secrets; a map of clear ones is refused with the way out.
    Secrets(Vec<Secret>), check_secrets
}

ruled! {
    /// A reference to a secret; a clear one is refused with the way out.
    Secret(SecretFields), check_secret
}

fn check_artifact(place: &Place<'_>, faults: &mut Faults) -> bool {
    let Some(artifact) = ArtifactFields::decode(place, faults) else { return false };
    let one = artifact.url.is_some() != artifact.path.is_some();
    if !one {
        place.fault("must have either url or path", faults);
    }
    one
}

fn check_health(place: &Place<'_>, faults: &mut Faults) -> bool {
    let Some(health) = HealthFields::decode(place, faults) else { return false };
    let sorts = [health.http.is_some(), health.tcp.is_some(), health.command.is_some()];
    let one = sorts.iter().filter(|given| **given).count() == 1;
    if !one {
        place.fault("must have exactly one of http, tcp and command", faults);
    }
    one
}

fn check_secrets(place: &Place<'_>, faults: &mut Faults) -> bool {
    if place.is_list() {
        return Vec::<Secret>::decode(place, faults).is_some();
    }
    place.fault(CLEAR_SECRET, faults);
    false
}

fn check_secret(place: &Place<'_>, faults: &mut Faults) -> bool {
    let clear = ["value", "content", "data", "stringData"].into_iter().find(|key| place.has(key));
    if let Some(key) = clear {
        place.fault_at(&[key], CLEAR_SECRET, faults);
        return false;
    }
    if place.is_map() {
        return SecretFields::decode(place, faults).is_some();
    }
    place.fault(CLEAR_SECRET, faults);
    false
}
