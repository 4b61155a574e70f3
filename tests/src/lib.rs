//! End-to-end tests: real daemons, real processes, Unix sockets, temporary directories.
//!
//! [`Cluster`] is the harness: it starts the very binaries that ship, kills them as a test asks, and
//! leaves no process and no control group behind.

pub mod abuse;
pub mod cluster;
pub mod frames;
pub mod garbage;
pub mod guide;
pub mod members;
pub mod openmetrics;
pub mod partition;
pub mod proxy;
pub mod servers;
pub mod spec;

pub use cluster::Cluster;

/// Says that a test was skipped, or fails where a skip is not accepted.
///
/// CI sets `TENGYUN_TEST_NO_SKIP=1`, so a test that silently stopped testing cannot pass there.
#[expect(clippy::print_stdout, reason = "a skip is said where the result is read")]
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("TENGYUN_TEST_NO_SKIP").is_none_or(|v| v != "1"),
        "a skip is not accepted here: {reason}"
    );
    println!("SKIPPED({reason})");
}
