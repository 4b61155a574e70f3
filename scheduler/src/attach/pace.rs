//! How fast an agent is listened to: one that says more than any honest one waits, and only it does.
//!
//! What it says meanwhile waits in its own connection, whose window closes; nothing is lost.

use std::time::Duration;

use prost::Message as _;
use tengyun_proto::v1::AgentMessage;
use tengyun_proto::v1::agent_message::Message;
use tokio::time::Instant;

/// What a report costs at least: two hundred a second are more than any honest agent says.
const REPORT: Duration = Duration::from_millis(5);
/// What each KiB of a report costs: 4 MiB a second, which is the largest report.
const KIBIBYTE: Duration = Duration::from_micros(250);
/// How much may be said at once after a quiet moment.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The pace of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    paid_until: Instant,
}

impl Pace {
    /// Begins with all that may be said at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { paid_until: now.checked_sub(AT_ONCE).unwrap_or(now) }
    }

    /// Returns when the stream is listened to again.
    pub(super) const fn opens_at(self) -> Instant {
        self.paid_until
    }

    /// Counts a report, or a part of what is remembered. Output is not counted: its reader sets the
    /// pace.
    pub(super) fn charge(&mut self, message: &AgentMessage, now: Instant) {
        let bytes = match &message.message {
            Some(Message::Report(report)) => report.encoded_len(),
            Some(Message::History(history)) => history.encoded_len(),
            Some(Message::Hello(_) | Message::LogChunk(_) | Message::SecretRequest(_)) | None => {
                return;
            }
        };
        let cost = report_cost(bytes);
        let earliest = now.checked_sub(AT_ONCE).unwrap_or(now);
        self.paid_until = self.paid_until.max(earliest) + cost;
    }
}

fn report_cost(bytes: usize) -> Duration {
    let kibibytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
    REPORT + KIBIBYTE.saturating_mul(kibibytes)
}

#[cfg(test)]
mod tests {
    use tengyun_proto::v1;

    use super::*;

    fn report(instances: u64) -> AgentMessage {
        let status = |instance| v1::InstanceStatus { instance, ..v1::InstanceStatus::default() };
        let instances = (1..=instances).map(status).collect();
        let report = v1::Report { instances, ..v1::Report::default() };
        AgentMessage { message: Some(Message::Report(report)) }
    }

    /// Counts how many of the same messages are taken within a second after a quiet moment.
    fn taken(message: &AgentMessage) -> usize {
        let mut now = Instant::now() + Duration::from_secs(100);
        let end = now + Duration::from_secs(1);
        let mut pace = Pace::new(now);
        let mut taken = 0;
        while now < end {
            pace.charge(message, now);
            taken += 1;
            now = now.max(pace.opens_at());
        }
        taken
    }

    #[test]
    fn small_reports_are_taken_as_often_as_agents_say_them_and_no_more() {
        let taken = taken(&report(3));
        assert!((500..=700).contains(&taken), "{taken}");
    }

    #[test]
    fn large_reports_cost_what_they_weigh() {
        let large = report(100_000);
        let seconds = report_cost(large.encoded_len()).as_secs_f64();
        assert!((0.05..1.5).contains(&seconds), "{seconds}");
        let taken = f64::from(u32::try_from(taken(&large)).unwrap());
        assert!(taken <= 3.0 / seconds + 2.0, "{taken} of {seconds} s each");
    }

    #[test]
    fn output_sets_no_pace() {
        let chunk = v1::LogChunk { data: vec![0; 1000], ..v1::LogChunk::default() };
        let message = AgentMessage { message: Some(Message::LogChunk(chunk)) };
        let mut pace = Pace::new(Instant::now());
        let before = pace.opens_at();
        pace.charge(&message, Instant::now());
        assert_eq!(pace.opens_at(), before);
    }
}
