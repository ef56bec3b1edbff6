//! A new key in three rounds: at every step a purge at any gateway holds for all.

use phantom_token_test::Fleet;
use phantom_token_test::fleet::KEY_FILES;

use crate::support::*;

#[test]
fn purges_reach_all_in_every_round() {
    let fleet = Fleet::builder().start_in_sync(2);
    let [old, new] = KEY_FILES;
    let rounds: [&[&str]; 3] = [&[old, new], &[new, old], &[new]];
    for keys in rounds {
        for gateway in [0, 1] {
            fleet.use_keys(gateway, keys);
            // As soon as the new workers are there.
            for (sender, hearer) in [(0, 1), (1, 0)] {
                let token = fleet.server.issue();
                warm(&fleet, &token);
                fleet.server.revoke(&token.token);
                assert_eq!(fleet.purge(sender, &form(&token)), 204, "{keys:?}");
                assert!(!fleet.admits(sender, &token), "{keys:?}");
                wait_until_refused(&fleet, hearer, &token);
            }
        }
        // A round is over: they share again.
        fleet.wait_until_shared();
    }
}

#[test]
fn a_change_of_the_first_key_begins_cold() {
    let fleet = Fleet::builder().start_in_sync(2);
    let token = fleet.server.issue();
    warm(&fleet, &token);
    let [old, new] = KEY_FILES;
    fleet.use_keys(0, &[old, new]);
    assert_eq!(fleet.pass(0, &token), "HIT");
    fleet.use_keys(0, &[new, old]);
    let calls_before = calls(&fleet, &token);
    assert_eq!(fleet.pass(0, &token), "MISS");
    assert_eq!(calls(&fleet, &token), calls_before + 1);
    assert_eq!(fleet.pass(1, &token), "HIT");
}
