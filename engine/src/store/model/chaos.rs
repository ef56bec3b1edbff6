//! What happens to stores.

use super::events::{Ends, Event, Weather};
use super::world::World;
use crate::store::names::Names;
use crate::store::reply::ServerError;

impl World {
    pub(super) fn accident(&mut self) {
        let weather = self.setting.weather;
        let next = match weather {
            Weather::Stormy => self.dice.range(1_500, 3_000),
            Weather::Calm | Weather::Changing => self.dice.range(3_000, 9_000),
        };
        self.queue.at(self.now + next, Event::Accident);
        let names = Names::new("pt").expect("a prefix");
        let which =
            if weather == Weather::Calm { self.dice.range(1, 3) } else { self.dice.range(0, 9) };
        let name = match which {
            0 => {
                self.memory.0.lock().flush();
                "flushed"
            }
            1 | 2 => {
                self.accidents.stands_still = true;
                let time = self.dice.range(50, 2_000);
                self.ends_after(time, Ends::Still);
                "stopped"
            }
            3 => {
                self.drops_connections(100);
                "clients dropped"
            }
            4 => {
                self.memory.0.lock().lose(names.stream());
                "stream lost"
            }
            5 => {
                self.memory.0.lock().lose(names.epoch());
                "epoch lost"
            }
            6 => {
                // Killed, and started empty.
                self.memory.0.lock().flush();
                self.unread.clear();
                self.accidents.stands_still = false;
                self.accidents.is_gone = true;
                self.drops_connections(100);
                let time = self.dice.range(50, 500);
                self.ends_after(time, Ends::Gone);
                "restarted empty"
            }
            7 => {
                let share = self.dice.range(10, 60);
                let keys = self.memory.0.lock().names();
                for key in keys {
                    if self.dice.chance(share) {
                        self.memory.0.lock().lose(&key);
                    }
                }
                "evicted"
            }
            8 => {
                self.memory.0.lock().full = Some(ServerError::Oom);
                let time = self.dice.range(100, 1_000);
                self.ends_after(time, Ends::Full);
                "full"
            }
            _ => {
                let slot = self.dice.range(0, self.gateways.len() as u64 - 1) as usize;
                self.gateways[slot].is_cut = true;
                let time = self.dice.range(100, 3_000);
                self.ends_after(time, Ends::Cut(slot));
                "cut off"
            }
        };
        *self.numbers.accidents.entry(name).or_default() += 1;
        // One that comes right behind.
        if weather != Weather::Calm && self.dice.chance(20) {
            let soon = self.dice.range(1, 60);
            self.queue.at(self.now + soon, Event::Accident);
        }
    }

    fn ends_after(&mut self, time: u64, ends: Ends) {
        let id = self.number();
        self.accidents.going_on.push((id, ends));
        self.queue.at(self.now + time, Event::Over(id));
    }

    pub(super) fn over(&mut self, id: u64) {
        let Some(at) = self.accidents.going_on.iter().position(|(of, _)| *of == id) else { return };
        let (_, ends) = self.accidents.going_on.remove(at);
        match ends {
            Ends::Gone => self.accidents.is_gone = false,
            Ends::Full => self.memory.0.lock().full = None,
            Ends::Cut(slot) => self.gateways[slot].is_cut = false,
            Ends::Still => {
                self.accidents.stands_still = false;
                for (question, of) in std::mem::take(&mut self.unread) {
                    self.runs(&question, of);
                }
            }
        }
    }
}
