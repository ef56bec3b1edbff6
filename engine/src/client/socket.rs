//! A stream socket, of TCP or of this machine, whose every wait ends at a given instant.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Type};

use super::stop::{self, Known};

/// How a wait ended that did not bring what it waited for.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The deadline passed.
    Expired,
    /// The peer closed or reset the connection.
    Closed,
    /// The operating system said something else.
    Io(ErrorKind),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected => Halt::Closed,
            kind => Halt::Io(kind),
        }
    }
}

/// The least time the kernel is told to wait for bytes.
const LEAST_PATIENCE: Duration = Duration::from_millis(16);

/// A connected socket, one of TCP without Nagle's delay.
///
/// Reads block in the kernel, which is told when to give up (`SO_RCVTIMEO`): one system call for
/// each answer where waiting first and reading then would be two.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Arc<socket2::Socket>,
    _known: Known,
    /// After how long the kernel ends a read.
    patience: Duration,
}

impl Socket {
    /// Connects within `within`.
    pub(super) fn connect(address: &SockAddr, within: Duration) -> io::Result<Socket> {
        // The standard library shows a socket only once it is connected.
        let stream = socket2::Socket::new(address.domain(), Type::STREAM, None)?;
        let socket = Socket::of(stream);
        if stop::is_stopped() {
            return Err(ErrorKind::TimedOut.into());
        }
        if address.domain() == Domain::UNIX {
            socket.connect_here(address, within)?;
        } else {
            socket.stream.connect_timeout(address, within)?;
            socket.stream.set_tcp_nodelay(true)?;
        }
        Ok(socket)
    }

    /// Connects on this machine. One that does not wait is refused where the listener's queue is full,
    /// and nothing says when there is room; one that waits may be told for how long (unix(7)).
    fn connect_here(&self, address: &SockAddr, within: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(within))?;
        match self.stream.connect(address) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            outcome => outcome,
        }
    }

    fn of(stream: socket2::Socket) -> Socket {
        let stream = Arc::new(stream);
        Socket { _known: Known::new(&stream), stream, patience: Duration::MAX }
    }

    /// A socket that is connected already.
    #[cfg(any(test, fuzzing))]
    pub(super) fn connected(stream: impl Into<socket2::Socket>) -> Socket {
        Socket::of(stream.into())
    }

    /// The same socket, to be looked at by others.
    pub(super) fn share(&self) -> Arc<socket2::Socket> {
        self.stream.clone()
    }

    /// Writes all of `bytes`, waiting for room until `deadline`.
    pub(super) fn write_all(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Halt> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(Halt::Closed),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_for_room(deadline)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until `deadline` for bytes and reads what is there; zero at the peer's end.
    pub(super) fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, Halt> {
        loop {
            let left = left_until(deadline)?;
            if self.patience > left || self.patience < left / 4 {
                // Less than what is left: the kernel may be an eighth late, and the next call,
                // which has as long, needs no new setting. The loop waits for the rest.
                self.patience = (left * 7 / 8).max(LEAST_PATIENCE.min(left));
                let patience = self.patience.max(Duration::from_millis(1));
                self.stream.set_read_timeout(Some(patience))?;
            }
            match (&*self.stream).read(buffer) {
                Ok(amount) => return Ok(amount),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is there without waiting: zero at the peer's end, `None` where there is nothing yet.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Halt> {
        loop {
            // SAFETY: room for as many bytes, and a descriptor that is open while `self` is borrowed.
            let amount = unsafe {
                let flags = libc::MSG_DONTWAIT;
                libc::recv(self.stream.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags)
            };
            if let Ok(amount) = usize::try_from(amount) {
                return Ok(Some(amount));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                ErrorKind::WouldBlock => return Ok(None),
                ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            }
        }
    }

    fn wait_for_room(&self, deadline: Instant) -> Result<(), Halt> {
        loop {
            let left = left_until(deadline)?;
            // Rounded up: a wait that ends early would only spin through its last millisecond.
            let milliseconds = left.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
            let (fd, events) = (self.stream.as_raw_fd(), libc::POLLOUT);
            let mut descriptor = libc::pollfd { fd, events, revents: 0 };
            // SAFETY: `descriptor` is one valid `pollfd` for the length of the call, and the file
            // descriptor in it is open for as long as `self.stream` is borrowed.
            let ready = unsafe { libc::poll(&mut descriptor, 1, milliseconds) };
            match ready {
                0 => {}
                1.. => return Ok(()),
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != ErrorKind::Interrupted {
                        return Err(error.into());
                    }
                }
            }
        }
    }
}

/// Writes as much as there is room for, without waiting.
impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: `bytes` is borrowed for the call, and the descriptor is open while `self` is.
        let written = unsafe {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            libc::send(self.stream.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags)
        };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the peer keeps the connection open and has sent nothing unasked for: one `MSG_PEEK`.
pub(super) fn is_quiet(stream: &socket2::Socket) -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: room for one byte, and a descriptor that is open while `stream` is borrowed.
        let seen = unsafe {
            let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
            libc::recv(stream.as_raw_fd(), (&raw mut byte).cast(), 1, flags)
        };
        if seen >= 0 {
            return false;
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return error.kind() == ErrorKind::WouldBlock;
        }
    }
}

/// How long it is until `deadline`; never zero.
fn left_until(deadline: Instant) -> Result<Duration, Halt> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Halt::Expired) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket::connect(&address.into(), Duration::from_secs(20)).unwrap();
        (socket, listener.accept().unwrap().0)
    }

    #[test]
    fn a_read_ends_at_its_deadline_whatever_the_one_before_was_given() {
        let (mut socket, mut peer) = pair();
        for (within, sends) in [(10_000, true), (60, false), (20_000, true), (5, false)] {
            let begun = Instant::now();
            let within = Duration::from_millis(within);
            if sends {
                peer.write_all(b"x").unwrap();
                assert_eq!(socket.read(&mut [0; 8], begun + within).unwrap(), 1);
                continue;
            }
            let outcome = socket.read(&mut [0; 8], begun + within);
            assert!(matches!(outcome, Err(Halt::Expired)), "{outcome:?}");
            assert!(begun.elapsed() >= within);
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }

    #[test]
    fn a_write_waits_for_room_until_its_deadline() {
        let (mut socket, _peer) = pair();
        let within = Duration::from_millis(50);
        let begun = Instant::now();
        let outcome = socket.write_all(&vec![0; 64 * 1024 * 1024], begun + within);
        assert!(matches!(outcome, Err(Halt::Expired)), "{outcome:?}");
        assert!(begun.elapsed() >= within);
    }

    #[test]
    fn only_an_open_connection_without_bytes_is_quiet() {
        let (socket, mut peer) = pair();
        let stream = socket.share();
        assert!(is_quiet(&stream));
        peer.write_all(b"x").unwrap();
        while is_quiet(&stream) {
            std::thread::yield_now();
        }
        let (socket, peer) = pair();
        drop(peer);
        while is_quiet(&socket.share()) {
            std::thread::yield_now();
        }
    }
}
