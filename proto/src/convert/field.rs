//! The leaves of conversion: one checked field each, so that every error names its field alike.

use std::collections::BTreeMap;
use std::str::FromStr;

use tengyun_model::{OperationId, Permille};

use super::{ConvertError, TEXT_BYTES_MAX};

/// Converts a sub-message that must be there.
pub(super) fn message<W, M>(field: &str, wire: Option<W>) -> Result<M, ConvertError>
where
    M: TryFrom<W, Error = ConvertError>,
{
    let wire = wire.ok_or_else(|| ConvertError::new(field, "is missing"))?;
    M::try_from(wire).map_err(|e| e.within(field))
}

/// Converts the number of an enum.
pub(super) fn word<W, M>(field: &str, number: i32) -> Result<M, ConvertError>
where
    W: TryFrom<i32>,
    M: TryFrom<W, Error = ConvertError>,
{
    let wire = W::try_from(number)
        .map_err(|_| ConvertError::new(field, format!("{number} is not known here")))?;
    M::try_from(wire).map_err(|e| e.within(field))
}

/// Converts every item of a list of at most `max`.
pub(super) fn list<W, M>(field: &str, wire: Vec<W>, max: usize) -> Result<Vec<M>, ConvertError>
where
    M: TryFrom<W, Error = ConvertError>,
{
    count(field, wire.len(), max)?;
    wire.into_iter()
        .enumerate()
        .map(|(i, item)| M::try_from(item).map_err(|e| e.within(&format!("{field}[{i}]"))))
        .collect()
}

/// Puts a list in ascending order of its keys and refuses one that comes twice.
pub(super) fn ascending<T, K>(
    field: &str,
    mut items: Vec<T>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, ConvertError>
where
    K: Ord + std::fmt::Debug,
{
    items.sort_by_key(&key);
    match items.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        Some(pair) => Err(ConvertError::new(field, format!("{:?} comes twice", key(&pair[0])))),
        None => Ok(items),
    }
}

/// Refuses a count above its limit.
pub(super) fn count(field: &str, len: usize, max: usize) -> Result<(), ConvertError> {
    if len > max {
        return Err(ConvertError::new(
            field,
            format!("has {len} items, at most {max} are allowed"),
        ));
    }
    Ok(())
}

/// Checks a share: nothing is more than the whole.
pub(super) fn share(field: &str, wire: u32) -> Result<Permille, ConvertError> {
    let share = Permille::new(wire);
    if share > Permille::WHOLE {
        return Err(ConvertError::new(field, format!("is {wire}, at most 1000 is allowed")));
    }
    Ok(share)
}

/// Checks a free text: bounded, and without a zero byte, which would cut it short in a system call.
pub(super) fn text(field: &str, text: String) -> Result<String, ConvertError> {
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!("is longer than {TEXT_BYTES_MAX} bytes");
        return Err(ConvertError::new(field, problem));
    }
    without_zero(field, text)
}

/// Refuses a zero byte in a text whose length is bounded elsewhere.
pub(super) fn without_zero(field: &str, text: String) -> Result<String, ConvertError> {
    if text.contains('\0') {
        return Err(ConvertError::new(field, "holds a zero byte"));
    }
    Ok(text)
}

/// Parses a checked text type of the model.
pub(super) fn parsed<M>(field: &str, text: &str) -> Result<M, ConvertError>
where
    M: FromStr,
    M::Err: std::fmt::Display,
{
    text.parse().map_err(|e: M::Err| ConvertError::new(field, format!("{}: {e}", shown(text))))
}

/// Parses an id of 32 hexadecimal digits.
pub(super) fn hex<M>(
    field: &str,
    text: &str,
    parse: impl Fn(&str) -> Option<M>,
) -> Result<M, ConvertError> {
    parse(text).ok_or_else(|| {
        ConvertError::new(field, format!("{} is not 32 hexadecimal digits", shown(text)))
    })
}

/// Parses the id of an operation.
///
/// # Errors
/// Names `field` when the text is not 32 hexadecimal digits.
pub fn operation_id(field: &str, text: &str) -> Result<OperationId, ConvertError> {
    hex(field, text, OperationId::parse)
}

/// Converts the keys of a map.
pub(super) fn keyed<M>(
    field: &str,
    wire: BTreeMap<String, u64>,
    max: usize,
) -> Result<BTreeMap<M, u64>, ConvertError>
where
    M: FromStr + Ord,
    M::Err: std::fmt::Display,
{
    count(field, wire.len(), max)?;
    wire.into_iter().map(|(name, value)| Ok((parsed(field, &name)?, value))).collect()
}

/// Checks the texts of a map.
pub(super) fn texts(
    field: &str,
    wire: BTreeMap<String, String>,
    max: usize,
) -> Result<BTreeMap<String, String>, ConvertError> {
    count(field, wire.len(), max)?;
    wire.into_iter().map(|(name, value)| Ok((text(field, name)?, text(field, value)?))).collect()
}

/// Shows a hostile text in an error: escaped and cut, so that it cannot forge a line or fill a log.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 64;
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{cut:?}")
}
