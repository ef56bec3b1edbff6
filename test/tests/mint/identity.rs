//! Which locations share an answer and its JWT.

use phantom_token_test::authorization_server::INTROSPECTION_CLIENT;
use phantom_token_test::keys::PemKey;
use phantom_token_test::process::wait_until;
use phantom_token_test::{AuthorizationServer, Rig, Script};
use serde_json::json;

use crate::support::*;

#[test]
fn what_the_jwt_says_is_shared_with_nobody_who_says_it_otherwise() {
    let rig = rig(|builder| {
        let rows = [
            ("issuer", "phantom_token_mint_issuer https://other.example;"),
            ("audience", "phantom_token_mint_audience https://other.example;"),
            ("audiences", "phantom_token_mint_audience https://api.example other;"),
            ("claims", "phantom_token_mint_claims sub;"),
            ("renamed", "phantom_token_mint_claims sub client_id=scope scope=client_id;"),
            ("valid", "phantom_token_mint_valid 400s;"),
            ("kept", "phantom_token_cache_valid 200s;"),
            ("stale", "phantom_token_cache_stale 10s;"),
        ];
        rows.iter().fold(builder, |builder, (path, other)| {
            builder.location(&format!("/{path}"), &shown(other))
        })
        // In other words, or in what no JWT says.
        .location("/same", &shown(
            "phantom_token_mint_claims sub client_id scope;\nphantom_token_mint_valid 360s;\n\
             phantom_token_scope read;\nphantom_token_kind any;",
        ))
        // The time in force is the same, though it is said otherwise.
        .location("/together", &shown("phantom_token_cache_valid 240s;\nphantom_token_cache_stale 60s;"))
    });
    rig.server.script("opaque", active(&json!({"scope": "read"})));
    let (shown, _) = pass(&rig.gateway, "/shown", "opaque");
    for path in ["/same", "/together"] {
        assert_eq!(pass(&rig.gateway, path, "opaque"), (shown.clone(), "HIT".to_owned()), "{path}");
    }
    let mut jwts = vec![shown];
    for path in ["issuer", "audience", "audiences", "claims", "renamed", "valid", "kept"] {
        let (jwt, outcome) = pass(&rig.gateway, &format!("/{path}"), "opaque");
        assert_eq!(outcome, "MISS", "{path}");
        assert!(!jwts.contains(&jwt), "{path}");
        jwts.push(jwt);
    }
    // Eight to a token.
    assert_eq!(pass(&rig.gateway, "/valid", "opaque"), (jwts[6].clone(), "HIT".to_owned()));
}

#[test]
fn two_audiences_of_one_zone_each_get_their_own() {
    let rig = rig(|builder| {
        builder
            .http("phantom_token_worker_cache 0;")
            .location("/a", &shown("phantom_token_mint_audience a;"))
            .location("/b", &shown("phantom_token_mint_audience b;"))
    });
    rig.server.script("opaque", active(&json!({})));
    for round in 0..3 {
        for audience in ["a", "b"] {
            let claims = claims(&rig.gateway, &format!("/{audience}"), "opaque");
            assert_eq!(claims["aud"], audience, "round {round}");
        }
    }
    assert_eq!(rig.server.introspections_of("opaque"), 2);
}

#[test]
fn two_times_of_one_token_are_two_jwts() {
    let rig = rig(|builder| {
        builder
            .location("/short", &shown("phantom_token_mint_valid 30s;"))
            .location("/long", &shown("phantom_token_mint_valid 3000s;"))
    });
    rig.server.script("opaque", active(&json!({"exp": now() + 600})));
    for _ in 0..2 {
        let [short, long] =
            ["/short", "/long"].map(|target| claims(&rig.gateway, target, "opaque"));
        let lives = |claims: &serde_json::Value| {
            claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap()
        };
        assert_eq!(lives(&short), 30);
        // Never past the token's own end.
        assert!((500..=600).contains(&lives(&long)), "{long}");
    }
    assert_eq!(rig.server.introspections_of("opaque"), 2);
}

#[test]
fn jwts_and_plain_answers_stay_apart() {
    let rig = rig(|builder| {
        builder
            .location("/none", &shown("phantom_token_forward none;\nphantom_token_introspection_accept application/json;"))
            .location("/jwt", &shown("phantom_token_forward jwt;\nphantom_token_introspection_accept application/json;"))
    });
    let token = rig.server.issue();
    rig.server.script(&token.token, active(&json!({"jwt": token.jwt})));
    for _ in 0..2 {
        assert_eq!(claims(&rig.gateway, "/shown", &token.token)["iss"], ISSUER);
        assert_eq!(rig.gateway.get_as("/none", &token.token).header("sent"), None);
        assert_eq!(
            rig.gateway.get_as("/jwt", &token.token).header("sent"),
            Some(&*token.phantom())
        );
    }
    assert_eq!(rig.server.introspections_of(&token.token), 3);
}

#[test]
fn a_provider_serves_locations_that_mint_and_locations_that_do_not() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let (id, secret) = INTROSPECTION_CLIENT;
        let block = format!(
            "phantom_token_provider as {{\nintrospection_endpoint {};\n\
             client_id {id};\nclient_secret {secret};\n}}",
            server.introspection_url()
        );
        builder
            .without_client()
            .file("mint.key", PemKey::p256().private.as_bytes())
            .http(&block)
            .http("phantom_token_mint_key mint.key;")
            .directives("phantom_token_use as;")
            .location("/mint", &shown(&format!("phantom_token_use as;\n{TERMS}")))
            .location("/jwt", &shown("phantom_token_use as;"))
            .location("= /jwks", "phantom_token_publish_jwks;")
            .location("= /ready", "phantom_token_ready as;")
    });
    let token = rig.server.issue();
    for _ in 0..2 {
        assert_eq!(claims(&rig.gateway, "/mint", &token.token)["iss"], ISSUER);
        assert_eq!(pass(&rig.gateway, "/jwt", &token.token).0, token.jwt);
    }
    let accepts: Vec<_> = rig
        .server
        .seen()
        .iter()
        .map(|seen| seen.head.headers.get("accept").map(str::to_owned))
        .collect();
    assert_eq!(accepts, [Some("application/json".to_owned()), Some("application/jwt".to_owned())]);
    let ready = rig.gateway.get("/ready", &[]);
    assert_eq!((ready.status, ready.text()), (200, "ready\n".to_owned()));
    // It rests for both ways in which it is asked, and is one server.
    rig.server.script_all(Script::close());
    rig.server.script_own_calls(Script::close());
    wait_until("the rest", || {
        let statuses = ["/mint", "/jwt"].map(|target| rig.gateway.get_as(target, "failing").status);
        assert!(statuses.iter().all(|status| *status >= 500), "{statuses:?}");
        rig.gateway.get("/ready", &[]).status == 503
    });
    assert_eq!(rig.gateway.get("/ready", &[]).text(), "resting as\n");
}
