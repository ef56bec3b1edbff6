//! Who asks anew for an entry that serves, and when.

use super::tests::{Zone, flight, key};
use super::*;
use crate::answer::facts::Facts;
use crate::lifetime::Life;
use crate::shared::process::Here;
use crate::shared::purges::Moment;
use crate::shared::state::testing::at;

const EVERYBODY: fn(u32) -> bool = |_| true;

/// Stores an active entry, at this time.
fn store(zone: &Zone, stored: u64) {
    let life = Life { stored, ..Life::default() };
    let entry = Entry::active(Facts { life, jwt: b"jwt", ..Facts::default() });
    let kept = zone.with(|arena| arena.store(&key(1, 1), &entry));
    assert_eq!(kept, Stored::Yes { evicted: 0 });
}

fn renew(zone: &Zone, stored: u64, mine: Option<&Call>, here: Here<'_>) -> Renewal {
    zone.with(|arena| arena.renew(&key(1, 1), stored, mine, here))
}

#[test]
fn one_leads_and_the_others_see_its_call() {
    let zone = Zone::new(1 << 20);
    store(&zone, 10);
    let now = at(1, 100, &EVERYBODY);
    assert_eq!(renew(&zone, 10, None, now), Renewal::Free, "who must not lead leaves nothing");
    assert_eq!(zone.arena.stats().marks, 0);
    assert_eq!(renew(&zone, 10, Some(&flight(1, 0)), now), Renewal::Lead);
    for mine in [None, Some(&flight(2, 0)), Some(&flight(3, 1))] {
        assert_eq!(renew(&zone, 10, mine, now), Renewal::Out);
    }
    // Nobody follows it by that; who comes once the entry has ended does.
    assert_eq!(zone.with(|arena| arena.followers(&key(1, 1), 1)), Some(0));
    let joined = zone.with(|arena| arena.join_or_lead(&key(1, 1), &flight(4, 2), now));
    assert!(matches!(joined, Joined::Follow { flight: 1, .. }), "{joined:?}");
    // Another identity is another entry.
    let other = zone.with(|arena| arena.renew(&key(1, 2), 10, Some(&flight(5, 0)), now));
    assert_eq!(other, Renewal::Lead);
    zone.check();
}

#[test]
fn a_call_whose_worker_is_gone_or_late_or_that_was_overtaken_goes_to_one() {
    let zone = Zone::new(1 << 20);
    store(&zone, 10);
    let lead = flight(1, 0);
    assert_eq!(renew(&zone, 10, Some(&lead), at(1, 100, &EVERYBODY)), Renewal::Lead);
    let gone: fn(u32) -> bool = |pid| pid != 100;
    assert_eq!(renew(&zone, 10, None, at(1, 100, &gone)), Renewal::Free);
    assert_eq!(renew(&zone, 10, Some(&flight(2, 1)), at(1, 100, &gone)), Renewal::Lead);
    assert_eq!(renew(&zone, 10, Some(&flight(3, 2)), at(1, 100, &gone)), Renewal::Out);
    // Its deadline is 1,000.
    assert_eq!(renew(&zone, 10, Some(&flight(4, 2)), at(1, 1_000, &EVERYBODY)), Renewal::Lead);
    let later = Call { deadline: 2_000, ..flight(5, 3) };
    assert_eq!(renew(&zone, 10, Some(&later), at(1, 1_000, &EVERYBODY)), Renewal::Lead);
    let purged = Call { seen: Seen { purges: 1, ..Seen::default() }, ..flight(6, 4) };
    assert_eq!(renew(&zone, 10, Some(&purged), at(1, 1_000, &EVERYBODY)), Renewal::Lead);
    assert_eq!(zone.arena.stats().marks, 1);
    zone.check();
}

#[test]
fn after_a_failure_nobody_asks_until_it_is_time() {
    let zone = Zone::new(1 << 20);
    store(&zone, 10);
    zone.with(|arena| arena.postpone(&key(1, 1), 9, 500));
    assert_eq!(renew(&zone, 10, None, at(1, 100, &EVERYBODY)), Renewal::Free, "of another entry");
    zone.with(|arena| arena.postpone(&key(1, 1), 10, 500));
    let ask = |now| renew(&zone, 10, Some(&flight(1, 0)), at(1, now, &EVERYBODY));
    assert_eq!(ask(499), Renewal::NotBefore(500));
    assert_eq!(ask(500), Renewal::Lead);
    // What takes its place knows nothing of it, nor does what is stored in its blocks.
    zone.with(|arena| arena.postpone(&key(1, 1), 10, 5_000));
    zone.with(|arena| arena.cancel(&key(1, 1), 1));
    store(&zone, 20);
    let mine = flight(2, 0);
    assert_eq!(renew(&zone, 20, Some(&mine), at(1, 600, &EVERYBODY)), Renewal::Lead);
}

#[test]
fn what_is_not_there_any_more_is_not_asked_for() {
    let zone = Zone::new(1 << 20);
    store(&zone, 20);
    let now = at(1, 100, &EVERYBODY);
    assert_eq!(zone.with(|arena| arena.stored(&key(1, 1))), Some(20));
    assert_eq!(renew(&zone, 10, Some(&flight(1, 0)), now), Renewal::Replaced);
    zone.with(|arena| {
        arena.store(&key(1, 1), &Entry::inactive(Life::of_inactive(20, 100), Moment::NEVER))
    });
    assert_eq!(renew(&zone, 20, Some(&flight(1, 0)), now), Renewal::Replaced, "inactive");
    assert_eq!(zone.with(|arena| arena.stored(&key(1, 1))), None);
    assert_eq!(zone.arena.stats().marks, 0);
    // Evicted: workers may keep it near.
    zone.with(|arena| arena.remove(&key(1, 1)));
    assert_eq!(renew(&zone, 20, Some(&flight(1, 0)), now), Renewal::Lead);
}

#[test]
fn without_room_for_a_mark_nobody_asks() {
    let zone = Zone::new(MIN_SIZE);
    store(&zone, 10);
    let now = at(1, 100, &EVERYBODY);
    let mut token = 100;
    while zone.with(|arena| arena.join_or_lead(&key(token, 1), &flight(1, 0), now)) == Joined::Lead
    {
        token += 1;
    }
    assert_eq!(renew(&zone, 10, Some(&flight(2, 0)), now), Renewal::Full);
    assert_eq!(renew(&zone, 10, None, now), Renewal::Free);
}
