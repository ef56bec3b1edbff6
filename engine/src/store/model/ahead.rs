//! Questions that are sent before a thread comes to them.

use std::time::Duration;

use super::world::{TIMEOUT_MS, Whose, World};
use crate::store::look::{Looking, Step};
use crate::store::{Pipeline, Reply, StoreError};

/// How long a look-up may take.
const LEFT: Duration = Duration::from_secs(6);

/// A question that was sent, and that no thread has come to yet.
pub(super) struct Ahead {
    trip: u64,
    sent: u64,
    asked: Pipeline,
    pub(super) came: Option<Result<Vec<Reply>, StoreError>>,
}

impl World {
    /// There is a connection for it at once.
    pub(super) fn sends_ahead(&mut self, id: u64) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let (slot, sent) = (flight.slot, self.now);
        let wall = self.gateways[slot].wall(sent);
        let (looking, Step::Ask(asked)) = Looking::begin(&flight.question, LEFT, wall) else {
            return;
        };
        flight.looking = Some(looking);
        let trip = self.sends(slot, Whose::Flight(id), asked.clone(), 0);
        self.numbers.ahead += 1;
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.ahead = Some(Ahead { trip, sent, asked, came: None });
        }
    }

    /// A thread comes to a look-up.
    pub(super) fn begins_to_look(&mut self, id: u64) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let (slot, wall) = (flight.slot, self.gateways[flight.slot].wall(self.now));
        let Some(Ahead { trip, sent, asked, came }) = flight.ahead.take() else {
            let (looking, step) = Looking::begin(&flight.question, LEFT, wall);
            flight.looking = Some(looking);
            return self.steps(id, step);
        };
        if let Some(looking) = &mut flight.looking {
            looking.goes_on(&flight.question, LEFT);
        }
        match came {
            _ if self.now >= sent + TIMEOUT_MS / 2 => {
                // The connection is closed: nobody reads what comes yet.
                self.trips.remove(&trip);
                self.numbers.asked_anew += 1;
            }
            Some(Ok(replies)) => return self.comes_to_flight(id, Ok(replies)),
            Some(Err(_)) => self.numbers.asked_anew += 1,
            None => return,
        }
        self.sends(slot, Whose::Flight(id), asked, 0);
    }
}
