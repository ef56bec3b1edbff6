//! A worker's own small cache in front of the shared zone.
//!
//! It spares a hit the zone's lock, the copy and all parsing: an entry holds the finished value of
//! the `Authorization` header, which a request can point into for as long as it keeps its share of
//! the entry. It belongs to one worker and one thread. Whether an entry is still fresh is the
//! caller's to judge at each hit; that it has not been purged is checked here.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use crate::answer::claims::{self, ClaimValue, Wanted};
use crate::answer::facts::{Facts, Signer};
use crate::answer::nature::Nature;
use crate::answer::stated::Stated;
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;
use crate::shared::purges::{Moment, Purges, Standing};
use crate::shared::state::Generation;
use crate::token::key::{Key, TokenHash};
use crate::wipe::wipe;

mod texts;

#[cfg(test)]
mod tests;

use texts::Texts;

/// What an entry costs besides its texts, in bytes: itself, its key and its place in the list.
const OVERHEAD: usize = size_of::<Cached>() + size_of::<Key>() + 64;

/// The most that is kept of what is stated of a token, in bytes.
const MAX_STATED: usize = 1024;

/// One entry. Its texts never move or change while a share of it is kept, and are wiped with the
/// last one.
pub struct Cached {
    /// `Bearer <jwt>` and a NUL (or nothing at all), the scope, the claims.
    bytes: Box<[u8]>,
    header_len: usize,
    scope_len: usize,
    /// What kind of token it is, and to what it is bound.
    pub nature: Nature,
    /// By which key the gateway signed the phantom token; `None` where the server did.
    pub signer: Option<Signer>,
    /// Whom it is about.
    pub subjects: Subjects,
    /// How long it may serve.
    pub life: Life,
    /// The token's generation when the entry was taken.
    pub generation: Generation,
    /// When the server was asked, in the order of purges.
    pub asked: Moment,
    /// The last moment as of which it was compared with purges, and good.
    checked: Cell<Moment>,
    /// When the shared zone was last told that the entry is in use, in monotonic milliseconds.
    pub touched: Cell<u64>,
    /// Before when no hit looks whether the entry is to be asked for anew, in monotonic milliseconds; 0
    /// until one has.
    pub not_before: Cell<u64>,
    /// Read when it is first asked for.
    stated: OnceCell<Box<Stated>>,
    /// Claims that were asked for as variables.
    texts: Texts,
}

impl Cached {
    const SCHEME: &'static [u8] = b"Bearer ";

    /// Copies the facts into one block of memory; `None` where there is no memory for it.
    ///
    /// `generation` is the token's from before the facts were read, `now_ms` the monotonic time in
    /// milliseconds, at which the shared zone's entry was last touched.
    pub fn new(facts: &Facts<'_>, generation: Generation, now_ms: u64) -> Option<Rc<Cached>> {
        let header_len =
            if facts.jwt.is_empty() { 0 } else { Self::SCHEME.len() + facts.jwt.len() + 1 };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(header_len + facts.scope.len() + facts.claims.len()).ok()?;
        if !facts.jwt.is_empty() {
            bytes.extend_from_slice(Self::SCHEME);
            bytes.extend_from_slice(facts.jwt);
            bytes.push(0);
        }
        bytes.extend_from_slice(facts.scope);
        bytes.extend_from_slice(facts.claims);
        Some(Rc::new(Cached {
            bytes: bytes.into_boxed_slice(),
            header_len,
            scope_len: facts.scope.len(),
            nature: facts.nature,
            signer: facts.signer,
            subjects: facts.subjects,
            life: facts.life,
            generation,
            asked: facts.asked,
            // No purge was done since, if it still is the last moment.
            checked: Cell::new(facts.asked),
            touched: Cell::new(now_ms),
            not_before: Cell::new(0),
            stated: OnceCell::new(),
            texts: Texts::default(),
        }))
    }

    /// The header's value, `Bearer <jwt>`, with a NUL behind its end that does not belong to the
    /// slice; `None` where there is nothing to forward.
    pub fn header(&self) -> Option<&[u8]> {
        self.header_len.checked_sub(1).map(|end| &self.bytes[..end])
    }

    /// The JWT that the server gave: empty where it gave none, and where the gateway signed another in
    /// its place, which says nothing that is not in [`Cached::claims`].
    pub fn jwt(&self) -> &[u8] {
        if self.signer.is_some() { &[] } else { self.phantom_token() }
    }

    fn phantom_token(&self) -> &[u8] {
        self.header().map_or(&[], |header| &header[Self::SCHEME.len()..])
    }

    /// The granted scope, values joined by single spaces.
    pub fn scope(&self) -> &[u8] {
        &self.bytes[self.header_len..][..self.scope_len]
    }

    /// The server's JSON answer without the phantom token in it; empty where there was none.
    pub fn claims(&self) -> &[u8] {
        &self.bytes[self.header_len + self.scope_len..]
    }

    /// Judges what is stated of the token. It is read once, but where it is so long that it is read
    /// anew each time.
    pub fn judge<T>(&self, judge: impl FnOnce(&Stated) -> T) -> T {
        if let Some(stated) = self.stated.get() {
            return judge(stated);
        }
        let stated = Stated::read(self.claims(), self.jwt());
        if stated.size() > MAX_STATED {
            return judge(&stated);
        }
        judge(self.stated.get_or_init(|| Box::new(stated)))
    }

    /// Gives the text of a claim, which is read once for as long as there is room to remember it.
    pub fn claim<T>(&self, wanted: Wanted<'_>, give: impl FnOnce(&ClaimValue) -> T) -> T {
        let look_up = || claims::lookup(self.claims(), self.jwt(), wanted);
        self.texts.get(wanted, look_up, give)
    }

    /// Returns what is known of the token.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            jwt: self.phantom_token(),
            scope: self.scope(),
            claims: self.claims(),
            nature: self.nature,
            signer: self.signer,
            subjects: self.subjects,
            life: self.life,
            asked: self.asked,
        }
    }

    /// Tells whether it was purged since the server was asked about this token, as [`Facts::standing`]
    /// does. Where nothing at all was purged since the last time, that is one look at a shared word.
    #[inline]
    pub fn standing(&self, purges: Option<Purges>, token: &TokenHash) -> Standing {
        let Some(purges) = purges else {
            return self.facts().standing(None, token);
        };
        let last = purges.now();
        if self.checked.get() == last { Standing::Good } else { self.compare(purges, last, token) }
    }

    fn compare(&self, purges: Purges, last: Moment, token: &TokenHash) -> Standing {
        let standing = purges.standing_as_of(last, token, &self.subjects, self.asked);
        if standing == Standing::Good {
            self.checked.set(last);
        }
        standing
    }

    fn cost(&self) -> usize {
        let stated = self.stated.get().map_or(0, |stated| stated.size());
        self.bytes.len() + stated + self.texts.size() + OVERHEAD
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

impl fmt::Debug for Cached {
    /// Says everything but the texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("bytes_len", &self.bytes.len())
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// An entry, and its cost as it was counted.
struct Kept {
    entry: Rc<Cached>,
    cost: usize,
}

/// The cache: least recently used goes first, bounded by entries and by bytes.
pub struct Local {
    entries: LruCache<Key, Kept, BuildHasherDefault<KeyHasher>>,
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
}

impl Local {
    /// A cache of at most `entries` entries (`phantom_token_worker_cache`; 0 keeps nothing) that
    /// cost at most `bytes` bytes. An entry that costs more than an eighth of these is not kept.
    ///
    /// Its table has all its room from the start and never grows.
    pub fn new(entries: usize, bytes: usize) -> Local {
        let max_entries = entries.min(bytes / OVERHEAD);
        // A hash table that is at most half full makes room among what was removed.
        let room = NonZeroUsize::new(2 * max_entries).unwrap_or(NonZeroUsize::MIN);
        Local {
            entries: LruCache::with_hasher(room, BuildHasherDefault::default()),
            max_entries,
            max_bytes: bytes,
            bytes: 0,
        }
    }

    /// The entry of `key`, now the most recently used one. `current` is the token's generation:
    /// an entry of another one has been purged, and is dropped instead.
    pub fn get(&mut self, key: &Key, current: Generation) -> Option<&Rc<Cached>> {
        let kept = self.entries.get_mut(key)?;
        if kept.entry.generation != current {
            self.remove(key);
            return None;
        }
        // It may have grown since: claims are remembered with it.
        let grown = kept.entry.cost() - kept.cost;
        if grown > 0 {
            kept.cost += grown;
            self.bytes += grown;
            self.shrink_to(self.max_bytes);
        }
        // The one just got, without hashing again.
        self.entries.peek_mru().map(|(_, kept)| &kept.entry)
    }

    /// Keeps an entry, in place of the key's former one, and pushes out the least recently used
    /// ones where there is no room.
    pub fn insert(&mut self, key: Key, entry: &Rc<Cached>) {
        self.remove(&key);
        let cost = entry.cost();
        if self.max_entries == 0 || cost > self.max_bytes / 8 {
            return;
        }
        while self.entries.len() >= self.max_entries && self.pop() {}
        self.shrink_to(self.max_bytes - cost);
        self.bytes += cost;
        self.entries.put(key, Kept { entry: Rc::clone(entry), cost });
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes && self.pop() {}
    }

    /// Forgets the least recently used entry, where there is one.
    fn pop(&mut self) -> bool {
        let last = self.entries.pop_lru();
        self.bytes -= last.as_ref().map_or(0, |(_, last)| last.cost);
        last.is_some()
    }

    /// Forgets the entry of `key`.
    pub fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.entries.pop(key) {
            self.bytes -= kept.cost;
        }
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the entries cost, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Takes eight bytes of each hash in the key: they are keyed hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = self.0.rotate_left(32) ^ u64::from_le_bytes(*first);
        }
    }

    /// The derived `Hash` of an array says its length first, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
