//! Words and names: texts that are checked where they enter.

use nix::sys::signal::Signal;
use tengyun_model::{DepartmentPath, Name};
use tengyun_proto::convert::TEXT_BYTES_MAX;

use super::yaml::{Scalar, Sort};

/// The longest name of a user or group that Linux tools make.
const USER_BYTES_MAX: usize = 32;
/// The longest label or value of one; the limit of a host name.
const LABEL_BYTES_MAX: usize = 253;
/// The deepest path; as deep as an agent writes.
const PATH_DEPTH_MAX: usize = 32;
/// The longest part of a path that the kernel takes.
const PATH_PART_BYTES_MAX: usize = 255;
/// The highest classic signal; real-time signals mean nothing to most programs.
const SIGNAL_MAX: u64 = 31;
/// The permission bits of a file: no set-user-id, no set-group-id, no sticky bit.
const MODE_MAX: u32 = 0o777;

leaf! {
    /// A text; numbers and truth values need quotes.
    Text(String) {
        ExpectsText,
        {"title": "text", "type": "string"},
        |scalar| text(scalar).map(str::to_owned)
    }
}

leaf! {
    /// A text of one line, not empty.
    Line(String) {
        ExpectsLine,
        {"title": "text", "type": "string", "minLength": 1, "maxLength": 4096},
        |scalar| line(scalar, TEXT_BYTES_MAX).map(str::to_owned)
    }
}

leaf! {
    /// A text, number or truth value, taken as it is written.
    Word(String) {
        ExpectsWord,
        {"title": "text or number", "type": ["string", "number", "boolean"]},
        |scalar| (scalar.sort != Sort::Null).then(|| scalar.text.clone())
    }
}

leaf! {
    /// One name.
    NameText(Name) {
        ExpectsName,
        {"title": "name", "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
        |scalar| text(scalar)?.parse().ok()
    }
}

leaf! {
    /// The key of a map of names.
    NameKey(Name) {
        ExpectsNameKey,
        {"title": "name", "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
        |scalar| scalar.text.parse().ok()
    }
}

leaf! {
    /// A department as a path of names.
    Department(DepartmentPath) {
        ExpectsDepartment,
        {"title": "path of names", "type": "string", "pattern":
            "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,7}$"},
        |scalar| text(scalar)?.parse().ok()
    }
}

leaf! {
    /// One or more names joined by slashes; the workload of a reference.
    Reference(Vec<Name>) {
        ExpectsReference,
        {"title": "workload", "type": "string", "pattern":
            "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,9}$"},
        |scalar| {
            let names: Vec<Name> = text(scalar)?.split('/').map(Name::new).collect::<Result<_, _>>().ok()?;
            (names.len() <= tengyun_model::name::DEPARTMENT_DEPTH_MAX + 2).then_some(names)
        }
    }
}

leaf! {
    /// The name of an environment variable.
    Variable(String) {
        ExpectsVariable,
        {"title": "name", "type": "string", "pattern": "^(?!LD_|TENGYUN_)[A-Za-z_][A-Za-z0-9_]*$"},
        |scalar| variable(&scalar.text).then(|| scalar.text.clone())
    }
}

leaf! {
    /// The name of a label.
    Label(String) {
        ExpectsLabel,
        {"title": "label", "type": "string", "minLength": 1, "maxLength": 253},
        |scalar| line(scalar, LABEL_BYTES_MAX).map(str::to_owned)
    }
}

leaf! {
    /// The value of a label.
    LabelValue(String) {
        ExpectsLabelValue,
        {"title": "text or number", "type": ["string", "number", "boolean"], "maxLength": 253},
        |scalar| {
            let fits = scalar.text.len() <= LABEL_BYTES_MAX && !scalar.text.contains(char::is_control);
            (scalar.sort != Sort::Null && fits).then(|| scalar.text.clone())
        }
    }
}

leaf! {
    /// The name of a user.
    User(String) {
        ExpectsUser,
        {"title": "user", "type": "string", "maxLength": 32, "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$"},
        |scalar| text(scalar).filter(|text| user(text)).map(str::to_owned)
    }
}

leaf! {
    /// A relative path that stays below where it starts.
    RelativePath(String) {
        ExpectsRelativePath,
        {"title": "relative path", "type": "string", "minLength": 1, "maxLength": 4096,
            "pattern": r"^(?!\.{1,2}(/|$))[^/]+(/(?!\.{1,2}(/|$))[^/]+)*$"},
        |scalar| text(scalar).filter(|text| relative(text)).map(str::to_owned)
    }
}

leaf! {
    /// The path of a request.
    RequestPath(String) {
        ExpectsRequestPath,
        {"title": "path", "type": "string", "pattern": "^/[!-~]*$", "maxLength": 4096},
        |scalar| {
            let text = line(scalar, TEXT_BYTES_MAX)?;
            let plain = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic());
            plain.then(|| text.to_owned())
        }
    }
}

leaf! {
    /// The permission bits of a file.
    Mode(u32) {
        ExpectsMode,
        {"title": "octal digits", "type": ["string", "integer"], "pattern": "^(0o)?[0-7]{1,4}$"},
        |scalar| mode(scalar)
    }
}

leaf! {
    /// The number of a signal.
    SignalNumber(i32) {
        ExpectsSignal,
        {"title": "signal", "type": ["string", "integer"]},
        |scalar| signal(scalar)
    }
}

leaf! {
    /// A SHA-256 digest.
    Sha256(String) {
        ExpectsSha256,
        {"title": "hexadecimal digits", "type": "string", "pattern": "^[0-9a-f]{64}$"},
        |scalar| {
            let text = scalar.text.as_str();
            let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            (text.len() == 64 && text.bytes().all(digit)).then(|| text.to_owned())
        }
    }
}

leaf! {
    /// Where something is fetched from.
    Url(String) {
        ExpectsUrl,
        {"title": "address", "type": "string", "pattern": "^https?://[^ ]+$"},
        |scalar| {
            let text = line(scalar, TEXT_BYTES_MAX)?;
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
            (!rest.is_empty() && !text.contains(char::is_whitespace)).then(|| text.to_owned())
        }
    }
}

leaf! {
    /// A truth value.
    Flag(bool) {
        ExpectsFlag,
        {"title": "true or false", "type": "boolean"},
        |scalar| {
            let is_true = scalar.text.eq_ignore_ascii_case("true");
            (scalar.sort == Sort::Boolean).then_some(is_true)
        }
    }
}

leaf! {
    /// A time of day.
    TimeOfDay(String) {
        ExpectsTimeOfDay,
        {"title": "time of day", "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
        |scalar| {
            let (hour, minute) = text(scalar)?.split_once(':')?;
            let number = |text: &str, below: u8| {
                text.len() == 2 && text.parse::<u8>().is_ok_and(|n| n < below && !text.starts_with('+'))
            };
            (number(hour, 24) && number(minute, 60)).then(|| scalar.text.clone())
        }
    }
}

/// Returns a text that YAML takes for nothing else.
pub(super) fn text(scalar: &Scalar) -> Option<&str> {
    (scalar.sort == Sort::Text).then_some(scalar.text.as_str())
}

fn line(scalar: &Scalar, bytes_max: usize) -> Option<&str> {
    let fits = |text: &&str| !text.is_empty() && text.len() <= bytes_max;
    text(scalar).filter(fits).filter(|text| !text.contains(char::is_control))
}

fn variable(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // They steer the loader, or are what the agent says of the instance.
    let reserved = name.starts_with("LD_") || name.starts_with("TENGYUN_");
    first && rest && !reserved && name.len() <= TEXT_BYTES_MAX
}

fn user(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    first && name.bytes().all(inner) && name.len() <= USER_BYTES_MAX
}

fn relative(path: &str) -> bool {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.len() <= PATH_PART_BYTES_MAX
            && !part.contains(char::is_control)
    };
    path.split('/').all(plain)
        && path.split('/').count() <= PATH_DEPTH_MAX
        && path.len() <= TEXT_BYTES_MAX
}

/// Reads the digits as octal in every spelling, as `chmod` does; nobody means decimal here.
fn mode(scalar: &Scalar) -> Option<u32> {
    let digits = scalar.text.strip_prefix("0o").unwrap_or(&scalar.text);
    let octal = !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| octal)?;
    (mode <= MODE_MAX).then_some(mode)
}

fn signal(scalar: &Scalar) -> Option<i32> {
    if scalar.sort == Sort::Number {
        let number = super::amount::whole(scalar)?;
        return i32::try_from(number).ok().filter(|_| (1..=SIGNAL_MAX).contains(&number));
    }
    let name = text(scalar)?.to_ascii_uppercase();
    let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let numbers = 1..=i32::try_from(SIGNAL_MAX).ok()?;
    let named = |number: &i32| Signal::try_from(*number).is_ok_and(|s| s.as_str() == full);
    numbers.into_iter().find(named)
}
