//! A JWT of the gateway's, in front of a server that gives none.

use super::bench::outcome;
use super::cases::case;
use super::{Bench, Case, Example, Grant};
use crate::jwt;
use crate::keys::{self, PemKey};

const ISSUER: &str = "https://gateway.example";
const AUDIENCE: &str = "https://api.example";

/// What the example for a server makes of an access token and of a refresh token, where it mints.
pub(super) const fn minted(usual: &'static str) -> Case {
    case("minted: access token; refresh token", access_and_refresh, usual)
}

fn access_and_refresh(bench: &mut Bench<'_>) -> String {
    [Grant::Access, Grant::Refresh].map(|what| granted(bench, "", what)).join("; ")
}

/// What becomes of a token with these claims in the JWT: where it goes on, whose it is.
pub(super) fn granted(bench: &mut Bench<'_>, claims: &str, what: Grant) -> String {
    let Some(token) = bench.running.grant(what) else { return "-".to_owned() };
    let example = minting(bench);
    let example = match claims {
        "" => example,
        claims => example.set("phantom_token_mint_claims", claims),
    };
    let gateway = example.start();
    let got = outcome(&gateway, &token);
    if got != "200" {
        return got;
    }
    let set = serde_json::from_slice(&gateway.get("/jwks", &[]).body).expect("a key set");
    let last = bench.api.last();
    let [authorization] = last.authorization()[..] else { panic!("one header field") };
    let minted = authorization.strip_prefix("Bearer ").expect("a bearer token");
    assert!(keys::verifies(&set, minted), "signed by the gateway");
    let claims = jwt::payload(minted).expect("claims");
    assert_eq!((&claims["iss"], &claims["aud"]), (&ISSUER.into(), &AUDIENCE.into()));
    let known = ["alice", "app", "short"];
    match claims["sub"].as_str().expect("a subject") {
        sub if known.contains(&sub) => format!("200 {sub}"),
        // An id of the server's own.
        _ => "200 by an id".to_owned(),
    }
}

/// The example, minting in place of what it does.
fn minting(bench: &Bench<'_>) -> Example {
    let jwks =
        "location = /jwks {\nphantom_token_mint_key mint.key;\nphantom_token_publish_jwks;\n}";
    bench
        .example()
        .without("phantom_token_introspection_accept")
        .set("phantom_token_forward", "mint")
        .beside("phantom_token_mint_key mint.key;")
        .beside(&format!("phantom_token_mint_issuer {ISSUER};"))
        .beside(&format!("phantom_token_mint_audience {AUDIENCE};"))
        .file("mint.key", &PemKey::p256().private)
        .location(jwks)
}
