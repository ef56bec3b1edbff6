//! What kind of key a DER text holds, and the numbers of a public one.

use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UintRef};
use x509_cert::der::{self, Decode as _, Reader as _, SliceReader};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::jose::algorithm::KeyKind;
use crate::jose::key::error::KeyError;
use crate::jose::material::Material;
use crate::jose::primitives;

/// RFC 8017 §A.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 5480 §2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 5480 §2.1.1.1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// RFC 8410 §3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The sizes of RSA keys, in bits of the modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl From<der::Error> for KeyError {
    fn from(_: der::Error) -> KeyError {
        KeyError::Damaged
    }
}

/// Reads which kind of private key a PKCS #8 text holds (RFC 5958 §2). An RSA key is told its
/// size, too, so that a wrong one can be named.
pub(super) fn private_kind(pkcs8: &[u8]) -> Result<KeyKind, KeyError> {
    let mut reader = SliceReader::new(pkcs8)?;
    let (algorithm, key) = reader.sequence(|fields| {
        u8::decode(fields)?;
        let algorithm = AlgorithmIdentifierRef::decode(fields)?;
        let key = <&OctetStringRef>::decode(fields)?;
        // Attributes and a public key may follow.
        fields.read_slice(fields.remaining_len())?;
        Ok::<_, der::Error>((algorithm, key))
    })?;
    reader.finish()?;
    let kind = kind(&algorithm)?;
    if kind == KeyKind::Rsa {
        let mut reader = SliceReader::new(key.as_bytes())?;
        let bits = reader.sequence(|fields| {
            u8::decode(fields)?;
            let modulus = UintRef::decode(fields)?;
            fields.read_slice(fields.remaining_len())?;
            Ok::<_, der::Error>(bits(modulus.as_bytes()))
        })?;
        match bits {
            ..2048 => return Err(KeyError::RsaTooSmall),
            2048 | 3072 | 4096 => {}
            _ => return Err(KeyError::RsaPrivateSize),
        }
    }
    Ok(kind)
}

/// Reads a public key (RFC 5280 §4.1.2.7).
pub(super) fn public(spki: &[u8]) -> Result<Material, KeyError> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki)?;
    let kind = kind(&spki.algorithm)?;
    let key = spki.subject_public_key.as_bytes().ok_or(KeyError::Damaged)?;
    match kind {
        KeyKind::Rsa => rsa(key),
        KeyKind::P256 | KeyKind::P384 => match key.first() {
            Some(2 | 3) => Err(KeyError::PublicPoint),
            _ if primitives::is_on_curve(kind, key) => {
                Ok(Material::Ec { kind, point: key.to_vec() })
            }
            _ => Err(KeyError::Damaged),
        },
        KeyKind::Ed25519 if key.len() == 32 => Ok(Material::Ed25519(key.to_vec())),
        KeyKind::Ed25519 => Err(KeyError::Damaged),
    }
}

/// RFC 8017 §A.1.1.
fn rsa(key: &[u8]) -> Result<Material, KeyError> {
    let mut reader = SliceReader::new(key)?;
    let (n, e) = reader.sequence(|fields| {
        Ok::<_, der::Error>((UintRef::decode(fields)?, UintRef::decode(fields)?))
    })?;
    reader.finish()?;
    let (n, e) = (n.as_bytes(), e.as_bytes());
    if bits(n) < *RSA_BITS.start() {
        return Err(KeyError::RsaTooSmall);
    }
    if bits(n) > *RSA_BITS.end() {
        return Err(KeyError::RsaTooLarge);
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    // What verifiers take: 3 to 2^33.
    if !is_odd(n) || !is_odd(e) || bits(e) < 2 || bits(e) > 33 {
        return Err(KeyError::Damaged);
    }
    Ok(Material::Rsa { n: n.to_vec(), e: e.to_vec() })
}

/// The length of a number in bits, as it is written in DER: no zeros in front but one for the
/// sign, which the reader has taken off.
fn bits(number: &[u8]) -> usize {
    let first = number.first().map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(first)
}

fn kind(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<KeyKind, KeyError> {
    match algorithm.oid {
        RSA => Ok(KeyKind::Rsa),
        ED25519 => Ok(KeyKind::Ed25519),
        EC => match algorithm.parameters.map(AnyRef::decode_as::<ObjectIdentifier>) {
            Some(Ok(P256)) => Ok(KeyKind::P256),
            Some(Ok(P384)) => Ok(KeyKind::P384),
            _ => Err(KeyError::Curve),
        },
        _ => Err(KeyError::Kind),
    }
}
