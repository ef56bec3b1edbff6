//! Tokens judged before `limit_req` and `limit_conn`: what these then limit by, and what else is as in the
//! access phase.

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Reply, Response, Rig, Script, curl};

/// One request a minute for each user, where it stands.
const ZONES: &str = "limit_req_zone $phantom_token_claim_sub zone=user:1m rate=1r/m;\n\
     limit_conn_zone $phantom_token_claim_sub zone=conn:1m;\n\
     limit_req_status 429;\nlimit_conn_status 429;";

const PREACCESS: &str = "phantom_token_phase preaccess;";

/// A gateway whose `/api` is judged before the limits.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(builder.http(ZONES).directives(PREACCESS)))
}

fn user(rig: &Rig, name: &str) -> String {
    rig.server.mint(Mint::new().claim("sub", name)).token
}

/// A location whose tokens are judged before its limits.
fn judged(rest: &str) -> String {
    format!("phantom_token on;\n{PREACCESS}\n{rest}")
}

/// The statuses of so many requests of one user.
fn statuses(gateway: &Gateway, target: &str, token: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| gateway.get_as(target, token).status).collect()
}

#[test]
fn limits_by_claims_count_where_the_token_is_judged_first() {
    let rig = Rig::start(|builder| {
        builder
            .http(ZONES)
            .location("/access", "phantom_token on;\nlimit_req zone=user;\ntry_files /none =204;")
            .location("/preaccess", &judged("limit_req zone=user;\ntry_files /none =204;"))
    });
    let (one, two) = (user(&rig, "one"), user(&rig, "two"));
    // The trap: the claim is not known when the limit asks for it, and nobody is limited.
    assert_eq!(statuses(&rig.gateway, "/access", &one, 5), [204; 5]);
    let warnings = || {
        let mut lines = rig.gateway.module_lines();
        lines.retain(|line| line.contains("is asked for before the token is judged"));
        lines.len()
    };
    assert_eq!(warnings(), 1);
    // Misses and hits alike.
    assert_eq!(statuses(&rig.gateway, "/preaccess", &one, 3), [204, 429, 429]);
    assert_eq!(statuses(&rig.gateway, "/preaccess", &two, 3), [204, 429, 429]);
    assert_eq!((rig.server.introspections(), warnings()), (2, 1));
}

#[test]
fn a_map_serves_what_is_required_and_what_is_limited() {
    let rig = rig(|builder| {
        builder
            .http("map $phantom_token_claim_sub $guest {\n\"\" 0;\n~^guest- $phantom_token_claim_sub;\n}")
            .http("limit_req_zone $guest zone=guests:1m rate=1r/m;")
            .location(
                "/guests",
                &judged("phantom_token_require $guest;\nlimit_req zone=guests;\ntry_files /none =204;"),
            )
    });
    let [first, second, member] = ["guest-1", "guest-2", "member"].map(|name| user(&rig, name));
    for _ in 0..2 {
        assert_eq!(rig.gateway.get_as("/guests", &member).status, 403);
    }
    assert_eq!(statuses(&rig.gateway, "/guests", &first, 2), [204, 429]);
    assert_eq!(statuses(&rig.gateway, "/guests", &second, 2), [204, 429]);
    assert!(!rig.gateway.error_log().contains("before the token is judged"));
}

#[test]
fn a_user_s_connections_are_counted() {
    let rig = rig(|builder| {
        builder
            .directives("limit_conn conn 1;")
            .location("/quick", &judged("limit_conn conn 1;\ntry_files /none =204;"))
    });
    let (one, two) = (user(&rig, "one"), user(&rig, "two"));
    let bearer = format!("Bearer {one}");
    let headers = [("Authorization", bearer.as_str())];
    let whole = rig.gateway.client().request_bytes("POST", "/api", &headers, b"whole");
    // NGINX reads the body when the limits have let it in.
    let (begun, rest) = whole.split_at(whole.len() - 1);
    let mut client = rig.gateway.client();
    client.send(begun);
    wait_until("the limit", || rig.gateway.get_as("/quick", &one).status == 429);
    assert_eq!(rig.gateway.get_as("/quick", &two).status, 204);
    client.send(rest);
    assert_eq!(client.read().status, 200);
    wait_until("its end", || rig.gateway.get_as("/quick", &one).status == 204);
}

#[test]
fn refusals_are_the_same_and_count_for_no_limit() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .http(ZONES)
            .directives(PREACCESS)
            .directives("limit_req zone=user;")
            .location(
                "/scoped",
                &judged(
                    "phantom_token_scope execute;\nlimit_req zone=user;\ntry_files /none =204;",
                ),
            )
    });
    rig.server.script("failing", Script::status(500));
    rig.server.script("limited", Script::status(429));
    let token = user(&rig, "one");
    let mut client = rig.gateway.client();
    let body = vec![b'x'; 100_000];
    for method in ["GET", "POST"] {
        let body = if method == "POST" { body.as_slice() } else { b"" };
        let mut ask = |target: &str, bearer: &str| {
            let headers = [("Authorization", bearer)];
            let headers = if bearer.is_empty() { &[][..] } else { &headers[..] };
            client.send_request(method, target, headers, body);
            let response = client.read();
            assert!(client.is_idle());
            response
        };
        for _ in 0..3 {
            Reply::unauthorized(CHALLENGE).assert(&ask("/api", ""));
            Reply::unauthorized(INVALID_TOKEN).assert(&ask("/api", "Bearer unknown"));
            Reply::failure().assert(&ask("/api", "Bearer failing"));
            Reply::unavailable("1").assert(&ask("/api", "Bearer limited"));
            assert_eq!(ask("/scoped", &format!("Bearer {token}")).status, 403);
        }
    }
    assert_eq!(rig.api.count(), 0);
    let (scoped, limited) = (rig.get_as(&token), rig.get_as(&token));
    assert_eq!((scoped.status, limited.status), (200, 429), "the first that counts");
}

#[test]
fn addresses_are_refused_after_the_token() {
    let rig = rig(|builder| builder.directives("deny all;"));
    let token = rig.server.issue();
    let refused = rig.get_as(&token.token);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("<html>"), "NGINX's own page: {refused:?}");
    assert_eq!((rig.server.introspections(), rig.api.count()), (1, 0), "it costs a call");
    Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as("unknown"));
}

/// What a response says that the module's variables held.
fn said(response: &Response) -> (u16, &str) {
    (response.status, response.header("outcome").unwrap_or("-"))
}

#[test]
fn a_token_is_judged_once_in_a_pass() {
    let rig = rig(|builder| {
        builder
            .http("phantom_token_cache off;")
            .directives(
                "add_header Outcome \"$phantom_token_status $phantom_token_reason\" always;",
            )
            .location("/quick", &judged("try_files /none =204;"))
            .location(
                "/again",
                &judged(
                    "phantom_token_bypass $limit_req_status;\nlimit_req zone=user;\n\
                     add_header Sent $http_authorization always;\ntry_files /none =204;",
                ),
            )
            .location("= /status", "phantom_token_status;")
    });
    let token = rig.server.issue();
    let response = rig.get_as(&token.token);
    assert_eq!(said(&response), (200, "MISS cache_off"));
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    // The access handler would take the JWT for a token.
    assert_eq!(rig.gateway.get_as("/quick", &token.token).status, 204);
    // Nor does it ask what lets a request pass, of which the limits know more by then.
    let again = rig.gateway.get_as("/again", &token.token);
    assert_eq!((again.status, again.header("sent")), (204, Some(&*token.phantom())));
    assert!(rig.server.seen().iter().all(|call| call.token == token.token));
    let metrics = rig.gateway.get("/status", &[]).text();
    assert!(metrics.contains("requests_total{outcome=\"miss\"} 3\n"), "{metrics}");
}

#[test]
fn a_dry_run_says_what_it_would_refuse() {
    let rig = rig(|builder| {
        builder.directives(
            "limit_req zone=user;\nlimit_req_dry_run on;\n\
             add_header Outcome $limit_req_status always;",
        )
    });
    let one = user(&rig, "one");
    assert_eq!(said(&rig.get_as(&one)), (200, "PASSED"));
    assert_eq!(said(&rig.get_as(&one)), (200, "REJECTED_DRY_RUN"));
    assert_eq!(rig.api.count(), 2);
}

#[test]
fn a_delayed_request_goes_on() {
    let rig = rig(|builder| {
        builder
            .http("limit_req_zone $phantom_token_claim_sub zone=slow:1m rate=20r/s;")
            .directives("limit_req zone=slow burst=5;\nadd_header Outcome $limit_req_status;")
    });
    let one = user(&rig, "one");
    assert_eq!(said(&rig.get_as(&one)), (200, "PASSED"));
    wait_until("a delayed one", || said(&rig.get_as(&one)) == (200, "DELAYED"));
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn what_a_limit_refuses_has_a_page_of_its_own() {
    let page = |location: &str| {
        Rig::start(|builder| {
            builder
                .http(ZONES)
                .http("phantom_token_cache off;")
                .directives(PREACCESS)
                .directives(&format!("limit_req zone=user;\nerror_page 429 {location};"))
                .location("= /page", "return 200 \"too many of $phantom_token_claim_sub\\n\";")
                .location("@page", "return 429 \"too many\\n\";")
                .location("= /judged", &judged("limit_req zone=user;\nroot .;"))
                .file("judged", "judged\n")
        })
    };
    for (location, status, text) in [
        ("/page", 429, "too many of one\n"),
        ("=200 /page", 200, "too many of one\n"),
        ("= @page", 429, "too many\n"),
        // It is judged again, and asks nothing again; nor does the limit count again.
        ("=200 /judged", 200, "judged\n"),
    ] {
        let rig = page(location);
        let one = user(&rig, "one");
        assert_eq!(rig.get_as(&one).status, 200);
        let limited = rig.get_as(&one);
        assert_eq!((limited.status, limited.text().as_str()), (status, text), "{location}");
        assert_eq!(limited.header("www-authenticate"), None, "a token would not help");
        assert_eq!((rig.server.introspections(), rig.api.count()), (2, 1), "one a request");
    }
}

#[test]
fn the_real_address_is_known_by_then() {
    let real = "set_real_ip_from 127.0.0.1;\nreal_ip_header X-Real-IP;";
    let rig = rig(|builder| {
        builder
            .http("map $remote_addr $from_friends {\ndefault 0;\n192.0.2.7 1;\n}")
            .http("limit_req_zone $phantom_token_claim_sub$remote_addr zone=place:1m rate=1r/m;")
            // In the location: in the server it would have run long before.
            .directives(real)
            .directives("phantom_token_bypass $from_friends;\nlimit_req zone=place;")
    });
    let one = user(&rig, "one");
    let ask = |address: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        rig.gateway.get("/api/echo", &[("Authorization", &bearer), ("X-Real-IP", address)]).status
    };
    assert_eq!(ask("192.0.2.7", "unknown"), 200, "the bypass sees it");
    assert_eq!(ask("192.0.2.7", "unknown"), 429, "and so does the limit");
    assert_eq!(ask("192.0.2.8", "unknown"), 401);
    assert_eq!(ask("192.0.2.8", &one), 200);
    assert_eq!(ask("192.0.2.9", &one), 200);
    assert_eq!(ask("192.0.2.8", &one), 429);
}

#[test]
fn what_passes_unjudged_has_no_key() {
    let rig = rig(|builder| {
        builder
            .http("map $http_x_let_in $let_in {\ndefault 0;\nyes 1;\n}")
            .directives("phantom_token_bypass $let_in;\nlimit_req zone=user;")
    });
    for _ in 0..3 {
        let mut client = rig.gateway.client();
        client.send_request("OPTIONS", "/api/echo", &[("Authorization", "Bearer unknown")], b"");
        assert_eq!(client.read().status, 200);
        assert_eq!(rig.api.last().authorization(), [""; 0]);
        let headers = [("Authorization", "Bearer unknown"), ("X-Let-In", "yes")];
        assert_eq!(rig.gateway.get("/api/echo", &headers).status, 200);
        assert_eq!(rig.api.last().authorization(), ["Bearer unknown"], "as it came");
    }
    assert_eq!(rig.server.introspections(), 0);
}

#[test]
fn subrequests_are_not_judged() {
    let rig = rig(|builder| {
        let part = judged("internal;\nphantom_token_scope execute;\nlimit_req zone=user;\n$api");
        let api = "proxy_pass http://127.0.0.1:$http_x_port;";
        builder
            .http("phantom_token_cache off;")
            .directives("mirror /part/mirrored;\nauth_request /part/verdict;\nlimit_req zone=user;")
            .location("/part", &part.replace("$api", api))
            .location("= /page.shtml", &judged("root .;\nssi on;\nssi_types *;"))
            .file(
                "page.shtml",
                "<!--#include virtual=\"/part/echo?n=1\" --><!--#include virtual=\"/part/echo?n=2\" -->",
            )
    });
    let port = rig.api.url().rsplit(':').next().unwrap().to_owned();
    let ask = |target: &str, token: &str| {
        let headers = [("Authorization", &*format!("Bearer {token}")), ("X-Port", &*port)];
        rig.gateway.get(target, &headers)
    };
    let token = rig.server.mint(Mint::new().claim("sub", "one"));
    // Neither scope nor limit of `/part` is asked again: the main request has passed its own.
    assert_eq!(ask("/api", &token.token).status, 200);
    wait_until("all three requests", || rig.api.count() == 3);
    assert!(rig.api.received().iter().all(|one| one.authorization() == [token.phantom()]));
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(ask("/api", &token.token).status, 429);
    assert_eq!((rig.server.introspections(), rig.api.count()), (2, 3));

    // A main request without a limit: one part of it is counted, as NGINX does it.
    let other = rig.server.mint(Mint::new().claim("sub", "two"));
    let page = ask("/page.shtml", &other.token);
    assert_eq!(page.text().matches("\"target\"").count(), 2, "{page:?}");
    let page = ask("/page.shtml", &other.token);
    assert_eq!(page.text().matches("\"target\"").count(), 1, "{page:?}");
    assert_eq!(rig.server.introspections(), 4, "one for each request");
}

#[test]
fn if_and_limit_except_switch_it() {
    let api = "proxy_pass http://127.0.0.1:$http_x_port;";
    let judged = |rest: &str| judged(&rest.replace("$api", api));
    let rig = rig(|builder| {
        builder
            .location(
                "/if",
                &judged(
                    "limit_req zone=user;\n\
                     if ($arg_open) {\nphantom_token off;\n}\n\
                     if ($arg_scope) {\nphantom_token_scope execute;\n}\n\
                     $api",
                ),
            )
            .location(
                "/on",
                &format!(
                    "{PREACCESS}\nlimit_req zone=user;\nif ($arg_on) {{\nphantom_token on;\n}}\n{api}"
                ),
            )
            .location(
                "/except",
                &judged(
                    "limit_req zone=user;\n\
                     limit_except GET {\nphantom_token_scope execute;\n}\n\
                     $api",
                ),
            )
    });
    let ask = |method: &str, target: &str, token: &str| {
        let mut client = rig.gateway.client();
        let port = rig.api.url().rsplit(':').next().unwrap().to_owned();
        let headers = [("Authorization", &*format!("Bearer {token}")), ("X-Port", &*port)];
        client.send_request(method, target, &headers, b"");
        client.read().status
    };
    let one = user(&rig, "one");
    for _ in 0..2 {
        assert_eq!(ask("GET", "/if/echo?open=1", "unknown"), 200);
        assert_eq!(ask("GET", "/if/echo?scope=1", &one), 403);
        assert_eq!(ask("GET", "/on/echo", "unknown"), 200);
        assert_eq!(ask("GET", "/on/echo?on=1", "unknown"), 401);
        assert_eq!(ask("POST", "/except", &one), 403);
    }
    assert_eq!(ask("GET", "/if/echo", &one), 200);
    assert_eq!(ask("GET", "/if/echo", &one), 429);
    assert_eq!(ask("GET", "/on/echo?on=1", &one), 429);
    assert_eq!(ask("GET", "/except/echo", &one), 429);
}

#[test]
fn over_http2_too() {
    let rig = rig(|builder| builder.http2().directives("limit_req zone=user;"));
    let one = user(&rig, "one");
    let ask = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let url = format!("{}/api", rig.gateway.http2_url());
        let told = curl(&[
            "--http2-prior-knowledge",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
            "-H",
            &header,
            &url,
        ]);
        told.output
    };
    assert_eq!(ask("unknown"), "2 401");
    assert_eq!(ask(&one), "2 200");
    assert_eq!(ask(&one), "2 429");
}

#[test]
fn a_token_s_id_is_a_key() {
    // The trap of `limit_conn`: NGINX writes longer keys to the log, so a token is no key; its id is.
    let rig = rig(|builder| {
        builder
            .http("limit_req_zone $phantom_token_id zone=token:1m rate=1r/m;")
            .directives("limit_req zone=token;")
    });
    let (one, other) = (user(&rig, "one"), user(&rig, "one"));
    assert_eq!(statuses(&rig.gateway, "/api", &one, 2), [200, 429]);
    assert_eq!(statuses(&rig.gateway, "/api", &other, 2), [200, 429]);
}
