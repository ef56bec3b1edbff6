//! Arguments of directives, each line of the input as each kind of argument.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::input::{line, split};
use crate::answer::scope;
use crate::client::{Endpoint, Tls, TlsOptions};
use crate::directive::{self, Maker};
use crate::http::form;
use crate::token::challenge::{self, Challenge, ChallengeError, StepUp, Unmet};

/// What a directive takes can be sent, named and logged as it is, means one thing only, and is read
/// back as what it was.
pub fn directives(input: &[u8]) {
    if input.starts_with(b"-----") {
        return pem(input);
    }
    let mut rest = input;
    let (one, two, three) = (line(&mut rest), line(&mut rest), line(&mut rest));
    words(one);
    endpoint(one, Some(two).filter(|connect| !connect.is_empty()));
    challenges(one, two, three);
    credentials(one, two);
}

fn words(arg: &[u8]) {
    let text = std::str::from_utf8(arg);
    let digits = text.is_ok_and(|text| text.chars().all(|c| c.is_ascii_digit()));
    let number = text.ok().and_then(|text| text.parse::<u64>().ok()).filter(|_| digits);
    assert_eq!(directive::number(arg), number);

    let (name, value) = directive::parameter(arg);
    assert_eq!((name, value), split(arg, b"="));

    let variable = text.ok().and_then(|text| text.strip_prefix("token=$"));
    let variable = variable.filter(|name| !name.is_empty()).map(str::as_bytes);
    assert!(text.is_err() || directive::token_variable(arg) == variable);

    let lower = arg.to_ascii_lowercase();
    let is_client = |arg: &[u8]| directive::maker(arg, directive::is_clients) == Maker::Client;
    if is_client(arg) {
        let mut names = directive::variables(&lower);
        assert!(names.all(directive::is_clients) && arg.contains(&b'$'));
    }
    assert!(arg.contains(&b'$') || directive::variables(arg).next().is_none());
    assert!(!directive::seems_variable(arg) || directive::variables(arg).next().is_some());
    // However it is written, and whatever stands around it, such a variable is known.
    for kind in ["$http_", "x$Arg_", "${cookie_", "-${HTTP_"] {
        let word = name.iter().filter(|byte| byte.is_ascii_alphanumeric()).copied();
        let mut variable: Vec<u8> = kind.bytes().chain(word).collect();
        variable.extend(kind.contains('{').then_some(b'}'));
        assert!(is_client(&variable));
        assert_ne!(
            directive::maker(&[&variable, arg].concat(), directive::is_clients),
            Maker::Operator
        );
    }

    if directive::is_header_name(arg) {
        assert!(ureq::http::HeaderName::from_bytes(arg).is_ok());
    }
    let lower = String::from_utf8_lossy(arg).to_ascii_lowercase();
    let own = ["host", "transfer-encoding", "connection", "accept", "accept-encoding", "expect"];
    let is_own = own.contains(&&*lower) || lower.starts_with("content-");
    assert_eq!(directive::is_own_header(arg), is_own);
    if directive::is_accept(arg) {
        assert!(ureq::http::HeaderValue::from_bytes(arg).is_ok_and(|value| value.to_str().is_ok()));
    }

    if let Some(name) = directive::zone_name(arg) {
        assert!((1..=64).contains(&name.len()) && !name.contains([':', '/', '=', ' ', '\0']));
        let whole = format!("zone={name}:10m");
        assert_eq!(directive::zone(whole.as_bytes()), Some((arg, &b"10m"[..])));
    }
    if let Some((name, size)) = directive::zone(arg) {
        assert!(!name.contains(&b':'));
        assert_eq!([b"zone=", name, b":", size].concat(), arg);
    }
}

fn endpoint(url: &[u8], connect: Option<&[u8]>) {
    let Ok(url) = std::str::from_utf8(url) else { return };
    let Ok(connect) = connect.map(std::str::from_utf8).transpose() else { return };
    let Ok(endpoint) = Endpoint::parse(url, connect) else { return };

    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()));
    let scheme = url.split(':').next().unwrap_or_default();
    assert_eq!(endpoint.is_https(), scheme.eq_ignore_ascii_case("https"));
    let authority = url.split(['/', '?']).nth(2).unwrap_or_default();
    assert!(!authority.contains('@') && !url.contains('#'));
    assert!(authority.to_ascii_lowercase().contains(&*endpoint.host()) || authority.contains('['));
    assert_ne!(endpoint.port(), 0);

    let label = endpoint.label();
    assert!(!label.contains(['?', '#', '@', ' ', '"', '\\', '\n']) || label.contains('/'));
    assert!(!label.contains('?') && label.bytes().all(|byte| byte.is_ascii_graphic()));
    let shown = format!("{endpoint:?}");
    if let Some((_, query)) = url.split_once('?')
        && query.len() > 12
        && !label.contains(query)
        && !connect.is_some_and(|connect| connect.contains(query))
    {
        assert!(!shown.contains(query), "the query is shown");
    }

    let again = Endpoint::parse(&endpoint.url(), endpoint.connect().as_deref()).expect("the same");
    assert_eq!((again.label(), again.url()), (label, endpoint.url()));
    assert_eq!((again.host(), again.port()), (endpoint.host(), endpoint.port()));
    assert_eq!(again.connect(), endpoint.connect());
    assert_eq!(again.is_loopback(), endpoint.is_loopback());

    let target = endpoint.connect();
    let target = target.as_deref().map_or(endpoint.host(), |target| {
        target.rsplit_once(':').map(|(host, _)| host.to_owned()).unwrap_or_default()
    });
    let address = target.trim_matches(['[', ']']).parse::<IpAddr>();
    let loopback = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => target == "localhost" || target == "localhost.",
    };
    assert_eq!(endpoint.is_loopback(), loopback, "{target}");
}

fn challenges(realm: &[u8], scopes: &[u8], metadata: &[u8]) {
    let given = |value, fits: fn(&[u8]) -> Result<(), ChallengeError>| {
        if fits(value).is_ok() { value } else { &[][..] }
    };
    let joined =
        scope::values(given(scopes, challenge::check_scope)).collect::<Vec<_>>().join(&b' ');
    let of = Challenge {
        realm: given(realm, challenge::check_realm),
        scope: &joined,
        resource_metadata: given(metadata, challenge::check_resource_metadata),
    };
    let step_up = StepUp { acr_values: &joined, max_age: Some(1), lacks_scope: true };
    for (unmet, error) in [
        (Unmet::Token, None),
        (Unmet::Validity, Some("invalid_token")),
        (Unmet::Scope, Some("insufficient_scope")),
        (Unmet::Authentication(step_up), Some("insufficient_user_authentication")),
    ] {
        let value = of.for_unmet(unmet).expect("memory");
        let text = std::str::from_utf8(&value).expect("ASCII");
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && !text.contains('\\'));
        let params = text.strip_prefix("Bearer ").expect("the scheme");
        // name="value", with no quote in any value, and ", " between two: all of it is read.
        let mut read = Vec::new();
        let mut rest = Some(params);
        while let Some(params) = rest {
            let (name, quoted) = params.split_once("=\"").expect("a value");
            let (value, after) = quoted.split_once('"').expect("its end");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            read.push((name, value));
            rest = after.strip_prefix(", ");
            assert!(rest.is_some() || after.is_empty());
        }
        let find = |name| read.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let given = |value: &'_ [u8]| (!value.is_empty()).then(|| value.to_vec());
        let named = |name| find(name).map(|value| value.as_bytes().to_vec());
        let default = of == Challenge::default();
        let realm = if default { challenge::DEFAULT_REALM } else { of.realm };
        assert_eq!(named("realm"), given(realm));
        assert_eq!(named("resource_metadata"), given(of.resource_metadata));
        assert_eq!(find("error"), error);
        assert_eq!(named("scope"), given(&joined));
    }
    assert!(joined.is_empty() || scope::covers(&joined, scopes));
}

fn credentials(id: &[u8], secret: &[u8]) {
    let pair_of = |value: &[u8]| {
        let encoded = value.strip_prefix(b"Basic ").expect("the scheme");
        STANDARD.decode(encoded).expect("base64")
    };
    let written = pair_of(&form::basic(id, secret));
    let (id_form, secret_form) = split(&written, b":");
    let plain = |form: &[u8]| percent_decoded(form);
    assert_eq!((plain(id_form), plain(secret_form)), (id.to_vec(), secret.to_vec()));
    let same = [id, b":", secret].concat() == written;
    assert_eq!(!form::encoding_changes(id, secret), same);
    match form::basic_raw(id, secret) {
        Ok(raw) => assert_eq!(split(&pair_of(&raw), b":"), (id, secret)),
        Err(_) => assert!(id.contains(&b':')),
    }
}

fn percent_decoded(form: &[u8]) -> Vec<u8> {
    let spaces: Vec<u8> = form.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    percent_encoding::percent_decode(&spaces).collect()
}

/// Files of certificates and keys: refused, or taken; parts stand behind lines of `=`.
fn pem(input: &[u8]) {
    let (trusted, rest) = split(input, b"\n=\n");
    let (certificate, key) = split(rest, b"\n=\n");
    let part = |part: &[u8]| (!part.is_empty()).then(|| part.to_vec());
    let made = Tls::new(TlsOptions {
        verify: true,
        trusted: Some(trusted.to_vec()),
        client_cert: part(certificate),
        client_key: part(key).map(Into::into),
    });
    if made.is_ok() {
        assert!(memchr::memmem::find(trusted, b"-----BEGIN CERTIFICATE-----").is_some());
        assert_eq!(certificate.is_empty(), key.is_empty());
    }
}
