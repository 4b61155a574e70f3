//! `tengyun events` and `tengyun history`: what happened.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::{Message, heard, kind};
use crate::output::{Format, clean, now_millis, print, show, table, time};
use crate::session::Session;

/// How often `--follow` asks for more.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What `events` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Go on until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Only events of this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only events of this workload
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Only events since a moment (2026-01-31T08:00:00+08:00) or for a time (90s, 15m, 2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,
    /// Only what this person wished, or this user of the scheduler's machine (uid:0)
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// At most the newest so many
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    tail: u32,
}

/// Shows what happened, and what happens.
pub(crate) async fn run(session: &Session, args: EventsArgs) -> Result<(), Failure> {
    let mut request = v1::ListEventsRequest {
        after: 0,
        node: args.node.unwrap_or_default(),
        workload: args.workload.unwrap_or_default(),
        since_millis: args.since.unwrap_or_default(),
        limit: args.tail,
        by: args.by.unwrap_or_default(),
    };
    let list = ask(session, &request).await?;
    if !args.follow {
        return show_all(session, &list.events);
    }
    print_all(session, &list.events)?;
    request.after = list.last;
    request.limit = 0;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let list = ask(session, &request).await?;
        print_all(session, &list.events)?;
        // A scheduler whose list was lost counts anew.
        request.after = list.last;
    }
}

/// Shows all that is kept of a workload, a deleted one too.
pub(crate) async fn history(session: &Session, name: &str) -> Result<(), Failure> {
    let workload = name.to_owned();
    let request = v1::ListEventsRequest { workload, ..v1::ListEventsRequest::default() };
    let list = ask(session, &request).await?;
    if list.events.is_empty() {
        let name = clean(name);
        let what = Message::NothingKept { name: &name };
        return Err(Failure::refused(&what, &Message::SeeWorkloads {}));
    }
    show_all(session, &list.events)
}

async fn ask(
    session: &Session,
    request: &v1::ListEventsRequest,
) -> Result<v1::ListEventsResponse, Failure> {
    let list = session.call(|mut o| {
        let request = request.clone();
        async move { o.list_events(request).await }
    });
    list.await
}

fn show_all(session: &Session, events: &[v1::EventView]) -> Result<(), Failure> {
    let headings = session.headings(&["TIME", "EVENT", "NODE", "WORKLOAD", "INSTANCE", "DETAILS"]);
    let rows = || {
        let rows: Vec<_> = events.iter().map(cells).collect();
        table(&headings, &rows)
    };
    let json: Vec<Value> = events.iter().map(event_json).collect();
    show(session.format, rows, &json!(json))
}

/// Prints a line an event, as they come.
fn print_all(session: &Session, events: &[v1::EventView]) -> Result<(), Failure> {
    for event in events {
        let line = match session.format {
            Format::Table => {
                let cells: Vec<String> = cells(event).iter().map(|c| clean(c)).collect();
                cells.join("  ")
            }
            Format::Json => event_json(event).to_string(),
        };
        print(&format!("{}\n", line.trim_end()))?;
    }
    Ok(())
}

fn cells(event: &v1::EventView) -> Vec<String> {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let instance = if event.instance == 0 { String::new() } else { event.instance.to_string() };
    vec![
        time(event.at_millis),
        kind(&event.kind),
        or_dash(&event.node),
        or_dash(&event.workload),
        or_dash(&instance),
        details(event),
    ]
}

/// Says what else is known of an event, and who wished it.
fn details(event: &v1::EventView) -> String {
    let details = heard(event.said.as_ref(), &event.message);
    if event.by.is_empty() {
        return details;
    }
    let role = event.role.as_ref().map(|role| heard(Some(role), "")).unwrap_or_default();
    let in_role = || Message::InRole { by: &event.by, role: &role }.said();
    let by = if role.is_empty() { event.by.clone() } else { in_role() };
    if details.is_empty() {
        return Message::OnlyBy { by: &by }.said();
    }
    Message::EventBy { details: &details, by: &by }.said()
}

fn event_json(event: &v1::EventView) -> Value {
    json!({
        "number": event.number,
        "at_millis": event.at_millis,
        "event": event.kind,
        "node": event.node,
        "workload": event.workload,
        "instance": event.instance,
        "details": event.message,
        "by": event.by,
    })
}

/// Reads a moment, or how long ago it was.
fn since(text: &str) -> Result<u64, String> {
    moment(text, now_millis()).ok_or_else(|| Message::GiveMoment {}.said())
}

fn moment(text: &str, now: u64) -> Option<u64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return u64::try_from(at.as_millisecond()).ok();
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let secs: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(secs)?.checked_mul(1000)?;
    Some(now.saturating_sub(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_moment_or_a_time_before_now() {
        let now = 1_700_000_000_000;
        assert_eq!(moment("15m", now), Some(now - 900_000));
        assert_eq!(moment("2023-11-15T06:13:20+08:00", 0), Some(now));
        for bad in ["", "m", "15", "15 m", "-5m", "99999999999999999999d", "昨天"] {
            assert_eq!(moment(bad, now), None, "{bad:?}");
        }
    }
}
