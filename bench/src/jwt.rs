//! JWTs for the authorization server to give.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A JWT whose compact form has about `length` bytes.
pub(crate) fn of_length(length: usize) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = encode(r#"{"alg":"ES256","typ":"at+jwt","kid":"1584953400"}"#);
    let signature = encode(&"s".repeat(64));
    let payload = |filling: usize| {
        let filling: Vec<String> =
            (0..filling / 24).map(|n| format!("\"claim_{n:04}\":\"{:08x}\"", n * 7919)).collect();
        let comma = if filling.is_empty() { "" } else { "," };
        encode(&format!(
            r#"{{"iss":"https://idsvr.example.com","sub":"8f4c1f2ab2","aud":"api","exp":4102444800,"scope":"read write"{comma}{}}}"#,
            filling.join(",")
        ))
    };
    let bare = header.len() + signature.len() + 2 + payload(0).len();
    format!("{header}.{}.{signature}", payload(length.saturating_sub(bare) * 3 / 4))
}

#[cfg(test)]
mod tests {
    use super::of_length;

    #[test]
    fn jwts_are_about_as_long_as_asked() {
        for length in [512, 1024, 4096] {
            let jwt = of_length(length);
            assert!(jwt.len().abs_diff(length) < 64, "{} for {length}", jwt.len());
            assert!(phantom_token_core::jwt::Compact::parse(jwt.as_bytes()).is_ok());
        }
    }
}
