//! The parts that not every entry has: thumbprints of what it is bound to, who signed it, whom it is
//! about, when it was asked for in the order of purges. Bits of the `META` word say which are there; their bytes lie behind the texts, without
//! gaps, and an entry that has none of them takes none.

use std::num::NonZeroU64;

use crate::answer::binding::{Binding, Bound};
use crate::answer::facts::{Facts, Signer};
use crate::answer::nature::{Nature, TokenKind};
use crate::answer::subjects::Subjects;
use crate::shared::purges::Moment;

const BOUND_OTHERWISE: u32 = 1 << 12;
const KIND_NAMED: u32 = 1 << 13;
const KIND_OTHER: u32 = 1 << 14;
/// Two bits each: [`Bound`] as a number.
const DPOP: u32 = 16;
const CERTIFICATE: u32 = 18;
const HAS_SIGNER: u32 = 1 << 20;
/// One bit for each.
const SUBJECTS: u32 = 21;
const HAS_ASKED: u32 = 1 << 25;

const UNSAID: u32 = 1;
const NOBODY: u32 = 2;
const TO: u32 = 3;

/// As many bytes as there may be: two thumbprints, a signer, four subjects, a moment.
pub(super) const MOST: usize = 2 * 32 + 8 + 4 * 8 + 8;

/// What the `META` word says of an active entry's facts, [`bits`], and the bytes behind its texts.
pub(super) struct Optional {
    bytes: [u8; MOST],
    len: usize,
}

impl Optional {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let mut optional = Self { bytes: [0; MOST], len: 0 };
        let Facts { nature: Nature { binding, .. }, signer, subjects, asked, .. } = facts;
        for bound in [&binding.dpop, &binding.certificate] {
            if let Bound::To(thumbprint) = bound {
                optional.put(thumbprint);
            }
        }
        if let Some(signer) = signer {
            optional.put(signer);
        }
        for hash in subjects.0.iter().flatten() {
            optional.put(&hash.get().to_ne_bytes());
        }
        if *asked != Moment::NEVER {
            optional.put(&asked.to_bits().to_ne_bytes());
        }
        optional
    }

    fn put(&mut self, part: &[u8]) {
        self.bytes[self.len..][..part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Facts in a `META` word: all of them that are no text and no time.
pub(super) fn bits(facts: &Facts<'_>) -> u32 {
    let Nature { kind, binding } = facts.nature;
    let kind = match kind {
        TokenKind::Unnamed => 0,
        TokenKind::Named => KIND_NAMED,
        TokenKind::Other => KIND_OTHER,
    };
    let has = facts.subjects.0.iter().rev().fold(0, |bits, one| bits << 1 | one.is_some() as u32);
    kind | if binding.other { BOUND_OTHERWISE } else { 0 }
        | bound_bits(binding.dpop) << DPOP
        | bound_bits(binding.certificate) << CERTIFICATE
        | if facts.signer.is_some() { HAS_SIGNER } else { 0 }
        | has << SUBJECTS
        | if facts.asked != Moment::NEVER { HAS_ASKED } else { 0 }
}

fn bound_bits(bound: Bound) -> u32 {
    match bound {
        Bound::No => 0,
        Bound::Unsaid => UNSAID,
        Bound::Nobody => NOBODY,
        Bound::To(_) => TO,
    }
}

/// How many bytes lie behind the texts of an entry with this `META` word.
pub(super) fn len(meta: u32) -> usize {
    let thumbprints = [DPOP, CERTIFICATE].iter().filter(|at| meta >> **at & 3 == TO).count();
    32 * thumbprints + 8 * (meta >> 20 & 0x3f).count_ones() as usize
}

/// Reads what [`bits`] and [`Optional`] have written; `None` where the bytes are too few.
pub(super) fn read(meta: u32, bytes: &[u8]) -> Option<(Nature, Option<Signer>, Subjects, Moment)> {
    let has = |flag| meta & flag != 0;
    let kind = match (has(KIND_OTHER), has(KIND_NAMED)) {
        (true, _) => TokenKind::Other,
        (false, true) => TokenKind::Named,
        (false, false) => TokenKind::Unnamed,
    };
    let mut rest = bytes;
    let dpop = bound(meta >> DPOP, &mut rest)?;
    let certificate = bound(meta >> CERTIFICATE, &mut rest)?;
    let binding = Binding { dpop, certificate, other: has(BOUND_OTHERWISE) };
    let signer = if has(HAS_SIGNER) { Some(*take(&mut rest)?) } else { None };
    let mut subjects = Subjects::default();
    for (nth, hash) in subjects.0.iter_mut().enumerate() {
        if has(1 << SUBJECTS << nth) {
            *hash = NonZeroU64::new(u64::from_ne_bytes(*take(&mut rest)?));
        }
    }
    let asked = match has(HAS_ASKED) {
        true => Moment::from_bits(u64::from_ne_bytes(*take(&mut rest)?)),
        false => Moment::NEVER,
    };
    Some((Nature { kind, binding }, signer, subjects, asked))
}

fn bound(bits: u32, bytes: &mut &[u8]) -> Option<Bound> {
    Some(match bits & 3 {
        UNSAID => Bound::Unsaid,
        NOBODY => Bound::Nobody,
        TO => Bound::To(*take(bytes)?),
        _ => Bound::No,
    })
}

fn take<'b, const N: usize>(bytes: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (part, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(part)
}
