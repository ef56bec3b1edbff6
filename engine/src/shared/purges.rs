//! The zone of purges: from when on answers about a token, or about whom it names, are worthless.
//!
//! A purge walks nothing. It raises one word, a *stripe*, that all tokens share whose subject has the
//! same few bits in its hash; an answer is good as long as each of its stripes is no later than the
//! moment at which it was asked for. A neighbour of the stripe so costs a call, never a wrong answer.
//!
//! Everything here is an atomic and there is no lock: a process may be killed at any instant and leaves
//! nothing that another one would wait for.
//!
//! # Why no purged answer is good
//!
//! `last` is the latest [`Moment`], and only rises. A purge takes a moment later than `last`, raises the
//! stripe to it, and then, in any case, `last`: so `last` has another value after each purge than before
//! its stripe rose. All changes of `last` are read-modify-writes, so whoever reads one of them (acquire)
//! sees the stripes of all purges that came before it in the order of `last` (release).
//!
//! * An answer whose call began before the purge: `asked` was read from `last` then, and the purge's
//!   moment is later. Who sees the stripe knows the answer for purged.
//! * Who compares after the purge is done reads `last` as the purge left it, or later, and so sees the
//!   stripe. Who has compared before finds `last` changed, and compares anew ([`Cached::standing`]).
//! * An answer whose call began after the purge was done has an `asked` that is no earlier than the
//!   purge's moment: that purge does not void it.
//! * A gap ([`Purges::gap`]) is ordered as a purge is: its own words first, then `last`.
//! * A purge whose process is killed between stripe and `last` was never confirmed to anybody. Whoever
//!   sees such a stripe raises `last` to it: else calls from then on would seem to come before it.
//!
//! [`Cached::standing`]: crate::local::Cached::standing

use std::num::NonZeroU64;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use super::atomic::Word;
use super::layout::{LayoutMismatch, Padded, fitting};
use crate::answer::subjects::{Subject, Subjects};
use crate::token::key::TokenHash;

mod gap;
#[cfg(test)]
mod gap_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use gap::DOUBTED_MS;
use gap::Gaps;

/// Bytes the zone of purges needs.
pub const SIZE: usize = size_of::<Layout>();

/// What the zone's address must be a multiple of, in bytes.
pub const ALIGN: usize = align_of::<Layout>();

/// Marks memory as a zone of purges.
const MAGIC: u64 = u64::from_be_bytes(*b"phtpurge");

/// Rises with every change of [`Layout`] or of what its fields mean.
const VERSION: u64 = 2;

/// Stripes of each kind. At ten purges a second and five minutes that answers are kept, an answer
/// meets a purge of another's once in twenty times.
pub const STRIPES: usize = 65_536;

/// Tokens themselves, and the four kinds of subjects.
const KINDS: usize = 1 + Subject::ALL.len();

/// A stripe's lowest bits tell, of the last purge only, which of its neighbours was meant. Moments have
/// none of them.
const MEANT: u64 = 0xf;

/// Between a moment and the next.
const STEP: u64 = MEANT + 1;

/// A time in the order of purges: the wall clock where that is ahead, and never twice the same.
/// (Milliseconds since the Unix epoch, shifted left by 16, and a count.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Before all others: that of answers which no zone of purges has seen.
    pub const NEVER: Self = Self(0);

    /// Returns the first moment of a millisecond since the Unix epoch.
    pub fn of_wall_ms(wall_ms: u64) -> Self {
        // Whatever a clock says, there are moments after it.
        Self(wall_ms.min(u64::MAX >> 17) << 16)
    }

    /// Returns the milliseconds since the Unix epoch.
    pub fn wall_ms(self) -> u64 {
        self.0 >> 16
    }

    /// Returns it as a number, for memory that is shared or kept.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Makes it from what [`Moment::to_bits`] gave.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & !MEANT)
    }

    fn next(self) -> Self {
        Self(self.0.saturating_add(STEP) & !MEANT)
    }
}

/// What is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// Everything.
    All,
    /// One token, in one spelling.
    Token(TokenHash),
    /// All tokens that name this user, client, session or token ([`Subject::hash`]).
    Subject(Subject, NonZeroU64),
}

/// What purges say of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// Nothing that it is about was purged since it was asked for.
    Good,
    /// It was purged, as far as can be told.
    Purged,
    /// Another one was purged that shares a stripe with it.
    Neighbour,
    /// Purges may have been missed since it was asked for. It serves for [`DOUBTED_MS`] from then on.
    Doubted {
        /// When that began, in monotonic milliseconds.
        since_ms: u64,
    },
    /// It was asked for under another zone of purges, or under none: nothing is known.
    Unknown,
}

impl Standing {
    /// Whether the answer may serve at `now_ms`, in monotonic milliseconds.
    #[inline]
    pub fn serves(self, now_ms: u64) -> bool {
        match self {
            Standing::Good => true,
            Standing::Doubted { since_ms } => now_ms < since_ms.saturating_add(DOUBTED_MS),
            Standing::Purged | Standing::Neighbour | Standing::Unknown => false,
        }
    }
}

/// The zone's contents.
#[repr(C)]
struct Layout {
    magic: AtomicU64,
    version: AtomicU64,
    size: AtomicU64,
    /// The moment at which the zone was made: what was asked for before is not known here.
    made: AtomicU64,
    /// The last purge of everything.
    all: AtomicU64,
    last: Padded<AtomicU64>,
    gaps: Gaps,
    /// The last purge of each stripe, of each kind.
    stripes: [[AtomicU64; STRIPES]; KINDS],
}

/// A view of the zone. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Purges(&'static Layout);

/// A stripe, and how its neighbours are told apart.
struct Place {
    kind: usize,
    hash: u64,
}

impl Place {
    fn of_token(token: &TokenHash) -> Self {
        let [.., a, b, c, d, e, f, g, h] = token.0;
        Self { kind: 0, hash: u64::from_le_bytes([a, b, c, d, e, f, g, h]) }
    }

    fn of_subject(subject: Subject, hash: NonZeroU64) -> Self {
        Self { kind: 1 + subject as usize, hash: hash.get() }
    }

    fn meant(&self) -> u64 {
        (self.hash / STRIPES as u64) & MEANT
    }
}

impl Purges {
    /// Makes an empty zone in `len` bytes at `base`, at `wall_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// The block is too small or not aligned.
    ///
    /// # Safety
    /// The `len` bytes at `base` must be writable, used by nobody else yet, and stay mapped for as
    /// long as any copy of the returned view is used.
    pub unsafe fn create(
        base: NonNull<u8>,
        len: usize,
        wall_ms: u64,
    ) -> Result<Self, LayoutMismatch> {
        let layout = fitting::<Layout>(base, len)?;
        // SAFETY: `fitting` has checked size and alignment, the caller gives the memory away, and
        // all bytes zero is a valid `Layout`, which holds nothing but atomics.
        let layout = unsafe {
            layout.write_bytes(0, 1);
            layout.as_ref()
        };
        // Later than what no zone has seen.
        let made = Moment::of_wall_ms(wall_ms).max(Moment::NEVER.next());
        layout.made.set(made.0);
        layout.last.0.set(made.0);
        layout.size.set(SIZE as u64);
        layout.version.set(VERSION);
        // Last: memory with the magic in it is complete.
        layout.magic.set(MAGIC);
        Ok(Self(layout))
    }

    /// Uses the zone that another process or an earlier configuration made at `base`.
    ///
    /// # Errors
    /// The block is too small or not aligned, holds no zone of purges, or one of another version.
    ///
    /// # Safety
    /// The `len` bytes at `base` must be readable and writable, be written by nothing but this
    /// module, and stay mapped for as long as any copy of the returned view is used.
    pub unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Self, LayoutMismatch> {
        // SAFETY: `fitting` has checked size and alignment; any bytes at all are a valid `Layout`,
        // which holds nothing but atomics.
        let layout = unsafe { fitting::<Layout>(base, len)?.as_ref() };
        if layout.magic.get() != MAGIC {
            return Err(LayoutMismatch::OtherMemory);
        }
        if layout.version.get() != VERSION || layout.size.get() != SIZE as u64 {
            return Err(LayoutMismatch::Version);
        }
        Ok(Self(layout))
    }

    /// Returns the latest moment. A call takes it as it begins, and keeps it with its answer; so does
    /// whoever begins to wait for one.
    #[inline]
    pub fn now(&self) -> Moment {
        Moment(self.0.last.0.get())
    }

    /// Returns what tells this zone from those that were made before.
    pub fn made(&self) -> u64 {
        self.0.made.get()
    }

    /// Purges all answers that were asked for before now.
    pub fn purge_all(&self) {
        self.purge(Purged::All, wall_ms());
    }

    /// Purges all answers about one token.
    pub fn purge_token(&self, token: &TokenHash) {
        self.purge(Purged::Token(*token), wall_ms());
    }

    /// Purges all answers that name one subject ([`Subject::hash`]).
    pub fn purge_subject(&self, subject: Subject, hash: NonZeroU64) {
        self.purge(Purged::Subject(subject, hash), wall_ms());
    }

    /// Purges all answers that were asked for before now, or before `wall_ms` (milliseconds since the
    /// Unix epoch) where that is later. It is done when this returns: no worker gives one to a request
    /// that comes then.
    pub fn purge(&self, what: Purged, wall_ms: u64) {
        let moment = self.next(wall_ms);
        let place = match what {
            Purged::All => None,
            Purged::Token(token) => Some(Place::of_token(&token)),
            Purged::Subject(subject, hash) => Some(Place::of_subject(subject, hash)),
        };
        // First what is purged, then that something was.
        match place {
            None => self.0.all.raise(moment),
            Some(place) => self.stripe(&place).raise(moment | place.meant()),
        };
        self.is_done(moment);
    }

    /// The moment of a purge that begins now.
    fn next(&self, wall_ms: u64) -> u64 {
        self.now().next().max(Moment::of_wall_ms(wall_ms)).0
    }

    /// The words of a purge at that moment are raised: whoever compares from now on is to see them.
    fn is_done(&self, moment: u64) {
        let last = &self.0.last.0;
        if last.raise(moment) >= moment {
            // Another purge has come first: who compared after it has not seen this one.
            last.add(STEP);
        }
    }

    /// Judges an answer about a token that names these subjects and was asked for at that moment.
    pub fn standing(&self, token: &TokenHash, subjects: &Subjects, asked: Moment) -> Standing {
        self.standing_as_of(self.now(), token, subjects, asked)
    }

    /// As [`Purges::standing`], where `last` is what [`Purges::now`] has told just now: who has
    /// compared once need not compare again as long as that stays the same.
    pub fn standing_as_of(
        &self,
        last: Moment,
        token: &TokenHash,
        subjects: &Subjects,
        asked: Moment,
    ) -> Standing {
        if asked.0 < self.0.made.get() || asked > last {
            return Standing::Unknown;
        }
        self.compare(last, token, subjects, asked, asked)
    }

    /// Judges an answer that another machine has asked for at `asked_ms`, in milliseconds since the
    /// Unix epoch of this machine's clock, less what clocks may differ by. It needs not be later than
    /// this zone. Where it is good, it may be kept as asked for at the moment that [`Purges::now`] told
    /// before this was called. Gaps up to the moment `known` put nothing in doubt: whoever asks has judged
    /// by when purges are known since.
    pub fn standing_since(
        &self,
        token: &TokenHash,
        subjects: &Subjects,
        asked_ms: u64,
        known: Moment,
    ) -> Standing {
        self.compare(self.now(), token, subjects, Moment::of_wall_ms(asked_ms), known)
    }

    /// Returns when a token was last purged that is known by itself alone: whoever comes after that
    /// must not wait for a call that began before.
    pub fn purged(&self, token: &TokenHash) -> Moment {
        let last = self.now();
        let purged = self.0.all.get().max(self.stripe(&Place::of_token(token)).get());
        let purged = Moment::from_bits(purged);
        self.complete(last, purged);
        purged
    }

    fn compare(
        &self,
        last: Moment,
        token: &TokenHash,
        subjects: &Subjects,
        asked: Moment,
        known: Moment,
    ) -> Standing {
        let mut standing = Standing::Good;
        let all = Moment::from_bits(self.0.all.get());
        if all > asked {
            self.complete(last, all);
            standing = Standing::Purged;
        }
        let of_subjects = Subject::ALL.into_iter().filter_map(|subject| {
            subjects.get(subject).map(|hash| Place::of_subject(subject, hash))
        });
        for place in std::iter::once(Place::of_token(token)).chain(of_subjects) {
            let word = self.stripe(&place).get();
            let purged = Moment::from_bits(word);
            if purged > asked {
                self.complete(last, purged);
                standing = match (standing, word & MEANT == place.meant()) {
                    (Standing::Purged, _) | (_, true) => Standing::Purged,
                    _ => Standing::Neighbour,
                };
            }
        }
        match (standing, self.gap_since(last, asked.max(known))) {
            (Standing::Good, Some(since_ms)) => Standing::Doubted { since_ms },
            _ => standing,
        }
    }

    /// Goes on with a purge that is not done, or never will be by who began it.
    fn complete(&self, last: Moment, purged: Moment) {
        if purged > last {
            self.0.last.0.raise(purged.0);
        }
    }

    fn stripe(&self, place: &Place) -> &'static AtomicU64 {
        &self.0.stripes[place.kind][place.hash as usize % STRIPES]
    }
}

/// Milliseconds since the Unix epoch.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
