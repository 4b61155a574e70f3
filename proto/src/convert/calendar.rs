//! Rollouts, schedules and windows on the wire.

use tengyun_model::calendar::{CALENDAR_TEXT_MAX, DAY_MINUTES, RUNS_KEPT_MAX};
use tengyun_model::{Concurrency, Days, Millis, Rollout, Schedule, Window};

use super::ConvertError;
use super::field::{text, word};
use crate::v1;

/// Before there was a choice every rollout was the default one.
pub(super) fn rollout(wire: Option<v1::Rollout>) -> Result<Rollout, ConvertError> {
    let Some(wire) = wire else { return Ok(Rollout::default()) };
    if wire.batch == 0 || wire.failure_limit == 0 {
        return Err(ConvertError::new("rollout", "has a batch or failure limit of 0"));
    }
    Ok(Rollout {
        batch: wire.batch,
        healthy: Millis::new(wire.healthy_millis),
        deadline: Millis::new(wire.deadline_millis),
        failure_limit: wire.failure_limit,
        auto_return: wire.auto_return,
    })
}

/// The default is left out, so that equal specifications have the bytes of older versions.
pub(super) fn rollout_to_wire(rollout: Rollout) -> Option<v1::Rollout> {
    (rollout != Rollout::default()).then(|| v1::Rollout {
        batch: rollout.batch,
        healthy_millis: rollout.healthy.get(),
        deadline_millis: rollout.deadline.get(),
        failure_limit: rollout.failure_limit,
        auto_return: rollout.auto_return,
    })
}

impl TryFrom<v1::Schedule> for Schedule {
    type Error = ConvertError;

    fn try_from(wire: v1::Schedule) -> Result<Self, ConvertError> {
        if wire.runs_kept == 0 || wire.runs_kept > RUNS_KEPT_MAX {
            let problem = format!("{} is not from 1 to {RUNS_KEPT_MAX}", wire.runs_kept);
            return Err(ConvertError::new("runs_kept", problem));
        }
        Ok(Self {
            cron: short("cron", wire.cron)?,
            time_zone: wire.time_zone.map(|zone| short("time_zone", zone)).transpose()?,
            concurrency: word::<v1::Concurrency, _>("concurrency", wire.concurrency)?,
            starting_deadline: Millis::new(wire.starting_deadline_millis),
            runs_kept: wire.runs_kept,
        })
    }
}

impl From<&Schedule> for v1::Schedule {
    fn from(schedule: &Schedule) -> Self {
        Self {
            cron: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
            concurrency: v1::Concurrency::from(schedule.concurrency).into(),
            starting_deadline_millis: schedule.starting_deadline.get(),
            runs_kept: schedule.runs_kept,
        }
    }
}

impl TryFrom<v1::Window> for Window {
    type Error = ConvertError;

    fn try_from(wire: v1::Window) -> Result<Self, ConvertError> {
        let minute = |field: &str, raw: u32| {
            let minute = u16::try_from(raw).ok().filter(|minute| *minute < DAY_MINUTES);
            minute.ok_or_else(|| ConvertError::new(field, format!("{raw} is not a time of day")))
        };
        let days = u8::try_from(wire.days).ok().and_then(Days::from_bits);
        Ok(Self {
            days: days.ok_or_else(|| ConvertError::new("days", "are not days of the week"))?,
            from: minute("from_minute", wire.from_minute)?,
            to: minute("to_minute", wire.to_minute)?,
            time_zone: wire.time_zone.map(|zone| short("time_zone", zone)).transpose()?,
        })
    }
}

impl From<&Window> for v1::Window {
    fn from(window: &Window) -> Self {
        Self {
            days: window.days.bits().into(),
            from_minute: window.from.into(),
            to_minute: window.to.into(),
            time_zone: window.time_zone.clone(),
        }
    }
}

fn short(field: &str, wire: String) -> Result<String, ConvertError> {
    let text = text(field, wire)?;
    if text.is_empty() || text.len() > CALENDAR_TEXT_MAX {
        let problem = format!("has {} bytes, 1 to {CALENDAR_TEXT_MAX} are allowed", text.len());
        return Err(ConvertError::new(field, problem));
    }
    Ok(text)
}

impl TryFrom<v1::Concurrency> for Concurrency {
    type Error = ConvertError;

    fn try_from(wire: v1::Concurrency) -> Result<Self, ConvertError> {
        match wire {
            v1::Concurrency::Unspecified => Err(ConvertError::new("", "is missing")),
            v1::Concurrency::Forbid => Ok(Self::Forbid),
            v1::Concurrency::Replace => Ok(Self::Replace),
            v1::Concurrency::Allow => Ok(Self::Allow),
        }
    }
}

impl From<Concurrency> for v1::Concurrency {
    fn from(word: Concurrency) -> Self {
        match word {
            Concurrency::Forbid => Self::Forbid,
            Concurrency::Replace => Self::Replace,
            Concurrency::Allow => Self::Allow,
        }
    }
}
