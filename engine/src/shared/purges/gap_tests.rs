//! What a gap does to answers from before it, and whatever comes between its steps.

use std::num::NonZeroU64;
use std::rc::Rc;

use super::testing::{purges, purges_in_turn};
use super::*;
use crate::answer::facts::Facts;
use crate::local::Cached;
use crate::shared::state::testing::{interrupted, killed, state};

const WALL: u64 = 1_700_000_000_000;
const TOKEN: TokenHash = TokenHash([7; 16]);
const NOBODY: Subjects = Subjects([None; 4]);

fn of(purges: Purges, asked: Moment) -> Standing {
    purges.standing(&TOKEN, &NOBODY, asked)
}

fn doubted(since_ms: u64) -> Standing {
    Standing::Doubted { since_ms }
}

fn cached(purges: Purges) -> Rc<Cached> {
    let facts = Facts { asked: purges.now(), ..Facts::default() };
    Cached::new(&facts, state().generation(&TOKEN), 0).unwrap()
}

#[test]
fn what_was_asked_before_serves_for_ten_seconds_and_what_is_asked_after_is_good() {
    let purges = purges(WALL);
    let entry = cached(purges);
    let before = purges.now();
    let standing = || entry.standing(Some(purges), &TOKEN);
    assert_eq!(standing(), Standing::Good);
    purges.gap(WALL, 5_000);
    for _ in 0..2 {
        assert_eq!(standing(), doubted(5_000));
    }
    assert!(standing().serves(5_000) && standing().serves(14_999));
    assert!(!standing().serves(15_000));
    assert!(before < purges.now());
    assert_eq!(of(purges, purges.now()), Standing::Good);
    // A purge outweighs it, and counts at once.
    purges.purge_token(&TOKEN);
    assert_eq!(standing(), Standing::Purged);
    assert!(!standing().serves(5_000));
    // What is given to another machine's answers is judged by the wall clock.
    let since = |asked_ms, known| purges.standing_since(&TOKEN, &NOBODY, asked_ms, known);
    assert_eq!(since(WALL - 1, Moment::NEVER), Standing::Purged);
}

#[test]
fn what_is_known_since_is_not_in_doubt() {
    let purges = purges(WALL);
    let before = purges.now();
    purges.gap(WALL, 1_000);
    let after = purges.now();
    let since = |known| purges.standing_since(&TOKEN, &NOBODY, WALL - 1, known);
    assert_eq!(since(before), doubted(1_000));
    assert_eq!(since(after), Standing::Good);
    // One that comes between is not accounted for.
    purges.gap(WALL, 2_000);
    assert_eq!(since(after), doubted(2_000));
}

#[test]
fn one_that_follows_puts_off_nothing() {
    let purges = purges(WALL);
    let asked: Vec<_> = [1_000, 4_000, 9_000, 12_000]
        .map(|now_ms| {
            let asked = purges.now();
            purges.gap(WALL, now_ms);
            (asked, now_ms)
        })
        .to_vec();
    for (asked, now_ms) in &asked {
        assert_eq!(of(purges, *asked), doubted(*now_ms));
    }
    // A fifth has no place but the first one's: whose answers have had their time, or not.
    let latest = purges.now();
    purges.gap(WALL, 12_500);
    assert_eq!(of(purges, asked[0].0), Standing::Purged);
    assert_eq!(of(purges, asked[1].0), doubted(4_000));
    assert_eq!(of(purges, latest), doubted(12_500));
    assert_eq!(of(purges, purges.now()), Standing::Good);
}

#[test]
fn whatever_comes_between_its_steps_no_answer_from_before_is_good() {
    // With a place of its own, and in place of another.
    for gaps in [0, 4] {
        let given = move || {
            let purges = purges_in_turn(WALL);
            (0..gaps).for_each(|nth| purges.gap(WALL, 1_000 + nth));
            // Leaked: what runs in between takes copies alone.
            let entry = Rc::into_raw(cached(purges));
            // SAFETY: the count is never taken back.
            (purges, unsafe { &*entry })
        };
        let others: [fn((Purges, &'static Cached)); 3] = [
            |(purges, _)| purges.purge(Purged::Token(TokenHash([8; 16])), WALL + 1_000),
            |(purges, _)| purges.purge(Purged::All, WALL),
            |_| {},
        ];
        for other in others {
            interrupted(
                given,
                |(purges, _)| purges.gap(WALL, 9_000),
                move |given: (Purges, &'static Cached)| {
                    other(given);
                    let _ = given.1.standing(Some(given.0), &TOKEN);
                    given.0.now()
                },
                |(purges, entry), (), asked| {
                    let standing = entry.standing(Some(purges), &TOKEN);
                    assert!(matches!(standing, Standing::Doubted { .. } | Standing::Purged));
                    assert_ne!(of(purges, asked), Standing::Unknown);
                    assert_eq!(of(purges, purges.now()), Standing::Good);
                },
            );
        }
        killed(
            given,
            |(purges, _)| purges.gap(WALL, 9_000),
            |(purges, entry)| {
                let ask = || of(purges, purges.now());
                assert!(ask() == Standing::Good || ask() == Standing::Good, "one call in vain");
                // Whoever takes over finds it again.
                purges.gap(WALL, 9_100);
                let standing = entry.standing(Some(purges), &TOKEN);
                assert!(matches!(standing, Standing::Doubted { .. } | Standing::Purged));
            },
        );
    }
}

#[test]
fn an_answer_that_names_a_subject_is_doubted_too() {
    let purges = purges(WALL);
    let subjects = Subjects([NonZeroU64::new(5); 4]);
    let asked = purges.now();
    purges.gap(WALL, 1);
    assert_eq!(purges.standing(&TOKEN, &subjects, asked), doubted(1));
}
