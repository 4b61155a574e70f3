//! Giving up privilege, for good.

use std::io;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

/// The highest capability the kernel may know; dropping one it does not know fails harmlessly.
const CAPABILITIES_MAX: libc::c_ulong = 63;

/// Becomes a user in these groups alone, without capabilities or a way back; without a user, only the
/// way is given up.
#[expect(unsafe_code, reason = "the capability call has no safe form in nix")]
pub(crate) fn become_user(uid: Option<u32>, gid: Option<u32>, groups: &[u32]) -> nix::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    let (Some(uid), Some(gid)) = (uid, gid) else { return Ok(()) };
    if uid != 0 {
        for capability in 0..=CAPABILITIES_MAX {
            // SAFETY: plain numbers.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    nix::unistd::setgroups(&groups)?;
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)
}

/// Forbids core dumps of this process: they would hold what it keeps in memory.
pub(crate) fn no_core_dumps() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Leaves nothing to a role but what it needs: a user without privilege, few files, no core dump, and
/// its parent's life.
pub(super) fn confine(
    uid: Option<u32>,
    gid: Option<u32>,
    limits: &[(Resource, u64)],
) -> io::Result<()> {
    become_user(uid, gid, &[])?;
    // After the change of the user, which resets it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    no_core_dumps()?;
    for (resource, most) in limits {
        setrlimit(*resource, *most, *most)?;
    }
    Ok(())
}
