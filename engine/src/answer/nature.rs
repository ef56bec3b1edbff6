//! What kind of token an answer is about, and to what the token is bound: read once, when the
//! answer is, and judged on every request, because two locations may ask different things of it.

use crate::answer::binding::Binding;
use crate::answer::json::{Object, Value};

/// What an answer and the JWT it gave say of a token, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    /// What kind it is.
    pub kind: TokenKind,
    /// To what it is bound.
    pub binding: Binding,
}

/// What kind of token it is, in the words of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenKind {
    /// Nobody says.
    #[default]
    Unnamed,
    /// One is named that may be an access token's.
    Named,
    /// One is named that is no access token's: a refresh token, an ID token, an unused code.
    Other,
}

/// Which kinds a location takes (`phantom_token_kind`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepts {
    /// Whatever is not named as another kind.
    #[default]
    Access,
    /// What is named, and not as another kind: for servers that name the kind of access tokens
    /// alone.
    Declared,
    /// All.
    Any,
}

/// Members that name a token's kind, in the words of different servers.
const MEMBERS: [&str; 5] = ["token_use", "token_usage", "token_class", "token_type", "typ"];

/// What names no access token, without case, `_` and `-`.
const OTHERS: [&str; 12] = [
    "refresh",
    "refreshtoken",
    "id",
    "idtoken",
    "offline",
    "offlinetoken",
    "logout",
    "logouttoken",
    "code",
    "authorizationcode",
    "usercode",
    "devicecode",
];

/// `urn:ietf:params:oauth:token-type:` (RFC 8693 §3), written like [`OTHERS`].
const URN: &str = "urn:ietf:params:oauth:tokentype:";

impl TokenKind {
    /// What the string members of an answer, or of a JWT's payload, name.
    pub fn read(claims: &Object<'_>) -> TokenKind {
        MEMBERS
            .into_iter()
            .filter_map(|name| claims.get(name).and_then(Value::as_str))
            .map(|named| if is_other(&named) { TokenKind::Other } else { TokenKind::Named })
            .max()
            .unwrap_or_default()
    }
}

fn is_other(named: &str) -> bool {
    let plain: String = named
        .chars()
        .filter(|character| !matches!(character, '_' | '-'))
        .map(|character| character.to_ascii_lowercase())
        .collect();
    OTHERS.contains(&plain.strip_prefix(URN).unwrap_or(&plain))
}

impl Accepts {
    /// Whether a token of this kind is let in.
    pub fn takes(self, kind: TokenKind) -> bool {
        match self {
            Accepts::Access => kind != TokenKind::Other,
            Accepts::Declared => kind == TokenKind::Named,
            Accepts::Any => true,
        }
    }
}

impl Nature {
    /// What both together say: of an answer, and of the JWT in it.
    pub fn and(self, other: Nature) -> Nature {
        Nature { kind: self.kind.max(other.kind), binding: self.binding.and(other.binding) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(claims: &str) -> TokenKind {
        TokenKind::read(&Object::parse(claims.as_bytes()).expect("an object"))
    }

    #[test]
    fn any_member_may_name_another_kind() {
        for name in MEMBERS {
            for (named, expected) in [
                ("Bearer", TokenKind::Named),
                ("bearer", TokenKind::Named),
                ("DPoP", TokenKind::Named),
                ("access_token", TokenKind::Named),
                ("at+jwt", TokenKind::Named),
                ("", TokenKind::Named),
                ("refresh token", TokenKind::Named),
                ("refreshed", TokenKind::Named),
                ("ids", TokenKind::Named),
                ("urn:ietf:params:oauth:token-type:access_token", TokenKind::Named),
                ("urn:example:refresh_token", TokenKind::Named),
                ("urn:ietf:params:oauth:token-type:", TokenKind::Named),
                ("Refresh", TokenKind::Other),
                ("refresh_token", TokenKind::Other),
                ("REFRESH-TOKEN", TokenKind::Other),
                ("_refresh__token_", TokenKind::Other),
                ("ID", TokenKind::Other),
                ("id_token", TokenKind::Other),
                ("Offline", TokenKind::Other),
                ("offline_token", TokenKind::Other),
                ("Logout", TokenKind::Other),
                ("logout-token", TokenKind::Other),
                ("code", TokenKind::Other),
                ("authorization_code", TokenKind::Other),
                ("user_code", TokenKind::Other),
                ("device-code", TokenKind::Other),
                ("urn:ietf:params:oauth:token-type:refresh_token", TokenKind::Other),
                ("URN:IETF:params:oauth:token_type:id_token", TokenKind::Other),
            ] {
                assert_eq!(kind(&format!("{{\"{name}\":\"{named}\"}}")), expected, "{name}");
                // Another member that names a good one helps nothing.
                for more in MEMBERS.into_iter().filter(|more| *more != name) {
                    let claims = format!("{{\"{more}\":\"Bearer\",\"{name}\":\"{named}\"}}");
                    assert_eq!(kind(&claims), expected, "{claims}");
                }
            }
        }
    }

    #[test]
    fn only_strings_of_these_names_name_one() {
        for claims in [
            "{}",
            r#"{"token_type":null}"#,
            r#"{"token_type":["refresh_token"]}"#,
            r#"{"typ":1,"token_use":true,"token_class":{"a":"id"}}"#,
            r#"{"Typ":"Refresh","token-type":"id","kind":"refresh_token","use":"id"}"#,
            r#"{"ext":{"token_use":"refresh_token"}}"#,
        ] {
            assert_eq!(kind(claims), TokenKind::Unnamed, "{claims}");
        }
        assert_eq!(kind(r#"{"token_type":null,"typ":"Bearer"}"#), TokenKind::Named);
        assert_eq!(kind(r#"{"typ":"re\u0066resh"}"#), TokenKind::Other);
    }

    #[test]
    fn what_is_taken() {
        for (accepts, taken) in [
            (Accepts::Access, [true, true, false]),
            (Accepts::Declared, [false, true, false]),
            (Accepts::Any, [true, true, true]),
        ] {
            let kinds = [TokenKind::Unnamed, TokenKind::Named, TokenKind::Other];
            assert_eq!(kinds.map(|kind| accepts.takes(kind)), taken, "{accepts:?}");
        }
    }
}
