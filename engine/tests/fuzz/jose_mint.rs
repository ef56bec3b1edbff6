//! An answer that a JWT is made of, and an assertion with the same words in it.
//!
//! ```text
//! sub=username roles=r scope    claims, as the directive names them
//! https://gateway.example       issuer, and the assertion's client
//! api other                     audiences
//! 420 1700000000 1700000060     valid, now, exp (or -)
//! {"active":true,"username":"me","r":["a"]}
//! <{"alg":"ES256"}>.<{"sub":"me"}>.sig
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::input::{expand, line, word};
use super::jose;
use crate::answer::json::Object;
use crate::answer::jwt::Compact;
use crate::jose::assertion::{Assertion, AssertionKey};
use crate::jose::key::{PublicKey, SigningKey};
use crate::jose::mint::{Claims, MAX_LEN, MintError, Minted, Terms, mint};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let pem = include_bytes!("../../src/jose/tests/keys/p256.pem");
    SigningKey::from_pem(pem).expect("a key")
});

/// A minted JWT has the claims that `serde_json` finds in the answer, each once, and no longer life
/// than the token; its subject is nobody but the one that the answer names.
pub fn jose_mint(input: &[u8]) {
    let mut rest = input;
    let mut text = || String::from_utf8_lossy(line(&mut rest)).into_owned();
    let (arguments, issuer, audience, times) = (text(), text(), text(), text());
    let audience: Vec<String> = audience.split(' ').map(str::to_owned).collect();
    let mut times = times.split(' ');
    let mut time = |otherwise| word(times.next().unwrap_or_default().as_bytes(), otherwise);
    let (valid, now) = (time(420), time(1_700_000_000));
    let exp = times.next().and_then(|exp| exp.parse().ok());
    let answer = line(&mut rest);
    let jwt = expand(line(&mut rest));

    assertion(&issuer, &audience, valid, now);
    // Nothing else comes this far: both were read before.
    let answer = if Object::parse(answer).is_ok() { answer } else { b"" };
    let jwt = if Compact::parse(&jwt).is_ok() { &jwt[..] } else { b"" };
    let claims = named(&arguments);
    let terms = Terms { issuer, audience, claims, valid };
    let made = mint(&terms, &KEY, answer, jwt, exp, now);
    judge(&terms, answer, jwt, exp, now, made);
}

/// Takes the claims that can be taken, and judges those that cannot.
fn named(arguments: &str) -> Claims {
    let mut claims = Claims::none();
    let mut taken: HashSet<String> = HashSet::new();
    for argument in arguments.split(' ') {
        let (name, source) = argument.split_once('=').unwrap_or((argument, argument));
        let lower = name.to_ascii_lowercase();
        let own = "iss aud exp nbf iat jti cnf act active token_introspection".split(' ');
        let fit = !name.is_empty()
            && !source.is_empty()
            && name.bytes().all(|byte| (0x21..0x7f).contains(&byte) && !b"\"\\".contains(&byte))
            && !source.chars().any(char::is_control)
            && !own.into_iter().any(|own| own == lower)
            && (lower != "sub" || name == "sub")
            && !taken.contains(&lower);
        assert_eq!(claims.add(argument.as_bytes()).is_ok(), fit, "{argument}");
        if fit {
            taken.insert(lower);
        }
    }
    claims
}

fn judge(
    terms: &Terms,
    answer: &[u8],
    jwt: &[u8],
    exp: Option<u64>,
    now: u64,
    made: Result<Minted, MintError>,
) {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let payload = jose::read(jwt).and_then(|jwt| jwt.payload).unwrap_or_default();
    let said = |name: &str| {
        [&answer, &payload]
            .into_iter()
            .find_map(|claims| claims.get(name).filter(|value| !value.is_null()).cloned())
    };
    let sources: BTreeMap<&str, &str> = terms.claims.iter().collect();
    let source = sources.get("sub").copied().unwrap_or("sub");
    let somebody = said("sub").is_some() || said("username").is_some();
    let sub = said(source).or_else(|| said("client_id").filter(|_| !somebody));

    let made = match made {
        Ok(made) => made,
        Err(MintError::Username) => {
            assert!(source == "sub" && said("sub").is_none() && said("username").is_some());
            return;
        }
        Err(MintError::NoSubject) => return assert_eq!(sub, None),
        Err(MintError::Subject) => {
            let sub = sub.expect("a subject");
            return assert!(sub.as_str().is_none_or(str::is_empty));
        }
        Err(MintError::TooLong) => {
            // Escapes make it longer, up to six times.
            let words: usize =
                terms.issuer.len() + terms.audience.iter().map(String::len).sum::<usize>();
            let all = answer.to_string().len() + payload.to_string().len() + words + 1024;
            return assert!(all * 8 * terms.claims.iter().count().max(1) > MAX_LEN);
        }
        Err(MintError::Sign(error)) => panic!("{error}"),
    };
    assert!(made.jwt.len() <= MAX_LEN);
    assert_eq!(made.exp, exp.unwrap_or(u64::MAX).min(now.saturating_add(terms.valid)));
    assert_eq!(made.signer, KEY.thumbprint()[..8]);

    let mut expected = json!({
        "iss": terms.issuer,
        "sub": sub.expect("a subject"),
        "aud": terms.audience,
        "iat": now,
        "exp": made.exp,
    });
    if let [audience] = &terms.audience[..] {
        expected["aud"] = json!(audience);
    }
    for (name, source) in sources.into_iter().filter(|(name, _)| *name != "sub") {
        if let Some(value) = said(source) {
            expected[name] = value;
        }
    }
    let expected_header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": KEY.kid() });
    assert!(expected["sub"].as_str().is_some_and(|sub| !sub.is_empty()));
    judge_jws(&made.jwt, KEY.public(), &expected_header, expected);
}

/// Header and claims are these, `jti` aside, no member stands twice, and the signature is right.
fn judge_jws(jws: &[u8], key: &PublicKey, header: &Value, mut claims: Value) {
    use base64::Engine as _;
    let decode = |part: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
    let read = jose::read(jws).expect("a JWS");
    let mut payload = read.payload.expect("claims");
    assert_eq!(&read.header, header);
    let jti = payload["jti"].take();
    assert_eq!(decode(jti.as_str().expect("text").as_bytes()).expect("base64url").len(), 16);
    claims["jti"] = Value::Null;
    assert_eq!(payload, claims);
    let parts: Vec<_> = jws.split(|byte| *byte == b'.').collect();
    for part in &parts[..2] {
        // serde_json's own values do not tell a member that stands twice.
        assert!(Object::parse(&decode(part).expect("base64url")).is_ok());
    }
    let signed = [parts[0], b".", parts[1]].concat();
    assert!(key.verifies(&signed, &decode(parts[2]).expect("base64url")));
}

fn assertion(client: &str, words: &[String], valid: u64, now: u64) {
    let assertion = Assertion {
        client_id: client.to_owned(),
        audience: words[0].clone(),
        valid,
        typ: words.get(1).cloned(),
        kid: words.get(2).cloned(),
    };
    let key = AssertionKey::Private(KEY.clone());
    let jws = assertion.sign(&key, now).expect("an assertion");
    let mut header = json!({ "alg": "ES256" });
    for (name, value) in [("typ", words.get(1)), ("kid", words.get(2))] {
        if let Some(value) = value {
            header[name] = json!(value);
        }
    }
    let claims = json!({
        "iss": client,
        "sub": client,
        "aud": words[0],
        "iat": now.saturating_sub(5),
        "exp": now.saturating_add(valid),
    });
    judge_jws(&jws, KEY.public(), &header, claims);
}
