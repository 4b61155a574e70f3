//! Sections whose features come later: fully typed and checked for their shape, so that a manifest
//! that uses them will not need to change. Nothing here reaches a specification yet.

use super::leaf::{Line, TimeOfDay};

section! {
    /// When instances may be moved.
    Window {
        /// The days; every day when left out.
        days: Option<Vec<Day>>;
        /// Its begin.
        from: TimeOfDay;
        /// Its end; before its begin means on the next day.
        to: TimeOfDay;
        /// The time zone, such as Asia/Shanghai; the scheduler's when left out.
        time_zone: Option<Line>;
    }
}

section! {
    /// When a cron workload starts.
    Schedule {
        /// Minute, hour, day, month and day of the week, such as "30 2 * * mon-fri".
        cron: CronText;
        /// The time zone, such as Asia/Shanghai; the scheduler's when left out.
        time_zone: Option<Line>;
    }
}

words! {
    /// A day of the week.
    Day(&'static str) {
        "mon" = "mon";
        "tue" = "tue";
        "wed" = "wed";
        "thu" = "thu";
        "fri" = "fri";
        "sat" = "sat";
        "sun" = "sun";
    }
}

leaf! {
    /// The five fields of a cron table.
    CronText(String) {
        "five fields in quotes such as \"30 2 * * mon-fri\"",
        {"title": "cron fields", "type": "string", "pattern": "^[0-9a-z*,/-]+( +[0-9a-z*,/-]+){4}$"},
        |scalar| {
            let text = super::leaf::text(scalar)?;
            let allowed = |c: char| {
                c.is_ascii_digit() || c.is_ascii_lowercase() || matches!(c, '*' | ',' | '/' | '-' | ' ')
            };
            let fields = text.split_ascii_whitespace().count();
            (fields == 5 && text.chars().all(allowed)).then(|| text.to_owned())
        }
    }
}
