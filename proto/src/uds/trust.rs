//! Who is trusted at the other end of a socket.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::address;

/// The bits that let others than the owner write into a directory.
const OTHERS_WRITE: u32 = 0o022;

/// Returns true when a user may speak to us: ourselves and root, nobody else.
pub(super) fn is_trusted(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

/// Returns true when root gave a socket's directory to a user: the directory is that user's, and all
/// above it can be changed by nobody but root.
///
/// So root, and those whom a daemon lets in, may speak to a daemon that runs as a user of its own, and
/// to no user that only put a socket where they look.
pub(super) fn is_given(socket: &Path, owner: u32) -> bool {
    let chain = || {
        let (directory, _) = address::split(socket).ok()?;
        let directory = directory.canonicalize().ok()?;
        let owners = directory.ancestors().map(|dir| {
            let found = std::fs::symlink_metadata(dir).ok()?;
            Some((found.uid(), found.mode()))
        });
        owners.collect::<Option<Vec<_>>>()
    };
    chain().is_some_and(|chain| is_given_by_root(&chain, owner))
}

/// Judges owner and mode of a directory and of each one above it, the root of all last.
fn is_given_by_root(chain: &[(u32, u32)], owner: u32) -> bool {
    let Some(((directory, _), above)) = chain.split_first() else { return false };
    let is_roots = |(uid, mode): &(u32, u32)| *uid == 0 && mode & OTHERS_WRITE == 0;
    *directory == owner && !above.is_empty() && above.iter().all(is_roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ourselves_and_root_are_trusted() {
        assert!(is_trusted(1000, 1000));
        assert!(is_trusted(0, 1000));
        assert!(!is_trusted(1001, 1000));
        assert!(!is_trusted(1000, 0));
    }

    #[test]
    fn root_trusts_the_user_to_whom_it_gave_the_directory_and_no_other() {
        let roots = (0, 0o40755);
        let given = |chain: &[(u32, u32)]| is_given_by_root(chain, 998);
        assert!(given(&[(998, 0o40700), roots, roots]), "/var/lib/tengyun/scheduler");
        assert!(!given(&[(997, 0o40700), roots, roots]), "another user's directory");
        assert!(!given(&[(998, 0o40700), (998, 0o40755), roots]), "made by the user itself");
        assert!(!given(&[(998, 0o40700), (0, 0o41777), roots]), "made in /tmp");
        assert!(!given(&[(998, 0o40700), (0, 0o40775), roots]), "a group may write above");
        assert!(!given(&[(998, 0o40700)]) && !given(&[]));
    }

    #[test]
    fn what_is_not_there_was_given_to_nobody() {
        assert!(!is_given(Path::new("/nowhere/at/all.sock"), 998));
    }
}
