//! What the Lua plugin's users rely on: the scenarios its own tests have, each by its name there.

use phantom_token_test::nginx::Builder;
use phantom_token_test::rig::{FORBIDDEN, SERVER_ERROR, UNAUTHORIZED};
use phantom_token_test::{Mint, Response, Rig, port};

fn assert_refused(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, body));
    assert_eq!(response.header("content-type"), Some("application/json"));
    let challenge = response.header("www-authenticate").unwrap_or_default();
    assert_eq!(challenge.starts_with("Bearer"), status == 401 || status == 403);
}

#[test]
fn advanced_routing_lets_jwts_bypass_the_exchange() {
    // A token of three parts goes one way, an opaque one the other.
    let rig = Rig::start(|builder: Builder| {
        builder
            .http(
                "map $http_authorization $target {\n\
                 default @phantom_token;\n\
                 \"~*^bearer +[^.]+[.][^.]+[.][^.]+$\" @bypass;\n\
                 }",
            )
            .location("/routed", "error_page 418 = $target;\nreturn 418;")
            .location("@bypass", "add_header X-Custom bypass;\nreturn 200;")
            .location(
                "@phantom_token",
                "phantom_token on;\nadd_header X-Custom phantom-token;\ntry_files /none =204;",
            )
    });
    let token = rig.server.issue();
    let routed = |value: &str| {
        let response = rig.gateway.get("/routed", &[("Authorization", value)]);
        response.header("x-custom").map(str::to_owned)
    };
    assert_eq!(routed(&token.phantom()).as_deref(), Some("bypass"));
    assert_eq!(rig.server.introspections(), 0);
    assert_eq!(routed(&token.bearer()).as_deref(), Some("phantom-token"));
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn api_requests() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.issue();
    let call = |value: &str| rig.gateway.get("/api", &[("Authorization", value)]);
    for scheme in ["bearer ", "Bearer ", "BEARER ", "bEaReR ", &format!("bearer{}", " ".repeat(15))]
    {
        let response = call(&format!("{scheme}{}", token.token));
        assert_eq!(response.status, 200, "{scheme}");
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    }
    assert_eq!(rig.server.introspections(), 1);
    assert_refused(&call("bearer zort"), 401, UNAUTHORIZED);
    assert_refused(&rig.gateway.get("/api", &[]), 401, UNAUTHORIZED);
    assert_refused(&call(&format!("basic {}", token.token)), 401, UNAUTHORIZED);
    assert_refused(&call(&format!("bearer {}z", token.token)), 401, UNAUTHORIZED);
    assert_eq!(rig.api.count(), 5);
}

#[test]
fn only_the_three_required_options() {
    // As the rig writes them: endpoint, client id and client secret.
    let rig = Rig::start(|builder| builder);
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn failure_scenarios() {
    let endpoint = format!("http://127.0.0.1:{}/", port::free());
    let closed = Rig::start(|builder| builder.endpoint(&endpoint));
    assert_refused(&closed.get_as("abc"), 500, SERVER_ERROR);
    // The plugin says 401 here, as though the client's token were at fault.
    let secret = Rig::start(|builder| builder.client("introspection-client", "not-the-secret"));
    assert_refused(&secret.get_as(&secret.server.issue().token), 500, SERVER_ERROR);
    secret.gateway.wait_for_log(&["[error]", "phantom token"]);
}

#[test]
fn scope_checks() {
    for (required, status) in [("read", 200), ("read write", 200), ("read execute", 403)] {
        let rig = Rig::start(|builder| {
            builder.directives(&format!("phantom_token_scope \"{required}\";"))
        });
        let token = rig.server.mint(Mint::new().scope("read write"));
        for _ in 0..2 {
            let response = rig.get_as(&token.token);
            assert_eq!(response.status, status, "{required}");
            if status == 403 {
                assert_refused(&response, 403, FORBIDDEN);
            }
        }
        assert_eq!(rig.server.introspections(), 1, "a hit's scope is checked as well");
    }
}

#[test]
fn without_a_required_scope_a_token_needs_none() {
    // The plugin's 2.0 refuses every token without a scope claim.
    let rig = Rig::start(|builder| builder);
    rig.assert_passes(&rig.server.mint(Mint::new().scope("")));
}

#[test]
fn options_pass_without_credentials() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.issue();
    let mut client = rig.gateway.client();
    client.send_request("OPTIONS", "/api/echo", &[("Authorization", &token.bearer())], b"");
    assert_eq!(client.read().status, 200);
    assert_eq!(rig.api.last().authorization(), [""; 0]);
    assert_eq!(rig.server.introspections(), 0);
}

#[test]
fn the_introspection_request_is_well_formed() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.mint(Mint::new().token("a+b/c~d-e_f.g=="));
    rig.assert_passes(&token);
    let seen = rig.server.seen().remove(0);
    assert_eq!(seen.head.method, "POST");
    assert_eq!(seen.head.target, "/oauth/v2/oauth-introspect");
    let headers = &seen.head.headers;
    let host = format!("127.0.0.1:{}", rig.server.port());
    assert_eq!(headers.get("host"), Some(host.as_str()));
    assert_eq!(headers.get("accept"), Some("application/jwt"));
    assert_eq!(headers.get("content-type"), Some("application/x-www-form-urlencoded"));
    // The example client: base64 of introspection-client:Password1.
    let basic = "Basic aW50cm9zcGVjdGlvbi1jbGllbnQ6UGFzc3dvcmQx";
    assert_eq!(headers.get("authorization"), Some(basic));
    assert_eq!(headers.get("accept-encoding"), Some("identity"));
    assert_eq!(headers.get("content-length"), Some(seen.body.len().to_string().as_str()));
    let body = String::from_utf8(seen.body).unwrap();
    let encoded = body.strip_prefix("token=").unwrap();
    assert!(!encoded.contains(['+', '/', '=', '&']), "{body}");
    assert_eq!(seen.token, token.token);
}
