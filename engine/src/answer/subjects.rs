//! Whom a token is about: a user, a client, a session, the token itself. Purges name them.
//!
//! Of each an answer keeps a keyed hash and not the name. It is read once, when the answer is, and
//! compared on every request.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::ops::Range;

use crate::answer::json::{Object, Value};
use crate::token::key::HashKey;

/// By what tokens can be named besides themselves: claims of the answer, else of its JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `sub` (RFC 7519 §4.1.2): the user.
    Sub,
    /// `client_id` (RFC 7662 §2.2), else `azp` (OpenID Connect Core 1.0 §2): the client.
    ClientId,
    /// `sid` (OpenID Connect Back-Channel Logout 1.0 §2.1): the session.
    Sid,
    /// `jti` (RFC 7519 §4.1.7): the token.
    Jti,
}

impl Subject {
    /// All there are, in the order of their hashes.
    pub const ALL: [Subject; 4] = [Subject::Sub, Subject::ClientId, Subject::Sid, Subject::Jti];

    /// What a purge calls it: the claim's name.
    pub const fn word(self) -> &'static str {
        match self {
            Subject::Sub => "sub",
            Subject::ClientId => "client_id",
            Subject::Sid => "sid",
            Subject::Jti => "jti",
        }
    }

    /// Hashes a name that a token has for it.
    pub fn hash(self, key: &HashKey, name: &[u8]) -> NonZeroU64 {
        key.name(self as u64, name)
    }
}

/// A keyed hash of each subject of a token ([`Subject::hash`]); `None` of one that it does not
/// name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subjects(pub [Option<NonZeroU64>; 4]);

impl Subjects {
    /// Returns the hash of one subject.
    pub fn get(&self, subject: Subject) -> Option<NonZeroU64> {
        self.0[subject as usize]
    }

    /// Hashes what an answer names, and where it does not, its JWT.
    pub(super) fn hash(key: &HashKey, answer: &Named<'_>, jwt: &Named<'_>) -> Subjects {
        let [sub, client_id, sid, jti, azp] = [0, 1, 2, 3, 4].map(|n| answer.0[n].or(jwt.0[n]));
        let named = [sub, client_id.or(azp), sid, jti];
        let mut subjects = Subjects::default();
        for ((subject, value), hash) in Subject::ALL.into_iter().zip(named).zip(&mut subjects.0) {
            *hash = value.and_then(text).map(|text| subject.hash(key, text.as_bytes()));
        }
        subjects
    }
}

/// The claims that name a token's subjects: those of [`Subject::ALL`], and `azp`.
#[derive(Clone, Copy, Default)]
pub(super) struct Named<'a>([Option<Value<'a>>; 5]);

impl<'a> Named<'a> {
    pub(super) fn read(claims: &Object<'a>) -> Named<'a> {
        let mut named = Named::default();
        for (name, value) in claims.members() {
            let place = match name {
                "sub" => 0,
                "client_id" => 1,
                "sid" => 2,
                "jti" => 3,
                "azp" => 4,
                _ => continue,
            };
            named.0[place] = Some(value).filter(|value| names_somebody(*value));
        }
        named
    }

    /// Where they stand in the document that they were read from.
    pub(super) fn places(&self, document: &[u8]) -> Places {
        let at = |value: Value<'_>| {
            let text = value.text();
            let start = text.as_ptr() as usize - document.as_ptr() as usize;
            start..start + text.len()
        };
        Places(self.0.map(|value| value.map(at)))
    }
}

/// Where [`Named`] stands in a document that is kept.
pub(super) struct Places([Option<Range<usize>>; 5]);

impl Places {
    pub(super) fn in_document<'a>(&self, document: &'a [u8]) -> Named<'a> {
        let value = |place: &Option<Range<usize>>| Value::of_checked(document.get(place.clone()?)?);
        Named(self.0.each_ref().map(value))
    }
}

/// A purge names subjects by text: so a user that is numbered, as some servers do, has the digits
/// for a name. What is empty, or neither text nor number, names nobody.
fn names_somebody(value: Value<'_>) -> bool {
    value.as_number().is_some() || value.text().starts_with('"') && value.text().len() > 2
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.as_number().map(Cow::Borrowed).or_else(|| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey([7; 16]);

    /// The hashes of an answer's and a JWT's subjects.
    fn hashed(answer: &str, jwt: &str) -> Subjects {
        let [answer, jwt] = [answer, jwt].map(|claims| format!("{{{claims}}}"));
        let [answer, of_jwt] =
            [&answer, &jwt].map(|claims| Named::read(&Object::parse(claims.as_bytes()).unwrap()));
        // A JWT's payload is kept, and read again.
        let places = of_jwt.places(jwt.as_bytes());
        Subjects::hash(&KEY, &answer, &places.in_document(jwt.as_bytes()))
    }

    /// The hashes of these texts; of none where one is empty.
    fn of(texts: [&str; 4]) -> Subjects {
        let mut subjects = Subjects::default();
        for (nth, text) in texts.into_iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            subjects.0[nth] = Some(Subject::ALL[nth].hash(&KEY, text.as_bytes()));
        }
        subjects
    }

    #[test]
    fn the_answer_names_them_and_where_it_does_not_the_jwt() {
        for (answer, jwt, expected) in [
            ("", "", ["", "", "", ""]),
            (r#""sub":"a","client_id":"b","sid":"c","jti":"d""#, "", ["a", "b", "c", "d"]),
            ("", r#""sub":"a","client_id":"b","sid":"c","jti":"d""#, ["a", "b", "c", "d"]),
            (r#""sub":"a","sid":"c""#, r#""sub":"x","jti":"d","sid":"y""#, ["a", "", "c", "d"]),
            (r#""azp":"z""#, "", ["", "z", "", ""]),
            ("", r#""azp":"z""#, ["", "z", "", ""]),
            (r#""azp":"z","client_id":"b""#, "", ["", "b", "", ""]),
            (r#""azp":"z""#, r#""client_id":"b""#, ["", "b", "", ""]),
            (r#""client_id":"b""#, r#""azp":"z""#, ["", "b", "", ""]),
            (r#""azp":"y""#, r#""azp":"z""#, ["", "y", "", ""]),
            // Nobody's name.
            (r#""sub":null,"sid":"","jti":[]"#, "", ["", "", "", ""]),
            (r#""sub":true,"sid":{"a":"b"},"jti":["d"]"#, "", ["", "", "", ""]),
            (
                r#""sub":null,"sid":"","jti":false"#,
                r#""sub":"a","sid":"c","jti":"d""#,
                ["a", "", "c", "d"],
            ),
            (r#""Sub":"a","username":"b""#, "", ["", "", "", ""]),
            // A name in another spelling, and one that is a number.
            (r#""sub":"\u0061\/\u00e9""#, "", ["a/é", "", "", ""]),
            (
                r#""sub":42,"sid":-1,"jti":12345678901234567890123"#,
                "",
                ["42", "", "-1", "12345678901234567890123"],
            ),
            (r#""sub":"42""#, r#""sub":43"#, ["42", "", "", ""]),
            (r#""sub":1.50"#, "", ["1.50", "", "", ""]),
        ] {
            assert_eq!(hashed(answer, jwt), of(expected), "{answer} {jwt}");
        }
    }

    #[test]
    fn one_text_is_another_subject_in_another_place() {
        let one = Subject::ALL.map(|subject| subject.hash(&KEY, b"a"));
        assert!((0..4).all(|n| (0..n).all(|m| one[n] != one[m])));
        let other = HashKey([8; 16]);
        assert!(
            Subject::ALL
                .iter()
                .all(|subject| { subject.hash(&KEY, b"a") != subject.hash(&other, b"a") })
        );
        assert_ne!(Subject::Sub.hash(&KEY, b"a"), Subject::Sub.hash(&KEY, b"b"));
        assert_eq!(hashed(r#""sid":"a""#, "").get(Subject::Sid), Some(one[2]));
    }
}
