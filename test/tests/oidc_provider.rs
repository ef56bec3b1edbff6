//! A certified OpenID provider, npm's `oidc-provider`, behind the real gateway.

use std::process::Command;

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::{wait_for, wait_until};
use phantom_token_test::rig::{INVALID_TOKEN, UNAUTHORIZED};
use phantom_token_test::{Api, Gateway, OidcProvider, Reply, jwt};
use serde_json::{Value, json};

struct Parts {
    gateway: Gateway,
    provider: OidcProvider,
    api: Api,
}

/// A gateway whose locations ask the provider, each its own way: a path, the client that
/// introspects, and more directives.
fn start(locations: &[(&str, &str, &str)]) -> Parts {
    let provider = OidcProvider::start();
    let api = Api::start();
    let mut builder: Builder = Gateway::builder()
        .secret(OidcProvider::SECRET)
        .http(&format!("phantom_token_introspection_endpoint {};", provider.introspection_url()));
    for (path, client, directives) in locations {
        builder = builder.location(
            path,
            &format!(
                "phantom_token on;\nphantom_token_client_id {client};\n{directives}\n\
                 proxy_pass {};",
                api.url()
            ),
        );
    }
    Parts { gateway: builder.start(), provider, api }
}

const RIGHT: &str = "phantom_token_client_secret Password1;";

impl Parts {
    fn status(&self, path: &str, token: &str) -> u16 {
        self.gateway.secret(token);
        self.gateway.get_as(path, token).status
    }

    /// The claims of the JWT the API got last.
    fn claims(&self) -> Value {
        let received = self.api.last();
        let authorization = received.authorization();
        jwt::payload(authorization[0].strip_prefix("Bearer ").unwrap()).expect("a JWT")
    }
}

#[test]
fn active_unknown_revoked_and_wrong_scope() {
    let scope = format!("{RIGHT}\nphantom_token_scope write;");
    let parts = start(&[("/api", "gateway", RIGHT), ("/write", "gateway", &scope)]);
    let token = parts.provider.token("app", "read");
    for _ in 0..2 {
        assert_eq!(parts.status("/api", &token), 200);
    }
    let claims = parts.claims();
    assert_eq!(claims["iss"], parts.provider.url());
    assert_eq!(claims["client_id"], "app");
    assert_eq!(claims["scope"], "read");

    let challenge = "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"write\"";
    Reply::forbidden(challenge).assert(&parts.gateway.get_as("/write", &token));
    let both = parts.provider.token("app", "read write");
    assert_eq!(parts.status("/write", &both), 200);

    let revoked = parts.provider.token("app", "read");
    parts.provider.revoke("app", &revoked);
    for token in [&*revoked, "unknown"] {
        let response = parts.gateway.get_as("/api", token);
        Reply::unauthorized(INVALID_TOKEN).assert(&response);
    }
    assert_eq!(parts.api.count(), 3);
    // It sends "no-store" with every answer, active or not.
    parts.gateway.wait_for_log(&["[notice]", "forbids caching by Cache-Control"]);
}

#[test]
fn a_cached_token_ends_with_its_time() {
    let parts = start(&[("/api", "gateway", RIGHT)]);
    // It lives for two seconds: on a busy machine one may be over before it is asked about.
    let token = wait_for("a token asked for in time", || {
        let token = parts.provider.token("short-lived", "read");
        (parts.status("/api", &token) == 200).then_some(token)
    });
    wait_until("the token's end", || parts.status("/api", &token) == 401);
    assert_eq!(parts.gateway.get_as("/api", &token).text(), UNAUTHORIZED);
}

#[test]
fn signed_introspection_responses() {
    let accept =
        format!("{RIGHT}\nphantom_token_introspection_accept application/token-introspection+jwt;");
    let parts = start(&[
        ("/signed", "gateway-signed", &accept),
        // Not registered for them, it gets them too (before version 9, JSON).
        ("/plain", "gateway", &accept),
    ]);
    let token = parts.provider.token("app", "read");
    for path in ["/signed", "/plain"] {
        assert_eq!(parts.status(path, &token), 200, "{path}");
        let claims = parts.claims();
        assert_eq!(claims["client_id"], "app", "the access token's JWT, not the answer's");
        assert!(claims.get("token_introspection").is_none());
        assert_eq!(parts.status(path, "unknown"), 401);
    }
}

#[test]
fn claims_without_a_jwt() {
    let claims = format!(
        "{RIGHT}\nphantom_token_forward none;\n\
         proxy_set_header X-Client $phantom_token_claim_client_id;\n\
         proxy_set_header X-Scope $phantom_token_claim_scope;"
    );
    let parts = start(&[("/api", "gateway", RIGHT), ("/claims", "gateway", &claims)]);
    let token = parts.provider.token("without-jwt", "read");
    let response = parts.gateway.get_as("/claims/echo", &token);
    assert_eq!(response.status, 200);
    let echo: Value = serde_json::from_slice(&response.body).unwrap();
    let headers = echo["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["X-Client", "without-jwt"])), "{echo}");
    assert!(headers.contains(&json!(["X-Scope", "read"])), "{echo}");
    assert!(parts.api.last().authorization().is_empty());
    assert_eq!(parts.status("/claims/echo", "unknown"), 401);

    // Where the API needs a JWT, a token without one is the server's failure, not the client's.
    Reply::failure().assert(&parts.gateway.get_as("/api", &token));
    parts.gateway.wait_for_log(&["[error]", "no JWT came with it", "phantom_token_forward none"]);
    assert_eq!(parts.api.count(), 1);
}

#[test]
fn a_refresh_token_is_no_access_token() {
    let claims = format!("{RIGHT}\nphantom_token_forward none;");
    let declared = format!("{claims}\nphantom_token_kind declared;");
    let parts = start(&[
        ("/api", "gateway", RIGHT),
        ("/claims", "gateway", &claims),
        ("/declared", "gateway", &declared),
    ]);
    let access = parts.provider.token("without-jwt", "read");
    for path in ["/claims", "/declared"] {
        assert_eq!(parts.status(&format!("{path}/echo"), &access), 200, "{path}");
    }
    let refresh = parts.provider.refresh_token();
    for path in ["/declared", "/api", "/claims"] {
        assert_eq!(parts.status(path, &refresh), 401, "{path}");
    }
    assert_eq!(parts.api.count(), 2);
}

#[test]
fn ways_to_authenticate() {
    let encoded = "phantom_token_client_secret \"p+ss w%rd/&\";";
    let raw = format!("{encoded}\nphantom_token_client_auth basic_raw;");
    let post = format!("{encoded}\nphantom_token_client_auth post;");
    let parts = start(&[
        ("/encoded", "gateway-special", encoded),
        ("/post", "gateway-special", &post),
        ("/wrong", "gateway", "phantom_token_client_secret wrong;"),
        ("/raw", "gateway-special", &raw),
    ]);
    let token = parts.provider.token("app", "read");
    assert_eq!(parts.status("/encoded", &token), 200);
    assert_eq!(parts.status("/post", &token), 200);
    assert_eq!(parts.api.count(), 2);
    for path in ["/wrong", "/raw"] {
        Reply::failure().assert(&parts.gateway.get_as(path, &token));
    }
    parts.gateway.wait_for_log(&["[error]", "refused this client's credentials with status 401"]);
    assert_eq!(parts.api.count(), 2);
}

/// A private key as `openssl genpkey` makes it.
fn genpkey(arguments: &str) -> String {
    let output = Command::new("openssl").arg("genpkey").args(arguments.split(' ')).output();
    String::from_utf8(output.expect("openssl is installed").stdout).expect("PEM")
}

#[test]
fn assertions_by_every_kind_of_key_and_by_secret() {
    const SIGNING_SECRET: &str = "a secret of more than 32 bytes, +&";
    let p256 = genpkey("-algorithm EC -pkeyopt ec_paramgen_curve:P-256");
    let ed25519 = genpkey("-algorithm ed25519");
    let rsa = genpkey("-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
    // The client's name, its algorithm, its key, and how that is written.
    let by_key = [
        ("es256", "ES256", &p256, ""),
        ("eddsa", "EdDSA", &ed25519, ""),
        ("ed25519", "Ed25519", &ed25519, "alg=Ed25519"),
        ("rs256", "RS256", &rsa, ""),
        ("ps256", "PS256", &rsa, "alg=PS256"),
    ];
    let mut clients: Vec<Value> = by_key
        .iter()
        .map(|(name, alg, key, _)| {
            json!({
                "client_id": format!("gateway-{name}"),
                "key": key,
                "token_endpoint_auth_method": "private_key_jwt",
                "token_endpoint_auth_signing_alg": alg,
            })
        })
        .collect();
    clients.push(json!({
        "client_id": "gateway-hs256",
        "client_secret": SIGNING_SECRET,
        "token_endpoint_auth_method": "client_secret_jwt",
        "token_endpoint_auth_signing_alg": "HS256",
    }));
    let provider = OidcProvider::start_with(&Value::Array(clients));
    let issuer = provider.url().to_owned();
    let asking = |name: &str, client: &str, members: &str| {
        format!(
            "phantom_token_provider {name} {{\nintrospection_endpoint {};\nclient_id {client};\n{members}\n}}",
            provider.introspection_url()
        )
    };
    let mut blocks = Vec::new();
    for (name, _, _, alg) in by_key {
        let client = format!("gateway-{name}");
        let members =
            format!("client_auth private_key_jwt;\nissuer {issuer};\nclient_key {name}.key {alg};");
        blocks.push((name.to_owned(), asking(name, &client, &members)));
    }
    let endpoints = [issuer.clone(), format!("{issuer}/token"), provider.introspection_url()];
    for (n, aud) in endpoints.iter().enumerate() {
        let members = format!(
            "client_auth private_key_jwt aud={aud} typ=client-authentication+jwt;\nclient_key es256.key;"
        );
        blocks.push((format!("aud{n}"), asking(&format!("aud{n}"), "gateway-es256", &members)));
    }
    let secret =
        format!("client_auth client_secret_jwt aud={issuer};\nclient_secret \"{SIGNING_SECRET}\";");
    blocks.push(("hs256".to_owned(), asking("hs256", "gateway-hs256", &secret)));
    // Another client's key, another audience, another algorithm than the registered one.
    let wrong = |key: &str, auth: &str| {
        format!("client_auth private_key_jwt aud={auth};\nclient_key {key};")
    };
    let wrongs = [
        ("wrong-key", wrong("rs256.key", &issuer)),
        ("wrong-audience", wrong("es256.key", "https://elsewhere.example")),
        ("wrong-kid", wrong("es256.key kid=nobody", &issuer)),
    ];
    for (name, members) in &wrongs {
        blocks.push(((*name).to_owned(), asking(name, "gateway-es256", members)));
    }
    let api = Api::start();
    let mut builder = Gateway::builder().secret(SIGNING_SECRET).http("phantom_token_cache off;");
    for (name, _, key, _) in by_key {
        builder = builder.file(&format!("{name}.key"), key.clone());
    }
    for (name, block) in &blocks {
        let location =
            format!("phantom_token on;\nphantom_token_use {name};\nproxy_pass {};", api.url());
        builder = builder.http(block).location(&format!("/{name}"), &location);
    }
    let parts = Parts { gateway: builder.start(), provider, api };

    let token = parts.provider.token("app", "read");
    // It takes no assertion twice, and there is one for each call.
    for _ in 0..3 {
        for (name, _) in blocks.iter().filter(|(name, _)| !name.starts_with("wrong")) {
            assert_eq!(parts.status(&format!("/{name}"), &token), 200, "{name}");
        }
    }
    for (name, _) in &wrongs {
        Reply::failure().assert(&parts.gateway.get_as(&format!("/{name}"), &token));
    }
    parts.gateway.wait_for_log(&["[error]", "check the key id, the audience and both clocks"]);
}
