//! What of a server's bytes may be shown: no token, no JWT, no secret, nothing a terminal obeys.

use zeroize::Zeroizing;

use crate::options::Options;

/// The longest text that is shown, in characters.
const MAX_LEN: usize = 160;

/// The least length in bytes at which a secret is looked for inside of other texts.
const MIN_PART: usize = 6;

const HIDDEN: &str = "(hidden)";

/// What must never be shown.
pub(crate) struct Shown {
    secrets: Vec<Zeroizing<String>>,
}

impl Shown {
    pub(crate) fn new(options: &Options) -> Self {
        let secret = options.secret.as_ref().map(|secret| &secret.bytes);
        let all = [options.token.as_ref(), options.refresh_token.as_ref(), secret];
        let text = |bytes: &Zeroizing<Vec<u8>>| String::from_utf8_lossy(bytes).into_owned();
        let secrets = all.into_iter().flatten().map(text).map(Zeroizing::new).collect();
        Self { secrets }
    }

    /// Makes a text of the server's fit to be shown.
    pub(crate) fn text(&self, text: &str) -> String {
        if self.is_secret(text) || text.split([' ', ',', '"']).any(is_jose) {
            return HIDDEN.to_owned();
        }
        let mut shown = String::new();
        for (nth, character) in text.chars().enumerate() {
            match character {
                _ if nth == MAX_LEN => {
                    shown.push_str("...");
                    break;
                }
                // What is not ASCII may look like something else, or turn the line round.
                ' '..='~' => shown.push(character),
                _ => shown.extend(character.escape_unicode()),
            }
        }
        shown
    }

    fn is_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| {
            text == secret.as_str() || secret.len() >= MIN_PART && text.contains(secret.as_str())
        })
    }
}

/// Whether a word looks like a JWS or a JWE.
fn is_jose(word: &str) -> bool {
    word.contains("eyJ") && word.split('.').count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(secrets: &[&str]) -> Shown {
        Shown { secrets: secrets.iter().map(|text| Zeroizing::new((*text).to_owned())).collect() }
    }

    #[test]
    fn nothing_a_terminal_obeys_is_shown() {
        let shown = shown(&[]);
        for byte in (0..=0x9f).filter(|byte| !(0x20..=0x7e).contains(byte)) {
            let character = char::from_u32(byte).expect("a character");
            let text = shown.text(&format!("a{character}b"));
            assert_eq!(text, format!("a\\u{{{byte:x}}}b"));
        }
        assert_eq!(shown.text("\u{202e}\u{1f511}\u{fc}"), "\\u{202e}\\u{1f511}\\u{fc}");
        assert_eq!(shown.text("a \\ \" ~"), "a \\ \" ~");
        assert_eq!(shown.text(&"x".repeat(1000)).len(), MAX_LEN + 3);
    }

    #[test]
    fn no_secret_is_shown_wherever_it_stands() {
        let shown = shown(&["Password1", "abc"]);
        for text in ["Password1", "xPassword1x", "abc", "eyJhbGciOi.eyJz.c2ln", "a eyJh.b.c"] {
            assert_eq!(shown.text(text), HIDDEN, "{text}");
        }
        // Too short to be looked for: hiding it would show where it is.
        assert_eq!(shown.text("abcd"), "abcd");
        assert_eq!(shown.text("https://as.example/eyJ"), "https://as.example/eyJ");
    }
}
