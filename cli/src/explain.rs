//! `tengyun explain`: why here, why not there, and what would help.

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::{Message, heard};
use crate::output::{clean, cores, show, table, time};
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
    let accuracy = crate::get::accuracy(explanation.accuracy.as_ref());
    if !accuracy.is_empty() {
        text = text + &Message::ForecastWas { accuracy: &accuracy }.said() + "\n";
    }
    text.push_str(&decided(explanation));
    text.push_str(&excluded(session, &explanation.excluded));
    let counted = crate::get::counted(explanation.memory.as_ref());
    if !counted.is_empty() {
        text = text + &counted + "\n";
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

/// Says by which figures it got its node; or that they are not known any more.
fn decided(explanation: &v1::Explanation) -> String {
    let Some(of) = &explanation.decision else {
        let none = || Message::DecisionNone {}.said() + "\n";
        return if explanation.placed { none() } else { String::new() };
    };
    let (at, node, from) = (time(of.at_millis), clean(&of.to), clean(&of.from));
    let expected = crate::get::expected(of.expected.as_ref());
    let why = heard(of.reason_said.as_ref(), &of.reason);
    let (at, node, expected) = (&at, &node, &expected);
    let head = match (of.from.is_empty(), of.reason.is_empty()) {
        (true, true) => Message::DecisionPlaced { time: at, node, expected },
        (true, false) => Message::DecisionWished { time: at, node, why: &why, expected },
        (false, _) => Message::DecisionMoved { time: at, from: &from, node, why: &why, expected },
    };
    let (before, after) = (cores(of.before_millicores), cores(of.after_millicores));
    let bound = &cores(of.bound_millicores);
    let peak = Message::DecisionPeak { node, before: &before, after: &after, bound };
    let mut lines = vec![head.said(), peak.said()];
    if of.left_before_millicores > 0 {
        let (before, after) = (cores(of.left_before_millicores), cores(of.left_after_millicores));
        let left = Message::DecisionLeft { node: &from, before: &before, after: &after };
        lines.push(left.said());
    }
    let used = &of.nodes_in_use;
    lines.push(match &of.nodes_needed {
        Some(needed) => Message::DecisionBound { used, needed }.said(),
        None => Message::DecisionFleet { used }.said(),
    });
    if !of.runner_up.is_empty() {
        let (node, peak) = (clean(&of.runner_up), cores(of.runner_up_millicores));
        let bound = &cores(of.runner_up_bound_millicores);
        lines.push(Message::DecisionOther { node: &node, peak: &peak, bound }.said());
    }
    lines.push(Message::CalculatedNow {}.said());
    lines.join("\n") + "\n"
}

/// Counts the nodes by what keeps it from them.
fn excluded(session: &Session, all: &[v1::ExcludedView]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let row = |of: &v1::ExcludedView| {
        let why = heard(of.reason_said.as_ref(), &of.reason);
        vec![of.nodes.to_string(), why, of.nearest.clone()]
    };
    let headings = session.headings(&["NODES", "WHY NOT", "NEAREST"]);
    table(&headings, &all.iter().map(row).collect::<Vec<_>>())
}

fn decision_json(of: &v1::DecisionView) -> Value {
    json!({
        "at_millis": of.at_millis, "from": of.from, "to": of.to, "reason": of.reason,
        "expected": of.expected.as_ref().map(crate::get::expected_json),
        "before_millicores": of.before_millicores, "after_millicores": of.after_millicores,
        "bound_millicores": of.bound_millicores,
        "left_before_millicores": of.left_before_millicores,
        "left_after_millicores": of.left_after_millicores,
        "nodes_in_use": of.nodes_in_use, "nodes_needed": of.nodes_needed,
        "runner_up": of.runner_up, "runner_up_millicores": of.runner_up_millicores,
        "runner_up_bound_millicores": of.runner_up_bound_millicores,
    })
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
    let excluded = |of: &v1::ExcludedView| json!({"nodes": of.nodes, "nearest": of.nearest, "reason": of.reason});
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
        "accuracy": explanation.accuracy.as_ref().map(crate::get::accuracy_json),
        "placed": explanation.placed,
        "decision": explanation.decision.as_ref().map(decision_json),
        "excluded": explanation.excluded.iter().map(excluded).collect::<Vec<_>>(),
        "memory": explanation.memory.as_ref().map(crate::get::counted_json),
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
        for part in [
            "5 min 0.100 cores, peak 0.130 cores; 24 h 0.900",
            "not measured over so long",
            "days of work",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(ahead(&v1::Explanation::default()), "");
        assert_eq!(one_json(&known)["horizons"][1]["seconds"], 86_400);
    }

    #[test]
    fn who_placed_and_who_moved_an_instance_is_said() {
        let said = |from: &str, reason: &str| {
            let (from, reason) = (from.to_owned(), reason.to_owned());
            let decision =
                v1::DecisionView { from, to: "n2".to_owned(), reason, ..Default::default() };
            let decision = Some(decision);
            decided(&v1::Explanation { decision, placed: true, ..v1::Explanation::default() })
        };
        assert!(said("", "").contains("placed on n2; expected"), "{}", said("", ""));
        let wished = said("", "an operator said so");
        assert!(wished.contains("placed on n2, because an operator said so;"), "{wished}");
        let moved = said("n1", "an operator said so");
        assert!(moved.contains("moved from n1 to n2, because an operator said so;"), "{moved}");
    }
}
