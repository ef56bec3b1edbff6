//! How long own answers serve while the store is not heard (`phantom_token_cache_offline_valid`).

use phantom_token_test::fleet::{Fleet, shown};
use phantom_token_test::process::wait_until;

const IN_SYNC: &str = "store_in_sync";

#[test]
fn while_the_store_is_not_heard_answers_from_before_serve_for_as_long_as_they_may() {
    let fleet = Fleet::builder()
        .each(|gateway| {
            gateway
                .workers(1)
                .location("/soon", &shown("phantom_token_cache_offline_valid 1s;"))
                .location(
                    "/stale",
                    &shown("phantom_token_cache_offline_valid 1s;\nphantom_token_cache_stale 1h;"),
                )
        })
        .start_none();
    let gateway = fleet.launch();
    gateway.wait_for_metrics("in sync", |metrics| metrics.get(IN_SYNC) == 1.0);
    let token = fleet.server.issue();
    let outcome = |location: &str| {
        let response = gateway.get_as(location, &token.token);
        assert_eq!(response.status, 204, "{response:?}");
        response.header("outcome").unwrap().to_owned()
    };
    let asked = || fleet.server.introspections_of(&token.token);
    outcome("/shown");
    wait_until("what was in doubt to be asked about anew", || {
        outcome("/soon") == "HIT" && outcome("/shown") == "HIT"
    });

    fleet.store.stop();
    gateway.wait_for_metrics("not in sync", |metrics| metrics.get(IN_SYNC) == 0.0);
    let before = asked();
    wait_until("the answer to serve no more", || outcome("/soon") != "HIT");
    assert!(asked() > before);
    // The answer is the newer one now; it has as long, and no longer.
    let before = asked();
    wait_until("that one to serve no more", || outcome("/soon") != "HIT");
    assert!(asked() > before);
    assert_eq!(outcome("/shown"), "HIT");

    // Not even where the server is away: what was purged elsewhere would come back.
    fleet.server.stop();
    wait_until("nothing to serve", || gateway.get_as("/stale", &token.token).status != 204);
    assert_eq!(outcome("/shown"), "HIT");

    fleet.store.cont();
    gateway.wait_for_metrics("in sync", |metrics| metrics.get(IN_SYNC) == 1.0);
    wait_until("it serves again", || gateway.get_as("/soon", &token.token).status == 204);
}
