//! Public keys as JSON (RFC 7517, RFC 7518 §6, RFC 8037 §2), and their thumbprints (RFC 7638).

use crate::jose::algorithm::KeyKind;
use crate::jose::encoding::base64url;
use crate::jose::material::Material;
use crate::jose::primitives::sha256;

impl Material {
    /// The members without which there is no key, in the order of RFC 7638 §3.3, in braces of
    /// their own: nothing in them needs an escape.
    pub(super) fn required_members(&self) -> String {
        match self {
            Material::Rsa { n, e } => {
                format!(r#""e":"{}","kty":"RSA","n":"{}""#, base64url(e), base64url(n))
            }
            Material::Ec { kind, point } => {
                let curve = if *kind == KeyKind::P384 { "P-384" } else { "P-256" };
                let coordinates = point.get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                let (x, y) = (base64url(x), base64url(y));
                format!(r#""crv":"{curve}","kty":"EC","x":"{x}","y":"{y}""#)
            }
            Material::Ed25519(key) => {
                format!(r#""crv":"Ed25519","kty":"OKP","x":"{}""#, base64url(key))
            }
        }
    }

    /// The SHA-256 thumbprint (RFC 7638 §3).
    pub(super) fn thumbprint(&self) -> [u8; 32] {
        sha256(format!("{{{}}}", self.required_members()).as_bytes())
    }
}
