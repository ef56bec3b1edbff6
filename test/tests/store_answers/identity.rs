//! Gateways that ask otherwise share nothing, and see that they differ.

use phantom_token_test::fleet::{Fleet, pass, wait_until_in_sync};
use phantom_token_test::tls::Identity;
use phantom_token_test::{Gateway, nginx};

/// How many other gateways each sees, by how they compare with it.
fn wait_for_peers(gateway: &Gateway, state: &str, count: f64) {
    let sample = format!("store_peers{{state=\"{state}\"}}");
    gateway.wait_for_metrics("another gateway", |now| now.get(&sample) == count);
}

/// Two gateways that share a store and differ in what `change` makes of each.
fn two(change: impl Fn(nginx::Builder, usize) -> nginx::Builder) -> Fleet {
    let mut fleet = Fleet::builder().start_none();
    let gateways = [0, 1].map(|nth| change(fleet.configuration(), nth).start());
    gateways.iter().for_each(wait_until_in_sync);
    fleet.gateways = gateways.into();
    fleet
}

#[test]
fn files_of_one_name_need_not_be_one_file() {
    let authorities =
        [Identity::self_signed(&["localhost"]), Identity::self_signed(&["localhost"])];
    let fleet = two(|builder, nth| {
        let pem = authorities[nth].certificate.clone();
        builder.file("ca.pem", pem).http("phantom_token_ssl_trusted_certificate ca.pem;")
    });
    for gateway in &fleet.gateways {
        wait_for_peers(gateway, "other_config", 1.0);
    }
    // However long they run.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let token = fleet.server.issue();
    for gateway in &fleet.gateways {
        assert_eq!(pass(gateway, &token), "MISS");
    }
    assert_eq!(fleet.server.introspections_of(&token.token), 2);
}

#[test]
fn one_file_may_have_two_names() {
    let authority = Identity::self_signed(&["localhost"]);
    let fleet = two(|builder, nth| {
        let name = ["one.pem", "other.pem"][nth];
        builder
            .file(name, authority.certificate.clone())
            .http(&format!("phantom_token_ssl_trusted_certificate {name};"))
    });
    for gateway in &fleet.gateways {
        wait_for_peers(gateway, "same", 1.0);
    }
    fleet.wait_until_shared();
}
