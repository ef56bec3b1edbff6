//! HTTP/2 frame by frame (RFC 9113), for clients that misbehave: what is sent is up to the test.
//!
//! Header fields are sent without compression, and of those received only the status is read.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Frame types (RFC 9113 §6).
pub mod kind {
    /// Content.
    pub const DATA: u8 = 0;
    /// A header section, or its beginning.
    pub const HEADERS: u8 = 1;
    /// The end of a stream, at once.
    pub const RST_STREAM: u8 = 3;
    /// Settings, and that they were seen.
    pub const SETTINGS: u8 = 4;
    /// A question whether the peer is there.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more content.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a header section.
    pub const CONTINUATION: u8 = 9;
}

/// The stream ends with this frame; of SETTINGS and PING: it is an answer.
pub const END_STREAM: u8 = 1;
/// The header section ends with this frame.
pub const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Added to the connection's window, so that no answer waits for it.
const WINDOW: u32 = 1 << 30;

/// One frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream it belongs to; 0 for the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// A connection to a server on 127.0.0.1.
pub struct Http2 {
    stream: TcpStream,
    received: Vec<u8>,
    next: u32,
}

impl Http2 {
    /// Connects and begins to speak HTTP/2.
    ///
    /// # Errors
    /// Where nothing listens.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut connection = Self { stream, received: Vec::new(), next: 1 };
        let mut begin = PREFACE.to_vec();
        begin.extend(frame(kind::SETTINGS, 0, 0, &[]));
        begin.extend(frame(kind::WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes()));
        connection.send(&begin)?;
        Ok(connection)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Where the connection is closed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The number of the next stream.
    pub fn next_stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Reads the next frame, after having answered settings and pings. `None` at the end.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn read(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let Some(frame) = self.next_frame()? else { return Ok(None) };
            match frame.kind {
                kind::SETTINGS | kind::PING if frame.flags & END_STREAM == 0 => {
                    let payload = if frame.kind == kind::PING { &frame.payload[..] } else { &[] };
                    self.send(&self::frame(frame.kind, END_STREAM, 0, payload))?;
                }
                kind::SETTINGS | kind::PING | kind::WINDOW_UPDATE => {}
                _ => return Ok(Some(frame)),
            }
        }
    }

    /// Waits until all that was sent has been read, and throws away what came before.
    ///
    /// # Errors
    /// Those of the connection, `UnexpectedEof` where it is closed.
    pub fn settle(&mut self) -> io::Result<()> {
        self.send(&frame(kind::PING, 0, 0, &[0; 8]))?;
        loop {
            let frame = self.next_frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match (frame.kind, frame.flags & END_STREAM) {
                (kind::PING, END_STREAM) => return Ok(()),
                (kind::SETTINGS, 0) => {
                    self.send(&self::frame(kind::SETTINGS, END_STREAM, 0, &[]))?
                }
                (kind::GOAWAY, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let [a, b, c, kind, flags, s, t, u, v, ..] = self.received[..] {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                if self.received.len() >= 9 + length {
                    let payload = self.received[9..9 + length].to_vec();
                    self.received.drain(..9 + length);
                    let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
                    return Ok(Some(Frame { kind, flags, stream, payload }));
                }
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Frame {
    /// The status in a HEADERS frame, where it is written as NGINX writes it: first, and from the
    /// static table or in digits (RFC 7541 §6, Appendix A).
    pub fn status(&self) -> Option<u16> {
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let mut fields = &self.payload[..];
        // A change of the table's size may come before it.
        while let [byte, rest @ ..] = fields
            && byte >> 5 == 0b001
        {
            fields = rest;
        }
        match fields {
            [byte @ 0x88..=0x8e, ..] => Some(INDEXED[usize::from(byte - 0x88)]),
            [0x08 | 0x18 | 0x48, 3, digits @ ..] => {
                std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok()
            }
            _ => None,
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A GET without content: a HEADERS frame that ends its stream.
pub fn get(stream: u32, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, &header_section(target, headers))
}

/// The end of a stream the client no longer wants (error code CANCEL).
pub fn cancel(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// The header section of a GET, nothing of it compressed.
pub fn header_section(target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    // `:method GET` and `:scheme http` are in the static table; so are the names of the next two.
    let mut section = vec![0x82, 0x86];
    for (index, value) in [(1, "127.0.0.1"), (4, target)] {
        section.push(index);
        text(&mut section, value);
    }
    for (name, value) in headers {
        section.push(0);
        text(&mut section, name);
        text(&mut section, value);
    }
    section
}

/// A string literal (RFC 7541 §5.2), not Huffman-coded.
fn text(to: &mut Vec<u8>, value: &str) {
    if value.len() < 0x7f {
        to.push(value.len() as u8);
    } else {
        to.push(0x7f);
        let mut rest = value.len() - 0x7f;
        while rest >= 0x80 {
            to.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        to.push(rest as u8);
    }
    to.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length() {
        for (length, prefix) in
            [(0, &[0][..]), (126, &[126]), (127, &[127, 0]), (1337 + 127, &[127, 0xb9, 0x0a])]
        {
            let mut bytes = Vec::new();
            text(&mut bytes, &"x".repeat(length));
            assert_eq!(&bytes[..prefix.len()], prefix, "{length}");
            assert_eq!(bytes.len(), prefix.len() + length);
        }
    }

    #[test]
    fn statuses() {
        let frame = |payload: &[u8]| Frame {
            kind: kind::HEADERS,
            flags: END_HEADERS,
            stream: 1,
            payload: payload.to_vec(),
        };
        assert_eq!(frame(&[0x88, 1]).status(), Some(200));
        assert_eq!(frame(&[0x20, 0x8e]).status(), Some(500));
        assert_eq!(frame(b"\x08\x03401x").status(), Some(401));
        assert_eq!(frame(b"\x48\x03503").status(), Some(503));
        assert_eq!(frame(b"").status(), None);
    }
}
