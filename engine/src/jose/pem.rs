//! The text around a key (RFC 7468), read so that the copies of a private key can be wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::jose::key::error::KeyError;

/// Of UTF-8, and of UTF-16 in either order.
const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// The one block of a file.
pub(super) struct Block<'a> {
    /// What stands behind `BEGIN`.
    pub(super) label: &'a [u8],
    /// The lines in between.
    body: Vec<&'a [u8]>,
}

impl<'a> Block<'a> {
    /// Finds the block. Text outside it is ignored (RFC 7468 §2).
    pub(super) fn find(text: &'a [u8]) -> Result<Block<'a>, KeyError> {
        // Editors and shells of other systems write one, and the block is there for all to see.
        if BYTE_ORDER_MARKS.iter().any(|mark| text.starts_with(mark)) {
            return Err(KeyError::ByteOrderMark);
        }
        let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        // OpenSSL writes the curve's name in front of a key in SEC 1.
        let is_key = |label: &&[u8]| *label != b"EC PARAMETERS";
        let begin = |line| label(line, b"-----BEGIN ").filter(is_key);
        let label = lines.by_ref().find_map(begin).ok_or(KeyError::NoPem)?;
        let mut body = Vec::new();
        loop {
            let line = lines.next().ok_or(KeyError::Damaged)?;
            match self::label(line, b"-----END ") {
                Some(end) if end == label => break,
                Some(_) => return Err(KeyError::Damaged),
                None => body.push(line),
            }
        }
        if lines.any(|line| self::label(line, b"-----BEGIN ").is_some()) {
            return Err(KeyError::Several);
        }
        Ok(Block { label, body })
    }

    /// Decodes what is in the block.
    pub(super) fn der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let base64 = Zeroizing::new(self.body.concat());
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
        let len = STANDARD.decode_slice(&*base64, &mut der).map_err(|_| KeyError::Damaged)?;
        der.truncate(len);
        Ok(der)
    }
}

fn label<'a>(line: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(begin)?.strip_suffix(b"-----")
}
