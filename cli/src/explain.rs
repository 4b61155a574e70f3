//! `tengyun explain`: why here, why not there, and what would help.

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::{Message, heard};
use crate::output::{clean, cores, show, table};
use crate::session::{Session, key_of, path};

/// Explains an instance by its number, or every instance of a workload.
pub(crate) async fn run(session: &Session, name: &str) -> Result<(), Failure> {
    let request = if let Ok(instance) = name.parse() {
        v1::ExplainRequest { instance: Some(instance), key: None }
    } else {
        let workload = session.workload(name).await?;
        v1::ExplainRequest { instance: None, key: Some(key_of(workload.spec.as_ref())) }
    };
    let call = session.call(|mut o| {
        let request = request.clone();
        async move { o.explain(request).await }
    });
    let response = call.await?;
    if let Some(refusal) = response.refusal {
        return Err(refusal.into());
    }
    let text = || {
        let all: Vec<String> = response.explanations.iter().map(|e| one(session, e)).collect();
        all.join("\n")
    };
    let json: Vec<Value> = response.explanations.iter().map(one_json).collect();
    show(session.format, text, &json!(json))
}

fn one(session: &Session, explanation: &v1::Explanation) -> String {
    let key = path(explanation.key.clone().unwrap_or_default());
    let summary = heard(explanation.summary_said.as_ref(), &explanation.summary);
    let (workload, summary) = (clean(&key), clean(&summary));
    let instance = &explanation.instance;
    let head = Message::ExplainHead { instance, workload: &workload, summary: &summary };
    let mut text = head.said() + "\n";
    let expected = crate::get::expected(explanation.expected.as_ref());
    if !expected.is_empty() {
        text = text + &Message::ForecastIs { expected: &expected }.said() + "\n";
    }
    text.push_str(&ahead(explanation));
    if !explanation.nodes.is_empty() {
        let row = |n: &v1::ExplainedNode| {
            let why = heard(n.reason_said.as_ref(), &n.reason);
            let not = || Message::TakesItNot { why: &why }.said();
            let answer = if n.feasible { Message::TakesIt {}.said() } else { not() };
            let peak = format!("{} ({})", cores(n.peak_millicores), cores(n.margin_millicores));
            let filled = format!("{}.{} %", n.score / 10, n.score % 10);
            vec![n.name.clone(), filled, peak, cores(n.bound_millicores), answer]
        };
        let rows: Vec<Vec<String>> = explanation.nodes.iter().map(row).collect();
        text.push_str(&table(
            &session.headings(&["NODE", "FILLED", "PEAK (MARGIN)", "BOUND", "TAKES IT"]),
            &rows,
        ));
    }
    if !explanation.remedy.is_empty() {
        let remedy = clean(&heard(explanation.remedy_said.as_ref(), &explanation.remedy));
        text = text + &Message::ExplainNext { next: &remedy }.said() + "\n";
    }
    text
}

/// Says what is expected within each horizon, and whether its days are known.
fn ahead(explanation: &v1::Explanation) -> String {
    if explanation.horizons.is_empty() {
        return String::new();
    }
    let one = |horizon: &v1::Horizon| {
        let (minutes, hours) = (&(horizon.seconds / 60), &(horizon.seconds / 3600));
        let time = if horizon.seconds.is_multiple_of(3600) {
            Message::AheadHours { hours }.said()
        } else {
            Message::AheadMinutes { minutes }.said()
        };
        let (mean, peak) = (cores(horizon.mean_millicores), cores(horizon.peak_millicores));
        let (time, mean, peak) = (&time, &mean, &peak);
        if horizon.judged {
            Message::AheadIs { time, mean, peak }.said()
        } else {
            Message::AheadIsNew { time, mean, peak }.said()
        }
    };
    let list: Vec<String> = explanation.horizons.iter().map(one).collect();
    let said = Message::ForecastAhead { list: &list.join("; ") }.said() + "\n";
    let seasonal = explanation.seasonal.then(|| Message::ForecastSeasonal {}.said() + "\n");
    said + &seasonal.unwrap_or_default()
}

fn one_json(explanation: &v1::Explanation) -> Value {
    let node = |n: &v1::ExplainedNode| {
        json!({
            "node": n.node, "name": n.name, "feasible": n.feasible, "reason": n.reason,
            "filled_permille": n.score, "peak_millicores": n.peak_millicores,
            "margin_millicores": n.margin_millicores, "bound_millicores": n.bound_millicores,
        })
    };
    let horizon = |h: &v1::Horizon| {
        json!({
            "seconds": h.seconds, "mean_millicores": h.mean_millicores,
            "deviation_millicores": h.deviation_millicores, "peak_millicores": h.peak_millicores,
            "judged": h.judged,
        })
    };
    json!({
        "instance": explanation.instance,
        "workload": path(explanation.key.clone().unwrap_or_default()),
        "summary": explanation.summary,
        "expected": explanation.expected.as_ref().map(crate::get::expected_json),
        "horizons": explanation.horizons.iter().map(horizon).collect::<Vec<_>>(),
        "seasonal": explanation.seasonal,
        "nodes": explanation.nodes.iter().map(node).collect::<Vec<_>>(),
        "remedy": explanation.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_ahead_is_said_with_its_time_and_whether_it_was_measured() {
        let horizon = |seconds, mean_millicores, judged| v1::Horizon {
            seconds,
            mean_millicores,
            deviation_millicores: 10,
            peak_millicores: mean_millicores + 30,
            judged,
        };
        let horizons = vec![horizon(300, 100, true), horizon(86_400, 900, false)];
        let known = v1::Explanation { horizons, seasonal: true, ..v1::Explanation::default() };
        let said = ahead(&known);
        for part in
            ["5 min 0.100, peak 0.130; 24 h 0.900", "not measured over so long", "days of work"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(ahead(&v1::Explanation::default()), "");
        assert_eq!(one_json(&known)["horizons"][1]["seconds"], 86_400);
    }
}
