use proptest::prelude::*;

use super::*;

fn bounds() -> impl Strategy<Value = Bound> {
    prop_oneof![
        Just(Bound::No),
        Just(Bound::Unsaid),
        Just(Bound::Nobody),
        any::<[u8; 32]>().prop_map(Bound::To)
    ]
}

fn grants() -> impl Strategy<Value = Grant> {
    let texts = [(); 3].map(|()| prop::collection::vec(any::<u8>(), 0..600));
    let kinds =
        prop_oneof![Just(TokenKind::Unnamed), Just(TokenKind::Named), Just(TokenKind::Other)];
    let bindings = (bounds(), bounds(), any::<bool>());
    let hashes = prop::array::uniform4(any::<Option<u64>>());
    let rest = (any::<Option<u64>>(), any::<bool>(), any::<Option<[u8; 8]>>(), hashes);
    (texts, kinds, bindings, rest).prop_map(|(texts, kind, (dpop, certificate, other), rest)| {
        let [jwt, scope, claims] = texts;
        let (exp, is_endless, signer, hashes) = rest;
        let subjects = Subjects(hashes.map(|hash| hash.and_then(NonZeroU64::new)));
        let nature = Nature { kind, binding: Binding { dpop, certificate, other } };
        Grant { jwt, scope, claims, exp, is_endless, nature, signer, subjects }
    })
}

fn answers() -> impl Strategy<Value = Stored> {
    (grants(), any::<u64>(), any::<Option<u64>>(), any::<bool>()).prop_map(
        |(grant, asked_ms, until_ms, may_stale)| Stored { grant, asked_ms, until_ms, may_stale },
    )
}

proptest! {
    #[test]
    fn an_answer_reads_as_it_was(stored in answers()) {
        prop_assert_eq!(read(&written(&stored)), Some(Content::Active(stored)));
    }

    #[test]
    fn an_answer_is_written_in_one_way_only(stored in answers(), at: usize, byte: u8) {
        let mut bytes = written(&stored);
        let at = at % bytes.len().min(120);
        bytes[at] = byte;
        if let Some(Content::Active(stored)) = read(&bytes) {
            prop_assert_eq!(written(&stored), bytes);
        }
    }

    #[test]
    fn what_is_cut_or_followed_by_something_is_no_answer(stored in answers(), cut: usize) {
        let mut bytes = written(&stored);
        prop_assert!(read(&bytes[..cut % bytes.len()]).is_none());
        bytes.push(0);
        prop_assert!(read(&bytes).is_none());
    }

    #[test]
    fn words_and_markers_read_as_they_were(asked_ms: u64, marker: (u64, u64), bytes: Vec<u8>) {
        prop_assert_eq!(read(&inactive(asked_ms)), Some(Content::Inactive { asked_ms }));
        prop_assert_eq!(read(NO_ANSWER), Some(Content::Nothing));
        let (begun_ms, deadline_ms) = marker;
        let marker = Marker { begun_ms, deadline_ms };
        prop_assert_eq!(Marker::read(&marker.bytes()), Some(marker));
        prop_assert_eq!(Marker::read(&bytes).is_some(), bytes.len() == 16);
    }
}

#[test]
fn an_answer_ends_with_whatever_is_first() {
    for (exp, until_ms, end) in [
        (None, None, 301_000),
        (Some(200), None, 200_000),
        (Some(400), Some(150_000), 150_000),
        (Some(u64::MAX), Some(u64::MAX), 301_000),
    ] {
        let mut grant = Grant::default();
        grant.exp = exp;
        let stored = Stored { grant, asked_ms: 1_000, until_ms, may_stale: false };
        assert_eq!(stored.end_ms(300_000), end);
    }
}

#[test]
fn nothing_that_is_shown_has_a_text_of_it() {
    let mut grant = Grant::default();
    (grant.jwt, grant.claims) = (b"hunter2".to_vec(), b"hunter3".to_vec());
    let stored = Stored { grant, asked_ms: 1, until_ms: None, may_stale: false };
    let shown = format!("{stored:?} {:?}", Content::Active(stored.clone()));
    assert!(!shown.contains("hunter"), "{shown}");
}
