//! A TCP socket whose every wait ends at a given instant.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How a wait ended that did not bring what it waited for.
#[derive(Debug)]
pub(super) enum Halt {
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

/// A connected, non-blocking TCP socket without Nagle's delay.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
}

impl Socket {
    /// Connects within `within`.
    pub(super) fn connect(address: IpAddr, port: u16, within: Duration) -> io::Result<Socket> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), within)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Socket { stream })
    }

    /// A socket that is connected already.
    #[cfg(any(test, fuzzing))]
    pub(super) fn connected(stream: TcpStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        Ok(Socket { stream })
    }

    /// Writes all of `bytes`, waiting for room until `deadline`.
    pub(super) fn write_all(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Halt> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(Halt::Closed),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(libc::POLLOUT, deadline)?;
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
            // An answer takes a while: asking the kernel to wait first saves a futile read.
            self.wait(libc::POLLIN, deadline)?;
            match self.stream.read(buffer) {
                Ok(amount) => return Ok(amount),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the peer keeps the connection open and has sent nothing unasked for: one
    /// `MSG_PEEK`.
    pub(super) fn is_quiet(&self) -> bool {
        loop {
            match self.stream.peek(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
                Ok(_) => return false,
            }
        }
    }

    fn wait(&self, events: libc::c_short, deadline: Instant) -> Result<(), Halt> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Halt::Expired);
            }
            // Rounded up: a wait that ends early would only spin through its last millisecond.
            let milliseconds = left.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
            let mut descriptor = libc::pollfd { fd: self.stream.as_raw_fd(), events, revents: 0 };
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

    /// The bare stream, for writes that may fail.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}
