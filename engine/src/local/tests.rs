use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::answer::binding::{Binding, Bound};
use crate::answer::nature::{Nature, TokenKind};
use crate::lifetime::Expiry;
use crate::shared::state::State;
use crate::shared::state::testing::state;
use crate::token::key::{HashKey, TokenHash};

const JWT: &[u8] = b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJqIn0.c2ln";

const LIFE: Life =
    Life { stored: 1, until: Some(2), exp: Some(Expiry { exp: 3, end_ms: 4 }), may_stale: true };

fn facts(jwt: &[u8]) -> Facts<'_> {
    Facts {
        jwt,
        scope: b"read write",
        claims: b"{\"active\":true}",
        life: LIFE,
        ..Facts::default()
    }
}

fn key(token: &str) -> Key {
    let hash = HashKey([7; 16]);
    Key { token: hash.token(token.as_bytes()), identity: hash.identity([&b"identity"[..]]) }
}

fn entry(state: &State, key: &Key, jwt: &[u8]) -> Rc<Cached> {
    Cached::new(&facts(jwt), state.generation(&key.token), 5).unwrap()
}

/// Looks a token up; the length of its JWT.
fn get(local: &mut Local, state: &State, token: &str) -> Option<usize> {
    let key = key(token);
    local.get(&key, state.generation(&key.token)).map(|entry| entry.jwt().len())
}

#[test]
fn an_entry_holds_the_finished_header() {
    let state = state();
    let entry = entry(&state, &key("t"), JWT);
    let header = entry.header().unwrap();
    assert_eq!(header, [b"Bearer ", JWT].concat());
    assert_eq!(entry.bytes[header.len()], 0, "NGINX's strings end in a NUL");
    assert_eq!(entry.jwt(), JWT);
    assert_eq!(entry.scope(), b"read write");
    assert_eq!(entry.claims(), b"{\"active\":true}");
    assert_eq!(entry.life, LIFE);
    assert_eq!(entry.touched.get(), 5);
}

#[test]
fn what_is_stated_is_read_once_and_kept_where_it_is_short() {
    let state = state();
    let with = |audience: &str| {
        let claims = format!("{{\"aud\":\"{audience}\"}}");
        let facts = Facts { claims: claims.as_bytes(), ..facts(b"") };
        Cached::new(&facts, state.generation(&key("t").token), 5).unwrap()
    };
    let short = with("api");
    assert!(short.stated.get().is_none(), "nobody has asked");
    for _ in 0..2 {
        assert!(short.judge(|stated| stated.is_for("api") && !stated.is_for("other")));
        assert!(short.stated.get().is_some());
    }
    let audience = "a".repeat(MAX_STATED + 1);
    let long = with(&audience);
    for _ in 0..2 {
        assert!(long.judge(|stated| stated.is_for(&audience)));
        assert!(long.stated.get().is_none());
    }
}

#[test]
fn an_entry_gives_the_facts_that_it_was_made_of() {
    let nature = Nature {
        kind: TokenKind::Named,
        binding: Binding { dpop: Bound::To([1; 32]), certificate: Bound::Nobody, other: true },
    };
    let subjects = Subjects([None, NonZeroU64::new(2), None, NonZeroU64::new(4)]);
    for facts in [
        facts(JWT),
        facts(b""),
        Facts {
            nature,
            signer: Some(*b"signer 8"),
            subjects,
            asked: Moment::of_wall_ms(7),
            ..facts(JWT)
        },
    ] {
        let entry = Cached::new(&facts, state().generation(&key("t").token), 5).unwrap();
        assert_eq!(entry.facts(), facts);
    }
}

#[test]
fn a_minted_jwt_goes_on_and_is_not_the_servers() {
    let state = state();
    let facts = Facts { signer: Some([1; 8]), ..facts(JWT) };
    let key = key("t");
    let entry = Cached::new(&facts, state.generation(&key.token), 5).unwrap();
    assert_eq!(entry.header().unwrap(), [b"Bearer ", JWT].concat());
    assert_eq!(entry.jwt(), b"", "no claim of the gateway's own is taken for the server's");
    assert_eq!(entry.facts(), facts);
}

#[test]
fn an_entry_without_a_phantom_token_has_no_header() {
    let state = state();
    let entry = entry(&state, &key("t"), b"");
    assert_eq!(entry.header(), None);
    assert_eq!(entry.jwt(), b"");
    assert_eq!(entry.scope(), b"read write");
    assert_eq!(entry.claims(), b"{\"active\":true}");
}

fn sub(entry: &Cached) -> ClaimValue {
    entry.claim(Wanted::Named(b"sub"), Clone::clone)
}

#[test]
fn claims_are_the_servers() {
    let (state, of_jwt) = (state(), ClaimValue::Text(b"j".to_vec()));
    let server = entry(&state, &key("t"), JWT);
    assert_eq!(sub(&server), of_jwt);
    assert_eq!(sub(&server), of_jwt, "remembered");
    let minted = Facts { signer: Some([1; 8]), ..facts(JWT) };
    let minted = Cached::new(&minted, state.generation(&key("t").token), 5).expect("memory");
    assert_eq!(sub(&minted), ClaimValue::Absent);
}

#[test]
fn what_an_entry_remembers_counts_at_its_next_hit() {
    let state = state();
    let cost = entry(&state, &key("t"), JWT).cost();
    let mut local = Local::new(8, 8 * cost);
    for token in 0..8 {
        let key = key(&token.to_string());
        local.insert(key, &entry(&state, &key, JWT));
    }
    assert_eq!(local.bytes(), 8 * cost);
    let first = key("0");
    let current = state.generation(&first.token);
    let shared = Rc::clone(local.get(&first, current).expect("an entry"));
    sub(&shared);
    assert!(shared.cost() > cost);
    assert_eq!(local.bytes(), 8 * cost, "not yet");
    assert!(local.get(&first, current).is_some());
    assert_eq!(local.bytes(), 6 * cost + shared.cost(), "the last one had to go");
    assert_eq!(get(&mut local, &state, "1"), None);
    local.remove(&first);
    assert_eq!(local.bytes(), 6 * cost);
    local.clear();
    assert_eq!(local.bytes(), 0);
}

#[test]
fn nothing_of_an_entry_is_printed() {
    let text = format!("{:?}", entry(&state(), &key("t"), JWT));
    assert!(!text.contains("eyJ") && !text.contains("read") && !text.contains("active"), "{text}");
}

#[test]
fn an_entry_in_use_outlives_the_cache() {
    let state = state();
    let mut local = Local::new(10, 1 << 20);
    let key = key("t");
    local.insert(key, &entry(&state, &key, JWT));
    let share = Rc::into_raw(Rc::clone(local.get(&key, state.generation(&key.token)).unwrap()));
    drop(local);
    // SAFETY: `share` came from `into_raw` and is given back once.
    let share = unsafe { Rc::from_raw(share) };
    assert_eq!(share.jwt(), JWT);
    assert_eq!(Rc::strong_count(&share), 1);
}

#[test]
fn a_purged_entry_is_not_given() {
    let state = state();
    let mut local = Local::new(10, 1 << 20);
    for token in ["a", "b"] {
        local.insert(key(token), &entry(&state, &key(token), JWT));
    }
    state.purge_token(&key("a").token);
    assert_eq!(get(&mut local, &state, "a"), None);
    assert_eq!(get(&mut local, &state, "b"), Some(JWT.len()));
    assert_eq!(local.len(), 1, "and no longer kept");
    state.purge_all();
    assert_eq!(get(&mut local, &state, "b"), None);
    assert_eq!((local.len(), local.bytes()), (0, 0));
}

#[test]
fn the_least_recently_used_goes_first() {
    let state = state();
    let mut local = Local::new(3, 1 << 20);
    for token in ["a", "b", "c"] {
        local.insert(key(token), &entry(&state, &key(token), JWT));
    }
    assert!(get(&mut local, &state, "a").is_some());
    local.insert(key("d"), &entry(&state, &key("d"), JWT));
    let kept = ["a", "b", "c", "d"].map(|token| get(&mut local, &state, token).is_some());
    assert_eq!(kept, [true, false, true, true]);
}

#[test]
fn bytes_are_bounded_and_great_entries_not_kept() {
    let state = state();
    let bytes = 64 * 1024;
    let mut local = Local::new(1000, bytes);
    for number in 0..100 {
        let token = number.to_string();
        local.insert(key(&token), &entry(&state, &key(&token), &[b'x'; 4000]));
        assert!(local.bytes() <= bytes);
    }
    assert!((14..=16).contains(&local.len()), "{}", local.len());
    let great = vec![b'x'; bytes / 8];
    local.insert(key("99"), &entry(&state, &key("99"), &great));
    assert_eq!(get(&mut local, &state, "99"), None, "nor is the former one, which is outdated");
}

#[test]
fn switched_off_it_keeps_nothing() {
    let state = state();
    let mut local = Local::new(0, 1 << 20);
    local.insert(key("t"), &entry(&state, &key("t"), JWT));
    assert_eq!(get(&mut local, &state, "t"), None);
    assert!(local.is_empty());
}

#[test]
fn keys_that_differ_in_one_half_are_different() {
    let mut hasher = KeyHasher::default();
    let mut hash_of = |key: &Key| {
        use std::hash::Hash;
        hasher = KeyHasher::default();
        key.hash(&mut hasher);
        hasher.finish()
    };
    let one = key("t");
    let swapped = Key {
        token: TokenHash(one.identity.0),
        identity: crate::token::key::IdentityHash(one.token.0),
    };
    let hashes = [hash_of(&one), hash_of(&key("u")), hash_of(&swapped)];
    assert!(hashes[0] != hashes[1] && hashes[0] != hashes[2] && hashes[1] != hashes[2]);
    assert_ne!(hashes[0], 0);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, usize),
    Get(u8),
    Remove(u8),
    Purge(u8),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..20_u8, 1..3000_usize).prop_map(|(token, len)| Step::Insert(token, len)),
        8 => (0..20_u8).prop_map(Step::Get),
        2 => (0..20_u8).prop_map(Step::Remove),
        2 => (0..20_u8).prop_map(Step::Purge),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a list, most recently used last.
    #[test]
    fn it_behaves_as_a_list_would(steps in prop::collection::vec(step(), 1..200)) {
        let state = state();
        let (max_entries, max_bytes) = (8, 16 * 1024);
        let mut local = Local::new(max_entries, max_bytes);
        let mut list: Vec<(u8, usize)> = Vec::new();
        let cost = |len: usize| entry(&state, &key("t"), &vec![b'x'; len]).cost();
        for step in steps {
            match step {
                Step::Insert(token, len) => {
                    let key = key(&token.to_string());
                    local.insert(key, &entry(&state, &key, &vec![b'x'; len]));
                    list.retain(|(known, _)| *known != token);
                    if cost(len) <= max_bytes / 8 {
                        list.push((token, len));
                        while list.len() > max_entries
                            || list.iter().map(|(_, len)| cost(*len)).sum::<usize>() > max_bytes
                        {
                            list.remove(0);
                        }
                    }
                }
                Step::Get(token) => {
                    let found = get(&mut local, &state, &token.to_string());
                    let place = list.iter().position(|(known, _)| *known == token);
                    let expected = place.map(|place| list.remove(place));
                    prop_assert_eq!(found, expected.map(|(_, len)| len));
                    list.extend(expected);
                }
                Step::Remove(token) => {
                    local.remove(&key(&token.to_string()));
                    list.retain(|(known, _)| *known != token);
                }
                Step::Purge(token) => {
                    state.purge_token(&key(&token.to_string()).token);
                    prop_assert_eq!(get(&mut local, &state, &token.to_string()), None);
                    list.retain(|(known, _)| *known != token);
                }
                Step::Clear => {
                    local.clear();
                    list.clear();
                }
            }
            prop_assert_eq!(local.len(), list.len());
            let bytes: usize = list.iter().map(|(_, len)| cost(*len)).sum();
            prop_assert_eq!(local.bytes(), bytes);
        }
    }
}
