//! What the parts of the model have in common: what happens when, by which dice, and how a run is set up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happens.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A client asks one of the gateways.
    Request,
    /// A question comes to the store.
    Arrives(u64),
    /// Its replies come back.
    Answered(u64),
    /// The time for one is up.
    TimesOut(u64),
    /// Something told comes to the store.
    Told(u64),
    /// A look-up begins.
    Begins(u64),
    /// A look-up has slept.
    Wakes(u64),
    /// The authorization server decides about a token.
    Decides(u64),
    /// Its answer comes.
    Decided(u64),
    /// This thread of the gateway in this place asks what there is to hear.
    Listens(usize, u64),
    /// An operator revokes something, and purges it.
    Purges,
    /// A gateway ends, and another begins in its place.
    Ends(usize, u64),
    /// Another worker of a gateway hears from now on.
    TakesOver(usize, u64),
    /// Something happens to the store or to a gateway.
    Accident,
    /// An accident is over.
    Over(u64),
}

/// What a gateway does with its answers after a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Policy {
    /// It forgets them.
    #[default]
    Forget,
    /// It renews them, each in its time, and forgets what is not renewed after ten seconds.
    Renew,
}

/// A guard that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Nobody notices what was missed.
    NoGaps,
    /// What a call began with is not compared when its answer is kept.
    NoMoments,
    /// Neither leases nor purge times are looked at when a value is taken.
    NoNonceNorTimes,
    /// Who begins reads the stream from its end.
    BeginsAtTheEnd,
}

impl Mutant {
    pub(super) const ALL: [Mutant; 4] =
        [Mutant::NoGaps, Mutant::NoMoments, Mutant::NoNonceNorTimes, Mutant::BeginsAtTheEnd];
}

/// How much happens to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Weather {
    /// It stands still and drops clients now and then, and loses nothing.
    #[default]
    Calm,
    /// It has all accidents now and then.
    Changing,
    /// It has them all the time.
    Stormy,
}

/// How a run is set up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setting {
    pub(super) weather: Weather,
    pub(super) policy: Policy,
    pub(super) mutant: Option<Mutant>,
}

/// What comes, the soonest first.
#[derive(Default)]
pub(super) struct Queue {
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
}

impl Queue {
    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((time, self.count, event)));
    }

    pub(super) fn next(&mut self) -> Option<(u64, Event)> {
        self.events.pop().map(|Reverse((time, _, event))| (time, event))
    }
}

/// Random numbers that a seed makes (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// From `low` to `high`, both included.
    pub(super) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// What is wrong at the time.
#[derive(Default)]
pub(super) struct Accidents {
    /// It reads nothing and says nothing.
    pub(super) stands_still: bool,
    /// It is not there.
    pub(super) is_gone: bool,
    /// What ends, by its number.
    pub(super) going_on: Vec<(u64, Ends)>,
}

/// What an accident's end ends.
pub(super) enum Ends {
    Still,
    Gone,
    Full,
    Cut(usize),
}
