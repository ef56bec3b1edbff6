//! The examples in `nginx-conf/`, and what each server named there answers, byte for byte as far as
//! it matters: each answer goes to a gateway with that server's example configuration.

mod recorded;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use phantom_token_test::authorization_server::INTROSPECTION_PATH;
use phantom_token_test::keys::PemKey;
use phantom_token_test::nginx::version;
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::tls::Identity;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Script, port};

const SECRET: &str = "s3cret-of-the-gateway";

/// A server's example configuration, and how it asks.
struct Example {
    file: &'static str,
    endpoints: &'static [&'static str],
    accept: &'static str,
    /// `id:secret` of Basic, or none.
    credentials: Option<&'static str>,
    /// The scope it requires.
    scope: Option<&'static str>,
    /// Where its API is behind it.
    path: &'static str,
}

const CURITY: Example = Example {
    file: "curity.conf",
    endpoints: &[
        "https://idsvr-1.example.com:8443/oauth/v2/oauth-introspect",
        "https://idsvr-2.example.com:8443/oauth/v2/oauth-introspect",
    ],
    accept: "application/jwt",
    credentials: Some("api-gateway-client"),
    scope: Some("read"),
    path: "/api/echo",
};

const KEYCLOAK: Example = Example {
    file: "keycloak.conf",
    endpoints: &[
        "https://keycloak.example.com/realms/example/protocol/openid-connect/token/introspect",
    ],
    accept: "application/jwt",
    credentials: Some("api-gateway"),
    scope: None,
    path: "/api/echo",
};

const DUENDE: Example = Example {
    file: "duende.conf",
    endpoints: &["https://identity.example.com/connect/introspect"],
    accept: "application/token-introspection+jwt",
    credentials: Some("api1"),
    scope: Some("api1"),
    path: "/api/echo",
};

const HYDRA: Example = Example {
    file: "hydra.conf",
    endpoints: &["http://127.0.0.1:4445/admin/oauth2/introspect"],
    accept: "application/json",
    credentials: None,
    scope: Some("photos.read"),
    path: "/api/echo",
};

const SPRING: Example = Example {
    file: "spring.conf",
    endpoints: &["https://auth.example.com/oauth2/introspect"],
    accept: "application/json",
    credentials: Some("api-gateway"),
    scope: Some("message.read"),
    path: "/api/echo",
};

const OIDC_PROVIDER: Example = Example {
    file: "oidc-provider.conf",
    endpoints: &["https://op.example.com/token/introspection"],
    accept: "application/jwt",
    credentials: Some("gateway"),
    scope: None,
    path: "/api/echo",
};

const OIDC_PROVIDER_CLAIMS: Example = Example { path: "/claims/echo", ..OIDC_PROVIDER };

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx-conf").join(file);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_example_is_a_good_configuration() {
    let mut checked = 0;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx-conf");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "grpc.conf" && version() < (1, 25, 1) {
            continue;
        }
        let port = port::free();
        let mut config = read(&name).replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        if !config.contains("\nevents {") {
            continue; // to be included in one
        }
        // Some servers call refresh tokens and ID tokens active unless told what is meant.
        let hints = config.matches("token_type_hint access_token;").count();
        let blocks = config.matches("\n    phantom_token_provider ").count();
        assert!(hints >= blocks.max(1), "{name}");
        for other in ["127.0.0.1:8443", "127.0.0.1:9145", "127.0.0.1:4446"] {
            config = config.replace(other, &format!("127.0.0.1:{}", port::free()));
        }
        let sockets = tempfile::tempdir().unwrap();
        config = config.replace("/run/phantom-token", sockets.path().to_str().unwrap());
        let identity = Identity::self_signed(&["example.com"]);
        let check = Gateway::builder()
            .verbatim(&config, port)
            .file("phantom-token.secret", SECRET)
            .file("partner.secret", SECRET)
            .file("bakery.secret", SECRET)
            .file("brewery.secret", SECRET)
            .file("dairy.secret", SECRET)
            .file("bakery-ca.pem", identity.certificate.clone())
            .file("dairy-ca.pem", identity.certificate.clone())
            .file("login-ca.pem", identity.certificate.clone())
            .file("store-ca.pem", identity.certificate.clone())
            .file("store-password.secret", SECRET)
            .file("fleet.key", [b'k'; 32])
            .file("mint.key", PemKey::p256().private)
            .file("api-gateway.key", PemKey::p256().private)
            .file("server.pem", identity.certificate)
            .file("server.key", identity.key)
            .check();
        assert!(check.ok, "{name}: {}", check.messages);
        assert!(!check.messages.contains("[warn]"), "{name}: {}", check.messages);
        checked += 1;
    }
    assert!(checked >= 13);
}

/// What becomes of a request.
enum Expect<'a> {
    /// The API gets this JWT.
    Jwt(&'a str),
    /// The API gets no Authorization, but these headers.
    Claims(&'a [(&'a str, &'a str)]),
    /// 401.
    Inactive,
    /// 403.
    OutOfScope,
    /// 500, and a log line with these words.
    Failure(&'a str),
    /// 503, and a log line with these words.
    Unavailable(&'a str),
}

/// A gateway with an example's configuration, and its two neighbours.
struct Running {
    gateway: Gateway,
    server: AuthorizationServer,
    api: Api,
    example: &'static Example,
    tokens: std::cell::Cell<usize>,
}

impl Running {
    fn start(example: &'static Example) -> Self {
        let server = AuthorizationServer::builder().no_client_auth().start().unwrap();
        let api = Api::start();
        let port = port::free();
        let config = read(example.file);
        assert!(config.contains("http {\n"), "{}", example.file);
        let mut config = config
            .replace("http {\n", "http {\nphantom_token_cache_inactive_valid 60s;\n")
            .replace("error_log logs/", "error_log ")
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
            .replace("http://127.0.0.1:3000", &api.url());
        for endpoint in example.endpoints {
            assert!(config.contains(endpoint), "{} asks {endpoint}", example.file);
            // The host names are examples; what is asked for stays as it is.
            let url = format!("{}{INTROSPECTION_PATH}", server.url());
            config = config.replace(endpoint, &url);
        }
        let gateway = Gateway::builder()
            .verbatim(&config, port)
            .file("phantom-token.secret", format!("{SECRET}\n"))
            .secret(SECRET)
            .start();
        Self { gateway, server, api, example, tokens: std::cell::Cell::default() }
    }

    /// Lets the server answer so, and asks twice with a token of its own.
    #[track_caller]
    fn expect(&self, name: &str, answer: &str, expect: &Expect<'_>) {
        let row = format!("{}: {name}", self.example.file);
        self.tokens.set(self.tokens.get() + 1);
        let token = format!("opaque-{}", self.tokens.get());
        self.server.script(&token, Script::raw(bytes(answer)));
        let scope = self.example.scope.unwrap_or_default();
        let inactive = match scope {
            "" => INVALID_TOKEN.to_owned(),
            scope => INVALID_TOKEN.replace("\"api\", ", &format!("\"api\", scope=\"{scope}\", ")),
        };
        let out_of_scope =
            format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\"");
        let (before, lines) = (self.api.count(), self.gateway.module_lines().len());
        for round in 1..=2 {
            // What a client says of itself reaches no API.
            let headers = [("Authorization", &*format!("Bearer {token}")), ("X-Subject", "admin")];
            let response = self.gateway.get(self.example.path, &headers);
            match expect {
                Expect::Jwt(jwt) => {
                    assert_eq!(response.status, 200, "{row}");
                    assert_eq!(self.api.last().authorization(), [format!("Bearer {jwt}")], "{row}");
                }
                Expect::Claims(claims) => {
                    assert_eq!(response.status, 200, "{row}");
                    let received = self.api.last();
                    assert!(received.authorization().is_empty(), "{row}");
                    for (name, value) in *claims {
                        let values: Vec<_> = received.head.headers.all(name).collect();
                        assert_eq!(values, [*value], "{row}: {name}");
                    }
                }
                Expect::Inactive => Reply::unauthorized(&inactive).assert(&response),
                Expect::OutOfScope => Reply::forbidden(&out_of_scope).assert(&response),
                Expect::Failure(_) => Reply::failure().assert(&response),
                Expect::Unavailable(_) => Reply::unavailable("1").assert(&response),
            }
            // Failures are asked each time: our own calls are answered.
            let asked = self.server.introspections_of(&token);
            let most = match expect {
                Expect::Failure(_) | Expect::Unavailable(_) => {
                    assert_eq!(asked, round, "{row}: round {round}");
                    round
                }
                _ => 1,
            };
            assert!((1..=most).contains(&asked), "{row}: round {round}: asked {asked} times");
        }
        let passes = matches!(expect, Expect::Jwt(_) | Expect::Claims(_));
        assert_eq!(self.api.count() - before, if passes { 2 } else { 0 }, "{row}");
        if let Expect::Failure(words) | Expect::Unavailable(words) = expect {
            let log = self.gateway.module_lines().split_off(lines);
            let told = log.iter().any(|line| line.contains("[error]") && line.contains(words));
            assert!(told, "{row}: no {words:?} in {log:#?}");
        }

        let seen = self.server.seen();
        let seen = seen.last().unwrap();
        assert_eq!(seen.head.headers.get("accept"), Some(self.example.accept));
        let basic = |id| format!("Basic {}", STANDARD.encode(format!("{id}:{SECRET}")));
        let credentials = self.example.credentials.map(basic);
        assert_eq!(seen.head.headers.get("authorization"), credentials.as_deref());
        let form = format!("token={token}&token_type_hint=access_token");
        assert_eq!(seen.body, form.as_bytes());
    }
}

/// An answer with the lines' ends of HTTP and, where it may have a body, its length.
fn bytes(answer: &str) -> Vec<u8> {
    let (head, body) = answer.split_once("\n\n").expect("a head and a body");
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.replace('\n', "\r\n"));
    if !head.starts_with("204") {
        bytes.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    format!("{bytes}\r\n{body}").into_bytes()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn jws(header: &str, payload: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

#[test]
fn curity() {
    let (iat, exp) = (now(), now() + 300);
    let jwt = |scope: &str| {
        jws(
            r#"{"kid":"-38074812","x5t":"MR-pGTa866RdZLjN6Vwrfay907g","alg":"RS256"}"#,
            &format!(
                r#"{{"jti":"8d1b","delegationId":"2b1f","exp":{exp},"nbf":{iat},"scope":"{scope}","iss":"https://idsvr-1.example.com:8443/~","sub":"johndoe","aud":"api","iat":{iat},"purpose":"access_token"}}"#
            ),
        )
    };
    let (read, write) = (jwt("read openid"), jwt("write"));
    let raw = |jwt: &str| {
        format!(
            "200 OK\nContent-Type: application/jwt;charset=UTF-8\nCache-Control: max-age=300\n\
             Set-Cookie: session=x; Secure; HttpOnly\n\n{jwt}"
        )
    };
    let json = "200 OK\nContent-Type: application/json;charset=UTF-8\n\n";
    let running = Running::start(&CURITY);
    running.expect("application/jwt", &raw(&read), &Expect::Jwt(&read));
    running.expect("application/jwt, wrong scope", &raw(&write), &Expect::OutOfScope);
    running.expect("204", "204 No Content\nServer: Curity\n\n", &Expect::Inactive);
    let member = format!(
        r#"{json}{{"sub":"johndoe","purpose":"access_token","iss":"https://idsvr-1.example.com:8443/~","active":true,"phantom_token":"{read}","token_type":"bearer","client_id":"client-one","aud":"api","nbf":{iat},"scope":"read","exp":{exp}}}"#
    );
    running.expect("JSON with phantom_token", &member, &Expect::Jwt(&read));
    running.expect("JSON", &format!(r#"{json}{{"active":false}}"#), &Expect::Inactive);
    running.expect(
        "JSON without a JWT",
        &format!(r#"{json}{{"active":true,"sub":"johndoe","scope":"read","exp":{exp}}}"#),
        &Expect::Failure("no JWT came with it"),
    );
    running.expect(
        "wrong secret",
        "401 Unauthorized\nContent-Type: application/json\n\
         WWW-Authenticate: Basic realm=\"x\"\n\n{\"error\":\"invalid_client\"}",
        &Expect::Failure("credentials with status 401"),
    );
}

#[test]
fn keycloak() {
    let (iat, exp) = (now(), now() + 3600);
    let jwt = jws(
        r#"{"alg":"RS256","typ" : "JWT","kid" : "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"}"#,
        &format!(
            r#"{{"exp":{exp},"iat":{iat},"scope":"openid email","typ":"Bearer","sub":"f4d9"}}"#
        ),
    );
    let json = "200 OK\nCache-Control: no-cache\nContent-Type: application/json\n\
                Referrer-Policy: no-referrer\nX-Content-Type-Options: nosniff\n\n";
    let members = format!(
        r#""exp":{exp},"iat":{iat},"jti":"onrtac:1f0c","iss":"https://keycloak.example.com/realms/example","aud":["account","api"],"sub":"f4d9","typ":"Bearer","azp":"app","sid":"9a","acr":"1","allowed-origins":["/*"],"realm_access":{{"roles":["offline_access"]}},"scope":"openid email","email_verified":false,"preferred_username":"alice","client_id":"app","username":"alice","token_type":"Bearer","active":true"#
    );
    let running = Running::start(&KEYCLOAK);
    let with_jwt = format!("{json}{{{members},\"jwt\":\"{jwt}\"}}");
    running.expect("JSON with jwt", &with_jwt, &Expect::Jwt(&jwt));
    running.gateway.wait_for_log(&["[notice]", "forbids caching by Cache-Control"]);
    running.expect(
        "a client that gets no JWT",
        &format!("{json}{{{members}}}"),
        &Expect::Failure("no JWT came with it"),
    );
    let bound = format!(r#"{json}{{{members},"cnf":{{"jkt":"0ZcOCORZNYy"}},"jwt":"{jwt}"}}"#);
    running.expect("a DPoP-bound token", &bound, &Expect::Inactive);
    running.expect("inactive", &format!(r#"{json}{{"active":false}}"#), &Expect::Inactive);
    // It signs a JWT with all claims for an inactive token as well.
    let signed = format!(r#"{json}{{"active":false,"jwt":"{jwt}"}}"#);
    running.expect("inactive, with a JWT", &signed, &Expect::Inactive);
    // Keycloak 25 signs a JWT of the realm for refresh tokens, ID tokens and offline tokens too.
    for kind in ["Refresh", "ID", "Offline"] {
        let header = r#"{"alg":"RS256","typ" : "JWT"}"#;
        let other = jws(header, &format!(r#"{{"exp":{exp},"typ":"{kind}","sub":"f4d9"}}"#));
        let said = members.replace("\"Bearer\"", &format!("\"{kind}\""));
        let both = format!("{json}{{{said},\"jwt\":\"{other}\"}}");
        running.expect(kind, &both, &Expect::Inactive);
        // By what the JWT says alone.
        let inside = format!("{json}{{{members},\"jwt\":\"{other}\"}}");
        running.expect(kind, &inside, &Expect::Inactive);
    }
    // An extension that answers with the JWT alone.
    let alone = format!("200 OK\nCache-Control: no-cache\nContent-Type: application/jwt\n\n{jwt}");
    running.expect("application/jwt", &alone, &Expect::Jwt(&jwt));
    let none = "204 No Content\nCache-Control: no-cache\n\n";
    running.expect("application/jwt, inactive", none, &Expect::Inactive);
    for (status, error, words) in [
        ("400 Bad Request", "invalid_request", "answered with status 400"),
        ("406 Not Acceptable", "not_acceptable", "answered with status 406"),
        ("403 Forbidden", "access_denied", "credentials with status 403"),
    ] {
        let answer = format!(
            "{status}\nCache-Control: no-store\nContent-Type: application/json\n\n\
             {{\"error\":\"{error}\",\"error_description\":\"x\"}}"
        );
        running.expect(status, &answer, &Expect::Failure(words));
    }
}

#[test]
fn duende() {
    let (iat, exp) = (now(), now() + 3600);
    let cache = "Cache-Control: no-store, no-cache, max-age=0\nPragma: no-cache";
    let json = format!("200 OK\nContent-Type: application/json; charset=UTF-8\n{cache}\n\n");
    let members = |scope: &str| {
        format!(
            r#"{{"iss":"https://identity.example.com","nbf":{iat},"iat":{iat},"exp":{exp},"aud":["api1"],"client_id":"client","sub":"1","active":true,"scope":"{scope}"}}"#
        )
    };
    let wrapped = |object: &str| {
        let jwt = jws(
            r#"{"alg":"RS256","kid":"4A","typ":"token-introspection+jwt"}"#,
            &format!(
                r#"{{"iss":"https://identity.example.com","iat":{iat},"aud":"api1","token_introspection":{object}}}"#
            ),
        );
        format!("200 OK\nContent-Type: application/token-introspection+jwt\n{cache}\n\n{jwt}")
    };
    let active = members("api1 offline_access");
    let claims = Expect::Claims(&[
        ("X-Subject", "1"),
        ("X-Client", "client"),
        ("X-Scope", "api1 offline_access"),
    ]);
    let running = Running::start(&DUENDE);
    running.expect("RFC 9701", &wrapped(&active), &claims);
    running.expect("RFC 9701, inactive", &wrapped(r#"{"active":false}"#), &Expect::Inactive);
    let other = wrapped(&members("api2"));
    running.expect("RFC 9701, wrong scope", &other, &Expect::OutOfScope);
    running.expect("JSON", &format!("{json}{active}"), &claims);
    let inactive = format!(r#"{json}{{"active":false}}"#);
    running.expect("JSON, inactive", &inactive, &Expect::Inactive);
    let mislabelled = wrapped(&active).replace("token-introspection+jwt\n", "jwt\n");
    running.expect("RFC 9701 as application/jwt", &mislabelled, &claims);
    let unsigned = format!(
        "200 OK\nContent-Type: application/token-introspection+jwt\n{cache}\n\n{}",
        jws(
            r#"{"alg":"none","typ":"token-introspection+jwt"}"#,
            &format!(r#"{{"token_introspection":{active}}}"#)
        )
    );
    running.expect("RFC 9701, unsigned", &unsigned, &Expect::Failure("\"alg\" is missing"));
    running.expect("bad request", "400 Bad Request\n\n", &Expect::Failure("with status 400"));
    running.expect("media type", "415 Unsupported\n\n", &Expect::Failure("with status 415"));
    running.expect(
        "wrong secret",
        "401 Unauthorized\n\n",
        &Expect::Failure("credentials with status 401"),
    );
}

#[test]
fn hydra() {
    let (iat, exp) = (now(), now() + 3600);
    let head = "200 OK\nContent-Type: application/json;charset=UTF-8\n\n";
    let active = |scope: &str| {
        format!(
            "{head}{{\"active\":true,\"scope\":\"{scope}\",\"client_id\":\"c\",\"sub\":\"peter\",\
             \"exp\":{exp},\"iat\":{iat},\"nbf\":{iat},\"aud\":[],\
             \"iss\":\"http://127.0.0.1:4444/\",\"token_type\":\"Bearer\",\
             \"token_use\":\"access_token\",\"ext\":{{\"department\":\"a b\"}}}}\n"
        )
    };
    let running = Running::start(&HYDRA);
    running.expect(
        "JSON",
        &active("photos.read"),
        &Expect::Claims(&[
            ("X-Subject", "peter"),
            ("X-Client", "c"),
            ("X-Scope", "photos.read"),
            ("X-Session", "{\"department\":\"a b\"}"),
        ]),
    );
    running.expect("wrong scope", &active("photos"), &Expect::OutOfScope);
    let refresh = active("photos.read").replace("access_token", "refresh_token");
    running.expect("a refresh token", &refresh, &Expect::Inactive);
    running.expect(
        "inactive",
        "200 OK\nCache-Control: no-store\nPragma: no-cache\n\
         Content-Type: application/json;charset=UTF-8\n\n{\"active\":false}\n",
        &Expect::Inactive,
    );
    running.expect(
        "bad request",
        "400 Bad Request\nContent-Type: application/json;charset=UTF-8\n\n\
         {\"error\":\"invalid_request\",\"error_description\":\"The POST body is empty.\"}",
        &Expect::Failure("with status 400"),
    );
}

#[test]
fn spring() {
    let (iat, exp) = (now(), now() + 300);
    let head = "200 \nX-Content-Type-Options: nosniff\nX-XSS-Protection: 0\n\
                Cache-Control: no-cache, no-store, max-age=0, must-revalidate\n\
                Pragma: no-cache\nExpires: 0\nContent-Type: application/json;charset=UTF-8\n\n";
    let active = |scope: &str| {
        format!(
            "{head}{{\"active\":true,\"sub\":\"messaging-client\",\"aud\":[\"messaging-client\"],\
             \"nbf\":{iat},\"scope\":\"{scope}\",\"iss\":\"https://auth.example.com\",\
             \"exp\":{exp},\"iat\":{iat},\"jti\":\"2e\",\"client_id\":\"messaging-client\",\
             \"token_type\":\"Bearer\"}}"
        )
    };
    let running = Running::start(&SPRING);
    running.expect(
        "JSON",
        &active("message.read message.write"),
        &Expect::Claims(&[
            ("X-Subject", "messaging-client"),
            ("X-Scope", "message.read message.write"),
        ]),
    );
    running.expect("wrong scope", &active("openid"), &Expect::OutOfScope);
    // Refresh tokens, ID tokens, unused codes and user codes of eight letters: all without a type.
    let other = active("message.read").replace(",\"token_type\":\"Bearer\"", "");
    running.expect("no access token", &other, &Expect::Inactive);
    running.expect("a user code", &format!("{head}{{\"active\":true}}"), &Expect::Inactive);
    running.expect("inactive", &format!("{head}{{\"active\":false}}"), &Expect::Inactive);
    running.expect(
        "wrong secret",
        "401 \nContent-Type: application/json;charset=UTF-8\n\n{\"error\":\"invalid_client\"}",
        &Expect::Failure("credentials with status 401"),
    );
}

#[test]
fn oidc_provider() {
    let (iat, exp) = (now(), now() + 3600);
    let jwt = jws(r#"{"alg":"RS256","typ":"at+jwt"}"#, &format!(r#"{{"sub":"foo","exp":{exp}}}"#));
    let members = format!(
        r#""active":true,"client_id":"c","exp":{exp},"iat":{iat},"iss":"https://op.example.com","scope":"api:read","sub":"foo","token_type":"Bearer""#
    );
    let head = "200 OK\ncache-control: no-store\ncontent-type: application/json; charset=utf-8\n\n";
    let wrapped = |object: &str| {
        format!(
            "200 OK\ncache-control: no-store\n\
             content-type: application/token-introspection+jwt; charset=utf-8\n\n{}",
            jws(
                r#"{"alg":"PS256","typ":"token-introspection+jwt","kid":"k"}"#,
                &format!(
                    r#"{{"token_introspection":{object},"iat":{iat},"iss":"https://op.example.com","aud":"gateway"}}"#
                )
            )
        )
    };
    let with_jwt = format!(r#"{{{members},"phantom_token":"{jwt}"}}"#);
    let without = format!("{{{members}}}");
    let unsupported = "400 Bad Request\ncache-control: no-store\n\
                       content-type: application/json; charset=utf-8\n\n\
                       {\"error\":\"unsupported_token_type\",\"error_description\":\"x\"}";
    let no_jwt = Expect::Failure("no JWT came with it");

    let running = Running::start(&OIDC_PROVIDER);
    running.expect("JSON with phantom_token", &format!("{head}{with_jwt}"), &Expect::Jwt(&jwt));
    running.expect("JSON", &format!("{head}{without}"), &no_jwt);
    running.expect("RFC 9701 with phantom_token", &wrapped(&with_jwt), &Expect::Jwt(&jwt));
    running.expect("RFC 9701", &wrapped(&without), &no_jwt);
    running.expect("inactive", &format!("{head}{{\"active\":false}}"), &Expect::Inactive);
    let inactive = wrapped(r#"{"active":false}"#);
    running.expect("RFC 9701, inactive", &inactive, &Expect::Inactive);
    running.expect("a token that is a JWT", unsupported, &Expect::Inactive);

    let claims =
        Expect::Claims(&[("X-Subject", "foo"), ("X-Client", "c"), ("X-Scope", "api:read")]);
    let running = Running::start(&OIDC_PROVIDER_CLAIMS);
    running.expect("claims", &format!("{head}{without}"), &claims);
    running.expect("claims of RFC 9701", &wrapped(&without), &claims);
    let refresh = without.replace(r#","token_type":"Bearer""#, "");
    running.expect("a refresh token", &format!("{head}{refresh}"), &Expect::Inactive);
    running.expect("claims beside a JWT", &format!("{head}{with_jwt}"), &claims);
    running.expect("inactive", &format!("{head}{{\"active\":false}}"), &Expect::Inactive);
}

#[test]
fn what_stands_in_front_of_a_server() {
    let html = "<html><body>Please log in</body></html>";
    for (status, expect) in [
        ("502 Bad Gateway", Expect::Failure("with status 502")),
        ("503 Service Unavailable", Expect::Unavailable("with status 503")),
        ("504 Gateway Timeout", Expect::Failure("with status 504")),
        ("302 Found\nLocation: https://login.example.com/", Expect::Failure("with status 302")),
        ("200 OK", Expect::Failure("its content type is none of")),
    ] {
        let answer = format!("{status}\nContent-Type: text/html\n\n{html}");
        // A gateway each: failures that repeat themselves are summed up in the log.
        let running = Running::start(&KEYCLOAK);
        running.expect(status, &answer, &expect);
    }
}
