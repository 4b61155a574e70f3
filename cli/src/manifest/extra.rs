//! Sections whose features come later: fully typed and checked for their shape, so that a manifest
//! that uses them will not need to change. Nothing here reaches a specification yet.

use super::amount::{Count, Seconds, Size};
use super::decode::{Decode, Place};
use super::fault::Faults;
use super::leaf::{Line, NameText, RelativePath, TimeOfDay, Word};

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
    /// A health check of exactly one sort.
    Health(HealthFields), check_health
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
