//! Sizes at their limits: tokens, JWTs, headers.

use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{Mint, Reply, Rig};

#[test]
fn a_token_has_32768_bytes_at_most() {
    let rig = Rig::start(|builder| {
        builder
            .http("large_client_header_buffers 4 64k;\nclient_body_buffer_size 128k;")
            .location("= /purge", "phantom_token_purge;")
    });
    let phantom = rig.server.accept_prefix("tttttttttttttttt", Mint::new());
    let longest = "t".repeat(32_768);
    for _ in 0..3 {
        let response = rig.get_as(&longest);
        assert_eq!(response.status, 200);
        assert_eq!(rig.api.last().authorization(), [phantom.phantom()]);
    }
    assert_eq!(rig.server.introspections_of(&longest), 1);
    let refused = rig.get_as(&"t".repeat(32_769));
    Reply::unauthorized(INVALID_TOKEN).assert(&refused);
    assert_eq!((rig.server.introspections(), rig.api.count()), (1, 3));
    // Purged in the longest form there is.
    let encoded: String = longest.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let purge = |form: &str| {
        let mut client = rig.gateway.client();
        client.send_request("POST", "/purge", &[], form.as_bytes());
        client.read().status
    };
    assert_eq!(purge(&format!("token={encoded}%74")), 400);
    assert_eq!(rig.get_as(&longest).status, 200);
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(purge(&format!("token={encoded}")), 204);
    assert_eq!(rig.get_as(&longest).status, 200);
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn a_long_token_of_every_sign_reaches_the_server_whole() {
    let rig = Rig::start(|builder| {
        builder
            .http("large_client_header_buffers 4 64k;")
            .directives("phantom_token_token_syntax vschar;")
    });
    let signs: String = ('!'..='~').filter(|c| !"\",".contains(*c)).collect();
    let long: String = signs.chars().cycle().take(32_768).collect();
    let token = rig.server.mint(Mint::new().token(&long));
    rig.assert_passes(&token);
    rig.assert_passes(&token);
    assert_eq!(rig.server.introspections_of(&long), 1);
}

#[test]
fn nginx_refuses_a_header_beyond_its_buffers_before_anything_is_asked() {
    let rig = Rig::start(|builder| builder.http("large_client_header_buffers 2 8k;"));
    rig.server.accept_prefix("tttttttttttttttt", Mint::new());
    // "Authorization: Bearer " and the line's end stand in the same 8 KiB.
    assert_eq!(rig.get_as(&"t".repeat(8192)).status, 400);
    assert_eq!(rig.server.introspections(), 0);
    assert_eq!(rig.get_as(&"t".repeat(8192 - 32)).status, 200);
    // The JWT that goes on is bound by none of these.
    let large = rig.server.mint(Mint::new().jwt_size(60 << 10));
    rig.assert_passes(&large);
}

#[test]
fn a_jwt_of_60_kilobytes() {
    let rig = Rig::start(|builder| builder.workers(2));
    let token = rig.server.mint(Mint::new().jwt_size(60 << 10));
    assert!(token.jwt.len() >= 60 << 10, "{}", token.jwt.len());
    for _ in 0..6 {
        rig.assert_passes(&token);
    }
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn two_hundred_headers_around_the_authorization() {
    // NGINX keeps headers in parts of 20: the one changed, added or removed stands in any of them.
    let rig = Rig::start(|builder| builder.http("large_client_header_buffers 8 16k;"));
    let token = rig.server.issue();
    let names: Vec<String> = (0..200).map(|n| format!("X-Header-{n}")).collect();
    let bearer = token.bearer();
    for at in [0, 1, 17, 18, 19, 20, 21, 100, 199, 200] {
        let mut headers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "value")).collect();
        headers.insert(at, ("Authorization", &bearer));
        assert_eq!(rig.gateway.get("/api/echo", &headers).status, 200);
        let received = rig.api.last();
        assert_eq!(received.authorization(), [token.phantom()], "at {at}");
        let kept = |received: &phantom_token_test::api::Received| -> Vec<String> {
            let fields = received.head.headers.0.iter();
            fields.map(|(name, _)| name.clone()).filter(|name| name.starts_with("X-")).collect()
        };
        assert_eq!(kept(&received), names, "at {at}: each once, in their order");

        // Taken out, where OPTIONS passes without it.
        let mut client = rig.gateway.client();
        client.send_request("OPTIONS", "/api/echo", &headers, b"");
        assert_eq!(client.read().status, 200);
        let received = rig.api.last();
        assert!(received.authorization().is_empty(), "at {at}");
        assert_eq!(kept(&received), names, "at {at}");
    }
    assert_eq!(rig.server.introspections(), 1);
}
