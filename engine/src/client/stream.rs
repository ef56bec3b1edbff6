//! A connection to a server, plain or with TLS: one face for what is spoken over it.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::session::{Failure, Session};
use super::socket::{self, Socket};

/// A connection is closed at this age, so that a change of the name's addresses is seen.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(300);

/// And when it has not been used for so long: something on the way may have forgotten it, and would
/// say nothing.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(60);

/// A connection. Dropped, it takes its leave, as far as that takes no waiting.
pub(crate) struct Stream {
    socket: Socket,
    session: Option<Box<Session>>,
    dialled: Instant,
}

impl Stream {
    /// A connection that stands as of now.
    pub(super) fn new(socket: Socket, session: Option<Box<Session>>) -> Self {
        Stream { socket, session, dialled: Instant::now() }
    }

    /// Whether what goes over it is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.session.is_some()
    }

    /// Writes all of `bytes`, waiting for room until `deadline`.
    pub(crate) fn write_all(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), Failure> {
        match &mut self.session {
            None => Ok(self.socket.write_all(bytes, deadline)?),
            Some(session) => session.send(bytes, &mut self.socket, deadline),
        }
    }

    /// Writes without waiting. Whether there was room for all of `bytes`: where not, a part may have
    /// gone out.
    pub(crate) fn write_now(&mut self, bytes: &[u8]) -> bool {
        match &mut self.session {
            None => matches!(self.socket.write(bytes), Ok(written) if written == bytes.len()),
            Some(session) => session.send_now(bytes, &mut self.socket),
        }
    }

    /// Waits until `deadline` for content and reads what is there; zero at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, Failure> {
        match &mut self.session {
            None => Ok(self.socket.read(buffer, deadline)?),
            Some(session) => session.read(buffer, &mut self.socket, deadline),
        }
    }

    /// Reads what is there without waiting: zero at its end, `None` where there is nothing yet.
    pub(crate) fn read_now(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        match &mut self.session {
            None => Ok(self.socket.read_now(buffer)?),
            Some(session) => session.read_now(buffer, &mut self.socket),
        }
    }

    /// Reads what the last read from the socket has brought besides; zero where there is nothing.
    pub(crate) fn read_decrypted(&mut self, buffer: &mut [u8]) -> usize {
        self.session.as_mut().map_or(0, |session| session.read_decrypted(buffer))
    }

    /// Whether it may be used again, all that was read having been handed out: it is not too old, and
    /// nothing waits inside TLS. What has come since, only the socket knows: see [`Watch`].
    pub(crate) fn is_reusable(&mut self, now: Instant) -> bool {
        now.saturating_duration_since(self.dialled) < MAX_AGE
            && self.session.as_mut().is_none_or(|session| session.is_drained())
    }

    /// The same connection, to be looked at by others.
    pub(crate) fn watch(&self) -> Watch {
        Watch { socket: self.socket.share(), dialled: self.dialled }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(session) = &mut self.session {
            session.say_goodbye(&mut self.socket);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// A connection, seen from outside.
pub(crate) struct Watch {
    socket: Arc<socket2::Socket>,
    dialled: Instant,
}

impl Watch {
    /// Whether it is not too old.
    pub(crate) fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.dialled) < MAX_AGE
    }

    /// Whether the peer has neither closed it nor sent anything unasked for.
    pub(crate) fn is_quiet(&self) -> bool {
        socket::is_quiet(&self.socket)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_is_not_used_again_once_it_is_five_minutes_old() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().into();
        let socket = Socket::connect(&address, Duration::from_secs(20)).unwrap();
        let mut stream = Stream::new(socket, None);
        for (age, young) in [(Duration::ZERO, true), (MAX_AGE, false)] {
            let then = stream.dialled + age;
            assert_eq!(stream.is_reusable(then), young);
            assert_eq!(stream.watch().is_young(then), young);
        }
    }
}
