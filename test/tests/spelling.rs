//! One token, one spelling: as what a client presents, and as what a purge forgets. And what stands
//! around a token, or encodes it, does not count.

use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{Mint, Reply, Rig};

/// A JWT as servers give it out, that is the opaque token here.
const JWT: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl_-8";
/// As many spellings of it as a lenient decoder reads alike, in the narrow syntax.
const RESPELT: [&str; 5] = [
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl_-9",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl/-8",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl_-8=",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIi~OiJhbGljZSJ9.c2lnbmF0dXJl_-8",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl_-8~",
];

fn rig() -> Rig {
    let rig = Rig::start(|builder| {
        builder
            .location("= /purge", "phantom_token_purge;")
            .location("/bare", "phantom_token on token=$arg_token;\ntry_files /none =204;")
            .location("/cookie", "phantom_token on token=$cookie_session;\ntry_files /none =204;")
            .location(
                "/wide",
                "phantom_token on token=$arg_token;\nphantom_token_token_syntax vschar;\n\
                 try_files /none =204;",
            )
    });
    // It takes every spelling: what reaches it, it calls active.
    for token in RESPELT.iter().chain(&[JWT]) {
        rig.server.mint(Mint::new().token(token));
    }
    rig
}

fn purge(rig: &Rig, token: &str) -> u16 {
    let mut client = rig.gateway.client();
    let form = format!("token={}", token.replace('+', "%2B"));
    client.send_request("POST", "/purge", &[], form.as_bytes());
    client.read().status
}

#[test]
fn a_jose_token_is_taken_as_it_was_issued_alone() {
    let rig = rig();
    assert_eq!(rig.get_as(JWT).status, 200);
    for respelt in RESPELT {
        Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as(respelt));
        // Not in the query, which NGINX writes to the log.
        let cookie = format!("session={respelt}");
        assert_eq!(rig.gateway.get("/cookie", &[("Cookie", &cookie)]).status, 401, "{respelt}");
        assert_eq!(rig.server.introspections_of(respelt), 0);
    }
    rig.gateway.wait_for_log(&[
        "[info]",
        "the access token is refused: malformed, a JOSE token that is not canonically spelt",
    ]);
    // Of another shape they are tokens like any other.
    let opaque = rig.server.mint(Mint::new().token("c2lnbmF0dXJl_-9=="));
    rig.assert_passes(&opaque);
    assert_eq!((rig.server.introspections(), rig.api.count()), (2, 2));
}

#[test]
fn a_purge_forgets_the_one_spelling_there_is() {
    let rig = rig();
    assert_eq!(rig.get_as(JWT).status, 200);
    for refused in RESPELT.iter().chain(&["a b", "a,b", "%00", ""]) {
        assert_eq!(purge(&rig, refused), 400, "{refused}");
    }
    rig.get_as(JWT);
    assert_eq!(rig.server.introspections_of(JWT), 1, "kept");
    assert_eq!(purge(&rig, JWT), 204);
    rig.get_as(JWT);
    assert_eq!(rig.server.introspections_of(JWT), 2);
}

#[test]
fn blanks_and_tabs_behind_the_token_do_not_count() {
    let rig = rig();
    let token = rig.server.issue();
    for after in ["", " ", "\t", " \t \t"] {
        let header = format!("Bearer {}{after}", token.token);
        assert_eq!(rig.gateway.get("/api", &[("Authorization", &header)]).status, 200, "{after:?}");
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    }
    assert_eq!(rig.server.introspections(), 1, "one token");
    let header = format!("Bearer \t{}", token.token);
    assert_eq!(rig.gateway.get("/api", &[("Authorization", &header)]).status, 401);
}

#[test]
fn a_percent_encoded_token_is_decoded_once() {
    let rig = rig();
    let token = rig.server.mint(Mint::new().token("a+b/c~d=="));
    let encoded: String = token.token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for value in [&token.token, "a%2Bb%2fc~d%3D%3d", &encoded] {
        assert_eq!(rig.gateway.get(&format!("/bare?token={value}"), &[]).status, 204, "{value}");
        let cookie = format!("session={value}");
        let response = rig.gateway.get("/cookie", &[("Cookie", &cookie)]);
        assert_eq!(response.status, 204, "{value}");
    }
    assert_eq!(rig.server.introspections(), 1, "one token");
    let twice = encoded.replace('%', "%25");
    for value in ["a%2", "a%", "a%zz", "%00", "a%20", "%", &twice] {
        let response = rig.gateway.get(&format!("/bare?token={value}"), &[]);
        Reply::unauthorized(INVALID_TOKEN).assert(&response);
    }
    assert_eq!(rig.server.introspections(), 1);
    // Where the token itself may hold the sign, it is part of it.
    let wide = rig.server.mint(Mint::new().token("a%2Bb"));
    assert_eq!(rig.gateway.get("/wide?token=a%2Bb", &[]).status, 204);
    assert_eq!(rig.server.introspections_of(&wide.token), 1);
}
