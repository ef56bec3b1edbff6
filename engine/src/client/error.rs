//! Why a call to the authorization server failed, in fixed words.
//!
//! Nothing here carries a byte the server sent, so every message may be logged.

use std::io;

use thiserror::Error;

/// Why no usable answer came.
///
/// The message is one fixed phrase ("connection refused"); the caller adds which endpoint it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CallError {
    /// No TCP connection: the name, the route or the port.
    #[error(transparent)]
    Connect(ConnectCause),
    /// The TCP connection stands, TLS does not.
    #[error(transparent)]
    Tls(TlsCause),
    /// The time ran out; the phase says in what.
    #[error(transparent)]
    Timeout(Phase),
    /// The server answered something that is not one whole HTTP/1.1 answer within bounds.
    #[error(transparent)]
    Answer(AnswerCause),
    /// The request itself cannot be written as HTTP; nothing was sent.
    #[error(transparent)]
    Request(RequestCause),
}

/// Why there is no TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConnectCause {
    /// The system's resolver knows no address for the name.
    #[error("host name not found")]
    HostNotFound,
    /// The system's resolver cannot say: its name servers do not answer, or answer with a failure.
    #[error("the host name could not be looked up: no name server answers for it")]
    NoResolver,
    /// No helper thread could be started to ask the system's resolver.
    #[error("the host name could not be looked up: no thread could be started")]
    NoResolverThread,
    /// Nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// The peer, or something between, reset the connection while it was being made.
    #[error("connection reset")]
    Reset,
    /// No route to the address.
    #[error("host or network unreachable")]
    Unreachable,
    /// The process may not open another file descriptor.
    #[error("no file descriptor left for a connection")]
    NoDescriptor,
    /// Every local port towards this address is in use.
    #[error("no local port left for a connection")]
    NoLocalPort,
    /// Anything else the operating system said.
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
}

impl From<&io::Error> for ConnectCause {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => return ConnectCause::NoDescriptor,
            Some(libc::EADDRNOTAVAIL) => return ConnectCause::NoLocalPort,
            _ => {}
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectCause::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                ConnectCause::Reset
            }
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => ConnectCause::Unreachable,
            kind => ConnectCause::Io(kind),
        }
    }
}

/// Why TLS does not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TlsCause {
    /// The certificate's `notAfter` is past.
    #[error("the certificate has expired")]
    Expired,
    /// The certificate's `notBefore` is in the future.
    #[error("the certificate is not valid yet")]
    NotValidYet,
    /// No subject alternative name matches the URL's host.
    #[error("the certificate is not valid for the host name")]
    WrongName,
    /// No subject alternative name names a host; its common name counts only where the certificate
    /// itself is trusted.
    #[error("the certificate names no host in subjectAltName")]
    NoName,
    /// The certificate is of X.509 version 1 or 2, and is not itself trusted.
    #[error("the certificate is older than X.509 version 3")]
    OldVersion,
    /// No path from the certificate to a trusted one.
    #[error("the certificate's issuer is not trusted")]
    UnknownIssuer,
    /// The certificate is its own issuer, and is not itself trusted.
    #[error("the certificate is self-signed")]
    SelfSigned,
    /// The server presents a CA's certificate that is not itself trusted.
    #[error("the certificate is a CA's, not a server's")]
    CaCertificate,
    /// The certificate's key usage does not allow TLS servers.
    #[error("the certificate is not for TLS servers")]
    WrongPurpose,
    /// The certificate has been revoked.
    #[error("the certificate has been revoked")]
    Revoked,
    /// Any other fault of the server's certificate: encoding, signature, algorithm.
    #[error("the certificate is not acceptable")]
    BadCertificate,
    /// The server asks for a client certificate and none is configured.
    #[error("the server requires a client certificate")]
    ClientCertificateRequired,
    /// The server does not accept the client certificate.
    #[error("the server refused the client certificate")]
    ClientCertificateRefused,
    /// The server does not serve the host name it was asked for.
    #[error("the server does not know the host name")]
    UnknownName,
    /// No protocol version, cipher suite or ALPN protocol (`http/1.1`) in common.
    #[error("no TLS version, cipher suite or application protocol in common with the server")]
    Incompatible,
    /// What came is not TLS.
    #[error("the server does not speak TLS on this port")]
    NotTls,
    /// The server sent a fatal alert of another kind.
    #[error("the server ended TLS with an alert")]
    Alert,
    /// The connection ended before TLS stood.
    #[error("connection closed in the TLS handshake")]
    Closed,
    /// Anything else.
    #[error("TLS protocol error")]
    Protocol,
}

impl From<&rustls::Error> for TlsCause {
    fn from(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};
        match error {
            Error::InvalidCertificate(fault) => match fault {
                Certificate::Expired | Certificate::ExpiredContext { .. } => TlsCause::Expired,
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                    TlsCause::NotValidYet
                }
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                    TlsCause::WrongName
                }
                Certificate::UnknownIssuer => TlsCause::UnknownIssuer,
                Certificate::Revoked => TlsCause::Revoked,
                Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
                    TlsCause::WrongPurpose
                }
                // The verifier puts its own finer judgements here.
                Certificate::Other(other) => {
                    other.0.downcast_ref::<TlsCause>().copied().unwrap_or(TlsCause::BadCertificate)
                }
                _ => TlsCause::BadCertificate,
            },
            Error::AlertReceived(alert) => match alert {
                Alert::CertificateRequired => TlsCause::ClientCertificateRequired,
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                // What OpenSSL and rustls say of an issuer that has only the trusted one's name.
                | Alert::DecryptError => TlsCause::ClientCertificateRefused,
                Alert::UnrecognisedName => TlsCause::UnknownName,
                Alert::HandshakeFailure
                | Alert::ProtocolVersion
                | Alert::InsufficientSecurity
                | Alert::NoApplicationProtocol => TlsCause::Incompatible,
                _ => TlsCause::Alert,
            },
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsCause::Incompatible,
            Error::InvalidMessage(_) => TlsCause::NotTls,
            _ => TlsCause::Protocol,
        }
    }
}

/// What the call was doing when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Phase {
    /// The deadline was past before anything was done.
    #[error("timed out before the call began")]
    Start,
    /// Asking the system's resolver.
    #[error("timed out while resolving the host name")]
    Resolve,
    /// The TCP handshake.
    #[error("timed out while connecting")]
    Connect,
    /// The TLS handshake.
    #[error("timed out in the TLS handshake")]
    Tls,
    /// Writing the request.
    #[error("timed out while sending the request")]
    Send,
    /// The request is sent, no byte of an answer came.
    #[error("timed out while waiting for the answer")]
    Wait,
    /// A part of the answer came.
    #[error("timed out while reading the answer")]
    Read,
}

/// Why what the server sent is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AnswerCause {
    /// Not HTTP/1.0 or HTTP/1.1, or not well-formed.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// Both Content-Length and Transfer-Encoding, or Content-Lengths that differ or are not
    /// numbers (RFC 9112 §6.3).
    #[error("the answer's length is ambiguous")]
    AmbiguousLength,
    /// A transfer coding other than chunked (RFC 9112 §7), or chunks that are not well-formed.
    #[error("the answer's transfer coding is not understood")]
    TransferCoding,
    /// The status line and header section are over 32 KiB, or over 128 lines.
    #[error("the answer's header is too large")]
    HeaderTooLarge,
    /// The content is over 64 KiB.
    #[error("the answer's body is over 64 KiB")]
    BodyTooLarge,
    /// Interim answers, chunk framing or trailers without end.
    #[error("the answer is too long")]
    TooLong,
    /// `101 Switching Protocols`, which nobody asked for.
    #[error("the answer switches protocols")]
    Upgrade,
    /// The connection ended first.
    #[error("connection closed before the answer was complete")]
    Closed,
    /// The operating system reported an error on the connection.
    #[error("connection failed while reading the answer: {0}")]
    Io(io::ErrorKind),
    /// This process has no memory to read it into.
    #[error("no memory for the answer")]
    NoMemory,
}

/// Why the request cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestCause {
    /// A header name or value holds bytes HTTP does not allow there (RFC 9110 §5.1, §5.5).
    #[error("a header of the introspection request holds characters HTTP does not allow")]
    Header,
    /// The HTTP client refused the request.
    #[error("the introspection request cannot be written")]
    Refused,
    /// The client's assertion cannot be signed.
    #[error("the client assertion cannot be signed")]
    Assertion,
    /// This process has no memory to write it into.
    #[error("no memory for the introspection request")]
    NoMemory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_fixed_words() {
        assert_eq!(CallError::Connect(ConnectCause::Refused).to_string(), "connection refused");
        assert_eq!(
            CallError::Connect(ConnectCause::Io(io::ErrorKind::PermissionDenied)).to_string(),
            "connection failed: permission denied"
        );
        assert_eq!(
            CallError::Tls(TlsCause::UnknownIssuer).to_string(),
            "the certificate's issuer is not trusted"
        );
        assert_eq!(CallError::Timeout(Phase::Connect).to_string(), "timed out while connecting");
    }

    #[test]
    fn exhausted_descriptors_are_told_apart_from_the_network() {
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        assert_eq!(ConnectCause::from(&error), ConnectCause::NoDescriptor);
        let error = io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
        assert_eq!(ConnectCause::from(&error), ConnectCause::NoLocalPort);
        let error = io::Error::from_raw_os_error(libc::ENETUNREACH);
        assert_eq!(ConnectCause::from(&error), ConnectCause::Unreachable);
    }
}
