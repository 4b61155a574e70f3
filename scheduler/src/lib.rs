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
mod backup;
mod caller;
mod connections;
mod descriptors;
mod door;
mod identity;
mod operator;
mod roster;
mod route;
mod secrets;
mod server;
mod tasks;
mod unread;

mod desk;
mod writer;

mod almanac;
mod calendar;
mod clock;
mod commit;
mod directory;
mod dispatch;
mod events;
mod ingest;
mod journal;
mod metrics;
mod planning;
mod recording;
mod replay;
mod restored;
mod run;
mod view;

#[cfg(test)]
mod fixture;

pub use almanac::AlmanacError;
pub use authority::AuthorityError;
pub use backup::{BackedUpJournal, BackupError, Progress, Summary, backup, restore};
pub use calendar::PastDays;
pub use config::Config;
pub use descriptors::raise_descriptors;
pub use door::DoorError;
pub use journal::JournalError;
pub use journal::reader::{JournalReader, KeptSnapshot, state_digest};
pub use recording::{Recorded, Recording, RecordingError};
pub use replay::ReplayError;
pub use run::{RunError, run};
pub use secrets::SecretsError;
pub use server::ServerError;
pub use tengyun_daemon::metrics::SocketError;
