//! Certificates that must not be believed, beside those of `endpoints/tls.rs`.

use phantom_token_test::tls::{Authority, Identity, server_config};
use phantom_token_test::{AuthorizationServer, Reply, Rig};

fn rig(identity: &Identity, trusted: &str) -> Rig {
    let server = AuthorizationServer::builder()
        .tls(server_config(identity, None), "localhost")
        .start()
        .expect("starts");
    Rig::with(server, |builder, _| {
        builder.directives("phantom_token_ssl_trusted_certificate ca.pem;").file("ca.pem", trusted)
    })
}

#[test]
fn certificates_that_prove_nothing_are_not_believed() {
    let ca = Authority::generate();
    let names = &["localhost"];
    let good = rig(&ca.server_of_intermediate(names, true), &ca.certificate);
    good.assert_passes(&good.server.issue());

    let mut no_intermediate = ca.server_of_intermediate(names, true);
    let end = "-----END CERTIFICATE-----\n";
    let leaf = no_intermediate.certificate.find("-----END").expect("PEM");
    no_intermediate.certificate.truncate(leaf);
    no_intermediate.certificate.push_str(end);
    for (what, identity, words) in [
        ("not valid yet", ca.future_server(names), "the certificate is not valid yet"),
        ("a client's", ca.client_as_server(names), "the certificate is not for TLS servers"),
        ("no intermediate", no_intermediate, "the certificate's issuer is not trusted"),
        ("no authority", ca.server_of_intermediate(names, false), "the certificate"),
        ("a wildcard of all", ca.server(&["*"]), "the certificate"),
        ("a name within", ca.server(&["localhost.evil.example", "xlocalhost"]), "the certificate"),
    ] {
        let rig = rig(&identity, &ca.certificate);
        let token = rig.server.issue();
        Reply::failure().assert(&rig.get_as(&token.token));
        assert_eq!((rig.server.introspections(), rig.api.count()), (0, 0), "{what}");
        let line = rig.gateway.wait_for_log(&["[error]", "introspection at"]);
        assert!(line.contains(words), "{what}: {line}");
    }
}
