//! A worker's flights, by id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use phantom_token_engine::memory::NoMemory;
use phantom_token_engine::shared::purges::Moment;
use phantom_token_engine::shared::state::Generation;
use phantom_token_engine::token::key::Key;

use crate::conf::cache::CacheTimes;
use crate::flight::Flight;
use crate::nginx::sys::now_ms;

/// Names a flight of this worker. No two ever have the same, so that who still holds it once the flight
/// is over finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(u64);

impl FlightId {
    /// No flight's.
    pub(super) const NONE: Self = Self(0);
}

/// Those under way. (A table that can be told to make room: one that cannot would end the worker where
/// there is no memory.)
#[derive(Default)]
pub(super) struct Flights {
    last: u64,
    /// `None` while it is worked on.
    flights: HashMap<FlightId, Option<Box<Flight>>, BuildHasherDefault<KeyHasher>>,
    /// Those that requests of this worker may join.
    joinable: HashMap<Key, FlightId, BuildHasherDefault<KeyHasher>>,
}

impl Flights {
    /// Makes room for one more.
    pub(super) fn reserve(&mut self) -> Result<(), NoMemory> {
        self.flights.try_reserve(1)?;
        self.joinable.try_reserve(1)?;
        Ok(())
    }

    /// The id of a flight that begins; room was made for it.
    pub(super) fn begin(&mut self) -> FlightId {
        self.last += 1;
        let id = FlightId(self.last);
        self.flights.insert(id, None);
        id
    }

    /// Requests with this key may join the flight from now on.
    pub(super) fn admit(&mut self, key: Key, id: FlightId) {
        self.joinable.insert(key, id);
    }

    /// No further request joins the flight.
    pub(super) fn detach(&mut self, key: &Key, id: FlightId) {
        if self.joinable.get(key) == Some(&id) {
            self.joinable.remove(key);
        }
    }

    /// The flight that a request of this generation may join, and how long its location keeps answers;
    /// `None` where what it is to replace may serve yet. The token itself was `purged` last at that moment.
    pub(super) fn joinable(
        &mut self,
        key: &Key,
        generation: Generation,
        purged: Moment,
    ) -> Option<(FlightId, Option<CacheTimes>)> {
        let id = *self.joinable.get(key)?;
        if let Some(flight) = self.get(id)
            && flight.generation.has_purges_of(generation)
            && purged <= flight.asked
            && flight.deadline > now_ms()
        {
            let is_missed = flight.refresh_ahead.is_none();
            return Some((id, is_missed.then_some(flight.policy.cache)));
        }
        // Purged or called inactive since, or out of time: those who came before keep it, nobody else
        // gets it.
        self.joinable.remove(key);
        None
    }

    pub(super) fn get(&self, id: FlightId) -> Option<&Flight> {
        self.flights.get(&id)?.as_deref()
    }

    /// Takes a flight out to work on it; `None` where it is over.
    pub(super) fn take(&mut self, id: FlightId) -> Option<Box<Flight>> {
        self.flights.get_mut(&id)?.take()
    }

    /// Puts a flight back that was worked on; `None`: it is over.
    pub(super) fn put_back(&mut self, id: FlightId, flight: Option<Box<Flight>>) {
        match (self.flights.get_mut(&id), flight) {
            (Some(place), Some(flight)) => *place = Some(flight),
            _ => drop(self.flights.remove(&id)),
        }
    }
}

/// Keys are keyed hashes already: any eight bytes of them will do. Ids are counted.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    // Lengths are the same for all keys.
    fn write_usize(&mut self, _: usize) {}
}
