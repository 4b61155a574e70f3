//! Text: a manifest must be small, UTF-8 and free of characters that do not show.

use super::MANIFEST_BYTES_MAX;
use super::fault::Faults;
use super::sentence::Sentence;

/// The mark that some editors put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Checks the bytes of a manifest and returns them as text.
pub(super) fn check<'a>(bytes: &'a [u8], faults: &mut Faults) -> Option<&'a str> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        faults.add(1, 1, "", Sentence::TooLarge { most: MANIFEST_BYTES_MAX });
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => check_characters(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text), faults),
        Err(error) => {
            let line = 1 + bytes.iter().take(error.valid_up_to()).filter(|b| **b == b'\n').count();
            faults.add(1, line, "", Sentence::NotUtf8 {});
            None
        }
    }
}

/// YAML allows these characters as escapes in double quotes only.
fn check_characters<'a>(text: &'a str, faults: &mut Faults) -> Option<&'a str> {
    let bad = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let mut lines = text.lines().enumerate();
    let found = lines.find_map(|(index, line)| Some((index + 1, line.chars().find(|c| bad(*c))?)));
    let Some((line, c)) = found else { return Some(text) };
    let message = Sentence::ControlCharacter { character: c.escape_unicode().to_string() };
    faults.add(1, line, "", message);
    None
}
