//! The parts that not every entry has: what comes out is what went in, and an entry without them is as
//! small as ever.

use std::num::NonZeroU64;
use std::ptr::NonNull;

use super::tests::{Zone, flight, key};
use super::*;
use crate::answer::binding::{Binding, Bound};
use crate::answer::facts::Facts;
use crate::answer::nature::{Nature, TokenKind};
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;
use crate::shared::purges::Moment;
use crate::shared::state::testing::at;

const BOUNDS: [Bound; 4] = [Bound::No, Bound::Unsaid, Bound::Nobody, Bound::To([0x5a; 32])];
const KINDS: [TokenKind; 3] = [TokenKind::Unnamed, TokenKind::Named, TokenKind::Other];

/// Facts with these subjects, of 16 mixtures, and with or without the rest.
fn facts(kind: TokenKind, binding: Binding, signed: bool, subjects: u64) -> Facts<'static> {
    let hash = |nth: u64| NonZeroU64::new(u64::MAX - nth).filter(|_| subjects >> nth & 1 != 0);
    Facts {
        jwt: b"a.b.c",
        scope: b"read",
        claims: b"{}",
        nature: Nature { kind, binding },
        signer: signed.then_some(*b"signer 8"),
        subjects: Subjects([0, 1, 2, 3].map(hash)),
        life: Life { stored: 1, until: Some(2), exp: None, may_stale: true },
        asked: if signed { Moment::NEVER } else { Moment::of_wall_ms(5) },
    }
}

/// All there are.
fn mixtures() -> impl Iterator<Item = Facts<'static>> {
    let bindings = BOUNDS.into_iter().flat_map(|dpop| {
        BOUNDS.into_iter().flat_map(move |certificate| {
            [false, true].map(|other| Binding { dpop, certificate, other })
        })
    });
    bindings.flat_map(|binding| {
        KINDS.into_iter().flat_map(move |kind| {
            (0..32).map(move |bits| facts(kind, binding, bits & 1 != 0, bits >> 1))
        })
    })
}

#[test]
fn every_mixture_comes_out_as_it_went_in() {
    let zone = Zone::new(MIN_SIZE);
    let mut record = Record::with_room(1024);
    let mut seen = 0;
    for given in mixtures() {
        zone.with(|arena| arena.store(&key(1, 1), &Entry::active(given)));
        assert_eq!(zone.with(|arena| arena.find(&key(1, 1), &mut record)), Find::Hit);
        assert_eq!((record.facts(), record.kind()), (given, Kind::Active));
        record.clear();
        assert_eq!(record.facts(), Facts::default());
        assert!(record.room.iter().all(|byte| *byte == 0), "wiped");
        seen += 1;
    }
    assert_eq!(seen, 4 * 4 * 2 * 3 * 32);
    zone.check();
    // Nothing of it is left to who comes after.
    zone.with(|arena| arena.store(&key(1, 1), &Entry::inactive(Life::default(), Moment::NEVER)));
    assert_eq!(zone.with(|arena| arena.find(&key(1, 1), &mut record)), Find::Hit);
    assert_eq!(record.facts(), Facts::default());
    let asked = Moment::of_wall_ms(5);
    zone.with(|arena| arena.store(&key(1, 1), &Entry::inactive(Life::default(), asked)));
    assert_eq!(zone.with(|arena| arena.find(&key(1, 1), &mut record)), Find::Hit);
    assert_eq!(record.facts(), Facts { asked, ..Facts::default() });
}

#[test]
fn what_hangs_on_a_mark_is_what_the_entry_would_be() {
    let zone = Zone::new(1 << 20);
    let (mut held, mut stored) = (Record::with_room(1024), Record::with_room(1024));
    let key = key(1, 1);
    for given in mixtures().step_by(7) {
        for slot in 1..=2 {
            let _ =
                zone.with(|arena| arena.join_or_lead(&key, &flight(1, slot), at(1, 0, &|_| true)));
        }
        let entry = Entry::active(given);
        assert_eq!(
            zone.with(|arena| arena.answer(&key, 1, Left::Active(entry))),
            AnsweredFor::Others
        );
        let poll =
            zone.with(|arena| arena.poll(&key, 1, &flight(1, 2), at(1, 0, &|_| true), &mut held));
        assert_eq!(poll, Poll::Taken(Taken::Active));
        zone.with(|arena| arena.store(&key, &entry));
        assert_eq!(zone.with(|arena| arena.find(&key, &mut stored)), Find::Hit);
        assert_eq!((held.facts(), held.kind()), (stored.facts(), stored.kind()));
        assert_eq!(held.facts(), given);
    }
}

/// The blocks that an entry takes.
fn blocks(facts: Facts<'_>) -> u64 {
    let zone = Zone::new(1 << 20);
    zone.with(|arena| arena.store(&key(1, 1), &Entry::active(facts)));
    zone.check();
    zone.arena.stats().used_bytes / layout::BLOCK_COST as u64
}

#[test]
fn an_entry_without_them_is_as_small_as_before() {
    let jwt = [b'j'; 5_000];
    // 112 bytes and the texts, in blocks of 128: as it was before there were such parts.
    for len in (0..600).chain([944, 945, 1_024, 1_048, 1_049, 4_096, 5_000]) {
        let nature = Nature {
            kind: TokenKind::Named,
            binding: Binding { dpop: Bound::Unsaid, certificate: Bound::Nobody, other: true },
        };
        let facts = Facts { jwt: &jwt[..len], nature, ..Facts::default() };
        assert_eq!(blocks(facts), (112 + len as u64).div_ceil(128), "{len}");
    }
}

#[test]
fn each_part_takes_its_own_bytes_and_no_more() {
    let jwt = [b'j'; 1_040];
    let full = facts(TokenKind::Named, Binding::default(), true, 0b1111);
    for (signed, subjects, jkt, x5t, bytes) in [
        (false, 0, false, false, 0),
        (true, 0, false, false, 8),
        (false, 0b0001, false, false, 8),
        (false, 0b1000, false, false, 8),
        (false, 0b1011, false, false, 24),
        (true, 0b1111, false, false, 40),
        (false, 0, true, false, 32),
        (false, 0, false, true, 32),
        (true, 0b1111, true, true, 104),
    ] {
        let to = |is| if is { Bound::To([1; 32]) } else { Bound::No };
        let binding = Binding { dpop: to(jkt), certificate: to(x5t), other: false };
        let facts = Facts {
            scope: b"",
            claims: b"",
            asked: Moment::NEVER,
            ..facts(full.nature.kind, binding, signed, subjects)
        };
        // As long as fits into nine blocks, and a byte more.
        let fits = Facts { jwt: &jwt[..1_040 - bytes], ..facts };
        assert_eq!(blocks(fits), 9, "{bytes}");
        let longer = [b'j'; 1_041];
        assert_eq!(blocks(Facts { jwt: &longer[..1_041 - bytes], ..facts }), 10, "{bytes}");
        let asked = Moment::of_wall_ms(1);
        assert_eq!(blocks(Facts { jwt: &jwt[..1_032 - bytes], asked, ..facts }), 9, "{bytes}");
        assert_eq!(blocks(Facts { jwt: &jwt[..1_033 - bytes], asked, ..facts }), 10, "{bytes}");
    }
}

#[test]
fn a_zone_of_another_layout_is_refused() {
    let mut memory = vec![0_u64; MIN_SIZE / 8];
    let base = NonNull::new(memory.as_mut_ptr().cast::<u8>()).unwrap();
    for version in [LAYOUT_VERSION - 1, LAYOUT_VERSION + 1, LAYOUT_VERSION] {
        // SAFETY: the memory is this test's own, as long as the arena, and nobody else uses it.
        let attached = unsafe {
            let arena = Arena::create(base, MIN_SIZE, [7; 16]).unwrap();
            arena.memory.store32(header::VERSION, version);
            Arena::attach(base, MIN_SIZE)
        };
        assert_eq!(attached.is_ok(), version == LAYOUT_VERSION, "{version}");
    }
}
