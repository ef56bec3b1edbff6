//! HTTP/1.1 messages on the wire (RFC 9112): heads, bodies and how they are framed.
//!
//! Shared by the servers and the client. Heads are kept as the bytes they came in, so that a test
//! can say what exactly was sent.

use std::fmt;
use std::io::{self, Read};

/// The longest head accepted, in bytes: room for a JWT of many kilobytes.
const MAX_HEAD: usize = 1 << 20;
const MAX_HEADERS: usize = 256;
const READ_SIZE: usize = 16 * 1024;

/// Header fields in the order they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of a field, by its name in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of a field, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Whether one of the comma-separated values of a field is `value`, in any case.
    pub fn lists(&self, name: &str, value: &str) -> bool {
        self.all(name).flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(value))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(n, v)| format!("{n}: {v}"))).finish()
    }
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method, as sent.
    pub method: String,
    /// The request target: path and query.
    pub target: String,
    /// The header fields.
    pub headers: Headers,
    /// Whether the version is 1.1, where connections persist by default.
    pub http11: bool,
    /// The head's bytes, its closing empty line included.
    pub raw: Vec<u8>,
}

impl RequestHead {
    /// Reads a head's bytes.
    ///
    /// # Errors
    /// `InvalidData` where they are no HTTP/1.x request head.
    pub fn parse(raw: Vec<u8>) -> io::Result<Self> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut slots);
        if !parsed.parse(&raw).map_err(invalid)?.is_complete() {
            return Err(invalid("incomplete head"));
        }
        Ok(Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            headers: collect(parsed.headers),
            http11: parsed.version == Some(1),
            raw,
        })
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// How the request's body is framed (RFC 9112 §6.3).
    ///
    /// # Errors
    /// `InvalidData` for a length that is no number.
    pub fn framing(&self) -> io::Result<Framing> {
        framing(&self.headers).map(|f| f.unwrap_or(Framing::Length(0)))
    }

    /// Whether the client lets the connection persist.
    pub fn keep_alive(&self) -> bool {
        if self.http11 {
            !self.headers.lists("connection", "close")
        } else {
            self.headers.lists("connection", "keep-alive")
        }
    }
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The header fields.
    pub headers: Headers,
    /// The head's bytes, its closing empty line included.
    pub raw: Vec<u8>,
}

impl ResponseHead {
    /// Reads a head's bytes.
    ///
    /// # Errors
    /// `InvalidData` where they are no HTTP/1.x response head.
    pub fn parse(raw: Vec<u8>) -> io::Result<Self> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut slots);
        if !parsed.parse(&raw).map_err(invalid)?.is_complete() {
            return Err(invalid("incomplete head"));
        }
        Ok(Self {
            status: parsed.code.unwrap_or_default(),
            reason: parsed.reason.unwrap_or_default().to_owned(),
            headers: collect(parsed.headers),
            raw,
        })
    }

    /// How the response's body is framed, `head` telling whether HEAD was asked.
    ///
    /// # Errors
    /// `InvalidData` for a length that is no number.
    pub fn framing(&self, head: bool) -> io::Result<Framing> {
        if head || self.status == 204 || self.status == 304 || self.status / 100 == 1 {
            return Ok(Framing::Length(0));
        }
        framing(&self.headers).map(|f| f.unwrap_or(Framing::UntilClose))
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A reading end with what has been read too far.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
}

impl<S: Read> Wire<S> {
    /// Reads from `stream`, from its beginning.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), start: 0 }
    }

    /// The stream itself, to write to.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What has been read and not been used.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more; `false` at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + READ_SIZE, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.pending()[..length].to_vec();
        self.start += length;
        taken
    }

    fn until(&mut self, end: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let pending = self.pending();
            if let Some(at) = find(&pending[searched..], end) {
                return Ok(Some(self.take(searched + at + end.len())));
            }
            searched = pending.len().saturating_sub(end.len() - 1);
            if pending.len() > limit {
                return Err(invalid("head or line too long"));
            }
            if !self.fill()? {
                return match self.pending() {
                    [] => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Reads one head with its empty line; `None` where the stream ends before the first byte.
    ///
    /// # Errors
    /// Those of the stream, `UnexpectedEof` in the middle, `InvalidData` beyond one mebibyte.
    pub fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.until(b"\r\n\r\n", MAX_HEAD)
    }

    /// Reads a body, handing it on piece by piece.
    ///
    /// # Errors
    /// Those of the stream, `UnexpectedEof` in the middle, `InvalidData` for faulty chunks.
    pub fn read_body(&mut self, framing: Framing, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.read_length(length, &mut sink),
            Framing::UntilClose => loop {
                let length = self.pending().len();
                sink(&self.take(length));
                if !self.fill()? {
                    return Ok(());
                }
            },
            Framing::Chunked => loop {
                let line = self.line()?;
                let size = std::str::from_utf8(&line)
                    .ok()
                    .and_then(|line| line.split(';').next())
                    .and_then(|size| u64::from_str_radix(size.trim(), 16).ok())
                    .ok_or_else(|| invalid("chunk size"))?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    return Ok(());
                }
                self.read_length(size, &mut sink)?;
                if !self.line()?.is_empty() {
                    return Err(invalid("chunk end"));
                }
            },
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line =
            self.until(b"\r\n", READ_SIZE)?.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        line.truncate(line.len() - 2);
        Ok(line)
    }

    fn read_length(&mut self, mut left: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.pending().is_empty() && !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = left.min(self.pending().len() as u64) as usize;
            sink(&self.pending()[..length]);
            self.start += length;
            left -= length as u64;
        }
        Ok(())
    }

    /// Reads whatever comes next; empty at the end of the stream.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.pending().is_empty() && !self.fill()? {
            return Ok(Vec::new());
        }
        let length = self.pending().len();
        Ok(self.take(length))
    }
}

/// The reason phrase of a status code (RFC 9110 §15).
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

fn framing(headers: &Headers) -> io::Result<Option<Framing>> {
    if headers.lists("transfer-encoding", "chunked") {
        return Ok(Some(Framing::Chunked));
    }
    headers
        .get("content-length")
        .map(|length| length.parse().map(Framing::Length).map_err(invalid))
        .transpose()
}

fn collect(headers: &[httparse::Header<'_>]) -> Headers {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Headers(headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8], framing: Framing) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut wire = Wire::new(bytes);
        let mut body = Vec::new();
        wire.read_body(framing, |piece| body.extend_from_slice(piece))?;
        let rest = wire.read_some()?;
        Ok((body, rest))
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        let chunked = b"3;x=y\r\nabc\r\n0b\r\nhello world\r\n0\r\nTrailer: t\r\n\r\nnext";
        assert_eq!(
            body(chunked, Framing::Chunked).unwrap(),
            (b"abchello world".to_vec(), b"next".to_vec())
        );
        assert_eq!(body(b"abcd", Framing::Length(3)).unwrap(), (b"abc".to_vec(), b"d".to_vec()));
        assert_eq!(body(b"abcd", Framing::UntilClose).unwrap(), (b"abcd".to_vec(), vec![]));
        assert!(body(b"abcd", Framing::Length(5)).is_err());
        assert!(body(b"3\r\nabcd\r\n0\r\n\r\n", Framing::Chunked).is_err());
        assert!(body(b"x\r\n", Framing::Chunked).is_err());
    }

    #[test]
    fn heads_keep_their_bytes() {
        let raw = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut wire = Wire::new(&raw[..]);
        let head = RequestHead::parse(wire.read_head().unwrap().unwrap()).unwrap();
        assert_eq!((head.method.as_str(), head.path()), ("POST", "/a"));
        assert_eq!(head.framing().unwrap(), Framing::Chunked);
        assert!(head.keep_alive());
        assert_eq!(head.raw, raw);
        assert!(wire.read_head().unwrap().is_none());
    }
}
