//! Operations as in an undisturbed zone, more of some than of others, for the interpreter of
//! `fuzzing.rs`: nothing dies and nothing is written over, so that all that the strict model says
//! holds to the end.

use proptest::prelude::*;

use super::fuzzing::arena;

fn id() -> impl Strategy<Value = [u8; 2]> {
    prop_oneof![
        2 => (0..24_u8, 0..2_u8),
        1 => (0..2_u8, 0..10_u8),
        1 => (0..24_u8, 0..10_u8),
    ]
    .prop_map(|(token, identity)| [token, identity])
}

/// One operation's bytes.
fn op() -> impl Strategy<Value = Vec<u8>> {
    let called = || (0..6_u8).prop_map(|token| [token, 0]);
    let len = || any::<[u8; 2]>();
    let slot = || prop_oneof![0..5_u8, Just(255)];
    let back = || 0..50_u8;
    let bytes = |parts: &[&[u8]]| parts.concat();
    prop_oneof![
        20 => (id(), len()).prop_map(move |(id, len)| bytes(&[&[0], &id, &len])),
        20 => id().prop_map(move |id| bytes(&[&[7], &id])),
        15 => id().prop_map(move |id| bytes(&[&[10], &id])),
        5 => id().prop_map(move |id| bytes(&[&[14], &id])),
        2 => id().prop_map(move |id| bytes(&[&[15], &id])),
        3 => id().prop_map(move |id| bytes(&[&[9], &id])),
        1 => (0..24_u8).prop_map(|token| vec![16, token]),
        10 => (id(), slot(), 0..16_u8)
            .prop_map(move |(id, slot, how)| bytes(&[&[12], &id, &[slot, how]])),
        // A call for an entry has failed, and the next one is to be made.
        5 => (id(), len(), slot(), prop::array::uniform3(0..16_u8)).prop_map(
            move |(id, len, slot, [how, by, then])| {
                bytes(&[&[0], &id, &len, &[6], &id, &[how, by], &[12], &id, &[slot, then]])
            },
        ),
        25 => (prop_oneof![3 => called(), 2 => id()], slot())
            .prop_map(move |(id, slot)| bytes(&[&[18], &id, &[slot]])),
        10 => (called(), back(), 0..4_u8, len())
            .prop_map(move |(id, back, how, len)| bytes(&[&[21], &id, &[back, how], &len])),
        15 => (called(), back(), slot())
            .prop_map(move |(id, back, slot)| bytes(&[&[23], &id, &[back, slot]])),
        2 => (called(), back(), slot())
            .prop_map(move |(id, back, slot)| bytes(&[&[26], &id, &[back, slot]])),
        1 => (called(), back()).prop_map(move |(id, back)| bytes(&[&[27], &id, &[back]])),
        3 => (0..16_u8).prop_map(|time| vec![28, time]),
        1 => slot().prop_map(|slot| vec![29, slot]),
    ]
}

/// An input of operations, in a zone of this size.
fn input(size: u8) -> impl Strategy<Value = Vec<u8>> {
    let op = prop_oneof![300 => op(), 1 => Just(vec![17])];
    prop::collection::vec(op, 1..300).prop_map(move |ops| [vec![size], ops.concat()].concat())
}

/// Enough to be quick; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(20),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tiny_zone_does_what_the_model_does(input in input(0)) {
        arena(&input);
    }

    #[test]
    fn a_zone_with_its_whole_reserve_does_too(input in input(3)) {
        arena(&input);
    }
}
