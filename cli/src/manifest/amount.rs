//! Amounts: numbers with the unit that the field or the value says.

use tengyun_model::workload::INSTANCES_MAX;
use tengyun_model::{Mebibytes, Millicores, Millis};

use super::yaml::{Scalar, Sort};

/// The most cores of one instance; no server has more.
const MILLICORES_MAX: u64 = 4096 * 1000;
/// The most memory or disk space of one instance: 1 PiB.
const MEBIBYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The longest time of a field: one day; more is a mistake in the unit.
const MILLIS_MAX: u64 = 86_400 * 1000;
/// How finely a decimal is read.
const THOUSANDTHS: u64 = 1000;

leaf! {
    /// An amount of CPU.
    Cpu(Millicores) {
        ExpectsCores,
        {"title": "cores", "type": ["string", "number"],
            "pattern": r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$", "exclusiveMinimum": 0, "maximum": 4096},
        |scalar| millicores(plain(scalar)?)
    }
}

leaf! {
    /// An amount of memory or disk space.
    Size(Mebibytes) {
        ExpectsSize,
        {"title": "size", "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti)$"},
        |scalar| mebibytes(plain(scalar)?)
    }
}

leaf! {
    /// A duration.
    Seconds(Millis) {
        ExpectsSeconds,
        {"title": "seconds", "type": "number", "minimum": 0, "maximum": 86400},
        |scalar| {
            let number = (scalar.sort == Sort::Number).then_some(scalar.text.as_str())?;
            thousandths(number).filter(|millis| *millis <= MILLIS_MAX).map(Millis::new)
        }
    }
}

leaf! {
    /// A count from one.
    Count(u64) {
        ExpectsCount,
        {"title": "number", "type": "integer", "minimum": 1, "maximum": 1_000_000_000},
        |scalar| whole(scalar).filter(|n| (1..=1_000_000_000).contains(n))
    }
}

leaf! {
    /// How many copies.
    InstanceCount(u32) {
        ExpectsInstanceCount,
        {"title": "number", "type": "integer", "minimum": 0, "maximum": INSTANCES_MAX},
        |scalar| {
            whole(scalar).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= INSTANCES_MAX)
        }
    }
}

/// Returns a whole number in decimal digits.
pub(super) fn whole(scalar: &Scalar) -> Option<u64> {
    let digits = scalar.text.bytes().all(|b| b.is_ascii_digit());
    (scalar.sort == Sort::Number && digits).then(|| scalar.text.parse().ok()).flatten()
}

/// Returns the text of a scalar that is a text or a number.
fn plain(scalar: &Scalar) -> Option<&str> {
    matches!(scalar.sort, Sort::Text | Sort::Number).then_some(scalar.text.as_str())
}

fn millicores(text: &str) -> Option<Millicores> {
    let millicores = match text.strip_suffix('m') {
        Some(millicores) => digits(millicores)?,
        None => thousandths(text)?,
    };
    (1..=MILLICORES_MAX).contains(&millicores).then(|| Millicores::new(millicores))
}

fn mebibytes(text: &str) -> Option<Mebibytes> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let kibibytes = match unit {
        "Ki" => 1,
        "Mi" => 1024,
        "Gi" => 1024 * 1024,
        "Ti" => 1024 * 1024 * 1024,
        _ => return None,
    };
    let total = u128::from(thousandths(number)?) * kibibytes;
    let mebibyte = u128::from(THOUSANDTHS) * 1024;
    let whole = u64::try_from(total / mebibyte).ok().filter(|_| total % mebibyte == 0)?;
    (whole <= MEBIBYTES_MAX).then(|| Mebibytes::new(whole))
}

/// Reads a decimal number with at most three digits after its point.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let scale = match part.len() {
        1 => 100,
        2 => 10,
        3 => 1,
        _ => return None,
    };
    digits(whole)?.checked_mul(THOUSANDTHS)?.checked_add(digits(part)? * scale)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_cores_or_millicores() {
        let cases = [
            ("2", Some(2000)),
            ("0.5", Some(500)),
            ("500m", Some(500)),
            ("0.001", Some(1)),
            ("4096", Some(4_096_000)),
            ("4097", None),
            ("0", None),
            ("0.0001", None),
            ("m", None),
            (".5", None),
            ("1.", None),
            ("-1", None),
            ("1e3", None),
            ("0x10", None),
            ("99999999999999999999", None),
            ("18446744073709551615", None),
        ];
        for (text, expected) in cases {
            assert_eq!(millicores(text).map(Millicores::get), expected, "{text}");
        }
    }

    #[test]
    fn a_size_is_whole_mebibytes() {
        let cases = [
            ("64Mi", Some(64)),
            ("1Gi", Some(1024)),
            ("1.5Gi", Some(1536)),
            ("2Ti", Some(2 * 1024 * 1024)),
            ("2048Ki", Some(2)),
            ("0Mi", Some(0)),
            ("1Ki", None),
            ("1.5Mi", None),
            ("64", None),
            ("64M", None),
            ("64MB", None),
            ("64 Mi", None),
            ("Mi", None),
            ("é", None),
            ("2048Ti", None),
            ("99999999999999999Ti", None),
        ];
        for (text, expected) in cases {
            assert_eq!(mebibytes(text).map(Mebibytes::get), expected, "{text}");
        }
    }
}
