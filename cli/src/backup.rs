//! `tengyun backup`, `restore` and `confirm-restore`: the whole state of a scheduler, out and in.
//!
//! The first two work on the files of this machine: a backup holds the authority's key, which never
//! goes over a wire.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tengyun_proto::v1;
use tengyun_scheduler::{BackupError, Progress, Summary};

use crate::failure::{Failure, chain};
use crate::message::Message;
use crate::options::Global;
use crate::output::{Format, memory, note, show, time};
use crate::session::{Session, operation_id};

/// What `backup` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The archive to make, with mode 0600; it must not be there yet
    file: PathBuf,
}

/// What `restore` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The archive
    file: PathBuf,
}

/// What `confirm-restore` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfirmArgs {
    /// Also when instances will be stopped that the journal does not know
    #[arg(long)]
    yes: bool,
}

/// Backs up the scheduler of a state directory; it may run.
pub(crate) fn backup(global: &Global, args: &BackupArgs, format: Format) -> Result<(), Failure> {
    let dir = global.state_dir().join("scheduler");
    let made = tengyun_scheduler::backup(&dir, &args.file, &mut tell).map_err(failure)?;
    let file = args.file.display();
    note(&Message::BackupIsSecret {}.said());
    let text = || {
        let done = Message::BackedUp {
            file: &file,
            entry: &made.sequence,
            nodes: &made.nodes,
            files: &made.files,
            size: &size(made.bytes),
        };
        format!("{}\n", done.said())
    };
    show(format, text, &summary(&made, &args.file))
}

/// Restores an archive into a state directory that holds no scheduler yet.
pub(crate) fn restore(global: &Global, args: &RestoreArgs, format: Format) -> Result<(), Failure> {
    let dir = global.state_dir().join("scheduler");
    let made = tengyun_scheduler::restore(&args.file, &dir, &mut tell).map_err(failure)?;
    note(&Message::RestoreObserves {}.said());
    let text = || {
        let done = Message::Restored {
            dir: &dir.display(),
            entry: &made.sequence,
            made: &time(made.made.millis()),
            nodes: &made.nodes,
        };
        format!("{}\n", done.said())
    };
    show(format, text, &summary(&made, &args.file))
}

/// Lets nodes run what a restored journal says.
pub(crate) async fn confirm(session: &Session, args: ConfirmArgs) -> Result<(), Failure> {
    let status = session.call(|mut o| async move { o.status(v1::StatusRequest {}).await }).await?;
    if !status.strangers.is_empty() && !args.yes {
        let count = status.strangers.len();
        return Err(Failure::Refused(Message::StrangersStop { count: &count }.said()));
    }
    let request = v1::ConfirmRestoreRequest { operation_id: operation_id()? };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.confirm_restore(request).await }
    });
    if let Some(refusal) = response.await?.refusal {
        return Err(refusal.into());
    }
    let text = || format!("{}\n", Message::RestoreConfirmed {}.said());
    show(session.format, text, &json!({"effect": "confirmed"}))
}

fn tell(progress: Progress) {
    let text = match progress {
        Progress::CopyJournal => Message::CopyJournal {}.said(),
        Progress::CheckJournal => Message::CheckJournal {}.said(),
        Progress::CheckArchive { bytes } => Message::CheckArchive { size: &size(bytes) }.said(),
        Progress::File { path, bytes } => {
            Message::CopyFile { path: &path, size: &size(bytes) }.said()
        }
    };
    note(&text);
}

/// Shows bytes as what files have.
fn size(bytes: u64) -> String {
    if bytes < 1024 * 1024 { format!("{} KiB", bytes.div_ceil(1024)) } else { memory(bytes >> 20) }
}

fn summary(made: &Summary, file: &Path) -> Value {
    json!({
        "file": file.display().to_string(),
        "sequence": made.sequence.get(),
        "epoch": made.epoch.get(),
        "made_millis": made.made.millis(),
        "nodes": made.nodes,
        "files": made.files,
        "bytes": made.bytes,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn failure(error: BackupError) -> Failure {
    match &error {
        BackupError::Exists(file) => {
            Failure::Usage(Message::ArchiveExists { file: &file.display() }.said())
        }
        BackupError::NoState(dir) => {
            Failure::Usage(Message::NoJournal { dir: &dir.display() }.said())
        }
        BackupError::NotEmpty(dir) => {
            Failure::Usage(Message::NotEmpty { dir: &dir.display() }.said())
        }
        BackupError::Damaged { path, what } => {
            Failure::Usage(Message::ArchiveDamaged { file: &path.display(), what }.said())
        }
        BackupError::File { .. }
        | BackupError::Copy { .. }
        | BackupError::Journal(_)
        | BackupError::Replay(_)
        | BackupError::Newer(_)
        | BackupError::TooMany(_) => Failure::Internal(chain(&error)),
    }
}
