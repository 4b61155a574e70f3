//! What happened lately, as operators read it: a bounded list, kept in two files beside the journal.
//!
//! The list is for people and nothing is decided by it, so a file that cannot be written costs a
//! warning and no more, and a power cut may cost its last moments. The journal is the truth.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use prost::Message as _;
use tengyun_engine::event::Event;
use tengyun_model::{InstanceId, Said, Wisher};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::v1;
use tracing::warn;

/// The most events kept in memory: a busy day of a hundred servers, some MiB.
const EVENTS_MAX: usize = 20_000;
/// The size at which the file of new events becomes the file of old ones; two files of it hold more
/// than memory does.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most events of one answer, so that it stays well below the largest message.
const LIST_MAX: usize = 2000;
/// The longest message of an event; longer ones come from programs and are cut.
const MESSAGE_CHARS_MAX: usize = 300;

/// What happened lately.
#[derive(Debug, Default)]
pub(crate) struct Events {
    ring: VecDeque<v1::EventView>,
    last: u64,
    fresh: Vec<u8>,
    file: Option<Kept>,
}

/// The file of new events.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Events {
    /// Reads the list that was kept, and goes on keeping it.
    pub(crate) fn open(path: &Path) -> Self {
        let mut events = Self::read(path);
        match Kept::open(path) {
            Ok(kept) => events.file = Some(kept),
            Err(error) => warn!(path = %path.display(), %error, "events are not kept"),
        }
        events
    }

    /// Reads the list that was kept.
    pub(crate) fn read(path: &Path) -> Self {
        let mut events = Self::default();
        for path in [old(path), path.to_owned()] {
            match std::fs::read(&path) {
                Ok(bytes) => events.take_in(&bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => warn!(path = %path.display(), %error, "cannot read events"),
            }
        }
        events
    }

    /// Takes in a file; what follows a torn event is passed over.
    fn take_in(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Ok(event) = v1::EventView::decode_length_delimited(&mut bytes) else { return };
            self.last = self.last.max(event.number);
            self.push(event);
        }
    }

    fn push(&mut self, event: v1::EventView) {
        self.ring.push_back(event);
        if self.ring.len() > EVENTS_MAX {
            self.ring.pop_front();
        }
    }

    /// Adds what happened.
    pub(crate) fn tell(&mut self, events: Vec<Event>) {
        for event in events {
            self.last = self.last.saturating_add(1);
            let event = view(self.last, event);
            if self.file.is_some() {
                event
                    .encode_length_delimited(&mut self.fresh)
                    .expect("a vector grows as it needs to");
            }
            self.push(event);
        }
    }

    /// Writes what was added to the file.
    pub(crate) fn keep(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let fresh = std::mem::take(&mut self.fresh);
        let Some(kept) = self.file.as_mut() else { return };
        if let Err(error) = kept.append(&fresh) {
            warn!(path = %kept.path.display(), %error, "events are not kept any more");
            self.file = None;
        }
    }

    /// Lists events that were asked for, the newest that many in the order they happened.
    pub(crate) fn list(&self, wanted: &v1::ListEventsRequest) -> v1::ListEventsResponse {
        let most = usize::try_from(wanted.limit).unwrap_or(LIST_MAX).min(LIST_MAX);
        let most = if most == 0 { LIST_MAX } else { most };
        let matches = |e: &&v1::EventView| {
            e.number > wanted.after
                && e.at_millis >= wanted.since_millis
                && (wanted.node.is_empty() || e.node == wanted.node)
                && (wanted.by.is_empty() || e.by == wanted.by)
                && (wanted.workload.is_empty() || is_named(&e.workload, &wanted.workload))
        };
        let newest = self.ring.iter().rev().filter(matches).take(most);
        let mut events: Vec<v1::EventView> = newest.cloned().collect();
        events.reverse();
        v1::ListEventsResponse { events, last: self.last }
    }
}

/// Says whether a path is the name or ends with it.
fn is_named(path: &str, name: &str) -> bool {
    path == name || path.strip_suffix(name).is_some_and(|rest| rest.ends_with('/'))
}

fn view(number: u64, event: Event) -> v1::EventView {
    let message = event.message.to_string();
    v1::EventView {
        number,
        at_millis: event.at.millis(),
        kind: event.kind.as_str().to_owned(),
        node: event.node.map(|n| n.to_string()).unwrap_or_default(),
        workload: event.workload.map(|w| w.to_string()).unwrap_or_default(),
        instance: event.instance.map(InstanceId::get).unwrap_or_default(),
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        said: to_wire(&event.message.bounded(MESSAGE_CHARS_MAX)),
        by: event.by.as_ref().map(Wisher::name).unwrap_or_default(),
        role: event.by.as_ref().and_then(Wisher::role).map(|role| (&Said::from(role)).into()),
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("old")
}

impl Kept {
    /// Begins a new file, so that nothing follows an event that was torn.
    fn open(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path).unwrap_or_default();
        let whole = whole(&bytes);
        let file = File::options().create(true).append(true).open(path)?;
        file.set_len(whole)?;
        Ok(Self { path: path.to_owned(), file, bytes: whole })
    }

    fn append(&mut self, fresh: &[u8]) -> io::Result<()> {
        let more = u64::try_from(fresh.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(more) > FILE_BYTES_MAX {
            std::fs::rename(&self.path, old(&self.path))?;
            self.file = File::options().create(true).append(true).open(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(fresh)?;
        self.bytes = self.bytes.saturating_add(more);
        Ok(())
    }
}

/// Returns how many bytes of a file are whole events.
fn whole(bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    let mut left = rest.len();
    while v1::EventView::decode_length_delimited(&mut rest).is_ok() {
        left = rest.len();
        if rest.is_empty() {
            break;
        }
    }
    u64::try_from(bytes.len().saturating_sub(left)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tengyun_engine::event::EventKind;
    use tengyun_model::At;

    use super::*;

    fn event(kind: EventKind, node: &str) -> Event {
        Event {
            at: At::from_millis(5),
            kind,
            node: Some(node.parse().unwrap()),
            workload: Some("city/finance/ledger/web".parse().unwrap()),
            instance: None,
            message: Said::verbatim("x".repeat(1000)),
            by: None,
        }
    }

    fn all() -> v1::ListEventsRequest {
        v1::ListEventsRequest::default()
    }

    #[test]
    fn events_outlive_the_process_even_when_the_last_one_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut events = Events::open(&path);
        events.tell(vec![event(EventKind::Placed, "n1"), event(EventKind::Started, "n1")]);
        events.keep();
        drop(events);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let mut again = Events::open(&path);
        assert_eq!(again.list(&all()).events.len(), 1);
        again.tell(vec![event(EventKind::Healthy, "n1")]);
        again.keep();
        let kinds: Vec<String> =
            Events::read(&path).list(&all()).events.into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["placed", "healthy"]);
    }

    #[test]
    fn events_are_filtered_and_bounded() {
        let mut events = Events::default();
        for _ in 0..(EVENTS_MAX / 2 + 10) {
            events.tell(vec![event(EventKind::Placed, "n1"), event(EventKind::Placed, "n2")]);
        }
        assert_eq!(events.ring.len(), EVENTS_MAX);
        let wanted = v1::ListEventsRequest { node: "n2".to_owned(), limit: 3, ..all() };
        let list = events.list(&wanted);
        assert_eq!((list.events.len(), list.last), (3, 20_020));
        assert!(list.events.iter().all(|e| e.node == "n2"));
        assert_eq!(events.list(&all()).events.len(), LIST_MAX);
        let named = |workload: &str| {
            let wanted = v1::ListEventsRequest { workload: workload.to_owned(), limit: 1, ..all() };
            events.list(&wanted).events.len()
        };
        assert_eq!((named("web"), named("ledger/web"), named("eb")), (1, 1, 0));
        let after = v1::ListEventsRequest { after: list.last, ..all() };
        assert_eq!(events.list(&after).events.len(), 0);
    }

    #[test]
    fn files_of_events_do_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut events = Events::open(&path);
        for _ in 0..30_000 {
            events.tell(vec![event(EventKind::Placed, "n1")]);
        }
        for _ in 0..3 {
            events.tell(vec![event(EventKind::Placed, "n1"); 9000]);
            events.keep();
        }
        drop(events);
        let sizes = [old(&path), path.clone()].map(|p| std::fs::metadata(p).unwrap().len());
        assert!(sizes.iter().sum::<u64>() < 5 * FILE_BYTES_MAX, "{sizes:?}");
        assert!(Events::read(&path).ring.len() >= 9000);
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_nothing_but_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::open(&dir.path().join("missing/events"));
        events.tell(vec![event(EventKind::Placed, "n1")]);
        events.keep();
        assert_eq!(events.list(&all()).events.len(), 1);
    }
}
