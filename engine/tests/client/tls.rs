//! Which servers are believed, and what servers are told about the client.

use std::io::Write;
use std::sync::Arc;

use phantom_token_engine::client::{
    AnswerCause, Body, CallError, Once, RequestCause, Tls, TlsCause, TlsConfigError, TlsOptions,
    introspect,
};
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::jose::assertion::Assertion;
use phantom_token_engine::jose::key::SigningKey;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use crate::pki::{Authority, Identity, builder, params, trusting};
use crate::server::{Peer, Server, ok};
use crate::{body, call, call_with, error};

fn echo(mut peer: Peer) {
    while let Some(request) = peer.request() {
        peer.answer(&request.body);
    }
}

/// The outcome of a call to `host` at a server with these settings.
fn outcome_at(host: &str, config: ServerConfig, tls: &Tls) -> Result<(), CallError> {
    let server = Server::start_tls(Arc::new(config), echo);
    let url = format!("https://{host}:{}/i", server.address.port());
    let call = call_with(&url, Some(&server.address.to_string()), tls.clone());
    introspect(&call).map(|response| assert_eq!(response.body, b"token=opaque"))
}

fn outcome(config: ServerConfig, tls: &Tls) -> Result<(), CallError> {
    outcome_at("as.example", config, tls)
}

fn fails(config: ServerConfig, tls: &Tls) -> TlsCause {
    match outcome(config, tls) {
        Err(CallError::Tls(cause)) => cause,
        other => panic!("not a TLS failure: {other:?}"),
    }
}

fn ca(mut params: CertificateParams) -> CertificateParams {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

fn early(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2090, 1, 1);
    params.not_after = date_time_ymd(2091, 1, 1);
    params
}

#[test]
fn a_certificate_must_be_current_for_the_name_and_from_a_trusted_issuer() {
    let authority = Authority::new();
    let tls = authority.trusting();
    let issue = |params: CertificateParams| authority.issue(&params).server();
    let good = params(&["as.example"]);

    assert_eq!(outcome(issue(good.clone()), &tls), Ok(()));
    let wildcard = || issue(params(&["*.as.example"]));
    assert_eq!(outcome_at("login.as.example", wildcard(), &tls), Ok(()));
    assert_eq!(fails(wildcard(), &tls), TlsCause::WrongName);
    assert_eq!(fails(issue(expired(good.clone())), &tls), TlsCause::Expired);
    assert_eq!(fails(issue(early(good.clone())), &tls), TlsCause::NotValidYet);
    assert_eq!(fails(issue(params(&["other.example"])), &tls), TlsCause::WrongName);
    assert_eq!(fails(issue(params(&[])), &tls), TlsCause::NoName);
    assert_eq!(fails(issue(ca(good.clone())), &tls), TlsCause::CaCertificate);
    let mut client_only = good.clone();
    client_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(fails(issue(client_only), &tls), TlsCause::WrongPurpose);

    let stranger = Authority::new();
    assert_eq!(fails(stranger.issue(&good).server(), &tls), TlsCause::UnknownIssuer);
    // An authority that only has the trusted one's name, such as its predecessor.
    let (before, after) = (Authority::named("same"), Authority::named("same"));
    let cause = fails(before.issue(&good).server(), &after.trusting());
    assert_eq!(cause, TlsCause::UnknownIssuer);
}

#[test]
fn addresses_are_names_too() {
    let authority = Authority::new();
    let tls = authority.trusting();
    let issue = |names: &[&str]| authority.issue(&params(names)).server();
    assert_eq!(outcome_at("127.0.0.1", issue(&["127.0.0.1"]), &tls), Ok(()));
    assert_eq!(outcome_at("[::1]", issue(&["::1"]), &tls), Ok(()));
    let wrong = Err(CallError::Tls(TlsCause::WrongName));
    assert_eq!(outcome_at("127.0.0.1", issue(&["127.0.0.2"]), &tls), wrong);
    assert_eq!(outcome_at("127.0.0.1", issue(&["localhost"]), &tls), wrong);
}

#[test]
fn a_self_signed_certificate_is_believed_where_it_is_itself_trusted() {
    for flag in [false, true] {
        let with_flag = |params| if flag { ca(params) } else { params };
        let identity = Identity::self_signed(&with_flag(params(&["as.example"])));
        let tls = trusting(&identity.certificate);
        assert_eq!(outcome(identity.server(), &tls), Ok(()), "CA flag {flag}");
        // Also in a file with others.
        let among = format!("{}{}", Authority::new().pem(), identity.certificate);
        assert_eq!(outcome(identity.server(), &trusting(&among)), Ok(()));

        // Trusted is this certificate, not its names, its age or its key's other certificates.
        let other = Identity::self_signed(&with_flag(params(&["as.example"])));
        assert_eq!(fails(other.server(), &tls), TlsCause::SelfSigned, "CA flag {flag}");
        let wrong = Identity::self_signed(&with_flag(params(&["other.example"])));
        let cause = fails(wrong.server(), &trusting(&wrong.certificate));
        assert_eq!(cause, TlsCause::WrongName, "CA flag {flag}");
        let old = Identity::self_signed(&with_flag(expired(params(&["as.example"]))));
        let cause = fails(old.server(), &trusting(&old.certificate));
        assert_eq!(cause, TlsCause::Expired, "CA flag {flag}");
        let new = Identity::self_signed(&with_flag(early(params(&["as.example"]))));
        let cause = fails(new.server(), &trusting(&new.certificate));
        assert_eq!(cause, TlsCause::NotValidYet, "CA flag {flag}");
    }
}

#[test]
fn an_issued_certificate_is_believed_where_it_is_itself_trusted() {
    let authority = Authority::new();
    let issued = authority.issue(&params(&["as.example"]));
    assert_eq!(outcome(issued.server(), &trusting(&issued.certificate)), Ok(()));
    // Of one without alternative names the common name counts.
    let mut named = params(&[]);
    named.distinguished_name.push(rcgen::DnType::CommonName, "as.example");
    let old = authority.issue(&named);
    assert_eq!(outcome(old.server(), &trusting(&old.certificate)), Ok(()));
    assert_eq!(fails(old.server(), &authority.trusting()), TlsCause::NoName);
    let old = authority.issue(&expired(named));
    assert_eq!(fails(old.server(), &trusting(&old.certificate)), TlsCause::Expired);
    // Its issuer's other certificates are not.
    let other = authority.issue(&params(&["as.example"]));
    assert_eq!(fails(other.server(), &trusting(&issued.certificate)), TlsCause::UnknownIssuer);
}

#[test]
fn the_key_must_be_the_trusted_certificates_own() {
    // The right certificate shown by someone without its key.
    let identity = Identity::self_signed(&params(&["as.example"]));
    let stranger = Identity::self_signed(&params(&["as.example"]));
    let config = {
        use rustls_pki_types::pem::PemObject;
        let certificate =
            rustls_pki_types::CertificateDer::from_pem_slice(identity.certificate.as_bytes());
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(stranger.key.as_bytes());
        let key = rustls::crypto::ring::sign::any_supported_type(&key.unwrap()).unwrap();
        let forged = rustls::sign::CertifiedKey::new(vec![certificate.unwrap()], key);
        let resolver = rustls::sign::SingleCertAndKey::from(forged);
        builder().with_no_client_auth().with_cert_resolver(Arc::new(resolver))
    };
    assert_eq!(fails(config, &trusting(&identity.certificate)), TlsCause::BadCertificate);
}

#[test]
fn without_verification_anything_goes() {
    let tls = Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap();
    for params in
        [params(&["as.example"]), ca(params(&["as.example"])), expired(params(&["other.example"]))]
    {
        assert_eq!(outcome(Identity::self_signed(&params).server(), &tls), Ok(()));
    }
}

#[test]
fn connect_changes_neither_the_name_shown_nor_the_name_verified() {
    let authority = Authority::new();
    let config = authority.server(&["as.example"]);
    let server = Server::start_tls(config, |mut peer| {
        let name = peer.tls.as_ref().unwrap().server_name().map(str::to_owned);
        while peer.request().is_some() {
            peer.answer(name.as_deref().unwrap_or("none"));
        }
    });
    let port = server.address.port();
    let url = format!("https://as.example:{port}/i");
    let connect = format!("localhost:{port}");
    let tls = authority.trusting();
    assert_eq!(body(introspect(&call_with(&url, Some(&connect), tls.clone()))), "as.example");
    let url = format!("https://localhost:{port}/i");
    let wrong = error(introspect(&call_with(&url, None, tls)));
    assert_eq!(wrong, CallError::Tls(TlsCause::WrongName));
}

/// A server that wants a certificate from `authority`, with these TLS versions.
fn mutual(
    identity: &Identity,
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap());
    identity.present(builder)
}

#[test]
fn mutual_tls_presents_the_certificate_and_names_its_absence() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["as.example"]));
    let client = authority.issue(&params(&["client.example"]));
    let stranger = Authority::new().issue(&params(&["client.example"]));
    let with = |identity: &Identity| {
        Tls::new(TlsOptions {
            verify: true,
            trusted: Some(authority.pem().into_bytes()),
            client_cert: Some(identity.certificate.clone().into_bytes()),
            client_key: Some(Zeroizing::new(identity.key.clone().into_bytes())),
        })
        .unwrap()
    };
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let config = || mutual(&identity, &authority, versions);
        assert_eq!(outcome(config(), &with(&client)), Ok(()), "{versions:?}");
        let absent = fails(config(), &authority.trusting());
        if versions[0].version == rustls::ProtocolVersion::TLSv1_3 {
            assert_eq!(absent, TlsCause::ClientCertificateRequired);
        } else {
            // TLS 1.2 has no alert of its own for it; servers pick one.
            let possible = [
                TlsCause::ClientCertificateRequired,
                TlsCause::ClientCertificateRefused,
                TlsCause::Incompatible,
                TlsCause::Alert,
            ];
            assert!(possible.contains(&absent), "{absent:?}");
        }
        let refused = fails(config(), &with(&stranger));
        assert_eq!(refused, TlsCause::ClientCertificateRefused, "{versions:?}");
    }
}

#[test]
fn connections_are_kept_for_the_same_tls_settings_only() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server(&["as.example"]), echo);
    let url = format!("https://as.example:{}/i", server.address.port());
    let address = server.address.to_string();
    let settings = authority.trusting();
    let call = call_with(&url, Some(&address), settings.clone());
    for _ in 0..3 {
        introspect(&call).ok().unwrap();
    }
    assert_eq!(server.accepted(), 1);
    let other = call_with(&url, Some(&address), authority.trusting());
    introspect(&other).ok().unwrap();
    assert_eq!(server.accepted(), 2);
    let clone = call_with(&url, Some(&address), settings);
    introspect(&clone).ok().unwrap();
    assert_eq!(server.accepted(), 2);
    // A setting that does not trust the server gets nothing from a kept connection.
    let distrusting = call_with(&url, Some(&address), Authority::new().trusting());
    let distrust = CallError::Tls(TlsCause::UnknownIssuer);
    assert_eq!(error(introspect(&distrusting)), distrust);
}

#[test]
fn a_kept_connection_the_server_closed_is_replaced() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server(&["as.example"]), |mut peer| {
        peer.request();
        peer.answer(&peer.number.to_string());
        if peer.number == 0 {
            // Closes at the second request: with TLS' goodbye, as servers do.
            peer.request();
            let mut socket = peer.socket;
            let mut tls = peer.tls.take().unwrap();
            tls.send_close_notify();
            tls.write_tls(&mut socket).unwrap();
        }
    });
    let url = format!("https://as.example:{}/i", server.address.port());
    let call = call_with(&url, Some(&server.address.to_string()), authority.trusting());
    assert_eq!(body(introspect(&call)), "0");
    assert_eq!(body(introspect(&call)), "1");
    assert_eq!((server.accepted(), server.requests().len()), (2, 3));
}

#[test]
fn a_content_without_length_ends_with_tls_not_with_tcp() {
    for goodbye in [true, false] {
        let authority = Authority::new();
        let server = Server::start_tls(authority.server(&["as.example"]), move |mut peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
            if goodbye {
                let tls = peer.tls.as_mut().unwrap();
                tls.send_close_notify();
                tls.write_tls(&mut peer.socket).unwrap();
            }
        });
        let url = format!("https://as.example:{}/i", server.address.port());
        let call = call_with(&url, Some(&server.address.to_string()), authority.trusting());
        if goodbye {
            assert_eq!(body(introspect(&call)), "hello");
        } else {
            // RFC 9112 §9.8: an incomplete close leaves the answer incomplete.
            assert_eq!(error(introspect(&call)), CallError::Answer(AnswerCause::Closed));
        }
    }
}

#[test]
fn servers_without_tls_or_without_anything_in_common_are_named() {
    let tls = Authority::new().trusting();
    let plain = Server::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    // It answers what it takes for a bad request.
    let talkative = Server::start(|mut peer| {
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        peer.wait_for_end();
    });
    let silent = Server::start(drop);
    for (server, causes) in [(&talkative, &[TlsCause::NotTls][..]), (&silent, &[TlsCause::Closed])]
    {
        let call = call_with(&format!("https://{}/i", server.address), None, tls.clone());
        match error(introspect(&call)) {
            CallError::Tls(cause) if causes.contains(&cause) => {}
            other => panic!("{other}"),
        }
    }
    drop(plain);

    // TLS where plain HTTP was configured.
    let authority = Authority::new();
    let server = Server::start_tls(authority.server(&["as.example"]), echo);
    let error = error(introspect(&call(&server.url())));
    assert_eq!(Failure::from(&error).kind, FailureKind::Answer);

    let mut http2_only = authority.issue(&params(&["as.example"])).server();
    http2_only.alpn_protocols = vec![b"h2".to_vec()];
    assert_eq!(fails(http2_only, &authority.trusting()), TlsCause::Incompatible);
}

#[test]
fn a_refused_connection_is_not_a_tls_failure() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let call = call(&format!("https://127.0.0.1:{port}/i"));
    let refused = error(introspect(&call));
    assert_eq!(Failure::from(&refused).kind, FailureKind::Connect);
    assert_eq!(refused.to_string(), "connection refused");
}

#[test]
fn mistakes_in_the_files_are_named() {
    use TlsConfigError::*;
    let identity = Identity::self_signed(&params(&["client.example"]));
    let other = Identity::self_signed(&params(&["client.example"]));
    let check = |trusted: Option<&str>, certificate: Option<&str>, key: Option<&str>| {
        let options = TlsOptions {
            verify: true,
            trusted: Some(trusted.unwrap_or(&identity.certificate).as_bytes().to_vec()),
            client_cert: certificate.map(|pem| pem.as_bytes().to_vec()),
            client_key: key.map(|pem| Zeroizing::new(pem.as_bytes().to_vec())),
        };
        Tls::new(options).err()
    };
    let certificate = Some(identity.certificate.as_str());
    let key = Some(identity.key.as_str());
    assert_eq!(check(None, certificate, key), None);
    // Both in one file, as NGINX allows.
    let both = format!("{}{}", identity.key, identity.certificate);
    assert_eq!(check(None, Some(&both), Some(&both)), None);

    assert_eq!(check(Some(""), None, None), Some(NoTrustedCertificate));
    assert_eq!(check(Some("# none yet\n"), None, None), Some(NoTrustedCertificate));
    assert_eq!(check(key, None, None), Some(NoTrustedCertificate));
    let damaged = identity.certificate.replace("\n-----END", "\n!-----END");
    assert_eq!(check(Some(&damaged), None, None), Some(BadTrustedCertificate));
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(check(Some(no_certificate), None, None), Some(BadTrustedCertificate));

    assert_eq!(check(None, certificate, None), Some(KeyMissing));
    assert_eq!(check(None, None, key), Some(CertificateMissing));
    assert_eq!(check(None, Some(""), key), Some(NoClientCertificate));
    assert_eq!(check(None, Some(&damaged), key), Some(BadClientCertificate));
    assert_eq!(check(None, Some(no_certificate), key), Some(BadClientCertificate));
    assert_eq!(check(None, certificate, Some("")), Some(NoClientKey));
    assert_eq!(check(None, certificate, certificate), Some(NoClientKey));
    assert_eq!(check(None, certificate, Some(&other.key)), Some(KeyMismatch));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\r\nAAAA\r\n-----END ENCRYPTED PRIVATE KEY-----\r\n";
    assert_eq!(check(None, certificate, Some(encrypted)), Some(EncryptedClientKey));
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(check(None, certificate, Some(old)), Some(EncryptedClientKey));
    let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(check(None, certificate, Some(odd)), Some(UnsupportedClientKey));
}

#[test]
fn a_tls_answer_cut_anywhere_is_an_error() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server(&["as.example"]), |mut peer| {
        let request = peer.request().unwrap();
        let tls = peer.tls.as_mut().unwrap();
        let mut records = Vec::new();
        tls.writer().write_all(ok(&request.body).as_bytes()).unwrap();
        tls.write_tls(&mut records).unwrap();
        // Every third length, twice: ended in order, and reset.
        let cut = peer.number / 2 * 3;
        peer.socket.write_all(&records[..cut.min(records.len())]).unwrap();
        peer.wait_until_delivered();
        if peer.number % 2 == 1 {
            peer.reset();
        }
    });
    let url = format!("https://as.example:{}/i", server.address.port());
    let call = call_with(&url, Some(&server.address.to_string()), authority.trusting());
    let record = 5 + ok("token=opaque").len() + 1 + 16; // header, content, its type, tag
    for cut in (0..record).step_by(3) {
        for _ in 0..2 {
            let outcome = error(introspect(&call));
            assert_eq!(outcome, CallError::Answer(AnswerCause::Closed), "after {cut} bytes");
        }
    }
    assert_eq!(body(introspect(&call)), "token=opaque");
}

#[test]
fn a_call_fits_the_small_stacks_of_musl() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server(&["as.example"]), echo);
    let url = format!("https://as.example:{}/i", server.address.port());
    let mut call = call_with(&url, Some(&server.address.to_string()), authority.trusting());
    // And so does signing an assertion with the largest of keys.
    let pem = include_bytes!("../../src/jose/tests/keys/rsa4096.pem");
    let key = SigningKey::from_pem(pem).unwrap().into();
    let assertion = Assertion {
        client_id: "gateway".into(),
        audience: "https://as.example".into(),
        valid: 60,
        typ: None,
        kid: None,
    };
    let once: Arc<Once> = Arc::new(move |form| {
        let signed = assertion.sign(&key, 1_700_000_000).unwrap();
        form.pair(b"client_assertion", &signed).map_err(|_| RequestCause::NoMemory)
    });
    call.body = Body::new(Zeroizing::new(b"token=opaque".to_vec()), Some(once));
    let thread = std::thread::Builder::new().stack_size(128 * 1024);
    let caller = thread.spawn(move || body(introspect(&call))).unwrap();
    let echoed = caller.join().unwrap();
    assert!(echoed.starts_with("token=opaque&client_assertion=eyJ"), "{echoed}");
}
