//! `Cache-Control` and `Age` (RFC 9111 §5.1, §5.2), as far as they bear on a shared cache.

use std::borrow::Cow;

/// What a number of seconds too large to count becomes (RFC 9111 §1.2.2).
const MAX_DELTA_SECONDS: u32 = 1 << 31;

/// The directives of one answer. Names are compared in any case, values may be quoted, repeated
/// lines count as one list; of a directive that is repeated the most restrictive one counts.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct CacheControl {
    /// `max-age` in seconds; 0 where it is not a number of seconds (RFC 9111 §4.2.1).
    pub max_age: Option<u32>,
    /// `s-maxage` in seconds, as `max_age`.
    pub s_maxage: Option<u32>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, with or without field names.
    pub no_cache: bool,
    /// `private`, with or without field names.
    pub private: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    pub must_revalidate: bool,
}

/// What an answer says of how long it may be kept.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Its `Cache-Control`.
    pub control: CacheControl,
    /// Its `Age` in seconds, 0 where it has none ([`age`]).
    pub age: u32,
}

impl CacheControl {
    /// Reads every line of the field.
    ///
    /// ```
    /// use phantom_token_engine::http::cache_control::CacheControl;
    ///
    /// let control = CacheControl::parse(["private, max-age=60", "s-maxage=10"]);
    /// assert!(control.private && !control.no_store);
    /// assert_eq!(control.lifetime(), Some(10));
    /// ```
    pub fn parse<T: AsRef<[u8]>>(lines: impl IntoIterator<Item = T>) -> CacheControl {
        let mut found = CacheControl::default();
        for line in lines {
            for directive in Directives(line.as_ref()) {
                found.add(directive);
            }
        }
        found
    }

    /// Returns how long the answer is fresh in a shared cache, in seconds and without its age;
    /// `None` where it does not say. `s-maxage` comes before `max-age` (RFC 9111 §4.2.1).
    pub fn lifetime(&self) -> Option<u32> {
        self.s_maxage.or(self.max_age)
    }

    fn add(&mut self, directive: &[u8]) {
        let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (directive[..at].trim_ascii(), directive[at + 1..].trim_ascii()),
            None => (directive, &b""[..]),
        };
        let seconds = |known: Option<u32>| {
            let seconds = delta_seconds(&unquote(value)).unwrap_or(0);
            Some(known.map_or(seconds, |known| known.min(seconds)))
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("max-age") {
            self.max_age = seconds(self.max_age);
        } else if is("s-maxage") {
            self.s_maxage = seconds(self.s_maxage);
        }
        self.no_store |= is("no-store");
        self.no_cache |= is("no-cache");
        self.private |= is("private");
        self.must_revalidate |= is("must-revalidate") || is("proxy-revalidate");
    }
}

/// Reads `Age` in seconds. The first member of a list counts, and one that is no number is as good
/// as none (RFC 9111 §5.1).
pub fn age(value: Option<&[u8]>) -> u32 {
    let first = value.and_then(|value| value.split(|byte| *byte == b',').next());
    first.and_then(|first| delta_seconds(first.trim_ascii())).unwrap_or(0)
}

/// `delta-seconds` of RFC 9111 §1.2.2.
fn delta_seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u32, |seconds, digit| {
        seconds.saturating_mul(10).saturating_add(u32::from(digit - b'0')).min(MAX_DELTA_SECONDS)
    }))
}

/// The directives of one line, between its commas; a comma in a quoted string is none.
struct Directives<'a>(&'a [u8]);

impl<'a> Iterator for Directives<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let len = directive_len(self.0);
            let directive = self.0[..len].trim_ascii();
            self.0 = self.0.get(len + 1..).unwrap_or_default();
            if !directive.is_empty() {
                return Some(directive);
            }
        }
        None
    }
}

/// The length of the first directive. A quote that is never closed is a byte like any other: it
/// must not hide what follows.
fn directive_len(line: &[u8]) -> usize {
    let mut at = 0;
    while at < line.len() && line[at] != b',' {
        at += match line[at] {
            b'"' => quoted_len(&line[at..]).unwrap_or(1),
            _ => 1,
        };
    }
    at
}

/// The length of the quoted string (RFC 9110 §5.6.4) at the start, both quotes included.
fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The content of a quoted string, or the text as it is.
fn unquote(text: &[u8]) -> Cow<'_, [u8]> {
    if text.first() != Some(&b'"') || quoted_len(text) != Some(text.len()) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text[1..text.len() - 1].iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(lines: &[&str]) -> CacheControl {
        CacheControl::parse(lines)
    }

    const NONE: CacheControl = CacheControl {
        max_age: None,
        s_maxage: None,
        no_store: false,
        no_cache: false,
        private: false,
        must_revalidate: false,
    };

    #[test]
    fn seconds() {
        for (line, expected) in [
            ("max-age=60", Some(60)),
            ("Max-Age=60", Some(60)),
            ("MAX-AGE=060", Some(60)),
            ("max-age=\"60\"", Some(60)),
            ("max-age=\"6\\0\"", Some(60)),
            ("max-age = 60", Some(60)),
            ("public,max-age=60,x", Some(60)),
            (" , ,, max-age=60 ,", Some(60)),
            ("x=\"a, max-age=1\", max-age=60", Some(60)),
            ("x=\"a\\\", max-age=1\", max-age=60", Some(60)),
            ("max-age=0", Some(0)),
            ("max-age=2147483648", Some(1 << 31)),
            ("max-age=4294967296", Some(1 << 31)),
            ("max-age=99999999999999999999999", Some(1 << 31)),
            ("max-age=600, max-age=60", Some(60)),
            ("max-age=60, max-age=600", Some(60)),
            ("max-age=60, max-age=x", Some(0)),
            // Not a number of seconds: stale.
            ("max-age", Some(0)),
            ("max-age=", Some(0)),
            ("max-age=-5", Some(0)),
            ("max-age=+5", Some(0)),
            ("max-age=1.5", Some(0)),
            ("max-age=60s", Some(0)),
            ("max-age=\"60", Some(0)),
            ("max-age='60'", Some(0)),
            ("max-age=60=60", Some(0)),
            // Other directives.
            ("xmax-age=60", None),
            ("max-agee=60", None),
            ("max age=60", None),
            ("\"max-age=60\"", None),
            ("x=\"max-age=60\"", None),
            ("", None),
        ] {
            assert_eq!(parse(&[line]), CacheControl { max_age: expected, ..NONE }, "{line:?}");
        }
    }

    #[test]
    fn s_maxage_comes_first() {
        assert_eq!(parse(&["s-maxage=1, max-age=300"]).lifetime(), Some(1));
        assert_eq!(parse(&["max-age=1, S-MaxAge=300"]).lifetime(), Some(300));
        assert_eq!(parse(&["max-age=1"]).lifetime(), Some(1));
        assert_eq!(parse(&["no-cache"]).lifetime(), None);
    }

    #[test]
    fn flags() {
        assert_eq!(parse(&["No-Store"]), CacheControl { no_store: true, ..NONE });
        assert_eq!(parse(&["no-cache=\"Set-Cookie, X\""]), CacheControl { no_cache: true, ..NONE });
        assert_eq!(parse(&["PRIVATE=\"a\""]), CacheControl { private: true, ..NONE });
        for line in ["must-revalidate", "Proxy-Revalidate"] {
            assert_eq!(parse(&[line]), CacheControl { must_revalidate: true, ..NONE });
        }
        for line in ["no-storee", "xno-store", "x=no-store", "x=\"no-store, private\"", "no store"]
        {
            assert_eq!(parse(&[line]), NONE, "{line:?}");
        }
    }

    #[test]
    fn lines_are_one_list() {
        let expected = CacheControl { max_age: Some(5), no_store: true, private: true, ..NONE };
        assert_eq!(parse(&["private, max-age=300", "", "no-store", "max-age=5"]), expected);
    }

    #[test]
    fn an_open_quote_hides_nothing() {
        let found = parse(&["private=\"a, no-store, max-age=7"]);
        assert!(found.private && found.no_store);
        assert_eq!(found.max_age, Some(7));
        assert!(parse(&["x=\"\\", "no-store"]).no_store);
        assert!(parse(&["x=\"\\\", no-store"]).no_store);
    }

    #[test]
    fn ages() {
        for (value, expected) in [
            ("10", 10),
            (" 10 ", 10),
            ("10, 20", 10),
            ("99999999999", 1 << 31),
            ("", 0),
            ("-1", 0),
            ("x, 5", 0),
        ] {
            assert_eq!(age(Some(value.as_bytes())), expected, "{value:?}");
        }
        assert_eq!(age(None), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(lines: Vec<Vec<u8>>) {
            CacheControl::parse(&lines);
        }

        #[test]
        fn no_store_is_seen_wherever_it_stands(before in "[a-z=\"\\\\ ]{0,12}", after in "[a-z=\"\\\\, ]{0,12}") {
            // With a line of its own, and behind anything that leaves no quote open.
            prop_assert!(parse(&[&before, "no-store", &after]).no_store);
            let closed = before.replace(['"', '\\'], "");
            let line = format!("{closed},no-store,{after}");
            prop_assert!(parse(&[&line]).no_store, "{}", line);
        }

        #[test]
        fn a_printed_number_reads_back(seconds in 0u32..=1 << 31, quoted: bool) {
            let line = if quoted { format!("max-age=\"{seconds}\"") } else { format!("max-age={seconds}") };
            prop_assert_eq!(parse(&[&line]).max_age, Some(seconds));
        }
    }
}
