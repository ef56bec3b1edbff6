//! An introspection answer: status, headers and body together.
//!
//! ```text
//! 200 jwt 1700000000 hint       status, phantom_token_forward, the time, the token type hint
//! content-type: application/json
//!
//! {"active":true,"phantom_token":"<{"alg":"ES256"}>.<{"exp":1700000060}>.sig"}
//! ```

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::input::{expand, line, split, word};
use super::jose::{self, Jose};
use crate::answer::claims::{self, ClaimValue, Wanted};
use crate::answer::failure::MAX_RETRY_AFTER;
use crate::answer::grant::Grant;
use crate::answer::{self, Answer, Forward, NoVerdict, Skew, Terms};
use crate::failure::Failure;
use crate::http::response::{MAX_BODY, Response};

/// Only an answer that says so in every respect is a grant, and the grant says what the answer
/// does; only one that says "inactive" is a refusal of the token.
pub fn introspection(input: &[u8]) {
    let (response, forward, hint, now) = read(input);
    check(&response, forward, hint, now);
}

fn read(input: &[u8]) -> (Response, Forward, Option<&[u8]>, u64) {
    let (head, body) = split(input, b"\n\n");
    let mut lines = head;
    let mut first = line(&mut lines).split(|byte| *byte == b' ');
    let mut next = || first.next().unwrap_or_default();
    let status = word(next(), 200);
    let forward = if next() == b"none" { Forward::None } else { Forward::Jwt };
    let now = word(next(), 1_700_000_000);
    let hint = Some(next()).filter(|hint| !hint.is_empty());
    let mut response = Response::default();
    response.status = status;
    response.body = expand(body);
    while !lines.is_empty() {
        let (name, value) = split(line(&mut lines), b":");
        let value = Some(value.trim_ascii().to_vec());
        match name {
            b"content-type" => response.content_type = value,
            b"content-encoding" => response.content_encoding = value,
            b"retry-after" => response.retry_after = value,
            _ => {}
        }
    }
    (response, forward, hint, now)
}

/// Panics where an answer is not read as it must be.
pub(crate) fn check(response: &Response, forward: Forward, hint: Option<&[u8]>, now: u64) {
    let terms = Terms::new(forward, hint).naming_subjects(jose::SUBJECT_KEY);
    let answer = answer::read(response, terms, now);
    match &answer {
        Answer::Active(grant) => {
            active(response, grant, forward);
            assert!(grant.exp.is_none_or(|exp| exp > now));
            // The same answer, a status, a coding or a type that do not belong to it.
            let not_active = |change: &dyn Fn(&mut Response)| {
                let mut response = response.clone();
                change(&mut response);
                assert!(!matches!(answer::read(&response, terms, now), Answer::Active(_)));
            };
            not_active(&|response| response.status = 500);
            not_active(&|response| response.content_encoding = Some(b"gzip".to_vec()));
            not_active(&|response| response.content_type = None);
            not_active(&|response| response.content_type = Some(b"text/html".to_vec()));
            not_active(&|response| response.body.push(b'}'));
            if let Some(exp) = grant.exp {
                let late = answer::read(response, terms, exp);
                assert_eq!(late, Answer::Inactive(Some(Skew(0))));
            }
        }
        Answer::Inactive(None) => assert!(says_inactive(response, forward, hint)),
        Answer::Inactive(Some(Skew(ago))) => {
            // Before it ran out, it was active.
            if let Some(before) = now.checked_sub(*ago).and_then(|exp| exp.checked_sub(1)) {
                let early = answer::read(response, terms, before);
                assert!(matches!(early, Answer::Active(_)));
            }
        }
        Answer::Failed(failure) => failed(response, *failure, hint),
    }
}

/// The members that decide; two of one name are an error of `serde`'s.
#[derive(Deserialize)]
struct Once {
    #[serde(rename = "active")]
    _active: Option<IgnoredAny>,
    #[serde(rename = "exp")]
    _exp: Option<IgnoredAny>,
    #[serde(rename = "scope")]
    _scope: Option<IgnoredAny>,
    #[serde(rename = "cnf")]
    _cnf: Option<IgnoredAny>,
    #[serde(rename = "phantom_token")]
    _phantom_token: Option<IgnoredAny>,
    #[serde(rename = "jwt")]
    _jwt: Option<IgnoredAny>,
}

fn essence(response: &Response) -> Option<String> {
    let content_type = String::from_utf8_lossy(response.content_type.as_ref()?).into_owned();
    Some(content_type.split(';').next()?.trim().to_ascii_lowercase())
}

fn trimmed(response: &Response) -> &[u8] {
    let is_blank = |byte: &u8| b" \t\r\n".contains(byte);
    let body = &response.body;
    let start = body.iter().position(|byte| !is_blank(byte)).unwrap_or(body.len());
    let end = body.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &body[start..end]
}

fn active(response: &Response, grant: &Grant, forward: Forward) {
    assert_eq!(response.status, 200);
    assert!(response.body.len() <= MAX_BODY);
    let coding = response.content_encoding.as_deref().unwrap_or_default();
    assert!(coding.is_empty() || !String::from_utf8_lossy(coding).contains("gzip"));

    let body = trimmed(response);
    match essence(response).as_deref() {
        Some("application/jwt") if early_answer(body).is_some() => {
            assert_eq!(forward, Forward::None);
            let jose = jose::read(body).expect("a JWT");
            assert_signed(&jose);
            granted(&early_answer(body).expect("an answer"), grant, forward);
        }
        Some("application/jwt") => {
            assert_eq!(grant.jwt, body);
            assert!(grant.claims.is_empty());
            let claims = forwarded(&grant.jwt);
            let of_claims = |read: fn(&Value) -> Option<u64>| claims.as_ref().and_then(read);
            assert!(jose::same_seconds(grant.exp, of_claims(jose::exp)));
            let scope = claims.as_ref().and_then(jose::scope_of).unwrap_or_default();
            assert_eq!(grant.scope, scope.as_bytes());
            assert_eq!(grant.nature, claims.as_ref().map(jose::nature).unwrap_or_default());
            jose::assert_subjects(&grant.subjects, &Value::Null, claims.as_ref());
        }
        Some("application/json") => {
            serde_json::from_slice::<Once>(body).expect("no member twice");
            granted(&serde_json::from_slice(body).expect("JSON"), grant, forward);
        }
        Some("application/token-introspection+jwt") => {
            let jose = jose::read(body).expect("a JWT");
            assert_signed(&jose);
            let payload = jose.payload.expect("one that can be read");
            granted(&payload["token_introspection"], grant, forward);
        }
        other => panic!("{other:?} is not read"),
    }

    assert!(!grant.scope.iter().any(u8::is_ascii_control));
    assert!(!grant.scope.windows(2).any(|pair| pair == b"  "));
    assert!(!grant.scope.starts_with(b" ") && !grant.scope.ends_with(b" "));
    assert!(!grant.claims.contains(&b'\n') && !grant.claims.contains(&b'\r'));
    for name in ["sub", "aud", "Exp", "scope", "active", "phantom_token", "jwt", "x"] {
        if let ClaimValue::Text(text) =
            claims::lookup(&grant.claims, &grant.jwt, Wanted::Named(name.as_bytes()))
        {
            assert!(!text.iter().any(u8::is_ascii_control));
        }
    }
    if grant.jwt.len() > 16 {
        let shown = format!("{grant:?}");
        assert!(!shown.contains(&*String::from_utf8_lossy(&grant.jwt)));
    }
}

fn assert_signed(jose: &Jose) {
    let alg = jose.header["alg"].as_str().expect("an alg").trim();
    assert!(!alg.is_empty() && !alg.eq_ignore_ascii_case("none"));
}

/// What an introspection answer says that came as `application/jwt`; `None` where it is none.
fn early_answer(body: &[u8]) -> Option<Value> {
    let jose = jose::read(body)?;
    let by_typ = jose.is_token_introspection();
    let payload = jose.payload?;
    let is_one = by_typ || payload.get("active").is_some();
    is_one.then(|| payload.get("token_introspection").cloned().unwrap_or(payload))
}

/// A JWT that goes to the API; its claims, where they can be read.
fn forwarded(jwt: &[u8]) -> Option<Value> {
    let jose = jose::read(jwt).expect("a compact JWT");
    jose.assert_phantom_token();
    jose.payload
}

/// What RFC 7662's object grants.
fn granted(answer: &Value, grant: &Grant, forward: Forward) {
    assert_eq!(answer["active"], Value::Bool(true));
    let token = ["phantom_token", "jwt"].into_iter().find_map(|name| answer[name].as_str());
    let claims = if grant.jwt.is_empty() {
        assert_eq!(forward, Forward::None);
        None
    } else {
        assert_eq!(Some(&grant.jwt[..]), token.map(str::as_bytes));
        forwarded(&grant.jwt)
    };

    let jwt_exp = claims.as_ref().and_then(jose::exp);
    let exp = [jose::answer_exp(answer), jwt_exp].into_iter().flatten().min();
    assert!(jose::same_seconds(grant.exp, exp), "{:?} for {exp:?}", grant.exp);
    let scope = match answer.get("scope").filter(|scope| !scope.is_null()) {
        Some(scope) => Some(jose::scope(scope).expect("a scope")),
        None => claims.as_ref().and_then(jose::scope_of),
    };
    assert_eq!(grant.scope, scope.unwrap_or_default().as_bytes());
    let inner = claims.as_ref().map(jose::nature).unwrap_or_default();
    let outer = jose::nature(answer);
    assert_eq!(grant.nature.kind, outer.kind.max(inner.kind));
    assert_eq!(grant.nature.binding, jose::both(outer.binding, inner.binding));
    jose::assert_subjects(&grant.subjects, answer, claims.as_ref());

    let mut kept = answer.clone();
    if let Some(members) = kept.as_object_mut() {
        members.retain(|name, value| {
            !(["phantom_token", "jwt"].contains(&name.as_str()) && value.is_string())
        });
    }
    assert_eq!(serde_json::from_slice::<Value>(&grant.claims).expect("JSON"), kept);
}

fn says_inactive(response: &Response, forward: Forward, hint: Option<&[u8]>) -> bool {
    let body = trimmed(response);
    let json = || serde_json::from_slice::<Value>(body).unwrap_or_default();
    let payload = || jose::read(body).and_then(|jose| jose.payload).unwrap_or_default();
    let of_the_token = hint.is_none_or(|hint| hint == b"access_token");
    match (response.status, essence(response).as_deref()) {
        (204, _) => true,
        (400..=499, _) if json()["active"] == Value::Bool(false) => true,
        (400, _) => of_the_token && json()["error"] == "unsupported_token_type",
        (200, Some("application/json")) => json()["active"] == Value::Bool(false),
        (200, Some("application/jwt")) => {
            let early = early_answer(body).unwrap_or_default();
            payload()["active"] == Value::Bool(false)
                || forward == Forward::None && early["active"] == Value::Bool(false)
        }
        (200, Some("application/token-introspection+jwt")) => {
            payload()["token_introspection"]["active"] == Value::Bool(false)
        }
        _ => false,
    }
}

fn failed(response: &Response, failure: NoVerdict, hint: Option<&[u8]>) {
    let status = response.status;
    let error = || {
        let json = serde_json::from_slice::<Value>(trimmed(response)).unwrap_or_default();
        json["error"].as_str().map(str::to_owned).unwrap_or_default()
    };
    let in_time = |retry_after: Option<u32>| {
        assert!(retry_after.is_none_or(|seconds| (1..=MAX_RETRY_AFTER).contains(&seconds)));
    };
    let fits = match failure {
        NoVerdict::NotUnderstood(_) => status == 200,
        // Nothing is made of it here.
        NoVerdict::NotMinted(_) => false,
        NoVerdict::Credentials(given) => {
            let refused = ["invalid_client", "unauthorized_client"].contains(&error().as_str());
            given == status && (status == 401 || status == 403 || (status == 400 && refused))
        }
        NoVerdict::RateLimited { retry_after } => {
            in_time(retry_after);
            status == 429
        }
        NoVerdict::Hint(given) => {
            given == status && hint.is_some() && [400, 401, 403].contains(&status)
        }
        NoVerdict::Unavailable { retry_after } => {
            in_time(retry_after);
            status == 503
        }
        NoVerdict::Status(given) => {
            given == status && ![200, 204, 401, 403, 429, 503].contains(&status)
        }
    };
    assert!(fits, "{failure:?} for {status}");
    assert!(!failure.is_outage() || Failure::from(failure).kind.allows_stale());
}
