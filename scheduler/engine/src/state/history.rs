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
        for each in &history.instances {
            let here = self.instances.get(&each.instance).is_some_and(|i| i.node == Some(node));
            if !here {
                continue;
            }
            let profile = self.profile_mut(each.instance).expect("every instance has one");
            let known = profile.track.as_deref();
            if knows_more(recall.since(&each.sketch), known, window)
                && let Some(track) =
                    recall.track(&each.sketch, (window, days.as_ref()), Some(profile.request))
            {
                profile.track = Some(Box::new(track));
            }
        }
    }
}

/// Says whether a sketch goes back further than what is known, by a window at least: both measure the
/// same, and what was seen here is finer.
fn knows_more(since: Option<At>, known: Option<&Track>, window: Millis) -> bool {
    since.is_some_and(|since| known.is_none_or(|known| known.first().since(since) >= window))
}
