//! The violation budget and the move ledger, as `tengyun status` says them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::message::{Message, word};
use crate::output::cores;

const HOUR_MILLIS: u64 = 3_600_000;
/// Hours of a week.
const WEEK: u64 = 168;
/// Time began on a Thursday: its first hour is this one of the week.
const FIRST_HOUR: u64 = 72;
/// So many of the worst hours are said.
const WORST: usize = 3;
/// The days from Monday on.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Says what may be above the ceiling and what was.
pub(crate) fn budget(status: &v1::StatusResponse) -> String {
    let Some(budget) = &status.budget else { return String::new() };
    let may = budget.budget_hundredths_percent;
    let ceiling = f64::from(budget.ceiling_permille) / 10.0;
    let (windows, above) = summed(budget, |s| (s.windows, s.above));
    let may = format!("{}.{:02}", may / 100, may % 100);
    let may = Message::BudgetMay { share: &may, ceiling: &ceiling }.said();
    if windows == 0 {
        return Message::BudgetUnmeasured { may: &may }.said();
    }
    let spent = share(above, windows);
    Message::BudgetSpent { may: &may, spent: &spent, above: &above, windows: &windows }.said()
}

/// Says how often the foreseen peak was missed, and how far above the mean it is.
pub(crate) fn forecast(status: &v1::StatusResponse) -> String {
    let Some(budget) = &status.budget else { return String::new() };
    let (foreseen, missed) = summed(budget, |s| (s.foreseen, s.missed));
    if foreseen == 0 {
        return Message::ForecastNone {}.said();
    }
    let margin = |s: &v1::BudgetSize| {
        let (whole, part) = (s.margin_thousandths / 1000, s.margin_thousandths % 1000 / 10);
        let (margin, from) = (format!("{whole}.{part:02}"), cores(s.from_millicores));
        Message::ForecastMargin { margin: &margin, from: &from }.said()
    };
    let margins: Vec<String> = budget.sizes.iter().map(margin).collect();
    Message::ForecastMissed {
        share: &share(missed, foreseen),
        missed: &missed,
        foreseen: &foreseen,
        margins: &margins.join(", "),
    }
    .said()
}

fn summed(budget: &v1::BudgetView, of: fn(&v1::BudgetSize) -> (u64, u64)) -> (u64, u64) {
    let add = |a: (u64, u64), b: (u64, u64)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
    budget.sizes.iter().map(of).fold((0, 0), add)
}

/// Says a part of a whole in hundredths of a percent.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// The same for machines, with every hour of the week.
pub(crate) fn budget_json(budget: &v1::BudgetView, at_millis: u64) -> Value {
    let (windows, above) = summed(budget, |s| (s.windows, s.above));
    let (foreseen, missed) = summed(budget, |s| (s.foreseen, s.missed));
    let size = |s: &v1::BudgetSize| {
        json!({
            "from_millicores": s.from_millicores, "windows": s.windows, "above": s.above,
            "foreseen": s.foreseen, "missed": s.missed, "margin_thousandths": s.margin_thousandths,
        })
    };
    let hour = |(at, hour): (usize, &v1::BudgetHour)| {
        json!({
            "hour_utc": at, "began_millis": last_began(at, at_millis), "windows": hour.windows,
            "above": hour.above, "overloads": hour.overloads,
            "instance_windows": hour.instance_windows,
            "instance_windows_above": hour.instance_windows_above,
        })
    };
    json!({
        "hundredths_percent": budget.budget_hundredths_percent,
        "ceiling_permille": budget.ceiling_permille,
        "windows": windows, "above": above, "foreseen": foreseen, "missed": missed,
        "sizes": budget.sizes.iter().map(size).collect::<Vec<_>>(),
        "instance_windows": budget.instance_windows,
        "instance_windows_above": budget.instance_windows_above,
        "hours": budget.hours.iter().enumerate().map(hour).collect::<Vec<_>>(),
    })
}

/// Says what share of the instances' time was above the ceiling.
pub(crate) fn affected(budget: &v1::BudgetView) -> String {
    if budget.instance_windows == 0 {
        return String::new();
    }
    let share = share(budget.instance_windows_above, budget.instance_windows);
    Message::BudgetAffected { share: &share }.said()
}

/// Says in which hours of the local week the most was above the ceiling; nothing when nothing was.
pub(crate) fn worst_hours(budget: &v1::BudgetView, at_millis: u64) -> String {
    let mut bad: Vec<(usize, &v1::BudgetHour)> =
        budget.hours.iter().enumerate().filter(|(_, hour)| hour.above > 0).collect();
    let part = |hour: &v1::BudgetHour| {
        u128::from(hour.above) * 1_000_000 / u128::from(hour.windows.max(1))
    };
    bad.sort_by_key(|(at, hour)| (std::cmp::Reverse((part(hour), hour.above)), *at));
    let zone = TimeZone::system();
    let said = |(at, hour): &(usize, &v1::BudgetHour)| {
        let (day, time) = local(last_began(*at, at_millis), &zone);
        let (share, day) = (share(hour.above, hour.windows), word(day));
        let (above, windows) = (&hour.above, &hour.windows);
        Message::BudgetHour { day: &day, time: &time, share: &share, above, windows }.said()
    };
    bad.iter().take(WORST).map(said).collect::<Vec<_>>().join(", ")
}

/// Returns when an hour of the week, from Monday 00:00 UTC on, began last.
fn last_began(hour: usize, at_millis: u64) -> u64 {
    let now = at_millis / HOUR_MILLIS;
    let hour = u64::try_from(hour).unwrap_or(0) % WEEK;
    let ago = ((now + FIRST_HOUR) % WEEK + WEEK - hour) % WEEK;
    now.saturating_sub(ago) * HOUR_MILLIS
}

/// Returns the day and the time of a moment in a zone.
fn local(millis: u64, zone: &TimeZone) -> (&'static str, String) {
    let at = i64::try_from(millis).ok().and_then(|m| Timestamp::from_millisecond(m).ok());
    let at = at.unwrap_or_default().to_zoned_datetime(zone.clone());
    let day = usize::try_from(at.weekday().to_monday_zero_offset()).unwrap_or(0);
    (DAYS[day % DAYS.len()], at.strftime("%H:%M").to_string())
}

/// Says what was moved in a day and what may be moved now.
pub(crate) fn ledger(ledger: &v1::MoveLedger) -> String {
    let hundredths = ledger.last_day.saturating_mul(100) / ledger.instances.max(1);
    let each = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    Message::MoveLedger {
        day: &ledger.last_day,
        each: &each,
        left: &ledger.left,
        most: &ledger.at_once,
        daily: &ledger.daily,
        rest: &ledger.payback_millis.div_ceil(60_000),
    }
    .said()
}

/// The same for machines.
pub(crate) fn ledger_json(ledger: &v1::MoveLedger) -> Value {
    json!({
        "last_day": ledger.last_day, "instances": ledger.instances, "left": ledger.left,
        "at_once": ledger.at_once, "daily": ledger.daily, "payback_millis": ledger.payback_millis,
    })
}

#[cfg(test)]
mod tests {
    use jiff::tz::offset;

    use super::*;

    #[test]
    fn the_budget_is_said_with_what_was_spent_of_it() {
        let size = |from, above| v1::BudgetSize {
            from_millicores: from,
            windows: 1000,
            above,
            foreseen: 500,
            missed: 3,
            margin_thousandths: 2725,
        };
        let budget = v1::BudgetView {
            budget_hundredths_percent: 100,
            ceiling_permille: 800,
            sizes: vec![size(16_384, 4), size(32_768, 9)],
            ..Default::default()
        };
        let mut status = v1::StatusResponse { budget: Some(budget), ..Default::default() };
        assert_eq!(
            super::budget(&status),
            "1.00 % of node-time above 80 %; 0.65 % spent (13 of 2000 node-windows)"
        );
        let said = forecast(&status);
        assert!(
            said.starts_with("the peak was missed in 0.60 % (6 of 1000 node-windows)"),
            "{said}"
        );
        assert!(said.contains("2.72 deviations"), "{said}");
        status.budget.as_mut().unwrap().sizes.clear();
        assert!(super::budget(&status).ends_with("nothing is measured yet"));
        assert!(forecast(&status).contains("yet"));
    }
    /// 2027-01-15 08:20 UTC, a Friday.
    const NOW: u64 = 1_800_001_200_000;

    fn week(bad: &[(usize, u64, u64)]) -> v1::BudgetView {
        let mut hours = vec![v1::BudgetHour::default(); 168];
        for (at, above, windows) in bad {
            (hours[*at].above, hours[*at].windows) = (*above, *windows);
        }
        v1::BudgetView { hours, ..Default::default() }
    }

    #[test]
    fn an_hour_of_the_week_is_said_as_it_is_here_in_zones_of_half_hours_too() {
        let zone = |minutes: i32| {
            let seconds = jiff::tz::Offset::from_seconds(minutes * 60).unwrap();
            TimeZone::fixed(seconds)
        };
        let monday = last_began(0, NOW);
        assert_eq!(NOW - monday, (4 * 24 + 8) * 3_600_000 + 20 * 60_000);
        assert_eq!(local(monday, &TimeZone::fixed(offset(0))), ("Mon", "00:00".to_owned()));
        assert_eq!(local(monday, &zone(8 * 60)), ("Mon", "08:00".to_owned()));
        assert_eq!(local(monday, &zone(-5 * 60)), ("Sun", "19:00".to_owned()));
        assert_eq!(local(monday, &zone(5 * 60 + 30)), ("Mon", "05:30".to_owned()));
        // The present hour is of today, the next one of last week.
        assert_eq!(last_began(4 * 24 + 8, NOW), NOW - 20 * 60_000);
        assert_eq!(NOW - last_began(4 * 24 + 9, NOW), (167 * 60 + 20) * 60_000);
    }

    #[test]
    fn the_worst_hours_are_said_and_none_when_none_is_bad() {
        assert_eq!(worst_hours(&week(&[(3, 0, 50)]), NOW), "");
        let said = worst_hours(&week(&[(3, 1, 50), (9, 5, 50), (10, 2, 20), (11, 9, 1000)]), NOW);
        let shares: Vec<&str> = said.split(", ").collect();
        assert_eq!(shares.len(), 3, "{said}");
        assert!(shares[0].contains("10.00 % (5 of 50)"), "{said}");
        assert!(shares[1].contains("10.00 % (2 of 20)"), "{said}");
        assert!(shares[2].contains("2.00 % (1 of 50)"), "{said}");
        let json = budget_json(&week(&[(9, 5, 50)]), NOW);
        assert_eq!(json["hours"].as_array().unwrap().len(), 168);
        assert_eq!(
            (&json["hours"][9]["hour_utc"], &json["hours"][9]["above"]),
            (&json!(9), &json!(5))
        );
    }

    #[test]
    fn what_was_moved_and_what_may_be_is_said() {
        let of = v1::MoveLedger {
            last_day: 90,
            instances: 200,
            left: 40,
            at_once: 45,
            daily: 180,
            payback_millis: 1_800_000,
        };
        assert_eq!(
            ledger(&of),
            "90 in 24 h (0.45 an instance); 40 of 45 may be made now, 180 more a day; none again within 30 min"
        );
        let mut budget = week(&[]);
        assert_eq!(affected(&budget), "");
        (budget.instance_windows, budget.instance_windows_above) = (1000, 12);
        assert_eq!(
            affected(&budget),
            "1.20 % of the time of critical and standard instances was above the ceiling"
        );
    }
}
