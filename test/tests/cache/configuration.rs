//! What `nginx -t` says of zones it cannot make sense of.

use phantom_token_test::Gateway;

use crate::support::*;

const ENDPOINT: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/introspect;";
const CLIENT: &str = "phantom_token_client_id me;\nphantom_token_client_secret s3cret;";

/// Asserts that a configuration is refused in a message that holds these words and names the line
/// this text stands on.
#[track_caller]
fn assert_refused(http: &str, location: &str, line: &str, words: &[&str]) {
    let check = Gateway::builder()
        .http(&format!("{ENDPOINT}\n{CLIENT}\n{http}"))
        .location("/", &shown(location))
        .check();
    assert!(!check.ok, "accepted:\n{}", check.config);
    let messages = &check.messages;
    let message = messages.lines().find(|line| line.contains("[emerg]"));
    let message = message.unwrap_or_else(|| panic!("no [emerg]: {messages}"));
    let place = format!("nginx.conf:{}", check.line_of(line));
    let (_, rest) = message.split_once(&place).unwrap_or_else(|| panic!("{place}: {message}"));
    assert!(!rest.starts_with(|c: char| c.is_ascii_digit()), "{place}: {message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
fn zones_too_small_say_how_large_they_must_be() {
    for size in ["1", "1k", "8k", "31k"] {
        let zone = format!("phantom_token_cache_zone zone=tokens:{size};");
        let words = ["phantom_token_cache_zone", "\"tokens\"", "too small", "at least"];
        assert_refused(&zone, "", &zone, &words);
    }
}

#[test]
fn the_size_it_asks_for_is_enough() {
    let gateway = |size: &str| {
        Gateway::builder()
            .http(&format!("{ENDPOINT}\n{CLIENT}\nphantom_token_cache_zone zone=tokens:{size};"))
            .location("/", &shown("phantom_token_cache tokens;"))
    };
    let refused = gateway("1k").check();
    let (_, rest) = refused.messages.split_once("at least ").expect("a size");
    let size: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    assert!(gateway(&size).check().ok, "{size}");
    drop(gateway(&size).start());
}

#[test]
fn misspelt_zones_are_named() {
    for value in [
        "tokens:1m",
        "zone=tokens",
        "zone=:1m",
        "zone=tokens:",
        "zone=tokens:1x",
        "zone=tokens:-1m",
        "zone=tokens:99999999999999999999",
        "zone=off:1m",
        "zone=tokens:1m more",
    ] {
        let zone = format!("phantom_token_cache_zone {value};");
        assert_refused(&zone, "", &zone, &["phantom_token_cache_zone"]);
    }
}

#[test]
fn a_zone_declared_twice_is_named() {
    for size in ["1m", "2m"] {
        let second = format!("phantom_token_cache_zone  zone=tokens:{size};");
        let zones = format!("phantom_token_cache_zone zone=tokens:1m;\n{second}");
        assert_refused(
            &zones,
            "",
            &second,
            &["phantom_token_cache_zone", "\"tokens\"", "second time"],
        );
    }
}

#[test]
fn a_zone_of_another_module_is_not_taken() {
    let zone = "phantom_token_cache_zone zone=shared:1m;";
    let limit = "limit_req_zone $binary_remote_addr zone=shared:1m rate=1r/s;";
    let check = Gateway::builder()
        .http(&format!("{limit}\n{ENDPOINT}\n{CLIENT}\n{zone}"))
        .location("/", &shown("phantom_token_cache shared;"))
        .check();
    assert!(!check.ok && check.messages.contains("\"shared\""), "{}", check.messages);
}

#[test]
fn a_zone_used_but_not_declared_is_named() {
    let used = "phantom_token_cache tokenz;";
    let zones = "phantom_token_cache_zone zone=tokens:1m;";
    assert_refused(zones, used, used, &["phantom_token_cache", "\"tokenz\"", "not declared"]);
    // The order of declaration and use does not matter.
    let check = Gateway::builder()
        .location("/", &shown("phantom_token_cache tokens;"))
        .http(&format!("{ENDPOINT}\n{CLIENT}\n{zones}"))
        .check();
    assert!(check.ok, "{}", check.messages);
}

#[test]
fn the_zone_nobody_names_is_made_and_may_be_declared() {
    let rig = rig(1, |builder| builder);
    assert_eq!(numbers(&rig.gateway)["caches"][0]["zone"], "phantom_token");
    let size = |gateway: &Gateway| numbers(gateway)["caches"][0]["size_bytes"].as_u64().unwrap();
    let usual = size(&rig.gateway);
    assert!((9 << 20..=10 << 20).contains(&usual), "{usual}");
    let larger = crate::support::rig(1, |builder| {
        builder.http("phantom_token_cache_zone zone=phantom_token:20m;")
    });
    assert!(size(&larger.gateway) > usual);
}
