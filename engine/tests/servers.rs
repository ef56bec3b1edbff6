//! What of authorization servers' answers no request shows: how long they are kept, and what their
//! claims are read as.
//!
//! Each answer is written the way that server writes it: its content types, its cache directives.
//! What a request gets of each, refusals and failures too, is tested in a real NGINX, with that
//! server's example configuration (`test/tests/authorization_servers`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phantom_token_engine::answer::claims::{self, ClaimValue, Wanted};
use phantom_token_engine::answer::grant::Grant;
use phantom_token_engine::answer::scope;
use phantom_token_engine::answer::{self, Answer, Cause, Forward, NoVerdict, Terms};
use phantom_token_engine::http::cache_control::{self, CacheControl};
use phantom_token_engine::http::response::Response;
use phantom_token_engine::lifetime::{self, CacheControlPolicy, Keep, Overruled, Uncached};

const NOW: u64 = 1_700_000_000;
const NOW_MS: u64 = 90_000;
const VALID_MS: u64 = 300_000;

/// Takes an HTTP answer apart: all these tests need of a client.
fn http(text: &str) -> Response {
    let (head, body) = text.split_once("\n\n").expect("a head and a body");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let mut response = Response::default();
    response.status = status.parse().expect("a number");
    response.body = body.as_bytes().to_vec();
    let mut cache_control = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        let value = value.as_bytes().to_vec();
        match name.to_ascii_lowercase().as_str() {
            "content-type" => response.content_type = Some(value),
            "cache-control" => cache_control.push(value),
            "age" => response.caching.age = cache_control::age(Some(&value)),
            "retry-after" => response.retry_after = Some(value),
            "content-encoding" => response.content_encoding = Some(value),
            _ => {}
        }
    }
    response.caching.control = CacheControl::parse(cache_control);
    response
}

fn jws(header: &str, payload: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

fn read(response: &Response, forward: Forward) -> Answer {
    answer::read(response, forward, NOW)
}

fn not_understood(cause: Cause) -> Answer {
    Answer::Failed(NoVerdict::NotUnderstood(cause))
}

fn active(response: &Response, forward: Forward) -> Grant {
    match read(response, forward) {
        Answer::Active(grant) => grant,
        other => panic!("active, not {other:?}"),
    }
}

fn claim(grant: &Grant, name: &str) -> String {
    match claims::lookup(&grant.claims, &grant.jwt, Wanted::Named(name.as_bytes())) {
        ClaimValue::Text(text) => String::from_utf8(text).expect("utf-8"),
        other => panic!("{name} is {other:?}"),
    }
}

fn keep(response: &Response, policy: CacheControlPolicy, grant: &Grant) -> (Keep, Overruled) {
    lifetime::keep(&response.caching, policy, VALID_MS, grant.exp, NOW_MS, NOW)
}

/// Kept by default for the location's own time, after overruling what the server sent; not kept
/// where the server is obeyed.
fn assert_overruled(response: &Response, grant: &Grant, why: Uncached) {
    let (kept, overruled) = keep(response, CacheControlPolicy::Cap, grant);
    let Keep::Yes(life) = kept else { panic!("kept, not {kept:?}") };
    assert_eq!((life.until, life.exp.map(|expiry| expiry.exp)), (None, grant.exp));
    assert_eq!(overruled, Overruled(true));
    let strictly = keep(response, CacheControlPolicy::Strict, grant);
    assert_eq!(strictly, (Keep::No(why), Overruled(false)));
}

mod curity {
    use super::*;

    fn phantom_token() -> String {
        jws(
            r#"{"kid":"-38074812","x5t":"MR-pGTa866RdZLjN6Vwrfay907g","alg":"RS256"}"#,
            r#"{"jti":"8d1b","delegationId":"2b1f","exp":1700000300,"nbf":1699999999,"scope":"read write","iss":"https://localhost:8443/~","sub":"johndoe","aud":"api","iat":1699999999,"purpose":"access_token"}"#,
        )
    }

    #[test]
    fn application_jwt() {
        let jwt = phantom_token();
        let response = http(&format!(
            "HTTP/1.1 200 OK\nContent-Type: application/jwt;charset=UTF-8\n\
             Cache-Control: max-age=300\nSet-Cookie: session=x; Secure\n\n{jwt}"
        ));
        let grant = active(&response, Forward::Jwt);
        assert_eq!(grant.jwt, jwt.as_bytes());
        assert_eq!(grant.exp, Some(NOW + 300));
        assert!(scope::covers(&grant.scope, b"write read"));
        assert!(!scope::covers(&grant.scope, b"read execute"));
        assert_eq!(claim(&grant, "delegationid"), "2b1f");
        assert_eq!(claim(&grant, "iat"), "1699999999");
        for policy in [CacheControlPolicy::Cap, CacheControlPolicy::Strict] {
            let (kept, overruled) = keep(&response, policy, &grant);
            let Keep::Yes(life) = kept else { panic!("kept, not {kept:?}") };
            assert_eq!(life.until, Some(NOW_MS + 300_000));
            assert_eq!(overruled, Overruled(false));
        }
    }

    #[test]
    fn json_with_phantom_token() {
        let jwt = phantom_token();
        let response = http(&format!(
            "HTTP/1.1 200 OK\nContent-Type: application/json;charset=UTF-8\n\n\
             {{\"sub\":\"johndoe\",\"purpose\":\"access_token\",\"iss\":\"https://localhost:8443/~\",\
             \"active\":true,\"phantom_token\":\"{jwt}\",\"token_type\":\"bearer\",\
             \"client_id\":\"client-one\",\"aud\":\"api\",\"nbf\":1699999999,\"scope\":\"read\",\
             \"exp\":1700000200}}"
        ));
        let grant = active(&response, Forward::Jwt);
        assert_eq!(grant.jwt, jwt.as_bytes());
        assert_eq!(grant.exp, Some(NOW + 200));
        assert_eq!(grant.scope, b"read");
        assert_eq!(claim(&grant, "client_id"), "client-one");
        assert_eq!(claim(&grant, "jti"), "8d1b");
    }
}

mod keycloak {
    use super::*;

    const MEMBERS: &str = r#""exp":1700000060,"iat":1699999760,"jti":"onrtac:1f0c","iss":"http://localhost:8080/realms/r","aud":["account","api"],"sub":"f4d9","typ":"Bearer","azp":"gateway","sid":"9a","acr":"1","allowed-origins":["/*"],"realm_access":{"roles":["offline_access","uma_authorization"]},"scope":"openid email","email_verified":false,"preferred_username":"alice","client_id":"gateway","username":"alice","token_type":"Bearer","active":true"#;

    fn answer(more: &str) -> Response {
        http(&format!(
            "HTTP/1.1 200 OK\nCache-Control: no-cache\nContent-Type: application/json\n\
             Referrer-Policy: no-referrer\n\n{{{MEMBERS}{more}}}"
        ))
    }

    #[test]
    fn json_with_jwt() {
        let jwt = jws(
            r#"{"alg":"RS256","typ" : "JWT","kid":"FJ86"}"#,
            r#"{"exp":1700000060,"scope":"openid email","typ":"Bearer","sub":"f4d9"}"#,
        );
        let response = answer(&format!(",\"jwt\":\"{jwt}\""));
        let grant = active(&response, Forward::Jwt);
        assert_eq!(grant.jwt, jwt.as_bytes());
        assert_eq!(grant.exp, Some(NOW + 60));
        assert_eq!(grant.scope, b"openid email");
        assert_eq!(claim(&grant, "aud"), "account api");
        assert_eq!(claim(&grant, "email_verified"), "false");
        let roles = r#"{"roles":["offline_access","uma_authorization"]}"#;
        assert_eq!(claim(&grant, "realm_access"), roles);
        assert_overruled(&response, &grant, Uncached::NoCache);
    }

    #[test]
    fn client_that_gets_no_jwt() {
        let response = answer("");
        assert_eq!(read(&response, Forward::Jwt), not_understood(Cause::NoJwt));
        assert_eq!(claim(&active(&response, Forward::None), "preferred_username"), "alice");
    }
}

mod duende {
    use super::*;

    const JSON_HEAD: &str = "HTTP/1.1 200 OK\nContent-Type: application/json; charset=UTF-8\n\
                             Cache-Control: no-store, no-cache, max-age=0\nPragma: no-cache\n\n";
    const JWT_HEAD: &str = "HTTP/1.1 200 OK\nContent-Type: application/token-introspection+jwt\n\
                            Cache-Control: no-store, no-cache, max-age=0\nPragma: no-cache\n\n";
    const MEMBERS: &str = r#"{"iss":"https://localhost:5001","nbf":1699999999,"iat":1699999999,"exp":1700003600,"aud":["api1","https://localhost:5001/resources"],"client_id":"client","sub":"1","active":true,"scope":"api1 offline_access"}"#;

    fn wrapped(object: &str) -> Response {
        let payload = format!(
            r#"{{"iss":"https://localhost:5001","iat":1700000000,"aud":"api1","token_introspection":{object}}}"#
        );
        let header = r#"{"alg":"RS256","kid":"4A","typ":"token-introspection+jwt"}"#;
        http(&format!("{JWT_HEAD}{}", jws(header, &payload)))
    }

    #[test]
    fn json() {
        let response = http(&format!("{JSON_HEAD}{MEMBERS}"));
        assert_eq!(read(&response, Forward::Jwt), not_understood(Cause::NoJwt));
        let grant = active(&response, Forward::None);
        assert_eq!(grant.exp, Some(NOW + 3600));
        assert_eq!(grant.scope, b"api1 offline_access");
        assert_eq!(claim(&grant, "aud"), "api1 https://localhost:5001/resources");
        assert_overruled(&response, &grant, Uncached::NoStore);
    }

    #[test]
    fn token_introspection_jwt() {
        let response = wrapped(MEMBERS);
        assert_eq!(read(&response, Forward::Jwt), not_understood(Cause::NoJwt));
        let grant = active(&response, Forward::None);
        assert!(grant.jwt.is_empty());
        assert_eq!(claim(&grant, "client_id"), "client");
        assert_overruled(&response, &grant, Uncached::NoStore);
    }
}

mod hydra {
    use super::*;

    #[test]
    fn json() {
        let response = http(
            "HTTP/1.1 200 OK\nContent-Type: application/json;charset=UTF-8\n\n\
             {\"active\":true,\"scope\":\"photos.read\",\"client_id\":\"c\",\"sub\":\"peter\",\
             \"exp\":1700003599,\"iat\":1699999999,\"nbf\":1699999999,\"aud\":[],\
             \"iss\":\"http://localhost:4444/\",\"token_type\":\"Bearer\",\
             \"token_use\":\"access_token\",\"ext\":{\"department\":\"a b\"}}\n",
        );
        assert_eq!(read(&response, Forward::Jwt), not_understood(Cause::NoJwt));
        let grant = active(&response, Forward::None);
        assert_eq!(grant.scope, b"photos.read");
        assert_eq!(claim(&grant, "aud"), "");
        assert_eq!(claim(&grant, "ext"), "{\"department\":\"a b\"}");
        let (kept, overruled) = keep(&response, CacheControlPolicy::Strict, &grant);
        assert!(matches!(kept, Keep::Yes(_)), "{kept:?}");
        assert_eq!(overruled, Overruled(false));
    }
}

mod oidc_provider {
    use super::*;

    const MEMBERS: &str = r#"{"active":true,"client_id":"c","exp":1700003600,"iat":1700000000,"iss":"http://localhost:3000","jti":"q1","scope":"api:read","sub":"foo","token_type":"Bearer"}"#;

    #[test]
    fn json() {
        let response = http(&format!(
            "HTTP/1.1 200 OK\ncache-control: no-store\n\
             content-type: application/json; charset=utf-8\n\n{MEMBERS}"
        ));
        let grant = active(&response, Forward::None);
        assert_eq!(grant.scope, b"api:read");
        assert_overruled(&response, &grant, Uncached::NoStore);
    }

    #[test]
    fn token_introspection_jwt() {
        let payload = format!(
            r#"{{"token_introspection":{MEMBERS},"iat":1700000000,"iss":"http://localhost:3000","aud":"c"}}"#
        );
        let header = r#"{"alg":"PS256","typ":"token-introspection+jwt","kid":"k"}"#;
        let jwt = jws(header, &payload);
        let response = http(&format!(
            "HTTP/1.1 200 OK\ncache-control: no-store\n\
             content-type: application/token-introspection+jwt; charset=utf-8\n\n{jwt}"
        ));
        assert_eq!(active(&response, Forward::None).exp, Some(NOW + 3600));
        assert_eq!(read(&response, Forward::Jwt), not_understood(Cause::NoJwt));
        // Were it labelled as a plain JWT, it would not be taken for the phantom token either.
        let mislabelled = http(&format!(
            "HTTP/1.1 200 OK\ncontent-type: application/jwt; charset=utf-8\n\n{jwt}"
        ));
        let cause = Cause::IntrospectionAnswer;
        assert_eq!(read(&mislabelled, Forward::Jwt), not_understood(cause));
        // Where none is forwarded, it is read all the same.
        assert_eq!(active(&mislabelled, Forward::None).exp, Some(NOW + 3600));
    }
}

mod spring {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 \nX-Content-Type-Options: nosniff\n\
                        Cache-Control: no-cache, no-store, max-age=0, must-revalidate\n\
                        Pragma: no-cache\nExpires: 0\n\
                        Content-Type: application/json;charset=UTF-8\n\n";

    #[test]
    fn json() {
        let response = http(&format!(
            "{HEAD}{{\"active\":true,\"sub\":\"messaging-client\",\"aud\":[\"messaging-client\"],\
             \"nbf\":1700000000,\"scope\":\"message.read message.write\",\
             \"iss\":\"http://localhost:9000\",\"exp\":1700000300,\"iat\":1700000000,\
             \"jti\":\"2e\",\"client_id\":\"messaging-client\",\"token_type\":\"Bearer\"}}"
        ));
        let grant = active(&response, Forward::None);
        assert!(scope::covers(&grant.scope, b"message.read"));
        assert_eq!(claim(&grant, "aud"), "messaging-client");
        assert_overruled(&response, &grant, Uncached::NoStore);
    }
}

mod glewlwyd {
    use super::*;

    /// The answer of the drafts before RFC 9701, which it gives to "Accept: application/jwt".
    fn early(members: &str) -> Response {
        let header = r#"{"typ":"token-introspection+jwt","alg":"RS256","kid":"k"}"#;
        let jwt = jws(header, &format!("{{{members}}}"));
        http(&format!("HTTP/1.1 200 OK\nContent-Type: application/jwt\n\n{jwt}"))
    }

    const MEMBERS: &str = r#""iss":"https://glewlwyd.example.com/","aud":"gateway","iat":1700000000,"username":"u","client_id":"c","token_type":"bearer","scope":"read","active":true,"exp":1700003600"#;

    #[test]
    fn application_jwt_that_is_no_access_token() {
        let expected = not_understood(Cause::IntrospectionAnswer);
        assert_eq!(read(&early(MEMBERS), Forward::Jwt), expected);
        let grant = active(&early(MEMBERS), Forward::None);
        assert!(grant.jwt.is_empty());
        assert_eq!((grant.scope.as_slice(), grant.exp), (&b"read"[..], Some(NOW + 3600)));
        assert_eq!(claim(&grant, "username"), "u");
        for forward in [Forward::Jwt, Forward::None] {
            assert_eq!(read(&early(r#""active":false"#), forward), Answer::Inactive(None));
        }
    }
}

/// Doorkeeper on Rails.
mod doorkeeper {
    use super::*;

    #[test]
    fn json_that_rails_forbids_to_cache() {
        let response = http(
            "HTTP/1.1 200 OK\nContent-Type: application/json; charset=utf-8\n\
             Cache-Control: max-age=0, private, must-revalidate\n\n\
             {\"active\":true,\"scope\":\"read\",\"client_id\":\"c\",\
             \"token_type\":\"Bearer\",\"exp\":1700003600,\"iat\":1700000000}",
        );
        let grant = active(&response, Forward::None);
        let (kept, overruled) = keep(&response, CacheControlPolicy::Cap, &grant);
        let Keep::Yes(life) = kept else { panic!("kept, not {kept:?}") };
        assert_eq!((life.until, life.may_stale), (None, true));
        assert_eq!(overruled, Overruled(true));
        let strictly = keep(&response, CacheControlPolicy::Strict, &grant);
        assert_eq!(strictly, (Keep::No(Uncached::Private), Overruled(false)));
    }

    #[test]
    fn token_without_an_end() {
        for exp in ["0", "null"] {
            let response = http(&format!(
                "HTTP/1.1 200 OK\nContent-Type: application/json; charset=utf-8\n\n\
                 {{\"active\":true,\"scope\":\"read\",\"client_id\":\"c\",\
                 \"token_type\":\"Bearer\",\"exp\":{exp},\"iat\":1700000000}}"
            ));
            assert_eq!(active(&response, Forward::None).exp, None, "{exp}");
        }
    }
}

/// Servers that take `unsupported_token_type` for a word about the hint.
mod hints {
    use super::*;

    fn ask(status: u16, hint: Option<&[u8]>) -> Answer {
        let response = http(&format!(
            "HTTP/1.1 {status} X\nContent-Type: application/json\n\n\
             {{\"error\":\"unsupported_token_type\"}}"
        ));
        answer::read(&response, Terms::new(Forward::None, hint), NOW)
    }

    #[test]
    fn jmondi_and_authlib() {
        for status in [400, 401] {
            let unknown = ask(status, Some(b"refresh_token"));
            assert_eq!(unknown, Answer::Failed(NoVerdict::Hint(status)));
        }
        assert_eq!(ask(400, Some(b"access_token")), Answer::Inactive(None));
        assert_eq!(ask(400, None), Answer::Inactive(None));
    }
}

mod in_front_of_a_server {
    use super::*;

    #[test]
    fn rate_limit() {
        let response = http("HTTP/1.1 429 Too Many Requests\nRetry-After: 30\n\n");
        let expected = NoVerdict::RateLimited { retry_after: Some(30) };
        assert_eq!(read(&response, Forward::Jwt), Answer::Failed(expected));
    }

    #[test]
    fn shared_cache() {
        let jwt = jws(r#"{"alg":"RS256"}"#, r#"{"exp":1700000900}"#);
        let response = http(&format!(
            "HTTP/1.1 200 OK\nContent-Type: application/jwt\nCache-Control: Max-Age=\"60\"\n\
             Cache-Control: public\nAge: 45\n\n{jwt}\n"
        ));
        let grant = active(&response, Forward::Jwt);
        let (kept, _) = keep(&response, CacheControlPolicy::Cap, &grant);
        let Keep::Yes(life) = kept else { panic!("kept, not {kept:?}") };
        assert_eq!(life.until, Some(NOW_MS + 15_000));
    }
}
