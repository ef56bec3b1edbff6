//! TLS over a [`Socket`].
//!
//! `rustls` is handed the bytes from the socket and hands back bytes to send; this file moves them,
//! and keeps count of record boundaries so that a connection with half a record waiting inside
//! `rustls` is never taken for an idle one.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use rustls::ClientConnection;
use rustls_pki_types::ServerName;

use super::error::TlsCause;
use super::socket::{Halt, Socket};
use super::tls::Tls;

/// How much is read from the socket at once: one full record and its header (RFC 8446 §5.1).
const RAW_SIZE: usize = 16 * 1024 + 261;

/// Why a TLS operation did not go through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The socket beneath.
    Socket(Halt),
    /// TLS itself.
    Tls(TlsCause),
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        Failure::Socket(halt)
    }
}

/// The client's side of one TLS connection.
pub(super) struct Session {
    connection: ClientConnection,
    records: Records,
    raw: Box<[u8]>,
}

impl Session {
    /// Performs the handshake on `socket` with a server of that name.
    pub(super) fn handshake(
        name: &ServerName<'static>,
        tls: &Tls,
        socket: &mut Socket,
        deadline: Instant,
    ) -> Result<Session, Failure> {
        let mut connection = ClientConnection::new(tls.config().clone(), name.clone())
            .map_err(|error| Failure::Tls(TlsCause::from(&error)))?;
        // A request is encrypted whole before it is written: one write.
        connection.set_buffer_limit(None);
        let raw = vec![0; RAW_SIZE].into_boxed_slice();
        let mut session = Session { connection, records: Records::default(), raw };
        loop {
            match session.flush(socket, deadline) {
                // The server may have said why before it closed: reading finds the alert.
                Err(Failure::Socket(Halt::Closed)) => {
                    while session.receive(socket, deadline)? > 0 {}
                    return Err(Halt::Closed.into());
                }
                flushed => flushed?,
            }
            if !session.connection.is_handshaking() {
                return Ok(session);
            }
            if session.receive(socket, deadline)? == 0 {
                return Err(Halt::Closed.into());
            }
        }
    }

    /// Encrypts `plain` and sends it.
    pub(super) fn send(
        &mut self,
        plain: &[u8],
        socket: &mut Socket,
        deadline: Instant,
    ) -> Result<(), Failure> {
        self.connection.writer().write_all(plain).map_err(|_| Failure::Tls(TlsCause::Protocol))?;
        self.flush(socket, deadline)
    }

    /// Encrypts `plain` and sends it without waiting. Whether there was room for all of it.
    pub(super) fn send_now(&mut self, plain: &[u8], socket: &mut Socket) -> bool {
        self.connection.writer().write_all(plain).is_ok()
            && self.connection.write_tls(socket).is_ok()
            && !self.connection.wants_write()
    }

    /// Waits until `deadline` for content and reads what is there. Zero once the peer has said
    /// that it will send no more (RFC 8446 §6.1); a connection that just ends is `Closed`.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        socket: &mut Socket,
        deadline: Instant,
    ) -> Result<usize, Failure> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(amount) => return Ok(amount),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Halt::Closed.into()),
            }
            if self.receive(socket, deadline)? == 0 {
                return Err(Halt::Closed.into());
            }
        }
    }

    /// Reads content that is there, without waiting: `None` where it is not, or not whole. Its end is
    /// [`Self::read`]'s.
    pub(super) fn read_now(
        &mut self,
        buffer: &mut [u8],
        socket: &mut Socket,
    ) -> Result<Option<usize>, Failure> {
        let decrypted = |session: &mut Session, buffer: &mut [u8]| match session
            .connection
            .reader()
            .read(buffer)
        {
            Ok(amount) => Ok(Some(amount)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(Failure::from(Halt::Closed)),
        };
        if let Some(amount) = decrypted(self, buffer)? {
            return Ok(Some(amount));
        }
        let Some(amount) = socket.read_now(&mut self.raw)? else { return Ok(None) };
        if amount == 0 {
            return Err(Halt::Closed.into());
        }
        self.take(amount, socket)?;
        decrypted(self, buffer)
    }

    /// Reads content that has been decrypted already; never touches the socket. Zero where there
    /// is none.
    pub(super) fn read_decrypted(&mut self, buffer: &mut [u8]) -> usize {
        self.connection.reader().read(buffer).unwrap_or(0)
    }

    /// Whether everything received has been decrypted and handed out.
    pub(super) fn is_drained(&mut self) -> bool {
        self.records.at_boundary()
            && !self.connection.wants_write()
            && matches!(
                self.connection.process_new_packets(),
                Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()
            )
    }

    /// Tells the peer that the connection ends here, if that takes no waiting.
    pub(super) fn say_goodbye(&mut self, socket: &mut Socket) {
        self.connection.send_close_notify();
        // Whether it arrives makes no difference any more.
        let _ = self.connection.write_tls(socket);
    }

    fn receive(&mut self, socket: &mut Socket, deadline: Instant) -> Result<usize, Failure> {
        let amount = socket.read(&mut self.raw, deadline)?;
        self.take(amount, socket)?;
        Ok(amount)
    }

    /// Decrypts what was received.
    fn take(&mut self, amount: usize, socket: &mut Socket) -> Result<(), Failure> {
        let mut raw = &self.raw[..amount];
        self.records.pass(raw);
        while !raw.is_empty() {
            let taken = self.connection.read_tls(&mut raw);
            match self.connection.process_new_packets() {
                Ok(_) => match taken {
                    // Behind the peer's goodbye nothing counts (RFC 8446 §6.1).
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(_) => return Err(Failure::Tls(TlsCause::Protocol)),
                },
                Err(error) => {
                    // The alert that tells the peer why, as far as it goes without waiting.
                    let _ = self.connection.write_tls(socket);
                    return Err(Failure::Tls(TlsCause::from(&error)));
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, socket: &mut Socket, deadline: Instant) -> Result<(), Failure> {
        while self.connection.wants_write() {
            let mut writer = Patient { socket, deadline, halt: None };
            let written = self.connection.write_tls(&mut writer);
            if let Some(halt) = writer.halt {
                return Err(halt.into());
            }
            if written.is_err() {
                return Err(Failure::Tls(TlsCause::Protocol));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Writes what `rustls` gathers in one go, waiting where the socket is full.
struct Patient<'a> {
    socket: &'a mut Socket,
    deadline: Instant,
    halt: Option<Halt>,
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write_all(bytes, self.deadline) {
            Ok(()) => Ok(bytes.len()),
            Err(halt) => {
                self.halt = Some(halt);
                Err(ErrorKind::Other.into())
            }
        }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.write(one),
            _ => {
                let records: Vec<u8> =
                    slices.iter().flat_map(|slice| slice.iter()).copied().collect();
                self.write(&records)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where in the sequence of TLS records the bytes received so far end (RFC 8446 §5.1).
#[derive(Debug, Default)]
struct Records {
    header: [u8; 5],
    header_filled: usize,
    body_left: usize,
}

impl Records {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let taken = self.body_left.min(bytes.len());
                self.body_left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.header[self.header_filled] = bytes[0];
            self.header_filled += 1;
            bytes = &bytes[1..];
            if self.header_filled == self.header.len() {
                self.body_left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.header_filled = 0;
            }
        }
    }

    fn at_boundary(&self) -> bool {
        self.header_filled == 0 && self.body_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tls::TlsOptions;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn an_alert_is_heard_though_the_connection_is_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let late = Instant::now() + Duration::from_secs(20);
        let mut socket = Socket::connect(&address.into(), Duration::from_secs(20)).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        // A byte the peer leaves unread makes its end a reset.
        socket.write_all(b"x", late).unwrap();
        peer.peek(&mut [0]).unwrap();
        let handshake_failure = [21, 3, 3, 0, 2, 2, 40];
        peer.write_all(&handshake_failure).unwrap();
        drop(peer);

        let name = ServerName::try_from("as.example").unwrap();
        let tls = Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap();
        let outcome = Session::handshake(&name, &tls, &mut socket, late);
        assert!(matches!(outcome, Err(Failure::Tls(TlsCause::Incompatible))), "{outcome:?}");
    }

    #[test]
    fn record_boundaries_are_found_however_the_bytes_arrive() {
        let mut stream = Vec::new();
        let mut boundaries = vec![0];
        for length in [1_u16, 0, 300, 5] {
            stream.extend([23, 3, 3]);
            stream.extend(length.to_be_bytes());
            stream.extend(vec![0xAA; usize::from(length)]);
            boundaries.push(stream.len());
        }
        for step in [1, 2, 3, 7, 64, stream.len()] {
            let mut records = Records::default();
            let mut passed = 0;
            for piece in stream.chunks(step) {
                assert_eq!(records.at_boundary(), boundaries.contains(&passed), "at {passed}");
                records.pass(piece);
                passed += piece.len();
            }
            assert!(records.at_boundary());
        }
    }
}
