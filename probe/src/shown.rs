//! What of a server's bytes may be shown: no token, no JWT, no secret, nothing of a user, nothing a
//! terminal obeys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use phantom_token_engine::http::form;
use zeroize::Zeroizing;

use crate::options::Options;

/// The longest text that is shown, in characters.
const MAX_LEN: usize = 160;

/// How much of a text is looked through, in characters. What stands behind is not shown anyway.
const MAX_LOOKED: usize = 8 * MAX_LEN;

/// The least length in bytes at which a secret is looked for inside of other texts.
const MIN_PART: usize = 6;

/// The longest piece of a secret that is shown, in letters and digits, less one.
const MAX_PART: usize = 16;

pub(crate) const HIDDEN: &str = "(hidden)";

/// The longest name of a claim that is shown, in characters.
const MAX_NAME: usize = 64;

/// The longest part of a path that is shown, in characters, and how many digits it may have.
const MAX_SEGMENT: usize = 24;
const MAX_DIGITS: usize = 4;

/// Kinds of tokens that are shown, in lower case.
const KINDS: [&str; 20] = [
    "access",
    "access-token",
    "access_token",
    "application/at+jwt",
    "at",
    "at+jwt",
    "bearer",
    "dpop",
    "id",
    "id_token",
    "jwt",
    "mac",
    "n_a",
    "offline",
    "pop",
    "refresh",
    "refresh-token",
    "refresh_token",
    "rt",
    "urn:ietf:params:oauth:token-type:access_token",
];

/// What must never be shown.
pub(crate) struct Shown {
    /// In lower case.
    secrets: Vec<Zeroizing<Vec<u8>>>,
    /// The same, letters and digits alone.
    bare: Vec<Zeroizing<Vec<u8>>>,
}

impl Shown {
    pub(crate) fn new(options: &Options) -> Self {
        let secret = options.secret.as_ref().map(|secret| &secret.bytes);
        let given = [options.token.as_ref(), options.refresh_token.as_ref(), secret];
        let mut all: Vec<Zeroizing<Vec<u8>>> = given.into_iter().flatten().cloned().collect();
        if let (Some(id), Some(secret)) = (&options.client_id, secret) {
            all.push(form::basic(id.as_bytes(), secret));
            all.extend(form::basic_raw(id.as_bytes(), secret).ok());
        }
        Self::of(all)
    }

    fn of(all: Vec<Zeroizing<Vec<u8>>>) -> Self {
        let base64 = |bytes: &Zeroizing<Vec<u8>>| {
            Zeroizing::new(STANDARD_NO_PAD.encode(&bytes[..]).into_bytes())
        };
        let encoded: Vec<_> = all.iter().map(base64).collect();
        let mut secrets: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for bytes in all.iter().chain(&encoded) {
            // As it is, and as it is after what a text of the server's is put through.
            for form in [Zeroizing::new(bytes.to_ascii_lowercase()), decoded(bytes)] {
                secrets.push(Zeroizing::new(form.to_ascii_lowercase()));
            }
        }
        let bare = secrets.iter().map(|secret| bare(secret)).collect();
        Self { secrets, bare }
    }

    /// Makes a text of the server's fit to be shown.
    pub(crate) fn text(&self, text: &str) -> String {
        if self.is_secret(text) {
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

    /// The media type alone: its parameters may be anything.
    pub(crate) fn media_type(&self, field: &str) -> String {
        let media_type = field.split(';').next().unwrap_or_default().trim();
        let is_part = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
            (1..=MAX_NAME).contains(&part.len()) && part.bytes().all(fits)
        };
        match media_type.split_once('/') {
            Some((kind, rest)) if is_part(kind) && is_part(rest) => self.text(media_type),
            _ => HIDDEN.to_owned(),
        }
    }

    /// Where a redirect leads, without its query: a path of ordinary words alone.
    pub(crate) fn location(&self, location: &str) -> String {
        let end = location.find(['?', '#']).unwrap_or(location.len());
        let location = &location[..end];
        let (scheme, rest) = location.split_once("://").unwrap_or(("", location));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        let is_word = |word: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let digits = word.bytes().filter(u8::is_ascii_digit).count();
            word.len() <= MAX_SEGMENT && digits <= MAX_DIGITS && word.bytes().all(fits)
        };
        let is_ordinary = matches!(scheme, "" | "http" | "https" | "file")
            && host.bytes().all(is_host)
            && path.split('/').all(is_word);
        if is_ordinary { self.text(location) } else { HIDDEN.to_owned() }
    }

    /// A claim's name, where it is one: servers' users can be names as well.
    pub(crate) fn name(&self, name: &str) -> Option<String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/#-".contains(&byte);
        let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits);
        (is_name && !self.is_secret(name)).then(|| name.to_owned())
    }

    /// A claim's value, where that says something of the server or of the kind of token.
    pub(crate) fn value(&self, name: &str, value: &str) -> String {
        match name {
            "iss" | "aud" if value.contains('@') => HIDDEN.to_owned(),
            "iss" | "aud" => self.text(value),
            "scope" if self.is_secret(value) => HIDDEN.to_owned(),
            "scope" => {
                let of = |scope: &str| match is_scope(scope) {
                    true => self.text(scope),
                    false => HIDDEN.to_owned(),
                };
                let scopes: Vec<_> = value.split(' ').map(of).collect();
                self.text(&scopes.join(" "))
            }
            _ if KINDS.contains(&&*value.to_ascii_lowercase()) => self.text(value),
            _ => "another value".to_owned(),
        }
    }

    fn is_secret(&self, text: &str) -> bool {
        let end = text.char_indices().nth(MAX_LOOKED).map_or(text.len(), |(end, _)| end);
        let once = decoded(&text.as_bytes()[..end]);
        let twice = decoded(&once);
        [&text.as_bytes()[..end], &once, &twice].into_iter().any(|text| {
            is_jose(text) || {
                let lower = Zeroizing::new(text.to_ascii_lowercase());
                let whole = |secret: &Zeroizing<Vec<u8>>| {
                    lower == *secret || secret.len() >= MIN_PART && holds(&lower, secret)
                };
                let text = bare(text);
                self.secrets.iter().any(whole)
                    || self.bare.iter().any(|secret| holds_part(&text, secret))
            }
        })
    }
}

fn is_scope(scope: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/*#-".contains(&byte);
    let is_number = !scope.is_empty() && !scope.bytes().any(|byte| byte.is_ascii_alphabetic());
    scope.len() <= MAX_NAME && scope.bytes().all(fits) && !is_number
}

/// Letters and digits in lower case: what a secret still is when it was cut into words.
fn bare(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    Zeroizing::new(text.iter().copied().filter(fits).map(|b| b.to_ascii_lowercase()).collect())
}

/// Undoes percent-encoding where it is one.
fn decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, hex(text.get(at + 1)), hex(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// Whether most of a secret stands in a text, or much of a long one.
fn holds_part(text: &[u8], secret: &[u8]) -> bool {
    let len = MAX_PART.min(secret.len().saturating_sub(4)).max(MIN_PART);
    secret.len() >= MIN_PART && text.windows(len).any(|window| holds(secret, window))
}

/// Whether a word looks like a JWS or a JWE, or like part of one.
fn is_jose(text: &[u8]) -> bool {
    let is_end = |byte: &u8| b" ,\"".contains(byte);
    text.split(is_end).any(|word| {
        let dots = word.iter().filter(|byte| **byte == b'.').count();
        holds(word, b"eyJ") && (word.len() > 20 || dots >= 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(secrets: &[&str]) -> Shown {
        let bytes = |text: &&str| Zeroizing::new(text.as_bytes().to_vec());
        Shown::of(secrets.iter().map(bytes).collect())
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
        assert_eq!(shown.text("as.example/eyJ"), "as.example/eyJ");
    }

    #[test]
    fn no_secret_is_shown_however_it_is_written() {
        let shown = shown(&["s3cr&t+Val ue$%x/9", "opaque-Token-of_somebody"]);
        for text in [
            "s3cr%26t%2BVal+ue%24%25x%2F9",
            "s3cr%2526t%252BVal%2Bue%2524%2525x%252F9",
            "OPAQUE-TOKEN-OF_SOMEBODY",
            "b3BhcXVlLVRva2VuLW9mX3NvbWVib2R5",
            "opaque-Token-of_somebo",
            "a opaque-Toke n-of_somebody",
            "eyJhbGciOiJIUzI1NiJ9_eyJzdWIiOiJh",
            "eyJhbGciOiJIUzI1NiJ9%2EeyJzdWIiOiJh",
        ] {
            assert_eq!(shown.text(text), HIDDEN, "{text}");
            assert_eq!(shown.name(text), None, "{text}");
            assert_eq!(shown.location(&format!("/login/{text}")), HIDDEN, "{text}");
            for name in ["iss", "aud", "scope"] {
                assert_eq!(shown.value(name, text), HIDDEN, "{text}");
            }
            assert_eq!(shown.value("typ", text), "another value");
        }
    }

    #[test]
    fn what_is_ordinary_is_shown_and_nothing_else() {
        let shown = shown(&["s3cr&t+Val ue$%x/9"]);
        assert_eq!(shown.media_type("application/json; a=Basic"), "application/json");
        assert_eq!(shown.media_type("text/a b"), HIDDEN);
        for location in ["https://as.example:8443/oauth2/login", "/login.html", "/a/v2/"] {
            assert_eq!(shown.location(&format!("{location}?a=b")), location);
        }
        assert_eq!(shown.location("/reset/4711081547110815"), HIDDEN);
        assert_eq!(
            shown.name("https://as.example/roles").as_deref(),
            Some("https://as.example/roles")
        );
        assert_eq!(shown.name("alice@example.com"), None);
        assert_eq!(shown.value("aud", "https://api.example a"), "https://api.example a");
        assert_eq!(shown.value("aud", "alice@example.com"), HIDDEN);
        assert_eq!(shown.value("scope", "read api:write"), "read api:write");
        assert_eq!(shown.value("scope", "alice@example.com +49 170"), "(hidden) (hidden) (hidden)");
        assert_eq!(shown.value("token_type", "Bearer"), "Bearer");
        assert_eq!(shown.value("token_use", "alice-smith"), "another value");
    }
}
