//! Ports: whether another program of the server listens on one that an instance is to have.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Says whether anybody listens on a TCP port. Only that counts: what cannot be found out is for the
/// workload to find out.
pub(super) fn is_taken(port: u16) -> bool {
    // The one address stands for all others of both versions; without IPv6 the other does. A port
    // that was used a moment ago and is not listened on is free.
    let tried = TcpListener::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    let tried = match tried {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        other => other,
    };
    tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_listened_on_is_taken_and_free_again_afterwards() {
        for address in ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert!(is_taken(port), "{address}");
            drop(listener);
            assert!(!is_taken(port), "{address}");
        }
    }
}
