//! The program's other roles, told by its first word: the shim of an instance, the one who fetches,
//! the one who unpacks. Each is entered before any thread is started.
//!
//! Whoever speaks with strangers (`fetch`) or reads what strangers made (`unpack`) gives up every
//! privilege before the first byte, and ends with its parent.

mod fetch;
pub(crate) mod parent;
mod privilege;
mod unpack;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

pub(crate) use fetch::{FILE_ORDER, URL_ORDER};
pub(crate) use privilege::{become_user, no_core_dumps};

/// The word of the role that fetches.
pub(crate) const FETCH: &str = "fetch";
/// The word of the role that unpacks.
pub(crate) const UNPACK: &str = "unpack";
/// What a role returns when trying again may help.
pub(crate) const TRY_AGAIN: u8 = 10;
/// What a role returns when it was refused for good.
pub(crate) const REFUSED: u8 = 11;

/// Enters the role that the first word names; `None` when it names none.
pub fn enter<I>(args: I) -> Option<ExitCode>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut args = args.into_iter().map(Into::into);
    let word: OsString = args.next()?;
    match word.to_str() {
        Some("shim") => Some(crate::shim::main(args)),
        Some(FETCH) => Some(ended(fetch::run(args))),
        Some(UNPACK) => Some(ended(unpack::run(args))),
        _ => None,
    }
}

/// Why a role did not do what it was told.
#[derive(Debug)]
struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    fn again(message: impl Into<String>) -> Self {
        Self { code: TRY_AGAIN, message: message.into() }
    }

    fn refused(message: impl Into<String>) -> Self {
        Self { code: REFUSED, message: message.into() }
    }
}

/// Says what went wrong where the parent listens.
fn ended(result: Result<(), Failed>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            // A parent that is gone needs no words.
            drop(std::io::stderr().write_all(failed.message.as_bytes()));
            ExitCode::from(failed.code)
        }
    }
}

/// Reads a user and a group; `-` keeps what the process has.
fn user(word: Option<OsString>) -> Result<Option<u32>, Failed> {
    let wrong = || Failed::refused("the role was started with wrong words");
    let word = word.ok_or_else(wrong)?;
    match word.to_str().ok_or_else(wrong)? {
        "-" => Ok(None),
        number => number.parse().map(Some).map_err(|_| wrong()),
    }
}
