use super::*;

/// The guide that says the same at more length.
const GUIDE: &str = include_str!("../../../docs/troubleshooting.md");

/// A cause's words are in the guide, in code spans.
fn assert_documented(words: &str) {
    // A longer text may go on behind what is quoted.
    let begins = |quoted: &str| words.starts_with(quoted.trim_end_matches('…').trim_end());
    let mut quoted = GUIDE.split('`').skip(1).step_by(2);
    assert!(quoted.any(|quoted| quoted.len() > 10 && begins(quoted)), "not in the guide: {words}");
}

/// A cause, and words of what to do about it.
type Row<T> = (T, &'static str);

#[test]
fn each_cause_without_an_answer_has_a_remedy_of_its_own() {
    let connect = |cause| CallError::Connect(cause);
    let tls = |cause| CallError::Tls(cause);
    let answer = |cause| CallError::Answer(cause);
    let rows: [Row<CallError>; 49] = [
        (connect(ConnectCause::HostNotFound), "the host in the endpoint's URL"),
        (connect(ConnectCause::NoResolver), "name servers"),
        (connect(ConnectCause::NoResolverThread), "TasksMax"),
        (connect(ConnectCause::Refused), "at this host and port"),
        (connect(ConnectCause::Reset), "a load balancer or a firewall"),
        (connect(ConnectCause::Unreachable), "route, firewall, and IPv6"),
        (connect(ConnectCause::NoDescriptor), "worker_rlimit_nofile"),
        (connect(ConnectCause::NoLocalPort), "ip_local_port_range"),
        (connect(ConnectCause::Io(ErrorKind::PermissionDenied)), "httpd_can_network_connect"),
        (connect(ConnectCause::Io(ErrorKind::Other)), "can be reached from here"),
        (tls(TlsCause::Expired), "renew it at the server"),
        (tls(TlsCause::NotValidYet), "set this machine's clock"),
        (tls(TlsCause::WrongName), "connect=HOST:PORT"),
        (tls(TlsCause::NoName), "subjectAltName"),
        (tls(TlsCause::OldVersion), "version 3"),
        (tls(TlsCause::UnknownIssuer), "name the CA's certificate"),
        (tls(TlsCause::SelfSigned), "name this certificate"),
        (tls(TlsCause::CaCertificate), "name this certificate"),
        (tls(TlsCause::WrongPurpose), "serverAuth"),
        (tls(TlsCause::Revoked), "issued anew"),
        (tls(TlsCause::BadCertificate), "SHA-256"),
        (tls(TlsCause::ClientCertificateRequired), "set phantom_token_ssl_certificate"),
        (tls(TlsCause::ClientCertificateRefused), "the issuing CA's certificate too"),
        (tls(TlsCause::UnknownName), "no site of this name"),
        (tls(TlsCause::Incompatible), "TLS 1.2 or 1.3"),
        (tls(TlsCause::NotTls), "write http://"),
        (tls(TlsCause::Alert), "the server's own log"),
        (tls(TlsCause::Closed), "its scheme, host and port"),
        (tls(TlsCause::Protocol), "the server's own log"),
        (CallError::Timeout(Phase::Start), "the lines before"),
        (CallError::Timeout(Phase::Resolve), "name servers"),
        (CallError::Timeout(Phase::Connect), "route and firewall"),
        (CallError::Timeout(Phase::Tls), "speaks no TLS"),
        (CallError::Timeout(Phase::Send), "its own log and phantom_token_timeout"),
        (CallError::Timeout(Phase::Wait), "its own log and phantom_token_timeout"),
        (CallError::Timeout(Phase::Read), "its own log and phantom_token_timeout"),
        (answer(AnswerCause::NotHttp), "speak HTTP/1.1"),
        (answer(AnswerCause::Upgrade), "speak HTTP/1.1"),
        (answer(AnswerCause::AmbiguousLength), "breaks HTTP/1.1"),
        (answer(AnswerCause::TransferCoding), "breaks HTTP/1.1"),
        (answer(AnswerCause::TooLong), "breaks HTTP/1.1"),
        (answer(AnswerCause::HeaderTooLarge), "fewer headers"),
        (answer(AnswerCause::BodyTooLarge), "lightweight tokens"),
        (answer(AnswerCause::Closed), "see their logs"),
        (answer(AnswerCause::Io(ErrorKind::ConnectionReset)), "see their logs"),
        (answer(AnswerCause::NoMemory), "no memory"),
        (CallError::Request(RequestCause::Header), "phantom_token_introspection_header"),
        (CallError::Request(RequestCause::Refused), "phantom_token_introspection_header"),
        (CallError::Request(RequestCause::Assertion), "random numbers"),
    ];
    for (error, words) in rows {
        let remedy = of_call(&error, true);
        assert!(remedy.contains(words), "{error}: {remedy}");
        assert!(!remedy.ends_with('.') && remedy.is_ascii(), "{remedy}");
        if error != connect(ConnectCause::Io(ErrorKind::Other)) {
            assert_documented(&error.to_string());
        }
    }
}

#[test]
fn http_to_a_port_with_tls_is_told() {
    for error in [
        CallError::Answer(AnswerCause::NotHttp),
        CallError::Answer(AnswerCause::Closed),
        CallError::Answer(AnswerCause::Io(ErrorKind::ConnectionReset)),
    ] {
        assert!(of_call(&error, false).contains("https://"), "{error}");
        assert!(!of_call(&error, true).contains("https://"), "{error}");
    }
}

#[test]
fn each_status_has_a_remedy_of_its_own() {
    let rows: [Row<u16>; 17] = [
        (201, "something other than introspection"),
        (301, "write the final URL"),
        (302, "login page"),
        (308, "write the final URL"),
        (400, "does not understand the request"),
        (404, "the endpoint's URL: its path"),
        (405, "no POST"),
        (406, "phantom_token_introspection_accept"),
        (407, "a proxy"),
        (410, "its path"),
        (415, "no POST with a form"),
        (418, "check the endpoint's URL"),
        (421, "host and port"),
        (500, "see the server's own log"),
        (502, "the proxy in front"),
        (504, "the proxy in front"),
        (599, "see the server's own log"),
    ];
    for (status, words) in rows {
        let remedy = of_answer(NoVerdict::Status(status)).expect("a remedy");
        assert!(remedy.contains(words), "{status}: {remedy}");
    }
    let of = |failure| of_answer(failure).expect("a remedy");
    assert!(of(NoVerdict::RateLimited { retry_after: None }).contains("ask less often"));
    assert!(of(NoVerdict::Unavailable { retry_after: None }).contains("it is starting"));
}

#[test]
fn an_answer_that_is_not_understood_has_a_remedy_or_names_one() {
    let rows: [Row<Cause>; 22] = [
        (Cause::ContentEncoding, "compress"),
        (Cause::TooLarge, "say less of a token"),
        (Cause::NoContentType, "a login page or a proxy"),
        (Cause::ContentType, "a login page or a proxy"),
        (Cause::Empty, "check the endpoint's URL"),
        (Cause::Json, "check the endpoint's URL"),
        (Cause::Duplicate, "at fault"),
        (Cause::NotAnObject, "check the endpoint's URL"),
        (Cause::NoActive, "check the endpoint's URL"),
        (Cause::ActiveType, "check the endpoint's URL"),
        (Cause::Segments, "at fault"),
        (Cause::Header, "at fault"),
        (Cause::Alg, "sign the JWT"),
        (Cause::Typ, "at fault"),
        (Cause::Payload, "at fault"),
        (Cause::IntrospectionPayload, "phantom_token_forward none"),
        (Cause::EncryptedAnswer, "not encrypt"),
        (Cause::NoTokenIntrospection, "application/json"),
        (Cause::Exp, "at fault"),
        (Cause::Scope, "at fault"),
        (Cause::Cnf, "at fault"),
        (Cause::Issuers, "check issuer"),
    ];
    for (cause, words) in rows {
        let remedy = of_answer(cause.into()).expect("a remedy");
        assert!(remedy.contains(words), "{cause}: {remedy}");
        assert_documented(cause.words());
    }
    for cause in [Cause::NoJwt, Cause::IntrospectionAnswer] {
        assert_eq!(of_answer(cause.into()), None);
        assert!(cause.words().contains("phantom_token_"), "{cause}");
        assert_documented(cause.words());
    }
}

#[test]
fn refused_credentials_are_told_of_by_what_they_are() {
    let text =
        |status, hints| Remedied { failure: NoVerdict::Credentials(status), hints }.to_string();
    let none = Hints::default();
    let refused = "the authorization server refused this client's credentials with status 401; \
         check phantom_token_client_id and phantom_token_client_secret, and that the client may \
         introspect; where other tokens are answered it is this token that the server, or a \
         firewall in front of it, refuses";
    assert_eq!(text(401, none), refused);
    for (hints, words) in [
        (Hints { encoded: true, ..none }, "; try \"phantom_token_client_auth basic_raw\""),
        (Hints { assertions: true, ..none }, "the audience and both clocks"),
        (Hints { certificate: true, ..none }, "the issuing CA's certificate too"),
    ] {
        let text = text(401, hints);
        assert!(text.starts_with(refused) && text.ends_with(words), "{text}");
    }
    let key = Hints { key: true, assertions: true, ..none };
    assert!(text(401, key).contains("check phantom_token_client_id and phantom_token_client_key"));
    let raw = Hints { raw: true, ..none };
    assert!(!text(401, raw).contains("try"));
    let basic = "; try \"phantom_token_client_auth basic\"";
    assert!(text(400, raw).ends_with(basic));
    let status = Remedied { failure: NoVerdict::Status(400), hints: raw }.to_string();
    assert!(status.ends_with(basic), "{status}");
}

#[test]
fn each_cause_at_a_store_has_a_remedy_in_the_words_of_its_block() {
    use crate::store::ServerError::*;
    use crate::store::StoreError;
    use crate::store::address::Reach::{self, Plain, Socket, Tls};
    use crate::store::reply::Fault;

    let connect = StoreError::Connect;
    let tls = StoreError::Tls;
    let rows: [(StoreError, Reach, &str); 43] = [
        (connect(ConnectCause::HostNotFound), Tls, "the host in \"server\""),
        (connect(ConnectCause::NoResolver), Tls, "name servers"),
        (connect(ConnectCause::NoResolverThread), Tls, "TasksMax"),
        (connect(ConnectCause::Refused), Tls, "at this host and port"),
        (connect(ConnectCause::Reset), Tls, "a firewall"),
        (connect(ConnectCause::Unreachable), Tls, "route"),
        (connect(ConnectCause::NoDescriptor), Tls, "worker_rlimit_nofile"),
        (connect(ConnectCause::NoLocalPort), Tls, "ip_local_port_range"),
        (connect(ConnectCause::Io(ErrorKind::PermissionDenied)), Tls, "setsebool"),
        (connect(ConnectCause::Io(ErrorKind::PermissionDenied)), Socket, "unixsocketperm"),
        (connect(ConnectCause::Io(ErrorKind::NotFound)), Socket, "unixsocket"),
        (connect(ConnectCause::Refused), Socket, "check that it runs"),
        (tls(TlsCause::Expired), Tls, "renew it at the server"),
        (tls(TlsCause::WrongName), Tls, "as ssl_name"),
        (tls(TlsCause::NoName), Tls, "own certificate in ssl_trusted_certificate"),
        (tls(TlsCause::UnknownIssuer), Tls, "certificate in ssl_trusted_certificate"),
        (tls(TlsCause::SelfSigned), Tls, "certificate in ssl_trusted_certificate"),
        (
            tls(TlsCause::ClientCertificateRequired),
            Tls,
            "set ssl_certificate and ssl_certificate_key",
        ),
        (tls(TlsCause::ClientCertificateRefused), Tls, "check ssl_certificate"),
        (tls(TlsCause::UnknownName), Tls, "and ssl_name"),
        (tls(TlsCause::NotTls), Tls, "write redis://"),
        (tls(TlsCause::Incompatible), Tls, "TLS 1.2 or 1.3"),
        (tls(TlsCause::Closed), Tls, "tls-port"),
        (StoreError::Timeout(Phase::Start), Tls, "more connections"),
        (StoreError::Timeout(Phase::Resolve), Tls, "name servers"),
        (StoreError::Timeout(Phase::Connect), Tls, "route and firewall"),
        (StoreError::Timeout(Phase::Tls), Tls, "speaks no TLS"),
        (StoreError::Timeout(Phase::Wait), Tls, "see timeout in phantom_token_store"),
        (StoreError::Closed, Tls, "ends connections"),
        (StoreError::Closed, Plain, "write rediss://"),
        (StoreError::Io(ErrorKind::ConnectionReset), Plain, "write rediss://"),
        (StoreError::MaxClients, Tls, "maxclients"),
        (StoreError::NoConnection, Tls, "more connections"),
        (StoreError::Acl, Tls, "ACL LOG"),
        (StoreError::Auth(Denied), Tls, "protected-mode"),
        (StoreError::Loading(Busy), Tls, "SCRIPT KILL"),
        (StoreError::Full(Misconf), Tls, "the disk"),
        (StoreError::Refused(NoDatabase), Tls, "write a database"),
        (StoreError::Refused(WrongType), Tls, "another prefix"),
        (StoreError::Refused(Other), Tls, "version 5"),
        (StoreError::Protocol(Fault::Malformed), Plain, "write rediss://"),
        (StoreError::Protocol(Fault::Malformed), Tls, "its host and port"),
        (StoreError::Protocol(Fault::Unasked), Tls, "mixes connections up"),
    ];
    for (error, reach, words) in rows {
        let remedy = of_store(error, reach);
        assert!(remedy.contains(words), "{error}: {remedy}");
        assert!(!remedy.ends_with('.') && remedy.is_ascii(), "{remedy}");
        assert!(!remedy.contains("phantom_token_ssl_") && !remedy.contains("endpoint"), "{remedy}");
        let hints_at_tls = remedy.contains("write rediss://");
        assert!(!hints_at_tls || reach == Plain, "{error}: {remedy}");
    }
}
