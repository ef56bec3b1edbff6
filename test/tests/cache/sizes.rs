//! Small zones: they evict and never fail a request, and what they cannot hold passes uncached.

use phantom_token_test::{Mint, Rig};

use crate::support::*;

fn small() -> Rig {
    rig(1, |builder| {
        builder
            .http("phantom_token_cache_zone zone=small:64k;\nphantom_token_cache small;")
            .http("phantom_token_worker_cache 0;\nphantom_token_cache_zone zone=other:64k;")
            .location("/other", &shown("phantom_token_cache other;"))
    })
}

#[test]
fn a_jwt_larger_than_the_zone_passes_uncached_with_one_warning() {
    let rig = small();
    let little = rig.server.issue();
    assert_eq!(pass(&rig.gateway, "/shown", &little), "MISS");
    let large = rig.server.mint(Mint::new().jwt_size(60_000));
    for _ in 0..3 {
        assert_eq!(pass(&rig.gateway, "/shown", &large), "MISS");
    }
    assert_eq!(rig.server.introspections(), 4);
    assert_eq!(pass(&rig.gateway, "/other", &large), "MISS");
    let lines = rig.gateway.module_lines();
    for zone in ["small", "other"] {
        let named = |line: &&String| line.contains("too large") && line.contains(zone);
        let warned = lines.iter().filter(|line| line.contains("[warn]")).filter(named);
        assert_eq!(warned.count(), 1, "{zone}: {lines:#?}");
    }
    assert_eq!(numbers(&rig.gateway)["uncached"]["too_large"], 4);
    assert_eq!(pass(&rig.gateway, "/shown", &little), "HIT", "and evicts nothing");
}

#[test]
fn a_full_zone_evicts_the_least_recently_used_and_fails_no_request() {
    let rig = small();
    let favourite = rig.server.issue();
    pass(&rig.gateway, "/shown", &favourite);
    let tokens: Vec<_> = (0..200)
        .map(|n| rig.server.mint(Mint::new().jwt_size([300, 1_000, 4_000, 9_000][n % 4])))
        .collect();
    for token in &tokens {
        assert_eq!(pass(&rig.gateway, "/shown", token), "MISS");
        assert_eq!(pass(&rig.gateway, "/shown", &favourite), "HIT");
        assert_eq!(pass(&rig.gateway, "/shown", token), "HIT");
    }
    assert_eq!(pass(&rig.gateway, "/shown", tokens.last().unwrap()), "HIT");
    assert_eq!(pass(&rig.gateway, "/shown", &tokens[0]), "MISS");
    let cache = &numbers(&rig.gateway)["caches"][0];
    assert!(cache["evictions"].as_u64().unwrap() > 150, "{cache}");
    assert!(cache["used_bytes"].as_u64() <= cache["size_bytes"].as_u64(), "{cache}");
}
