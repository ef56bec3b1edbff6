//! What each answer of an authorization server makes of a request: every row of the module's table,
//! and the answers that must never let a token in.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phantom_token_test::authorization_server::INTROSPECTION_PATH;
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{AuthorizationServer, Mint, Reply, Response, Rig, Script};
use serde_json::{Value, json};

const RESPONSE_JWT: &str = "application/token-introspection+jwt";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn jws(header: &str, payload: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// An access token's JWT with these claims.
fn jwt(claims: &Value) -> String {
    jws(r#"{"alg":"ES256","typ":"at+jwt"}"#, &claims.to_string())
}

/// An RFC 9701 answer.
fn wrapped(object: &Value) -> String {
    jws(
        r#"{"alg":"ES256","typ":"token-introspection+jwt"}"#,
        &json!({"iss": "as", "aud": "rs", "iat": now(), "token_introspection": object}).to_string(),
    )
}

fn as_jwt(jwt: &str) -> Script {
    Script::jwt(jwt)
}

fn with_status(status: u16, body: &Value) -> Script {
    Script::status(status).header("Content-Type", "application/json").body(body.to_string())
}

/// How many answers one gateway may be asked for.
const ROWS: usize = 80;

/// A gateway and a token for every answer.
struct Table {
    rig: Rig,
    rows: usize,
}

impl Table {
    fn start(directives: &str) -> Self {
        let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
            let builder = builder
                .directives(directives)
                .directives("proxy_set_header X-Sub $phantom_token_claim_sub;");
            // Failures of one endpoint that repeat themselves are summed up in the log, so each
            // row has an endpoint of its own, all of them the one server.
            (1..=ROWS).fold(builder, |builder, row| {
                let endpoint = format!(
                    "http://row-{row}.invalid{INTROSPECTION_PATH} connect=127.0.0.1:{}",
                    server.port()
                );
                builder.location(
                    &format!("= /row-{row}"),
                    &format!(
                        "phantom_token on;\n\
                         phantom_token_introspection_endpoint {endpoint};\n\
                         {directives}\ntry_files /none =204;"
                    ),
                )
            })
        });
        Self { rig, rows: 0 }
    }

    fn script(&mut self, script: Script) -> String {
        self.rows += 1;
        assert!(self.rows <= ROWS);
        let token = format!("row-{}", self.rows);
        self.rig.server.script(&token, script);
        token
    }

    /// An API that takes anything.
    fn get(&self, token: &str) -> Response {
        self.rig.gateway.get_as("/api/echo", token)
    }

    /// Active: the API gets `jwt`, and the second request asks nobody.
    #[track_caller]
    fn active(&mut self, script: Script, jwt: &str) {
        let token = self.script(script);
        for _ in 0..2 {
            let response = self.get(&token);
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(self.rig.api.last().authorization(), [format!("Bearer {jwt}")]);
        }
        assert_eq!(self.rig.server.introspections_of(&token), 1);
    }

    /// Inactive: 401, and the second request asks nobody either.
    #[track_caller]
    fn inactive(&mut self, script: Script) {
        let token = self.script(script);
        let before = self.rig.api.count();
        for _ in 0..2 {
            Reply::unauthorized(INVALID_TOKEN).assert(&self.get(&token));
        }
        assert_eq!(self.rig.server.introspections_of(&token), 1);
        assert_eq!(self.rig.api.count(), before, "nothing is forwarded");
    }

    /// A failure: 500, the cause in the log, nothing forwarded, nothing cached.
    #[track_caller]
    fn failure(&mut self, cause: &str, script: Script) {
        let token = self.script(script);
        let before = self.rig.api.count();
        let lines = self.rig.gateway.module_lines().len();
        for round in 1..=2 {
            Reply::failure().assert(&self.rig.gateway.get_as(&format!("/{token}"), &token));
            assert_eq!(self.rig.server.introspections_of(&token), round, "{cause}: cached");
        }
        assert_eq!(self.rig.api.count(), before, "nothing is forwarded");
        let log = self.rig.gateway.module_lines().split_off(lines);
        let told =
            log.iter().filter(|line| line.contains("[error]") && line.contains(cause)).count();
        assert_eq!(told, 2, "{cause:?} in {log:#?}");
    }
}

#[test]
fn answers_that_say_inactive() {
    let mut table = Table::start("phantom_token_cache_inactive_valid 60s;");
    let inactive = json!({"active": false});
    table.inactive(Script::status(204));
    table.inactive(
        Script::status(400)
            .header("Content-Type", "application/json")
            .body(r#"{"error":"unsupported_token_type"}"#),
    );
    // Whatever refusal it comes with.
    for status in [400, 401, 403, 404, 429] {
        let script = with_status(status, &json!({"active": false, "error": "x"}));
        table.inactive(script);
    }
    table.inactive(Script::json(&inactive));
    table.inactive(Script::json(&inactive).chunked());
    table.inactive(Script::json(&inactive).until_close());
    table.inactive(Script::ok("Application/JSON; charset=utf-8", inactive.to_string()));
    // Whatever else stands there.
    table.inactive(Script::json(&json!({"active": false, "jwt": jwt(&json!({})), "exp": "x"})));
    // Early drafts of RFC 9701 gave the introspection answer itself this type.
    table.inactive(as_jwt(&jwt(&inactive)));
    table.inactive(Script::ok(RESPONSE_JWT, wrapped(&inactive)));
    table.inactive(Script::ok("application/token-introspection+JWT;x=y", wrapped(&inactive)));
}

#[test]
fn answers_that_are_past_their_time_say_inactive() {
    let mut table = Table::start("phantom_token_cache_inactive_valid 60s;");
    let past = json!({"exp": now() - 100});
    let good = json!({"exp": now() + 100});
    table.inactive(as_jwt(&jwt(&past)));
    table.inactive(Script::json(&json!({"active": true, "jwt": jwt(&past)})));
    // The earlier of the two decides.
    let both = json!({"active": true, "exp": now() + 100, "jwt": jwt(&past)});
    table.inactive(Script::json(&both));
    let both = json!({"active": true, "exp": now() - 100, "jwt": jwt(&good)});
    table.inactive(Script::ok(RESPONSE_JWT, wrapped(&both)));
    let log = table.rig.gateway.module_lines();
    let words = "check both clocks, and that \"exp\" is this token's and not another's";
    let skew = |line: &&String| line.contains("[warn]") && line.contains(words);
    assert_eq!(log.iter().filter(skew).count(), 1, "once a minute: {log:#?}");
}

#[test]
fn answers_with_a_jwt() {
    let mut table = Table::start("");
    let token = jwt(&json!({"sub": "alice", "exp": now() + 300}));
    let other = jwt(&json!({"sub": "mallory", "exp": now() + 300}));
    table.active(as_jwt(&token), &token);
    table.active(as_jwt(&token).chunked(), &token);
    table.active(as_jwt(&token).until_close(), &token);
    table
        .active(Script::ok("APPLICATION/JWT ; charset=utf-8", format!("\r\n {token}\t\n")), &token);
    let answer = json!({"active": true, "phantom_token": token, "jwt": other});
    table.active(Script::json(&answer), &token);
    table.active(Script::json(&json!({"active": true, "jwt": token})).chunked(), &token);
    table.active(Script::ok(RESPONSE_JWT, wrapped(&answer)), &token);
    // 103 Early Hints and the like before it.
    let interim = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n\
         Content-Type: application/jwt\r\nContent-Length: {}\r\n\r\n{token}",
        token.len()
    );
    table.active(Script::raw(interim), &token);
    // A JWE is five segments whose payload nobody here can read.
    let jwe = format!(
        "{}.a2V5.aXY.Y2lwaGVydGV4dA.dGFn",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM","cty":"JWT"}"#)
    );
    table.active(as_jwt(&jwe), &jwe);
    let large = jwt(&json!({"sub": "alice", "padding": "p".repeat(46_000)}));
    assert!((60_000..65_000).contains(&large.len()));
    // Larger than an API's usual buffers; the module takes it whole.
    let script = table.script(Script::ok("application/jwt", large.clone()));
    table.get(&script);
    assert_eq!(table.rig.api.last().authorization(), [format!("Bearer {large}")]);
}

#[test]
fn answers_that_are_not_understood() {
    let mut table = Table::start("");
    let good = jwt(&json!({"sub": "alice", "exp": now() + 300}));
    let active = |members: &str| {
        Script::ok("application/json", format!(r#"{{"active":true,"jwt":"{good}"{members}}}"#))
    };
    let body = |body: &str| Script::ok("application/json", body);
    let empty = "it is empty";
    let type_ = "its content type is none of";
    let not_json = "it is not JSON";
    let segments = "what should be a JWT is not a compact JWS or JWE";

    table.failure(empty, body(""));
    table.failure(empty, as_jwt(""));
    table.failure(empty, as_jwt(" \r\n"));
    table.failure("it has no content type", Script::status(200).body(good.as_str()));
    table.failure(type_, Script::ok("text/html", "<html></html>"));
    table.failure(type_, Script::ok("text/plain", good.as_str()));
    table.failure(type_, Script::ok("application/jwtx", good.as_str()));
    table.failure("it has no member \"active\"", body("{}"));
    table.failure("it has no member \"active\"", body(&format!(r#"{{"jwt":"{good}"}}"#)));
    for value in ["\"true\"", "1", "null", "[true]", "\"false\"", "0"] {
        let answer = body(&format!(r#"{{"active":{value},"jwt":"{good}"}}"#));
        table.failure("its member \"active\" is not a boolean", answer);
    }
    table.failure("it is not a JSON object", body("[]"));
    table.failure(not_json, body(r#"{"active":tru"#));
    table.failure(not_json, body("active=true"));
    table.failure(not_json, body(r#"{"active":true} {"active":true}"#));
    table.failure(not_json, body(&"[".repeat(60_000)));
    let deep = format!(r#"{{"active":true,"x":{}}}"#, "[".repeat(30_000) + &"]".repeat(30_000));
    table.failure("it is not", body(&deep));
    table.failure("a member of it occurs twice", active(r#","active":false"#));
    table.failure("a member of it occurs twice", active(&format!(r#","jwt":"{good}""#)));
    table.failure("\"exp\" is not a number of seconds", active(r#","exp":"soon""#));
    table.failure("\"exp\" is not a number of seconds", active(r#","exp":-1"#));
    table.failure("\"exp\" is not a number of seconds", active(r#","exp":"1.5""#));
    table.failure("the scope is neither", active(r#","scope":7"#));
    table.failure("\"cnf\" is not an object", active(r#","cnf":"x""#));

    let no_jwt = "no JWT came with it";
    table.failure(no_jwt, Script::json(&json!({"active": true, "sub": "alice"})));
    table.failure(no_jwt, Script::ok(RESPONSE_JWT, wrapped(&json!({"active": true}))));

    // Not JWTs.
    table.failure(segments, as_jwt("opaque"));
    table.failure(segments, as_jwt(&format!("{good}.x")));
    table.failure(segments, as_jwt(&format!("{good}\r\nX-Injected: 1")));
    table.failure(segments, as_jwt(&format!("{good}\0")));
    table.failure(segments, as_jwt(&good.replacen('.', " .", 1)));
    table.failure(segments, Script::json(&json!({"active": true, "jwt": format!("{good}\n")})));
    table.failure(segments, Script::json(&json!({"active": true, "phantom_token": "opaque"})));
    // JWTs that must not pass.
    let unsigned = good.rsplit_once('.').unwrap().0;
    table.failure(segments, as_jwt(&format!("{unsigned}.")));
    let header = |header: &str| as_jwt(&jws(header, r#"{"sub":"alice"}"#));
    table.failure("the JWT's \"alg\" is missing or \"none\"", header(r#"{"alg":"none"}"#));
    table.failure("the JWT's \"alg\" is missing or \"none\"", header(r#"{"alg":"nOnE"}"#));
    table.failure("the JWT's \"alg\" is missing or \"none\"", header("{}"));
    table.failure("the JWT's header is not understood", header("[]"));
    let introspection = "the JWT is an introspection answer and not an access token";
    let ask =
        format!("{introspection}: write \"phantom_token_introspection_accept application/json\"");
    table.failure(&ask, header(r#"{"alg":"ES256","typ":"token-introspection+jwt"}"#));
    table.failure(&ask, as_jwt(&wrapped(&json!({"active": true}))));
    table.failure(&ask, as_jwt(&wrapped(&json!({"active": false}))));
    table.failure(&ask, as_jwt(&jwt(&json!({"active": true, "sub": "alice"}))));
    table.failure(introspection, as_jwt(&jwt(&json!({"token_introspection": {"active": true}}))));
    let nested = jwt(&json!({"active": true}));
    table.failure(introspection, Script::json(&json!({"active": true, "jwt": nested})));
    let payload = as_jwt(&jws(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#));
    table.failure("the JWT's payload is not an unambiguous JSON object", payload);

    // RFC 9701.
    let response = |header: &str, payload: &str| Script::ok(RESPONSE_JWT, jws(header, payload));
    let object = r#"{"token_introspection":{"active":true}}"#;
    let typ = "the JWT's \"typ\" does not fit its place";
    table.failure(typ, response(r#"{"alg":"ES256","typ":"JWT"}"#, object));
    let none = response(r#"{"alg":"none","typ":"token-introspection+jwt"}"#, object);
    table.failure("the JWT's \"alg\" is missing or \"none\"", none);
    let signed = r#"{"alg":"ES256","typ":"token-introspection+jwt"}"#;
    table.failure("no object \"token_introspection\"", response(signed, r#"{"active":true}"#));
    table.failure(segments, Script::ok(RESPONSE_JWT, r#"{"active":true}"#));
}

#[test]
fn answers_that_are_faulty_http() {
    let mut table = Table::start("");
    let good = jwt(&json!({"sub": "alice", "exp": now() + 300}));
    let length = good.len();
    let raw = |head: &str, body: &str| {
        Script::raw(format!("HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\n{head}\r\n{body}"))
            .then_close()
    };
    let encoding = "it has a content encoding, which was not asked for";
    table.failure(encoding, as_jwt(&good).header("Content-Encoding", "gzip"));
    let closed = "connection closed before the answer was complete";
    table.failure(closed, raw(&format!("Content-Length: {}\r\n", length + 1), &good));
    table.failure(
        closed,
        raw("Transfer-Encoding: chunked\r\n", &format!("{length:x}\r\n{good}\r\n")),
    );
    table.failure(closed, Script::raw("HTTP/1.1 200 OK\r\nContent-T").then_close());
    let ambiguous = "the answer's length is ambiguous";
    let two = format!("Content-Length: {length}\r\nContent-Length: 3\r\n");
    table.failure(ambiguous, raw(&two, &good));
    let both = format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n");
    table.failure(ambiguous, raw(&both, &good));
    let coding = "the answer's transfer coding is not understood";
    table.failure(coding, raw("Transfer-Encoding: gzip, chunked\r\n", &good));
    table.failure("the answer is not HTTP", Script::raw("SSH-2.0-x\r\n\r\n").then_close());
    let folded = raw(&format!("Content-Length: {length}\r\nX\0Y: z\r\n"), &good);
    table.failure("the answer is not HTTP", folded);
    let over = "over 64 KiB";
    let large = jwt(&json!({"padding": "p".repeat(50_000)}));
    assert!(large.len() > 65_536);
    table.failure(over, as_jwt(&large));
    table.failure(over, as_jwt(&large).chunked());
    table.failure(over, as_jwt(&large).until_close());
    let headers = raw(&format!("X: {}\r\n", "x".repeat(40_000)), &good);
    table.failure("the answer's header is too large", headers);
    table.failure(
        "the answer switches protocols",
        Script::raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        )
        .then_close(),
    );
}

#[test]
fn a_hint_that_the_server_does_not_know_is_a_failure_that_names_it() {
    let unsupported = |status| with_status(status, &json!({"error": "unsupported_token_type"}));
    let mut table = Table::start("phantom_token_token_type_hint refresh_token;");
    for status in [400, 401] {
        let line = format!(
            "refused the token type hint with status {status}; \"refresh_token\" is not what it knows"
        );
        table.failure(&line, unsupported(status));
    }
    table.failure(
        "answered with status 400",
        with_status(400, &json!({"error": "invalid_request"})),
    );
    let mut table = Table::start(
        "phantom_token_introspection_param token_type_hint refresh_token;\n\
         phantom_token_cache_inactive_valid 60s;",
    );
    table.failure("refused the token type hint with status 400", unsupported(400));
    let mut table = Table::start(
        "phantom_token_token_type_hint access_token;\nphantom_token_cache_inactive_valid 60s;",
    );
    table.inactive(unsupported(400));
    let mut table = Table::start(
        "phantom_token_introspection_param token_type_hint access_token;\n\
         phantom_token_cache_inactive_valid 60s;",
    );
    table.inactive(unsupported(400));
}

#[test]
fn tokens_without_an_end() {
    let mut table = Table::start("");
    let endless = jwt(&json!({"sub": "alice"}));
    let null = jwt(&json!({"sub": "alice", "exp": null}));
    table.active(as_jwt(&null), &null);
    for exp in [json!(null), json!(0), json!("0")] {
        let answer = json!({"active": true, "exp": exp, "jwt": endless});
        table.active(Script::json(&answer), &endless);
        table.active(Script::ok(RESPONSE_JWT, wrapped(&answer)), &endless);
    }
    let digits = json!({"active": true, "exp": (now() + 300).to_string(), "jwt": endless});
    table.active(Script::json(&digits), &endless);
    let mut table = Table::start("phantom_token_cache_inactive_valid 60s;");
    let past = json!({"active": true, "exp": (now() - 300).to_string(), "jwt": endless});
    table.inactive(Script::json(&past));
    // A JWT that says 0 has been over for long.
    table.inactive(as_jwt(&jwt(&json!({"exp": 0}))));
}

#[test]
fn statuses_that_decide_nothing() {
    let mut table = Table::start("");
    let good = jwt(&json!({"sub": "alice", "exp": now() + 300}));
    for status in
        [201, 202, 206, 301, 302, 303, 307, 308, 400, 404, 405, 406, 410, 415, 500, 502, 504]
    {
        let script = Script::status(status)
            .header("Content-Type", "application/jwt")
            .header("Location", "/elsewhere")
            .body(good.as_str());
        table.failure(&format!("answered with status {status}"), script);
    }
    // Only one error code says that the token is bad.
    for body in [r#"{"error":"invalid_request"}"#, r#"{"error":"invalid_token"}"#, "{}", "x"] {
        let script = Script::status(400).header("Content-Type", "application/json").body(body);
        table.failure("answered with status 400", script);
    }
}

#[test]
fn a_busy_server_sends_clients_away_for_as_long_as_it_says() {
    let mut table = Table::start("");
    for status in [429, 503] {
        for (retry_after, told) in [
            (Some("7"), "7"),
            (Some("100000"), "3600"),
            (Some("Fri, 31 Dec 2100 00:00:00 GMT"), "3600"),
            (None, "1"),
            (Some("soon"), "1"),
            (Some("0"), "1"),
        ] {
            let mut script = Script::status(status);
            if let Some(value) = retry_after {
                script = script.header("Retry-After", value);
            }
            let token = table.script(script);
            for round in 1..=2 {
                Reply::unavailable(told).assert(&table.get(&token));
                assert_eq!(table.rig.server.introspections_of(&token), round);
            }
        }
    }
    table.rig.gateway.wait_for_log(&["[error]", "it gets too many requests"]);
    table.rig.gateway.wait_for_log(&["[error]", "answered with status 503"]);
    assert_eq!(table.rig.api.count(), 0);
}

#[test]
fn without_a_jwt_the_claims_are_forwarded() {
    let mut table =
        Table::start("phantom_token_forward none;\nphantom_token_cache_inactive_valid 60s;");
    let plain = jwt(&json!({"sub": "alice", "exp": now() + 300}));
    let object = json!({"active": true, "sub": "alice"});
    for script in [
        Script::json(&object),
        Script::json(&json!({"active": true, "sub": "alice", "jwt": plain})),
        Script::ok(RESPONSE_JWT, wrapped(&object)),
        as_jwt(&plain),
        // As the drafts before RFC 9701 had it, and as some servers still do.
        as_jwt(&wrapped(&object)),
        as_jwt(&jws(r#"{"alg":"ES256","typ":"token-introspection+jwt"}"#, &object.to_string())),
        as_jwt(&jwt(&object)),
    ] {
        let token = table.script(script);
        for _ in 0..2 {
            table.get(&token);
            let received = table.rig.api.last();
            assert!(received.authorization().is_empty());
            assert_eq!(received.head.headers.get("x-sub"), Some("alice"));
        }
        assert_eq!(table.rig.server.introspections_of(&token), 1);
    }
    table.inactive(Script::json(&json!({"active": false, "sub": "alice"})));
    table.inactive(as_jwt(&wrapped(&json!({"active": false, "sub": "alice"}))));
    let unsigned = jws(r#"{"alg":"none"}"#, &object.to_string());
    table.failure("the JWT's \"alg\" is missing or \"none\"", as_jwt(&unsigned));
    table.failure("it has no member \"active\"", Script::json(&json!({"sub": "alice"})));
    let faulty = Script::json(&json!({"active": true, "jwt": "no JWT"}));
    let token = table.script(faulty);
    assert_eq!(table.get(&token).status, 200, "active is enough");
    assert!(table.rig.api.last().authorization().is_empty());
}

#[test]
fn bound_tokens_are_no_bearer_tokens() {
    let bound = json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}});
    let certificate = json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}});
    let mut table = Table::start("");
    table.inactive(as_jwt(&jwt(&bound)));
    let plain = jwt(&json!({}));
    let answer = json!({"active": true, "jwt": plain, "cnf": bound["cnf"]});
    table.inactive(Script::json(&answer));
    table.active(as_jwt(&jwt(&certificate)), &jwt(&certificate));
    let mut table = Table::start("phantom_token_bound_tokens pass;");
    table.active(as_jwt(&jwt(&bound)), &jwt(&bound));
    table.active(Script::json(&answer), &plain);
}

#[test]
fn the_answers_scope_comes_before_the_jwts() {
    let rig = Rig::start(|builder| builder.directives("phantom_token_scope \"read write\";"));
    let ask = |token: &str, answer: &Value| {
        rig.server.script(token, Script::json(answer));
        rig.get_as(token).status
    };
    let both = jwt(&json!({"scope": "write read"}));
    let one = jwt(&json!({"scope": "read"}));
    let list = jwt(&json!({"scp": ["read", "write", "x"]}));
    assert_eq!(ask("jwt", &json!({"active": true, "jwt": both})), 200);
    assert_eq!(ask("one", &json!({"active": true, "jwt": one})), 403);
    assert_eq!(ask("scp", &json!({"active": true, "jwt": list})), 200);
    assert_eq!(ask("answer", &json!({"active": true, "jwt": one, "scope": "write read"})), 200);
    // Never a union of the two.
    assert_eq!(ask("less", &json!({"active": true, "jwt": both, "scope": "read"})), 403);
    assert_eq!(ask("empty", &json!({"active": true, "jwt": both, "scope": ""})), 403);
    let token = rig.server.mint(Mint::new().scope("read write"));
    rig.assert_passes(&token);
}
