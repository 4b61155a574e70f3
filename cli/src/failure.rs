//! Failures: what a person is told when a command did not do what it was asked, and the exit code.

use std::process::ExitCode;

use tengyun_proto::identity::IdentityError;
use tengyun_proto::join::JoinError;
use tengyun_proto::tls::TlsError;
use tengyun_proto::uds::UdsError;
use tengyun_proto::v1;

use crate::message::{Message, ended};
use crate::text::Language;

/// Why a command failed. The exit code tells scripts which kind it was.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The scheduler said no (exit code 1).
    #[error("{0}")]
    Refused(String),
    /// The command line, a manifest or a policy is wrong (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// The scheduler cannot be reached (exit code 3).
    #[error("{}", unreachable(.0))]
    Unreachable(String),
    /// Something else failed (exit code 4).
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// Says no, and what to do next.
    pub(crate) fn refused(what: &Message<'_>, next: &Message<'_>) -> Self {
        Self::Refused(Message::Next { what: &what.said(), next: &next.said() }.said())
    }

    /// Returns the exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Internal(_) => 4,
        })
    }

    /// Makes a failure of an error and what caused it.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        Self::Internal(chain(error))
    }
}

impl From<UdsError> for Failure {
    fn from(error: UdsError) -> Self {
        Self::Unreachable(match &error {
            UdsError::Connect { path, source } => {
                let (what, why) = (path.display(), cause(source.as_ref()));
                Message::CannotConnect { what: &what, why: &why }.said()
            }
            // The others are of those who serve a socket.
            UdsError::BadName { .. }
            | UdsError::Directory { .. }
            | UdsError::DirectoryOpen { .. }
            | UdsError::DirectoryWritable { .. }
            | UdsError::DirectoryForeign { .. }
            | UdsError::Busy { .. }
            | UdsError::NotASocket { .. }
            | UdsError::Listen { .. } => chain(&error),
        })
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let message = ended(&status);
        match status.code() {
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
                Self::Unreachable(Message::NoAnswer { message: &message }.said())
            }
            tonic::Code::InvalidArgument => Self::Usage(message),
            tonic::Code::FailedPrecondition
            | tonic::Code::NotFound
            | tonic::Code::PermissionDenied
            | tonic::Code::Unauthenticated
            | tonic::Code::ResourceExhausted => Self::Refused(message),
            _ => Self::Internal(Message::SchedulerFailed { message: &message }.said()),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Unreachable(match &error {
            TlsError::Identity(why) => Message::IdentityUnfit { why: &chain(why) }.said(),
            TlsError::Connect { address, reason } => {
                Message::CannotConnect { what: address, why: reason }.said()
            }
        })
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::Usage(match &error {
            IdentityError::File { path, source } => {
                let said = Message::IdentityFile { file: &path.display(), error: source }.said();
                let next = Message::LoginNext {}.said();
                Message::Next { what: &said, next: &next }.said()
            }
            IdentityError::NoRandomness => Message::NoRandomness {}.said(),
            IdentityError::Open { path, mode } => {
                let mode = format!("{mode:o}");
                Message::IdentityOpen { file: &path.display(), mode: &mode }.said()
            }
            IdentityError::Content { path, problem } => {
                Message::IdentityContent { file: &path.display(), problem }.said()
            }
        })
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Tls(error) => error.into(),
            JoinError::Refused(status) => status.into(),
            JoinError::Identity(error) => error.into(),
            JoinError::Answer(what) => {
                Self::Internal(Message::AnswerCannotBe { what: &what }.said())
            }
        }
    }
}

impl From<v1::Refusal> for Failure {
    fn from(refusal: v1::Refusal) -> Self {
        Self::Refused(refusal_text(&refusal))
    }
}

/// Returns a refusal with what would lift it.
pub fn refusal_text(refusal: &v1::Refusal) -> String {
    let (message, remedy) = crate::message::refusal(refusal);
    if remedy.is_empty() {
        return message;
    }
    Message::Next { what: &message, next: &remedy }.said()
}

/// Says that nobody answers, and what to do.
fn unreachable(what: &str) -> String {
    Message::Next { what: &what, next: &Message::UnreachableNext {}.said() }.said()
}

/// Says why nobody was reached: all that is known, or what the system said, in its own words.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    match Language::of_locale() {
        Language::English => chain(error),
        Language::Chinese => std::iter::successors(Some(error), |error| error.source())
            .last()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

/// Joins an error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
