//! `tengyun completions` and `tengyun man`: what shells complete, and the manual, both made of the
//! command line itself.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::Failure;
use crate::message::Message;
use crate::options::Options;
use crate::output::print;

/// The shells that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ShellName {
    /// The shell of most servers
    Bash,
    /// The Z shell
    Zsh,
    /// The friendly shell
    Fish,
}

/// Prints the completion script for a shell.
pub(crate) fn completions(shell: ShellName) -> Result<(), Failure> {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "tengyun", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// What `man` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Directory to write the pages into
    dir: PathBuf,
}

/// Writes a manual page for the command and one for each verb.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::Usage(format!("{}: {error}", path.display()))
    };
    fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    let mut command = visible();
    command.build();
    let pages = pages(&command).map_err(|error| failed(&args.dir, &error))?;
    for (name, page) in &pages {
        let path = args.dir.join(format!("{name}.1"));
        fs::write(&path, page).map_err(|error| failed(&path, &error))?;
    }
    let (dir, count) = (args.dir.display(), pages.len());
    print(&format!("{}\n", Message::ManWritten { dir: &dir, count: &count }.said()))
}

/// Returns the command without what is not for people.
fn visible() -> Command {
    let command = Options::command();
    let mut shown = Command::new("tengyun");
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        shown = shown.subcommand(verb.clone());
    }
    for argument in command.get_arguments() {
        shown = shown.arg(argument.clone());
    }
    let about = command.get_about().cloned().unwrap_or_default();
    let after = command.get_after_help().cloned().unwrap_or_default();
    shown.version(env!("CARGO_PKG_VERSION")).about(about).after_help(after)
}

fn pages(command: &Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![("tengyun".to_owned(), page(command, "tengyun")?)];
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("tengyun-{}", verb.get_name());
        pages.push((name.clone(), page(verb, &name)?));
    }
    Ok(pages)
}

fn page(command: &Command, name: &str) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let command = command.clone().disable_help_subcommand(true).version(env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.display_name(name)).title(name).manual("tengyun");
    man.render(&mut page)?;
    Ok(page)
}
