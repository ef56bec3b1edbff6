//! What the gateway's own calls ask about: a token that nobody has, and nobody is told.

use zeroize::Zeroizing;

/// How long such a token is, in letters and digits: some 256 bits.
pub const LEN: usize = 43;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Makes a token of [`LEN`] letters and digits from as many random bytes.
pub fn token(random: &[u8; LEN]) -> Zeroizing<[u8; LEN]> {
    // The first letters are a little likelier than the last: nothing depends on it.
    Zeroizing::new(random.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::bearer::{self, Credentials, TokenSyntax};

    #[test]
    fn it_is_a_token_whatever_the_bytes() {
        for byte in 0..=255 {
            let token = token(&[byte; LEN]);
            assert!(token.iter().all(u8::is_ascii_alphanumeric));
            let read = bearer::from_bare(&token[..], TokenSyntax::B64token);
            assert!(matches!(read, Credentials::Token(text) if text == &token[..]));
        }
        let all: [u8; LEN] = std::array::from_fn(|at| at as u8 + 20);
        assert_eq!(token(&all)[..3], *b"UVW");
    }
}
