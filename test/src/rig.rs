//! A gateway with its two neighbours, and what its own replies must be.

use crate::api::Api;
use crate::authorization_server::{AuthorizationServer, Token};
use crate::client::Response;
use crate::nginx::{Builder, Gateway};

/// The body of a 401.
pub const UNAUTHORIZED: &str =
    "{\"code\":\"unauthorized\",\"message\":\"Missing, invalid or expired access token\"}\n";
/// The body of a 403.
pub const FORBIDDEN: &str =
    "{\"code\":\"forbidden\",\"message\":\"The token does not contain the required scope\"}\n";
/// The body of a 403 for a requirement.
pub const UNMET: &str =
    "{\"code\":\"forbidden\",\"message\":\"The token does not meet the requirements\"}\n";
/// The body of a 500 and of a 503.
pub const SERVER_ERROR: &str = "{\"code\":\"server_error\",\"message\":\"Problem encountered authorizing the HTTP request\"}\n";
/// The challenge to a request without a token, as it comes.
pub const CHALLENGE: &str = "Bearer realm=\"api\"";
/// The challenge to a request with a bad token, as it comes.
pub const INVALID_TOKEN: &str = "Bearer realm=\"api\", error=\"invalid_token\", \
     error_description=\"The access token is invalid or expired\"";

/// A gateway that protects `/api`, an authorization server and an API.
pub struct Rig {
    /// The gateway; dropped first, while the others still answer.
    pub gateway: Gateway,
    /// The authorization server.
    pub server: AuthorizationServer,
    /// The API.
    pub api: Api,
}

impl Rig {
    /// Starts all three. `change` adds to the gateway's configuration.
    ///
    /// # Panics
    /// Where one does not start.
    pub fn start(change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::with(AuthorizationServer::start(), |builder, _| change(builder))
    }

    /// Starts gateway and API with this authorization server, which `change` may look at.
    ///
    /// # Panics
    /// Where one does not start.
    pub fn with(
        server: AuthorizationServer,
        change: impl FnOnce(Builder, &AuthorizationServer) -> Builder,
    ) -> Self {
        let api = Api::start();
        let gateway = change(Gateway::builder().protect(&server, &api), &server).start();
        Self { gateway, server, api }
    }

    /// GET `/api` with an access token, on a connection of its own.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn get_as(&self, token: &str) -> Response {
        self.gateway.get_as("/api", token)
    }

    /// Asserts that `/api` lets the token in and hands its JWT on.
    ///
    /// # Panics
    /// Where it does not.
    pub fn assert_passes(&self, token: &Token) {
        let before = self.api.count();
        let response = self.get_as(&token.token);
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(self.api.count(), before + 1);
        assert_eq!(self.api.last().authorization(), [token.phantom()]);
    }
}

/// A location that answers 204 to whoever gets in, and shows what the upstream would be sent, how the
/// module came to it, and which worker it was.
pub fn shown(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Sent $http_authorization always;\n\
         add_header Outcome $phantom_token_status always;\n\
         add_header Reason $phantom_token_reason always;\n\
         add_header Store $phantom_token_store_status always;\n\
         add_header Took $phantom_token_introspection_time always;\n\
         add_header Worker $pid always;\n\
         try_files /none =204;"
    )
}

/// What a reply of the gateway's own must be.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    status_line: &'static str,
    body: &'static str,
    challenge: Option<&'a str>,
    retry_after: Option<&'a str>,
}

impl<'a> Reply<'a> {
    /// 401 with this challenge.
    pub fn unauthorized(challenge: &'a str) -> Self {
        Self::new("HTTP/1.1 401 Unauthorized", UNAUTHORIZED).challenge(challenge)
    }

    /// 403 with this challenge.
    pub fn forbidden(challenge: &'a str) -> Self {
        Self::new("HTTP/1.1 403 Forbidden", FORBIDDEN).challenge(challenge)
    }

    /// 403 for a requirement that is not met.
    pub fn unmet() -> Self {
        Self::new("HTTP/1.1 403 Forbidden", UNMET)
    }

    /// 500.
    pub fn failure() -> Self {
        Self::new("HTTP/1.1 500 Internal Server Error", SERVER_ERROR)
    }

    /// 503 with this `Retry-After`, in seconds.
    pub fn unavailable(retry_after: &'a str) -> Self {
        let reply = Self::new("HTTP/1.1 503 Service Temporarily Unavailable", SERVER_ERROR);
        Self { retry_after: Some(retry_after), ..reply }
    }

    fn new(status_line: &'static str, body: &'static str) -> Self {
        Self { status_line, body, challenge: None, retry_after: None }
    }

    fn challenge(self, challenge: &'a str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    /// Asserts that a response to a method other than HEAD is this, header fields and all.
    ///
    /// # Panics
    /// Where it is not.
    #[track_caller]
    pub fn assert(&self, response: &Response) {
        self.assert_head(response);
        assert_eq!(response.text(), self.body);
    }

    /// Asserts that a response to HEAD is this: the same header fields and no body.
    ///
    /// # Panics
    /// Where it is not.
    #[track_caller]
    pub fn assert_head(&self, response: &Response) {
        let head = String::from_utf8_lossy(&response.raw_head);
        assert_eq!(head.lines().next(), Some(self.status_line), "{head}");
        let length = self.body.len().to_string();
        let mut fields = vec![
            ("cache-control", "no-store"),
            ("connection", "keep-alive"),
            ("content-length", length.as_str()),
            ("content-type", "application/json"),
        ];
        fields.extend(self.retry_after.map(|seconds| ("retry-after", seconds)));
        fields.extend(self.challenge.map(|challenge| ("www-authenticate", challenge)));
        let got = response.fields();
        let got: Vec<(&str, &str)> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(got, fields, "{head}");
    }
}

/// The parameters of a `Bearer` challenge in alphabetical order (RFC 9110 §11.6.1). All of ours are
/// quoted strings without escapes.
///
/// # Panics
/// Where it is no such challenge.
pub fn challenge_parameters(response: &Response) -> Vec<(String, String)> {
    let values: Vec<&str> = response.headers.all("www-authenticate").collect();
    let [value] = values[..] else { panic!("one challenge: {values:?}") };
    let mut rest = value.strip_prefix("Bearer ").expect("a Bearer challenge");
    let mut parameters = Vec::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").expect("a parameter");
        let (text, after) = quoted.split_once('"').expect("a closing quote");
        parameters.push((name.to_owned(), text.to_owned()));
        match after.strip_prefix(", ") {
            Some(next) => rest = next,
            None => {
                assert_eq!(after, "", "{value}");
                parameters.sort();
                return parameters;
            }
        }
    }
}
