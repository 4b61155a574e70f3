//! Help and errors of the command line, in the language of the locale.
//!
//! Texts stand in English where the options are declared; the Chinese ones are a table by these texts.
//! Manuals and completions are packaged once for all and stay in English.

mod chinese;

use std::error::Error as _;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, Command, CommandFactory as _, Error, FromArgMatches as _, Parser as _};

use crate::message::Message;
use crate::options::Options;
use crate::output::{joined, note, print};
use crate::text::Language;

/// Reads the command line; what is wrong with it, or asked about it, is said at once.
pub(crate) fn parse() -> Result<Options, ExitCode> {
    match Language::of_locale() {
        Language::English => Ok(Options::parse()),
        Language::Chinese => in_chinese(Options::command())
            .try_get_matches()
            .and_then(|matches| Options::from_arg_matches(&matches))
            .map_err(|error| tell(&error)),
    }
}

/// Puts the Chinese texts in the place of the English ones.
fn in_chinese(command: Command) -> Command {
    let about = command.get_about().map(said);
    let after = command.get_after_help().map(said);
    let mut command = command.mut_args(argument).mut_subcommands(in_chinese);
    if let Some(about) = about {
        command = command.about(about);
    }
    match after {
        Some(after) => command.after_help(after),
        None => command,
    }
}

fn argument(argument: Arg) -> Arg {
    match argument.get_help().map(said) {
        Some(help) => argument.help(help),
        None => argument,
    }
}

/// Says a text of the command line; one that the table lacks stays as it is.
fn said(english: &StyledStr) -> StyledStr {
    let english = english.to_string();
    chinese::text(&english).map_or(english.as_str(), |chinese| chinese).to_owned().into()
}

/// Shows help, or what is wrong; returns the exit code.
fn tell(error: &Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(u8::MAX);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A standard output that is gone has no reader to tell.
            drop(print(&page(error, io::stdout().is_terminal())));
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            note(page(error, false).trim_end());
        }
        _ => note(&wrong(error)),
    }
    ExitCode::from(code)
}

/// Returns a page of help with the words of the library in Chinese.
fn page(error: &Error, terminal: bool) -> String {
    let page = error.render();
    let page = if terminal { page.ansi().to_string() } else { page.to_string() };
    let page = joined(page.lines().map(value));
    chinese::WORDS.iter().fold(page, |page, (english, chinese)| page.replace(english, chinese))
}

/// Says in Chinese what stands beside a value of an argument; other lines stay.
fn value(line: &str) -> String {
    let known = |(english, chinese): &(&str, &str)| {
        let left = line.strip_suffix(english)?;
        (left.trim_start().starts_with("- ") && left.ends_with(' '))
            .then(|| format!("{left}{chinese}"))
    };
    chinese::VALUES.iter().find_map(known).unwrap_or_else(|| line.to_owned())
}

/// Says what is wrong with a command line.
fn wrong(error: &Error) -> String {
    let near = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand];
    let near = near.iter().chain([&ContextKind::SuggestedValue]);
    let near: Vec<String> =
        near.map(|kind| given(error, *kind)).filter(|n| !n.is_empty()).collect();
    let mut what = problem(error);
    if !near.is_empty() {
        what = Message::LineNear { what: &what, near: &near.join(", ") }.text(Language::Chinese);
    }
    let usage = given(error, ContextKind::Usage);
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage).trim();
    if !usage.is_empty() {
        let usage = chinese::WORDS.iter().fold(usage.to_owned(), |u, (e, c)| u.replace(e, c));
        what = Message::LineUsage { what: &what, usage: &usage }.text(Language::Chinese);
    }
    Message::ErrorIs { what: &Message::LineHelp { what: &what }.text(Language::Chinese) }
        .text(Language::Chinese)
}

fn problem(error: &Error) -> String {
    let argument = given(error, ContextKind::InvalidArg);
    let value = given(error, ContextKind::InvalidValue);
    let (argument, value) = (&argument, &value);
    match error.kind() {
        ErrorKind::InvalidValue => {
            let list = given(error, ContextKind::ValidValue);
            let what = if value.is_empty() {
                Message::LineNoValue { argument }.text(Language::Chinese)
            } else {
                Message::LineBadValue { argument, value }.text(Language::Chinese)
            };
            if list.is_empty() {
                what
            } else {
                Message::LineChoices { what: &what, list: &list }.text(Language::Chinese)
            }
        }
        ErrorKind::ValueValidation => {
            let what = Message::LineBadValue { argument, value }.text(Language::Chinese);
            match error.source() {
                Some(why) => {
                    let why = chinese::reason(&why.to_string());
                    Message::LineWhy { what: &what, why: &why }.text(Language::Chinese)
                }
                None => what,
            }
        }
        ErrorKind::UnknownArgument => Message::LineUnknown { argument }.text(Language::Chinese),
        ErrorKind::InvalidSubcommand => {
            let verb = given(error, ContextKind::InvalidSubcommand);
            Message::LineNoVerb { verb: &verb }.text(Language::Chinese)
        }
        ErrorKind::NoEquals => Message::LineNoEquals { argument }.text(Language::Chinese),
        ErrorKind::TooManyValues => {
            Message::LineTooMany { argument, value }.text(Language::Chinese)
        }
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            Message::LineNumber { argument }.text(Language::Chinese)
        }
        ErrorKind::ArgumentConflict => {
            let other = given(error, ContextKind::PriorArg);
            if other == *argument {
                Message::LineTwice { argument }.text(Language::Chinese)
            } else {
                Message::LineConflict { argument, other: &other }.text(Language::Chinese)
            }
        }
        ErrorKind::MissingRequiredArgument => {
            Message::LineMissing { argument }.text(Language::Chinese)
        }
        ErrorKind::MissingSubcommand => {
            let verb = given(error, ContextKind::InvalidSubcommand);
            let list = given(error, ContextKind::ValidSubcommand);
            Message::LineLacksVerb { verb: &verb, list: &list }.text(Language::Chinese)
        }
        ErrorKind::InvalidUtf8 => Message::LineNotUtf8 {}.text(Language::Chinese),
        // The others are shown elsewhere, or are of a library that is newer than this.
        _ => error.to_string(),
    }
}

/// Returns what the library knows of a mistake; empty when that is nothing.
fn given(error: &Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every text of a command and of those below it, with where it stands.
    fn texts(command: &Command, path: &str, all: &mut Vec<(String, String)>) {
        if command.is_hide_set() {
            return;
        }
        let path = format!("{path} {}", command.get_name());
        let about = command.get_about().into_iter().chain(command.get_after_help());
        all.extend(about.map(|text| (path.clone(), text.to_string())));
        assert!(command.get_long_about().is_none(), "{path} has a second paragraph");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let place = format!("{path} {}", argument.get_id());
            assert!(argument.get_long_help().is_none(), "{place} has a second paragraph");
            all.extend(argument.get_help().map(|text| (place, text.to_string())));
        }
        for verb in command.get_subcommands() {
            texts(verb, &path, all);
        }
    }

    #[test]
    fn every_text_of_the_command_line_is_there_in_chinese() {
        let mut all = Vec::new();
        texts(&Options::command(), "", &mut all);
        let lacking: BTreeSet<&String> = all
            .iter()
            .filter(|(_, text)| chinese::text(text).is_none())
            .map(|(_, text)| text)
            .collect();
        assert!(lacking.is_empty(), "no Chinese for {lacking:#?}");
        let used: BTreeSet<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
        for (english, _) in chinese::TEXTS {
            assert!(used.contains(english), "nothing says {english:?} any more");
        }
    }

    fn said_of(words: &[&str]) -> (Error, String) {
        let line = ["tengyun"].iter().chain(words);
        let error = in_chinese(Options::command()).try_get_matches_from(line).unwrap_err();
        let said = match error.kind() {
            ErrorKind::DisplayHelp => page(&error, false),
            _ => problem(&error),
        };
        (error, said)
    }

    #[test]
    fn help_and_mistakes_are_said_in_chinese() {
        let (_, page) = said_of(&["token", "create", "--help"]);
        for part in ["用法：tengyun token create [选项]", "可选值：", "- operator:   一切操作"]
        {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        for english in ["Usage", "Options", "Print", "Possible", "[env", "[default", "Look"] {
            assert!(!page.contains(english), "{english} is in\n{page}");
        }
        for (words, chinese) in [
            (&["gett"][..], "没有 gett 这个命令"),
            (&["get"], "缺少必需的参数：<WHAT>"),
            (&["get", "foo"], "<WHAT> 的值 foo 无效，可选值：nodes, departments"),
            (&["get", "nodes", "--foo"], "没有 --foo 这个参数"),
            (&["get", "nodes", "--all", "--all"], "--all 只能给一次"),
            (&["up", "--nodes", "99"], "--nodes <NODES> 的值 99 无效：应在 1..=64 之内"),
            (&["up", "--nodes"], "--nodes <NODES> 需要一个值"),
            (&["logs", "x", "--tail", "y"], "--tail <LINES> 的值 y 无效：应为整数"),
            (&["join", "T", "--name", "A"], "--name <NAME> 的值 A 无效：名称只能用小写字母"),
        ] {
            let (error, said) = said_of(words);
            assert!(said.starts_with(chinese), "{words:?}: {said}");
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }
}
