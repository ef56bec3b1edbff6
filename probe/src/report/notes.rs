//! What to know of a server that works.

use phantom_token_engine::answer::nature::TokenKind;
use phantom_token_engine::answer::{Answer, Forward};
use phantom_token_engine::client::ClientAuth;
use phantom_token_engine::lifetime::{self, CacheControlPolicy, Keep, Overruled, Uncached};
use phantom_token_engine::token::bearer::{self, Credentials, TokenSyntax};

use crate::asking::Asked;
use crate::configuration;
use crate::facts::Facts;
use crate::finding::{Found, Refresh};
use crate::options::Options;
use crate::shown::Shown;

/// How long answers are kept as it comes, in milliseconds.
const CACHE_VALID_MS: u64 = 300_000;

/// The first second of the year 3000, in seconds since the Unix epoch.
const YEAR_3000: u64 = 32_503_680_000;

/// What a header line of a request may have where NGINX's buffers are as they come, less the name and
/// `Bearer`.
const NGINX_LINE: usize = 8 * 1024 - 24;

/// What to say, the configuration, and whether the gateway would refuse this token.
pub(super) fn of(
    options: &Options,
    found: &Found,
    asked: &Asked,
    forward: Forward,
    is_slow: bool,
    shown: &Shown,
) -> (Vec<String>, String, bool) {
    let Ok(Answer::Active(grant)) = asked.read(forward) else { return Default::default() };
    let facts = Facts::of(&grant, shown);
    let refusal = refusal(options, &facts, forward);
    let headline = match found.refresh {
        Some(Refresh::Passes) => {
            "It works, and is NOT SAFE: a refresh token passes for an access token"
        }
        _ if refusal.is_some() => {
            "The server works, and the gateway would REFUSE this token with this configuration"
        }
        _ => "It works",
    };
    let mut notes = vec![headline.to_owned(), String::new()];
    notes.extend(refusal.map(str::to_owned));
    let mut note = |text: String| notes.push(text);
    for line in what_came(&facts, asked) {
        note(format!("- {line}"));
    }
    let ignores = caching(asked, &facts, &mut note);
    let vschar = spelling(options, &mut note);
    credentials(options, found, &mut note);
    invented(found, &mut note);
    kinds(&facts, found.refresh, &mut note);
    let known = configuration::Found {
        way: found.way,
        token: Some((forward, &facts)),
        is_unsafe: found.refresh == Some(Refresh::Passes),
        ignores_cache_control: ignores,
        is_slow,
        vschar,
    };
    (notes, configuration::text(options, &known), refusal.is_some())
}

fn what_came(facts: &Facts, asked: &Asked) -> Vec<String> {
    let mut lines = Vec::new();
    if !facts.answer.is_empty() {
        lines.push(format!("The answer has: {}.", facts.answer.join(", ")));
    }
    match &facts.jwt {
        Some((len, Some(names))) => {
            lines.push(format!("A JWT of {len} bytes, which has: {}.", names.join(", ")));
        }
        Some((len, None)) => lines.push(format!(
            "An encrypted JWT of {len} bytes: scope and other claims are not seen but where the answer has them."
        )),
        None => lines.push("No JWT for the API.".to_owned()),
    }
    for (name, value) in &facts.values {
        lines.push(format!("{name}: {value}"));
        if matches!(*name, "iss" | "aud") && value.contains('$') {
            lines.push(format!(
                "\"{name}\" holds a $, which NGINX takes for a variable's: the configuration leaves it out."
            ));
        }
    }
    lines.push(match facts.exp {
        Some(exp) if exp > YEAR_3000 => {
            "Its \"exp\" is past the year 3000: that looks like milliseconds, and is to be seconds (RFC 7662). Have the server correct it: its tokens never expire here.".to_owned()
        }
        Some(exp) => format!("The token ends in {} seconds.", exp.saturating_sub(asked.now)),
        None => {
            "It is not said when the token ends: its answer is kept for phantom_token_cache_valid."
                .to_owned()
        }
    });
    lines
}

/// Whether the server's `Cache-Control` is to be ignored.
fn caching(asked: &Asked, facts: &Facts, note: &mut impl FnMut(String)) -> bool {
    let Some(response) = asked.response() else { return false };
    let policy = CacheControlPolicy::Cap;
    let now = asked.now;
    match lifetime::keep(&response.caching, policy, CACHE_VALID_MS, facts.exp, 0, now) {
        (Keep::No(Uncached::MaxAge), _) => {
            note("- Its Cache-Control would let no answer be kept: phantom_token_cache_control ignore.".to_owned());
            true
        }
        (_, Overruled(true)) => {
            note("- It forbids caching by Cache-Control, as most servers do; the module overrules that (phantom_token_cache_control).".to_owned());
            false
        }
        _ => false,
    }
}

/// Whether the token takes another alphabet than RFC 6750's.
fn spelling(options: &Options, note: &mut impl FnMut(String)) -> bool {
    let Some(token) = &options.token else { return false };
    if token.len() > NGINX_LINE {
        note(format!(
            "! The token has {} bytes: clients' requests need larger buffers, such as large_client_header_buffers 4 32k.",
            token.len()
        ));
    }
    let read = |syntax| bearer::from_bare(token, syntax);
    match (read(TokenSyntax::B64token), read(TokenSyntax::Vschar)) {
        (Credentials::Token(_), _) => false,
        (Credentials::Unusable, Credentials::Token(_)) => {
            note("- The token has characters that RFC 6750 does not give it: phantom_token_token_syntax vschar.".to_owned());
            true
        }
        // [`refusal`] tells it.
        _ => false,
    }
}

fn credentials(options: &Options, found: &Found, note: &mut impl FnMut(String)) {
    match found.way.auth {
        ClientAuth::BasicRaw if options.client_auth.is_none() => {
            note("- It takes id and secret only as they are, not form-urlencoded as RFC 6749 asks: basic_raw.".to_owned());
        }
        ClientAuth::None if options.certificate.is_none() => {
            note("! Whoever reaches the endpoint is told of every token: let the gateway alone reach it.".to_owned());
        }
        _ => {}
    }
    if !found.way.hint {
        note("! It calls the token inactive where it is told that it is an access token (token_type_hint).".to_owned());
    }
}

fn invented(found: &Found, note: &mut impl FnMut(String)) {
    let Some(asked) = &found.invented else { return };
    let words = match asked.read(Forward::None) {
        Ok(Answer::Failed(failure)) => failure.to_string(),
        Err(error) => error.to_string(),
        _ => return,
    };
    note(format!(
        "! Asked about an invented token it does not say \"inactive\": {words}. A client that sends one gets 500 and not 401."
    ));
}

fn kinds(facts: &Facts, refresh: Option<Refresh>, note: &mut impl FnMut(String)) {
    let named = facts.nature.kind == TokenKind::Named;
    note(match refresh {
        None if named => "- It names the kind of this token, so phantom_token_kind declared refuses those without. Whether it takes a refresh token for an access token is not known: --refresh-token-file.",
        None => "! It names no kind of token. Whether it takes a refresh token for an access token is not known: --refresh-token-file.",
        Some(Refresh::Inactive) => "- The refresh token is inactive: it does not pass for an access token.",
        Some(Refresh::Expired) => "! The server calls the refresh token active, and its \"exp\" is past: what it makes of a good one is not known.",
        Some(Refresh::Named) => "- The refresh token is active, and named as what it is: the module refuses it.",
        Some(Refresh::Unnamed) => "! The refresh token is active, and only access tokens are named: phantom_token_kind declared refuses it. Do not leave that out.",
        Some(Refresh::Passes) => "! The refresh token is active, and nothing tells it from an access token: it lets in whoever has it, for as long as it lives. Have the server introspect access tokens alone.",
        Some(Refresh::Unknown) => "! What the server makes of a refresh token is not known: it did not answer.",
    }.to_owned());
}

/// Why the gateway would refuse this very token.
fn refusal(options: &Options, facts: &Facts, forward: Forward) -> Option<&'static str> {
    let binding = facts.nature.binding;
    let token = options.token.as_ref()?;
    let unusable = |syntax| matches!(bearer::from_bare(token, syntax), Credentials::Unusable);
    if binding.dpop.is_bound() {
        return Some(
            "! The token is bound to a DPoP key: as a Bearer token it is refused. See phantom_token_dpop.",
        );
    }
    if binding.is_unchecked(forward) {
        return Some(
            "! The token is bound, and nobody would check to whom: it is refused. See phantom_token_certificate_binding.",
        );
    }
    (unusable(TokenSyntax::B64token) && unusable(TokenSyntax::Vschar)).then_some(
        "! The module refuses this token as it is spelt: the server has to write it as canonical base64url.",
    )
}
