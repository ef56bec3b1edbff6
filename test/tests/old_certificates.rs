//! Certificates that the Web PKI does not take any more, and that NGINX takes: of X.509 version 1, and
//! with the host in the common name alone.

use std::process::Command;
use std::sync::Arc;

use phantom_token_test::tls::{Authority, Identity, presented};
use phantom_token_test::{AuthorizationServer, Gateway, Reply, Rig, port};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A server at `host` that presents this identity, and a gateway that trusts these certificates.
fn rig(
    host: &str,
    identity: &Identity,
    version: &'static SupportedProtocolVersion,
    trusted: &str,
) -> Rig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(presented(identity));
    let server = AuthorizationServer::builder().tls(Arc::new(tls), host).start().unwrap();
    Rig::with(server, |builder, _| {
        builder
            .file("trusted.pem", trusted)
            .directives("phantom_token_ssl_trusted_certificate trusted.pem;")
    })
}

/// Asserts that the server is not believed: it sees no token, and the log says why.
#[track_caller]
fn assert_distrusted(rig: &Rig, words: &[&str]) {
    Reply::failure().assert(&rig.get_as(&rig.server.issue().token));
    assert_eq!(rig.server.introspections(), 0);
    let lines = rig.gateway.module_lines();
    let errors: Vec<_> = lines.iter().filter(|line| line.contains("[error]")).collect();
    assert!(errors.len() == 1 && words.iter().all(|w| errors[0].contains(w)), "{errors:?}");
}

/// What `openssl` makes for "localhost" where it is told no more: of which version is its to say.
fn by_openssl() -> Identity {
    let directory = tempfile::tempdir().unwrap();
    let in_directory = |command: &str| {
        let output = Command::new("sh").args(["-ec", command]).current_dir(&directory).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    in_directory(
        "openssl req -newkey rsa:2048 -nodes -keyout key -subj /CN=localhost -out request",
    );
    in_directory("openssl x509 -req -in request -signkey key -out certificate");
    let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
    Identity { certificate: read("certificate"), key: read("key") }
}

#[test]
fn what_is_trusted_itself_is_believed() {
    let ca = Authority::generate();
    let by_openssl = by_openssl();
    for version in VERSIONS {
        for (host, identity) in [
            ("localhost", ca.version_1("localhost")),
            ("127.0.0.1", ca.version_1("127.0.0.1")),
            ("localhost", ca.common_name_alone("LOCALHOST")),
            ("localhost", ca.server(&["localhost"])),
            ("localhost", by_openssl.clone()),
        ] {
            let rig = rig(host, &identity, version, &identity.certificate);
            rig.assert_passes(&rig.server.issue());
            rig.assert_passes(&rig.server.issue());
        }
    }
}

#[test]
fn what_is_trusted_itself_must_still_be_the_host_s() {
    let ca = Authority::generate();
    for identity in [
        ca.version_1("other.example"),
        ca.common_name_alone("other.example"),
        ca.version_1("127.0.0.1"),
        // Where alternative names are there, the common name ("server") says nothing.
        ca.server(&["other.example"]),
    ] {
        let rig = rig("localhost", &identity, &TLS13, &identity.certificate);
        assert_distrusted(&rig, &["the certificate is not valid for the host name"]);
    }
}

#[test]
fn what_is_trusted_itself_must_still_prove_its_key() {
    let ca = Authority::generate();
    for version in VERSIONS {
        for identity in [ca.version_1("localhost"), ca.common_name_alone("localhost")] {
            let key = ca.version_1("localhost").key;
            let stolen = Identity { key, ..identity };
            let rig = rig("localhost", &stolen, version, &stolen.certificate);
            assert_distrusted(&rig, &["the certificate is not acceptable"]);
        }
    }
}

#[test]
fn where_their_issuer_alone_is_trusted_the_remedy_is_named() {
    let ca = Authority::generate();
    let remedy = "phantom_token_ssl_trusted_certificate";
    for version in VERSIONS {
        let old = rig("localhost", &ca.version_1("localhost"), version, &ca.certificate);
        assert_distrusted(&old, &["the certificate is older than X.509 version 3", remedy]);
        let unnamed =
            rig("localhost", &ca.common_name_alone("localhost"), version, &ca.certificate);
        assert_distrusted(&unnamed, &["names no host in subjectAltName", "version 3", remedy]);
    }
}

#[test]
fn a_client_certificate_of_version_1_is_presented() {
    let ca = Authority::generate();
    let (server, client) = (ca.server(&["localhost"]), ca.version_1("gateway"));
    let presenting = "phantom_token_ssl_certificate client.pem; \
         phantom_token_ssl_certificate_key client.key;";
    for version in ["TLSv1.2", "TLSv1.3"] {
        let port = port::free();
        let gateway = Gateway::builder()
            .file("ca.pem", ca.certificate.as_str())
            .file("server.pem", server.certificate.as_str())
            .file("server.key", server.key.as_str())
            .file("client.pem", client.certificate.as_str())
            .file("client.key", client.key.as_str())
            .http(&format!(
                "server {{ listen 127.0.0.1:{port} ssl; ssl_protocols {version}; \
                 ssl_certificate server.pem; ssl_certificate_key server.key; \
                 ssl_client_certificate ca.pem; ssl_verify_client on; default_type application/json; \
                 return 200 '{{\"active\":true,\"sub\":\"$ssl_client_s_dn $ssl_client_verify\"}}'; }}"
            ))
            .location(
                "/api",
                &format!(
                    "phantom_token on; phantom_token_forward none; \
                     phantom_token_introspection_endpoint https://localhost:{port}/ \
                     connect=127.0.0.1:{port}; phantom_token_client_auth none; \
                     phantom_token_introspection_accept application/json; \
                     phantom_token_ssl_trusted_certificate ca.pem; {presenting} \
                     add_header Sub $phantom_token_claim_sub always; try_files /none =204;"
                ),
            )
            .start();
        let response = gateway.get_as("/api", "opaque");
        assert_eq!(response.status, 204, "{}", gateway.module_lines().join("\n"));
        assert_eq!(response.header("sub"), Some("CN=gateway SUCCESS"));
    }

    let (server, api) = (AuthorizationServer::start(), phantom_token_test::Api::start());
    let other = ca.version_1("gateway").key;
    let check = Gateway::builder()
        .protect(&server, &api)
        .directives(presenting)
        .file("client.pem", client.certificate.as_str())
        .file("client.key", other)
        .check();
    assert!(!check.ok && check.messages.contains("do not belong together"), "{}", check.messages);
}
