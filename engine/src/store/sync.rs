//! How a gateway hears what others purge: the state of a loop that one of its threads runs.
//!
//! ```text
//! GET epoch               is it the store that it was
//! XRANGE stream e e       is an entry still there that was read before
//! XREAD COUNT 1000 BLOCK 500 STREAMS stream last
//! ```
//!
//! A gateway that knows nothing reads the stream from its first entry; where there is none it writes one,
//! so that whatever becomes of the stream shows. A *gap* is whatever says that purges may have been
//! missed: the epoch is another without a purge of everything that says so, an entry that was read is
//! gone, a gateway says that the store has acknowledged what was never read, or nothing can be
//! understood. After one, the gateway begins anew.
//!
//! What is asked and slept is another's to do; time is passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::event::{self, Event, FIELD, GatewayId, What};
use super::keys::FleetKeys;
use super::names::{Epoch, Names};
use super::value::AHEAD_MS;
use super::{Pipeline, Reply};
use crate::shared::counters::StoreGap;
use crate::shared::purges::Purged;

/// How long the store is to wait for a purge before it answers that there is none.
pub const BLOCK: Duration = Duration::from_millis(500);

/// As many entries are read at once.
const COUNT: usize = 1_000;

/// After so many answers that cannot be understood, one after the other, there is a gap.
const UNREADABLE: u8 = 3;

/// The least time from one beginning to the next after a gap: what is purged meanwhile is heard after
/// it, and within a second.
const ANEW_MS: u64 = 500;

/// This gateway's own purges of so long ago are told again after a gap, in milliseconds: the store may
/// have lost them before others have read them.
const AGAIN_MS: u64 = 10_000;

/// As many of them are kept.
const MAX_OWN: usize = 1_000;

/// Of as many gateways it is known what was read.
const MAX_GATEWAYS: usize = 4_096;

/// As many epochs are known that a purge of everything has said.
const MAX_SAID: usize = 16;

/// An entry's place in a stream: milliseconds and sequence.
pub type StreamId = (u64, u64);

/// Up to where a gateway has heard. It outlives the thread that hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// What names and values in the store are bound to.
    pub epoch: Epoch,
    /// The last entry that was read.
    pub last: StreamId,
    /// From when on purges are known, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// What an answer of the store came to. What is purged is to be purged here before the position is kept.
#[derive(Debug, Default)]
pub struct Heard {
    /// What was purged.
    pub purges: Vec<HeardPurge>,
    /// Why purges may have been missed.
    pub gap: Option<StoreGap>,
    /// Of answers from before now it is not known whether they were purged: after a gap, and where it
    /// begins.
    pub doubt: bool,
    /// Where it stands; `None`: it has yet to begin.
    pub position: Option<Position>,
    /// Whether all is heard that there is: the store may be used.
    pub in_sync: bool,
    /// Whether the answer is one: it could be understood.
    pub understood: bool,
    /// How many entries did not open, or not so that they could be understood.
    pub unreadable: usize,
}

/// A purge that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardPurge {
    /// What is purged.
    pub what: Purged,
    /// When, in milliseconds since the Unix epoch of this gateway's clock: all that was asked for before
    /// is worthless.
    pub at_ms: u64,
    /// This gateway has told it while it heard the store, and so knows it.
    pub own: bool,
}

/// A question to the store.
#[derive(Debug)]
pub struct Ask {
    /// What is sent.
    pub commands: Pipeline,
    /// How long the store may wait before it answers.
    pub blocks: Duration,
    /// How long to wait before it is sent.
    pub pause: Duration,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing is known. `since`: from when on at the earliest, in milliseconds since the Unix epoch.
    Begins { since: Option<u64> },
    /// The stream is read, as far as is there.
    Reads(Place),
    /// All that there was is read.
    Hears(Place),
}

#[derive(Clone, Copy, Debug)]
struct Place {
    position: Position,
    /// An entry that was read at the latest by the answer before the last.
    before: StreamId,
}

/// The state of the loop.
pub struct Listener {
    keys: Arc<FleetKeys>,
    names: Names,
    gateway: GatewayId,
    phase: Phase,
    /// What purges of everything have made the epoch, the last first.
    said: VecDeque<Epoch>,
    /// The highest number that was read of each gateway.
    read: HashMap<GatewayId, u64>,
    /// Purges that this gateway has told, with their times, as they stand in the stream.
    own: VecDeque<(u64, Vec<u8>)>,
    /// Answers in a row that could not be understood.
    unreadable: u8,
    /// When it began last, in milliseconds since the Unix epoch.
    began_ms: Option<u64>,
    /// The stream was empty, as far as is known.
    empty: bool,
}

/// What of an answer belongs together.
struct Answer<'r> {
    epoch: Option<Epoch>,
    /// The entry that was read before is there.
    is_there: bool,
    entries: Vec<Entry<'r>>,
}

struct Entry<'r> {
    id: StreamId,
    sealed: Option<&'r [u8]>,
}

impl Listener {
    /// Begins, or goes on where another thread was.
    pub fn new(
        keys: Arc<FleetKeys>,
        names: Names,
        gateway: GatewayId,
        known: Option<Position>,
    ) -> Listener {
        let phase = match known {
            Some(position) => Phase::Reads(Place { position, before: position.last }),
            None => Phase::Begins { since: None },
        };
        Listener {
            keys,
            names,
            gateway,
            phase,
            said: VecDeque::new(),
            read: HashMap::new(),
            own: VecDeque::new(),
            unreadable: 0,
            began_ms: None,
            empty: false,
        }
    }

    /// What is to be sent next, at `wall_ms` (milliseconds since the Unix epoch); `None` where the system
    /// gives no random bytes.
    pub fn question(&mut self, wall_ms: u64) -> Option<Ask> {
        let names = &self.names;
        let mut commands = Pipeline::new();
        let count = COUNT.to_string();
        let xread = |commands: &mut Pipeline, block: Option<Duration>, after: StreamId| {
            let block = block.map(|block| block.as_millis().to_string());
            let after = text(after);
            let mut words: Vec<&[u8]> = vec![b"XREAD", b"COUNT", count.as_bytes()];
            words.extend(block.iter().flat_map(|block| [&b"BLOCK"[..], block.as_bytes()]));
            words.extend([&b"STREAMS"[..], names.stream(), after.as_bytes()]);
            commands.command(&words);
        };
        let mut blocks = Duration::ZERO;
        let mut pause = 0;
        match self.phase {
            Phase::Begins { since } => {
                let fresh = Epoch::random()?;
                commands.command(&[b"SET", names.epoch(), &fresh.0, b"NX"]);
                if since.is_some() {
                    for (at_ms, sealed) in &self.own {
                        if wall_ms.saturating_sub(*at_ms) < AGAIN_MS {
                            event::add(&mut commands, names, sealed);
                        }
                    }
                }
                if self.empty {
                    let (what, gateway) = (What::Nothing, self.gateway);
                    let (number, acknowledged) = (0, 0);
                    let hello = Event { what, at_ms: wall_ms, gateway, number, acknowledged };
                    let sealed = hello.seal(self.keys.first(), names)?;
                    event::add(&mut commands, names, &sealed);
                }
                commands.command(&[b"GET", names.epoch()]);
                commands.command(&[b"XRANGE", names.stream(), b"0-0", b"0-0"]);
                xread(&mut commands, None, (0, 0));
                let since_last = self.began_ms.map_or(ANEW_MS, |at| wall_ms.saturating_sub(at));
                pause = ANEW_MS.saturating_sub(since_last);
            }
            Phase::Reads(place) | Phase::Hears(place) => {
                commands.command(&[b"GET", names.epoch()]);
                let before = text(place.before);
                let range: [&[u8]; 4] =
                    [b"XRANGE", names.stream(), before.as_bytes(), before.as_bytes()];
                commands.command(&range);
                let hears = matches!(self.phase, Phase::Hears(_));
                let block = hears.then_some(BLOCK);
                blocks = block.unwrap_or_default();
                xread(&mut commands, block, place.position.last);
            }
        }
        Some(Ask { commands, blocks, pause: Duration::from_millis(pause) })
    }

    /// What the replies to that come to, at `wall_ms`. Where there are none, nothing is to be said: the
    /// same is asked again.
    pub fn answer(&mut self, replies: &[Reply], wall_ms: u64) -> Heard {
        let mut heard = Heard::default();
        match Answer::read(replies, &self.names) {
            None => {
                self.unreadable = self.unreadable.saturating_add(1);
                let is_known = !matches!(self.phase, Phase::Begins { .. });
                if is_known && self.unreadable >= UNREADABLE {
                    self.gap(StoreGap::Unreadable, wall_ms, &mut heard);
                }
            }
            Some(answer) => {
                heard.understood = true;
                self.unreadable = 0;
                match self.phase {
                    Phase::Begins { since } => self.begin(since, &answer, wall_ms, &mut heard),
                    Phase::Reads(place) => self.go_on(place, &answer, false, wall_ms, &mut heard),
                    Phase::Hears(place) => self.go_on(place, &answer, true, wall_ms, &mut heard),
                }
            }
        }
        (heard.position, heard.in_sync) = match self.phase {
            Phase::Begins { .. } => (None, false),
            Phase::Reads(place) => (Some(place.position), false),
            Phase::Hears(place) => (Some(place.position), true),
        };
        heard
    }

    /// The first entries of the stream have come.
    fn begin(&mut self, since: Option<u64>, answer: &Answer<'_>, wall_ms: u64, heard: &mut Heard) {
        let began_ms = self.began_ms.replace(wall_ms);
        let (Some(epoch), Some(last)) = (answer.epoch, answer.entries.last()) else {
            // What comes from now on is read. Next time there is something there, unless the store takes
            // no writes.
            if !self.empty {
                self.began_ms = began_ms.filter(|at| *at + ANEW_MS <= wall_ms);
            }
            self.empty = true;
            self.phase = Phase::Begins { since: since.or(Some(wall_ms)) };
            return;
        };
        let (first, _) = self.tell(&answer.entries, false, wall_ms, heard);
        // What was trimmed was there before the first entry; without one, nothing is known of before.
        let first = first.unwrap_or(wall_ms).min(wall_ms);
        let since_ms = if self.empty { since.unwrap_or(first) } else { first };
        let since_ms = since_ms.max(since.unwrap_or(0));
        let position = Position { epoch, last: last.id, since_ms };
        self.empty = false;
        heard.doubt = true;
        let place = Place { position, before: last.id };
        self.phase = match answer.entries.len() < COUNT {
            true => Phase::Hears(place),
            false => Phase::Reads(place),
        };
    }

    /// Further entries have come, or none.
    fn go_on(
        &mut self,
        mut place: Place,
        answer: &Answer<'_>,
        live: bool,
        wall_ms: u64,
        heard: &mut Heard,
    ) {
        place.before = place.position.last;
        if let Some(last) = answer.entries.last() {
            place.position.last = last.id;
        }
        let (_, missing) = self.tell(&answer.entries, live, wall_ms, heard);
        match answer.epoch {
            Some(epoch) if epoch == place.position.epoch => {}
            Some(epoch) if self.said.contains(&epoch) => place.position.epoch = epoch,
            _ => return self.gap(StoreGap::Epoch, wall_ms, heard),
        }
        if !answer.is_there {
            return self.gap(StoreGap::Trimmed, wall_ms, heard);
        }
        if missing {
            return self.gap(StoreGap::Missing, wall_ms, heard);
        }
        // A purge of everything came while the store waited: the epoch may be another by now.
        let is_over = heard.purges.iter().any(|purge| purge.what == Purged::All);
        self.phase = match answer.entries.len() < COUNT && !is_over {
            true => Phase::Hears(place),
            false => Phase::Reads(place),
        };
    }

    /// Takes what entries say, and returns when the first of them was written that could be read, and
    /// whether one is missing that a gateway says was acknowledged.
    fn tell(
        &mut self,
        entries: &[Entry<'_>],
        live: bool,
        wall_ms: u64,
        heard: &mut Heard,
    ) -> (Option<u64>, bool) {
        let mut first = None;
        let mut missing = false;
        for entry in entries {
            let opened =
                entry.sealed.and_then(|sealed| Event::open(&self.keys, &self.names, sealed));
            let Some((key, event)) = opened else {
                heard.unreadable += 1;
                continue;
            };
            // Whichever clock is ahead: what was asked for before the purge was so by all of them.
            let written_ms = event.at_ms.max(entry.id.0).min(wall_ms.saturating_add(AHEAD_MS));
            first = first.or(Some(written_ms));
            if let What::Nothing = event.what {
                continue;
            }
            if key == 0 {
                let known = self.read.get(&event.gateway).copied();
                missing |= known.is_some_and(|known| event.acknowledged > known);
                if self.read.len() >= MAX_GATEWAYS && known.is_none() {
                    self.read.clear();
                }
                let highest = event.number.max(event.acknowledged).max(known.unwrap_or(0));
                self.read.insert(event.gateway, highest);
            }
            let what = match event.what {
                What::All(epoch) => {
                    self.said.push_front(epoch);
                    self.said.truncate(MAX_SAID);
                    Purged::All
                }
                // Hashed under another key: the same purge is there under the first one.
                _ if key != 0 => continue,
                What::Token(token) => Purged::Token(token),
                What::Subject(subject, hash) => Purged::Subject(subject, hash),
                What::Nothing => continue,
            };
            let own = event.gateway == self.gateway;
            if let (true, Some(sealed)) = (own, entry.sealed)
                && self.own.iter().all(|(_, known)| known != sealed)
            {
                self.own.push_back((event.at_ms, sealed.to_vec()));
                if self.own.len() > MAX_OWN {
                    self.own.pop_front();
                }
            }
            let at_ms = if live { written_ms.max(wall_ms) } else { written_ms };
            // What was purged here may be forgotten where nothing was heard for a while.
            heard.purges.push(HeardPurge { what, at_ms, own: own && live });
        }
        self.own.retain(|(at_ms, _)| wall_ms.saturating_sub(*at_ms) < AGAIN_MS);
        (first, missing)
    }

    /// Begins anew: purges up to now may have been missed.
    fn gap(&mut self, why: StoreGap, wall_ms: u64, heard: &mut Heard) {
        heard.gap = heard.gap.or(Some(why));
        heard.doubt = true;
        self.phase = Phase::Begins { since: Some(wall_ms) };
        self.read.clear();
        self.unreadable = 0;
        self.empty = false;
    }
}

impl<'r> Answer<'r> {
    /// Takes the last three replies; `None` where they are not such. Whether the store has taken what
    /// was written before them shows there.
    fn read(replies: &'r [Reply], names: &Names) -> Option<Answer<'r>> {
        let [.., epoch, there, read] = replies else { return None };
        let epoch = match epoch {
            Reply::Nil => None,
            reply => Some(Epoch::read(reply.bulk()?)?),
        };
        let is_there = !there.array()?.is_empty();
        let mut entries = Vec::new();
        if *read != Reply::Nil {
            let [stream] = read.array()? else { return None };
            let [name, all] = stream.array()? else { return None };
            if name.bulk()? != names.stream() {
                return None;
            }
            for entry in all.array()? {
                entries.push(Entry::read(entry)?);
            }
        }
        let rises = entries.is_sorted_by(|one, next| one.id < next.id);
        rises.then_some(Answer { epoch, is_there, entries })
    }
}

impl<'r> Entry<'r> {
    fn read(reply: &'r Reply) -> Option<Entry<'r>> {
        let [id, fields] = reply.array()? else { return None };
        let id = str::from_utf8(id.bulk()?).ok()?;
        let (ms, sequence) = id.split_once('-')?;
        let id = (ms.parse().ok()?, sequence.parse().ok()?);
        // Whoever has put something else there has put nothing there.
        let sealed = match fields.array() {
            Some([field, sealed]) if field.bulk() == Some(FIELD) => sealed.bulk(),
            _ => None,
        };
        Some(Entry { id, sealed })
    }
}

fn text((ms, sequence): StreamId) -> String {
    format!("{ms}-{sequence}")
}

#[cfg(test)]
mod tests;
