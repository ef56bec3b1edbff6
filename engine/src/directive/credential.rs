//! A client's id and secret, as people paste them.

use zeroize::Zeroizing;

/// The longest id or secret, in bytes.
pub const MAX_LEN: usize = 4096;

/// The longest file of a secret, in bytes: a line end besides.
pub const MAX_FILE: usize = MAX_LEN + 2;

/// Why a text cannot be a client's id or secret. The messages say what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("is empty")]
    Empty,
    /// Longer than [`MAX_LEN`].
    #[error("is over {MAX_LEN} bytes")]
    TooLong,
    /// An editor's mark stands in front of it.
    #[error("begins with a byte order mark")]
    ByteOrderMark,
    /// Another encoding.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A line end, a tab, or another of C0, C1 or DEL.
    #[error("holds a control character")]
    Control,
}

/// Checks that a text can be a client's id or secret: what servers give out and people can have
/// meant. RFC 6749, appendices A.1 and A.2, allows visible ASCII and blanks; letters beyond it
/// exist.
///
/// # Errors
/// The first thing wrong with it.
pub fn check(text: &[u8]) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > MAX_LEN {
        return Err(Error::TooLong);
    }
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err(Error::ByteOrderMark);
    }
    let text = std::str::from_utf8(text).map_err(|_| Error::NotUtf8)?;
    if text.starts_with('\u{feff}') {
        return Err(Error::ByteOrderMark);
    }
    if text.chars().any(char::is_control) {
        return Err(Error::Control);
    }
    Ok(())
}

/// Takes the secret out of a file that holds one line: a line end behind it is no part of it.
///
/// # Errors
/// The first thing wrong with it.
pub fn of_file(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Error> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    check(&bytes).map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_one_line_end_is_no_part_of_the_secret() {
        for (file, secret) in [
            ("s", Ok("s")),
            ("s\n", Ok("s")),
            ("s\r\n", Ok("s")),
            (" s \n", Ok(" s ")),
            ("s\r", Err(Error::Control)),
            ("s\n\n", Err(Error::Control)),
            ("a\nb\n", Err(Error::Control)),
            ("\n", Err(Error::Empty)),
            ("", Err(Error::Empty)),
        ] {
            let found = of_file(Zeroizing::new(file.as_bytes().to_vec()));
            let found = found.as_ref().map(|secret| &secret[..]);
            assert_eq!(found, secret.as_ref().map(|text| text.as_bytes()), "{file:?}");
        }
    }

    #[test]
    fn an_id_or_a_secret_is_text_without_control_characters() {
        let longest = "x".repeat(MAX_LEN);
        for good in
            ["x", "two words ", " x", "sch\u{fc}ssel \u{20ac} \u{1f511}", "%:+&=\"\\", &longest]
        {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, error) in [
            (&b""[..], Error::Empty),
            (format!("{longest}x").as_bytes(), Error::TooLong),
            (b"\xef\xbb\xbfsecret", Error::ByteOrderMark),
            (b"\xff\xfes\0e\0", Error::ByteOrderMark),
            (b"\xfe\xff\0s\0e", Error::ByteOrderMark),
            (b"sch\xfcssel", Error::NotUtf8),
            (b"a\0b", Error::Control),
            (b"a\nb", Error::Control),
            (b"a\r\n", Error::Control),
            (b"a\tb", Error::Control),
            (b"a\x1bb", Error::Control),
            (b"a\x7f", Error::Control),
            ("a\u{80}".as_bytes(), Error::Control),
            ("a\u{9f}b".as_bytes(), Error::Control),
        ] {
            assert_eq!(check(bad), Err(error), "{bad:?}");
        }
    }
}
