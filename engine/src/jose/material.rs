//! What a public key is made of.

use crate::jose::algorithm::KeyKind;

/// The numbers of a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Material {
    /// Modulus and exponent, big-endian, without zeros in front.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point, not compressed: the byte 4, then both coordinates in full length.
    Ec { kind: KeyKind, point: Vec<u8> },
    /// 32 bytes.
    Ed25519(Vec<u8>),
}

impl Material {
    pub(super) fn kind(&self) -> KeyKind {
        match self {
            Material::Rsa { .. } => KeyKind::Rsa,
            Material::Ec { kind, .. } => *kind,
            Material::Ed25519(_) => KeyKind::Ed25519,
        }
    }
}
