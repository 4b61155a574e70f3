//! `tengyun get runs`: the runs of cron workloads that are kept.

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::get::within;
use crate::message::{heard, word};
use crate::output::{show, table, time};
use crate::session::{Session, path};

/// Lists the kept runs, of a department or of all.
pub(crate) async fn list(session: &Session, department: Option<&str>) -> Result<(), Failure> {
    let request = v1::ListRunsRequest { key: None };
    let list = session.call(|mut o| {
        let request = request.clone();
        async move { o.list_runs(request).await }
    });
    let mut runs = list.await?.runs;
    runs.retain(|run| within(&run.key.clone().unwrap_or_default().department, department));
    let json: Vec<Value> = runs.iter().map(run_json).collect();
    show(session.format, || run_table(session, &runs), &json!(json))
}

/// Makes the table of runs.
fn run_table(session: &Session, runs: &[v1::RunView]) -> String {
    let headings = session.headings(&[
        "WORKLOAD",
        "RUN",
        "SCHEDULED",
        "OUTCOME",
        "ENDED",
        "INSTANCE",
        "DETAILS",
    ]);
    let dash = || "-".to_owned();
    let row = |run: &v1::RunView| {
        vec![
            path(run.key.clone().unwrap_or_default()),
            run.number.to_string(),
            time(run.scheduled_millis),
            word(&run.outcome),
            if run.ended_millis == 0 { dash() } else { time(run.ended_millis) },
            run.instance.map_or_else(dash, |instance| instance.to_string()),
            heard(run.why_said.as_ref(), &run.why),
        ]
    };
    table(&headings, &runs.iter().map(row).collect::<Vec<_>>())
}

fn run_json(run: &v1::RunView) -> Value {
    json!({
        "workload": path(run.key.clone().unwrap_or_default()),
        "run": run.number,
        "scheduled_millis": run.scheduled_millis,
        "began_millis": run.began_millis,
        "ended_millis": run.ended_millis,
        "outcome": run.outcome,
        "instance": run.instance,
        "why": run.why,
    })
}
