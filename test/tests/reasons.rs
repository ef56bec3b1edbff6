//! `$phantom_token_status` and `$phantom_token_reason`: what became of a request, and why.

use phantom_token_test::{AuthorizationServer, Mint, Rig, Script};

const SAY: &str = "add_header X-Outcome \"$phantom_token_status $phantom_token_reason\" always;";

/// What `target` says of a request with this token.
fn outcome(rig: &Rig, target: &str, token: &str) -> String {
    let response = rig.gateway.get_as(target, token);
    response.header("X-Outcome").unwrap_or_default().trim().to_owned()
}

#[test]
fn a_refusal_has_its_reason() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .directives(SAY)
            .location(
                "/scoped",
                &format!(
                    "phantom_token on;\nphantom_token_scope execute;\n{SAY}\ntry_files /none =204;"
                ),
            )
    });
    let token = rig.server.issue();
    assert_eq!(outcome(&rig, "/api", &token.token), "MISS");
    assert_eq!(outcome(&rig, "/api", &token.token), "HIT");
    assert_eq!(outcome(&rig, "/scoped", &token.token), "DENIED scope");
    assert_eq!(outcome(&rig, "/api", "a b"), "DENIED malformed");
    let missing = rig.gateway.get("/api", &[]);
    assert_eq!(missing.header("X-Outcome"), Some("DENIED missing"));
    let bound = rig.server.mint(Mint::new().dpop_bound());
    assert_eq!(outcome(&rig, "/api", &bound.token), "DENIED bound");
    assert_eq!(outcome(&rig, "/api", "unknown"), "INACTIVE inactive");
    rig.server.script("failing", Script::status(500));
    assert_eq!(outcome(&rig, "/api", "failing"), "ERROR status");
    rig.server.script("odd", Script::ok("text/html", "<p>"));
    assert_eq!(outcome(&rig, "/api", "odd"), "ERROR answer");
    rig.server.script("cut", Script::raw("HTTP/1.1 200 OK\r\nContent-Le").then_close());
    assert_eq!(outcome(&rig, "/api", "cut"), "ERROR connect");
}

#[test]
fn an_answer_that_is_not_kept_has_its_reason() {
    for (directive, header, reason) in [
        ("phantom_token_cache off;", None, "cache_off"),
        ("phantom_token_cache_valid 0;", None, "cache_valid_zero"),
        ("phantom_token_cache_control strict;", Some("no-store"), "no_store"),
        ("phantom_token_cache_control strict;", Some("private"), "private"),
        ("", Some("s-maxage=0"), "max_age"),
    ] {
        let rig = Rig::start(|builder| builder.directives(&format!("{directive}\n{SAY}")));
        let token = rig.server.issue();
        if let Some(value) = header {
            let script = Script::jwt(&token.jwt).header("Cache-Control", value);
            rig.server.script(&token.token, script);
        }
        let said = outcome(&rig, "/api", &token.token);
        assert_eq!(said, format!("MISS {reason}"), "{directive} {header:?}");
    }
}

#[test]
fn a_jwt_too_large_for_its_zone_is_said_so_once_and_counted_once() {
    let rig = Rig::start(|builder| {
        builder
            .http("phantom_token_cache_zone zone=small:64k;")
            .directives(&format!("phantom_token_cache small;\n{SAY}"))
            .location("= /status", "phantom_token_status;")
    });
    let large = rig.server.mint(Mint::new().jwt_size(48 * 1024));
    let said = outcome(&rig, "/api", &large.token);
    assert!(["MISS too_large", "MISS no_room"].contains(&said.as_str()), "{said}");
    let word = said.trim_start_matches("MISS ");
    let numbers = rig.gateway.get("/status", &[]);
    let sample = format!("phantom_token_uncached_total{{reason=\"{word}\"}} 1");
    assert!(numbers.text().contains(&sample), "{}", numbers.text());
}
