//! Answers to give to the arena, each unlike all others.

use std::num::NonZeroU64;

use super::model::Id;
use super::{Entry, Kind};
use crate::answer::binding::{Binding, Bound};
use crate::answer::facts::Facts;
use crate::answer::nature::{Nature, TokenKind};
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;
use crate::shared::purges::Moment;

/// Every answer the arena was given, by its serial number, which stands in its times.
pub(super) struct Given {
    pub(super) id: Id,
    pub(super) kind: Kind,
    pub(super) len: usize,
    /// When, in milliseconds.
    pub(super) stored: u64,
}

/// The texts besides the JWT, in bytes.
const SCOPE: &[u8] = b"a b";
const CLAIMS: &[u8] = b"{}";

/// The active entry of a given answer. Neighbours in number differ in what it has.
pub(super) fn active(life: Life, serial: u64, jwt: &[u8]) -> Entry<'_> {
    let mixed = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let bound = |bits: u64, by: u8| match bits % 4 {
        0 => Bound::No,
        1 => Bound::Unsaid,
        2 => Bound::Nobody,
        _ => Bound::To([serial as u8 ^ by; 32]),
    };
    let dpop = bound(mixed, 0);
    let certificate = bound(mixed >> 2, 0xff);
    let kinds = [TokenKind::Unnamed, TokenKind::Named, TokenKind::Other];
    let nature = Nature {
        kind: kinds[(mixed >> 4) as usize % 3],
        binding: Binding { dpop, certificate, other: mixed & 1 << 8 != 0 },
    };
    let signer = (mixed & 1 << 9 != 0).then(|| serial.to_ne_bytes());
    let hash =
        |nth: u64| NonZeroU64::new(!serial << 2 | nth).filter(|_| mixed & 1 << 10 << nth != 0);
    let subjects = Subjects([0, 1, 2, 3].map(hash));
    let asked = asked(serial);
    let facts = Facts { jwt, scope: SCOPE, claims: CLAIMS, nature, signer, subjects, life, asked };
    Entry { kind: Kind::Active, facts }
}

/// The inactive entry of a given answer.
pub(super) fn inactive(life: Life, serial: u64) -> Entry<'static> {
    Entry::inactive(life, asked(serial))
}

/// Two of three know when they were asked for.
fn asked(serial: u64) -> Moment {
    if serial.is_multiple_of(3) { Moment::NEVER } else { Moment::from_bits(serial << 4) }
}

/// How many bytes that entry takes besides its JWT.
pub(super) fn besides(serial: u64) -> usize {
    let Facts { nature: Nature { binding, .. }, signer, subjects, .. } =
        active(Life::default(), serial, b"").facts;
    let thumbprint = |bound| if matches!(bound, Bound::To(_)) { 32 } else { 0 };
    let mut bytes = SCOPE.len() + CLAIMS.len();
    bytes += thumbprint(binding.dpop) + thumbprint(binding.certificate);
    bytes += if signer.is_some() { 8 } else { 0 };
    bytes += besides_inactive(serial);
    bytes + 8 * subjects.0.iter().filter(|subject| subject.is_some()).count()
}

/// How many bytes an inactive entry takes besides its header.
pub(super) fn besides_inactive(serial: u64) -> usize {
    if asked(serial) == Moment::NEVER { 0 } else { 8 }
}

impl Given {
    /// A JWT that is no other answer's.
    pub(super) fn jwt(&self, serial: u64) -> Vec<u8> {
        let (token, identity) = self.id;
        let text = format!("{token}/{identity}/{serial};").into_bytes();
        let mut jwt = text.repeat(self.len.div_ceil(text.len()));
        jwt.truncate(self.len);
        jwt
    }
}
