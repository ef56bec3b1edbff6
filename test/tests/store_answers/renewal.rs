//! What one gateway asks for anew before it ends, the others take from the store.

use phantom_token_test::Mint;
use phantom_token_test::fleet::Fleet;
use phantom_token_test::process::wait_until;

#[test]
fn an_answer_that_one_gateway_renews_is_renewed_for_all() {
    let times = "phantom_token_cache_valid 9s;\nphantom_token_cache_refresh_ahead 3s;";
    let fleet = Fleet::builder().each(move |builder| builder.count_calls().http(times)).start(2);
    let token = fleet.server.mint(Mint::new().expires_in(3600));
    assert_eq!(fleet.pass(0, &token), "MISS");
    assert_eq!(fleet.pass(1, &token), "STORE");
    let calls = || fleet.server.introspections_of(&token.token);
    wait_until("the first gateway's renewal", || {
        assert_eq!(fleet.pass(0, &token), "HIT", "nobody waits for it");
        calls() == 2
    });
    let renewed = "refreshes_total{result=\"active\"}";
    wait_until("the second gateway's", || {
        // Where this machine is so slow that its own has ended, it finds the newer one as any other.
        fleet.pass(1, &token) == "STORE" || fleet.gateways[1].metrics().get(renewed) >= 1.0
    });
    assert_eq!(calls(), 2, "the newer answer lies in the store");
}
