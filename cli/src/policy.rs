//! `tengyun policy`: every knob with unit, default and reason; policies by name and from files; the
//! versions that were in force, and the way back to one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tengyun_lab::policies::{self, NAMED, PolicyFault, PolicyFile};
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::{Message, knob, told, word};
use crate::output::{show, table, time};
use crate::session::{Session, operation_id};

/// The longest label that the scheduler keeps.
const LABEL_CHARS_MAX: usize = 64;

/// What `policy` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyVerb {
    /// List the policies that ship, and which is in force
    List,
    /// Show every knob: those in force, or of a policy
    Show {
        /// default, energy, careful or a TOML file
        #[arg(value_name = "NAME|FILE")]
        policy: Option<String>,
        /// As a TOML file that `policy set` takes
        #[arg(long)]
        toml: bool,
    },
    /// Set a whole policy, or some knobs while the others stay
    Set {
        /// A policy (default, energy, careful or a TOML file), or knobs and their values
        #[arg(value_name = "NAME|FILE|KNOB=VALUE")]
        values: Vec<String>,
        /// A TOML file of knobs; those it does not name return to their defaults
        #[arg(short, long, value_name = "FILE", conflicts_with = "values")]
        file: Option<PathBuf>,
    },
    /// List the versions that can be returned to, the newest first
    History,
    /// Return to the values of a version
    Rollback {
        /// Its number, as `policy history` shows it
        #[arg(value_name = "VERSION")]
        version: u64,
    },
}

/// Shows or sets the policy.
pub(crate) async fn run(session: &Session, args: PolicyArgs) -> Result<(), Failure> {
    match args.verb {
        PolicyVerb::List => list(session).await,
        PolicyVerb::Show { policy: None, toml } => {
            let response = present(session).await?;
            if toml { show_toml(session, &written(&response)) } else { knobs(session, &response) }
        }
        PolicyVerb::Show { policy: Some(text), toml } => {
            let file = PolicyFile::find(&text).map_err(|fault| wrong(&text, &fault))?;
            if toml { show_toml(session, &file) } else { knobs(session, &of_file(&text, &file)) }
        }
        PolicyVerb::Set { values, file } => {
            let request = set_request(&values, file.as_deref())?;
            knobs(session, &send(session, request).await?)
        }
        PolicyVerb::History => history(session).await,
        PolicyVerb::Rollback { version } => {
            let request = v1::SetPolicyRequest {
                operation_id: operation_id()?,
                rollback_to: Some(version),
                ..Default::default()
            };
            knobs(session, &send(session, request).await?)
        }
    }
}

async fn present(session: &Session) -> Result<v1::PolicyResponse, Failure> {
    session.call(|mut o| async move { o.get_policy(v1::GetPolicyRequest {}).await }).await
}

async fn send(
    session: &Session,
    request: v1::SetPolicyRequest,
) -> Result<v1::PolicyResponse, Failure> {
    let call = session.call(|mut o| {
        let request = request.clone();
        async move { o.set_policy(request).await }
    });
    let response = call.await?;
    match response.refusal {
        Some(refusal) => Err(refusal.into()),
        None => Ok(response),
    }
}

/// Shows every knob.
fn knobs(session: &Session, response: &v1::PolicyResponse) -> Result<(), Failure> {
    let rows = || {
        let headings = session.headings(&["KNOB", "VALUE", "DEFAULT", "UNIT", "REASON"]);
        let row = |k: &v1::Knob| {
            let value = if k.value == k.default_value {
                k.value.to_string()
            } else {
                format!("{} *", k.value)
            };
            vec![k.name.clone(), value, k.default_value.to_string(), knob(&k.unit), knob(&k.reason)]
        };
        let table = table(&headings, &response.knobs.iter().map(row).collect::<Vec<_>>());
        let (version, label) = (&response.version, &response.label);
        let which = match (response.version, response.label.is_empty()) {
            (_, true) => Message::PolicyVersion { version },
            (0, false) => Message::PolicyNamed { label },
            (_, false) => Message::PolicyVersionOf { version, label },
        };
        format!("{table}\n{}\n", Message::PolicyDiffers { which: &which.said() }.said())
    };
    show(session.format, rows, &policy_json(response))
}

fn policy_json(response: &v1::PolicyResponse) -> Value {
    let knob = |k: &v1::Knob| {
        json!({
            "name": k.name, "value": k.value, "default": k.default_value, "unit": k.unit,
            "min": k.min, "max": k.max, "reason": k.reason,
        })
    };
    let knobs: Vec<Value> = response.knobs.iter().map(knob).collect();
    json!({"version": response.version, "label": response.label, "knobs": knobs})
}

fn show_toml(session: &Session, file: &PolicyFile) -> Result<(), Failure> {
    let text = file.render();
    show(session.format, || text.clone(), &json!({"toml": text}))
}

/// What is in force, as a file: the knobs that differ from their defaults.
fn written(response: &v1::PolicyResponse) -> PolicyFile {
    let chosen = response.knobs.iter().filter(|k| k.value != k.default_value);
    let about = match response.label.as_str() {
        "" => format!("version {}", response.version),
        label => format!("version {}: {label}", response.version),
    };
    PolicyFile {
        about,
        knobs: chosen.map(|k| (k.name.clone(), k.value)).collect(),
        reasons: BTreeMap::new(),
    }
}

/// A policy as it would be shown if it were in force; its reasons come before the engine's.
fn of_file(name: &str, file: &PolicyFile) -> v1::PolicyResponse {
    let knob = |k: &tengyun_engine::Knob| v1::Knob {
        name: k.name.to_owned(),
        value: file.knobs.get(k.name).copied().unwrap_or(k.default),
        unit: k.unit.to_owned(),
        default_value: k.default,
        reason: file.reasons.get(k.name).map_or(k.reason, String::as_str).to_owned(),
        min: k.min,
        max: k.max,
    };
    v1::PolicyResponse {
        knobs: tengyun_engine::policy::KNOBS.iter().map(knob).collect(),
        label: name.to_owned(),
        ..Default::default()
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let response = present(session).await?;
    let in_force = written(&response).knobs;
    let named = NAMED.iter().filter_map(|(name, _)| Some((*name, policies::named(name)?)));
    let named: Vec<(&str, PolicyFile, bool)> = named
        .map(|(name, mut file)| {
            file.knobs.retain(|knob, value| {
                policies::known(knob).is_ok_and(|known| known.default != *value)
            });
            let is_in_force = file.knobs == in_force;
            (name, file, is_in_force)
        })
        .collect();
    let text = || {
        let headings = session.headings(&["POLICY", "IN FORCE", "KNOBS", "DETAILS"]);
        let row = |(name, file, is): &(&str, PolicyFile, bool)| {
            let is = if *is { word("yes") } else { "-".to_owned() };
            let knobs = file.knobs.len().to_string();
            vec![(*name).to_owned(), is, knobs, knob(&file.about)]
        };
        let table = table(&headings, &named.iter().map(row).collect::<Vec<_>>());
        let label = if response.label.is_empty() { "default" } else { &response.label };
        let in_force = Message::PolicyInForce { version: &response.version, label: &label };
        format!("{table}\n{}\n", in_force.said())
    };
    let one = |(name, file, is): &(&str, PolicyFile, bool)| json!({"name": name, "in_force": is, "about": file.about, "knobs": file.knobs});
    let json = json!({
        "version": response.version, "label": response.label,
        "policies": named.iter().map(one).collect::<Vec<_>>(),
    });
    show(session.format, text, &json)
}

async fn history(session: &Session) -> Result<(), Failure> {
    let request = v1::ListPoliciesRequest {};
    let call = session.call(|mut o| async move { o.list_policies(request).await });
    let mut versions = call.await?.versions;
    versions.reverse();
    let knobs = |kept: &v1::PolicyVersion| -> BTreeMap<String, u64> {
        kept.values.iter().map(|v| (v.name.clone(), v.value)).collect()
    };
    let text = || {
        let headings = session.headings(&["VERSION", "TIME", "POLICY", "KNOBS"]);
        let row = |kept: &v1::PolicyVersion| {
            let one = |(name, value): (String, u64)| format!("{name}={value}");
            let values: Vec<String> = knobs(kept).into_iter().map(one).collect();
            let values = if values.is_empty() { word("nothing") } else { values.join(" ") };
            vec![kept.version.to_string(), time(kept.at_millis), kept.label.clone(), values]
        };
        table(&headings, &versions.iter().map(row).collect::<Vec<_>>())
    };
    let one = |kept: &v1::PolicyVersion| {
        json!({
            "version": kept.version, "at_millis": kept.at_millis, "label": kept.label,
            "values": knobs(kept),
        })
    };
    show(session.format, text, &json!({"versions": versions.iter().map(one).collect::<Vec<_>>()}))
}

/// Reads the command line to its end before anything is sent.
fn set_request(values: &[String], file: Option<&Path>) -> Result<v1::SetPolicyRequest, Failure> {
    let (values, label, replace) = match (file, values) {
        (Some(path), _) => {
            let origin = path.display().to_string();
            let file = PolicyFile::read(path).map_err(|fault| wrong(&origin, &fault))?;
            (file.knobs, origin, true)
        }
        (None, []) => {
            return Err(Failure::Usage(Message::GivePolicy {}.said()));
        }
        (None, [one]) if policies::named(one).is_some() || is_file(one) => {
            let file = PolicyFile::find(one).map_err(|fault| wrong(one, &fault))?;
            (file.knobs, one.clone(), true)
        }
        (None, pairs) => {
            let values = pairs.iter().map(|text| pair(text)).collect::<Result<_, _>>()?;
            (values, pairs.join(" "), false)
        }
    };
    let value = |(name, value): (String, u64)| v1::KnobValue { name, value };
    Ok(v1::SetPolicyRequest {
        operation_id: operation_id()?,
        values: values.into_iter().map(value).collect(),
        replace,
        label: label_of(&label),
        rollback_to: None,
    })
}

/// Says whether a word means a file: a knob's value has an equals sign and no such file is there.
fn is_file(word: &str) -> bool {
    Path::new(word).exists() || (!word.contains('=') && word.contains(['/', '.']))
}

/// Cuts what says where values are from to what is kept: the end of a path says most.
fn label_of(text: &str) -> String {
    let plain: Vec<char> = text.chars().filter(|c| !c.is_control()).collect();
    plain[plain.len().saturating_sub(LABEL_CHARS_MAX)..].iter().collect()
}

fn pair(text: &str) -> Result<(String, u64), Failure> {
    let wrong = || Failure::Usage(Message::KnobExpected { text: &text }.said());
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::Usage(Message::KnobOrPolicyExpected { text: &text }.said()))?;
    policies::known(name).map_err(|fault| named_wrongly(&fault))?;
    Ok((name.to_owned(), value.parse().map_err(|_| wrong())?))
}

fn wrong(origin: &str, fault: &PolicyFault) -> Failure {
    if matches!(fault, PolicyFault::Unknown(_)) {
        return named_wrongly(fault);
    }
    let what = fault_text(fault);
    Failure::Usage(Message::PolicyWrongIn { origin: &origin, what: &what }.said())
}

fn named_wrongly(fault: &PolicyFault) -> Failure {
    Failure::Usage(Message::PolicyWrong { what: &fault_text(fault) }.said())
}

/// Says what is wrong with a policy; what TOML and the system say stays as it came.
fn fault_text(fault: &PolicyFault) -> String {
    match fault {
        PolicyFault::Unknown(name) => Message::PolicyUnknown { name }.said(),
        PolicyFault::UnknownKnob { name, near } => Message::KnobUnknown { name, near }.said(),
        PolicyFault::Number(name) => Message::KnobNumber { name }.said(),
        PolicyFault::Field { knob, field } => Message::KnobField { knob, field }.said(),
        PolicyFault::Unit { knob, is, said } => Message::KnobUnit { knob, is, said }.said(),
        PolicyFault::Default { knob, is, said } => Message::KnobDefault { knob, is, said }.said(),
        PolicyFault::Refused(refusal) => {
            Message::PolicyNotTaken { why: &told(&refusal.said()) }.said()
        }
        PolicyFault::File(_) | PolicyFault::Syntax(_) | PolicyFault::Text(_) => fault.to_string(),
    }
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
            "consolidate: expected KNOB=VALUE with a whole number, or a policy: default, energy, \
             careful or a file"
        );
        assert_eq!(
            text(pair("consolidate=-1")),
            "consolidate=-1: expected KNOB=VALUE with a whole number"
        );
        assert_eq!(pair("consolidate=0").unwrap(), ("consolidate".to_owned(), 0));
    }

    #[test]
    fn a_policy_by_name_replaces_all_and_knobs_replace_some() {
        let request = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            set_request(&words, None).map_err(|failure| failure.to_string())
        };
        let energy = request(&["energy"]).unwrap();
        assert!(energy.replace && energy.label == "energy");
        assert!(
            energy.values.iter().any(|v| (v.name.as_str(), v.value) == ("prefer_low_power", 1))
        );
        let some = request(&["consolidate=0", "band_target=700"]).unwrap();
        assert!(!some.replace && some.values.len() == 2);
        assert_eq!(some.label, "consolidate=0 band_target=700");
        assert!(request(&[]).unwrap_err().contains("default, energy, careful or a file"));
        assert!(request(&["./no-such.toml"]).unwrap_err().contains("no policy is called"));
        assert!(request(&["energy", "consolidate=0"]).unwrap_err().contains("KNOB=VALUE"));
    }

    #[test]
    fn a_label_is_bounded_and_keeps_the_end() {
        let long = format!("/{}/mine.toml", "\u{1b}x".repeat(500));
        let label = label_of(&long);
        assert_eq!(label.chars().count(), LABEL_CHARS_MAX);
        assert!(label.ends_with("x/mine.toml") && !label.contains('\u{1b}'));
    }

    #[test]
    fn what_is_in_force_is_written_as_a_file_that_is_read_as_the_same() {
        let careful = policies::named("careful").unwrap();
        let shown = of_file("careful", &careful);
        let again = PolicyFile::parse(&written(&shown).render()).unwrap();
        assert_eq!(again.knobs, careful.knobs);
    }
}
