//! One run: events in the order of their times.

use super::events::{Dice, Setting, Weather};
use super::numbers::Numbers;
use super::world::World;

/// Runs one seed for so many simulated seconds. Its number says how much happens.
pub(super) fn run(setting: Setting, seed: u64, seconds: u64) -> Numbers {
    let weather = [Weather::Calm, Weather::Changing, Weather::Stormy][seed as usize % 3];
    let setting = Setting { weather, ..setting };
    let mut world = World::new(setting, Dice::new(seed + 1));
    let end = world.now + seconds * 1_000;
    while let Some((time, event)) = world.queue.next() {
        if time > end {
            break;
        }
        world.at(time);
        world.happens(event);
    }
    world.ends()
}
