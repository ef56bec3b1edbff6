use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;

use super::testing::{block, purges, purges_in_turn};
use super::*;
use crate::answer::facts::Facts;
use crate::local::Cached;
use crate::shared::state::Generation;
use crate::shared::state::testing::{interrupted, killed, state};
use crate::token::key::HashKey;

const WALL: u64 = 1_700_000_000_000;
const NOBODY: Subjects = Subjects([None; 4]);

/// A token of this stripe, told from its neighbours by `meant`.
fn token(stripe: u16, meant: u8) -> TokenHash {
    let mut hash = [0; 16];
    hash[8..10].copy_from_slice(&stripe.to_le_bytes());
    hash[10] = meant;
    TokenHash(hash)
}

/// As [`token`], of a subject.
fn hash(stripe: u16, meant: u8) -> NonZeroU64 {
    NonZeroU64::new(1 << 63 | u64::from(meant) << 16 | u64::from(stripe)).unwrap()
}

/// Who names this one.
fn naming(subject: Subject, hash: NonZeroU64) -> Subjects {
    let mut subjects = NOBODY;
    subjects.0[subject as usize] = Some(hash);
    subjects
}

fn cached(purges: Purges, subjects: Subjects) -> Rc<Cached> {
    kept(&Facts { subjects, asked: purges.now(), ..Facts::default() })
}

fn kept(facts: &Facts<'_>) -> Rc<Cached> {
    thread_local!(static GENERATION: Generation = state().generation(&token(0, 0)));
    Cached::new(facts, GENERATION.with(|generation| *generation), 0).unwrap()
}

#[test]
fn a_zone_is_found_again_and_nothing_else_is_taken_for_one() {
    let base = block();
    // SAFETY: the block is `SIZE` bytes, never freed, and used by this test alone.
    unsafe {
        assert_eq!(Purges::attach(base, SIZE).err(), Some(LayoutMismatch::OtherMemory));
        let made = Purges::create(base, SIZE, WALL).unwrap();
        let asked = made.now();
        made.purge(Purged::Subject(Subject::Sub, hash(1, 1)), WALL);
        let found = Purges::attach(base, SIZE).unwrap();
        assert_eq!(found.now(), made.now());
        let naming = naming(Subject::Sub, hash(1, 1));
        assert_eq!(found.standing(&token(0, 0), &naming, asked), Standing::Purged);

        assert_eq!(Purges::attach(base, SIZE - 1).err(), Some(LayoutMismatch::TooSmall));
        assert_eq!(Purges::create(base, SIZE - 1, 0).err(), Some(LayoutMismatch::TooSmall));
        assert_eq!(fitting::<Layout>(base.add(8), SIZE).err(), Some(LayoutMismatch::Misaligned));
        made.0.version.set(VERSION + 1);
        assert_eq!(Purges::attach(base, SIZE).err(), Some(LayoutMismatch::Version));
        made.0.version.set(VERSION);
        made.0.size.set(SIZE as u64 - 128);
        assert_eq!(Purges::attach(base, SIZE).err(), Some(LayoutMismatch::Version));
    }
    const { assert!(SIZE < 3 * 1024 * 1024 && 4096 % ALIGN == 0) };
}

#[test]
fn each_kind_has_stripes_of_its_own() {
    for (nth, subject) in Subject::ALL.into_iter().enumerate() {
        let purges = purges_in_turn(WALL);
        let asked = purges.now();
        purges.purge_subject(subject, hash(7, 3));
        for (other, of_other) in Subject::ALL.into_iter().enumerate() {
            let standing = purges.standing(&token(7, 3), &naming(of_other, hash(7, 3)), asked);
            let expected = if nth == other { Standing::Purged } else { Standing::Good };
            assert_eq!(standing, expected, "{subject:?} {of_other:?}");
        }
        assert_eq!(purges.purged(&token(7, 3)), Moment::NEVER, "no token itself");
    }
    let purges = purges_in_turn(WALL);
    let asked = purges.now();
    purges.purge_token(&token(7, 3));
    assert_eq!(purges.standing(&token(7, 3), &NOBODY, asked), Standing::Purged);
    assert_eq!(purges.standing(&token(7, 4), &NOBODY, asked), Standing::Neighbour);
    assert_eq!(purges.standing(&token(8, 3), &NOBODY, asked), Standing::Good);
    assert_eq!(purges.purged(&token(7, 3)), purges.now());
    purges.purge_all();
    assert_eq!(purges.standing(&token(8, 3), &NOBODY, asked), Standing::Purged);
    assert_eq!(purges.purged(&token(8, 3)), purges.now());
    assert_eq!(purges.standing(&token(7, 3), &NOBODY, purges.now()), Standing::Good);
}

#[test]
fn one_of_the_own_outweighs_a_neighbour() {
    let purges = purges_in_turn(WALL);
    let asked = purges.now();
    let mut subjects = naming(Subject::Sub, hash(1, 1));
    subjects.0[Subject::Jti as usize] = Some(hash(2, 2));
    purges.purge_subject(Subject::Sub, hash(1, 9));
    assert_eq!(purges.standing(&token(0, 0), &subjects, asked), Standing::Neighbour);
    purges.purge_subject(Subject::Jti, hash(2, 2));
    assert_eq!(purges.standing(&token(0, 0), &subjects, asked), Standing::Purged);
}

#[test]
fn the_clock_only_rises_and_follows_the_wall() {
    let purges = purges_in_turn(WALL);
    assert_eq!(purges.now(), Moment::of_wall_ms(WALL));
    let mut last = purges.now();
    for wall in [WALL, WALL, WALL + 5, WALL - 100_000, 0, WALL + 5, WALL + 6] {
        purges.purge(Purged::All, wall);
        assert!(purges.now() > last && purges.now() >= Moment::of_wall_ms(wall));
        last = purges.now();
    }
    assert_eq!(last, Moment::of_wall_ms(WALL + 6));
    // No clock takes it to where nothing comes after.
    for _ in 0..3 {
        purges.purge(Purged::All, u64::MAX);
        assert!(purges.now() > last);
        last = purges.now();
    }
    assert_eq!(Moment::from_bits(last.to_bits()), last);
}

#[test]
fn what_another_zone_has_seen_is_not_known() {
    let first = purges(WALL);
    first.purge(Purged::All, WALL + 50);
    let asked = first.now();
    // Made anew later, with the clock set back, and with what no zone has seen.
    for (made, asked) in
        [(WALL + 60, asked), (WALL, asked), (WALL, Moment::NEVER), (0, Moment::NEVER)]
    {
        let zone = purges(made);
        assert_eq!(zone.standing(&token(1, 1), &NOBODY, asked), Standing::Unknown);
        let cached = kept(&Facts { asked, ..Facts::default() });
        assert_eq!(cached.standing(Some(zone), &token(1, 1)), Standing::Unknown);
    }
    let (never, seen) = (Facts::default(), Facts { asked, ..Facts::default() });
    assert_eq!(never.standing(None, &token(1, 1)), Standing::Good);
    assert_eq!(seen.standing(None, &token(1, 1)), Standing::Unknown);
}

#[test]
fn what_was_asked_elsewhere_is_judged_by_the_wall_clock() {
    let purges = purges_in_turn(WALL);
    let subjects = naming(Subject::Sid, hash(4, 4));
    let since = |wall| purges.standing_since(&token(1, 1), &subjects, wall, Moment::NEVER);
    assert_eq!(since(0), Standing::Good, "also from before the zone");
    purges.purge(Purged::Subject(Subject::Sid, hash(4, 4)), WALL + 1_000);
    assert_eq!((since(WALL + 999), since(WALL + 1_001)), (Standing::Purged, Standing::Good));
}

#[test]
fn what_was_compared_is_compared_anew_after_any_purge() {
    let purges = purges_in_turn(WALL);
    let entry = cached(purges, naming(Subject::Sub, hash(1, 1)));
    let standing = || entry.standing(Some(purges), &token(0, 0));
    assert_eq!(standing(), Standing::Good);
    for _ in 0..3 {
        purges.purge_subject(Subject::Sub, hash(2, 1));
        assert_eq!((standing(), standing()), (Standing::Good, Standing::Good));
    }
    purges.purge_subject(Subject::Sub, hash(1, 1));
    assert_eq!((standing(), standing()), (Standing::Purged, Standing::Purged));
    purges.purge_subject(Subject::Sub, hash(2, 1));
    assert_eq!(standing(), Standing::Purged);
}

/// A zone, and what was asked for before anything was purged.
#[derive(Clone, Copy)]
struct Given(Purges, &'static Cached);

fn given() -> Given {
    let purges = purges_in_turn(WALL);
    // Leaked: what runs in between takes copies alone.
    let entry = Rc::into_raw(cached(purges, naming(Subject::Sub, hash(1, 1))));
    // SAFETY: the count is never taken back.
    Given(purges, unsafe { &*entry })
}

#[test]
fn whatever_comes_between_the_steps_of_a_purge_does_not_hide_it() {
    let others: [fn(Given); 4] = [
        |given| given.0.purge(Purged::Subject(Subject::Sub, hash(2, 2)), WALL),
        // By a clock that is ahead.
        |given| given.0.purge(Purged::Token(token(9, 9)), WALL + 1_000_000),
        |given| given.0.purge(Purged::Subject(Subject::Sub, hash(1, 2)), WALL),
        |_| {},
    ];
    for other in others {
        interrupted(
            given,
            |Given(purges, _)| purges.purge(Purged::Subject(Subject::Sub, hash(1, 1)), WALL),
            move |given| {
                other(given);
                // Compared: good, or not any more.
                let early = given.1.standing(Some(given.0), &token(0, 0));
                (given.0.now(), early)
            },
            |Given(purges, entry), (), (asked, _)| {
                let standing = entry.standing(Some(purges), &token(0, 0));
                assert!(!matches!(standing, Standing::Good | Standing::Unknown));
                // One that began in between is of either side, and one that begins now is good.
                let subjects = naming(Subject::Sub, hash(1, 1));
                let of = |asked| purges.standing(&token(0, 0), &subjects, asked);
                assert_ne!(of(asked), Standing::Unknown);
                assert_eq!(of(purges.now()), Standing::Good);
            },
        );
    }
}

#[test]
fn a_purge_that_was_killed_keeps_nobody_from_an_answer() {
    killed(
        given,
        |Given(purges, _)| purges.purge(Purged::Subject(Subject::Sub, hash(1, 1)), WALL),
        |Given(purges, entry)| {
            let subjects = naming(Subject::Sub, hash(1, 1));
            let ask = || purges.standing(&token(0, 0), &subjects, purges.now());
            let first = ask();
            assert!(first == Standing::Good || ask() == Standing::Good, "one call in vain");
            // Done again by another one, it counts.
            purges.purge(Purged::Subject(Subject::Sub, hash(1, 1)), WALL);
            assert_eq!(entry.standing(Some(purges), &token(0, 0)), Standing::Purged);
        },
    );
}

#[test]
fn threads_that_purge_and_compare_at_once() {
    let purges = purges(wall_ms());
    let over = AtomicBool::new(false);
    /// One subject's purges, as they begin and as they are done.
    #[derive(Default)]
    struct Told {
        begun: AtomicU64,
        done: AtomicU64,
    }
    let told: [Told; 3] = Default::default();
    let subject = |nth: usize| hash(nth as u16, 1);
    let count = |word: &AtomicU64| word.load(Ordering::SeqCst);
    thread::scope(|scope| {
        for (nth, told) in told.iter().enumerate() {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    told.begun.fetch_add(1, Ordering::SeqCst);
                    purges.purge_subject(Subject::Sub, subject(nth));
                    told.done.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                }
            });
        }
        let comparers: Vec<_> = (0..3)
            .map(|from| {
                let told = &told;
                scope.spawn(move || {
                    let (mut voided, mut good) = (0, 0);
                    for round in 0.. {
                        let nth = (from + round) % told.len();
                        let done_before = count(&told[nth].done);
                        let entry = cached(purges, naming(Subject::Sub, subject(nth)));
                        let begun = count(&told[nth].begun);
                        for _ in 0..20 {
                            let done = count(&told[nth].done);
                            let standing = entry.standing(Some(purges), &token(0, 0));
                            if done > begun {
                                // One began after the call, and is done.
                                assert_eq!(standing, Standing::Purged);
                                voided += 1;
                                break;
                            }
                            if count(&told[nth].begun) == done_before {
                                assert_eq!(standing, Standing::Good);
                                good += 1;
                            }
                            thread::yield_now();
                        }
                        if voided > 2_000 && good > 20 {
                            break;
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = comparers.into_iter().map(|comparer| comparer.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.into_iter().all(|ended| ended.is_ok()));
    });
}

/// Ten users log out in each second, of whom no answer is kept; all others are seen in each second, and
/// asked about every five minutes.
#[test]
fn as_many_neighbours_lose_an_answer_as_stripes_and_purges_say() {
    const USERS: u32 = 4_000;
    const SECONDS: u64 = 1_200;
    const LOGOUTS: u64 = 10;
    const VALID: u64 = 300;
    let (purges, key) = (purges(WALL), HashKey([7; 16]));
    let sub = |name: String| Subject::Sub.hash(&key, name.as_bytes());
    let mut users: Vec<_> = (0..USERS)
        .map(|nth| {
            let subjects = naming(Subject::Sub, sub(format!("user-{nth}")));
            (key.token(&nth.to_le_bytes()), subjects, purges.now())
        })
        .collect();
    let (mut lost, mut told_apart, mut asked_anyway) = (0_u64, 0_u64, 0_u64);
    for second in 0..SECONDS {
        for nth in 0..LOGOUTS {
            let gone = sub(format!("gone-{second}-{nth}"));
            purges.purge(Purged::Subject(Subject::Sub, gone), WALL + 1_000 * second + nth);
        }
        for (nth, (token, subjects, asked)) in users.iter_mut().enumerate() {
            let standing = purges.standing(token, subjects, *asked);
            lost += u64::from(standing != Standing::Good);
            told_apart += u64::from(standing == Standing::Neighbour);
            let runs_out = (second + nth as u64).is_multiple_of(VALID);
            asked_anyway += u64::from(runs_out);
            if standing != Standing::Good || runs_out {
                *asked = purges.now();
            }
        }
    }
    let calculated = u64::from(USERS) * SECONDS * LOGOUTS / STRIPES as u64;
    eprintln!(
        "lost {lost} ({told_apart} told apart), calculated {calculated}, run out {asked_anyway}"
    );
    assert!(lost.abs_diff(calculated) < calculated / 8, "{lost}, not about {calculated}");
    assert!(told_apart > lost * 7 / 8, "{told_apart} of {lost}");
}

/// What happens, one after the other.
#[derive(Clone, Debug)]
enum Event {
    /// Somebody asks about a token that names these.
    Ask {
        token: (u16, u8),
        sub: (u16, u8),
        sid: Option<(u16, u8)>,
    },
    Purge(What),
    /// The wall clock is set.
    Clock(i64),
    /// All answers are compared.
    Compare,
}

#[derive(Clone, Copy, Debug)]
enum What {
    All,
    Token(u16, u8),
    Sub(u16, u8),
    Sid(u16, u8),
}

/// Few stripes, so that neighbours meet.
fn named() -> impl Strategy<Value = (u16, u8)> {
    (0..3u16, 0..3u8)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (named(), named(), prop::option::of(named()))
            .prop_map(|(token, sub, sid)| Event::Ask { token, sub, sid }),
        4 => prop_oneof![
            1 => Just(What::All),
            4 => named().prop_map(|(stripe, meant)| What::Token(stripe, meant)),
            4 => named().prop_map(|(stripe, meant)| What::Sub(stripe, meant)),
            4 => named().prop_map(|(stripe, meant)| What::Sid(stripe, meant)),
        ].prop_map(Event::Purge),
        1 => (-5_000..5_000i64).prop_map(Event::Clock),
        4 => Just(Event::Compare),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No purged answer is ever good, one that shares no stripe always is, and a neighbour costs a call.
    #[test]
    fn a_model_knows_which_answers_are_good(events in prop::collection::vec(event(), 1..80)) {
        let purges = purges_in_turn(WALL);
        let mut wall = WALL;
        // Each answer, and whether it, or one of its stripes, was purged since.
        let mut answers = Vec::new();
        for event in events {
            match event {
                Event::Ask { token: (stripe, meant), sub, sid } => {
                    let mut subjects = naming(Subject::Sub, hash(sub.0, sub.1));
                    subjects.0[Subject::Sid as usize] = sid.map(|sid| hash(sid.0, sid.1));
                    let entry = cached(purges, subjects);
                    answers.push((entry, (stripe, meant), sub, sid, false, false));
                }
                Event::Purge(what) => {
                    purges.purge(match what {
                        What::All => Purged::All,
                        What::Token(stripe, meant) => Purged::Token(token(stripe, meant)),
                        What::Sub(stripe, meant) => {
                            Purged::Subject(Subject::Sub, hash(stripe, meant))
                        }
                        What::Sid(stripe, meant) => {
                            Purged::Subject(Subject::Sid, hash(stripe, meant))
                        }
                    }, wall);
                    for (_, token, sub, sid, purged, touched) in &mut answers {
                        let (named, all) = match what {
                            What::All => (None, true),
                            What::Token(stripe, meant) => (Some((*token, (stripe, meant))), false),
                            What::Sub(stripe, meant) => (Some((*sub, (stripe, meant))), false),
                            What::Sid(stripe, meant) => (sid.map(|sid| (sid, (stripe, meant))), false),
                        };
                        *purged |= all || named.is_some_and(|(own, other)| own == other);
                        *touched |= all || named.is_some_and(|(own, other)| own.0 == other.0);
                    }
                }
                Event::Clock(by) => wall = wall.saturating_add_signed(by),
                Event::Compare => {}
            }
            if !matches!(event, Event::Compare) {
                continue;
            }
            for (entry, id, _, _, purged, touched) in &answers {
                let standing = entry.standing(Some(purges), &token(id.0, id.1));
                prop_assert_eq!(standing == Standing::Good, !*touched);
                prop_assert!(!*purged || standing != Standing::Good);
                prop_assert_ne!(standing, Standing::Unknown);
                let facts = entry.facts().standing(Some(purges), &token(id.0, id.1));
                prop_assert_eq!(facts, standing);
            }
        }
    }
}
