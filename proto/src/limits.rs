//! The limits of every connection, set explicitly: what the libraries do by default is no promise.
//!
//! Numbers from `reliability.md` §4.4. A connection has no greatest age: a Unix socket needs no
//! rebalancing, and an agent's stream is meant to stay.

use std::time::Duration;

use tonic::transport::{Channel, Server};

use crate::v1::agent_service_client::AgentServiceClient;
use crate::v1::agent_service_server::{AgentService, AgentServiceServer};
use crate::v1::identity_service_client::IdentityServiceClient;
use crate::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use crate::v1::operator_service_client::OperatorServiceClient;
use crate::v1::operator_service_server::{OperatorService, OperatorServiceServer};
use crate::v1::secret_service_client::SecretServiceClient;
use crate::v1::secret_service_server::{SecretService, SecretServiceServer};

/// The most streams one connection may have open: an agent needs two, an operator's tool a few, and
/// whoever has more only makes the others wait.
pub const STREAMS_MAX: u32 = 16;
/// The most streams reset for a peer's own faults before the connection is closed (rapid reset).
pub const LOCAL_ERROR_RESETS_MAX: usize = 128;
/// The most streams reset by the peer before they were accepted (rapid reset).
pub const PENDING_ACCEPT_RESETS_MAX: usize = 20;
/// The most bytes of the headers of one call; ours have a few hundred.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How long a call may take until its answer begins. A stream's answer begins at once, so this
/// never cuts a stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent peer is asked whether it is there; without it a partitioned agent never
/// noticed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a silent peer may take to answer.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The most calls of one connection that are worked on at the same time; more are refused.
pub const CALLS_MAX: usize = 16;
/// The most bytes of one message from an operator: two of the largest specifications.
pub const OPERATOR_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of one message from an agent: a full report of the largest node.
pub const AGENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most bytes of one message about identities: a name, a key and some addresses. It is all that
/// anybody without a certificate can send.
pub const IDENTITY_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of one message about secrets: the largest one and its name.
pub const SECRET_MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// The most bytes of one message sent by anybody; the library's default is none.
pub const SENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most bytes of answers that wait for one member to read them: four of the largest. Without it
/// a person's streams could hold 64 of them.
pub const UNREAD_BYTES_OF_MEMBER_MAX: usize = 4 * SENT_BYTES_MAX;
/// The most bytes of answers that wait for people to read them, in all.
pub const UNREAD_BYTES_MAX: usize = 8 * UNREAD_BYTES_OF_MEMBER_MAX;
/// The most connections of one socket: a few hundred agents of one machine and some operators.
pub const CONNECTIONS_MAX: usize = 512;
/// The most connections of peers with a certificate: every agent of the largest cloud, with room.
pub const MEMBER_CONNECTIONS_MAX: usize = 110_000;
/// The most connections of one member: its stream, one that takes its place, and two calls.
pub const CONNECTIONS_OF_MEMBER_MAX: usize = 4;
/// The most connections of peers that have not shown a certificate.
pub const UNKNOWN_CONNECTIONS_MAX: usize = 256;
/// The most of them from one address, so that one server cannot keep all others out.
pub const UNKNOWN_CONNECTIONS_OF_ADDRESS_MAX: usize = 32;
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most handshakes a second: an eighth of what one core can do.
pub const HANDSHAKES_PER_SECOND_MAX: u32 = 500;
/// How long a peer without a certificate may stay: enough to join.
pub const UNKNOWN_AGE_MAX: Duration = Duration::from_secs(15);
/// How long a connection to a socket may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns a server with every limit set.
pub fn server() -> Server {
    Server::builder()
        .accept_http1(false)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS_MAX))
        .http2_max_pending_accept_reset_streams(Some(PENDING_ACCEPT_RESETS_MAX))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .timeout(CALL_TIMEOUT)
        .concurrency_limit_per_connection(CALLS_MAX)
        .load_shed(true)
}

/// Serves agents within the limits of their messages.
pub fn agent_server<T: AgentService>(service: T) -> AgentServiceServer<T> {
    AgentServiceServer::new(service)
        .max_decoding_message_size(AGENT_BYTES_MAX)
        .max_encoding_message_size(SENT_BYTES_MAX)
}

/// Serves operators within the limits of their messages.
pub fn operator_server<T: OperatorService>(service: T) -> OperatorServiceServer<T> {
    OperatorServiceServer::new(service)
        .max_decoding_message_size(OPERATOR_BYTES_MAX)
        .max_encoding_message_size(SENT_BYTES_MAX)
}

/// Serves whoever joins, within the limits of their messages.
pub fn identity_server<T: IdentityService>(service: T) -> IdentityServiceServer<T> {
    IdentityServiceServer::new(service)
        .max_decoding_message_size(IDENTITY_BYTES_MAX)
        .max_encoding_message_size(SENT_BYTES_MAX)
}

/// Calls a scheduler about identities.
pub fn identity_client(channel: Channel) -> IdentityServiceClient<Channel> {
    IdentityServiceClient::new(channel)
        .max_decoding_message_size(SENT_BYTES_MAX)
        .max_encoding_message_size(IDENTITY_BYTES_MAX)
}

/// Calls a scheduler as an agent.
pub fn agent_client(channel: Channel) -> AgentServiceClient<Channel> {
    AgentServiceClient::new(channel)
        .max_decoding_message_size(SENT_BYTES_MAX)
        .max_encoding_message_size(AGENT_BYTES_MAX)
}

/// Calls a scheduler as an operator.
pub fn operator_client(channel: Channel) -> OperatorServiceClient<Channel> {
    OperatorServiceClient::new(channel)
        .max_decoding_message_size(SENT_BYTES_MAX)
        .max_encoding_message_size(OPERATOR_BYTES_MAX)
}

/// Serves the departments' secrets within the limits of their messages.
pub fn secret_server<T: SecretService>(service: T) -> SecretServiceServer<T> {
    SecretServiceServer::new(service)
        .max_decoding_message_size(SECRET_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(SENT_BYTES_MAX)
}

/// Calls a scheduler about secrets.
pub fn secret_client(channel: Channel) -> SecretServiceClient<Channel> {
    SecretServiceClient::new(channel)
        .max_decoding_message_size(SENT_BYTES_MAX)
        .max_encoding_message_size(SECRET_MESSAGE_BYTES_MAX)
}
