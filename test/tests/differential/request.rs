//! Requests of all kinds.

use phantom_token_test::random::Random;

/// The longest token, in bytes.
pub(crate) const LONGEST: usize = 32_768;
/// A JOSE token in another spelling than its own.
pub(crate) const RESPELT: &str = "eyJhbGciOiJub25lIn0.e30.AB";

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// The values of `Authorization`, a line each.
    pub(crate) authorization: Vec<String>,
    /// `X-Token`: the bare token, for locations that take it from a variable.
    pub(crate) bare: Option<String>,
    /// `X-Bypass`, which the configuration makes a bypass of.
    pub(crate) bypass: Option<&'static str>,
    /// `X-Refresh`: asks the authorization server anew.
    pub(crate) refresh: Option<&'static str>,
    pub(crate) origin: bool,
    pub(crate) requested_method: bool,
    pub(crate) body: usize,
}

impl Request {
    /// A request that mostly presents `token`.
    pub(crate) fn generate(random: &mut Random, token: &str) -> Self {
        let method =
            random.of(&["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]);
        let authorization = match random.below(40) {
            0 => Vec::new(),
            1 => {
                vec![random.of(&["Basic eDp5", "DPoP abc", "Bearerx abc", "Negotiate"]).to_owned()]
            }
            2 => vec![random.of(&["Bearer", "bearer ", "Bearer    ", "Bearer \t"]).to_owned()],
            3 => vec![format!("Bearer {token} {token}")],
            4 => vec![format!("Bearer {token}{}", random.of(&["\"", ",x", "é", "(", "=x", "%20"]))],
            5 if random.one_in(3) => {
                // At the limit, and one byte beyond it.
                let length = random.of(&[LONGEST, LONGEST + 1]);
                vec![format!("Bearer {}", padded(token, length))]
            }
            6 if random.one_in(2) => vec![format!("Bearer {RESPELT}")],
            7 if random.one_in(2) => vec![format!("Bearer {token}"), format!("Bearer {token}")],
            n => {
                let scheme = random.of(&["Bearer", "bearer", "BEARER", "bEaReR"]);
                let blanks = if n < 14 { "   " } else { " " };
                let end = match n {
                    14 => "  ",
                    15 => "\t \t",
                    _ => "",
                };
                vec![format!("{scheme}{blanks}{token}{end}")]
            }
        };
        let bare = match random.below(20) {
            0 => None,
            1 => Some(format!("{token} {token}")),
            2 => Some(format!("{token}!")),
            3 => Some(RESPELT.to_owned()),
            4 => Some(format!("{token}%{}", random.of(&["", "2", "zz", "00", "20"]))),
            5 => Some(token.bytes().map(|byte| format!("%{byte:02x}")).collect()),
            _ => Some(token.to_owned()),
        };
        let flag = |random: &mut Random| match random.below(40) {
            0 => Some("1"),
            1 => Some("0"),
            2 => Some("yes"),
            _ => None,
        };
        Self {
            method,
            authorization,
            bare,
            bypass: flag(random),
            refresh: flag(random).or(flag(random)),
            origin: random.one_in(2),
            requested_method: random.one_in(2),
            body: if matches!(method, "POST" | "PUT" | "PATCH") {
                random.of(&[0, 1, 2_000, 40_000])
            } else {
                0
            },
        }
    }

    /// The header fields.
    pub(crate) fn headers(&self, case: &str) -> Vec<(&'static str, String)> {
        let mut headers = vec![("X-Case", case.to_owned())];
        headers.extend(self.authorization.iter().map(|value| ("Authorization", value.clone())));
        headers.extend(self.bare.iter().map(|value| ("X-Token", value.clone())));
        headers.extend(self.bypass.iter().map(|value| ("X-Bypass", (*value).to_owned())));
        headers.extend(self.refresh.iter().map(|value| ("X-Refresh", (*value).to_owned())));
        headers.extend(self.origin.then(|| ("Origin", "https://app.example".to_owned())));
        headers.extend(
            self.requested_method.then(|| ("Access-Control-Request-Method", "GET".to_owned())),
        );
        headers
    }
}

/// The token made so many bytes long.
pub(crate) fn padded(token: &str, length: usize) -> String {
    format!("{token}{}", "x".repeat(length - token.len()))
}
