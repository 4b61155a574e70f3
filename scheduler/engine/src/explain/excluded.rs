//! Counted reasons: how many nodes each hard filter keeps an instance from, and which of them is nearest
//! to taking it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tengyun_model::NodeName;

use super::{NodeVerdict, distance};
use crate::command::Refusal;

/// The nodes that one filter keeps an instance from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// How many.
    pub nodes: usize,
    /// The one that is nearest to taking it.
    pub nearest: NodeName,
    /// Why that one does not: the others have the same reason, with other numbers.
    pub why: Refusal,
}

/// Counts nodes by what keeps an instance from them, the most first.
pub(super) fn excluded(nodes: &[NodeVerdict]) -> Vec<Excluded> {
    let mut filters: BTreeMap<(&str, String), (usize, &NodeVerdict, &Refusal)> = BTreeMap::new();
    for node in nodes {
        let Some(why) = &node.refusal else { continue };
        let filter = filters.entry((why.code(), about(why))).or_insert((0, node, why));
        filter.0 += 1;
        if (distance(why), node.node) < (distance(filter.2), filter.1.node) {
            (filter.1, filter.2) = (node, why);
        }
    }
    let mut all: Vec<_> = filters.into_iter().collect();
    // Those of equal number stay in the order of their filters.
    all.sort_by_key(|(_, (nodes, _, why))| (Reverse(*nodes), distance(why)));
    let counted = |(nodes, node, why): (usize, &NodeVerdict, &Refusal)| Excluded {
        nodes,
        nearest: node.name.clone(),
        why: why.clone(),
    };
    all.into_iter().map(|(_, filter)| counted(filter)).collect()
}

/// Tells filters of one kind apart: one label is another filter than another.
fn about(why: &Refusal) -> String {
    match why {
        Refusal::NoLabel { name, value } => format!("{name}={value}"),
        Refusal::NoCounter { name, .. } => name.clone(),
        Refusal::Spread(label) => label.clone(),
        Refusal::AntiAffinity(key) => key.to_string(),
        Refusal::PortTaken(port) => port.to_string(),
        Refusal::NotOpen(wish) => wish.as_str().to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::{Mebibytes, Millicores, NodeId};

    use super::*;
    use crate::image::NodeWish;

    fn verdict(id: u32, refusal: Option<Refusal>) -> NodeVerdict {
        NodeVerdict {
            node: NodeId::new(id),
            name: format!("n{id}").parse().unwrap(),
            refusal,
            score: 0,
            peak: Millicores::ZERO,
            margin: Millicores::ZERO,
            bound: Millicores::ZERO,
        }
    }

    #[test]
    fn nodes_are_counted_by_filter_and_the_nearest_of_each_is_named() {
        let memory =
            |left| Refusal::NoMemory { wanted: Mebibytes::new(100), left: Mebibytes::new(left) };
        let label = |value: &str| Refusal::NoLabel { name: "zone".into(), value: value.into() };
        let all = [
            verdict(1, Some(memory(5))),
            verdict(2, Some(label("a"))),
            verdict(3, Some(Refusal::NotOpen(NodeWish::Cordon))),
            verdict(4, Some(memory(90))),
            verdict(5, Some(Refusal::NotOpen(NodeWish::Drain))),
            verdict(6, None),
            verdict(7, Some(memory(90))),
            verdict(8, Some(Refusal::NotOpen(NodeWish::Cordon))),
        ];
        let told: Vec<String> = excluded(&all)
            .iter()
            .map(|e| format!("{} {} {}", e.nodes, e.nearest, e.why.said()))
            .collect();
        assert_eq!(
            told,
            [
                "3 n4 wants 100 MiB memory, 90 MiB left",
                "2 n3 is cordoned",
                "1 n2 has no label zone=a",
                "1 n5 is drained",
            ]
        );
    }
}
