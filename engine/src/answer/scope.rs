//! Scope (RFC 6749 §3.3): what was granted, in one form, and whether it is enough.

use crate::answer::cause::Cause;
use crate::answer::json::Value;
use crate::memory::{self, NoMemory};

/// Brings a `scope` or `scp` value, a string of values separated by spaces or an array of them,
/// into one form: values joined by single spaces, in the order they came.
///
/// An element of an array that holds a space is no scope value: it grants nothing, rather than
/// several.
///
/// # Errors
/// The value has any other type, or a control byte stands in it.
pub fn normalise(value: Value<'_>) -> Result<Vec<u8>, Cause> {
    let mut scope = Vec::new();
    if let Some(text) = value.as_str() {
        for granted in values(text.as_bytes()) {
            push(&mut scope, granted)?;
        }
    } else {
        for element in value.as_array().ok_or(Cause::Scope)? {
            let text = element.as_str().ok_or(Cause::Scope)?;
            if text.contains(' ') {
                reject_control(text.as_bytes())?;
            } else if !text.is_empty() {
                push(&mut scope, text.as_bytes())?;
            }
        }
    }
    Ok(scope)
}

/// Tells whether every value of `required` is among those of `granted`. Both are values separated
/// by spaces (RFC 6749 §3.3), compared byte for byte. Requiring nothing is always met. Does not
/// allocate.
///
/// ```
/// use phantom_token_engine::answer::scope::covers;
///
/// assert!(covers(b"orders.read orders.write", b"orders.write"));
/// assert!(!covers(b"orders.read", b"orders"));
/// assert!(covers(b"", b""));
/// ```
pub fn covers(granted: &[u8], required: &[u8]) -> bool {
    values(required).all(|wanted| values(granted).any(|value| value == wanted))
}

/// Tells whether some value of `wanted` is among those of `granted`, as [`covers`] compares them.
pub fn meets(granted: &[u8], wanted: &[u8]) -> bool {
    values(wanted).any(|wanted| covers(granted, wanted))
}

/// Returns the values of `required` that are not among those of `granted`, joined by single spaces.
///
/// # Errors
/// The system gives no memory for them.
pub fn missing(granted: &[u8], required: &[u8]) -> Result<Vec<u8>, NoMemory> {
    let mut missing = memory::with_room(required.len())?;
    for wanted in values(required).filter(|wanted| !covers(granted, wanted)) {
        if !missing.is_empty() {
            missing.push(b' ');
        }
        missing.extend_from_slice(wanted);
    }
    Ok(missing)
}

/// Returns the values of a scope, which are separated by one or more spaces.
pub fn values(scope: &[u8]) -> impl Iterator<Item = &[u8]> {
    scope.split(|byte| *byte == b' ').filter(|value| !value.is_empty())
}

fn push(scope: &mut Vec<u8>, value: &[u8]) -> Result<(), Cause> {
    reject_control(value)?;
    if !scope.is_empty() {
        scope.push(b' ');
    }
    scope.extend_from_slice(value);
    Ok(())
}

fn reject_control(value: &[u8]) -> Result<(), Cause> {
    if value.iter().any(u8::is_ascii_control) { Err(Cause::Scope) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::json::Object;

    fn normalised(value: &str) -> Result<String, Cause> {
        let text = format!("{{\"scope\":{value}}}");
        let object = Object::parse(text.as_bytes()).expect("an object");
        normalise(object.get("scope").expect("scope"))
            .map(|scope| String::from_utf8(scope).expect("utf-8"))
    }

    #[test]
    fn one_value_is_enough_to_meet() {
        for (granted, wanted, met) in [
            ("a b", "b c", true),
            ("a b", "c  b", true),
            ("ab", "a b", false),
            ("", "a", false),
            ("a", "", false),
        ] {
            assert_eq!(meets(granted.as_bytes(), wanted.as_bytes()), met, "{granted:?} {wanted:?}");
        }
    }

    #[test]
    fn strings_and_arrays_come_into_one_form() {
        for (value, expected) in [
            ("\"\"", ""),
            ("\"   \"", ""),
            ("\"read\"", "read"),
            ("\" read   write \"", "read write"),
            ("\"re\\u0061d\"", "read"),
            ("\"urn:x:\\u00e9\"", "urn:x:é"),
            ("[]", ""),
            ("[\"read\",\"write\"]", "read write"),
            ("[\"\",\"read\",\"\"]", "read"),
        ] {
            assert_eq!(normalised(value).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn an_element_with_a_space_grants_nothing() {
        assert_eq!(normalised("[\"read write\",\"list\"]").as_deref(), Ok("list"));
    }

    #[test]
    fn other_types_and_control_bytes_are_not_understood() {
        for value in [
            "1",
            "true",
            "{}",
            "null",
            "[1]",
            "[[\"read\"]]",
            "[null]",
            "\"read\\twrite\"",
            "\"read\\nwrite\"",
            "\"re\\u0000ad\"",
            "\"\u{7f}\"",
            "[\"read\\twrite\"]",
            "[\"a b\\u0001\"]",
        ] {
            assert_eq!(normalised(value), Err(Cause::Scope), "{value}");
        }
    }

    #[test]
    fn all_required_values_must_be_there_exactly() {
        for (granted, required, expected) in [
            ("read write", "read", true),
            ("read write", "write read", true),
            ("read write", "", true),
            ("", "", true),
            ("", "read", false),
            ("read write", "read execute", false),
            ("readwrite", "read", false),
            ("read", "readwrite", false),
            ("Read", "read", false),
            ("read write", "  read   write  ", true),
            ("read", "read read", true),
        ] {
            assert_eq!(
                covers(granted.as_bytes(), required.as_bytes()),
                expected,
                "{granted:?} {required:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn covers_is_subset(
            granted in proptest::collection::vec("[a-c]{1,2}", 0..6),
            required in proptest::collection::vec("[a-c]{1,2}", 0..4),
        ) {
            let subset = required.iter().all(|value| granted.contains(value));
            prop_assert_eq!(
                covers(granted.join(" ").as_bytes(), required.join(" ").as_bytes()),
                subset
            );
        }

        #[test]
        fn what_is_missing_is_what_is_required_and_not_granted(
            granted in proptest::collection::vec("[a-d]", 0..6),
            required in proptest::collection::vec("[a-d]", 0..6),
        ) {
            let (has, wants) = (granted.join(" "), required.join("  "));
            let missing = missing(has.as_bytes(), wants.as_bytes()).unwrap();
            let expected: Vec<_> =
                required.iter().filter(|value| !granted.contains(value)).cloned().collect();
            prop_assert_eq!(String::from_utf8(missing.clone()).unwrap(), expected.join(" "));
            prop_assert_eq!(missing.is_empty(), covers(has.as_bytes(), wants.as_bytes()));
        }

        #[test]
        fn what_was_granted_covers_itself(granted in proptest::collection::vec("[!-~]{1,8}", 0..6)) {
            let array = serde_json::to_string(&granted).expect("json");
            let string = serde_json::to_string(&granted.join(" ")).expect("json");
            let scope = normalised(&array).expect("scope");
            prop_assert_eq!(&normalised(&string).expect("scope"), &scope);
            prop_assert!(covers(scope.as_bytes(), granted.join(" ").as_bytes()));
        }
    }
}
