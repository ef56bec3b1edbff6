//! JSON as an authorization server may send it, read without guessing.
//!
//! `serde_json` does the reading; on top of it a member that occurs twice in one object, at any
//! depth, is an error (RFC 8259 §4 leaves open which one counts, so two readers may disagree about
//! what was granted). Bytes after the value, text that is not UTF-8, raw control bytes and more
//! than 128 levels of nesting are `serde_json`'s own errors.
//!
//! Values are kept as the text they were sent as: a number keeps all its digits.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Why a text is not taken as JSON. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not one JSON value in UTF-8, or nested too deeply, or a number beyond all bounds.
    #[error("it is not JSON")]
    Syntax,
    /// A name occurs twice in one object.
    #[error("a member of it occurs twice")]
    Duplicate,
    /// Another value than an object.
    #[error("it is not a JSON object")]
    NotAnObject,
}

/// One JSON object: its members in the order they were sent, each with its value's own text.
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// The text of one value inside a checked JSON document, without blanks around it.
#[derive(Clone, Copy)]
pub struct Value<'a>(&'a str);

impl<'a> Object<'a> {
    /// Reads a whole text that comes from outside, by every rule of this module.
    ///
    /// # Errors
    /// The first rule that the text breaks: not JSON (RFC 8259), a name twice in one object, or a
    /// value that is not an object.
    pub fn parse(text: &'a [u8]) -> Result<Object<'a>, JsonError> {
        // Once, and not for every value that is taken out.
        let text = std::str::from_utf8(text).map_err(|_| JsonError::Syntax)?;
        let Ok(object) = serde_json::from_str::<Object<'a>>(text) else {
            check(text)?;
            return Err(JsonError::NotAnObject);
        };
        if has_duplicate(object.members.iter().map(|(name, _)| name.as_ref()).collect()) {
            return Err(JsonError::Duplicate);
        }
        for (_, value) in &object.members {
            if !value.is_plain() {
                check(value.0)?;
            }
        }
        Ok(object)
    }

    /// Reads a text that [`Object::parse`] has accepted before, or a part of one. `None` where it
    /// is not an object.
    pub fn of_checked(text: &'a [u8]) -> Option<Object<'a>> {
        serde_json::from_slice(text).ok()
    }

    /// Returns the value of a member, its name compared exactly; `None` where there is no such
    /// member. A member that is `null` is there.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Returns names and values of the members in the order they were sent.
    pub fn members(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

/// Applies the rules to one whole text: `serde_json` does not look into a value that it only takes
/// out.
fn check(text: &str) -> Result<(), JsonError> {
    match serde_json::from_str::<Unambiguous>(text) {
        Ok(Unambiguous) => Ok(()),
        Err(error) if error.classify() == Category::Data => Err(JsonError::Duplicate),
        Err(_) => Err(JsonError::Syntax),
    }
}

/// Whether a name occurs twice.
fn has_duplicate(mut names: Vec<&str>) -> bool {
    // By length first: names seldom share one, and then none of their text is compared.
    names.sort_unstable_by_key(|name| (name.len(), *name));
    names.windows(2).any(|pair| pair[0] == pair[1])
}

impl<'a> Value<'a> {
    /// Takes the text of one value of a document that [`Object::parse`] has accepted, at its place
    /// in it; `None` where it is no text.
    pub(super) fn of_checked(text: &'a [u8]) -> Option<Value<'a>> {
        std::str::from_utf8(text).ok().map(Value)
    }

    /// Whether nothing can be wrong with it, now that its end was found: a string without escapes,
    /// a short whole number, a word.
    fn is_plain(self) -> bool {
        match self.0.as_bytes() {
            [b'"', text @ ..] => memchr::memchr(b'\\', text).is_none(),
            [b'{' | b'[', ..] => false,
            [b't' | b'f' | b'n', ..] => true,
            number => number.len() < 18 && number.iter().all(u8::is_ascii_digit),
        }
    }

    /// Tells whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Returns the boolean; `None` where the value is none.
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Returns the string with its escapes resolved; `None` where the value is none.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?;
        if memchr::memchr(b'\\', text.as_bytes()).is_none() {
            return text.strip_suffix('"').map(Cow::Borrowed);
        }
        serde_json::from_str::<Text<'a>>(self.0).ok().map(|text| text.0)
    }

    /// Returns the number as it was written; `None` where the value is none.
    pub fn as_number(self) -> Option<&'a str> {
        matches!(self.0.as_bytes(), [b'-' | b'0'..=b'9', ..]).then_some(self.0)
    }

    /// Returns the object; `None` where the value is none.
    pub fn as_object(self) -> Option<Object<'a>> {
        Object::of_checked(self.0.as_bytes())
    }

    /// Returns the elements of an array; `None` where the value is none.
    pub fn as_array(self) -> Option<Vec<Value<'a>>> {
        let elements = serde_json::from_str::<Vec<&'a RawValue>>(self.0).ok()?;
        Some(elements.into_iter().map(|element| Value(element.get())).collect())
    }

    /// Returns the value as it was sent, without the blanks around it.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Appends the value as JSON without the blanks between its parts.
    pub fn write_compact(self, out: &mut Vec<u8>) {
        let mut in_string = false;
        let mut escaped = false;
        for &byte in self.0.as_bytes() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
            } else if byte == b'"' {
                in_string = true;
            } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                continue;
            }
            out.push(byte);
        }
    }
}

/// Appends a string as JSON, quotes included.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a vector fails for want of memory alone, and that does not return.
    let _ = serde_json::to_writer(out, text);
}

/// Any JSON value, read for its faults alone.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnambiguousVisitor)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unambiguous, A::Error> {
        while seq.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut names = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            names.push(name);
            map.next_value::<Unambiguous>()?;
        }
        if has_duplicate(names.iter().map(AsRef::as_ref).collect()) {
            return Err(de::Error::custom("duplicate member"));
        }
        Ok(Unambiguous)
    }
}

/// A string, borrowed from the document where no escape stands in it.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                // As many as an access token usually has.
                let mut members = Vec::with_capacity(16);
                while let Some((Text(name), value)) = map.next_entry::<_, &'de RawValue>()? {
                    members.push((name, Value(value.get())));
                }
                Ok(Object { members })
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &[u8]) -> JsonError {
        Object::parse(text).err().expect("an error")
    }

    #[test]
    fn members_keep_their_order_and_text() {
        let object = Object::parse(b" {\"b\" : 1.50e2 , \"a\":{\"x\": [1, 2]}} ").expect("object");
        let names: Vec<_> = object.members().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(object.get("b").and_then(Value::as_number), Some("1.50e2"));
        assert_eq!(object.get("a").map(Value::text), Some("{\"x\": [1, 2]}"));
        assert!(object.get("x").is_none());
    }

    #[test]
    fn a_name_twice_is_an_error_at_any_depth() {
        assert_eq!(error(br#"{"active":false,"active":true}"#), JsonError::Duplicate);
        assert_eq!(error(br#"{"a":[{"b":{"c":1,"d":2,"c":3}}]}"#), JsonError::Duplicate);
        assert_eq!(error(br#"{"active":false,"\u0061ctive":true}"#), JsonError::Duplicate);
        assert!(Object::parse(br#"{"a":{"x":1},"b":{"x":1},"A":0}"#).is_ok());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let texts: [&[u8]; 14] = [
            b"",
            b" ",
            b"{",
            b"{}x",
            b"{}{}",
            b"{'a':1}",
            b"{\"a\":1,}",
            b"{\"a\":01}",
            b"{\"a\":1e999}",
            b"{\"a\":\"\x01\"}",
            b"{\"a\":\"\n\"}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"\xef\xbb\xbf{}",
        ];
        for text in texts {
            assert_eq!(error(text), JsonError::Syntax, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels)).into_bytes()
        };
        assert!(Object::parse(&nested(126)).is_ok());
        assert_eq!(error(&nested(128)), JsonError::Syntax);
        assert_eq!(error(&nested(30_000)), JsonError::Syntax);
    }

    #[test]
    fn another_value_is_not_an_object() {
        for text in ["[]", "null", "1", "\"{}\"", "true"] {
            assert_eq!(error(text.as_bytes()), JsonError::NotAnObject, "{text}");
        }
    }

    #[test]
    fn values_are_what_they_look_like() {
        let object = Object::parse(
            br#"{"n":null,"t":true,"f":false,"s":"a\u0062","i":-1,"a":["x",2],"o":{}}"#,
        )
        .expect("object");
        let get = |name| object.get(name).expect("member");
        assert!(get("n").is_null());
        assert_eq!(get("t").as_bool(), Some(true));
        assert_eq!(get("f").as_bool(), Some(false));
        assert_eq!(get("s").as_str().as_deref(), Some("ab"));
        assert_eq!(get("i").as_number(), Some("-1"));
        assert_eq!(get("a").as_array().map(|elements| elements.len()), Some(2));
        assert!(get("o").as_object().is_some());
        for name in ["n", "t", "i", "a", "o"] {
            assert!(get(name).as_str().is_none(), "{name}");
        }
        for name in ["n", "t", "s", "a", "o"] {
            assert!(get(name).as_number().is_none(), "{name}");
        }
        for name in ["n", "t", "s", "a", "i"] {
            assert!(get(name).as_object().is_none(), "{name}");
        }
    }

    #[test]
    fn compact_text_loses_blanks_outside_strings_alone() {
        let object = Object::parse(b"{\"a\": {\"b c\" :\t\"d \\\" e\\\\\" ,\r\n\"f\":[ 1 , 2 ]}}")
            .expect("ok");
        let mut out = Vec::new();
        object.get("a").expect("a").write_compact(&mut out);
        assert_eq!(out, b"{\"b c\":\"d \\\" e\\\\\",\"f\":[1,2]}");
    }

    #[test]
    fn a_name_that_is_special_to_serde_json_is_a_name() {
        let object = Object::parse(br#"{"$serde_json::private::RawValue":"x"}"#).expect("object");
        assert!(object.get("$serde_json::private::RawValue").is_some());
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec((any::<String>(), inner), 0..4).prop_map(|members| {
                    serde_json::Value::Object(members.into_iter().collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(text: Vec<u8>) {
            let _ = Object::parse(&text);
        }

        #[test]
        fn what_serde_json_prints_is_read_back(value in any_json()) {
            let wrapped = serde_json::json!({ "v": value });
            for text in [wrapped.to_string(), serde_json::to_string_pretty(&wrapped).expect("text")] {
                let object = Object::parse(text.as_bytes()).expect("object");
                let mut compact = Vec::new();
                object.get("v").expect("v").write_compact(&mut compact);
                prop_assert_eq!(compact, wrapped["v"].to_string().into_bytes());
            }
        }
    }
}
