//! Answers that nobody reads: how many bytes of them are held for one member, and for people in all.
//!
//! Whoever gives no window lets the scheduler keep what it was asked for. An answer is counted from the
//! moment it is written out until its last byte has left or its stream has ended; what goes beyond is
//! not kept but refused. Those who are local to the scheduler are trusted and not counted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::{Frame, SizeHint};
use tengyun_model::{Name, NodeId, said};
use tengyun_proto::limits::{UNREAD_BYTES_MAX, UNREAD_BYTES_OF_MEMBER_MAX};
use tengyun_proto::refused::status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Bytes, Context, Pin, Poll, Service};
use tonic::{Code, Status};
use tracing::warn;

use crate::caller::Caller;
use crate::route::Calls;

/// For whom answers are held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    /// A node; its one stream must not wait for what people leave unread.
    Node(NodeId),
    /// A person.
    Person(Name),
    /// A user of this machine with a role.
    User(u32),
    /// All who showed no certificate.
    Unknown,
}

impl Reader {
    fn of(caller: &Caller) -> Option<Self> {
        match caller {
            Caller::Local(_) => None,
            Caller::User(uid, _) => Some(Self::User(*uid)),
            Caller::Node(node, _) => Some(Self::Node(*node)),
            Caller::Person(name, _) => Some(Self::Person(name.clone())),
            Caller::Unknown => Some(Self::Unknown),
        }
    }
}

/// The bytes that are held.
#[derive(Debug, Default)]
pub(crate) struct Unread(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    of: BTreeMap<Reader, usize>,
    people: usize,
}

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    OfMember,
    OfPeople,
}

impl Full {
    fn status(self) -> Status {
        let mib = |bytes: usize| bytes / (1024 * 1024);
        let said = match self {
            Self::OfMember => said!(UnreadOfYou, mib(UNREAD_BYTES_OF_MEMBER_MAX)),
            Self::OfPeople => said!(UnreadOfAll, mib(UNREAD_BYTES_MAX)),
        };
        status(Code::ResourceExhausted, &said)
    }
}

/// Some bytes that are counted until they are dropped.
#[derive(Debug)]
struct Held {
    bytes: Bytes,
    reader: Reader,
    unread: Arc<Unread>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unread.lock().release(&self.reader, self.bytes.len());
    }
}

impl Unread {
    /// Counts some bytes as long as they live.
    fn hold(self: &Arc<Self>, reader: &Reader, bytes: Bytes) -> Result<Bytes, Full> {
        self.lock().take(reader, bytes.len())?;
        let held = Held { bytes, reader: reader.clone(), unread: Arc::clone(self) };
        Ok(Bytes::from_owner(held))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn take(&mut self, reader: &Reader, bytes: usize) -> Result<(), Full> {
        let own = self.of.get(reader).copied().unwrap_or_default().saturating_add(bytes);
        if own > UNREAD_BYTES_OF_MEMBER_MAX {
            return Err(Full::OfMember);
        }
        if matches!(reader, Reader::Person(_) | Reader::User(_)) {
            let people = self.people.saturating_add(bytes);
            if people > UNREAD_BYTES_MAX {
                return Err(Full::OfPeople);
            }
            self.people = people;
        }
        self.of.insert(reader.clone(), own);
        Ok(())
    }

    fn release(&mut self, reader: &Reader, bytes: usize) {
        if matches!(reader, Reader::Person(_) | Reader::User(_)) {
            self.people = self.people.saturating_sub(bytes);
        }
        if let Some(own) = self.of.get_mut(reader) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                self.of.remove(reader);
            }
        }
    }
}

/// Counts the answers of services.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    services: S,
    unread: Arc<Unread>,
}

impl<S> Counted<S> {
    /// Counts the answers of these services.
    pub(crate) fn new(services: S) -> Self {
        Self { services, unread: Arc::default() }
    }
}

impl<S: Calls> Service<Request<Body>> for Counted<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let reader = request.extensions().get::<Caller>().and_then(Reader::of);
        let answer = self.services.call(request);
        let Some(reader) = reader else {
            return answer;
        };
        let unread = Arc::clone(&self.unread);
        Box::pin(async move {
            let count = |body| Body::new(CountedBody { body, reader, unread, over: false });
            answer.await.map(|answer| answer.map(count))
        })
    }
}

/// An answer whose bytes are counted while they wait.
#[derive(Debug)]
struct CountedBody {
    body: Body,
    reader: Reader,
    unread: Arc<Unread>,
    /// Set when it was refused.
    over: bool,
}

impl tonic::codegen::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let data = match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
            Some(Ok(Ok(data))) => data,
        };
        Poll::Ready(Some(match self.unread.hold(&self.reader, data) {
            Ok(held) => Ok(Frame::data(held)),
            Err(full) => {
                self.over = true;
                warn!(reader = ?self.reader, ?full, "answers wait unread; one more is refused");
                let mut trailers = HeaderMap::new();
                full.status().add_header(&mut trailers).map(|()| Frame::trailers(trailers))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic::codegen::Body as _;

    use super::*;

    fn person(name: &str) -> Reader {
        Reader::Person(name.parse().unwrap())
    }

    fn mib(count: usize) -> Bytes {
        Bytes::from(vec![0; count * 1024 * 1024])
    }

    #[test]
    fn one_member_holds_so_much_and_what_was_read_makes_room() {
        let unread = Arc::new(Unread::default());
        let anna = person("anna");
        let hold = || unread.hold(&anna, mib(4));
        let mut held: Vec<Bytes> = (0..).map_while(|_| hold().ok()).collect();
        assert_eq!(held.len() * 4 * 1024 * 1024, UNREAD_BYTES_OF_MEMBER_MAX);
        assert_eq!(hold().unwrap_err(), Full::OfMember);
        // Others have room of their own.
        drop(unread.hold(&person("bert"), mib(4)).unwrap());
        // A part that is still there keeps all of it counted: it keeps all of it in memory.
        let mut first = held.pop().unwrap();
        let part = first.split_to(1);
        drop(first);
        assert_eq!(hold().unwrap_err(), Full::OfMember);
        drop(part);
        drop(hold().unwrap());
        drop(held);
        let counts = unread.lock();
        assert!(counts.of.is_empty() && counts.people == 0, "{counts:?}");
    }

    #[test]
    fn people_hold_so_much_together_and_no_node_waits_for_them() {
        let unread = Arc::new(Unread::default());
        let mut held = Vec::new();
        let names = (0..100).map(|number| person(&format!("p{number}")));
        for name in names {
            held.extend((0..).map_while(|_| unread.hold(&name, mib(4)).ok()));
        }
        assert_eq!(held.len() * 4 * 1024 * 1024, UNREAD_BYTES_MAX);
        assert_eq!(unread.hold(&person("late"), mib(1)).unwrap_err(), Full::OfPeople);
        drop(unread.hold(&Reader::Node(NodeId::new(7)), mib(4)).unwrap());
    }

    /// A body that has these frames.
    struct Frames(Vec<Bytes>);

    impl tonic::codegen::Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    #[test]
    fn a_stream_that_is_not_read_ends_with_the_reason() {
        let unread = Arc::new(Unread::default());
        let body = Body::new(Frames(vec![mib(4); 10]));
        let mut body = CountedBody { body, reader: person("anna"), unread, over: false };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut held = Vec::new();
        let trailers = loop {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => held.push(data),
                    Err(frame) => break frame.into_trailers().unwrap(),
                },
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(held.len() * 4 * 1024 * 1024, UNREAD_BYTES_OF_MEMBER_MAX);
        assert_eq!(trailers.get("grpc-status").unwrap(), "8");
        let said = trailers.get("grpc-message").unwrap().to_str().unwrap();
        assert!(said.starts_with("16%20MiB%20of%20answers%20to%20you"), "{said}");
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None)));
    }
}
