//! The wire of tengyun: generated messages, their conversion to and from the model, and the limits
//! and peer checks that both sides of every connection share.

pub mod convert;
pub mod identity;
pub mod join;
pub mod limits;
pub mod refused;
pub mod secret;
pub mod supervisor;
pub mod tls;
pub mod token;
pub mod uds;

/// The generated messages and services of package `tengyun.v1`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    reason = "generated from the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("tengyun.v1");
}

/// The encoded descriptors of package `tengyun.v1`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Every call of the protocol, by its path.
pub const CALLS: &[&str] = include!(concat!(env!("OUT_DIR"), "/calls.rs"));

/// The version of the wire. A server accepts its own version and the one before.
pub const WIRE_VERSION: u32 = 1;
