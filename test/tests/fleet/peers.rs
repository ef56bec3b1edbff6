//! Gateways see at the store who else is there, and who is configured otherwise.

use phantom_token_test::fleet::{Fleet, KEY_FILES, shown};
use phantom_token_test::nginx::Gateway;

fn wait_for_peers(gateway: &Gateway, expected: [f64; 3]) {
    gateway.wait_for_metrics("the other gateways", |metrics| {
        let count = |state| metrics.get(&format!("store_peers{{state=\"{state}\"}}"));
        ["same", "other_config", "other_key"].map(count) == expected
    });
}

#[test]
fn a_gateway_sees_who_has_another_key_or_asks_otherwise() {
    let fleet = Fleet::builder().start_none();
    let start = || {
        let gateway = fleet.launch();
        gateway.wait_for_metrics("in sync", |metrics| metrics.get("store_in_sync") == 1.0);
        gateway
    };
    // Each looks as it begins; the ones before have told of themselves by then.
    let first = start();
    wait_for_peers(&first, [0.0; 3]);
    let second = start();
    wait_for_peers(&second, [1.0, 0.0, 0.0]);
    let mut third = start();
    wait_for_peers(&third, [2.0, 0.0, 0.0]);
    third.reload_with(|gateway| {
        gateway.location("/otherwise", &shown("phantom_token_introspection_param audience other;"))
    });
    wait_for_peers(&third, [0.0, 2.0, 0.0]);
    let keys = third.prefix().join("keys.conf");
    std::fs::write(keys, format!("phantom_token_key_file {};\n", KEY_FILES[1])).unwrap();
    third.reload();
    wait_for_peers(&third, [0.0, 0.0, 2.0]);
    third.wait_for_log(&["[warn]", "another gateway at the store", "phantom_token_key_file"]);
}
