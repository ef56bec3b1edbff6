//! What stands in the store under a token: an answer, a word about one, or a marker. Each in bytes that
//! one way of writing them has only.

use std::fmt;
use std::num::NonZeroU64;

use crate::answer::binding::{Binding, Bound};
use crate::answer::grant::Grant;
use crate::answer::nature::{Nature, TokenKind};
use crate::answer::subjects::Subjects;

/// How far ahead another gateway's clock may be, in milliseconds: what it says of a later time is not
/// believed.
pub(super) const AHEAD_MS: u64 = 5_000;

/// An answer that says active, as it stands in the store. Times are in milliseconds since the Unix
/// epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// What the server said, and the phantom token.
    pub grant: Grant,
    /// When the server was asked, by the clock of the gateway that asked.
    pub asked_ms: u64,
    /// When `Cache-Control` ends it.
    pub until_ms: Option<u64>,
    /// Whether it may serve after its end while the server cannot be asked.
    pub may_stale: bool,
}

impl Stored {
    /// When it ends for a location that keeps answers for `valid_ms`, in milliseconds since the Unix
    /// epoch.
    pub fn end_ms(&self, valid_ms: u64) -> u64 {
        let end = self.asked_ms.saturating_add(valid_ms);
        let exp = self.grant.exp.map(|exp| exp.saturating_mul(1000));
        [self.until_ms, exp].into_iter().flatten().fold(end, u64::min)
    }
}

impl fmt::Debug for Stored {
    /// Says everything but the phantom token and the claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("grant", &self.grant)
            .field("asked_ms", &self.asked_ms)
            .field("until_ms", &self.until_ms)
            .field("may_stale", &self.may_stale)
            .finish()
    }
}

/// What a sealed value holds.
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is made for each look-up, and taken apart at once"
)]
pub(super) enum Content {
    /// The token is active.
    Active(Stored),
    /// It is not, as the server said when it was asked at that time.
    Inactive {
        /// In milliseconds since the Unix epoch.
        asked_ms: u64,
    },
    /// Who asked has learnt nothing that others may have.
    Nothing,
}

/// Who asks about a token, and for how long others may wait for it. Times are in milliseconds since the
/// Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) begun_ms: u64,
    pub(super) deadline_ms: u64,
}

const ACTIVE: u8 = 1;
const INACTIVE: u8 = 2;
const NOTHING: u8 = 3;

const MAY_STALE: u32 = 1 << 0;
const IS_ENDLESS: u32 = 1 << 1;
const HAS_EXP: u32 = 1 << 2;
const HAS_UNTIL: u32 = 1 << 3;
const HAS_SIGNER: u32 = 1 << 4;
const BOUND_OTHERWISE: u32 = 1 << 5;
const KIND_NAMED: u32 = 1 << 6;
const KIND_OTHER: u32 = 1 << 7;
/// Two bits each: [`Bound`] as a number.
const DPOP: u32 = 8;
const CERTIFICATE: u32 = 10;
/// One bit for each.
const SUBJECTS: u32 = 12;
/// As many bits as are used.
const ALL: u32 = (1 << 16) - 1;

const UNSAID: u32 = 1;
const NOBODY: u32 = 2;
const TO: u32 = 3;

/// The most that a value has besides its three texts, in bytes.
pub(super) const MOST_BESIDES: usize = 1 + 4 + 3 * 8 + 2 * 32 + 8 + 4 * 8 + 3 * 4;

/// What stands in front of an active answer's texts.
pub(super) fn active(grant: &Grant, asked_ms: u64, until_ms: Option<u64>, stale: bool) -> Vec<u8> {
    let Grant { exp, is_endless, nature: Nature { kind, binding }, signer, subjects, .. } = grant;
    let mut flags = match kind {
        TokenKind::Unnamed => 0,
        TokenKind::Named => KIND_NAMED,
        TokenKind::Other => KIND_OTHER,
    };
    for (flag, is_set) in [
        (MAY_STALE, stale),
        (IS_ENDLESS, *is_endless),
        (HAS_EXP, exp.is_some()),
        (HAS_UNTIL, until_ms.is_some()),
        (HAS_SIGNER, signer.is_some()),
        (BOUND_OTHERWISE, binding.other),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let bounds = [(DPOP, &binding.dpop), (CERTIFICATE, &binding.certificate)];
    for (at, bound) in bounds {
        let bits = match bound {
            Bound::No => 0,
            Bound::Unsaid => UNSAID,
            Bound::Nobody => NOBODY,
            Bound::To(_) => TO,
        };
        flags |= bits << at;
    }
    for (nth, hash) in subjects.0.iter().enumerate() {
        flags |= u32::from(hash.is_some()) << SUBJECTS << nth;
    }

    let mut out = Vec::with_capacity(MOST_BESIDES);
    out.push(ACTIVE);
    out.extend_from_slice(&flags.to_be_bytes());
    for time in [Some(asked_ms), *exp, until_ms].into_iter().flatten() {
        out.extend_from_slice(&time.to_be_bytes());
    }
    for (_, bound) in bounds {
        if let Bound::To(thumbprint) = bound {
            out.extend_from_slice(thumbprint);
        }
    }
    out.extend_from_slice(signer.as_ref().map_or(&[][..], |signer| signer));
    for hash in subjects.0.iter().flatten() {
        out.extend_from_slice(&hash.get().to_be_bytes());
    }
    for text in [&grant.jwt, &grant.scope, &grant.claims] {
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    }
    out
}

/// All that is sealed of an active answer.
#[cfg(any(test, fuzzing))]
pub(super) fn written(stored: &Stored) -> Vec<u8> {
    let Stored { grant, asked_ms, until_ms, may_stale } = stored;
    let front = active(grant, *asked_ms, *until_ms, *may_stale);
    assert!(front.len() <= MOST_BESIDES);
    [&front[..], &grant.jwt, &grant.scope, &grant.claims].concat()
}

/// The word that says inactive.
pub(super) fn inactive(asked_ms: u64) -> Vec<u8> {
    [&[INACTIVE][..], &asked_ms.to_be_bytes()].concat()
}

/// The word that says that no answer will come.
pub(super) const NO_ANSWER: &[u8] = &[NOTHING];

/// Reads the content of a value; `None` where it is not written as it is here.
pub(super) fn read(mut bytes: &[u8]) -> Option<Content> {
    let [tag] = *take(&mut bytes)?;
    let content = match tag {
        ACTIVE => Content::Active(read_active(&mut bytes)?),
        INACTIVE => Content::Inactive { asked_ms: number(&mut bytes)? },
        NOTHING => Content::Nothing,
        _ => return None,
    };
    bytes.is_empty().then_some(content)
}

fn read_active(rest: &mut &[u8]) -> Option<Stored> {
    let flags = u32::from_be_bytes(*take(rest)?);
    let has = |flag| flags & flag != 0;
    let kind = match (has(KIND_OTHER), has(KIND_NAMED)) {
        (true, true) => return None,
        (true, false) => TokenKind::Other,
        (false, true) => TokenKind::Named,
        (false, false) => TokenKind::Unnamed,
    };
    if flags & !ALL != 0 {
        return None;
    }
    let asked_ms = number(rest)?;
    let exp = if has(HAS_EXP) { Some(number(rest)?) } else { None };
    let until_ms = if has(HAS_UNTIL) { Some(number(rest)?) } else { None };
    let dpop = bound(flags >> DPOP, rest)?;
    let certificate = bound(flags >> CERTIFICATE, rest)?;
    let signer = if has(HAS_SIGNER) { Some(*take(rest)?) } else { None };
    let mut subjects = Subjects::default();
    for (nth, hash) in subjects.0.iter_mut().enumerate() {
        if has(1 << SUBJECTS << nth) {
            *hash = Some(NonZeroU64::new(number(rest)?)?);
        }
    }
    let mut lens = [0; 3];
    for len in &mut lens {
        *len = u32::from_be_bytes(*take(rest)?) as usize;
    }
    let mut texts = lens.map(|_| &[][..]);
    for (text, len) in texts.iter_mut().zip(lens) {
        (*text, *rest) = rest.split_at_checked(len)?;
    }
    let [jwt, scope, claims] = texts.map(<[u8]>::to_vec);
    let binding = Binding { dpop, certificate, other: has(BOUND_OTHERWISE) };
    let grant = Grant {
        jwt,
        scope,
        claims,
        exp,
        is_endless: has(IS_ENDLESS),
        nature: Nature { kind, binding },
        signer,
        subjects,
    };
    Some(Stored { grant, asked_ms, until_ms, may_stale: has(MAY_STALE) })
}

fn bound(bits: u32, rest: &mut &[u8]) -> Option<Bound> {
    Some(match bits & 3 {
        UNSAID => Bound::Unsaid,
        NOBODY => Bound::Nobody,
        TO => Bound::To(*take(rest)?),
        _ => Bound::No,
    })
}

impl Marker {
    pub(super) fn bytes(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.begun_ms.to_be_bytes());
        out[8..].copy_from_slice(&self.deadline_ms.to_be_bytes());
        out
    }

    pub(super) fn read(mut bytes: &[u8]) -> Option<Marker> {
        let [begun_ms, deadline_ms] = [number(&mut bytes)?, number(&mut bytes)?];
        bytes.is_empty().then_some(Marker { begun_ms, deadline_ms })
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(|bytes| u64::from_be_bytes(*bytes))
}

fn take<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (part, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests;
