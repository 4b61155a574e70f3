//! Peers that have not shown who they are: how many there may be, in all and from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tengyun_proto::limits::{UNKNOWN_CONNECTIONS_MAX, UNKNOWN_CONNECTIONS_OF_ADDRESS_MAX};
use tracing::warn;

/// The unknown peers of a door.
#[derive(Debug, Default)]
pub(super) struct UnknownPeers(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of: BTreeMap<IpAddr, usize>,
    /// Set while peers are turned away, so that this is said once.
    full: bool,
}

/// The place of one unknown peer.
#[derive(Debug)]
pub(super) struct Slot {
    from: IpAddr,
    peers: Arc<UnknownPeers>,
}

impl UnknownPeers {
    /// Takes a place; `None` when there is none.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Slot> {
        let from = network(from);
        let mut counts = self.lock();
        let own = counts.of.get(&from).copied().unwrap_or_default();
        if counts.all >= UNKNOWN_CONNECTIONS_MAX || own >= UNKNOWN_CONNECTIONS_OF_ADDRESS_MAX {
            if !counts.full {
                counts.full = true;
                warn!(%from, all = counts.all, own, "too many unknown peers; more are turned away");
            }
            return None;
        }
        counts.all += 1;
        counts.of.insert(from, own + 1);
        drop(counts);
        Some(Slot { from, peers: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(own) = counts.of.get_mut(&self.from) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.of.remove(&self.from);
            }
        }
        if counts.all == 0 {
            counts.full = false;
        }
    }
}

/// Returns what one peer may choose its address from: all of IPv4, the /64 of IPv6.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_address_cannot_keep_others_out_and_places_come_back() {
        let peers = Arc::new(UnknownPeers::default());
        let take = |last| (0..).map_while(|_| peers.take(ip(last))).collect::<Vec<_>>();
        let first = take(1);
        assert_eq!(first.len(), UNKNOWN_CONNECTIONS_OF_ADDRESS_MAX);
        let rest: Vec<_> = (2..100).flat_map(take).collect();
        assert_eq!(first.len() + rest.len(), UNKNOWN_CONNECTIONS_MAX);
        assert!(peers.take(ip(200)).is_none());
        drop(first);
        assert!(peers.take(ip(200)).is_some());
        drop(rest);
        assert!(peers.lock().of.is_empty() && peers.lock().all == 0);
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(v6("2001:db8::1")), network(v6("2001:db8::ffff:2")));
        assert_ne!(network(v6("2001:db8::1")), network(v6("2001:db8:0:1::1")));
        assert_eq!(network(v6("::ffff:10.0.0.1")), ip(1));
    }
}
