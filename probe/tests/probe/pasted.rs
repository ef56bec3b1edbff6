//! What takes more than an id and a secret, put into a real NGINX as it was printed.

use phantom_token_test::authorization_server::{Assertions, INTROSPECTION_CLIENT};
use phantom_token_test::tls::{Authority, server_config};
use phantom_token_test::{Api, AuthorizationServer, Mint, Script};
use rcgen::KeyPair;

use crate::program::{Program, Said};

#[track_caller]
fn assert_passes(said: &Said, server: &AuthorizationServer) {
    said.ends(0);
    let api = Api::start();
    let gateway = said.gateway_with(&api, |builder| builder.secret("assertion").secret("s3cret"));
    let token = server.issue();
    assert_eq!(gateway.get_as("/api", &token.token).status, 200, "{}", said.out);
    assert_eq!(api.last().authorization(), [token.phantom()]);
    assert_eq!(gateway.get_as("/api", "unknown").status, 401);
}

#[test]
fn the_usual_one() {
    let server = AuthorizationServer::start();
    let (id, secret) = INTROSPECTION_CLIENT;
    let token = server.issue().token;
    let said = Program::new().client(id, secret).token(&token).ask(&server.introspection_url());
    assert_passes(&said, &server);
    assert_eq!(said.calls(), 2);
    assert_eq!(server.connections(), 2, "one of the program's, and one of the gateway's");
}

/// Some servers want the client's id as a parameter too, beside Basic credentials or in place of all.
#[test]
fn with_the_client_s_id_as_a_parameter() {
    let server = AuthorizationServer::start();
    let (id, secret) = INTROSPECTION_CLIENT;
    let token = server.issue().token;
    let program = Program::new().client(id, secret).token(&token);
    let program = program.argument("--introspection-param", &format!("client_id={id}"));
    let said = program.ask(&server.introspection_url());
    said.holds(&[
        "client_auth basic;",
        &format!("phantom_token_introspection_param client_id {id};"),
    ]);
    assert_passes(&said, &server);
    let sent = server.seen().into_iter().map(|seen| String::from_utf8(seen.body).unwrap());
    let sent: Vec<_> = sent.collect();
    let once = format!("client_id={id}");
    assert!(sent.iter().all(|body| body.matches(&once).count() == 1), "{sent:?}");
    // In the form it would stand twice.
    let wrong = Program::new().client(id, "wrong").token(&token);
    let wrong = wrong.argument("--introspection-param", &format!("client_id={id}"));
    wrong.ask(&server.introspection_url()).ends(1).lacks(&["client_auth post"]);
}

#[test]
fn by_an_assertion_signed_with_a_key_or_with_the_secret() {
    let key = KeyPair::generate().expect("a key");
    let audience = "https://as.example.com";
    let id = "api-gateway";
    let assertions = Assertions::new(id, audience).with_key(&key);
    let server = AuthorizationServer::builder().assertions(&assertions).start().expect("a server");
    let token = server.issue().token;
    let program = Program::new().argument("--client-id", id).argument("--aud", audience);
    let program = program
        .secret_file("--client-key", "client.key", &key.serialize_pem())
        .argument("--kid", "the first")
        .token(&token);
    let said = program.ask(&server.introspection_url());
    said.holds(&["phantom_token_provider login {", "client_auth private_key_jwt aud="]);
    assert_passes(&said, &server);
    assert_eq!(assertions.repeated(), 0);

    let secret = "s3cret-of-thirty-two-bytes-or-more";
    let assertions = Assertions::new(id, audience).with_secret(secret);
    let server = AuthorizationServer::builder().assertions(&assertions).start().expect("a server");
    let token = server.issue().token;
    let said = Program::new()
        .client(id, secret)
        .argument("--client-auth", "client_secret_jwt")
        .argument("--aud", audience)
        .argument("--provider", "main")
        .token(&token)
        .ask(&server.introspection_url());
    said.holds(&["phantom_token_provider main {", "    issuer "]);
    assert_passes(&said, &server);
}

#[test]
fn over_tls_with_a_client_certificate_and_elsewhere() {
    let authority = Authority::generate();
    let identity = authority.server(&["as.example.com"]);
    let config = server_config(&identity, Some(&authority.certificate));
    let server = AuthorizationServer::builder()
        .tls(config, "as.example.com")
        .no_client_auth()
        .start()
        .expect("a server");
    let program = Program::new().token(&server.issue().token);
    let ca = program.file("ca.pem", &authority.certificate);
    let client = authority.client("gateway");
    let certificate = program.file("client.pem", &client.certificate);
    let program = program
        .argument("--ssl-trusted-certificate", &ca.to_string_lossy())
        .argument("--connect", &format!("127.0.0.1:{}", server.port()))
        .argument("--client-id", "gateway");
    // The server wants one.
    let said = program.ask(&server.introspection_url());
    assert_eq!(said.status, 2, "without certificate and secret: {}", said.out);
    let program = program
        .argument("--ssl-certificate", &certificate.to_string_lossy())
        .secret_file("--ssl-certificate-key", "client.key", &client.key);
    let said = program.ask(&server.introspection_url());
    said.holds(&[
        "phantom_token_client_auth none;",
        "phantom_token_introspection_param client_id gateway;",
        " connect=127.0.0.1:",
    ]);
    assert_passes(&said, &server);
}

#[test]
fn a_bound_token_and_one_of_odd_spelling_are_told_of() {
    let server = AuthorizationServer::start();
    let (id, secret) = INTROSPECTION_CLIENT;
    let thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let token = server.mint(Mint::new().claim("cnf", serde_json::json!({"jkt": thumbprint}))).token;
    let said = Program::new().client(id, secret).token(&token).ask(&server.introspection_url());
    said.ends(1).holds(&["REFUSE this token", "bound to a DPoP key"]);
}

#[test]
fn what_would_be_refused_or_mean_something_else_is_told() {
    let server = AuthorizationServer::start();
    let (id, secret) = INTROSPECTION_CLIENT;
    let (token, refresh) = ("opaque-access-token", "opaque-refresh-token");
    let ask = |access: serde_json::Value| {
        server.script(token, Script::json(&access));
        server.script(
            refresh,
            Script::json(&serde_json::json!({"active": true, "exp": 1_000_000_000})),
        );
        let program = Program::new().client(id, secret).token(token).refresh_token(refresh);
        program.argument("--provider", "login").ask(&server.introspection_url())
    };
    let bound = ask(serde_json::json!({"active": true, "cnf": {"x5t#S256": "a"}}));
    bound.ends(1).holds(&["REFUSE this token", "phantom_token_certificate_binding"]);
    let said = ask(serde_json::json!({"active": true, "exp": 1_800_000_000_000_u64}));
    said.ends(0).holds(&["looks like milliseconds", "what it makes of a good one is not known"]);
    said.lacks(&["token is inactive"]);
    let odd = ask(serde_json::json!({"active": true, "iss": "https://as/$a", "aud": "a$b"}));
    odd.ends(0).holds(&["\"iss\" holds a $", "\"aud\" holds a $"]).lacks(&["issuer ", "_audience"]);
    let long = ask(serde_json::json!({"active": true, "aud": "a".repeat(300)}));
    long.ends(0).holds(&["aud: aaa"]).lacks(&["_audience"]);
}
