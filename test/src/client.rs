//! Clients of the gateway: one that speaks HTTP/1.1 byte by byte, and `curl`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::http::{Headers, ResponseHead, Wire};
use crate::process::wait_until;
use crate::server::is_delivered;

/// How long an answer may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One HTTP/1.1 response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// The head's bytes.
    pub raw_head: Vec<u8>,
}

impl Response {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The header fields by lower-case name, sorted, but `Server` and `Date`, which vary.
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields: Vec<_> = self
            .headers
            .0
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .filter(|(name, _)| name != "server" && name != "date")
            .collect();
        fields.sort();
        fields
    }
}

/// A connection to a server on 127.0.0.1.
pub struct Client {
    wire: Wire<TcpStream>,
    port: u16,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// Where nothing listens.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("connects")
    }

    /// Connects.
    ///
    /// # Errors
    /// Where nothing listens.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { wire: Wire::new(stream), port })
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// Where the connection is closed.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("sends");
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Where the connection is closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.stream().write_all(bytes)
    }

    /// Waits until the server has read all that was sent.
    ///
    /// # Panics
    /// Where it does not.
    pub fn wait_until_read(&mut self) {
        let (stream, server) = (self.wire.stream(), format!(":{:04X}", self.port));
        let client = format!(":{:04X}", stream.local_addr().expect("a connection").port());
        wait_until("what was sent to be read", || {
            // proc(5): addresses of both sides, state, bytes not yet sent and not yet read.
            let table = fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
            let read = table.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                fields[1].ends_with(&server)
                    && fields[2].ends_with(&client)
                    && fields[4].ends_with(":00000000")
            });
            is_delivered(stream) && read
        });
    }

    /// Sends a request's head, and a body with its length where it is not empty.
    ///
    /// # Panics
    /// Where the connection is closed.
    pub fn send_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let request = self.request_bytes(method, target, headers, body);
        self.send(&request);
    }

    /// Sends a POST with an access token and a body, `chunked` in some hundred kilobytes at a time.
    ///
    /// # Panics
    /// Where it cannot be sent.
    pub fn send_upload(&mut self, target: &str, token: &str, body: &[u8], chunked: bool) {
        let bearer = format!("Bearer {token}");
        let authorization = ("Authorization", bearer.as_str());
        if !chunked {
            return self.send_request("POST", target, &[authorization], body);
        }
        self.send_request("POST", target, &[authorization, ("Transfer-Encoding", "chunked")], b"");
        for piece in body.chunks(100_000) {
            let size = format!("{:x}\r\n", piece.len());
            self.send(&[size.as_bytes(), piece, b"\r\n"].concat());
        }
        self.send(b"0\r\n\r\n");
    }

    /// The bytes of a request.
    pub fn request_bytes(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", self.port);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Reads one response, to a request with a method other than HEAD.
    ///
    /// # Panics
    /// Where none comes.
    pub fn read(&mut self) -> Response {
        self.try_read(false).expect("a response")
    }

    /// Reads one response to HEAD.
    ///
    /// # Panics
    /// Where none comes.
    pub fn read_head(&mut self) -> Response {
        self.try_read(true).expect("a response")
    }

    /// Reads one response; `head` tells whether it answers HEAD.
    ///
    /// # Errors
    /// Where none comes, or half of one.
    pub fn try_read(&mut self, head: bool) -> io::Result<Response> {
        loop {
            let raw = self.wire.read_head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let parsed = ResponseHead::parse(raw)?;
            if parsed.status == 100 {
                continue;
            }
            let framing = parsed.framing(head)?;
            let mut body = Vec::new();
            self.wire.read_body(framing, |piece| body.extend_from_slice(piece))?;
            let ResponseHead { status, headers, raw, .. } = parsed;
            return Ok(Response { status, headers, body, raw_head: raw });
        }
    }

    /// GET with these header fields.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.try_get(target, headers).expect("a response")
    }

    /// GET with these header fields.
    ///
    /// # Errors
    /// Where no response comes.
    pub fn try_get(&mut self, target: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        let request = self.request_bytes("GET", target, headers, b"");
        self.try_send(&request)?;
        self.try_read(false)
    }

    /// GET with this access token.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn get_as(&mut self, target: &str, token: &str) -> Response {
        self.get(target, &[("Authorization", &format!("Bearer {token}"))])
    }

    /// HEAD with these header fields.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn head(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send_request("HEAD", target, headers, b"");
        self.read_head()
    }

    /// What has come beyond the responses read.
    pub fn pending(&self) -> &[u8] {
        self.wire.pending()
    }

    /// Reads whatever comes next, such as bytes on an upgraded connection; empty at the end.
    ///
    /// # Panics
    /// Where nothing comes.
    pub fn read_some(&mut self) -> Vec<u8> {
        self.wire.read_some().expect("bytes")
    }

    /// Whether nothing waits to be read and the server has not closed the connection.
    ///
    /// # Panics
    /// Where the socket does not take its settings.
    pub fn is_idle(&mut self) -> bool {
        if !self.wire.pending().is_empty() {
            return false;
        }
        let stream = self.wire.stream();
        stream.set_nonblocking(true).expect("a setting");
        let read = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("a setting");
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Waits for the server to close the connection; `false` where it sends something instead.
    pub fn closes(&mut self) -> bool {
        match self.wire.stream().read(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Closes the sending half.
    ///
    /// # Panics
    /// Where the connection is closed.
    pub fn finish(&mut self) {
        self.try_finish().expect("an open connection");
    }

    /// Closes the sending half.
    ///
    /// # Errors
    /// Where the connection is closed.
    pub fn try_finish(&mut self) -> io::Result<()> {
        self.wire.stream().shutdown(Shutdown::Write)
    }
}

/// What `curl` gave.
#[derive(Clone, Debug)]
pub struct Curl {
    /// Its standard output, as text.
    pub output: String,
    /// What it said on standard error.
    pub errors: String,
    /// Its exit code.
    pub code: i32,
}

/// Runs `curl --silent --show-error` with these arguments.
///
/// # Panics
/// Where `curl` is not installed.
pub fn curl(arguments: &[&str]) -> Curl {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    Curl {
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    }
}
