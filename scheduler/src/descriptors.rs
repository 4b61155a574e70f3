//! File descriptors: as many as the system allows, and for how many members they are enough.
//!
//! Without this a shell's limit of 1024 would let a few hundred members take the last one, and then
//! the journal could not be opened again, nor an operator's connection be taken.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tengyun_proto::limits::{CONNECTIONS_MAX, MEMBER_CONNECTIONS_MAX, UNKNOWN_CONNECTIONS_MAX};
use tracing::warn;

/// Descriptors for everything that is no connection: journal, events, log, runtime, listeners.
const KEPT: usize = 64;
/// Fewer members than this are let in only where even fewer descriptors are.
const MEMBERS_MIN: usize = 16;

/// Raises this process's limit to what the system allows it, as daemons do; returns how many
/// descriptors it may have.
pub fn raise_descriptors() -> usize {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(())
    });
    if let Err(error) = raised {
        warn!(%error, "cannot raise the limit of file descriptors");
    }
    descriptors()
}

fn descriptors() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Returns how many connections of members there may be, so that descriptors are left for all else.
pub(crate) fn member_connections_max() -> usize {
    enough_for(descriptors())
}

fn enough_for(descriptors: usize) -> usize {
    let others = CONNECTIONS_MAX + UNKNOWN_CONNECTIONS_MAX + KEPT;
    descriptors.saturating_sub(others).clamp(MEMBERS_MIN, MEMBER_CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_leave_descriptors_for_everything_else() {
        assert_eq!(enough_for(usize::MAX), MEMBER_CONNECTIONS_MAX);
        assert_eq!(enough_for(1024), 192);
        assert_eq!(enough_for(0), MEMBERS_MIN);
        let large = MEMBER_CONNECTIONS_MAX + CONNECTIONS_MAX + UNKNOWN_CONNECTIONS_MAX + KEPT;
        assert_eq!(enough_for(large), MEMBER_CONNECTIONS_MAX);
        assert!(enough_for(large - 1) < MEMBER_CONNECTIONS_MAX);
    }
}
