//! What gateways tell each other about purges: sealed entries of a stream.

use std::num::NonZeroU64;

use super::Pipeline;
use super::keys::{FleetKey, FleetKeys};
use super::names::{Epoch, Names};
use super::seal::{self, Bound, Form, Nonce};
use crate::answer::subjects::Subject;
use crate::jose::primitives::random;
use crate::token::key::TokenHash;

/// The field of a stream's entry that holds an event.
pub const FIELD: &[u8] = b"e";

/// Which gateway says something: random, as old as its state zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatewayId(pub [u8; 8]);

impl GatewayId {
    /// Makes a new one; `None` where the system gives no random bytes.
    pub fn random() -> Option<GatewayId> {
        random().ok().map(GatewayId)
    }
}

/// An entry of the stream of purges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What is purged.
    pub what: What,
    /// When, by the clock of who says so, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who says so.
    pub gateway: GatewayId,
    /// Counts what that gateway says, from 1.
    pub number: u64,
    /// The highest number that the store has acknowledged to that gateway before; 0: none.
    pub acknowledged: u64,
}

/// What an event is about. Hashes are under the fleet key that the event is sealed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing: the stream was empty, and whoever reads it must have something to hold on to.
    Nothing,
    /// One token.
    Token(TokenHash),
    /// All that name this subject.
    Subject(Subject, NonZeroU64),
    /// Everything: from now on this is the epoch.
    All(Epoch),
}

/// As long as what is about a token.
const LEN: usize = 1 + 16 + 8 + 8 + 8 + 8;

impl What {
    fn number(self) -> u8 {
        match self {
            What::Nothing => 0,
            What::Token(_) => 1,
            What::All(_) => 2,
            What::Subject(subject, _) => 3 + subject as u8,
        }
    }

    fn hash(self) -> [u8; 16] {
        let mut out = [0; 16];
        match self {
            What::Nothing => {}
            What::Token(token) => out = token.0,
            What::All(epoch) => out = epoch.0,
            What::Subject(_, hash) => out[..8].copy_from_slice(&hash.get().to_be_bytes()),
        }
        out
    }

    fn read(number: u8, hash: [u8; 16]) -> Option<What> {
        Some(match number {
            0 if hash == [0; 16] => What::Nothing,
            1 => What::Token(TokenHash(hash)),
            2 => What::All(Epoch(hash)),
            3..=6 => {
                let (name, rest) = hash.split_first_chunk()?;
                if rest != [0; 8] {
                    return None;
                }
                let subject = Subject::ALL[usize::from(number - 3)];
                What::Subject(subject, NonZeroU64::new(u64::from_be_bytes(*name))?)
            }
            _ => return None,
        })
    }
}

impl Event {
    /// Seals it under one of the fleet's keys; `None` where the system gives no random bytes.
    pub fn seal(&self, key: &FleetKey, names: &Names) -> Option<Vec<u8>> {
        let Event { what, at_ms, gateway, number, acknowledged } = self;
        let numbers = [at_ms, number, acknowledged].map(|number| number.to_be_bytes());
        let [at, number, acknowledged] = &numbers;
        let content = [&[what.number()][..], &what.hash(), at, &gateway.0, number, acknowledged];
        seal::seal(&key.event, Nonce::random()?, bound(names), &content)
    }

    /// Opens one, and says under which of the keys it opens; `None` where under none of them.
    pub fn open(keys: &FleetKeys, names: &Names, sealed: &[u8]) -> Option<(usize, Event)> {
        keys.all().iter().enumerate().find_map(|(nth, key)| {
            let opened = seal::open(&key.event, bound(names), sealed)?;
            Event::read(opened.content()).map(|event| (nth, event))
        })
    }

    fn read(content: &[u8]) -> Option<Event> {
        let content: &[u8; LEN] = content.try_into().ok()?;
        let (what, rest) = content.split_at(17);
        let part = |nth: usize| rest[8 * nth..].first_chunk::<8>().copied();
        let number = |nth: usize| part(nth).map(u64::from_be_bytes);
        Some(Event {
            what: What::read(what[0], what[1..].try_into().ok()?)?,
            at_ms: number(0)?,
            gateway: GatewayId(part(1)?),
            number: number(2)?,
            acknowledged: number(3)?,
        })
    }
}

/// About so many events the stream has; older ones go.
const KEPT: &[u8] = b"65536";

/// Appends the command that puts a sealed event into the stream.
pub fn add(pipeline: &mut Pipeline, names: &Names, sealed: &[u8]) {
    let stream = names.stream();
    pipeline.command(&[b"XADD", stream, b"MAXLEN", b"~", KEPT, b"*", FIELD, sealed]);
}

/// An event is for the stream of one prefix.
fn bound(names: &Names) -> Bound<'_> {
    Bound { form: Form::Event, name: names.stream(), to: b"" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILES: [&[u8]; 3] = [&[1; 32], &[2; 32], &[3; 32]];

    fn names() -> Names {
        Names::new("pt").expect("a prefix")
    }

    fn events() -> impl Strategy<Value = Event> {
        let what = prop_oneof![
            Just(What::Nothing),
            any::<[u8; 16]>().prop_map(|hash| What::Token(TokenHash(hash))),
            any::<[u8; 16]>().prop_map(|epoch| What::All(Epoch(epoch))),
            (0..4_usize, 1..=u64::MAX).prop_map(|(nth, hash)| {
                What::Subject(Subject::ALL[nth], NonZeroU64::new(hash).expect("not 0"))
            }),
        ];
        (what, any::<[u64; 3]>(), any::<[u8; 8]>()).prop_map(|(what, numbers, gateway)| {
            let [at_ms, number, acknowledged] = numbers;
            Event { what, at_ms, gateway: GatewayId(gateway), number, acknowledged }
        })
    }

    proptest! {
        #[test]
        fn an_event_reads_as_it_was(event in events(), by in 0..2_usize) {
            let keys = FleetKeys::new(&FILES[..2]).expect("keys");
            let sealed = event.seal(&keys.all()[by], &names()).expect("random bytes");
            prop_assert_eq!(Event::open(&keys, &names(), &sealed), Some((by, event)));
            // Who has another key learns nothing, and neither does who has another prefix.
            let others = FleetKeys::new(&FILES[2..]).expect("keys");
            prop_assert_eq!(Event::open(&others, &names(), &sealed), None);
            let elsewhere = Names::new("other").expect("a prefix");
            prop_assert_eq!(Event::open(&keys, &elsewhere, &sealed), None);
        }

        #[test]
        fn all_events_are_equally_long(one in events(), other in events()) {
            let keys = FleetKeys::new(&FILES).expect("keys");
            let seal = |event: &Event| event.seal(keys.first(), &names()).expect("random bytes");
            prop_assert_eq!(seal(&one).len(), seal(&other).len());
        }

        #[test]
        fn what_is_no_event_is_none(content in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(event) = Event::read(&content) {
                let Event { what, at_ms, gateway, number, acknowledged } = event;
                let [at, number, acknowledged] =
                    [at_ms, number, acknowledged].map(u64::to_be_bytes);
                let again =
                    [&[what.number()][..], &what.hash(), &at, &gateway.0, &number, &acknowledged];
                prop_assert_eq!(again.concat(), content);
            }
        }
    }
}
