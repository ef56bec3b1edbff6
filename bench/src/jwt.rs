//! JWTs for the authorization server to give.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Claims of any access token.
const FEW: &str = r#""iss":"https://idsvr.example.com","sub":"8f4c1f2ab2","aud":"api","exp":4102444800,"scope":"read write""#;

/// What RFC 9068 wants of a JWT access token besides.
const MORE: &str = r#","iat":1700000000,"nbf":1700000000,"jti":"c1b07a6e-3c8f-4c0b-9f0e-0f6f2f3f7a11","client_id":"single-page-application","auth_time":1699999990,"roles":["customer","beta"]"#;

/// A JWT whose compact form has about `length` bytes: as authorization servers sign by default
/// (RS256), where there is room, else with the shorter signature of ES256. Small claims fill it up.
pub(crate) fn of_length(length: usize) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let (alg, signature, more) =
        if length < 768 { ("ES256", 64, "") } else { ("RS256", 256, MORE) };
    let header = encode(&format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"1584953400"}}"#));
    let signature = encode(&"s".repeat(signature));
    let payload = |filling: usize| {
        let filling: String =
            (0..filling / 24).map(|n| format!(",\"claim_{n:04}\":\"{:08x}\"", n * 7919)).collect();
        encode(&format!("{{{FEW}{more}{filling}}}"))
    };
    let bare = header.len() + signature.len() + 2 + payload(0).len();
    format!("{header}.{}.{signature}", payload(length.saturating_sub(bare) * 3 / 4))
}

#[cfg(test)]
mod tests {
    use super::of_length;

    #[test]
    fn jwts_are_about_as_long_as_asked() {
        for length in [512, 800, 1024, 4096] {
            let jwt = of_length(length);
            assert!(jwt.len().abs_diff(length) < 64, "{} for {length}", jwt.len());
            assert!(phantom_token_engine::answer::jwt::Compact::parse(jwt.as_bytes()).is_ok());
        }
    }
}
