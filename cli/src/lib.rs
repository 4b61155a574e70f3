//! The `tengyun` command: one file a verb; the composition root of `tengyun up`.
//!
//! Exit codes: 0 done, 1 refused by the scheduler, 2 wrong command line, manifest or policy,
//! 3 the scheduler cannot be reached, 4 anything else.

pub mod demo;
pub mod failure;
pub mod manifest;
pub mod output;
pub mod session;
pub mod text;

mod apply;
mod backup;
mod budget;
mod completion;
mod describe;
mod doctor;
mod events;
mod explain;
mod get;
mod help;
mod join;
mod lab;
mod logs;
mod loss;
mod member;
mod message;
mod metrics;
mod moves;
mod node;
mod options;
mod plan;
mod policy;
mod rollout;
mod runs;
mod secret;
mod status;
mod stop;
mod token;
mod top;
mod up;
mod volume;

use std::process::ExitCode;

use failure::Failure;
use message::Message;
use options::{Options, Verb};
use output::Format;
use text::Language;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // A role of the agent, such as the parent of one instance's process: before threads, logs and a
    // runtime.
    if let Some(ended) = tengyun_agent::enter(std::env::args_os().skip(1)) {
        return ended;
    }
    let options = match help::parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    // What machines read is the same in every locale.
    if options.global.output == Format::Json {
        text::speak(Language::English);
    }
    match run(options) {
        Ok(code) => code,
        Err(failure) => {
            output::note(&Message::ErrorIs { what: &failure }.said());
            failure.code()
        }
    }
}

fn run(options: Options) -> Result<ExitCode, Failure> {
    let session = options.session();
    let done = |()| ExitCode::SUCCESS;
    match options.verb {
        Verb::Up(args) => up::run(&args, &options.global).map(done),
        Verb::Demo(args) => demo::run(&args, &options.global, session.format),
        Verb::DemoPlayer(args) => demo::play(&args).map(done),
        Verb::DemoService(args) => demo::serve(&args).map(done),
        Verb::Schema => output::print(&format!("{:#}\n", manifest::schema())).map(done),
        Verb::Completions { shell } => completion::completions(shell).map(done),
        Verb::Man(args) => completion::man(&args).map(done),
        Verb::Backup(args) => backup::backup(&options.global, &args, session.format).map(done),
        Verb::Restore(args) => backup::restore(&options.global, &args, session.format).map(done),
        Verb::ConfirmRestore(args) => wait(backup::confirm(&session, args)).map(done),
        Verb::Apply(args) => wait(apply::run(&session, args)).map(done),
        Verb::Get(args) => wait(get::run(&session, args)).map(done),
        Verb::Describe(args) => wait(describe::run(&session, args)).map(done),
        Verb::Explain { name } => wait(explain::run(&session, &name)).map(done),
        Verb::Logs(args) => wait(logs::run(&session, args)).map(done),
        Verb::Top(args) => wait(top::run(&session, args)).map(done),
        Verb::Stop { name } => wait(stop::stop(&session, &name)).map(done),
        Verb::Delete { name } => wait(stop::delete(&session, &name)).map(done),
        Verb::Cordon { node } => wait(node::cordon(&session, &node)).map(done),
        Verb::Uncordon { node } => wait(node::uncordon(&session, &node)).map(done),
        Verb::Drain(args) => wait(node::drain(&session, args)).map(done),
        Verb::Move(args) => wait(moves::run(&session, args)).map(done),
        Verb::AcknowledgeLoss(args) => wait(loss::acknowledge(&session, args)).map(done),
        Verb::Forget(args) => wait(loss::forget(&session, args)).map(done),
        Verb::Release { name } => wait(loss::release(&session, &name)).map(done),
        Verb::Rollout(args) => wait(rollout::run(&session, args)).map(done),
        Verb::Events(args) => wait(events::run(&session, args)).map(done),
        Verb::History { name } => wait(events::history(&session, &name)).map(done),
        Verb::Policy(args) => wait(policy::run(&session, args)).map(done),
        Verb::Meters => wait(status::meters(&session)).map(done),
        Verb::Secret(args) => wait(secret::run(&session, args)).map(done),
        Verb::Token(args) => wait(token::run(&session, args)).map(done),
        Verb::Join(args) => wait(join::node(&options.global, args, session.format)).map(done),
        Verb::Login(args) => wait(join::person(&options.global, args, session.format)).map(done),
        Verb::Members => wait(member::list(&session)).map(done),
        Verb::Node(args) => wait(member::node(&session, args)).map(done),
        Verb::Person(args) => wait(member::person(&session, args)).map(done),
        Verb::Volume(args) => wait(volume::run(&session, args)).map(done),
        Verb::Doctor(args) => wait(doctor::run(&session, &options.global, &args)).map(done),
        Verb::Metrics => wait(metrics::run(&session)).map(done),
        Verb::Status => wait(status::status(&session)).map(done),
        Verb::Lab(args) => lab::run(args, session.format).map(done),
        Verb::Plan(args) => plan::run(&args, session.format).map(done),
    }
}

/// Runs one command that talks to the scheduler.
fn wait<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::internal(&error))?.block_on(command)
}
