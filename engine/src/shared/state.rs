//! The state zone: what all workers know together besides the cache.
//!
//! One block of shared memory of constant size ([`SIZE`]), used by every worker over reloads:
//! worker slots and gauges, purge generations, the health of endpoints ([`crate::shared::health`]) and
//! counters ([`crate::metrics`]). Everything in it is an atomic and there is no lock, so a worker
//! may be killed at any instant and leaves nothing another one would wait for. Cache zones may be
//! resized, renamed or emptied without losing it.
//!
//! Where a method takes `alive`, it is a function that says whether a process id is that of a
//! running process (`kill(pid, 0)`); where one takes `now_ms`, it is monotonic time in
//! milliseconds, the same clock in all workers.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::atomic::Word as _;
use super::counters::{EndpointCalls, Shard};
use super::endpoint::{ByEndpoint, EndpointId};
use super::health::Endpoints;
use super::health::form::Forms;
use super::health::gate::Gates;
use super::health::turn::Turns;
use super::hearing::Hearing;
use super::layout::{LayoutMismatch, Padded, fitting};
use super::store::StoreHealth;
use crate::token::key::{self, TokenHash};

mod notice;
mod slots;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use notice::Notice;
use notice::Notices;
pub use slots::{Gauges, SLOTS, Slots};

/// Bytes the state zone needs.
pub const SIZE: usize = size_of::<Layout>();

/// What the zone's address must be a multiple of, in bytes.
pub const ALIGN: usize = align_of::<Layout>();

/// Marks memory as a state zone.
const MAGIC: u64 = u64::from_be_bytes(*b"phtstate");

/// Rises with every change of [`Layout`] or of what its fields mean.
const VERSION: u64 = 9;

/// Stripes of generations: a purge or an inactive answer makes the workers' own copies of one token
/// in so many look outdated, which costs those a look into the shared zone. Their answers that are
/// on the way then are not kept, for the reason `purged`. As many as there are, a flood of invented
/// tokens meets a good one's stripe during its call once in hundreds of calls.
const STRIPES: usize = 65_536;

/// What a renewal adds to a stripe: purges and inactive answers are counted in the lower half,
/// renewals in the upper.
const RENEWAL: u64 = 1 << 32;

/// The zone's contents. All bytes zero is a valid, empty state.
#[repr(C)]
struct Layout {
    magic: AtomicU64,
    version: AtomicU64,
    size: AtomicU64,
    answered: Padded<AtomicU64>,
    flights: Padded<AtomicU64>,
    purged_all: Padded<AtomicU64>,
    /// Which configurations' answers count: a tag in the upper bits, a number in the lower 16.
    era: AtomicU64,
    purged: [AtomicU64; STRIPES],
    slots: Slots,
    endpoints: Endpoints,
    calls: ByEndpoint<EndpointCalls>,
    /// Random, for hashes of what may be secret.
    key: [AtomicU64; 2],
    gates: Gates,
    forms: Forms,
    turns: Turns,
    notices: Notices,
    store: StoreHealth,
    hearing: Hearing,
}

/// A view of the state zone. Cheap to copy.
#[derive(Clone, Copy)]
pub struct State(&'static Layout);

/// How often a token has been purged, or called inactive by the authorization server: an answer
/// obtained under another generation than the current one must be neither stored nor given to
/// requests that came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    token: u64,
    all: u64,
}

impl Generation {
    /// Tells whether the token was neither purged nor called inactive between the two, though its
    /// answer may have been renewed.
    pub fn has_purges_of(self, other: Generation) -> bool {
        self.purges() == other.purges() && self.all == other.all
    }

    /// How often the token was purged or called inactive, for the mark of a call
    /// ([`Seen::purges`](crate::arena::Seen::purges)).
    pub fn purges(self) -> u32 {
        self.token as u32
    }
}

impl State {
    /// Makes an empty state zone in `len` bytes at `base`. `key` must be random.
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
        key: [u8; 16],
    ) -> Result<State, LayoutMismatch> {
        let layout = fitting::<Layout>(base, len)?;
        // SAFETY: `fitting` has checked size and alignment, the caller gives the memory away, and
        // all bytes zero is a valid `Layout`, which holds nothing but atomics.
        let layout = unsafe {
            layout.write_bytes(0, 1);
            layout.as_ref()
        };
        let (first, second) = key.split_at(8);
        for (word, bytes) in layout.key.iter().zip([first, second]) {
            word.store(
                bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
                Ordering::Relaxed,
            );
        }
        layout.size.store(SIZE as u64, Ordering::Relaxed);
        layout.version.store(VERSION, Ordering::Relaxed);
        // Last: memory with the magic in it is complete.
        layout.magic.store(MAGIC, Ordering::Release);
        Ok(State(layout))
    }

    /// Uses the state zone that another process or an earlier configuration made at `base`.
    ///
    /// # Errors
    /// The block is too small or not aligned, holds no state zone, or one of another version.
    ///
    /// # Safety
    /// The `len` bytes at `base` must be readable and writable, be written by nothing but this
    /// module, and stay mapped for as long as any copy of the returned view is used.
    pub unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<State, LayoutMismatch> {
        // SAFETY: `fitting` has checked size and alignment; any bytes at all are a valid `Layout`,
        // which holds nothing but atomics.
        let layout = unsafe { fitting::<Layout>(base, len)?.as_ref() };
        if layout.magic.load(Ordering::Acquire) != MAGIC {
            return Err(LayoutMismatch::OtherMemory);
        }
        if layout.version.load(Ordering::Relaxed) != VERSION
            || layout.size.load(Ordering::Relaxed) != SIZE as u64
        {
            return Err(LayoutMismatch::Version);
        }
        Ok(State(layout))
    }

    /// Returns the workers' slots, with their gauges and counters.
    pub fn slots(&self) -> &'static Slots {
        &self.0.slots
    }

    /// Returns the share of the totals that is counted in `slot`, which may be any number: a worker
    /// without a slot uses its process id, for instance.
    pub fn shard(&self, slot: u8) -> &'static Shard {
        self.0.slots.shard(slot)
    }

    /// Returns the counters of the calls to an endpoint; with `None`, to all that have no id.
    pub fn calls(&self, endpoint: impl Into<Option<EndpointId>>) -> &'static EndpointCalls {
        self.0.calls.of(endpoint.into())
    }

    /// Returns the health of the endpoints.
    pub fn endpoints(&self) -> &'static Endpoints {
        &self.0.endpoints
    }

    /// Returns the gates of the clients' credentials.
    pub fn gates(&self) -> &'static Gates {
        &self.0.gates
    }

    /// Returns the forms of Basic credentials that servers take.
    pub fn forms(&self) -> &'static Forms {
        &self.0.forms
    }

    /// Returns the turns of the gateway's own calls.
    pub fn turns(&self) -> &'static Turns {
        &self.0.turns
    }

    /// Returns what is known of the fleet's store.
    pub fn store(&self) -> &'static StoreHealth {
        &self.0.store
    }

    /// Returns what is heard of the fleet's store, and by whom.
    pub fn hearing(&self) -> &'static Hearing {
        &self.0.hearing
    }

    /// Hashes what tells a gate from others, all that a server may refuse a caller by: endpoint,
    /// client, secret, method, values that the answer depends on. The hash is keyed by the zone's
    /// own random key, since secrets are among them. Never 0.
    pub fn gate_hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let key = self.0.key.each_ref().map(|word| word.load(Ordering::Relaxed));
        key::keyed_hash_of(key, parts)
    }

    /// Hashes what decides about the form of Basic credentials: endpoint, client, secret. Keyed as
    /// [`State::gate_hash`] is, and another hash than that.
    pub fn form_hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        self.gate_hash([&b"form"[..]].into_iter().chain(parts))
    }

    /// Returns the era of a worker that starts with a configuration of this tag. A tag that is not the
    /// last one's begins a new era: nothing that was kept in another is to be found, not even where an
    /// earlier tag comes back, since purges may not have been heard meanwhile.
    pub fn era(&self, tag: u64) -> u16 {
        let tag = tag | 1 << 16;
        loop {
            let last = self.0.era.get();
            if last & !0xffff == tag & !0xffff {
                return last as u16;
            }
            let next = tag & !0xffff | u64::from((last as u16).wrapping_add(1));
            if self.0.era.exchange(last, next).is_ok() {
                return next as u16;
            }
        }
    }

    /// Returns the generation of a token.
    ///
    /// An answer is stored only if this is still what it was when the flight began. The check
    /// belongs under the lock of the cache zone, because a purge first raises the generation and
    /// then removes the entries under that lock. So an answer stored before the removal is removed,
    /// and one that comes after it sees the new generation.
    pub fn generation(&self, token: &TokenHash) -> Generation {
        Generation {
            token: self.stripe(token).load(Ordering::Acquire),
            all: self.0.purged_all.0.load(Ordering::Acquire),
        }
    }

    /// Raises the generation of one token (and of those that share its stripe). Call it before the
    /// token's entries are removed.
    pub fn purge_token(&self, token: &TokenHash) {
        self.stripe(token).fetch_add(1, Ordering::SeqCst);
    }

    /// Raises the generation of one token because the authorization server calls it inactive: what
    /// was asked before must be neither kept nor given to those who come from now on. Tells the new
    /// generation; `None` where the token has been purged or called inactive since it was `seen`.
    ///
    /// Where the answer is told to a cache zone too, the call belongs under that zone's lock.
    pub fn called_inactive(&self, token: &TokenHash, seen: Generation) -> Option<Generation> {
        let before = self.stripe(token).fetch_add(1, Ordering::SeqCst);
        let all = self.0.purged_all.0.load(Ordering::Acquire);
        let now = Generation { token: before.wrapping_add(1), all };
        Generation { token: before, all }.has_purges_of(seen).then_some(now)
    }

    /// Raises the generation of one token because a newer answer replaces what was kept, and tells
    /// the new one; `None` where the token has been purged since it was `seen`: then nothing is raised,
    /// and answers that were asked for after the purge are kept. Other replacements do not count as purges:
    /// the last one stands.
    pub fn renew(&self, token: &TokenHash, seen: Generation) -> Option<Generation> {
        let all = self.0.purged_all.0.load(Ordering::Acquire);
        let has_seen = |token| Generation { token, all }.has_purges_of(seen);
        let raised = |token: u64| has_seen(token).then(|| token.wrapping_add(RENEWAL));
        let stripe = self.stripe(token);
        let before = stripe.fetch_update(Ordering::SeqCst, Ordering::Acquire, raised).ok()?;
        Some(Generation { token: before.wrapping_add(RENEWAL), all })
    }

    /// Raises the generation of every token. Call it before the cache zones are emptied.
    pub fn purge_all(&self) {
        self.0.purged_all.0.fetch_add(1, Ordering::SeqCst);
    }

    fn stripe(&self, token: &TokenHash) -> &'static AtomicU64 {
        let [a, b, ..] = token.0;
        &self.0.purged[usize::from(u16::from_le_bytes([a, b])) % STRIPES]
    }

    /// Returns a number that rises whenever a flight that other workers wait for has been answered:
    /// a worker whose requests wait need not take the zone's lock while this stays the same.
    pub fn answered(&self) -> u64 {
        self.0.answered.0.load(Ordering::Acquire)
    }

    /// Says that a flight other workers wait for has been answered. Call it after the answer is
    /// in the zone.
    pub fn announce_answer(&self) {
        self.0.answered.0.fetch_add(1, Ordering::Release);
    }

    /// Returns an id that no other flight of any worker has; never 0.
    pub fn next_flight_id(&self) -> u64 {
        self.0.flights.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Decides whether something that is to be said seldom is to be said now: true once, or once in
    /// `every_ms` milliseconds, for each `what` and `hash` (an endpoint's, see
    /// [`hash_of`](key::hash_of)) in all workers together.
    pub fn once(&self, what: Notice, hash: u64, now_ms: u64, every_ms: Option<u64>) -> bool {
        self.0.notices.once(what, hash, now_ms, every_ms)
    }
}
