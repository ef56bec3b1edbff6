//! What to do about a call that failed, by its cause: the end of a line in the error log, and what
//! `phantom-token-probe` says. In fixed words, and of an authorization server in those of directives that
//! stand outside of a block.

use std::fmt;
use std::io::ErrorKind;

use crate::answer::{Cause, NoVerdict};
use crate::client::{AnswerCause, CallError, ConnectCause, Phase, RequestCause, TlsCause};

mod store;

pub use store::of_store;

/// The two causes of a refusal, that of credentials said before.
pub const CREDENTIALS_OR_TOKEN: &str = "; where other tokens are answered it is this token that the server, or a firewall in front of it, refuses";

/// Says what to do where there was no answer to a call; `https`: the endpoint's URL begins with it.
pub fn of_call(error: &CallError, https: bool) -> &'static str {
    match error {
        CallError::Connect(cause) => of_connect(*cause),
        CallError::Tls(cause) => of_tls(*cause),
        CallError::Timeout(phase) => of_timeout(*phase),
        CallError::Answer(cause) => of_framing(*cause, https),
        CallError::Request(cause) => of_request(*cause),
    }
}

fn of_connect(cause: ConnectCause) -> &'static str {
    match cause {
        ConnectCause::HostNotFound => {
            "check the host in the endpoint's URL, and this machine's /etc/resolv.conf and /etc/hosts"
        }
        ConnectCause::NoResolver => {
            "check the name servers in this machine's /etc/resolv.conf, and that they can be reached from here"
        }
        ConnectCause::NoResolverThread => {
            "let NGINX have more processes and threads: see LimitNPROC and TasksMax of its service"
        }
        ConnectCause::NoDescriptor => "raise worker_rlimit_nofile",
        ConnectCause::NoLocalPort => {
            "too many connections lead from here to this server: see net.ipv4.ip_local_port_range"
        }
        ConnectCause::Refused => {
            "check that the server runs and can be reached from here, at this host and port"
        }
        ConnectCause::Reset => {
            "check that the server runs and can be reached from here: it, a load balancer or a firewall ends connections"
        }
        ConnectCause::Unreachable => {
            "check that the server runs and can be reached from here: route, firewall, and IPv6 where its address is one"
        }
        ConnectCause::Io(ErrorKind::PermissionDenied) => {
            "this machine forbids it: let NGINX connect, with SELinux by \"setsebool -P httpd_can_network_connect on\""
        }
        ConnectCause::Io(_) => "check that the server runs and can be reached from here",
    }
}

fn of_tls(cause: TlsCause) -> &'static str {
    match cause {
        TlsCause::Expired => {
            "renew it at the server; if it is valid there, set this machine's clock"
        }
        TlsCause::NotValidYet => {
            "set this machine's clock; if it is right, have the certificate issued anew"
        }
        TlsCause::WrongName => {
            "write a name the certificate is for into the endpoint's URL; connect=HOST:PORT behind it says where the server is"
        }
        TlsCause::NoName | TlsCause::OldVersion => {
            "have it issued as version 3 with the host in subjectAltName, or name the server's own certificate in phantom_token_ssl_trusted_certificate"
        }
        TlsCause::UnknownIssuer => {
            "name the CA's certificate in phantom_token_ssl_trusted_certificate; the server has to send those between the CA's and its own"
        }
        TlsCause::SelfSigned | TlsCause::CaCertificate => {
            "name this certificate in phantom_token_ssl_trusted_certificate"
        }
        TlsCause::WrongPurpose => {
            "have the server's certificate issued for TLS servers (extendedKeyUsage serverAuth)"
        }
        TlsCause::Revoked => "have the server's certificate issued anew",
        TlsCause::BadCertificate => {
            "have the server's certificate issued anew, with an RSA key of 2048 bits or more, or ECDSA P-256 or P-384, and SHA-256"
        }
        TlsCause::ClientCertificateRequired => {
            "set phantom_token_ssl_certificate and phantom_token_ssl_certificate_key"
        }
        TlsCause::ClientCertificateRefused => {
            "check phantom_token_ssl_certificate, whose file may have to hold the issuing CA's certificate too"
        }
        TlsCause::UnknownName => {
            "check the endpoint's URL: its scheme, host and port; the server has no site of this name"
        }
        TlsCause::NotTls => {
            "check the endpoint's URL: its scheme, host and port; write http://, or the port where the server speaks TLS"
        }
        TlsCause::Incompatible => {
            "have the server speak TLS 1.2 or 1.3, with an ECDHE suite of AES-GCM or ChaCha20-Poly1305, and HTTP/1.1"
        }
        TlsCause::Closed => {
            "check the endpoint's URL: its scheme, host and port; if it is that of a TLS server, see the server's own log"
        }
        TlsCause::Alert | TlsCause::Protocol => "see the server's own log",
    }
}

fn of_timeout(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => {
            "other endpoints, or the queue, took all of phantom_token_timeout: see the lines before"
        }
        Phase::Resolve => of_connect(ConnectCause::NoResolver),
        Phase::Connect => {
            "the server is slow or cannot be reached: check host, port, route and firewall; see phantom_token_timeout and phantom_token_connect_timeout"
        }
        Phase::Tls => {
            "the server is slow, or speaks no TLS on this port; see phantom_token_timeout and phantom_token_connect_timeout"
        }
        Phase::Send | Phase::Wait | Phase::Read => {
            "the server is slow: see its own log and phantom_token_timeout"
        }
    }
}

fn of_framing(cause: AnswerCause, https: bool) -> &'static str {
    match (cause, https) {
        (AnswerCause::NotHttp, false) => {
            "check the endpoint's URL: its scheme, host and port; write https:// where the server speaks TLS"
        }
        (AnswerCause::NotHttp | AnswerCause::Upgrade, _) => {
            "check the endpoint's URL: its host and port; the server has to speak HTTP/1.1 there"
        }
        (AnswerCause::Closed | AnswerCause::Io(_), false) => {
            "the server, or a proxy in front of it, ends connections: see their logs; write https:// where it speaks TLS"
        }
        (AnswerCause::Closed | AnswerCause::Io(_), true) => {
            "the server, or a proxy in front of it, ends connections: see their logs"
        }
        (AnswerCause::AmbiguousLength | AnswerCause::TransferCoding | AnswerCause::TooLong, _) => {
            "the server, or a proxy in front of it, breaks HTTP/1.1: see what version of each there is"
        }
        (AnswerCause::HeaderTooLarge, _) => {
            "have the server, or a proxy in front of it, send fewer headers"
        }
        (AnswerCause::BodyTooLarge, _) => LESS,
        (AnswerCause::NoMemory, _) => NO_MEMORY,
    }
}

const LESS: &str =
    "have the server say less of a token: fewer roles and groups, lightweight tokens at Keycloak";
const NO_MEMORY: &str = "this machine has no memory left";

fn of_request(cause: RequestCause) -> &'static str {
    match cause {
        RequestCause::Header | RequestCause::Refused => {
            "check phantom_token_introspection_header, phantom_token_introspection_accept and the endpoint's URL"
        }
        RequestCause::Assertion => "this machine gives no random numbers",
        RequestCause::NoMemory => NO_MEMORY,
    }
}

/// Says what to do where an answer said nothing about the token; `None` where its own words do, and where
/// credentials were refused, which depends on what they are ([`Hints`]).
pub fn of_answer(failure: NoVerdict) -> Option<&'static str> {
    Some(match failure {
        NoVerdict::Status(status) => of_status(status),
        NoVerdict::Unavailable { .. } => {
            "it is starting, is overloaded, or the proxy in front has no server left: see the server's own log"
        }
        NoVerdict::RateLimited { .. } => {
            "ask less often: see phantom_token_cache_valid; or have the server let the gateway ask more"
        }
        NoVerdict::NotUnderstood(cause) => return of_cause(cause),
        NoVerdict::Credentials(_) | NoVerdict::Hint(_) | NoVerdict::NotMinted(_) => return None,
    })
}

fn of_status(status: u16) -> &'static str {
    match status {
        300..=399 => {
            "redirects are not followed: write the final URL; often it is https:// for http://, or a slash too many or too few at the end, or the path is wrong and leads to a login page"
        }
        400 => {
            "the server does not understand the request: see its own log, and whether it wants a phantom_token_introspection_param"
        }
        404 | 410 => "check the endpoint's URL: its path",
        405 | 415 => {
            "check the endpoint's URL: its path, where something takes no POST with a form; some servers answer so to an Accept that they do not give: write \"phantom_token_introspection_accept application/json\""
        }
        406 => {
            "set phantom_token_introspection_accept to what the server gives, such as application/json"
        }
        407 => "check the endpoint's URL: a proxy answers that wants credentials of its own",
        421 => "check the endpoint's URL: the server has no site of its host and port",
        502 | 504 => "the proxy in front of the server cannot reach it: see the logs of both",
        500..=599 => "see the server's own log",
        200..=299 => {
            "check the endpoint's URL: its path, where something other than introspection answers"
        }
        _ => "see the server's own log, and check the endpoint's URL",
    }
}

fn of_cause(cause: Cause) -> Option<&'static str> {
    Some(match cause {
        // Said by the cause itself.
        Cause::NoJwt | Cause::IntrospectionAnswer => return None,
        Cause::ContentEncoding => {
            "have the server, or a proxy in front of it, compress no answer that says \"Accept-Encoding: identity\""
        }
        Cause::TooLarge => LESS,
        Cause::NoContentType | Cause::ContentType => {
            "check the endpoint's URL, phantom_token_introspection_accept and what the server gives this client: a login page or a proxy may answer there"
        }
        Cause::Empty | Cause::Json | Cause::NotAnObject | Cause::NoActive | Cause::ActiveType => {
            "check the endpoint's URL, phantom_token_introspection_accept and what the server gives this client"
        }
        Cause::IntrospectionPayload => {
            "write \"phantom_token_forward none\" or \"phantom_token_forward mint\""
        }
        Cause::EncryptedAnswer => {
            "have the server sign answers to this client and not encrypt them, or write \"phantom_token_introspection_accept application/json\""
        }
        Cause::NoTokenIntrospection => {
            "write \"phantom_token_introspection_accept application/json\""
        }
        Cause::Alg => "have the server sign the JWT",
        Cause::Issuers => "check issuer, and how the server calls itself",
        Cause::Duplicate
        | Cause::Segments
        | Cause::Header
        | Cause::Typ
        | Cause::Payload
        | Cause::Exp
        | Cause::Scope
        | Cause::Cnf => "the server's answer is at fault: see what makes it there",
    })
}

/// What may be wrong with credentials that are refused. Its text is what may have to be looked at besides
/// [`Hints::advice`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Basic credentials are form-urlencoded, which changes them.
    pub encoded: bool,
    /// They are not, and that would change them.
    pub raw: bool,
    /// A client certificate is sent.
    pub certificate: bool,
    /// The client sends assertions.
    pub assertions: bool,
    /// They are signed with a private key, and there is no secret.
    pub key: bool,
}

impl Hints {
    /// Says what to look at first.
    pub fn advice(self) -> &'static str {
        match self.key {
            false => {
                "check phantom_token_client_id and phantom_token_client_secret, and that the client may introspect"
            }
            true => {
                "check phantom_token_client_id and phantom_token_client_key, and that the client may introspect"
            }
        }
    }
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.encoded {
            f.write_str("; try \"phantom_token_client_auth basic_raw\"")?;
        }
        if self.assertions {
            f.write_str("; check the key id, the audience and both clocks")?;
        }
        if self.certificate {
            f.write_str(
                "; the file of phantom_token_ssl_certificate may have to hold the issuing CA's certificate too",
            )?;
        }
        Ok(())
    }
}

/// What is said of an answer that says nothing about the token: what it was, and what to do.
pub struct Remedied {
    /// What it was.
    pub failure: NoVerdict,
    /// What may be wrong where it is credentials.
    pub hints: Hints,
}

impl fmt::Display for Remedied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remedied { failure, hints } = self;
        write!(f, "{failure}")?;
        if let NoVerdict::Credentials(_) = failure {
            write!(f, "; {}{CREDENTIALS_OR_TOKEN}{hints}", hints.advice())?;
        }
        if let Some(remedy) = of_answer(*failure) {
            write!(f, "; {remedy}")?;
        }
        match failure {
            // Some servers call credentials that they cannot decode a bad request.
            NoVerdict::Credentials(400) | NoVerdict::Status(400) if hints.raw => {
                f.write_str("; try \"phantom_token_client_auth basic\"")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
