//! `tengyun plan`: before you move, from the history of existing servers.

use std::path::PathBuf;

use tengyun_lab::before_you_move::{self, BeforeError, BeforeYouMove, Wish};
use tengyun_lab::energy::PowerCurve;
use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::trace;

use crate::failure::Failure;
use crate::lab::{format, joined, json, percent, shape, write};
use crate::message::{Message, lab_note, word};
use crate::output::{Format, clean_lines, show};

/// What `plan` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// The history of existing servers; several follow one another in time
    #[arg(long = "history", value_name = "DIR", required = true)]
    histories: Vec<PathBuf>,
    /// The layout of the history [default: seen by its files]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<trace::Format>,
    /// The size of every server of the plan
    #[arg(long, value_name = "CORES/GIB", value_parser = shape)]
    node: Shape,
    /// How memory counts: none, request or used
    #[arg(long, value_name = "MODE", default_value = "used", value_parser = memory)]
    memory: MemoryMode,
    /// The share of time that a server may be above its ceiling
    #[arg(long, value_name = "PCT", default_value = "1", value_parser = percent)]
    risk: f64,
    /// The share of a server's CPU above which it is too busy
    #[arg(long, value_name = "PCT", default_value = "80", value_parser = ceiling)]
    ceiling: f64,
    /// Watts of a server at 0, 10, ... 100 % of its CPU, eleven of them [default: an HP ML110 G5]
    #[arg(long, value_name = "W0,...,W100", value_parser = power)]
    power: Option<PowerCurve>,
    /// The coverage below which no plan is made
    #[arg(long, value_name = "PCT", default_value = "70", value_parser = percent)]
    coverage: f64,
    /// The price of one kWh
    #[arg(long, value_name = "MONEY", default_value = "0", value_parser = money)]
    price_kwh: f64,
    /// The price of one server for one year, without energy
    #[arg(long, value_name = "MONEY", default_value = "0", value_parser = money)]
    price_server: f64,
    /// Write the plan as a page
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Makes a plan.
pub(crate) fn run(args: &PlanArgs, format: Format) -> Result<(), Failure> {
    let history = joined(&args.histories, args.format, false)?;
    let wish = Wish {
        memory: args.memory,
        risk_pct: args.risk,
        ceiling_pct: args.ceiling,
        curve: args.power.unwrap_or(PowerCurve::G5),
        coverage_min_pct: args.coverage,
        price_kwh: args.price_kwh,
        price_server: args.price_server,
        ..Wish::new(args.node)
    };
    let plan = before_you_move::plan(&history, &wish).map_err(|error| match error {
        BeforeError::Thin { coverage_pct, wanted_pct } => {
            let (covered, wanted) = (&coverage_pct, &wanted_pct);
            Failure::Refused(Message::PlanThin { covered, wanted }.said())
        }
        BeforeError::NothingFits => Failure::Usage(Message::PlanNothingFits {}.said()),
    })?;
    if let Some(path) = &args.report {
        write(path, &before_you_move::html(&history.name, &plan))?;
    }
    show(format, || text(&plan), &json(&plan)?)
}

fn text(plan: &BeforeYouMove) -> String {
    let used = plan.bounds.memory_used.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mut lines = vec![
        Message::PlanServers {
            needed: &plan.servers_needed,
            now: &plan.servers_now,
            released: &plan.servers_released,
        }
        .said(),
        Message::PlanBinds {
            binding: &word(plan.binding),
            cpu: &plan.bounds.cpu,
            used: &used,
            requested: &plan.bounds.memory_requested,
        }
        .said(),
        Message::PlanRisk {
            risk: &plan.risk_pct,
            ceiling: &plan.ceiling_pct,
            utilisation: &plan.utilisation_pct,
            coverage: &plan.coverage_pct,
            hours: &plan.hours,
            bad: &plan.bad_rows,
        }
        .said(),
        Message::PlanEnergy {
            then: &plan.kwh_per_year_then,
            now: &plan.kwh_per_year_now,
            money_then: &plan.money_per_year_then,
            money_now: &plan.money_per_year_now,
        }
        .said(),
    ];
    lines.extend(plan.notes.iter().map(|n| Message::Note { note: &lab_note(n) }.said()));
    lines.push(Message::PlanMore {}.said());
    clean_lines(&(lines.join("\n") + "\n"))
}

/// A plan looks at all of a history at once: there is nothing to forecast.
fn memory(text: &str) -> Result<MemoryMode, String> {
    let known = MemoryMode::parse(text).filter(|mode| *mode != MemoryMode::Forecast);
    known.ok_or_else(|| Message::GiveMemory {}.said())
}

fn ceiling(text: &str) -> Result<f64, String> {
    let above_nothing = percent(text).ok().filter(|pct| *pct >= 1.0);
    above_nothing.ok_or_else(|| "a number from 1 to 100".to_owned())
}

fn power(text: &str) -> Result<PowerCurve, String> {
    PowerCurve::parse(text).map_err(|fault| fault.to_string())
}

fn money(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
    value.ok_or_else(|| Message::GiveMoney {}.said())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_and_watts_are_checked_before_anything_is_read() {
        assert_eq!((ceiling("70"), ceiling("100 %")), (Ok(70.0), Ok(100.0)));
        assert!(ceiling("0").is_err() && ceiling("101").is_err() && ceiling("x").is_err());
        assert_eq!(power("93.7,97,101,105,110,116,121,125,129,133,135"), Ok(PowerCurve::G5));
        assert!(power("93.7").unwrap_err().contains("eleven watts are wanted"));
        assert!(money("-1").is_err() && money("inf").is_err());
    }
}
