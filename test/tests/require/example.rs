//! `nginx-conf/requirements.conf`: each way in, and each way out.

use std::time::{SystemTime, UNIX_EPOCH};

use phantom_token_test::example::{Example, endpoint, server};
use phantom_token_test::rig::{Reply, challenge_parameters};
use phantom_token_test::{Api, Gateway, Mint, Response};
use serde_json::{Value, json};

fn ask(gateway: &Gateway, method: &str, host: &str, target: &str, token: &str) -> Response {
    let mut client = gateway.client();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    );
    client.send(head.as_bytes());
    client.read()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

#[test]
fn requirements() {
    let (server, api) = (server("api-gateway"), Api::start());
    let gateway = Example::read("requirements.conf")
        .asks(&endpoint(), &server)
        .issuer("https://login.example.com/oauth/v2/oauth-anonymous", &server)
        .passes_to(&api)
        .start();
    let token = |tenant: Value, roles: Value, more: &[(&str, Value)]| {
        let mint = Mint::new().claim("realm_access", json!({"roles": roles}));
        let mint = mint.claim("tenant", tenant);
        let mint = more.iter().fold(mint, |mint, (name, value)| mint.claim(name, value.clone()));
        server.mint(mint).token
    };
    let admin = token(json!("acme"), json!(["user", "admin"]), &[]);
    let auditor = token(json!("acme"), json!(["auditor"]), &[]);
    let (acme, other) = ("acme.api.example.com", "globex.api.example.com");
    let passes = |method: &str, host: &str, target: &str, token: &str| {
        let before = api.count();
        let response = ask(&gateway, method, host, target, token);
        assert_eq!(response.status, 200, "{method} {host} {target}");
        assert_eq!(api.count(), before + 1);
    };
    let refused = |method: &str, host: &str, target: &str, token: &str, unmet: &str| {
        let before = api.count();
        let response = ask(&gateway, method, host, target, token);
        Reply::unmet().assert(&response);
        assert_eq!(api.count(), before);
        let line = format!("\"{method} {host}{target}\" 403 token=DENIED reason=require");
        gateway.wait_for_access(&format!("{line} unmet=\"{unmet}\""));
    };

    // Roles: an admin may do all, an auditor may read.
    for method in ["GET", "POST", "DELETE"] {
        passes(method, acme, "/echo", &admin);
    }
    assert_eq!(api.last().head.headers.get("X-Tenant"), Some("acme"));
    passes("GET", acme, "/echo", &auditor);
    refused("DELETE", acme, "/a", &auditor, "$has_role");
    for (at, roles) in [
        json!([]),
        json!(null),
        json!("admin auditor"),
        json!(["auditor-readonly", "administrator", "Admin"]),
        json!({"admin": true}),
    ]
    .into_iter()
    .enumerate()
    {
        refused("GET", acme, &format!("/{at}"), &token(json!("acme"), roles, &[]), "$has_role");
    }

    // Tenants by host.
    refused("GET", other, "/b", &admin, "$is_own_host");
    passes("GET", other, "/echo", &token(json!("globex"), json!(["admin"]), &[]));
    for (at, tenant) in
        [json!(null), json!(""), json!(["acme", "globex"]), json!("acme globex"), json!("ACME")]
            .into_iter()
            .enumerate()
    {
        let wrong = token(tenant, json!(["admin"]), &[]);
        refused("GET", acme, &format!("/c{at}"), &wrong, "$is_own_host");
    }
    for host in ["api.example.com", "elsewhere.example"] {
        assert_eq!(ask(&gateway, "GET", host, "/", &admin).status, 404);
    }

    // Tenants by path: what is judged is what the API gets.
    let path_host = "api.example.com";
    passes("GET", path_host, "/tenants/acme/echo", &auditor);
    // The API is told the token's tenant, and not one that the client names.
    let (bearer, mut client) = (format!("Bearer {auditor}"), gateway.client());
    let sent = format!(
        "GET /tenants/acme/echo HTTP/1.1\r\nHost: {path_host}\r\nAuthorization: {bearer}\r\n\
         X-Tenant: globex\r\n\r\n"
    );
    client.send(sent.as_bytes());
    assert_eq!(client.read().status, 200);
    let tenants: Vec<_> = api.last().head.headers.all("X-Tenant").map(str::to_owned).collect();
    assert_eq!(tenants, ["acme"]);
    passes("GET", path_host, "/tenants/globex/%2e./acme/echo", &auditor);
    assert_eq!(api.last().head.path(), "/tenants/acme/echo");
    for target in [
        "/tenants/globex/echo",
        "/tenants/acme/../globex/echo",
        "/tenants/acme/%2e%2e/globex/echo",
        "/tenants/globex/%20/tenants/acme/",
        "/tenants/acmes/echo",
        "/tenants/acme",
    ] {
        let before = api.count();
        let response = ask(&gateway, "GET", path_host, target, &admin);
        assert_eq!(response.status, 401, "{target}");
        let error = ("error".to_owned(), "invalid_token".to_owned());
        assert!(challenge_parameters(&response).contains(&error), "{target}");
        assert_eq!(api.count(), before);
    }
    gateway.wait_for_access("401 token=DENIED reason=require unmet=\"$is_own_path\"");

    // A stronger, fresher log-in for one path.
    let factors = json!("urn:example:acr:two-factors");
    let login = |acr: &Value, ago: u64| {
        let more = [("acr", acr.clone()), ("auth_time", json!(now() - ago))];
        token(json!("acme"), json!(["admin"]), &more)
    };
    passes("POST", acme, "/payouts/echo", &login(&factors, 5));
    for (token, asked) in [
        (login(&json!("urn:example:acr:password"), 5), [true, false]),
        (login(&factors, 4000), [false, true]),
        (login(&json!(null), 4000), [true, true]),
        (admin.clone(), [true, true]),
    ] {
        let response = ask(&gateway, "POST", acme, "/payouts/echo", &token);
        assert_eq!(response.status, 401);
        let parameters = challenge_parameters(&response);
        let error = ("error".to_owned(), "insufficient_user_authentication".to_owned());
        assert!(parameters.contains(&error), "{parameters:?}");
        let names = ["acr_values", "max_age"];
        assert_eq!(names.map(|name| parameters.iter().any(|(known, _)| known == name)), asked);
        passes("POST", acme, "/echo", &token);
    }
    let fresh_auditor = [("acr", factors), ("auth_time", json!(now()))];
    let fresh_auditor = token(json!("acme"), json!(["auditor"]), &fresh_auditor);
    refused("POST", acme, "/payouts/d", &fresh_auditor, "$has_role");
}
