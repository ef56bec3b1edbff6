//! What stands in a store, and what its stream says, as strangers may have written it (`crate::fuzz`).

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::event::{Event, FIELD, GatewayId, What};
use super::keys::FleetKeys;
use super::leased::Place;
use super::look::{Looked, Looking, MARGIN_MS, Step};
use super::memory::Memory;
use super::names::{Lease, Names};
use super::question::{InSync, Question, SignedBy};
use super::seal::Nonce;
use super::sync::Listener;
use super::value::AHEAD_MS;
use super::value::{self, Content, Marker};
use super::{Epoch, Identity, Reply, Store, StoreOptions};
use crate::answer::subjects::Subject;
use crate::fuzz::input::{line, word};
use crate::shared::counters::StoreGap;
use crate::shared::purges::{Moment, Purged};
use crate::token::key::TokenHash;

const NOW: u64 = 1_700_000_000_000;
const EPOCH: Epoch = Epoch([9; 16]);

static KEYS: LazyLock<Arc<FleetKeys>> =
    LazyLock::new(|| Arc::new(FleetKeys::new(&[&[1; 32], &[2; 32]]).expect("keys")));

fn names() -> Names {
    Names::new("pt").expect("a prefix")
}

/// What a look-up makes of a value.
///
/// ```text
/// value 1700000000000 300000 0    as what it is sealed (value, marker, raw: not at all), now,
///                                 how long the location keeps answers, since when purges are known
/// …                               the content
/// ```
///
/// Nothing that is not sealed is believed. An answer serves only within its own times, the location's,
/// and those in which purges are known, and it is written in one way.
pub fn store_value(input: &[u8]) {
    let mut content = input;
    let mut words = line(&mut content).split(|byte| *byte == b' ');
    let form = words.next().unwrap_or_default();
    let mut number = |otherwise| word(words.next().unwrap_or_default(), otherwise);
    let (now, valid_ms, since_ms) = (number(NOW), number(300_000), number(0));
    if content.len() > 100_000 {
        return;
    }
    let store = Store::new(StoreOptions {
        nodes: Arc::new(Memory::default()),
        keys: KEYS.clone(),
        names: names(),
        timeout: Duration::from_secs(1),
        lock_timeout: Duration::from_secs(1),
        longest: Duration::from_secs(300),
    });
    let question = Question {
        store: Arc::new(store),
        token: b"opaque".to_vec().into(),
        hash: KEYS.first().hash_key().token(b"opaque"),
        identity: Identity::of([&b"a"[..]]),
        in_sync: Some(InSync { epoch: EPOCH, since_ms, known: Moment::NEVER }),
        purges: None,
        valid_ms,
        inactive_ms: 1_000,
        signed_by: SignedBy::Gateway(Arc::new([*b"a signer"])),
        bypass: false,
        newer_than: None,
        usual: Some(Duration::from_millis(40)),
        call: Duration::from_secs(6),
    };
    let place = Place::new(&question, &EPOCH, Lease([7; 16]));
    let there = match form {
        b"value" => place.seal_value(content),
        b"marker" => Marker::read(content)
            .and_then(|marker| Nonce::random().and_then(|nonce| place.seal_marker(nonce, &marker))),
        _ => None,
    };
    let is_sealed = there.is_some();
    let there = there.unwrap_or_else(|| content.to_vec());
    let values = vec![Reply::Bulk(vec![7; 16]), Reply::Bulk(there)];
    let replies = vec![Reply::Nil, Reply::Nil, Reply::Array(values)];

    let (mut looking, _) = Looking::begin(&question, Duration::from_secs(6), now);
    match looking.replies(&question, Ok(replies), Duration::ZERO, now) {
        Step::Done(Looked::Found(found), _) => {
            let stored = found.stored;
            assert!(is_sealed && form == b"value");
            assert_eq!(stored.grant.signer, Some(*b"a signer"));
            assert!(stored.asked_ms <= now.saturating_add(AHEAD_MS));
            assert!(stored.asked_ms >= since_ms.saturating_add(MARGIN_MS));
            assert!(now < stored.asked_ms.saturating_add(valid_ms));
            assert!(stored.until_ms.is_none_or(|until| now < until));
            assert!(stored.grant.exp.is_none_or(|exp| now < exp.saturating_mul(1_000)));
            assert_eq!(value::written(&stored), content);
        }
        Step::Done(Looked::Inactive, _) => {
            assert!(is_sealed && form == b"value");
            let asked_ms = match value::read(content) {
                Some(Content::Inactive { asked_ms }) => asked_ms,
                other => panic!("{other:?}"),
            };
            assert!(
                asked_ms <= now.saturating_add(AHEAD_MS) && now < asked_ms.saturating_add(1_000)
            );
            assert_eq!(value::inactive(asked_ms), content);
        }
        Step::Sleep(time) => {
            assert!(is_sealed && form == b"marker" && time >= Duration::from_millis(1));
            let marker = Marker::read(content).expect("a marker");
            assert!(now < marker.deadline_ms && marker.begun_ms <= now.saturating_add(AHEAD_MS));
        }
        Step::Done(Looked::Lead(lead), _) => lead.nothing(),
        Step::Done(Looked::Alone, _) => assert!(is_sealed && form == b"value"),
        Step::Ask(_) => panic!("it asks at once"),
    }
}

/// What a gateway hears.
///
/// ```text
/// e 5-0 0 1 171717 1700000000000 3 2 1   an event: id, under which key, kind, hash, time, gateway, number,
///                                        the highest number acknowledged before
/// x 6-0 text                             an entry that is none
/// c 1 1                                  the store answers: the epoch (-: none), whether the entry that
///                                        was read before is there
/// ```
///
/// All that is sealed under the first key is heard, once and in order, and purges of everything under
/// any; nothing else is. Whatever may have been missed is a gap, and there is no other one.
pub fn store_event(input: &[u8]) {
    let mut listener = Listener::new(KEYS.clone(), names(), GatewayId([1; 8]), None);
    let mut plain = Plain::default();
    let mut entries = Vec::new();
    let mut rest = input;
    for _ in 0..200 {
        if rest.is_empty() {
            break;
        }
        let mut words = line(&mut rest).splitn(9, |byte| *byte == b' ');
        let mut next = || words.next().unwrap_or_default();
        match next() {
            b"e" => {
                let id = next();
                let entry = event([(); 7].map(|()| word(next(), 0)));
                entries.extend(
                    id_of(id)
                        .zip(entry)
                        .map(|(id, (key, event, sealed))| (id, Some((key, event)), sealed)),
                );
            }
            b"x" => {
                let id = next();
                entries.extend(id_of(id).map(|id| (id, None, next().to_vec())));
            }
            b"c" => {
                let (epoch, there) = (next(), next() == b"1");
                let epoch = std::str::from_utf8(epoch).ok().and_then(|text| text.parse().ok());
                let epoch = epoch.map(|byte: u8| Epoch([byte; 16]));
                let taken = std::mem::take(&mut entries);
                cycle(&mut listener, &mut plain, epoch, there, taken);
            }
            _ => {}
        }
    }
}

type Id = (u64, u64);
type Known = Option<(usize, Event)>;

fn id_of(text: &[u8]) -> Option<Id> {
    let (ms, sequence) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}

/// An event, where these numbers make one, and its bytes.
fn event(numbers: [u64; 7]) -> Option<(usize, Event, Vec<u8>)> {
    let [key, kind, hash, at_ms, gateway, number, acknowledged] = numbers;
    let key = (key % 2) as usize;
    let what = match kind {
        0 => What::Nothing,
        1 => What::Token(TokenHash([hash as u8; 16])),
        2 => What::All(Epoch([hash as u8; 16])),
        3..=6 => What::Subject(Subject::ALL[kind as usize - 3], NonZeroU64::new(hash)?),
        _ => return None,
    };
    let gateway = GatewayId(gateway.to_be_bytes());
    let event = Event { what, at_ms, gateway, number, acknowledged };
    let sealed = event.seal(&KEYS.all()[key], &names())?;
    Some((key, event, sealed))
}

/// What a listener must know, in a few lines.
#[derive(Default)]
struct Plain {
    epoch: Option<Epoch>,
    said: Vec<Epoch>,
    read: HashMap<GatewayId, u64>,
    odd: u32,
}

fn cycle(
    listener: &mut Listener,
    plain: &mut Plain,
    epoch: Option<Epoch>,
    there: bool,
    entries: Vec<(Id, Known, Vec<u8>)>,
) {
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let listed = entries.iter().map(|((ms, sequence), _, sealed)| {
        let fields = vec![Reply::Bulk(FIELD.to_vec()), Reply::Bulk(sealed.clone())];
        Reply::Array(vec![bulk(&format!("{ms}-{sequence}")), Reply::Array(fields)])
    });
    let stream = Reply::Bulk(names().stream().to_vec());
    let read = match entries.is_empty() {
        true => Reply::Nil,
        false => Reply::Array(vec![Reply::Array(vec![stream, Reply::Array(listed.collect())])]),
    };
    let old = if there { vec![Reply::Array(Vec::new())] } else { Vec::new() };
    let epoch_reply = epoch.map_or(Reply::Nil, |epoch| Reply::Bulk(epoch.0.to_vec()));
    let heard = listener.answer(&[epoch_reply, Reply::Array(old), read], NOW);

    let begun = plain.epoch.is_some();
    if !entries.is_sorted_by(|one, next| one.0 < next.0) {
        assert!(heard.purges.is_empty());
        plain.odd += 1;
        let gap = (begun && plain.odd >= 3).then_some(StoreGap::Unreadable);
        assert_eq!(heard.gap, gap);
        if gap.is_some() {
            *plain = Plain { said: std::mem::take(&mut plain.said), ..Plain::default() };
        }
        return;
    }
    plain.odd = 0;
    if !begun && (epoch.is_none() || entries.is_empty()) {
        assert!(heard.purges.is_empty() && heard.gap.is_none() && !heard.in_sync);
        return;
    }
    let mut purges = Vec::new();
    let mut missing = false;
    for (key, event) in entries.iter().filter_map(|(_, event, _)| event.as_ref()) {
        if event.what == What::Nothing {
            continue;
        }
        if *key == 0 {
            let highest = plain.read.entry(event.gateway).or_insert(u64::MAX);
            missing |= event.acknowledged > *highest;
            let known = if *highest == u64::MAX { 0 } else { *highest };
            *highest = known.max(event.number).max(event.acknowledged);
        }
        purges.extend(match event.what {
            What::All(epoch) => {
                plain.said.insert(0, epoch);
                Some(Purged::All)
            }
            What::Token(token) if *key == 0 => Some(Purged::Token(token)),
            What::Subject(subject, hash) if *key == 0 => Some(Purged::Subject(subject, hash)),
            _ => None,
        });
    }
    plain.said.truncate(16);
    assert_eq!(heard.purges.iter().map(|purge| purge.what).collect::<Vec<_>>(), purges);
    assert!(heard.purges.iter().all(|purge| purge.at_ms <= NOW + AHEAD_MS));
    let is_same =
        !begun || epoch == plain.epoch || epoch.is_some_and(|of| plain.said.contains(&of));
    let gap = match (is_same, there || !begun, missing && begun) {
        (false, _, _) => Some(StoreGap::Epoch),
        (_, false, _) => Some(StoreGap::Trimmed),
        (_, _, true) => Some(StoreGap::Missing),
        _ => None,
    };
    assert_eq!(heard.gap, gap);
    if gap.is_some() {
        assert!(heard.doubt && !heard.in_sync && heard.position.is_none());
        *plain = Plain { said: std::mem::take(&mut plain.said), ..Plain::default() };
        return;
    }
    plain.epoch = epoch;
    let position = heard.position.expect("a position");
    assert_eq!(Some(position.epoch), epoch);
    assert!(entries.last().is_none_or(|(id, ..)| position.last == *id));
    assert!(position.since_ms <= NOW);
}
