//! `tengyun policy`: every knob with unit, default and reason; setting some of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tengyun_engine::policy::KNOBS;
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::output::{show, table};
use crate::session::{Session, operation_id};

/// The largest policy file.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// How much of what was written wrongly is shown.
const SHOWN_CHARS_MAX: usize = 500;
/// Where a reader finds what could be set.
const NEXT: &str = "next: tengyun policy show";

/// What `policy` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyVerb {
    /// Show every knob
    Show,
    /// Set some knobs; the others stay, unless a file replaces all
    Set {
        /// Knobs and their values
        #[arg(value_name = "KNOB=VALUE")]
        values: Vec<String>,
        /// A TOML file of knobs; those it does not name return to their defaults
        #[arg(short, long, value_name = "FILE", conflicts_with = "values")]
        file: Option<PathBuf>,
    },
}

/// Shows or sets the policy.
pub(crate) async fn run(session: &Session, args: PolicyArgs) -> Result<(), Failure> {
    let response = match args.verb {
        PolicyVerb::Show => {
            session.call(|mut o| async move { o.get_policy(v1::GetPolicyRequest {}).await }).await?
        }
        PolicyVerb::Set { values, file } => set(session, values, file.as_deref()).await?,
    };
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let rows = || {
        let headings = session.headings(&["KNOB", "VALUE", "DEFAULT", "UNIT", "REASON"]);
        let row = |k: &v1::Knob| {
            let value = if k.value == k.default_value {
                k.value.to_string()
            } else {
                format!("{} *", k.value)
            };
            vec![
                k.name.clone(),
                value,
                k.default_value.to_string(),
                k.unit.clone(),
                k.reason.clone(),
            ]
        };
        let table = table(&headings, &response.knobs.iter().map(row).collect::<Vec<_>>());
        format!("{table}\npolicy version {}; * differs from the default\n", response.version)
    };
    show(session.format, rows, &policy_json(&response))
}

fn policy_json(response: &v1::PolicyResponse) -> Value {
    let knob = |k: &v1::Knob| {
        json!({
            "name": k.name, "value": k.value, "default": k.default_value, "unit": k.unit,
            "min": k.min, "max": k.max, "reason": k.reason,
        })
    };
    let knobs: Vec<Value> = response.knobs.iter().map(knob).collect();
    json!({"version": response.version, "knobs": knobs})
}

async fn set(
    session: &Session,
    values: Vec<String>,
    file: Option<&Path>,
) -> Result<v1::PolicyResponse, Failure> {
    let (values, replace) = match file {
        Some(file) => (read(file)?, true),
        None if values.is_empty() => {
            let text = format!("name a knob and its value, such as consolidate=0\n{NEXT}");
            return Err(Failure::Usage(text));
        }
        None => (values.iter().map(|v| pair(v)).collect::<Result<_, _>>()?, false),
    };
    let value = |(name, value): (String, u64)| v1::KnobValue { name, value };
    let request = v1::SetPolicyRequest {
        operation_id: operation_id()?,
        values: values.into_iter().map(value).collect(),
        replace,
    };
    session
        .call(|mut o| {
            let request = request.clone();
            async move { o.set_policy(request).await }
        })
        .await
}

fn pair(text: &str) -> Result<(String, u64), Failure> {
    let wrong = || Failure::Usage(format!("{text}: expected KNOB=VALUE with a whole number"));
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    known(name)?;
    Ok((name.to_owned(), value.parse().map_err(|_| wrong())?))
}

fn known(name: &str) -> Result<(), Failure> {
    if KNOBS.iter().any(|k| k.name == name) {
        return Ok(());
    }
    // The begin of a name is nearer to it than a short name that is spelt alike.
    let far = |knob: &str| (!knob.starts_with(name), strsim::osa_distance(knob, name));
    let near = KNOBS.iter().map(|k| k.name).min_by_key(|knob| (far(knob), *knob)).unwrap_or("");
    let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
    let text = format!("no knob is called {shown}; did you mean {near}?\n{NEXT}");
    Err(Failure::Usage(text))
}

fn read(file: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let origin = file.display();
    let wrong = |what: String| Failure::Usage(format!("{origin}: {what}\n{NEXT}"));
    let text = plain(file).map_err(wrong)?;
    parse(&text).map_err(|failure| Failure::Usage(format!("{origin}: {failure}")))
}

/// Reads a plain file: a pipe without a writer would be an empty policy, and a device never ends.
fn plain(file: &Path) -> Result<String, String> {
    let said = |error: io::Error| error.to_string();
    let mut options = File::options();
    let file = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(file).map_err(said)?;
    if !file.metadata().map_err(said)?.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    let bound = u64::try_from(FILE_BYTES_MAX + 1).expect("64 KiB fit");
    let mut text = String::new();
    file.take(bound).read_to_string(&mut text).map_err(said)?;
    if text.len() > FILE_BYTES_MAX {
        return Err("it is larger than 64 KiB".to_owned());
    }
    Ok(text)
}

fn parse(text: &str) -> Result<BTreeMap<String, u64>, Failure> {
    let wrong = |error: toml::de::Error| {
        let shown: String = error.to_string().chars().take(SHOWN_CHARS_MAX).collect();
        Failure::Usage(format!("{}\n{NEXT}", shown.trim_end()))
    };
    let table: toml::Table = text.parse().map_err(wrong)?;
    let entry = |(name, value): (String, toml::Value)| {
        known(&name)?;
        let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
        let number = number
            .ok_or_else(|| Failure::Usage(format!("{name} must be a whole number, 0 or more")))?;
        Ok((name, number))
    };
    table.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_knob_is_named_with_what_would_be_right() {
        let text = |r: Result<_, Failure>| r.map(|_: (String, u64)| ()).unwrap_err().to_string();
        assert_eq!(
            text(pair("consolidat=1")),
            "no knob is called consolidat; did you mean consolidate?\nnext: tengyun policy show"
        );
        assert_eq!(
            text(pair("consolidate")),
            "consolidate: expected KNOB=VALUE with a whole number"
        );
        assert_eq!(
            text(pair("consolidate=-1")),
            "consolidate=-1: expected KNOB=VALUE with a whole number"
        );
        assert_eq!(pair("consolidate=0").unwrap(), ("consolidate".to_owned(), 0));
    }

    #[test]
    fn bad_policy_files_are_refused() {
        for bad in [
            "consolidate = -1",
            "consolidate = 1.5",
            "consolidate = \"1\"",
            "x = 1",
            "= 1",
            "[band]\nfloor = 1",
            "consolidate = 1\nconsolidate = 1",
            "\0",
            "consolidate = 99999999999999999999",
        ] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
        assert_eq!(parse("# all defaults\n").unwrap(), BTreeMap::new());
        assert_eq!(
            parse("band_target = 700").unwrap(),
            BTreeMap::from([("band_target".to_owned(), 700)])
        );
    }
}
