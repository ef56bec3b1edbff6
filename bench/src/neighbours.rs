//! What stands behind the gateways: an API and an authorization server, both as cheap as can be.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A JWT whose compact form has about `length` bytes.
pub(crate) fn jwt(length: usize) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = encode(r#"{"alg":"ES256","typ":"at+jwt","kid":"1584953400"}"#);
    let signature = encode(&"s".repeat(64));
    let payload = |filling: usize| {
        let filling: Vec<String> =
            (0..filling / 24).map(|n| format!("\"claim_{n:04}\":\"{:08x}\"", n * 7919)).collect();
        let comma = if filling.is_empty() { "" } else { "," };
        encode(&format!(
            r#"{{"iss":"https://idsvr.example.com","sub":"8f4c1f2ab2","aud":"api","exp":4102444800,"scope":"read write"{comma}{}}}"#,
            filling.join(",")
        ))
    };
    let bare = header.len() + signature.len() + 2 + payload(0).len();
    format!("{header}.{}.{signature}", payload(length.saturating_sub(bare) * 3 / 4))
}

/// An authorization server to which every token is active: one JWT for all of them, as the body of
/// an `application/jwt` answer.
pub(crate) struct Server {
    port: u16,
    calls: Arc<AtomicU64>,
    delay: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start(jwt: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let calls = Arc::new(AtomicU64::new(0));
        let delay = Arc::new(AtomicU64::new(0));
        let answers = Answers { plain: answer(jwt, ""), repeated: answer(jwt, jwt) };
        let shared = (Arc::new(answers), calls.clone(), delay.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, calls, delay) = shared.clone();
                // A peer that closes ends the loop; there is nobody to tell.
                thread::spawn(move || drop(answer_all(stream, &answers, &calls, &delay)));
            }
        });
        Ok(Self { port, calls, delay })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many calls have come.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How long every call takes from now on.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay.store(delay.as_micros() as u64, Ordering::Relaxed);
    }
}

/// What the server says, always the same.
struct Answers {
    plain: Vec<u8>,
    /// With the JWT in a header too, at [`IN_HEADER`]: `auth_request` reads no body.
    repeated: Vec<u8>,
}

/// Where the server's answers have the JWT in the header `Phantom-Token` too.
pub(crate) const IN_HEADER: &str = "/introspect-in-header";

/// An answer whose body is `jwt`, and what its header `Phantom-Token` has, if it is there.
fn answer(jwt: &str, header: &str) -> Vec<u8> {
    let header =
        if header.is_empty() { String::new() } else { format!("Phantom-Token: {header}\r\n") };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: {}\r\n\
         {header}Cache-Control: max-age=3600\r\n\r\n{jwt}",
        jwt.len()
    )
    .into_bytes()
}

fn answer_all(
    stream: TcpStream,
    answers: &Answers,
    calls: &AtomicU64,
    delay: &AtomicU64,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        let mut length = 0;
        let mut answer = &answers.plain;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
            if text.trim().is_empty() {
                break;
            }
            if text.starts_with("post ") && text.contains(IN_HEADER) {
                answer = &answers.repeated;
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        calls.fetch_add(1, Ordering::Relaxed);
        let delay = Duration::from_micros(delay.load(Ordering::Relaxed));
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        writer.write_all(answer)?;
    }
}

#[cfg(test)]
mod tests {
    use super::jwt;

    #[test]
    fn jwts_are_about_as_long_as_asked() {
        for length in [512, 1024, 4096] {
            let jwt = jwt(length);
            assert!(jwt.len().abs_diff(length) < 64, "{} for {length}", jwt.len());
            assert!(phantom_token_core::jwt::Compact::parse(jwt.as_bytes()).is_ok());
        }
    }
}
