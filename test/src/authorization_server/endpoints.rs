//! The authorization server's endpoints.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{
    HEALTH_PATH, INTROSPECTION_PATH, JWKS_PATH, Mint, OWN, REVOCATION_PATH, Seen, State,
    TOKEN_PATH, Token, is_own,
};
use crate::server::{After, Exchange, Service};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");
const RESPONSE_JWT: &str = "application/token-introspection+jwt";
/// How long an access token of the token endpoint is good where nothing else is asked, in seconds.
const EXPIRES_IN: i64 = 300;

/// The fields of a form. A field that comes twice is an error (RFC 6749 §3.2).
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Option<Self> {
        let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let unique = |at: usize| fields[..at].iter().all(|(name, _)| *name != fields[at].0);
        (0..fields.len()).all(unique).then_some(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }
}

impl Service for State {
    fn serve(&self, exchange: &mut Exchange<'_>) -> io::Result<After> {
        let body = exchange.read_body()?;
        let path = exchange.head.path().to_owned();
        if path == JWKS_PATH || path == "/jwks" {
            let jwks = self.key.jwks().to_string();
            exchange.respond(200, &[JSON], jwks.as_bytes())?;
            return Ok(After::KeepAlive);
        }
        if path == HEALTH_PATH {
            let status = if self.lost.load(Ordering::Acquire) { 503 } else { 200 };
            exchange.respond(status, &[JSON], b"{}")?;
            return Ok(After::KeepAlive);
        }
        if ![TOKEN_PATH, INTROSPECTION_PATH, REVOCATION_PATH].contains(&path.as_str()) {
            return error(exchange, 404, "not_found");
        }
        if exchange.head.method != "POST" {
            return error(exchange, 405, "invalid_request");
        }
        let form = Form::parse(&body);
        if path == INTROSPECTION_PATH {
            let token = form.as_ref().and_then(|f| f.get("token")).unwrap_or_default().to_owned();
            if let (Some(assertions), Some(form)) = (&self.options.assertions, &form)
                && let Some(assertion) = form.get("client_assertion")
            {
                assertions.arrive(assertion);
            }
            self.note(exchange, &body, &token);
            let script = if is_own(&token) {
                let values = form.iter().flat_map(|form| &form.0);
                let with = values.map(|(_, value)| format!("{OWN}{value}"));
                self.scripts.lock().next_of(with.chain([OWN.to_owned()]))
            } else {
                self.scripts.lock().next_of([token.clone()])
            };
            if let Some(script) = script {
                return script.play(exchange);
            }
        }
        let form_type = exchange.head.headers.get("content-type").is_some_and(|value| {
            let media_type = value.split(';').next().unwrap_or_default().trim();
            media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        let Some(form) = form.filter(|_| form_type) else {
            return error(exchange, 400, "invalid_request");
        };
        match path.as_str() {
            TOKEN_PATH => self.token(exchange, &form),
            REVOCATION_PATH => self.revocation(exchange, &form),
            _ => self.introspection(exchange, &form),
        }
    }
}

impl State {
    /// Counts and keeps an introspection, a gateway's own call apart, then waits while answers are
    /// held back or delayed.
    fn note(&self, exchange: &Exchange<'_>, body: &[u8], token: &str) {
        let seen = || Seen {
            head: exchange.head.clone(),
            body: body.to_vec(),
            token: token.to_owned(),
            connection: exchange.connection,
        };
        if is_own(token) {
            if self.options.record {
                self.own_seen.lock().push(seen());
            }
            self.own_calls.fetch_add(1, Ordering::AcqRel);
            self.wait(token);
            return;
        }
        if self.options.record {
            let mut at_once = self.at_once.lock();
            let at_once = at_once.entry(token.to_owned()).or_default();
            at_once.now += 1;
            at_once.most = at_once.most.max(at_once.now);
            *self.calls_of.lock().entry(token.to_owned()).or_default() += 1;
            self.seen.lock().push(seen());
        }
        self.calls.fetch_add(1, Ordering::AcqRel);
        self.wait(token);
        // Before the answer: once it is out, the next question may come.
        if let Some(at_once) = self.at_once.lock().get_mut(token) {
            at_once.now -= 1;
        }
    }

    /// Waits while answers are held back or delayed.
    fn wait(&self, token: &str) {
        let mut held = self.held.lock();
        while held.iter().any(|key| key.as_deref().is_none_or(|held| held == token)) {
            self.released.wait(&mut held);
        }
        drop(held);
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            thread::sleep(delay);
        }
    }

    /// RFC 6749 §4.4. `expires_in` may be asked for, which is our own addition for development.
    fn token(&self, exchange: &mut Exchange<'_>, form: &Form) -> io::Result<After> {
        if !self.authenticated(exchange, form, &self.options.client) {
            return invalid_client(exchange);
        }
        match form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return error(exchange, 400, "unsupported_grant_type"),
            None => return error(exchange, 400, "invalid_request"),
        }
        let scope = form.get("scope").unwrap_or_default();
        if !scope.bytes().all(|b| matches!(b, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return error(exchange, 400, "invalid_scope");
        }
        let expires_in = match form.get("expires_in").map(str::parse) {
            None => EXPIRES_IN,
            Some(Ok(seconds @ 1..=86_400)) => seconds,
            Some(_) => return error(exchange, 400, "invalid_request"),
        };
        let mint = Mint::new().client(&self.options.client.0).scope(scope).expires_in(expires_in);
        let token = self.tokens.lock().mint(mint, &self.key, &self.issuer);
        let mut answer = json!({
            "access_token": token.token, "token_type": "bearer", "expires_in": expires_in,
        });
        if let Some(scope) = token.scope {
            answer["scope"] = scope.into();
        }
        exchange.respond(200, &[JSON, NO_STORE], answer.to_string().as_bytes())?;
        Ok(After::KeepAlive)
    }

    /// RFC 7009 §2: unknown tokens are revoked as well as known ones.
    fn revocation(&self, exchange: &mut Exchange<'_>, form: &Form) -> io::Result<After> {
        if !self.authenticated(exchange, form, &self.options.client) {
            return invalid_client(exchange);
        }
        let Some(token) = form.get("token") else {
            return error(exchange, 400, "invalid_request");
        };
        self.tokens.lock().revoke(token);
        exchange.respond(200, &[NO_STORE], b"")?;
        Ok(After::KeepAlive)
    }

    /// RFC 7662 §2; the answer's form is what `Accept` asks for.
    fn introspection(&self, exchange: &mut Exchange<'_>, form: &Form) -> io::Result<After> {
        let is_known = match (&self.options.assertions, &self.options.introspection_client) {
            (Some(assertions), _) => {
                exchange.head.headers.get("authorization").is_none()
                    && assertions.accept(|name| form.get(name))
            }
            (None, Some(client)) => self.authenticated(exchange, form, client),
            (None, None) => true,
        };
        if !is_known {
            return invalid_client(exchange);
        }
        let Some(token) = form.get("token") else {
            return error(exchange, 400, "invalid_request");
        };
        let is_lost = self.lost.load(Ordering::Acquire);
        let token = self.tokens.lock().active(token).filter(|_| !is_lost);
        let max_age = match token.as_ref().and_then(Token::remaining) {
            Some(seconds) => format!("max-age={seconds}"),
            None => "no-store".to_owned(),
        };
        let cache = ("Cache-Control", max_age.as_str());
        let accept = exchange.head.headers.get("accept").unwrap_or_default().to_ascii_lowercase();
        match (accept.as_str(), token) {
            ("application/jwt", None) => exchange.respond(204, &[NO_STORE], b"")?,
            ("application/jwt", Some(token)) => {
                let headers = [("Content-Type", "application/jwt"), cache];
                exchange.respond(200, &headers, token.jwt.as_bytes())?;
            }
            (RESPONSE_JWT, token) => {
                let caller = self.options.introspection_client.as_ref().map(|c| c.0.as_str());
                let claims = json!({
                    "iss": self.issuer,
                    "aud": caller.unwrap_or("anonymous"),
                    "iat": std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs()),
                    "token_introspection": self.answer(token),
                });
                let jwt = self.key.sign("token-introspection+jwt", &claims);
                exchange.respond(200, &[("Content-Type", RESPONSE_JWT), cache], jwt.as_bytes())?;
            }
            (_, token) => {
                let answer = self.answer(token).to_string();
                exchange.respond(200, &[JSON, cache], answer.as_bytes())?;
            }
        }
        Ok(After::KeepAlive)
    }

    /// RFC 7662 §2.2.
    fn answer(&self, token: Option<Token>) -> Value {
        let Some(token) = token else { return json!({"active": false}) };
        let mut answer = token.answer;
        answer.insert("active".to_owned(), true.into());
        if let Some(member) = &self.options.jwt_member {
            answer.insert(member.clone(), token.jwt.into());
        }
        Value::Object(answer)
    }

    /// RFC 6749 §2.3.1: HTTP Basic, or id and secret in the form; one of them.
    fn authenticated(
        &self,
        exchange: &Exchange<'_>,
        form: &Form,
        (id, secret): &(String, String),
    ) -> bool {
        let Some(authorization) = exchange.head.headers.get("authorization") else {
            return form.get("client_id") == Some(id) && form.get("client_secret") == Some(secret);
        };
        let credentials = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, text)| STANDARD.decode(text.trim()).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = credentials.as_deref().and_then(|c| c.split_once(':')) else {
            return false;
        };
        if form.get("client_secret").is_some() {
            return false;
        }
        if self.options.raw_basic {
            return (user, password) == (id, secret);
        }
        decoded(user) == *id && decoded(password) == *secret
    }
}

fn decoded(text: &str) -> String {
    // One value of a form: it holds neither `&` nor `=` unencoded.
    form_urlencoded::parse(text.as_bytes()).next().map_or(String::new(), |(name, _)| name.into())
}

fn error(exchange: &mut Exchange<'_>, status: u16, code: &str) -> io::Result<After> {
    let body = json!({"error": code}).to_string();
    exchange.respond(status, &[JSON, NO_STORE], body.as_bytes())?;
    Ok(After::KeepAlive)
}

fn invalid_client(exchange: &mut Exchange<'_>) -> io::Result<After> {
    let challenge = ("WWW-Authenticate", "Basic realm=\"authorization server\"");
    let body = json!({"error": "invalid_client"}).to_string();
    exchange.respond(401, &[JSON, NO_STORE, challenge], body.as_bytes())?;
    Ok(After::KeepAlive)
}
