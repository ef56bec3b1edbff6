//! The contract, written down as plainly as it can be: what one request comes to. Nothing here
//! calls the module's own code or reads what goes over the wire.

use std::collections::HashMap;

use crate::answer::{
    Active, Answer, Binding, Body, Claims, Exp, Jwt, Kind, Media, Member, Object, Scope, Sending,
};
use crate::policy::{Control, Group, Options, Policy};
use crate::request::{LONGEST, RESPELT, Request};

/// A JWT's `typ` that says what it is.
const INTROSPECTION: &str = "Token-Introspection+JWT";

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The API answers; the values of `Authorization` it gets.
    Passes(Vec<String>),
    /// 401 or 403 with this challenge's parameters.
    Denied(u16, Vec<(&'static str, String)>),
    /// 500.
    Failed,
    /// 503 with this `Retry-After`.
    Busy(String),
    /// NGINX's own 400.
    BadRequest,
}

/// What a request comes to, and how many calls it takes.
#[derive(Clone, Debug)]
pub(crate) struct Prediction {
    pub(crate) outcome: Outcome,
    pub(crate) calls: usize,
    /// The token as the authorization server is asked for it.
    pub(crate) token: Option<String>,
}

/// What an answer says.
#[derive(Clone, Debug)]
enum Verdict {
    Active(Grant),
    Inactive,
    Failed,
    Busy(String),
}

#[derive(Clone, Debug)]
struct Grant {
    jwt: String,
    scope: Vec<&'static str>,
    nature: Nature,
}

/// What an answer and its JWT say of the kind, and of what the token is bound to.
#[derive(Clone, Copy, Debug, Default)]
struct Nature {
    key: bool,
    certificate: bool,
    named: bool,
    other: bool,
}

impl Nature {
    fn of(claims: &Claims) -> Self {
        Self {
            key: matches!(claims.binding, Binding::Dpop | Binding::Typed),
            certificate: claims.binding == Binding::Certificate,
            named: claims.kind != Kind::Unnamed,
            other: matches!(claims.kind, Kind::Other(_)),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            key: self.key || other.key,
            certificate: self.certificate || other.certificate,
            named: self.named || other.named,
            other: self.other || other.other,
        }
    }
}

/// What is kept, by group and token.
#[derive(Default)]
pub(crate) struct Model {
    kept: HashMap<(usize, String), Verdict>,
}

impl Model {
    /// What `request` comes to in a location of this policy, if the authorization server would say
    /// `answer`.
    pub(crate) fn predict(
        &mut self,
        policy: &Policy,
        request: &Request,
        answer: &Answer,
    ) -> Prediction {
        let without_call = |outcome| Prediction { outcome, calls: 0, token: None };
        if request.authorization.len() > 1 {
            return without_call(Outcome::BadRequest);
        }
        let set =
            |value: Option<&str>| value.is_some_and(|value| !value.is_empty() && value != "0");
        if set(request.bypass) {
            let as_it_came = request.authorization.iter().map(|value| value.trim().to_owned());
            return without_call(Outcome::Passes(as_it_came.collect()));
        }
        let preflight = request.origin && request.requested_method;
        if request.method == "OPTIONS"
            && (policy.options == Options::On || policy.options == Options::Preflight && preflight)
        {
            return without_call(Outcome::Passes(Vec::new()));
        }
        let token = match presented(policy, request) {
            Ok(token) => token,
            Err(denied) => return without_call(denied),
        };

        let key = (policy.group.number, token.clone());
        let kept = self.kept.get(&key).filter(|verdict| match verdict {
            _ if !policy.cache || set(request.refresh) => false,
            Verdict::Active(_) => policy.keeps_active,
            _ => policy.keeps_inactive,
        });
        let (verdict, calls) = match kept {
            Some(verdict) => (verdict.clone(), 0),
            None => {
                let verdict = read(answer, policy.group);
                if policy.cache {
                    self.keep(key, policy, answer, &verdict);
                }
                (verdict, 1)
            }
        };
        Prediction { outcome: decide(policy, verdict), calls, token: Some(token) }
    }

    /// The newest answer counts. One that may not be kept leaves nothing behind of what it has
    /// overtaken; a location that keeps nothing leaves others what they keep.
    fn keep(&mut self, key: (usize, String), policy: &Policy, answer: &Answer, verdict: &Verdict) {
        match verdict {
            Verdict::Active(_) if !policy.keeps_active => {}
            Verdict::Active(_) => {
                let may = match policy.group.control {
                    Control::Cap => answer.keeping.under_cap,
                    Control::Strict => answer.keeping.under_strict,
                    Control::Ignore => true,
                };
                if may {
                    self.kept.insert(key, verdict.clone());
                } else {
                    self.kept.remove(&key);
                }
            }
            Verdict::Inactive if policy.keeps_inactive => {
                self.kept.insert(key, Verdict::Inactive);
            }
            Verdict::Inactive => {
                if matches!(self.kept.get(&key), Some(Verdict::Active(_))) {
                    self.kept.remove(&key);
                }
            }
            Verdict::Failed | Verdict::Busy(_) => {}
        }
    }
}

/// What the location makes of what is known of a token.
fn decide(policy: &Policy, verdict: Verdict) -> Outcome {
    let grant = match verdict {
        Verdict::Active(grant) => grant,
        Verdict::Inactive => return invalid_token(policy),
        Verdict::Failed => return Outcome::Failed,
        Verdict::Busy(retry_after) => return Outcome::Busy(retry_after),
    };
    let nature = grant.nature;
    // The API checks a certificate, where it gets the JWT.
    let unchecked = nature.key || nature.certificate && !policy.group.forwards_jwt;
    if unchecked && !policy.passes_bound {
        return invalid_token(policy);
    }
    let taken = match policy.kind {
        None | Some("access") => !nature.other,
        Some("declared") => nature.named && !nature.other,
        _ => true,
    };
    if !taken {
        return invalid_token(policy);
    }
    if !policy.scope.iter().all(|needed| grant.scope.contains(needed)) {
        let mut parameters = challenge(policy);
        parameters.push(("error", "insufficient_scope".to_owned()));
        return Outcome::Denied(403, parameters);
    }
    match policy.group.forwards_jwt {
        true => Outcome::Passes(vec![format!("Bearer {}", grant.jwt)]),
        false => Outcome::Passes(Vec::new()),
    }
}

fn challenge(policy: &Policy) -> Vec<(&'static str, String)> {
    let mut parameters = Vec::new();
    match policy.realm {
        None => parameters.push(("realm", "api".to_owned())),
        Some("") => {}
        Some(realm) => parameters.push(("realm", realm.to_owned())),
    }
    if !policy.scope.is_empty() {
        parameters.push(("scope", policy.scope.join(" ")));
    }
    parameters.extend(policy.metadata.map(|url| ("resource_metadata", url.to_owned())));
    parameters
}

fn invalid_token(policy: &Policy) -> Outcome {
    let mut parameters = challenge(policy);
    parameters.push(("error", "invalid_token".to_owned()));
    parameters.push(("error_description", "The access token is invalid or expired".to_owned()));
    Outcome::Denied(401, parameters)
}

/// The token of a request, or what is said to one that has none.
fn presented(policy: &Policy, request: &Request) -> Result<String, Outcome> {
    let missing = || Outcome::Denied(401, challenge(policy));
    let token = if policy.bare {
        match request.bare.as_deref() {
            None | Some("") => return Err(missing()),
            Some(token) => token,
        }
    } else {
        let blank = [' ', '\t'];
        let value = request.authorization.first().map_or("", |value| value.trim_matches(blank));
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        rest.trim_start_matches(' ')
    };
    // Of the tokens that are asked for, all are encoded or nothing of them is.
    let decoded = token.strip_prefix('%').map(|token| {
        token.split('%').map(|byte| u8::from_str_radix(byte, 16).map_or('?', char::from)).collect()
    });
    let decoded: Option<String> = decoded.filter(|_| policy.bare && !policy.vschar);
    let token = decoded.as_deref().unwrap_or(token);
    let in_alphabet = if policy.vschar {
        token.chars().all(|c| matches!(c, '!'..='~') && c != '"' && c != ',')
    } else {
        let bare = token.trim_end_matches('=');
        !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c))
    };
    if in_alphabet && (1..=LONGEST).contains(&token.len()) && token != RESPELT {
        Ok(token.to_owned())
    } else {
        Err(invalid_token(policy))
    }
}

/// What an answer says.
fn read(answer: &Answer, group: Group) -> Verdict {
    let forwards_jwt = group.forwards_jwt;
    if matches!(answer.sending, Sending::CutShort | Sending::TwoLengths | Sending::Gibberish) {
        return Verdict::Failed;
    }
    match (answer.status, &answer.body) {
        (204, _) | (400..=499, Body::Refused(_)) => Verdict::Inactive,
        (400..=499, Body::Json(object))
            if object.claims.active == Active::False && !object.claims.duplicate =>
        {
            Verdict::Inactive
        }
        (400, Body::Error("unsupported_token_type")) if group.hint != Some("refresh_token") => {
            Verdict::Inactive
        }
        (429 | 503, _) => Verdict::Busy(match answer.retry_after {
            Some("7") => "7".to_owned(),
            _ => "1".to_owned(),
        }),
        (200, _) if answer.compressed => Verdict::Failed,
        (200, body) => {
            let media = answer.content_type.map(|(_, media)| media);
            let read = match (media, body) {
                (Some(Media::Jwt), Body::Jwt(jwt, text)) => {
                    application_jwt(jwt, text, forwards_jwt)
                }
                // Meant for it, or not: where none is forwarded, what it says is enough.
                (Some(Media::Jwt), Body::Wrapped { .. }) if forwards_jwt => None,
                (Some(Media::Json), Body::Json(object)) => introspection(object, forwards_jwt),
                (Some(Media::Wrapped | Media::Jwt), Body::Wrapped { alg, typ, object })
                    if *alg != "none" && *typ == "token-introspection+jwt" =>
                {
                    introspection(object, forwards_jwt)
                }
                _ => None,
            };
            read.unwrap_or(Verdict::Failed)
        }
        _ => Verdict::Failed,
    }
}

/// `application/jwt`; `None` where it is not understood.
fn application_jwt(jwt: &Jwt, text: &str, forwards_jwt: bool) -> Option<Verdict> {
    if let Jwt::Signed { alg, typ, claims } = jwt
        && (claims.active != Active::Absent || *typ == Some(INTROSPECTION))
    {
        // An answer as the drafts before RFC 9701 had it.
        return match (claims.active, alg) {
            _ if claims.duplicate => None,
            (Active::False, alg) => alg.map(|_| Verdict::Inactive),
            (_, Some(alg)) if !forwards_jwt && !alg.eq_ignore_ascii_case("none") => {
                let said = Claims { active: Active::True, ..Claims::nothing() };
                let claims = if claims.wraps { said } else { claims.clone() };
                introspection(&Object { claims, members: [None, None] }, false)
            }
            _ => None,
        };
    }
    let claims = phantom(jwt)?;
    let Facts { past, scope, nature } = facts(claims)?;
    if past {
        return Some(Verdict::Inactive);
    }
    let scope = scope.unwrap_or_default();
    Some(Verdict::Active(Grant { jwt: text.to_owned(), scope, nature }))
}

/// RFC 7662's object; `None` where it is not understood.
fn introspection(object: &Object, forwards_jwt: bool) -> Option<Verdict> {
    if object.claims.duplicate {
        return None;
    }
    match object.claims.active {
        Active::Absent | Active::Nonsense(_) => return None,
        Active::False => return Some(Verdict::Inactive),
        Active::True => {}
    }
    // The first member that is a text.
    let member = object.members.iter().find_map(|member| match member {
        Some(Member::Text(jwt, text)) => Some((jwt, text)),
        _ => None,
    });
    let (claims, text) = match member {
        None if forwards_jwt => return None,
        None => (None, ""),
        Some((jwt, text)) => match phantom(jwt) {
            Some(claims) => (claims, text.as_str()),
            None if forwards_jwt => return None,
            // Active is enough.
            None => (None, ""),
        },
    };
    let own = end_and_nature(&object.claims)?;
    let inner = claims.map_or(Some((false, Nature::default())), end_and_nature)?;
    let scope = match scope_of(object.claims.scope)? {
        Some(scope) => scope,
        None => claims.map_or(Some(None), any_scope)?.unwrap_or_default(),
    };
    if own.0 || inner.0 {
        return Some(Verdict::Inactive);
    }
    Some(Verdict::Active(Grant { jwt: text.to_owned(), scope, nature: own.1.and(inner.1) }))
}

/// The claims of a JWT that may be forwarded, none of a JWE; `None` where it may not.
fn phantom(jwt: &Jwt) -> Option<Option<&Claims>> {
    match jwt {
        Jwt::Encrypted => Some(None),
        Jwt::Broken(_) => None,
        Jwt::Signed { alg, typ, claims } => {
            let signed = alg.is_some_and(|alg| !alg.eq_ignore_ascii_case("none"));
            let introspection =
                typ == &Some(INTROSPECTION) || claims.wraps || claims.active != Active::Absent;
            (signed && !introspection && !claims.duplicate).then_some(Some(claims))
        }
    }
}

#[derive(Default)]
struct Facts {
    past: bool,
    scope: Option<Vec<&'static str>>,
    nature: Nature,
}

fn facts(claims: Option<&Claims>) -> Option<Facts> {
    let Some(claims) = claims else { return Some(Facts::default()) };
    let (past, nature) = end_and_nature(claims)?;
    Some(Facts { past, scope: any_scope(claims)?, nature })
}

/// Whether the end has passed, what kind it is, and to what it is bound.
fn end_and_nature(claims: &Claims) -> Option<(bool, Nature)> {
    let past = match claims.exp {
        Exp::Absent => false,
        Exp::In(seconds) | Exp::Digits(seconds) => seconds < 0,
        // In an answer that there is no end; in a JWT the beginning of time.
        Exp::Zero => claims.active == Active::Absent,
        Exp::Null => false,
        Exp::Nonsense(_) => return None,
    };
    match claims.binding {
        Binding::Nonsense => None,
        _ => Some((past, Nature::of(claims))),
    }
}

/// `scope`, else `scp`.
fn any_scope(claims: &Claims) -> Option<Option<Vec<&'static str>>> {
    match claims.scope {
        Scope::Absent => scope_of(claims.scp),
        scope => scope_of(scope),
    }
}

fn scope_of(scope: Scope) -> Option<Option<Vec<&'static str>>> {
    match scope {
        Scope::Absent => Some(None),
        Scope::Text(text) => Some(Some(text.split_whitespace().collect())),
        // A value with a blank in it is no scope value.
        Scope::List(values) => {
            Some(Some(values.iter().copied().filter(|value| !value.contains(' ')).collect()))
        }
        Scope::Nonsense(_) => None,
    }
}
