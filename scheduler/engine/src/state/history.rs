//! What agents remember of use: it makes a new scheduler know what the one before it knew. It never
//! takes the place of what this one saw itself for as long.

use tengyun_model::{At, Millis, NodeId, UsageHistory};

use super::State;
use crate::predict::{Recall, Track};

impl State {
    /// Takes in what a node's agent remembers. Instances that are not on it are passed over. No forecast
    /// is judged by it: none was made.
    pub(super) fn report_history(&mut self, node: NodeId, history: &UsageHistory, at: At) {
        let window = self.policy.window();
        let recall = Recall::of(history, at);
        if let Some(sketch) = &history.foreign {
            let live = self.live.entry(node).or_default();
            if knows_more(recall.since(sketch), live.foreign(), window)
                && let Some(track) = recall.track(sketch, (window, None), None)
            {
                live.recall_foreign(track);
            }
        }
        let days = self.policy.has_seasons().then(|| self.days.clone());
        let memory = self.nodes.get(&node).map(|n| n.facts.capacity.memory).unwrap_or_default();
        for each in &history.instances {
            let here = self.instances.get(&each.instance).filter(|i| i.node == Some(node));
            let Some(placed) = here.map(|instance| instance.placed) else { continue };
            let profile = self.profile_mut(each.instance).expect("every instance has one");
            let known = profile.track.as_deref();
            if knows_more(recall.since(&each.sketch), known, window)
                && let Some(mut track) =
                    recall.track(&each.sketch, (window, days.as_ref()), Some(profile.request))
            {
                track.peaks = known.map(|known| known.peaks).unwrap_or_default();
                profile.track = Some(Box::new(track));
            }
            // Of memory the higher counts: neither may have seen all that the other did.
            if let Some(track) = &mut profile.track
                && let Some(told) = recall.peaks(&each.peaks, placed, memory)
            {
                track.peaks.join(told);
            }
        }
    }
}

/// Says whether a sketch goes back further than what is known, by a window at least: both measure the
/// same, and what was seen here is finer.
fn knows_more(since: Option<At>, known: Option<&Track>, window: Millis) -> bool {
    since.is_some_and(|since| known.is_none_or(|known| known.first().since(since) >= window))
}
