//! The right to say in the store what the authorization server answers, bound to the lease that the
//! token had when it was looked up: if it is purged meanwhile, what is said is void.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::names::{Epoch, Lease, OfToken};
use super::question::Question;
use super::seal::{self, Bound, Form, Nonce, Opened};
use super::value::{self, AHEAD_MS, Marker, Stored};
use super::wire::{Decimal, MAX_BULK, millis};
use super::{Pipeline, Store};
use crate::jose::primitives::hkdf_sha256;
use crate::shared::counters::StoreWrite;
use crate::wipe::wipe_vec;

/// A lease outlives what is bound to it by so much, in milliseconds.
const LEASE_REST_MS: u64 = 6_000;

/// The place in the store of what one identity knows of a token, and what it is sealed under.
pub(super) struct Place {
    pub(super) names: OfToken,
    /// What values are bound to: that of the last look.
    pub(super) lease: Lease,
    key: Zeroizing<[u8; 32]>,
    /// A value is there, and the marker of who refreshes it stands beside it.
    refreshes: bool,
}

impl Place {
    pub(super) fn new(question: &Question, epoch: &Epoch, lease: Lease) -> Place {
        let key = question.store.keys.first();
        let Question { store, token, hash, identity, newer_than, .. } = question;
        let names = OfToken::new(&store.names, key, epoch, hash, identity);
        let info = [b"value 1 ", &epoch.0[..], &names.identity];
        let key = Zeroizing::new(hkdf_sha256(&key.seal[..], token, &info));
        Place { names, lease, key, refreshes: newer_than.is_some() }
    }

    /// Asks for what is there.
    pub(super) fn get(&self, pipeline: &mut Pipeline) {
        let names = &self.names;
        let words: [&[u8]; 4] = [b"MGET", names.lease(), names.value(), names.refresh()];
        pipeline.command(if self.refreshes { &words } else { &words[..3] });
    }

    /// Where the marker of who asks stands.
    pub(super) fn marker_name(&self) -> &[u8] {
        if self.refreshes { self.names.refresh() } else { self.names.value() }
    }

    /// A marker is not bound to a lease: whoever sets it does not know yet which there is.
    fn of_marker(&self) -> Bound<'_> {
        Bound { form: Form::Marker, name: self.marker_name(), to: b"" }
    }

    fn of_value<'a>(&'a self, name: &'a [u8]) -> Bound<'a> {
        Bound { form: Form::Value, name, to: &self.lease.0 }
    }

    /// Seals a whole content.
    #[cfg(any(test, fuzzing))]
    pub(super) fn seal_value(&self, content: &[u8]) -> Option<Vec<u8>> {
        seal::seal(&self.key, Nonce::random()?, self.of_value(self.names.value()), &[content])
    }

    pub(super) fn seal_marker(&self, nonce: Nonce, marker: &Marker) -> Option<Vec<u8>> {
        seal::seal(&self.key, nonce, self.of_marker(), &[&marker.bytes()])
    }

    /// Whether this is a marker of somebody who may still be asking at `wall_ms`.
    pub(super) fn is_marked(&self, marker: &[u8], wall_ms: u64) -> bool {
        let opened = seal::open(&self.key, self.of_marker(), marker);
        let marker = opened.and_then(|opened| Marker::read(opened.content()));
        marker.is_some_and(|Marker { begun_ms, deadline_ms }| {
            begun_ms <= wall_ms.saturating_add(AHEAD_MS) && wall_ms < deadline_ms
        })
    }

    /// Opens what stands in the place of a value.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Opened> {
        seal::open(&self.key, self.of_value(self.names.value()), sealed)
    }

    /// Opens what stands in the place of a marker: a word.
    pub(super) fn open_word(&self, sealed: &[u8]) -> Option<Opened> {
        seal::open(&self.key, self.of_value(self.marker_name()), sealed)
    }

    /// Gives the lead away. The `nonce` is for the one thing that is then said; a word only where it
    /// `may_say` one. `has_value`: an active answer stands there.
    pub(super) fn lead(
        self,
        nonce: Nonce,
        question: &Question,
        may_say: bool,
        has_value: bool,
    ) -> Leased {
        let store = question.store.clone();
        let (place, valid_ms) = (Some((self, nonce)), question.valid_ms);
        Leased { store, place, may_say, has_value, valid_ms }
    }
}

/// The right to say what the authorization server answers. Whoever has it asks. Dropped without a word,
/// it says that nothing will come.
pub struct Leased {
    store: Arc<Store>,
    /// `None` where it was said.
    place: Option<(Place, Nonce)>,
    /// A word may take the place of what stands there: the marker is this gateway's, so that others may
    /// wait, or it is of no use.
    may_say: bool,
    has_value: bool,
    valid_ms: u64,
}

impl Leased {
    /// Whether an active answer stands there that is not purged: if the server now says inactive, other
    /// gateways may serve it yet, and are to be told.
    pub fn has_value(&self) -> bool {
        self.has_value
    }

    /// Writes an active answer, for as long as it serves. Waits for nothing. `wall_ms` is now, in
    /// milliseconds since the Unix epoch. Returns how it is counted, unless it went to the nodes, which
    /// count what becomes of it.
    pub fn write(mut self, stored: &Stored, wall_ms: u64) -> Option<StoreWrite> {
        let life_ms = stored.end_ms(self.valid_ms).saturating_sub(wall_ms);
        let Stored { grant, asked_ms, until_ms, may_stale } = stored;
        let texts = [&grant.jwt, &grant.scope, &grant.claims];
        let len = value::MOST_BESIDES + texts.iter().map(|text| text.len()).sum::<usize>();
        if life_ms == 0 || seal::sealed_len(len) > MAX_BULK {
            return Some(StoreWrite::Skipped);
        }
        let (place, nonce) = self.place.take()?;
        let mut front = value::active(grant, *asked_ms, *until_ms, *may_stale);
        let [jwt, scope, claims] = texts;
        let content: [&[u8]; 4] = [&front, jwt, scope, claims];
        let value = place.names.value();
        let sealed = seal::seal(&place.key, nonce, place.of_value(value), &content);
        wipe_vec(&mut front);
        let Some(sealed) = sealed else { return Some(StoreWrite::Failed) };
        let lease_ms = life_ms.max(self.store.longest_ms).saturating_add(LEASE_REST_MS);
        let [life, lease_life] = [life_ms, lease_ms].map(Decimal::of);
        let mut pipeline = Pipeline::with_room(sealed.len() + 512);
        pipeline.command(&[b"SET", value, &sealed, b"PX", &life]);
        pipeline.command(&[b"PEXPIRE", place.names.lease(), &lease_life]);
        let _ = self.store.nodes.tell(pipeline);
        None
    }

    /// Says to who waits that the token is not active, as the server answered when it was asked at
    /// `asked_ms` (milliseconds since the Unix epoch). Waits for nothing.
    pub fn inactive(mut self, asked_ms: u64) {
        self.say(&value::inactive(asked_ms));
    }

    /// Says to who waits that nothing will come: the answer is not kept, or there is none. Waits for
    /// nothing.
    pub fn nothing(self) {
        drop(self);
    }

    /// Puts a word in the place of the own marker, where that still stands. It stays for as long as
    /// somebody may wait.
    fn say(&mut self, word: &[u8]) {
        let Some((place, nonce)) = self.place.take().filter(|_| self.may_say) else { return };
        let bound = place.of_value(place.marker_name());
        let Some(sealed) = seal::seal(&place.key, nonce, bound, &[word]) else { return };
        let life = Decimal::of(millis(self.store.lock_timeout.max(Duration::from_millis(1))));
        let mut pipeline = Pipeline::new();
        let name = place.marker_name();
        pipeline.command(&[b"SET", name, &sealed, b"XX", b"PX", &life]);
        // They wait no longer than they would.
        let _ = self.store.nodes.tell(pipeline);
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.say(value::NO_ANSWER);
    }
}

impl fmt::Debug for Leased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased").field("may_say", &self.may_say).finish_non_exhaustive()
    }
}
