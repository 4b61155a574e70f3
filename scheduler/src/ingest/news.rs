//! How much news of one node is journaled: a node that says more than any honest one would is heard
//! later. Nothing is lost by it, because a report is the agent's full state and says it all again.

use std::collections::BTreeMap;

use tengyun_model::{At, NodeId};
use tracing::warn;

/// News that a node may have at once: every instance of the largest node starts and ends.
const AT_ONCE_MAX: u64 = 20_000;
/// News that a node may have each second for good: what a few hundred instances bring that fail and
/// start again all the time; a journal grows by some hundred MiB a day then, and not by more.
const EACH_SECOND_MAX: u64 = 50;

/// What news each node may have.
#[derive(Debug, Default)]
pub(super) struct News(BTreeMap<NodeId, Credit>);

#[derive(Clone, Copy, Debug)]
struct Credit {
    left: u64,
    at: At,
}

impl News {
    /// Takes of `wanted` pieces of news as many as the node may have now.
    pub(super) fn take(&mut self, node: NodeId, wanted: usize, now: At) -> usize {
        if wanted == 0 {
            return 0;
        }
        let credit = self.0.entry(node).or_insert(Credit { left: AT_ONCE_MAX, at: now });
        let earned = now.since(credit.at).get().saturating_mul(EACH_SECOND_MAX) / 1000;
        if earned > 0 {
            credit.left = credit.left.saturating_add(earned).min(AT_ONCE_MAX);
            credit.at = now;
        }
        let asked = u64::try_from(wanted).unwrap_or(u64::MAX);
        let given = asked.min(credit.left);
        if given < asked && credit.left > 0 {
            // Once, until it earns again.
            warn!(%node, wanted, "a node has more news than any honest one: the rest is heard later");
        }
        credit.left -= given;
        usize::try_from(given).unwrap_or(wanted)
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::Millis;

    use super::*;

    const NODE: NodeId = NodeId::new(1);

    fn at(millis: u64) -> At {
        At::from_millis(1_000_000).after(Millis::new(millis))
    }

    #[test]
    fn the_largest_node_may_change_at_once_and_then_a_little() {
        let mut news = News::default();
        assert_eq!(news.take(NODE, 30_000, at(0)), 20_000);
        assert_eq!(news.take(NODE, 30_000, at(0)), 0);
        assert_eq!(news.take(NODE, 30_000, at(1000)), 50);
        assert_eq!(news.take(NodeId::new(2), 7, at(1000)), 7, "each node has its own");
        assert_eq!(
            news.take(NODE, 30_000, at(10_000_000)),
            20_000,
            "what is not used is not saved"
        );
    }

    #[test]
    fn news_that_comes_often_earns_as_much_as_news_that_comes_at_once() {
        let mut news = News::default();
        news.take(NODE, 20_000, at(0));
        let given: usize = (1..=1000).map(|n| news.take(NODE, 1, at(n * 10))).sum();
        assert_eq!(given, 500);
    }
}
