//! TLS between the gateway and the authorization server.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use phantom_token_test::nginx::{Builder, Check};
use phantom_token_test::process::wait_until;
use phantom_token_test::tls::{Authority, Identity, server_config};
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Rig, Script, port};

const TRUSTED: &str = "phantom_token_ssl_trusted_certificate ca.pem;";

/// A server at `host` with this identity, which asks for client certificates of `client_ca`.
fn server(identity: &Identity, host: &str, client_ca: Option<&str>) -> AuthorizationServer {
    AuthorizationServer::builder().tls(server_config(identity, client_ca), host).start().unwrap()
}

/// A gateway that trusts these certificates.
fn rig(server: AuthorizationServer, trusted: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(server, |builder, _| change(builder.directives(TRUSTED).file("ca.pem", trusted)))
}

/// Asserts that the server is not believed: it never sees a token, and the log says why.
#[track_caller]
fn assert_distrusted(server: AuthorizationServer, trusted: &str, words: &str) {
    let rig = rig(server, trusted, |builder| builder);
    let token = rig.server.issue();
    Reply::failure().assert(&rig.get_as(&token.token));
    assert_eq!((rig.server.introspections(), rig.api.count()), (0, 0));
    let lines = rig.gateway.module_lines();
    let errors: Vec<_> = lines.iter().filter(|line| line.contains("[error]")).collect();
    assert!(errors.len() == 1 && errors[0].contains(words), "no {words:?} in {errors:?}");
}

#[test]
fn each_fault_of_a_certificate_has_its_own_words() {
    let (ca, stranger) = (Authority::generate(), Authority::generate());
    let trusted = &ca.certificate;
    let names = &["localhost"];
    let expired = server(&ca.expired_server(names), "localhost", None);
    assert_distrusted(expired, trusted, "the certificate has expired");
    let other = server(&ca.server(&["other.example"]), "localhost", None);
    assert_distrusted(other, trusted, "the certificate is not valid for the host name");
    let address = server(&ca.server(&["127.0.0.2"]), "127.0.0.1", None);
    assert_distrusted(address, trusted, "the certificate is not valid for the host name");
    let unknown = server(&stranger.server(names), "localhost", None);
    assert_distrusted(unknown, trusted, "the certificate's issuer is not trusted");
    for identity in [Identity::self_signed(names), Identity::self_signed_leaf(names)] {
        let server = server(&identity, "localhost", None);
        assert_distrusted(server, trusted, "the certificate is self-signed");
    }
}

#[test]
fn names_and_addresses_are_verified() {
    let ca = Authority::generate();
    for host in ["localhost", "127.0.0.1"] {
        let rig = rig(server(&ca.server(&[host]), host, None), &ca.certificate, |builder| builder);
        rig.assert_passes(&rig.server.issue());
    }
    // The URL's name is what is verified, not the address connected to.
    let rig =
        Rig::with(server(&ca.server(&["as.example"]), "as.example", None), |builder, server| {
            let url = server.introspection_url();
            let endpoint = format!("{url} connect=127.0.0.1:{}", server.port());
            builder.endpoint(&endpoint).directives(TRUSTED).file("ca.pem", ca.certificate.as_str())
        });
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn a_self_signed_certificate_may_be_the_trusted_one() {
    let names = &["localhost"];
    for identity in [Identity::self_signed(names), Identity::self_signed_leaf(names)] {
        let rig = rig(server(&identity, "localhost", None), &identity.certificate, |b| b);
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn verification_can_be_given_up_with_a_warning() {
    let identity = Authority::generate().expired_server(&["other.example"]);
    let rig = Rig::with(server(&identity, "localhost", None), |builder, _| {
        builder.directives("phantom_token_ssl_verify off;")
    });
    rig.gateway.wait_for_log(&["[warn]", "phantom_token_ssl_verify off"]);
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn answers_are_shared_among_those_who_verify_alike() {
    let (ca, stranger) = (Authority::generate(), Authority::generate());
    let on = "phantom_token on;\ntry_files /none =204;";
    let server = server(&ca.server(&["localhost"]), "localhost", None);
    let rig = Rig::with(server, |builder, _| {
        builder
            .server(TRUSTED)
            .file("ca.pem", stranger.certificate.as_str())
            .file("right.pem", ca.certificate.as_str())
            .location("/unverified", &format!("{on}\nphantom_token_ssl_verify off;"))
            .location("/right", &format!("{on}\nphantom_token_ssl_trusted_certificate right.pem;"))
    });
    for (calls, path) in [(1, "/unverified"), (2, "/right")] {
        let token = rig.server.issue();
        assert_eq!(rig.gateway.get_as(path, &token.token).status, 204);
        Reply::failure().assert(&rig.get_as(&token.token));
        assert_eq!(rig.server.introspections(), calls);
    }
}

/// Trusts `ca` and presents `client`.
fn presenting<'a>(client: &'a Identity) -> impl FnOnce(Builder) -> Builder + 'a {
    |builder| {
        builder
            .directives("phantom_token_ssl_certificate client.pem;")
            .directives("phantom_token_ssl_certificate_key client.key;")
            .file("client.pem", client.certificate.as_str())
            .file("client.key", client.key.as_str())
            .secret(client.key.lines().nth(1).unwrap())
    }
}

#[test]
fn mutual_tls() {
    let ca = Authority::generate();
    let identity = ca.server(&["localhost"]);
    let mutual = || server(&identity, "localhost", Some(&ca.certificate));
    let client = ca.client("gateway");
    let good = rig(mutual(), &ca.certificate, presenting(&client));
    good.assert_passes(&good.server.issue());

    let required = "the server requires a client certificate; set phantom_token_ssl_certificate";
    assert_distrusted(mutual(), &ca.certificate, required);

    let stranger = Authority::generate().client("gateway");
    let refused = rig(mutual(), &ca.certificate, presenting(&stranger));
    Reply::failure().assert(&refused.get_as("opaque"));
    let words = ["[error]", "the server refused the client certificate; check", "issuing CA"];
    refused.gateway.wait_for_log(&words);
    assert_eq!(refused.server.introspections(), 0);
}

/// What `openssl` makes of a key.
fn openssl(key: &str, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, key).unwrap();
    let output = Command::new("openssl").args(arguments).arg("-in").arg(&path).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_refused(check: &Check, words: &str) {
    let line = check.messages.lines().find(|line| line.contains("[emerg]"));
    let line = line.unwrap_or_else(|| panic!("accepted: {}", check.messages));
    assert!(line.contains(words) && line.contains("nginx.conf:"), "no {words:?} in {line}");
}

#[test]
fn mistakes_with_certificates_and_keys_are_named() {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let ca = Authority::generate();
    let (client, other) = (ca.client("gateway"), ca.client("other"));
    let check = |certificate: &str, key: &str, directives: &str| {
        Gateway::builder()
            .protect(&server, &api)
            .directives(directives)
            .file("client.pem", certificate)
            .file("client.key", key)
            .check()
    };
    let both = "phantom_token_ssl_certificate client.pem;\n\
                phantom_token_ssl_certificate_key client.key;";
    assert!(check(&client.certificate, &client.key, both).ok);

    let encrypted =
        openssl(&client.key, &["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:x"]);
    assert!(encrypted.contains("ENCRYPTED"));
    let refused = check(&client.certificate, &encrypted, both);
    assert_refused(&refused, "the client certificate's key is encrypted: decrypt it first");
    let refused = check(&client.certificate, &other.key, both);
    assert_refused(&refused, "the client certificate and its key do not belong together");
    assert_refused(&refused, "client.pem\" and \"phantom_token_ssl_certificate_key\" of /");
    assert_refused(&check(&client.certificate, "", both), "holds no PEM private key");
    assert_refused(&check("", &client.key, both), "holds no PEM certificate");
    let damaged =
        check(&client.certificate.replace("\n-----END", "!\n-----END"), &client.key, both);
    assert_refused(&damaged, "the client certificate file is damaged");
    assert_refused(&damaged, "\"phantom_token_ssl_certificate\" names \"/");
    assert_refused(&damaged, "/client.pem\": ");
    let half = "phantom_token_ssl_certificate client.pem;";
    assert_refused(&check(&client.certificate, "", half), "phantom_token_ssl_certificate_key");
    let half = "phantom_token_ssl_certificate_key client.key;";
    assert_refused(&check("", &client.key, half), "\"phantom_token_ssl_certificate\" is missing");
    let missing = "phantom_token_ssl_trusted_certificate no-such.pem;";
    assert_refused(&check("", "", missing), "phantom_token_ssl_trusted_certificate");

    let https = Gateway::builder()
        .protect(&server, &api)
        .endpoint("https://as.example/")
        .directives(TRUSTED)
        .file("ca.pem", client.key.as_str())
        .check();
    assert_refused(&https, "the file of trusted certificates holds no PEM certificate");
    assert_refused(&https, "\"phantom_token_ssl_trusted_certificate\" names \"/");
}

#[test]
fn the_wrong_protocol_is_named() {
    let ca = Authority::generate();
    // TLS where plain HTTP is spoken.
    let plain = AuthorizationServer::start();
    let rig = Rig::with(plain, |builder, server| {
        builder
            .endpoint(&server.introspection_url().replace("http:", "https:"))
            .http("phantom_token_timeout 6s;")
            .directives(TRUSTED)
            .file("ca.pem", ca.certificate.as_str())
    });
    Reply::failure().assert(&rig.get_as("opaque"));
    let line = rig.gateway.wait_for_log(&["[error]", "introspection at \"https://"]);
    assert!(line.contains("TLS"), "{line}");
    // And the other way about.
    let rig =
        Rig::with(server(&ca.server(&["localhost"]), "localhost", None), |builder, server| {
            builder.endpoint(&server.introspection_url().replace("https:", "http:"))
        });
    Reply::failure().assert(&rig.get_as("opaque"));
    assert_eq!(rig.server.introspections(), 0);
}

#[test]
fn a_surplus_answer_over_tls_answers_no_other_token() {
    let ca = Authority::generate();
    let rig = rig(server(&ca.server(&["localhost"]), "localhost", None), &ca.certificate, |b| {
        b.main("thread_pool phantom_token threads=1;")
    });
    let stolen = rig.server.issue();
    let answer = |jwt: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: {}\r\n\r\n{jwt}",
            jwt.len()
        )
    };
    for round in 0..10 {
        let token = rig.server.issue();
        let (read, arrived) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let script = match round % 3 {
            // In one TLS record, in a record of its own, and once the answer has been read.
            0 => Script::raw(answer(&token.jwt) + &answer(&stolen.jwt)),
            1 => Script::jwt(&token.jwt).surplus(answer(&stolen.jwt)).drip(4096, Duration::ZERO),
            _ => Script::raw(answer(&token.jwt)).then_raw(&read, answer(&stolen.jwt)),
        };
        rig.server.script(&token.token, script.delivered(&arrived));
        assert!(!rig.get_as(&token.token).text().contains(&stolen.jwt));
        read.store(true, Ordering::Relaxed);
        wait_until("the surplus", || arrived.load(Ordering::Relaxed));
        rig.assert_passes(&rig.server.issue());
        assert_eq!(rig.get_as(&format!("unknown-{round}")).status, 401);
    }
}

#[test]
fn connections_are_kept_and_replaced_without_a_failure() {
    let ca = Authority::generate();
    let rig = rig(server(&ca.server(&["localhost"]), "localhost", None), &ca.certificate, |b| {
        b.main("thread_pool phantom_token threads=1;")
    });
    for _ in 0..20 {
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(rig.server.connections(), 1);
    for _ in 0..3 {
        rig.server.close_connections();
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!((rig.server.connections(), rig.server.introspections()), (4, 23));
    assert!(rig.gateway.module_lines().iter().all(|line| !line.contains("[error]")));
}

/// Keys and secrets are read by the master as root; workers have given its rights up.
#[test]
fn files_are_read_before_rights_are_given_up() {
    // SAFETY: geteuid() takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("needs root");
        return;
    }
    let ca = Authority::generate();
    let server = AuthorizationServer::builder()
        .tls(server_config(&ca.server(&["localhost"]), Some(&ca.certificate)), "localhost")
        .start()
        .unwrap();
    let (api, client, port) = (Api::start(), ca.client("gateway"), port::free());
    let config = format!(
        "load_module modules/ngx_http_phantom_token_module.so;\n\
         error_log error.log info;\n\
         pid nginx.pid;\n\
         events {{ }}\n\
         http {{\n\
         access_log off;\n\
         server {{\n\
         listen 127.0.0.1:{port};\n\
         location /api {{\n\
         phantom_token on;\n\
         phantom_token_introspection_endpoint {};\n\
         phantom_token_client_id introspection-client;\n\
         phantom_token_client_secret_file as.secret;\n\
         phantom_token_ssl_trusted_certificate ca.key;\n\
         phantom_token_ssl_certificate client.key;\n\
         phantom_token_ssl_certificate_key client.key;\n\
         proxy_pass {};\n\
         }}\n}}\n}}\n",
        server.introspection_url(),
        api.url()
    );
    let gateway = Gateway::builder()
        .verbatim(&config, port)
        .file("as.secret", "Password1\n")
        // The names make them the owner's alone.
        .file("ca.key", ca.certificate.as_str())
        .file("client.key", format!("{}{}", client.certificate, client.key))
        .start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.workers()[0])).unwrap();
    let user = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(!user.contains("\t0"), "{user}");
    let token = server.issue();
    assert_eq!(gateway.get_as("/api", &token.token).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
}
