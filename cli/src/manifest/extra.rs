//! Sections whose features come later: fully typed and checked for their shape, so that a manifest
//! that uses them will not need to change. Nothing here reaches a specification yet.

use super::decode::{Decode, Place};
use super::fault::Faults;
use super::leaf::{Flag, Line, Mode, NameText, RelativePath, Sha256, Text, TimeOfDay, Url};

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
    /// When instances may be moved.
    Window {
        /// The days; every day when left out.
        days: Option<Vec<Day>>;
        /// Its begin.
        from: TimeOfDay;
        /// Its end; before its begin means on the next day.
        to: TimeOfDay;
        /// The time zone, such as Asia/Shanghai; the scheduler's when left out.
        time_zone: Option<Line>;
    }
}

section! {
    /// When a cron workload starts.
    Schedule {
        /// Minute, hour, day, month and day of the week, such as "30 2 * * mon-fri".
        cron: CronText;
        /// The time zone, such as Asia/Shanghai; the scheduler's when left out.
        time_zone: Option<Line>;
    }
}

words! {
    /// A day of the week.
    Day(&'static str) {
        "mon" = "mon";
        "tue" = "tue";
        "wed" = "wed";
        "thu" = "thu";
        "fri" = "fri";
        "sat" = "sat";
        "sun" = "sun";
    }
}

leaf! {
    /// The five fields of a cron table.
    CronText(String) {
        "five fields in quotes such as \"30 2 * * mon-fri\"",
        {"title": "cron fields", "type": "string", "pattern": "^[0-9a-z*,/-]+( +[0-9a-z*,/-]+){4}$"},
        |scalar| {
            let text = super::leaf::text(scalar)?;
            let allowed = |c: char| {
                c.is_ascii_digit() || c.is_ascii_lowercase() || matches!(c, '*' | ',' | '/' | '-' | ' ')
            };
            let fields = text.split_ascii_whitespace().count();
            (fields == 5 && text.chars().all(allowed)).then(|| text.to_owned())
        }
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
