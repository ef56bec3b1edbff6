//! The module among the access, rewrite, precontent and filter modules of NGINX: who runs first, who
//! judges a request that goes elsewhere, and that nobody asks twice.

use std::time::{Duration, Instant};

use phantom_token_test::rig::{CHALLENGE, UNAUTHORIZED};
use phantom_token_test::{AuthorizationServer, Mint, Rig, Script};

/// `user:password`, for `auth_basic`.
const BASIC: (&str, &str) = ("Authorization", "Basic dXNlcjpwYXNzd29yZA==");

/// A gateway without a cache, so that every question is a call, and with `$api`.
fn rig(
    change: impl FnOnce(phantom_token_test::nginx::Builder) -> phantom_token_test::nginx::Builder,
) -> Rig {
    Rig::start(|builder| change(builder.http("phantom_token_cache off;")))
}

/// A location's way to the API, whose port the client names.
const API: &str = "proxy_pass http://127.0.0.1:$http_x_port;";

/// GET as the owner of this token, telling the API's port.
fn ask(rig: &Rig, method: &str, target: &str, authorization: &str) -> phantom_token_test::Response {
    let port = rig.api.url().rsplit(':').next().unwrap().to_owned();
    let mut client = rig.gateway.client();
    let headers = [("X-Port", &*port), ("Authorization", authorization)];
    client.send_request(method, target, &headers, b"");
    client.read()
}

#[test]
fn limits_come_first() {
    let rig = rig(|builder| {
        builder
            .http(
                "limit_req_zone $arg_a zone=requests:1m rate=1r/m;\n\
                 limit_conn_zone $arg_a zone=connections:1m;",
            )
            .directives("limit_req zone=requests;\nlimit_conn connections 1;")
            .location("/connections", "phantom_token on;\nlimit_conn connections 1;\nreturn 204;")
    });
    let token = rig.server.issue();
    assert_eq!(ask(&rig, "GET", "/api?a=1", &token.bearer()).status, 200);
    for _ in 0..3 {
        let limited = ask(&rig, "GET", "/api?a=1", &token.bearer());
        assert_eq!(limited.status, 503);
        assert!(limited.text().contains("<html>"), "not a reply of ours: {limited:?}");
    }
    assert_eq!((rig.server.introspections(), rig.api.count()), (1, 1));

    let hold = rig.server.hold();
    let mut first = rig.gateway.client();
    first.send_request("GET", "/api?a=2", &[("Authorization", &token.bearer())], b"");
    rig.server.wait_for_introspections(2);
    assert_eq!(ask(&rig, "GET", "/api?a=2", &token.bearer()).status, 503);
    assert_eq!(rig.server.introspections(), 2);
    drop(hold);
    assert_eq!(first.read().status, 200);
}

#[test]
fn auth_basic_beside_it() {
    // user:pass
    let passwords = "user:{PLAIN}pass\n";
    let rig = rig(|builder| {
        let basic = "auth_basic closed;\nauth_basic_user_file passwords;";
        builder
            .file("passwords", passwords)
            .directives(&format!("satisfy any;\n{basic}"))
            .location("/both", &format!("phantom_token on;\n{basic}\n{API}"))
    });
    let token = rig.server.issue();
    rig.assert_passes(&token);
    let basic = ask(&rig, "GET", "/api/echo", "Basic dXNlcjpwYXNz");
    assert_eq!(basic.status, 200);
    assert_eq!(basic.header("www-authenticate"), None, "nothing is asked of who was let in");
    assert_eq!(rig.api.last().authorization(), ["Basic dXNlcjpwYXNz"], "as it came");
    // Nor is it taken from an OPTIONS request, which needs no token.
    assert_eq!(ask(&rig, "OPTIONS", "/api/echo", "Basic dXNlcjpwYXNz").status, 200);
    assert_eq!(rig.api.last().authorization(), ["Basic dXNlcjpwYXNz"]);
    assert_eq!(ask(&rig, "OPTIONS", "/api/echo", "Basic dXNlcjpwYXN0").status, 401);
    let neither = rig.gateway.get("/api", &[]);
    assert_eq!(neither.status, 401);
    let challenges: Vec<&str> = neither.headers.all("www-authenticate").collect();
    assert_eq!(challenges, [CHALLENGE, "Basic realm=\"closed\""], "both ways in are offered");
    // One header cannot carry both: with `satisfy all` nobody gets in, and each says so.
    assert_eq!(ask(&rig, "GET", "/both", "Basic dXNlcjpwYXNz").status, 401);
    assert_eq!(ask(&rig, "GET", "/both", &token.bearer()).status, 401);
    assert_eq!(rig.api.count(), 3);
}

#[test]
fn auth_request_beside_it() {
    let rig = rig(|builder| {
        builder
            .directives("auth_request /verdict;")
            .location("= /verdict", &format!("internal;\nproxy_method GET;\n{API}"))
            .location(
                "/any",
                &format!("phantom_token on;\nsatisfy any;\nauth_request /yes;\n{API}"),
            )
            .location("= /yes", "internal;\nreturn 204;")
            .location(
                "/none",
                &format!("phantom_token on;\nsatisfy any;\nauth_request /no;\n{API}"),
            )
            .location("= /no", "internal;\nreturn 401;")
    });
    let token = rig.server.issue();
    // `satisfy all`: the subrequest, made later, carries the JWT already.
    assert_eq!(ask(&rig, "GET", "/api/echo", &token.bearer()).status, 200);
    assert_eq!(rig.server.introspections(), 1);
    let received = rig.api.received();
    assert_eq!(received.len(), 2, "the subrequest's and the request");
    assert!(received.iter().all(|one| one.authorization() == [token.phantom()]));
    assert_eq!(ask(&rig, "GET", "/api", "Bearer unknown").status, 401);
    assert_eq!(rig.api.count(), 2, "a refused request makes no subrequest");

    let let_in = ask(&rig, "GET", "/any/echo", "Bearer unknown");
    assert_eq!(let_in.status, 200);
    assert_eq!(let_in.header("www-authenticate"), None);
    assert_eq!(rig.api.last().authorization(), ["Bearer unknown"]);
    assert_eq!(ask(&rig, "GET", "/none/echo", "Bearer unknown").status, 401);
    assert_eq!(ask(&rig, "GET", "/none/echo", &token.bearer()).status, 200);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
}

#[test]
fn who_is_let_in_or_told_why_sees_the_challenge_that_is_meant() {
    let rig = rig(|builder| {
        builder
            .file("passwords", "user:{PLAIN}pass\n")
            .location(
                "/three",
                &format!(
                    "phantom_token on;\nsatisfy any;\nauth_basic closed;\n\
                     auth_basic_user_file passwords;\nauth_request /yes;\n{API}"
                ),
            )
            .location("= /yes", "internal;\nreturn 204;")
            .location(
                "/broken",
                &format!("phantom_token on;\nsatisfy any;\nauth_request /fails;\n{API}"),
            )
            .location("= /fails", "internal;\nreturn 500;")
            .location(
                "/narrow",
                &format!(
                    "phantom_token on;\nphantom_token_scope execute;\nerror_page 403 /wide/echo;\n{API}"
                ),
            )
            .location("/wide", &format!("phantom_token on;\n{API}"))
    });
    // NGINX itself takes back the challenge of the last module alone.
    let let_in = ask(&rig, "GET", "/three/echo", "Bearer unknown");
    assert_eq!(let_in.status, 200);
    assert_eq!(let_in.header("www-authenticate"), None, "nothing is asked of who was let in");

    // Nor where the last module fails.
    let failed = ask(&rig, "GET", "/broken", "Bearer unknown");
    assert_eq!(failed.status, 500);
    assert_eq!(failed.header("www-authenticate"), None, "a token would not help");

    // The page is served, under the same protection, but the answer is still no.
    let refused = ask(&rig, "GET", "/narrow", &rig.server.issue().bearer());
    assert_eq!(refused.status, 403);
    let challenge = refused.header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("insufficient_scope"), "{refused:?}");
}

#[test]
fn a_refusal_is_delayed_by_auth_delay_and_asked_about_once() {
    let rig = rig(|builder| builder.directives("auth_delay 300ms;"));
    let begun = Instant::now();
    let refused = ask(&rig, "GET", "/api", "Bearer unknown");
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    assert_eq!((refused.status, refused.text().as_str()), (401, UNAUTHORIZED));
    assert_eq!(rig.server.introspections(), 1);
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn limit_except_switches_it() {
    let rig = rig(|builder| {
        builder
            .location("/read", &format!("limit_except GET {{\nphantom_token on;\n}}\n{API}"))
            .location(
                "/write",
                &format!(
                    "phantom_token on;\nlimit_except GET {{\nphantom_token_scope execute;\n}}\n{API}"
                ),
            )
            .location(
                "/open",
                &format!("phantom_token on;\nlimit_except GET {{\nphantom_token off;\n}}\n{API}"),
            )
    });
    let token = rig.server.issue();
    let own = token.bearer();
    assert_eq!(ask(&rig, "GET", "/read/echo", "Bearer unknown").status, 200);
    assert_eq!(rig.server.introspections(), 0);
    assert_eq!(ask(&rig, "DELETE", "/read/echo", "Bearer unknown").status, 401);
    assert_eq!(ask(&rig, "DELETE", "/read/echo", &own).status, 200);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    assert_eq!(ask(&rig, "GET", "/write/echo", &own).status, 200);
    assert_eq!(ask(&rig, "DELETE", "/write/echo", &own).status, 403);
    let both = rig.server.mint(Mint::new().scope("read execute"));
    assert_eq!(ask(&rig, "DELETE", "/write/echo", &both.bearer()).status, 200);
    assert_eq!(ask(&rig, "DELETE", "/open/echo", "Bearer unknown").status, 200);
    assert_eq!(ask(&rig, "GET", "/open/echo", "Bearer unknown").status, 401);
}

#[test]
fn the_last_location_judges() {
    let rig = rig(|builder| {
        let on = "phantom_token on;";
        let scoped = "phantom_token on;\nphantom_token_scope execute;";
        builder
            .file("index.page", "an index\n")
            .location("/start", &format!("{scoped}\nrewrite ^/start(.*) /api$1 last;"))
            .location("/strict", &format!("{on}\nrewrite ^/strict(.*) /scoped$1 last;"))
            .location("/scoped", &format!("{scoped}\n{API}"))
            .location("= /folder/", &format!("{on}\nroot .;\nindex /index.page;"))
            .location("= /index.page", &format!("{on}\nroot .;"))
            .location("= /strict-folder/", &format!("{on}\nroot .;\nindex /strict.page;"))
            .location("= /strict.page", &format!("{scoped}\nroot .;"))
            .location("/missing", &format!("{on}\nroot .;\nerror_page 404 =200 @found;"))
            .location("@found", &format!("{on}\n{API}"))
            .location("/refused", &format!("{on}\nroot .;\nerror_page 404 = /scoped/echo;"))
            .location("/accel", &format!("{on}\nproxy_pass http://127.0.0.1:$server_port/source;"))
            .location("/source", "add_header X-Accel-Redirect /inner/echo;\nreturn 200;")
            .location("/inner", &format!("internal;\n{on}\n{API}"))
            .location(
                "/strict-accel",
                &format!("{on}\nproxy_pass http://127.0.0.1:$server_port/strict-source;"),
            )
            .location("/strict-source", "add_header X-Accel-Redirect /scoped/echo;\nreturn 200;")
    });
    std::fs::write(rig.gateway.prefix().join("strict.page"), "strict\n").unwrap();
    let token = rig.server.issue();
    for (target, status, reaches_api) in [
        ("/start/echo", 200, true),
        ("/strict/echo", 403, false),
        ("/folder/", 200, false),
        ("/strict-folder/", 403, false),
        ("/missing/echo", 200, true),
        ("/refused", 403, false),
        ("/accel", 200, true),
        ("/strict-accel", 403, false),
    ] {
        let (calls, requests) = (rig.server.introspections(), rig.api.count());
        let response = ask(&rig, "GET", target, &token.bearer());
        assert_eq!(response.status, status, "{target}: {response:?}");
        assert_eq!(rig.server.introspections(), calls + 1, "{target}: asked once");
        assert_eq!(rig.api.count() - requests, usize::from(reaches_api), "{target}");
        if reaches_api {
            assert_eq!(rig.api.last().authorization(), [token.phantom()], "{target}");
        }
    }
    let seen = rig.server.seen();
    assert!(seen.iter().all(|call| call.token == token.token), "a JWT is never introspected");
}

#[test]
fn a_failure_is_kept_across_redirects() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .http("phantom_token_cache off;")
            .directives("error_page 401 500 503 = @other;")
            .location("@other", &format!("phantom_token on;\n{API}"))
            .location("/open", &format!("phantom_token on;\nerror_page 401 =200 @login;\n{API}"))
            .location("@login", "return 200 \"log in here\\n\";")
    });
    rig.server.script("failing", Script::status(500));
    rig.server.script("limited", Script::status(429));
    for (token, status) in [("failing", 500), ("limited", 503), ("unknown", 401)] {
        assert_eq!(ask(&rig, "GET", "/api", &format!("Bearer {token}")).status, status, "{token}");
        assert_eq!(rig.server.introspections_of(token), 1, "{token}");
    }
    let login = ask(&rig, "GET", "/open", "Bearer unknown");
    assert_eq!((login.status, login.text().as_str()), (200, "log in here\n"));
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn subrequests_and_later_actions_carry_the_jwt() {
    let rig = rig(|builder| {
        builder
            .directives("mirror /mirrored/echo;\npost_action /after/echo;")
            .location("/mirrored", &format!("internal;\nphantom_token on;\n{API}"))
            .location("/after", &format!("phantom_token on;\n{API}"))
            .file("page.shtml", "<!--#include virtual=\"/part/echo?n=1\" --><!--#include virtual=\"/part/echo?n=2\" -->")
            .location("= /page.shtml", "phantom_token on;\nroot .;\nssi on;\nssi_types *;")
            .location("/part", &format!("internal;\nphantom_token on;\n{API}"))
    });
    let token = rig.server.issue();
    assert_eq!(ask(&rig, "GET", "/api/echo", &token.bearer()).status, 200);
    phantom_token_test::process::wait_until("all three requests", || rig.api.count() == 3);
    let mut targets: Vec<_> = rig.api.received().iter().map(|r| r.head.target.clone()).collect();
    targets.sort();
    assert_eq!(targets, ["/after/echo", "/api/echo", "/mirrored/echo"]);

    let page = ask(&rig, "GET", "/page.shtml", &token.bearer());
    assert_eq!(page.status, 200);
    assert_eq!(page.text().matches("\"target\"").count(), 2, "{page:?}");
    assert!(rig.api.received().iter().all(|one| one.authorization() == [token.phantom()]));
    assert_eq!(rig.server.introspections(), 2, "one for each request");
    assert!(rig.server.seen().iter().all(|call| call.token == token.token));
}

#[test]
fn slices_are_asked_about_once() {
    let whole: String = (0..100).map(|n| format!("line {n:04}\n")).collect();
    let rig = rig(|builder| {
        builder
            .file("blob", whole.as_bytes())
            .location(
                "/sliced",
                "phantom_token on;\nslice 100;\nproxy_set_header Range $slice_range;\n\
                 proxy_pass http://127.0.0.1:$server_port/blob;",
            )
            .location(
                "= /blob",
                "if ($http_authorization !~ \"^Bearer eyJ\") {\nreturn 418;\n}\nroot .;",
            )
    });
    let token = rig.server.issue();
    let response = ask(&rig, "GET", "/sliced", &token.bearer());
    assert_eq!((response.status, response.text()), (200, whole));
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(
        rig.gateway.access_log().iter().filter(|line| line.contains("/blob")).count(),
        10,
        "ten slices"
    );
}

#[test]
fn a_cache_behind_it_is_keyed_by_who_asks() {
    let rig = rig(|builder| {
        let cached =
            format!("phantom_token on;\nproxy_cache api;\nproxy_cache_valid 200 1h;\n{API}");
        builder
            .http("proxy_cache_path cache keys_zone=api:1m;")
            .http("map $phantom_token_claim_sub $nobody {\n\"\" 1;\ndefault 0;\n}")
            .location("/plain", &cached)
            .location(
                "/keyed",
                &format!(
                    "proxy_cache_key \"$phantom_token_claim_sub $scheme://$host$request_uri\";\n\
                     proxy_cache_bypass $nobody;\nproxy_no_cache $nobody;\n{cached}"
                ),
            )
    });
    let [alice, bob] = ["alice", "bob"].map(|sub| rig.server.mint(Mint::new().claim("sub", sub)));
    for (path, own) in [("/plain", false), ("/keyed", true)] {
        for token in [&alice, &bob] {
            for _ in 0..2 {
                let answer = ask(&rig, "GET", path, &token.bearer());
                assert_eq!(answer.status, 200);
                let whose = if own { token } else { &alice };
                assert!(answer.text().contains(&whose.jwt), "{path}: {answer:?}");
            }
        }
    }
    assert_eq!(rig.api.count(), 3, "one answer for all, then one for each");
    assert_eq!(ask(&rig, "GET", "/plain", "Bearer unknown").status, 401, "judged all the same");
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
fn a_delayed_refusal_is_still_ours() {
    let rig = Rig::start(|builder| builder.directives("auth_delay 50ms;"));
    let refused = rig.gateway.get("/api", &[]);
    assert_eq!((refused.status, refused.text().as_str()), (401, UNAUTHORIZED));
}
