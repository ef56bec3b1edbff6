//! Header lines that go on in the next line (RFC 9112 §5.2), which `ureq` does not read.
//!
//! Nothing may send them any more, and some old servers and what stands in front of them do. A client
//! has to read each line end that is none as blanks.

/// Writes blanks over the line ends inside folded lines, in all header sections of an answer (interim
/// ones come before its own) as far as it has come. Whether its own section is there whole: what
/// follows is content, and no business of this.
///
/// Lengths stay as they are. A first header line that begins with a blank goes on no header line: it
/// is left alone, and refused later.
pub(super) fn unfold(mut answer: &mut [u8]) -> bool {
    loop {
        let Some(end) = unfold_section(answer) else { return false };
        if !is_interim(answer) {
            return true;
        }
        answer = &mut answer[end..];
    }
}

/// Unfolds the header section that `text` begins with; where it ends, if it does.
fn unfold_section(text: &mut [u8]) -> Option<usize> {
    let mut line = empty_lines(text);
    let mut is_status_line = true;
    let mut at = line;
    loop {
        let end = at + memchr::memchr(b'\n', &text[at..])?;
        at = end + 1;
        if matches!(&text[line..end], b"" | b"\r") {
            return Some(at);
        }
        if matches!(text.get(at)?, b' ' | b'\t') && !is_status_line {
            text[end] = b' ';
            if text[end - 1] == b'\r' {
                text[end - 1] = b' ';
            }
            continue;
        }
        is_status_line = false;
        line = at;
    }
}

/// How many bytes of line ends come before the status line.
fn empty_lines(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Whether another answer follows this one (RFC 9110 §15.2). After an upgrade none does.
fn is_interim(text: &[u8]) -> bool {
    let status_line = &text[empty_lines(text)..];
    status_line.get(9) == Some(&b'1') && status_line.get(10..12) != Some(b"01")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an answer that comes at once, and whether its header section is whole.
    fn unfolded(answer: &str) -> (String, bool) {
        let mut bytes = answer.as_bytes().to_vec();
        let whole = unfold(&mut bytes);
        (String::from_utf8(bytes).unwrap(), whole)
    }

    #[test]
    fn folded_lines_become_one() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b   c\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\nA:\r\n\tb\r\n\r\n", "HTTP/1.1 200 OK\r\nA:  \tb\r\n\r\n"),
            ("HTTP/1.1 200 OK\nA: b\n c\n\n", "HTTP/1.1 200 OK\nA: b  c\n\n"),
            (
                "HTTP/1.1 200 OK\r\nA: b\r\n \r\n c\r\nD: e\r\n f\r\n\r\n",
                "HTTP/1.1 200 OK\r\nA: b      c\r\nD: e   f\r\n\r\n",
            ),
            (
                "\r\nHTTP/1.1 103 H\r\nA: b\r\n c\r\n\r\nHTTP/1.1 200 OK\r\nD: e\r\n f\r\n\r\n",
                "\r\nHTTP/1.1 103 H\r\nA: b   c\r\n\r\nHTTP/1.1 200 OK\r\nD: e   f\r\n\r\n",
            ),
        ] {
            assert_eq!(unfolded(answer), (expected.to_owned(), true));
            // However it comes, as long as it is looked at before it is read.
            for cut in 0..answer.len() {
                let mut bytes = answer.as_bytes().to_vec();
                assert!(!unfold(&mut bytes[..cut]), "{cut}");
                assert!(unfold(&mut bytes));
                assert_eq!(bytes, expected.as_bytes(), "{cut}");
            }
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for (answer, whole) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n a\r\n b", true),
            ("HTTP/1.1 204 No\r\n\r\n x\r\n y\r\n\r\n", true),
            ("HTTP/1.1 101 S\r\nA: b\r\n\r\nA: b\r\n c", true),
            ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", false),
            ("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 2", false),
            ("HTTP/1.1 200 OK\r", false),
            ("\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(unfolded(answer), (answer.to_owned(), whole));
        }
    }
}
