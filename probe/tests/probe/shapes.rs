//! Servers as there are, as far as it shows at their introspection endpoint: what each takes, and how it
//! answers (docs/authorization-servers.md). What is printed for each must be what its example says, and work.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phantom_token_test::jwt::SigningKey;
use phantom_token_test::server::{After, Exchange, Server, Service};
use phantom_token_test::{Api, Gateway};
use serde_json::{Value, json};

use crate::program::{Program, Said};

pub(crate) const ID: &str = "api-gateway";
/// Form-urlencoding changes it.
pub(crate) const SECRET: &str = "p%ss w+rd:/\u{fc}";
const PLAIN_SECRET: &str = "plain-secret_1";
const TOKEN: &str = "opaque-access-token";
const REFRESH: &str = "opaque-refresh-token";

/// What is asked.
pub(crate) struct Asked {
    pub(crate) form: HashMap<String, String>,
    accept: String,
    authorization: String,
}

impl Asked {
    fn token(&self) -> &str {
        self.form.get("token").map_or("", String::as_str)
    }

    fn hint(&self) -> &str {
        self.form.get("token_type_hint").map_or("", String::as_str)
    }

    fn accepts(&self, accept: &str) -> bool {
        self.accept == accept
    }
}

/// An answer: status, content type, further headers, body.
pub(crate) struct Answer(u16, &'static str, Vec<(&'static str, &'static str)>, String);

fn json(body: &Value) -> Answer {
    Answer(200, "application/json", Vec::new(), body.to_string())
}

fn inactive() -> Answer {
    json(&json!({"active": false}))
}

fn status(status: u16) -> Answer {
    Answer(status, "text/plain", Vec::new(), String::new())
}

fn error(status: u16, error: &str) -> Answer {
    Answer(status, "application/json", Vec::new(), json!({"error": error}).to_string())
}

/// How a server takes the client's credentials.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    /// Form-urlencoded, as RFC 6749 asks; 401 otherwise.
    Encoded,
    /// As they are.
    Raw,
    /// As they are; what is encoded is a bad request.
    RawElse400,
    /// As they are; any other client is told that no token is active.
    RawSilently,
    /// In the body.
    Post,
    /// Whatever comes.
    Anything,
}

/// A server: how it takes credentials, and what it answers.
struct Shape {
    name: &'static str,
    takes: Takes,
    secret: &'static str,
    answer: fn(&Asked) -> Answer,
    /// What must be printed beside endpoint, client and `phantom_token on`.
    prints: &'static [&'static str],
    /// What must not be.
    lacks: &'static [&'static str],
    /// The program's status, and what a gateway makes of the refresh token.
    status: i32,
    refresh: u16,
}

/// A good token's claims.
fn claims(more: &Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let mut claims = json!({
        "active": true, "sub": "alice@example.com", "client_id": "app", "scope": "read write",
        "iss": "https://as.example.com", "exp": now + 300,
    });
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

fn access_jwt(typ: &str, more: &Value) -> String {
    let mut claims = claims(more);
    claims.as_object_mut().expect("an object").remove("active");
    SigningKey::generate().sign(typ, &claims)
}

/// What these servers have in common: other tokens are inactive.
fn known(asked: &Asked, access: Answer, refresh: Option<Answer>) -> Answer {
    match (asked.token(), refresh) {
        (TOKEN, _) => access,
        (REFRESH, Some(refresh)) => refresh,
        _ => inactive(),
    }
}

const SHAPES: [Shape; 16] = [
    Shape {
        name: "Curity",
        takes: Takes::Encoded,
        secret: SECRET,
        answer: |asked| match asked.token() {
            TOKEN if asked.accepts("application/jwt") => Answer(
                200,
                "application/jwt;charset=UTF-8",
                Vec::new(),
                access_jwt("at+jwt", &json!({})),
            ),
            TOKEN => json(&claims(&json!({}))),
            _ => status(204),
        },
        prints: &["introspection_accept application/jwt", "client_auth basic", "forward jwt"],
        lacks: &["phantom_token_kind"],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "Keycloak 26",
        takes: Takes::Encoded,
        secret: SECRET,
        answer: |asked| {
            let jwt = access_jwt("JWT", &json!({"typ": "Bearer"}));
            let mut answer = claims(&json!({"typ": "Bearer", "token_type": "Bearer"}));
            if asked.accepts("application/jwt") {
                answer["jwt"] = jwt.into();
            }
            known(asked, json(&answer), None)
        },
        prints: &["introspection_accept application/jwt", "forward jwt", "kind declared"],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "Keycloak 25",
        takes: Takes::Encoded,
        secret: SECRET,
        answer: |asked| {
            let answer = |typ: &str| {
                let mut answer = claims(&json!({"typ": typ}));
                if asked.accepts("application/jwt") {
                    answer["jwt"] = access_jwt("JWT", &json!({"typ": typ})).into();
                }
                json(&answer)
            };
            match asked.token() {
                TOKEN => answer("Bearer"),
                REFRESH => answer("Refresh"),
                _ if asked.accepts("application/jwt") => error(400, "invalid_request"),
                _ => inactive(),
            }
        },
        prints: &["introspection_accept application/jwt", "forward jwt", "kind declared"],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "Duende",
        takes: Takes::Encoded,
        secret: SECRET,
        answer: |asked| {
            let answer = claims(&json!({"aud": "api1"}));
            if !asked.accepts("application/token-introspection+jwt") {
                return match asked.accepts("application/json") {
                    true => known(asked, json(&answer), None),
                    false => status(406),
                };
            }
            let of = if asked.token() == TOKEN { answer } else { json!({"active": false}) };
            let jwt = SigningKey::generate()
                .sign("token-introspection+jwt", &json!({"token_introspection": of}));
            Answer(200, "application/token-introspection+jwt", Vec::new(), jwt)
        },
        prints: &["introspection_accept application/json", "forward none"],
        lacks: &["phantom_token_kind"],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "a server of RFC 9701 alone",
        takes: Takes::Encoded,
        secret: PLAIN_SECRET,
        answer: |asked| {
            if !asked.accepts("application/token-introspection+jwt") {
                return status(406);
            }
            let of = match asked.token() {
                TOKEN => claims(&json!({})),
                _ => json!({"active": false}),
            };
            let jwt = SigningKey::generate()
                .sign("token-introspection+jwt", &json!({"token_introspection": of}));
            Answer(200, "application/token-introspection+jwt", Vec::new(), jwt)
        },
        prints: &["introspection_accept application/token-introspection+jwt", "forward none"],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "Glewlwyd",
        takes: Takes::Raw,
        secret: SECRET,
        answer: |asked| {
            let is_json = asked.accepts("application/json");
            match asked.token() {
                TOKEN if is_json => json(&claims(&json!({"token_type": "bearer"}))),
                TOKEN => {
                    let answer = claims(&json!({"token_type": "bearer"}));
                    let jwt = SigningKey::generate().sign("token-introspection+jwt", &answer);
                    Answer(200, "application/jwt", Vec::new(), jwt)
                }
                REFRESH if is_json && asked.hint().is_empty() => {
                    json(&claims(&json!({"token_type": "refresh_token"})))
                }
                _ if is_json => inactive(),
                _ => status(400),
            }
        },
        prints: &[
            "introspection_accept application/json",
            "client_auth basic_raw",
            "forward none",
            "kind declared",
            "token_type_hint access_token",
        ],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "Doorkeeper",
        takes: Takes::Raw,
        secret: SECRET,
        answer: |asked| {
            let of = || {
                let answer = claims(&json!({"token_type": "Bearer"}));
                let control = ("Cache-Control", "max-age=0, private, must-revalidate");
                Answer(200, "application/json", vec![control], answer.to_string())
            };
            known(asked, of(), Some(of()))
        },
        prints: &[
            "introspection_accept application/json",
            "client_auth basic_raw",
            "forward none",
            "kind declared",
        ],
        lacks: &["cache_control"],
        status: 3,
        refresh: 200,
    },
    Shape {
        name: "a server behind a cache",
        takes: Takes::Encoded,
        secret: PLAIN_SECRET,
        answer: |asked| {
            let control = ("Cache-Control", "s-maxage=0");
            let answer = claims(&json!({})).to_string();
            known(asked, Answer(200, "application/json", vec![control], answer), None)
        },
        prints: &["cache_control ignore", "forward none"],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "django-oidc-provider",
        takes: Takes::RawSilently,
        secret: SECRET,
        answer: |asked| known(asked, json(&claims(&json!({"aud": "app"}))), None),
        prints: &["client_auth basic_raw", "introspection_accept application/json", "forward none"],
        lacks: &["kind"],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "idpy-oidc",
        takes: Takes::RawElse400,
        secret: SECRET,
        answer: |asked| known(asked, json(&claims(&json!({"token_class": "access_token"}))), None),
        prints: &["client_auth basic_raw", "forward none", "kind declared"],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "Hydra",
        takes: Takes::Anything,
        secret: "",
        answer: |asked| {
            let named = |token_use| {
                let answer = claims(&json!({"token_type": "Bearer", "token_use": token_use}));
                json(&answer)
            };
            known(asked, named("access_token"), Some(named("refresh_token")))
        },
        prints: &["client_auth none", "forward none", "kind declared"],
        lacks: &["phantom_token_client_id", "client_secret"],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "MITREid Connect",
        takes: Takes::Raw,
        secret: SECRET,
        answer: |asked| {
            let refresh = json(&claims(&json!({})));
            match asked.accepts("application/json") {
                true => {
                    known(asked, json(&claims(&json!({"token_type": "Bearer"}))), Some(refresh))
                }
                false => status(405),
            }
        },
        prints: &[
            "introspection_accept application/json",
            "client_auth basic_raw",
            "forward none",
            "kind declared",
        ],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "Spring",
        takes: Takes::Encoded,
        secret: SECRET,
        answer: |asked| {
            let access = json(&claims(&json!({"token_type": "Bearer"})));
            known(asked, access, Some(json(&claims(&json!({})))))
        },
        prints: &["client_auth basic", "forward none", "kind declared"],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "nothing tells refresh tokens apart",
        takes: Takes::Encoded,
        secret: PLAIN_SECRET,
        answer: |asked| {
            let of = || json(&claims(&json!({})));
            known(asked, of(), Some(of()))
        },
        prints: &["client_auth basic", "forward none"],
        lacks: &["phantom_token_kind"],
        status: 3,
        refresh: 200,
    },
    Shape {
        name: "a client registered for client_secret_post",
        takes: Takes::Post,
        secret: SECRET,
        answer: |asked| known(asked, json(&claims(&json!({}))), None),
        prints: &["client_auth post", "forward none"],
        lacks: &[],
        status: 0,
        refresh: 401,
    },
    Shape {
        name: "a hint that is not understood",
        takes: Takes::Encoded,
        secret: PLAIN_SECRET,
        answer: |asked| match asked.hint() {
            "" => known(asked, json(&claims(&json!({}))), None),
            _ => inactive(),
        },
        prints: &["client_auth basic"],
        lacks: &["token_type_hint access_token"],
        status: 0,
        refresh: 401,
    },
];

/// Serves a shape; counts calls, and those whose credentials it refused.
pub(crate) struct Shaped {
    takes: Takes,
    secret: &'static str,
    answer: fn(&Asked) -> Answer,
    calls: AtomicUsize,
    refused: AtomicUsize,
}

impl Shaped {
    /// What stands in the way of a client; `None`: nothing does.
    fn refusal(&self, asked: &Asked) -> Option<Answer> {
        let encoded =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let sent = sent_basic(&asked.authorization);
        let right = [ID, self.secret].map(str::to_owned);
        let as_asked = sent == Some([encoded(ID), encoded(self.secret)]);
        let as_it_is = sent.as_ref() == Some(&right);
        match self.takes {
            Takes::Anything => None,
            Takes::Encoded if as_asked => None,
            Takes::Raw | Takes::RawElse400 | Takes::RawSilently if as_it_is => None,
            Takes::Post => {
                let field = |name: &str| asked.form.get(name).map(String::as_str);
                let right = field("client_id") == Some(ID)
                    && field("client_secret") == Some(self.secret)
                    && sent.is_none();
                (!right).then(|| error(401, "invalid_client"))
            }
            Takes::RawElse400 => Some(status(400)),
            Takes::RawSilently => Some(inactive()),
            _ => Some(error(401, "invalid_client")),
        }
    }
}

fn sent_basic(authorization: &str) -> Option<[String; 2]> {
    let bytes = STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some([id.to_owned(), secret.to_owned()])
}

impl Service for Shaped {
    fn serve(&self, exchange: &mut Exchange<'_>) -> io::Result<After> {
        let body = exchange.read_body()?;
        let head = &exchange.head.headers;
        let header = |name: &str| head.get(name).unwrap_or_default().to_owned();
        let asked = Asked {
            form: form_urlencoded::parse(&body).into_owned().collect(),
            accept: header("accept"),
            authorization: header("authorization"),
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        let refusal = self.refusal(&asked);
        if refusal.is_some() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let Answer(status, content_type, more, body) =
            refusal.unwrap_or_else(|| (self.answer)(&asked));
        let mut headers = vec![("Content-Type", content_type)];
        headers.extend(more);
        exchange.respond(status, &headers, body.as_bytes())?;
        Ok(After::KeepAlive)
    }
}

/// Starts it; its URL ends in a path.
fn start(shape: &Shape) -> (Server, Arc<Shaped>, String) {
    let shaped = Arc::new(Shaped {
        takes: shape.takes,
        secret: shape.secret,
        answer: shape.answer,
        calls: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
    });
    let listener = phantom_token_test::port::listen("127.0.0.1".parse().expect("an address"));
    let server = Server::serve(listener.expect("a port"), None, shaped.clone()).expect("a server");
    let url = format!("http://{}/introspect", server.address());
    (server, shaped, url)
}

fn ask(shape: &Shape, url: &str) -> Said {
    let program = Program::new();
    let program = match shape.takes {
        Takes::Anything => program,
        _ => program.client(ID, shape.secret),
    };
    // Whom a token is about is nobody's business.
    program.token(TOKEN).refresh_token(REFRESH).hides("alice").ask(url)
}

fn get(gateway: &Gateway, token: &str) -> u16 {
    gateway.secret(token);
    gateway.get_as("/api", token).status
}

#[test]
fn what_is_printed_for_each_server_works_in_a_gateway() {
    for shape in &SHAPES {
        let name = shape.name;
        let (_server, shaped, url) = start(shape);
        let said = ask(shape, &url);
        assert_eq!(said.status, shape.status, "{name}:\n{}{}", said.out, said.error);
        assert_eq!(said.out.contains("NOT SAFE"), shape.status == 3, "{name}");
        let directives = said.directives();
        for print in shape.prints {
            let line = format!("phantom_token_{print};");
            assert!(directives.contains(&line), "{name}: {line}\n{}", said.out);
        }
        for lack in shape.lacks {
            assert!(!directives.iter().any(|line| line.contains(lack)), "{name}: {directives:?}");
        }
        let calls = shaped.calls.load(Ordering::Relaxed);
        assert_eq!(said.calls(), calls, "{name}");
        assert!(calls <= 9 && shaped.refused.load(Ordering::Relaxed) <= 3, "{name}: {calls}");

        let api = Api::start();
        let gateway = said.gateway(&api);
        assert_eq!(get(&gateway, TOKEN), 200, "{name}:\n{}", said.out);
        let passed = api.last().authorization().first().map(|value| (*value).to_owned());
        let forwards = directives.iter().any(|line| line == "phantom_token_forward jwt;");
        assert_eq!(passed.is_some(), forwards, "{name}");
        let unknown = if name == "Keycloak 25" { 500 } else { 401 };
        assert_eq!(get(&gateway, "unknown"), unknown, "{name}");
        assert_eq!(get(&gateway, REFRESH), shape.refresh, "{name}");
    }
}

#[test]
fn in_a_block_it_works_as_well() {
    let shape = &SHAPES[0];
    let (_server, _shaped, url) = start(shape);
    let program = Program::new().client(ID, shape.secret).token(TOKEN);
    let said = program.argument("--provider", "main").ask(&url);
    said.ends(0).holds(&["phantom_token_provider main {", "    issuer https://as.example.com;"]);
    let api = Api::start();
    let gateway = said.gateway(&api);
    assert_eq!(get(&gateway, TOKEN), 200);
    assert_eq!(get(&gateway, "unknown"), 401);
}

#[test]
fn a_wrong_secret_costs_few_calls() {
    for shape in SHAPES.iter().filter(|shape| shape.takes != Takes::Anything) {
        let (_server, shaped, url) = start(shape);
        let said = Program::new().client(ID, "wr\u{f6}ng+secret").token(TOKEN).ask(&url);
        said.ends(1).holds(&["It does not work", "Cause: ", "Remedy: "]);
        let refused = shaped.refused.load(Ordering::Relaxed);
        // One calls every token inactive then: nothing tells what is wrong.
        let most = if shape.takes == Takes::RawSilently { 4 } else { 3 };
        assert!(refused <= most, "{}: {refused}\n{}", shape.name, said.out);
    }
}
