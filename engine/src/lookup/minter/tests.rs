use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::answer::nature::Nature;
use crate::answer::{Skew, claims};
use crate::jose::mint::{Claims, MintError};

const NOW: u64 = 1_700_000_000;
const KEY: &[u8] = include_bytes!("../../jose/tests/keys/p256.pem");

fn minter() -> Minter {
    let terms = Terms {
        issuer: "https://gateway.example".to_owned(),
        audience: vec!["https://api.example".to_owned()],
        claims: Claims::default(),
        valid: 360,
    };
    Minter { terms, key: SigningKey::from_pem(KEY).expect("a key") }
}

fn jwt(payload: &str) -> Vec<u8> {
    let segments = [r#"{"alg":"RS256"}"#, payload, "signature"];
    segments.map(|segment| URL_SAFE_NO_PAD.encode(segment)).join(".").into_bytes()
}

fn grant(claims: &str, jwt: &[u8], exp: Option<u64>) -> Grant {
    let mut grant = Grant::default();
    (grant.claims, grant.jwt, grant.exp) = (claims.into(), jwt.to_vec(), exp);
    grant
}

fn minted(grant: Grant) -> Grant {
    match minter().apply(Answer::Active(grant), NOW) {
        Answer::Active(grant) => grant,
        other => panic!("{other:?}"),
    }
}

fn payload(grant: &Grant) -> serde_json::Value {
    let payload = jwt::payload_of_checked(&grant.jwt).expect("a JWS");
    serde_json::from_slice(&payload).expect("an object")
}

#[test]
fn an_active_answer_gets_a_jwt() {
    let grant = minted(grant(r#"{"active":true,"sub":"alice"}"#, b"", Some(NOW + 100)));
    assert_eq!((grant.exp, payload(&grant)["exp"].as_u64()), (Some(NOW + 100), Some(NOW + 100)));
    assert_eq!(grant.signer, Some(mint::signer(&minter().key.thumbprint())));
    assert_eq!(grant.claims, br#"{"active":true,"sub":"alice"}"#);
    assert_eq!(grant.nature, Nature::default());
}

#[test]
fn the_entry_ends_with_the_jwt_where_the_token_does_not() {
    for exp in [None, Some(NOW + 3600)] {
        let grant = minted(grant(r#"{"sub":"alice"}"#, b"", exp));
        assert_eq!(
            (grant.exp, payload(&grant)["exp"].as_u64()),
            (Some(NOW + 360), Some(NOW + 360))
        );
        assert_eq!(grant.is_endless, exp.is_none());
    }
}

#[test]
fn the_servers_jwt_is_dropped_and_what_it_says_is_not() {
    let theirs = jwt(r#"{"iss":"https://server","sub":"eve","aud":["a","b"],"acr":"high"}"#);
    let grant = minted(grant(r#"{"active":true,"sub":"alice","acr":null}"#, &theirs, None));
    assert_eq!(payload(&grant)["iss"], "https://gateway.example");
    assert_eq!(payload(&grant)["sub"], "alice");
    assert_eq!(
        grant.claims,
        br#"{"active":true,"sub":"alice","iss":"https://server","aud":["a","b"],"acr":"high"}"#
    );
    // Those of a server that gives the JWT alone.
    let alone = minted(self::grant("", &theirs, None));
    assert_eq!(payload(&alone)["sub"], "eve");
    let claim = |name: &[u8]| claims::lookup(&alone.claims, b"", claims::Wanted::Named(name));
    assert_eq!(claim(b"aud"), claims::ClaimValue::Text(b"a b".to_vec()));
    assert_eq!(
        minted(self::grant("{}", &jwt(r#"{"sub":"eve"}"#), None)).claims,
        br#"{"sub":"eve"}"#
    );
}

#[test]
fn two_issuers_are_one_too_many() {
    let theirs = jwt(r#"{"iss":"https://server","sub":"eve"}"#);
    let two = grant(r#"{"iss":"https://other"}"#, &theirs, None);
    let answer = minter().apply(Answer::Active(two), NOW);
    assert_eq!(answer, Answer::Failed(Cause::Issuers.into()));
}

#[test]
fn what_does_not_say_whose_it_is_fails() {
    let named = grant(r#"{"username":"alice","client_id":"app"}"#, b"", None);
    let answer = minter().apply(Answer::Active(named), NOW);
    assert_eq!(answer, Answer::Failed(MintError::Username.into()));
    // An encrypted JWT says nothing.
    let sealed = jwt("{}").into_iter().chain(*b".a.b").collect::<Vec<_>>();
    let answer = minter().apply(Answer::Active(grant("", &sealed, None)), NOW);
    assert_eq!(answer, Answer::Failed(MintError::NoSubject.into()));
}

#[test]
fn nothing_is_made_of_other_answers() {
    for answer in [
        Answer::Inactive(None),
        Answer::Inactive(Some(Skew(5))),
        Answer::Failed(NoVerdict::Status(500)),
    ] {
        assert_eq!(minter().apply(answer.clone(), NOW), answer);
    }
}
