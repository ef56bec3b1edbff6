//! Keys and signatures that the RFCs print.

use super::{decode, key, verifies};
use crate::jose::algorithm::{Algorithm, KeyKind};
use crate::jose::encoding::base64url;
use crate::jose::key::{PublicKey, SigningKey};
use crate::jose::material::Material;
use crate::jose::primitives::hmac_sha256;
use crate::jose::sign::Header;
use crate::jose::{jwks, primitives};

/// RFC 7638 §3.1.
#[test]
fn the_thumbprint_of_an_rsa_key() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let key = Material::Rsa { n: decode(n), e: decode("AQAB") };
    assert_eq!(base64url(&key.thumbprint()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

/// RFC 8037 §A.1 to §A.4.
#[test]
fn ed25519_signs_as_printed() {
    let seed = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let pkcs8 = [&decode("MC4CAQAwBQYDK2VwBCIEIA")[..], &seed].concat();
    let key = of_pkcs8(&pkcs8);
    let jwk: serde_json::Value = serde_json::from_str(&key.public().jwk()).expect("JSON");
    assert_eq!(jwk["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let jws = key.sign(Header::default(), b"Example of Ed25519 signing").expect("a JWS");
    assert_eq!(
        std::str::from_utf8(&jws),
        Ok(
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        )
    );
}

/// RFC 7515 §A.1.
#[test]
fn hs256_signs_as_printed() {
    let secret = decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let made = hmac_sha256(&secret, &[text.as_bytes()]);
    assert_eq!(base64url(&made), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

/// RFC 7515 §A.2 and §A.3: what others signed verifies, and nothing else does.
#[test]
fn printed_signatures_verify() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let rs256 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let es256 =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let rsa = Material::Rsa { n: decode(n), e: decode("AQAB") };
    let point = [&[4][..], &decode(x), &decode(y)].concat();
    let ec = Material::Ec { kind: KeyKind::P256, point };
    for (key, algorithm, header, made) in [
        (&rsa, Algorithm::Rs256, "eyJhbGciOiJSUzI1NiJ9", rs256),
        (&ec, Algorithm::Es256, "eyJhbGciOiJFUzI1NiJ9", es256),
    ] {
        let text = format!("{header}.{payload}");
        let made = decode(made);
        let is_right =
            |text: &str, made: &[u8]| primitives::verify(key, algorithm, text.as_bytes(), made);
        assert!(is_right(&text, &made));
        assert!(!is_right(&text[1..], &made));
        for wrong in [&made[1..], &[&made[..], &[0]].concat(), &vec![0; made.len()], b""] {
            assert!(!is_right(&text, wrong));
        }
        let mut changed = made.clone();
        changed[7] ^= 1;
        assert!(!is_right(&text, &changed));
    }
}

fn of_pkcs8(der: &[u8]) -> SigningKey {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    SigningKey::from_pem(pem.as_bytes()).expect("a key")
}

/// What is secret of a key, by all names that JWKs have for it (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

#[test]
fn a_key_set_has_public_members_alone() {
    let keys: Vec<SigningKey> = super::PRIVATE.iter().map(|(name, ..)| self::key(name)).collect();
    let published: Vec<PublicKey> = keys.iter().map(|key| key.public().clone()).collect();
    let document = jwks::published(&published);
    let set: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
    let listed = set["keys"].as_array().expect("keys");
    assert_eq!(set.as_object().expect("an object").len(), 1);
    assert_eq!(listed.len(), keys.len());
    for (key, jwk) in keys.iter().zip(listed) {
        let members = jwk.as_object().expect("an object");
        for name in PRIVATE_MEMBERS {
            assert!(!members.contains_key(name), "{name}");
        }
        let of_kind: &[&str] = match key.public().algorithm().kind() {
            KeyKind::Rsa => &["e", "n"],
            KeyKind::P256 | KeyKind::P384 => &["crv", "x", "y"],
            KeyKind::Ed25519 => &["crv", "x"],
        };
        let mut expected = [of_kind, &["alg", "kid", "kty", "use"]].concat();
        expected.sort_unstable();
        let mut names: Vec<_> = members.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, expected);
        assert_eq!(jwk["kid"], key.kid());
        assert_eq!(jwk["use"], "sig");
        assert_eq!(jwk["alg"], key.algorithm().name());
        let jws = key.sign(Header::default(), b"{}").expect("a JWS");
        assert!(verifies(key.public(), &jws));
    }
}

#[test]
fn a_key_stands_once_in_a_set_and_the_tag_follows_the_bytes() {
    let (one, other) = (key("p256").public().clone(), key("ed25519").public().clone());
    let twice = jwks::published([&one, &other, &one]);
    assert_eq!(twice, jwks::published([&one, &other]));
    assert_ne!(twice, jwks::published([&other, &one]));
    assert_eq!(jwks::published([]), b"{\"keys\":[]}");
    let tag = jwks::etag(&twice);
    assert_eq!(tag, jwks::etag(&twice));
    assert_ne!(tag, jwks::etag(&jwks::published([&one])));
    assert!(tag.len() > 10 && tag.starts_with('"') && tag.ends_with('"'));
}
