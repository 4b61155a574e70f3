//! Hearing: what the scheduler says is taken in, an older or forged word is not.

use std::sync::Arc;

use tengyun_model::Millis;
use tengyun_proto::v1::{self, scheduler_message};
use tokio::time::Instant;

use super::{Agent, REPORT_INTERVAL_BOUNDS, duration, wanted};
use crate::act::chain;
use crate::ledger::Taken;
use crate::link::Incoming;

impl Agent {
    pub(super) fn hear(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Attached(welcome) => {
                let now = self.clock.now();
                self.figures.send_modify(|figures| {
                    figures.attached = true;
                    figures.attached_at = Some(now);
                });
                let asked = Millis::new(welcome.report_interval_millis);
                let (least, most) = REPORT_INTERVAL_BOUNDS;
                let interval = self.config.report_interval.unwrap_or(asked);
                self.report_interval = duration(interval.clamp(least, most));
                // What is remembered goes before the first report, so that nothing is decided between
                // the two; the interval that now ends is in that report, and is not told twice.
                self.link.remember(self.measure.history(now));
                self.measure.keep_windows_of(Millis::new(welcome.window_millis));
                self.interval_ends = Instant::now();
                self.report_at = Instant::now();
            }
            Incoming::Detached => {
                self.figures.send_modify(|figures| figures.attached = false);
                self.logs.cancel_all();
            }
            Incoming::Message(message) => self.obey(message),
        }
    }

    fn obey(&mut self, message: scheduler_message::Message) {
        match message {
            scheduler_message::Message::Assignment(assignment) if !self.leaving => {
                self.take_assignment(assignment);
            }
            scheduler_message::Message::MeterAcknowledgement(wire) => {
                self.measure.acknowledge(wire);
            }
            scheduler_message::Message::LogRequest(request) => self.logs.request(&request),
            scheduler_message::Message::LogCancel(cancel) => self.logs.cancel(cancel.request),
            scheduler_message::Message::Services(list) => self.services.take(list),
            // An agent that is leaving takes no more work; a second greeting changes nothing.
            scheduler_message::Message::Assignment(_)
            | scheduler_message::Message::Welcome(_)
            | scheduler_message::Message::SecretAnswer(_) => {}
        }
    }

    fn take_assignment(&mut self, wire: v1::Assignment) {
        match self.ledger.take(wire) {
            Ok(Taken::New) => {
                self.wanted = Arc::new(wanted(&self.ledger));
                self.keep_supplies();
                if let Some(held) = self.ledger.held() {
                    for copy in self.volumes.remove(&held.removed) {
                        self.hands.remove_volumes(copy);
                    }
                    let (epoch, generation) = (held.epoch, held.generation);
                    let instances = held.instances.len();
                    tracing::info!(%epoch, %generation, instances, "assignment taken");
                }
                self.report_soon();
            }
            Ok(Taken::Same) => {}
            // The next report says what is held. It is not brought forward: a scheduler that sends
            // the same again at once would keep both busy with nothing else.
            Err(error) => {
                self.figures.send_modify(|f| f.refused = f.refused.saturating_add(1));
                tracing::warn!(error = chain(&error), "assignment refused");
            }
        }
    }
}
