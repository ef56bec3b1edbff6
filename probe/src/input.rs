//! Files and standard input: where secrets and tokens come from, and nowhere else.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::Path;

use phantom_token_engine::answer::json::{Object, Value};
use phantom_token_engine::token::bearer::MAX_TOKEN_LEN;
use zeroize::Zeroizing;

/// A file's name that stands for standard input.
pub(crate) const STDIN: &str = "-";

/// The longest file of a token: one may stand in an answer of the token endpoint, among others.
const MAX_TOKEN_FILE: usize = 4 * MAX_TOKEN_LEN;

/// Reads a file of at most so many bytes.
///
/// # Errors
/// It cannot be read, or is longer.
pub(crate) fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let named = path.display();
    let failed = |error: io::Error| format!("\"{named}\" cannot be read: {error}");
    let bytes = if path == Path::new(STDIN) {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let _ = io::stderr().write_all(
                b"phantom-token-probe: reading what you type, which shows, up to Ctrl-D\n",
            );
        }
        take(stdin.lock(), most).map_err(failed)?
    } else {
        take(File::open(path).map_err(failed)?, most).map_err(failed)?
    };
    match bytes.len() > most {
        true => Err(format!("\"{named}\" is over {most} bytes")),
        false => Ok(bytes),
    }
}

fn take(from: impl Read, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a grown vector would leave copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 2));
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A token, as a file holds it.
pub(crate) struct Tokens {
    /// The one that was asked for.
    pub(crate) token: Zeroizing<Vec<u8>>,
    /// The refresh token beside it, where the file is an answer of the token endpoint.
    pub(crate) refresh: Option<Zeroizing<Vec<u8>>>,
}

/// Reads a token: alone in its file, or the member of this name in an answer of the token endpoint
/// (RFC 6749 §5.1).
///
/// # Errors
/// What is wrong with the file. Its words hold nothing of it.
pub(crate) fn tokens(path: &Path, member: &str) -> Result<Tokens, String> {
    let bytes = read(path, MAX_TOKEN_FILE)?;
    let text = bytes.trim_ascii();
    let named = path.display();
    if text.starts_with(b"{") {
        let answer = Object::parse(text).map_err(|error| format!("\"{named}\": {error}"))?;
        let of = |name: &str| {
            let value = answer.get(name).and_then(Value::as_str)?;
            Some(Zeroizing::new(value.as_bytes().to_vec()))
        };
        let token = of(member).ok_or_else(|| format!("\"{named}\" holds no \"{member}\""))?;
        return Ok(Tokens { token: checked(token, path)?, refresh: of("refresh_token") });
    }
    let token = Zeroizing::new(text.to_vec());
    Ok(Tokens { token: checked(token, path)?, refresh: None })
}

fn checked(token: Zeroizing<Vec<u8>>, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let named = path.display();
    let wrong = match &token[..] {
        [] => "holds no token",
        token if token.len() > MAX_TOKEN_LEN => "holds a token over 32,768 bytes",
        token if token.len() > 7 && token[..7].eq_ignore_ascii_case(b"bearer ") => {
            "holds more than the token: leave \"Bearer\" out"
        }
        token if !token.iter().all(u8::is_ascii_graphic) => {
            "holds something other than a token: blanks, line ends or what is not ASCII"
        }
        _ => return Ok(token),
    };
    Err(format!("\"{named}\" {wrong}"))
}
