//! The scheduler daemon: one writer, a durable journal, and the operator and agent services.
//!
//! ```text
//! agents, operators -> attach, operator -> desk -> writer: ingest -> commit -> journal
//!                                                  |                   `-> State::apply
//!                                                  `-> planning -> commit, dispatch -> agents
//! ```

mod config;

mod attach;
mod authority;
mod caller;
mod connections;
mod door;
mod identity;
mod operator;
mod roster;
mod route;
mod server;
mod tasks;

mod desk;
mod writer;

mod calendar;
mod clock;
mod commit;
mod dispatch;
mod events;
mod ingest;
mod journal;
mod planning;
mod replay;
mod run;
mod view;

#[cfg(test)]
mod fixture;

pub use authority::AuthorityError;
pub use config::Config;
pub use door::DoorError;
pub use journal::JournalError;
pub use replay::ReplayError;
pub use run::{RunError, run};
pub use server::ServerError;
