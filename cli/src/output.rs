//! Output: tables for people, JSON for machines. Whatever came from outside is made printable.

use std::io::{self, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::failure::Failure;
use crate::message::Message;

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// One JSON value.
    Json,
}

/// Writes to standard output; a reader that went away is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Internal(Message::CannotWriteOutput { error: &error }.said()))
        }
        _ => Ok(()),
    }
}

/// Writes a line for a person to standard error, where progress and errors go.
pub fn note(text: &str) {
    // Nobody is left to tell when standard error is gone.
    drop(writeln!(io::stderr().lock(), "{}", clean_lines(text)));
}

/// Prints a table or its JSON.
pub fn show(format: Format, table: impl FnOnce() -> String, json: &Value) -> Result<(), Failure> {
    match format {
        Format::Table => print(&table()),
        Format::Json => print(&format!("{json:#}\n")),
    }
}

/// Makes a table of headings and rows; numbers stand to the right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        let numeric = |row: &Vec<String>| {
            row.get(index).is_some_and(|c| c.starts_with(|c: char| c.is_ascii_digit()))
        };
        if !rows.is_empty() && rows.iter().all(numeric) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    joined(table.lines().map(|line| line.trim_end().to_owned()))
}

/// Ends every line.
pub fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

/// Makes every character printable: controls, escapes and direction marks are shown as escapes.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) { clean.push(c) } else { clean.extend(c.escape_unicode()) }
    }
    clean
}

/// Like [`clean`], but keeps line ends.
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

fn is_plain(c: char) -> bool {
    let direction =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let invisible = matches!(c, '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    !c.is_control() && !direction && !invisible
}

/// Shows millicores as cores.
pub fn cores(millicores: u64) -> String {
    let amount = format!("{}.{:03}", millicores / 1000, millicores % 1000);
    Message::Cores { amount: &amount }.said()
}

/// Shows an amount of memory.
pub fn memory(mebibytes: u64) -> String {
    if mebibytes >= 10 * 1024 {
        format!("{}.{} GiB", mebibytes / 1024, mebibytes % 1024 * 10 / 1024)
    } else {
        format!("{mebibytes} MiB")
    }
}

/// Shows a share of a whole.
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(1000).checked_div(whole);
    tenths.map_or_else(|| "-".to_owned(), |t| format!("{}.{} %", t / 10, t % 10))
}

/// Shows a moment in the local zone.
pub fn time(millis: u64) -> String {
    moment(millis, &TimeZone::system())
}

fn moment(millis: u64, zone: &TimeZone) -> String {
    let at = i64::try_from(millis).ok().and_then(|m| Timestamp::from_millisecond(m).ok());
    match at {
        Some(at) if millis > 0 => {
            at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
        }
        _ => "-".to_owned(),
    }
}

/// Shows how long ago a moment was.
pub fn age(now_millis: u64, millis: u64) -> String {
    if millis == 0 {
        return "-".to_owned();
    }
    let secs = now_millis.saturating_sub(millis) / 1000;
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// Shows CPU work.
pub fn core_hours(core_millis: u64) -> String {
    let thousandths = core_millis / 3600;
    let amount = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    Message::CoreHours { amount: &amount }.said()
}

/// Shows memory held over time.
pub fn gibibyte_hours(mebibyte_seconds: u64) -> String {
    let thousandths = u128::from(mebibyte_seconds) * 1000 / (1024 * 3600);
    format!("{}.{:03} GiB-h", thousandths / 1000, thousandths % 1000)
}

/// Returns the present moment in milliseconds since the Unix epoch.
pub fn now_millis() -> u64 {
    let since = Timestamp::now().duration_since(Timestamp::UNIX_EPOCH);
    u64::try_from(since.max(SignedDuration::ZERO).as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_steer_a_terminal() {
        for bad in ["\u{1b}]52;c;x\u{7}", "a\rb", "a\nb", "\u{202e}abc", "\u{9b}2J", "a\tb"] {
            let clean = clean(bad);
            assert!(clean.chars().all(is_plain), "{bad:?} became {clean:?}");
        }
        assert_eq!(clean("市财政局 treasury"), "市财政局 treasury");
        assert_eq!(clean_lines("a\nb\u{1b}"), "a\nb\\u{1b}");
    }

    #[test]
    fn a_table_has_one_line_a_row_and_numbers_to_the_right() {
        let rows = vec![
            vec!["a\nb".to_owned(), "5 s".to_owned()],
            vec!["c".to_owned(), "15 s".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "AGE"], &rows),
            "NAME      AGE\na\\u{a}b   5 s\nc        15 s\n"
        );
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(cores(1250), "1.250 cores");
        assert_eq!((memory(512), memory(24_576)), ("512 MiB".to_owned(), "24.0 GiB".to_owned()));
        assert_eq!((percent(1, 3), percent(1, 0)), ("33.3 %".to_owned(), "-".to_owned()));
        assert_eq!(core_hours(5_400_000), "1.500 core-h");
        assert_eq!(gibibyte_hours(1024 * 3600), "1.000 GiB-h");
        assert_eq!((age(90_000, 30_000), age(5, 0)), ("60 s".to_owned(), "-".to_owned()));
        assert_eq!(age(10_000_000_000, 1), "115 d");
    }

    #[test]
    fn a_time_is_shown_in_its_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(moment(1_700_000_000_000, &zone), "2023-11-15 06:13:20 +08");
        assert_eq!(moment(0, &zone), "-");
    }
}
