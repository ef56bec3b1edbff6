//! HTTP/3, by a client of its own. Nothing is tested where NGINX was built without it, as Debian's.

mod client;

use std::net::UdpSocket;

use client::Connection;
use phantom_token_test::nginx::{Builder, configured_with, skip};
use phantom_token_test::process::wait_for;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN, SERVER_ERROR, UNAUTHORIZED};
use phantom_token_test::tls::Authority;
use phantom_token_test::{AuthorizationServer, Mint, Rig, Script, port};

/// A gateway that speaks HTTP/3 too, and what a connection to it needs.
struct Http3 {
    rig: Rig,
    port: u16,
    authority: Authority,
}

impl Http3 {
    fn start(change: impl FnOnce(Builder) -> Builder) -> Option<Self> {
        if !configured_with("--with-http_v3_module") {
            skip("this NGINX has no HTTP/3");
            return None;
        }
        let (port, authority) = (free_udp_port(), Authority::generate());
        let identity = authority.server(&["localhost"]);
        let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
            change(builder)
                .endpoint(&format!("{} max_fails=0", server.introspection_url()))
                .file("server.pem", identity.certificate)
                .file("server.key", identity.key)
                .server(&format!(
                    "listen 127.0.0.1:{port} quic;\n\
                     ssl_certificate server.pem;\nssl_certificate_key server.key;"
                ))
                .location("/open", "return 204;")
        });
        Some(Self { rig, port, authority })
    }

    fn connect(&self) -> Connection {
        Connection::open(self.port, &self.authority.certificate)
    }
}

/// A port on which nobody receives UDP: one that is free for TCP need not be.
fn free_udp_port() -> u16 {
    wait_for("a free port", || {
        let port = port::free();
        UdpSocket::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

#[test]
fn one_connection_sees_every_reply() {
    let Some(http3) = Http3::start(|builder| builder) else { return };
    let (rig, connection) = (&http3.rig, http3.connect());
    rig.server.script("failing", Script::status(500));
    rig.server.script("limited", Script::status(429));
    let upload = vec![b'x'; 200_000];
    for round in 0..3 {
        let token = rig.server.mint(Mint::new().claim("sub", format!("user-{round}")));
        let good = Some(&*token.token);
        let asked = [
            ("GET", good, &b""[..]),
            ("GET", None, b""),
            ("GET", Some("unknown"), b""),
            ("POST", good, &upload),
            ("GET", Some("failing"), b""),
            ("GET", Some("limited"), b""),
            ("POST", Some("unknown"), &upload[..1_000]),
            ("POST", None, &upload[..1_000]),
        ];
        // All under way at once.
        let sent = asked.map(|(method, token, body)| connection.send(method, "/api", token, body));
        let replies = sent.map(|exchange| exchange.read());
        let statuses = replies.each_ref().map(|reply| reply.status);
        assert_eq!(statuses, [200, 401, 401, 200, 500, 503, 401, 401]);
        for (reply, challenge) in
            [(&replies[1], CHALLENGE), (&replies[2], INVALID_TOKEN), (&replies[6], INVALID_TOKEN)]
        {
            let length = UNAUTHORIZED.len().to_string();
            let fields = [
                ("cache-control", "no-store"),
                ("content-length", &length),
                ("content-type", "application/json"),
                ("www-authenticate", challenge),
            ];
            assert_eq!((&*reply.fields(), &*reply.text()), (&fields[..], UNAUTHORIZED));
        }
        assert_eq!([replies[4].text(), replies[5].text()], [SERVER_ERROR; 2]);
        assert_eq!(replies[5].headers["retry-after"], "1");
        let received = &rig.api.received()[2 * round..];
        assert_eq!(received.len(), 2, "what was refused goes nowhere");
        assert!(received.iter().all(|one| one.authorization() == [token.phantom()]));
        assert_eq!(received.iter().map(|one| one.body_length).max(), Some(200_000));
        assert_eq!(rig.server.introspections_of(&token.token), 1);
    }
    assert!(connection.is_open());
}

#[test]
fn a_cancelled_request_leaves_nothing_behind() {
    let Some(http3) = Http3::start(|builder| builder) else { return };
    let rig = &http3.rig;
    let worker = rig.gateway.workers();
    let (connection, token) = (http3.connect(), rig.server.issue());
    let hold = rig.server.hold_token(&token.token);
    let waiting = Some(&*token.token);

    let mut taken_back = connection.begin("POST", "/api?taken-back", waiting);
    taken_back.send(b"the first part of a body");
    rig.server.wait_for_introspections(1);
    taken_back.cancel();
    let taken_back = rig.gateway.wait_for_access("/api?taken-back");
    assert!(taken_back.contains("\" 499 "), "{taken_back}");

    // NGINX goes on with a whole request whose response nobody wants.
    connection.send("GET", "/api?unwanted", waiting, b"").stop();
    assert_eq!(connection.get("/open", None).status, 204);

    let other = http3.connect();
    let lost = other.send("GET", "/api?lost", waiting, b"");
    assert_eq!(other.get("/open", None).status, 204);
    drop(lost);
    drop(other);
    // NGINX's own word for a request that ended with its connection.
    let lost = rig.gateway.wait_for_access("/api?lost");
    assert!(lost.contains("\" 000 0 "), "{lost}");
    assert_eq!(rig.api.count(), 0);

    drop(hold);
    rig.gateway.wait_for_access("/api?unwanted");
    assert_eq!(connection.get("/api?wanted", waiting).status, 200);
    let targets: Vec<_> = rig.api.received().iter().map(|one| one.head.target.clone()).collect();
    assert!(!targets.iter().any(|target| target.contains("taken") || target.contains("lost")));
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    assert_eq!(rig.server.introspections(), 1, "the answer was kept, though its caller left");
    assert_eq!(rig.gateway.workers(), worker);
    // A request left behind would keep the worker from its end.
    drop(connection);
    rig.gateway.quit();
    rig.gateway.wait_exit();
}

#[test]
fn a_jwt_of_60_kilobytes() {
    let Some(http3) = Http3::start(|builder| builder) else { return };
    let (rig, connection) = (&http3.rig, http3.connect());
    let token = rig.server.mint(Mint::new().jwt_size(60 << 10));
    for _ in 0..3 {
        assert_eq!(connection.get("/api/echo", Some(&token.token)).status, 200);
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    }
    assert_eq!(rig.server.introspections(), 1);
}
