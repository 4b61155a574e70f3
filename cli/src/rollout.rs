//! `tengyun rollout`: where a new revision stands, and what became of those before; pause, resume, undo.

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::describe::lines;
use crate::failure::Failure;
use crate::message::{Message, heard, word};
use crate::output::{show, table, time};
use crate::session::{Session, key_of, operation_id, path};

/// What `rollout` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RolloutArgs {
    #[command(subcommand)]
    verb: RolloutVerb,
}

#[derive(Debug, clap::Subcommand)]
enum RolloutVerb {
    /// Say where the rollout of a workload stands
    Status {
        /// The workload
        name: String,
    },
    /// List the revisions that are kept and what became of them
    History {
        /// The workload
        name: String,
    },
    /// Replace nothing more for now
    Pause {
        /// The workload
        name: String,
    },
    /// Go on after a pause or a failure
    Resume {
        /// The workload
        name: String,
    },
    /// Go back to the last good revision, or to another that is kept
    Undo {
        /// The workload
        name: String,
        /// The revision to go to
        #[arg(long, value_name = "REVISION")]
        to: Option<u32>,
    },
}

/// Shows or steers a rollout.
pub(crate) async fn run(session: &Session, args: RolloutArgs) -> Result<(), Failure> {
    match args.verb {
        RolloutVerb::Status { name } => status(session, &name).await,
        RolloutVerb::History { name } => history(session, &name).await,
        RolloutVerb::Pause { name } => steer(session, &name, v1::Steer::Pause, None).await,
        RolloutVerb::Resume { name } => steer(session, &name, v1::Steer::Resume, None).await,
        RolloutVerb::Undo { name, to } => steer(session, &name, v1::Steer::Undo, to).await,
    }
}

async fn look(session: &Session, name: &str) -> Result<(String, v1::GetRolloutResponse), Failure> {
    let key = key_of(session.workload(name).await?.spec.as_ref());
    let request = v1::GetRolloutRequest { key: Some(key.clone()) };
    let view = session.call(|mut o| {
        let request = request.clone();
        async move { o.get_rollout(request).await }
    });
    let view = view.await?;
    match view.refusal {
        Some(refusal) => Err(refusal.into()),
        None => Ok((path(key), view)),
    }
}

async fn status(session: &Session, name: &str) -> Result<(), Failure> {
    let (workload, view) = look(session, name).await?;
    let none = || Message::RolloutNoneGood {}.said();
    let good = if view.good == 0 { none() } else { view.good.to_string() };
    let copies = Message::RolloutCopies {
        wanted: &view.wanted,
        renewed: &view.renewed,
        proven: &view.proven,
        old: &view.old,
    };
    let (failures, limit) = (&view.failures, &view.failure_limit);
    let failures = Message::RolloutFailures { failures, limit };
    let text = || {
        lines(&[
            ("workload", workload.clone()),
            ("rollout", word(&view.stage)),
            ("revision", view.revision.to_string()),
            ("last good", good),
            ("copies", copies.said()),
            ("failures", failures.said()),
            ("standing", heard(view.summary_said.as_ref(), &view.summary)),
            ("next", heard(view.remedy_said.as_ref(), &view.remedy)),
        ])
    };
    let json = json!({
        "workload": workload,
        "stage": view.stage,
        "revision": view.revision,
        "good": view.good,
        "wanted": view.wanted,
        "renewed": view.renewed,
        "proven": view.proven,
        "old": view.old,
        "failures": view.failures,
        "failure_limit": view.failure_limit,
        "summary": view.summary,
        "remedy": view.remedy,
    });
    show(session.format, text, &json)
}

async fn history(session: &Session, name: &str) -> Result<(), Failure> {
    let (workload, view) = look(session, name).await?;
    let row = |revision: &v1::RevisionView| {
        let number = &revision.revision;
        let present = || Message::RevisionPresent { number }.said();
        vec![
            if revision.present { present() } else { number.to_string() },
            time(revision.applied_millis),
            word(&revision.fate),
            revision.instances.to_string(),
            heard(revision.why_said.as_ref(), &revision.why),
        ]
    };
    let rows = || {
        let headings = session.headings(&["REVISION", "APPLIED", "FATE", "INSTANCES", "REASON"]);
        table(&headings, &view.revisions.iter().map(row).collect::<Vec<_>>())
    };
    let json = |revision: &v1::RevisionView| {
        json!({
            "workload": workload,
            "revision": revision.revision,
            "applied_millis": revision.applied_millis,
            "fate": revision.fate,
            "why": revision.why,
            "present": revision.present,
            "instances": revision.instances,
        })
    };
    let json: Vec<Value> = view.revisions.iter().map(json).collect();
    show(session.format, rows, &json!(json))
}

async fn steer(
    session: &Session,
    name: &str,
    steer: v1::Steer,
    revision: Option<u32>,
) -> Result<(), Failure> {
    let key = key_of(session.workload(name).await?.spec.as_ref());
    let request = v1::SteerRolloutRequest {
        operation_id: operation_id()?,
        key: Some(key.clone()),
        steer: steer.into(),
        revision,
    };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.steer_rollout(request).await }
    });
    if let Some(refusal) = response.await?.refusal {
        return Err(refusal.into());
    }
    let workload = path(key);
    let (effect, message) = match steer {
        v1::Steer::Pause => ("paused", Message::RolloutSteeredPause { workload: &workload }),
        v1::Steer::Resume => ("resumed", Message::RolloutSteeredResume { workload: &workload }),
        v1::Steer::Undo | v1::Steer::Unspecified => {
            ("going back", Message::RolloutSteeredUndo { workload: &workload })
        }
    };
    let text = || message.said() + "\n";
    show(session.format, text, &json!({"workload": workload, "effect": effect}))
}
