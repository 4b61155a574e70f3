//! One encrypted connection: it ends when it is cut, or, of a peer that nobody knows, after a time.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tengyun_proto::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::unknown::Slot;
use crate::connections::{Held, Visit};

/// The most bytes that one connection reads before all others have their turn: a record of TLS, which
/// is a thousand of the smallest frames. Without it one that never stops talking would be listened to
/// for a hundred times as long.
const TURN_BYTES_MAX: usize = 16 * 1024;

/// A connection whose peer was looked at.
#[derive(Debug)]
pub(crate) struct Visitor {
    stream: TlsStream<TcpStream>,
    visit: Visit,
    stay: Stay,
    over: bool,
    /// What it has read since others had their turn.
    turn: usize,
}

/// How long a connection may stay.
#[derive(Debug)]
enum Stay {
    /// Until it is cut.
    Member(oneshot::Receiver<()>, #[expect(dead_code, reason = "dropped with the stream")] Held),
    /// For a time.
    Unknown(Pin<Box<Sleep>>, #[expect(dead_code, reason = "dropped with the stream")] Slot),
}

impl Visitor {
    pub(super) fn member(
        stream: TlsStream<TcpStream>,
        visit: Visit,
        held: Held,
        cut: oneshot::Receiver<()>,
    ) -> Self {
        Self { stream, visit, stay: Stay::Member(cut, held), over: false, turn: 0 }
    }

    pub(super) fn unknown(stream: TlsStream<TcpStream>, visit: Visit, slot: Slot) -> Self {
        let end = Box::pin(sleep(limits::UNKNOWN_AGE_MAX));
        Self { stream, visit, stay: Stay::Unknown(end, slot), over: false, turn: 0 }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.over {
            self.over = match &mut self.stay {
                // It ends when its sender is dropped; nothing is ever sent.
                Stay::Member(cut, _) => Pin::new(cut).poll(cx).is_ready(),
                Stay::Unknown(end, _) => end.as_mut().poll(cx).is_ready(),
            };
        }
        self.over
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection's time is over")
}

impl Connected for Visitor {
    type ConnectInfo = Visit;

    fn connect_info(&self) -> Visit {
        self.visit.clone()
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(cut()));
        }
        if self.turn >= TURN_BYTES_MAX {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.turn = match &read {
            Poll::Ready(_) => self.turn.saturating_add(buf.filled().len() - before),
            Poll::Pending => 0,
        };
        read
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.over {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.over {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
