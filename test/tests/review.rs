//! The module's decisions beside those of others: what is theirs stays theirs, over redirects too.

use phantom_token_test::rig::UNAUTHORIZED;
use phantom_token_test::{AuthorizationServer, Client, Rig, Script};

/// `user:password`, for `auth_basic`.
const BASIC: (&str, &str) = ("Authorization", "Basic dXNlcjpwYXNzd29yZA==");

/// A request whose chunked body is none, and behind it what must not be taken for another request.
fn malformed(path: &str, authorization: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{authorization}Transfer-Encoding: chunked\r\n\r\n\
         xyz\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    .into_bytes()
}

/// Reads one response, and asserts that the connection then ends without another.
#[track_caller]
fn assert_ends(mut client: Client) {
    assert_eq!(client.pending(), b"", "nothing is answered behind it");
    assert!(client.closes(), "the connection ends");
}

#[test]
fn a_malformed_body_ends_the_connection() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location("/paged", "phantom_token on;\nerror_page 500 /page;\ntry_files /none =204;")
            .location("/page", "return 200 \"page\\n\";")
            .location("/checked", "phantom_token on;\nerror_page 500 /open;\ntry_files /none =204;")
            .location("/open", "try_files /none =404;")
            .location("/smuggled", "return 200 \"smuggled\\n\";")
    });
    rig.server.script("failing", Script::status(500));
    for (path, authorization, status) in [
        ("/api", "", 401),
        ("/api", "Authorization: Bearer failing\r\n", 500),
        ("/paged", "Authorization: Bearer failing\r\n", 400),
        ("/checked", "Authorization: Bearer failing\r\n", 404),
    ] {
        let mut client = rig.gateway.client();
        client.send(&malformed(path, authorization));
        let response = client.read();
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("connection"), Some("close"), "{path} {status}");
        assert_ends(client);
    }
}

#[test]
fn a_failure_keeps_the_connection_whose_body_is_read_or_to_be_dropped() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location("/paged", "phantom_token on;\nerror_page 500 /page;\ntry_files /none =204;")
            .location("/page", "return 200 \"page\\n\";")
            .location("/checked", "phantom_token on;\nerror_page 500 /open;\ntry_files /none =204;")
            .location("/open", "try_files /none =404;")
    });
    rig.server.script("failing", Script::status(500));
    let mut client = rig.gateway.client();
    for path in ["/api", "/paged", "/checked"] {
        for framing in [
            "Content-Length: 3\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            client.send(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer failing\r\n{framing}"
                )
                .as_bytes(),
            );
            let response = client.read();
            assert_eq!(response.header("connection"), Some("keep-alive"), "{path} {framing}");
        }
    }
}

#[test]
fn a_refusal_behind_the_access_phase_keeps_its_body() {
    let rig = Rig::start(|builder| {
        let basic = "satisfy any;\nauth_basic x;\nauth_basic_user_file users;";
        builder
            .file("users", "user:{PLAIN}password\n")
            .directives(basic)
            .location("/own", &format!("phantom_token on;\n{basic}\ntry_files /none =401;"))
    });
    // The API refuses what is no JWT.
    let refused = rig.gateway.get("/api", &[BASIC]);
    assert_eq!(refused.status, 401);
    assert_ne!(refused.text(), UNAUTHORIZED);
    assert_eq!(rig.api.last().authorization(), [BASIC.1]);
    let own = rig.gateway.get("/own", &[BASIC]);
    assert_eq!(own.status, 401);
    assert!(own.text().contains("<html>"), "{own:?}");
    // Neither of the two lets it in: the body is ours.
    let refused = rig.gateway.get("/api", &[]);
    assert_eq!((refused.status, refused.text().as_str()), (401, UNAUTHORIZED));
    assert_eq!(refused.headers.all("www-authenticate").count(), 2);
}

#[test]
fn what_options_loses_is_forgotten_everywhere() {
    let rig = Rig::start(|builder| {
        builder
            .directives("if ($http_authorization = x) { return 418; }")
            .directives("proxy_set_header X-Seen $http_authorization;")
    });
    let mut client = rig.gateway.client();
    client.send_request("OPTIONS", "/api/echo", &[("Authorization", "Bearer opaque")], b"");
    assert_eq!(client.read().status, 200);
    let seen = rig.api.last();
    assert_eq!(seen.head.headers.get("x-seen"), None);
    assert!(seen.authorization().is_empty());
}

#[test]
fn a_resting_endpoint_is_met_once_by_a_request() {
    let nobody = phantom_token_test::port::free();
    let rig = Rig::start(|builder| {
        builder
            .endpoint(&format!("http://127.0.0.1:{nobody}/ max_fails=1 fail_timeout=60s"))
            .server("error_page 503 /protected;")
            .location("/protected", "phantom_token on;\nreturn 200 \"never\\n\";")
            .location("/status", "phantom_token_status;")
    });
    assert_eq!(rig.get_as("first").status, 500);
    rig.gateway.wait_for_log(&["[warn]", "rests for"]);
    assert_eq!(rig.get_as("other").status, 503);
    let status = rig.gateway.get("/status", &[]).text();
    let resting: Vec<_> = status
        .lines()
        .filter(|line| line.contains("failures") && line.contains("resting"))
        .collect();
    assert!(resting.iter().any(|line| line.ends_with(" 1")), "{resting:?}");
}

#[test]
fn a_hit_too_is_kept_for_its_request() {
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_cache_valid 300s;")
            .location(
                "/first",
                "phantom_token on;\nerror_page 404 /second;\ntry_files /none =404;\n",
            )
            .location(
                "/second",
                "phantom_token on;\nphantom_token_cache_valid 0;\ntry_files /none =204;",
            )
    });
    let token = rig.server.issue();
    rig.assert_passes(&token);
    assert_eq!(rig.gateway.get_as("/first", &token.token).status, 204);
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn a_purge_reaches_a_refreshing_call_too() {
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_cache_bypass $arg_fresh;")
            .location("/purge", "phantom_token_purge;")
    });
    let token = rig.server.issue();
    let hold = rig.server.hold_token(&token.token);
    let mut client = rig.gateway.client();
    let bearer = token.bearer();
    client.send_request("GET", "/api?fresh=1", &[("Authorization", &bearer)], b"");
    rig.server.wait_for_introspections(1);
    let mut purger = rig.gateway.client();
    let body = format!("token={}", token.token);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    purger.send_request("POST", "/purge", &form, body.as_bytes());
    assert_eq!(purger.read().status, 204);
    drop(hold);
    assert_eq!(client.read().status, 200);
    rig.assert_passes(&token);
    assert_eq!(rig.server.introspections(), 2, "the answer from before the purge is not stored");
}

#[test]
fn a_token_from_a_variable_that_changes_is_the_last_one() {
    let rig = Rig::start(|builder| {
        builder.server("if ($arg_token = x) { return 418; }").location(
            "/changed",
            "phantom_token on token=$arg_token;\nset $args token=$http_x_token;\n\
             try_files /none =204;",
        )
    });
    let token = rig.server.issue();
    let got = rig.gateway.get("/changed?token=other", &[("X-Token", &token.token)]);
    assert_eq!(got.status, 204);
    assert_eq!(rig.server.introspections_of("other"), 0);
}

#[test]
fn too_many_calls_do_not_affect_what_the_zone_knows() {
    let rig = Rig::start(|builder| {
        builder.http("phantom_token_max_pending 1;\nphantom_token_worker_cache 0;")
    });
    let (known, slow) = (rig.server.issue(), rig.server.issue());
    rig.assert_passes(&known);
    let hold = rig.server.hold_token(&slow.token);
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &slow.bearer())], b"");
    rig.server.wait_for_introspections(2);
    rig.assert_passes(&known);
    assert_eq!(rig.get_as("another").status, 503);
    drop(hold);
    assert_eq!(client.read().status, 200);
    // The refused one has left no mark behind that somebody would wait for.
    assert_eq!(rig.get_as("another").status, 401);
}

#[test]
fn a_delayed_refusal_is_still_ours() {
    let rig = Rig::start(|builder| builder.directives("auth_delay 50ms;"));
    let refused = rig.gateway.get("/api", &[]);
    assert_eq!((refused.status, refused.text().as_str()), (401, UNAUTHORIZED));
}

#[test]
fn a_second_refusal_takes_the_challenge_of_the_first_away() {
    let nobody = phantom_token_test::port::free();
    let rig = Rig::start(|builder| {
        builder
            .location(
                "/first",
                "phantom_token on;\nphantom_token_scope execute;\nerror_page 403 /second;\n\
                 try_files /none =204;",
            )
            .location(
                "/second",
                &format!(
                    "phantom_token on;\n\
                     phantom_token_introspection_endpoint http://127.0.0.1:{nobody}/;\n\
                     try_files /none =204;"
                ),
            )
    });
    let token = rig.server.issue();
    let failed = rig.gateway.get_as("/first", &token.token);
    assert_eq!(failed.status, 500);
    assert_eq!(failed.header("www-authenticate"), None);
}
