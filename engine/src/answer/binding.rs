//! To what a token is bound (RFC 7800): whoever presents it must prove more than to have it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::answer::json::Value;
use crate::answer::terms::Forward;

/// A SHA-256 thumbprint: of a key (RFC 7638 §3), or of a certificate (RFC 8705 §3.1).
pub type Thumbprint = [u8; 32];

/// To what a token is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// To a DPoP key (`cnf.jkt`, RFC 9449 §6.1, or a `token_type` that says so).
    pub dpop: Bound,
    /// To a client certificate (`cnf."x5t#S256"`, RFC 8705 §3.1).
    pub certificate: Bound,
    /// To something else that `cnf` names.
    pub other: bool,
}

/// Whether a token is bound in one of these ways, and to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// It is not.
    #[default]
    No,
    /// It is, and nothing says to whom: nobody can prove to be it.
    Unsaid,
    /// To whoever has the key or certificate of this thumbprint.
    To(Thumbprint),
    /// To nobody: what stands there is no thumbprint, or there are two that differ.
    Nobody,
}

impl Binding {
    /// What both together say.
    pub(super) fn and(self, other: Binding) -> Binding {
        Binding {
            dpop: self.dpop.and(other.dpop),
            certificate: self.certificate.and(other.certificate),
            other: self.other || other.other,
        }
    }

    /// Whether nobody checks that whoever presents the token as a Bearer token may: a DPoP key is
    /// for those alone who prove it (RFC 9449 §7.2), and the rest is the API's to check, which gets
    /// nothing to check where the server's own token is not forwarded.
    pub fn is_unchecked(self, forward: Forward) -> bool {
        self.dpop.is_bound()
            || forward != Forward::Jwt && (self.certificate.is_bound() || self.other)
    }
}

impl Bound {
    /// Reads the value of `jkt` or `x5t#S256`: 43 characters of base64url in their canonical form.
    pub(super) fn read(value: Value<'_>) -> Bound {
        value.as_str().and_then(|text| thumbprint(text.as_bytes())).map_or(Bound::Nobody, Bound::To)
    }

    /// Whether the token is bound in this way.
    pub fn is_bound(self) -> bool {
        !matches!(self, Bound::No)
    }

    fn and(self, other: Bound) -> Bound {
        match (self, other) {
            (one, Bound::No | Bound::Unsaid) if one.is_bound() => one,
            (Bound::No | Bound::Unsaid, other) => other,
            (Bound::To(one), Bound::To(other)) if one == other => Bound::To(one),
            _ => Bound::Nobody,
        }
    }
}

fn thumbprint(text: &[u8]) -> Option<Thumbprint> {
    // As long as what is decoded may be thought to be, which is a byte more than it is.
    let mut bytes = [0; 33];
    let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    bytes[..len].try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7638 §3.1's own.
    const TEXT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    const BYTES: Thumbprint = [
        55, 54, 203, 177, 120, 124, 184, 48, 156, 119, 238, 140, 55, 5, 197, 225, 111, 251, 158,
        133, 151, 21, 144, 31, 30, 76, 89, 177, 17, 130, 245, 123,
    ];

    fn read(json: &str) -> Bound {
        Bound::read(crate::answer::json::Object::parse(json.as_bytes()).unwrap().get("x").unwrap())
    }

    #[test]
    fn a_thumbprint_is_43_characters_and_nothing_else() {
        assert_eq!(read(&format!("{{\"x\":\"{TEXT}\"}}")), Bound::To(BYTES));
        // JSON may spell a character otherwise.
        assert_eq!(read(&format!("{{\"x\":\"\\u004e{}\"}}", &TEXT[1..])), Bound::To(BYTES));
        let standard = TEXT.replace('-', "+").replace('_', "/");
        for other in [
            String::new(),
            "a".into(),
            TEXT[..42].into(),
            format!("{TEXT}A"),
            format!("{TEXT}="),
            format!(" {TEXT}"),
            format!("{TEXT}\\n"),
            standard,
            // The same bytes, but for bits that are none's.
            format!("{}t", &TEXT[..42]),
            "A".repeat(44),
            "A".repeat(86),
        ] {
            assert_eq!(read(&format!("{{\"x\":\"{other}\"}}")), Bound::Nobody, "{other}");
        }
        for other in ["1", "true", "{}", "[]"] {
            assert_eq!(read(&format!("{{\"x\":{other}}}")), Bound::Nobody, "{other}");
        }
    }

    #[test]
    fn two_that_differ_bind_to_nobody() {
        let (one, other) = (Bound::To([1; 32]), Bound::To([2; 32]));
        for (a, b, both) in [
            (Bound::No, Bound::No, Bound::No),
            (Bound::No, Bound::Unsaid, Bound::Unsaid),
            (Bound::Unsaid, Bound::Unsaid, Bound::Unsaid),
            (Bound::No, one, one),
            (Bound::Unsaid, one, one),
            (one, one, one),
            (one, other, Bound::Nobody),
            (Bound::No, Bound::Nobody, Bound::Nobody),
            (Bound::Unsaid, Bound::Nobody, Bound::Nobody),
            (one, Bound::Nobody, Bound::Nobody),
            (Bound::Nobody, Bound::Nobody, Bound::Nobody),
        ] {
            assert_eq!((a.and(b), b.and(a)), (both, both), "{a:?} {b:?}");
            assert_eq!(both.is_bound(), a.is_bound() || b.is_bound());
        }
    }

    #[test]
    fn whatever_binds_is_unchecked_where_nobody_checks_it() {
        for (binding, with_jwt, without) in [
            (Binding::default(), false, false),
            (Binding { dpop: Bound::Unsaid, ..Binding::default() }, true, true),
            (Binding { dpop: Bound::Nobody, ..Binding::default() }, true, true),
            (Binding { dpop: Bound::To([0; 32]), ..Binding::default() }, true, true),
            (Binding { certificate: Bound::Nobody, ..Binding::default() }, false, true),
            (Binding { certificate: Bound::To([0; 32]), ..Binding::default() }, false, true),
            (Binding { other: true, ..Binding::default() }, false, true),
        ] {
            assert_eq!(binding.is_unchecked(Forward::Jwt), with_jwt, "{binding:?}");
            assert_eq!(binding.is_unchecked(Forward::None), without, "{binding:?}");
        }
    }
}
