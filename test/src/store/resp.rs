//! What the store and its clients say to each other: the Redis serialization protocol, version 2.

use std::io::{self, ErrorKind, Read, Write};

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing is there.
    Nil,
    /// A word.
    Simple(String),
    /// An error, its code first.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Several replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// Words or bytes as text.
    ///
    /// # Panics
    /// Where it is something else.
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not text: {other:?}"),
        }
    }

    /// A number.
    ///
    /// # Panics
    /// Where it is something else.
    pub fn number(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }

    /// The replies in it.
    ///
    /// # Panics
    /// Where it is something else.
    pub fn array(&self) -> &[Reply] {
        match self {
            Self::Array(items) => items,
            other => panic!("not several: {other:?}"),
        }
    }
}

/// A client's connection.
pub struct Connection<S> {
    stream: S,
    arrived: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    /// Speaks over this.
    pub fn new(stream: S) -> Self {
        Self { stream, arrived: Vec::new() }
    }

    /// Sends a command, and waits for its reply.
    ///
    /// # Errors
    /// Where none comes.
    pub fn ask<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<Reply> {
        self.stream.write_all(&encode(command))?;
        self.read()
    }

    /// Waits for a reply.
    ///
    /// # Errors
    /// Where none comes.
    pub fn read(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, length)) = parse(&self.arrived)? {
                self.arrived.drain(..length);
                return Ok(reply);
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => self.arrived.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// What it speaks over.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// What it spoke over.
    pub fn into_stream(self) -> S {
        self.stream
    }
}

/// A command as it is sent.
pub(super) fn encode<A: AsRef<[u8]>>(command: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for argument in command.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The first reply in `bytes`, and how long it is; `None` where it is not whole yet.
///
/// # Errors
/// Where it is none.
pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<(Reply, usize)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (line, begun) = (&bytes[..end], end + 2);
    let faulty = || io::Error::new(ErrorKind::InvalidData, "not a reply");
    let (kind, rest) = line.split_first().ok_or_else(faulty)?;
    let text = String::from_utf8_lossy(rest).into_owned();
    let number = || text.parse::<i64>().map_err(|_| faulty());
    let reply = match kind {
        b'+' => Reply::Simple(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Integer(number()?),
        b'$' | b'*' if number()? < 0 => Reply::Nil,
        b'$' => {
            let length = number()? as usize;
            let Some(bulk) = bytes.get(begun..begun + length + 2) else { return Ok(None) };
            return Ok(Some((Reply::Bulk(bulk[..length].to_vec()), begun + length + 2)));
        }
        b'*' => {
            let (mut items, mut at) = (Vec::new(), begun);
            for _ in 0..number()? {
                let Some((item, length)) = parse(&bytes[at..])? else { return Ok(None) };
                items.push(item);
                at += length;
            }
            return Ok(Some((Reply::Array(items), at)));
        }
        _ => return Err(faulty()),
    };
    Ok(Some((reply, begun)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_once_it_is_whole() {
        let bytes = b"*3\r\n$3\r\nab\n\r\n:-7\r\n*2\r\n$-1\r\n+OK\r\n-ERR no\r\n";
        let first = bytes.len() - "-ERR no\r\n".len();
        for cut in 0..first {
            assert_eq!(parse(&bytes[..cut]).unwrap(), None, "{cut}");
        }
        let (reply, length) = parse(bytes).unwrap().unwrap();
        assert_eq!(length, first);
        let inner = Reply::Array(vec![Reply::Nil, Reply::Simple("OK".to_owned())]);
        assert_eq!(reply.array(), [Reply::Bulk(b"ab\n".to_vec()), Reply::Integer(-7), inner]);
        let (error, _) = parse(&bytes[first..]).unwrap().unwrap();
        assert_eq!(error, Reply::Error("ERR no".to_owned()));
        assert!(parse(b"?\r\n").is_err());
        assert!(parse(b"\r\n").is_err());
    }

    #[test]
    fn a_command_is_an_array_of_bulks() {
        assert_eq!(encode(&["GET", ""]), b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    }
}
