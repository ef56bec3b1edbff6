//! Redirects inside NGINX (`try_files`, `error_page`, `X-Accel-Redirect`, named locations): each pass sees the
//! request as its client sent it, and never what an earlier pass made of it.

use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN, UNAUTHORIZED};
use phantom_token_test::server::{After, Exchange, Server, Service};
use phantom_token_test::{
    Api, AuthorizationServer, Gateway, Mint, Reply, Response, Rig, Script, api, curl, port,
};

/// The map that the documentation shows for `phantom_token_bypass`.
const HAS_JWT: &str = "map $http_authorization $has_jwt {\n\
     default 0;\n\
     \"~*^bearer +[a-z0-9_-]+\\.[a-z0-9_-]+\\.[a-z0-9_-]+ *$\" 1;\n\
     }";

/// The map that calls requests without credentials anonymous.
const ANONYMOUS: &str = "map $http_authorization $anonymous {\ndefault 0;\n\"\" 1;\n}";

/// The same of a variable that the rewrite phase sets.
const T_IS_JWT: &str = "map $t $t_is_jwt {\ndefault 0;\n\"~^Bearer [^.]+\\.[^.]+\\.\" 1;\n}";

/// The ways into another location. Each is a location that is on and lets every good token pass.
const WAYS: [&str; 5] = ["/uri", "/named", "/error", "/named-error", "/accel"];

/// A gateway with all [`WAYS`] into `target`, which also stands at `/target`; nothing is cached, so that
/// every question is a call. `$api` is `proxy_pass` to the API.
fn redirecting(target: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    let api = Api::start();
    let server = AuthorizationServer::start();
    let target = target.replace("$api", &format!("proxy_pass {};", api.url()));
    let builder = Gateway::builder()
        .protect(&server, &api)
        .http("phantom_token_cache off;")
        .location("/uri", "phantom_token on;\ntry_files /none /target;")
        .location("/named", "phantom_token on;\ntry_files /none @target;")
        .location("/error", "phantom_token on;\nerror_page 404 = /target;\ntry_files /none =404;")
        .location(
            "/named-error",
            "phantom_token on;\nerror_page 404 = @target;\ntry_files /none =404;",
        )
        .location(
            "/accel",
            &format!("phantom_token on;\nproxy_pass http://{};", sending_on().address()),
        )
        .location("/target", &target)
        .location("@target", &target);
    Rig { gateway: change(builder).start(), server, api }
}

/// An upstream that sends every request to `/target`.
fn sending_on() -> &'static Server {
    struct SendingOn;
    impl Service for SendingOn {
        fn serve(&self, exchange: &mut Exchange<'_>) -> std::io::Result<After> {
            exchange.respond(200, &[("X-Accel-Redirect", "/target")], b"")?;
            Ok(After::Close)
        }
    }
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::listen((Ipv4Addr::LOCALHOST, 0).into(), None, Arc::new(SendingOn)).expect("listens")
    })
}

/// GET with this Authorization header.
fn ask(rig: &Rig, target: &str, authorization: &str) -> Response {
    rig.gateway.get(target, &[("Authorization", authorization)])
}

fn in_every_way(mut check: impl FnMut(&str)) {
    for way in WAYS {
        eprintln!("by {way}");
        check(way);
    }
}

#[test]
fn a_bypass_for_jwts_is_no_way_past_the_scope() {
    let target = "phantom_token on;\nphantom_token_scope execute;\n\
                  phantom_token_bypass $has_jwt;\n$api";
    let rig = redirecting(target, |builder| builder.http(HAS_JWT));
    let token = rig.server.issue();
    in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 403));
    assert_eq!(rig.api.count(), 0);
    let able = rig.server.mint(Mint::new().scope("execute"));
    in_every_way(|way| assert_eq!(ask(&rig, way, &able.bearer()).status, 200));
}

#[test]
fn nor_by_a_map_whose_value_an_earlier_pass_has_used() {
    // The map is evaluated when the first pass sends its header upstream, with the JWT in it.
    let target = "phantom_token on;\nphantom_token_scope execute;\n\
                  phantom_token_bypass $has_jwt;\n$api";
    let rig = redirecting(target, |builder| {
        builder.http(HAS_JWT).http("proxy_set_header X-Has-Jwt $has_jwt;")
    });
    let token = rig.server.issue();
    assert_eq!(ask(&rig, "/accel", &token.bearer()).status, 403);
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn nor_over_http2() {
    let target = "phantom_token on;\nphantom_token_scope execute;\n\
                  phantom_token_bypass $has_jwt;\n$api";
    let rig = redirecting(target, |builder| builder.http(HAS_JWT).http2());
    let token = rig.server.issue();
    in_every_way(|way| {
        let url = format!("{}{way}", rig.gateway.http2_url());
        let header = format!("Authorization: {}", token.bearer());
        let status = curl(&[
            "--http2-prior-knowledge",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--header",
            &header,
            &url,
        ]);
        assert_eq!(status.output, "403", "{status:?}");
    });
}

#[test]
fn the_jwt_is_no_token() {
    let target = "phantom_token on token=$bare;\n$api";
    let map =
        "map $http_authorization $bare {\ndefault \"\";\n\"~*^bearer +(?<rest>.+)$\" $rest;\n}";
    let rig = redirecting(target, |builder| builder.http(map));
    let token = rig.server.issue();
    in_every_way(|way| {
        let before = rig.server.introspections();
        assert_eq!(ask(&rig, way, &token.bearer()).status, 200);
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
        assert_eq!(rig.server.introspections(), before + 1, "and nothing is asked twice");
    });
    assert!(rig.server.seen().iter().all(|seen| seen.token == token.token));
}

#[test]
fn nor_a_credential_for_the_authorization_server() {
    let target = "phantom_token on;\n\
                  phantom_token_introspection_header X-Presented $http_authorization;\n\
                  phantom_token_introspection_param presented $http_authorization;\n$api";
    let rig = redirecting(target, |builder| builder);
    let token = rig.server.issue();
    in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 200));
    let keyed: Vec<_> = rig
        .server
        .seen()
        .into_iter()
        .filter_map(|seen| {
            assert!(!String::from_utf8_lossy(&seen.body).contains(&token.jwt));
            seen.head.headers.get("x-presented").map(str::to_owned)
        })
        .collect();
    assert_eq!(keyed, vec![token.bearer(); WAYS.len()]);
}

#[test]
fn who_had_a_header_is_not_anonymous() {
    let target = "phantom_token on;\nphantom_token_scope execute;\n\
                  phantom_token_bypass $anonymous;\n$api";
    let none = |builder: Builder| builder.http(ANONYMOUS).http("phantom_token_forward none;");
    let rig = redirecting(target, none);
    let token = rig.server.issue();
    in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 403));
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn who_had_no_header_still_has_none() {
    let target = "phantom_token on;\nphantom_token_bypass $anonymous;\n$api";
    let rig = redirecting(target, |builder| {
        builder
            .http(ANONYMOUS)
            .location("/cookie", "phantom_token on token=$cookie_t;\ntry_files /none /target/echo;")
    });
    let token = rig.server.issue();
    let cookie = format!("t={}", token.token);
    assert_eq!(rig.gateway.get("/cookie", &[("Cookie", &cookie)]).status, 200);
    assert_eq!(rig.api.last().authorization(), [""; 0]);
}

#[test]
fn what_is_let_in_on_other_grounds_goes_on_as_it_came() {
    for (http, target) in [
        ("", "phantom_token on;\nphantom_token_bypass yes;\n$api"),
        ("", "phantom_token on;\nsatisfy any;\nallow all;\n$api"),
        ("phantom_token_forward none;", "phantom_token on;\nphantom_token_bypass yes;\n$api"),
    ] {
        let rig = redirecting(target, |builder| builder.http(http));
        let token = rig.server.issue();
        let odd = format!("bEARER   {} ", token.token);
        in_every_way(|way| {
            let before = rig.api.count();
            let mut client = rig.gateway.client();
            client.send_request("GET", way, &[("AUTHORIZATION", &odd), ("X-After", "1")], b"");
            client.read();
            assert_eq!(rig.api.count(), before + 1);
            let fields = rig.api.last().head.headers.0.clone();
            let came: Vec<_> =
                fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case("authorization")).collect();
            let want = ("AUTHORIZATION".to_owned(), odd.trim_end().to_owned());
            assert_eq!(came, [&want], "{fields:?}");
            assert!(fields.iter().any(|(name, _)| name == "X-After"), "{fields:?}");
        });
    }
}

#[test]
fn the_rewrite_phase_sees_what_the_client_sent() {
    for target in [
        // By `set`, and by `if`.
        "set $t $http_authorization;\nphantom_token on;\nphantom_token_scope execute;\n\
         phantom_token_bypass $t_is_jwt;\n$api",
        "set $open 0;\nif ($http_authorization ~* \"^bearer +[^.]+\\.[^.]+\\.\") {\nset $open 1;\n}\n\
         phantom_token on;\nphantom_token_scope execute;\nphantom_token_bypass $open;\n$api",
    ] {
        let rig = redirecting(target, |builder| builder.http(T_IS_JWT).server("set $t \"\";"));
        let token = rig.server.issue();
        in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 403));
        assert_eq!(rig.api.count(), 0);
    }
}

#[test]
fn so_does_the_servers_own_rewrite_phase() {
    let target = "phantom_token on;\nphantom_token_scope execute;\n\
                  phantom_token_bypass $open;\n$api";
    let rig = redirecting(target, |builder| {
        builder.server(
            "set $open 0;\nif ($http_authorization ~* \"^bearer +[^.]+\\.[^.]+\\.\") {\nset $open 1;\n}",
        )
    });
    let token = rig.server.issue();
    in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 403));
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn a_token_set_in_the_rewrite_phase_is_the_clients() {
    let target = "set $t \"\";\n\
                  if ($http_authorization ~ \"^Bearer (?<bare>.+)$\") {\nset $t $bare;\n}\n\
                  phantom_token on token=$t;\n$api";
    let rig = redirecting(target, |builder| builder);
    let token = rig.server.issue();
    in_every_way(|way| {
        assert_eq!(ask(&rig, way, &token.bearer()).status, 200);
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    });
    assert!(rig.server.seen().iter().all(|seen| seen.token == token.token));
    assert_eq!(rig.server.introspections(), WAYS.len() as u64);
}

#[test]
fn where_it_is_off_the_jwt_stays_for_the_rewrite_phase_too() {
    let target = "phantom_token off;\nset $t $http_authorization;\n\
                  proxy_set_header X-Set $t;\nproxy_set_header X-Map $has_jwt;\n$api";
    let rig = redirecting(target, |builder| builder.http(HAS_JWT).server("set $t \"\";"));
    let token = rig.server.issue();
    in_every_way(|way| {
        assert_eq!(ask(&rig, way, &token.bearer()).status, 200);
        let last = rig.api.last();
        assert_eq!(last.authorization(), [token.phantom()]);
        assert_eq!(last.head.headers.get("x-set"), Some(&*token.phantom()));
        assert_eq!(last.head.headers.get("x-map"), Some("1"));
    });
}

#[test]
fn where_it_is_off_a_removed_header_stays_away() {
    let target = "phantom_token off;\nproxy_set_header X-Set \"[$http_authorization]\";\n$api";
    let rig = redirecting(target, |builder| builder.http("phantom_token_forward none;"));
    let token = rig.server.issue();
    in_every_way(|way| {
        ask(&rig, way, &token.bearer());
        let last = rig.api.last();
        assert_eq!(last.authorization(), [""; 0]);
        assert_eq!(last.head.headers.get("x-set"), Some("[]"));
    });
}

#[test]
fn switched_off_by_if_the_jwt_goes_on() {
    let target = "phantom_token on;\nif ($request_method = GET) {\nphantom_token off;\n}\n$api";
    let rig = redirecting(target, |builder| builder);
    let token = rig.server.issue();
    in_every_way(|way| {
        assert_eq!(ask(&rig, way, &token.bearer()).status, 200);
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    });
}

#[test]
fn switched_on_by_if_the_clients_header_counts() {
    let target = "set $t $http_authorization;\nphantom_token_bypass $t_is_jwt;\n\
                  if ($request_method = GET) {\nphantom_token on;\nphantom_token_scope execute;\n}\n\
                  $api";
    let rig = redirecting(target, |builder| builder.http(T_IS_JWT).server("set $t \"\";"));
    let token = rig.server.issue();
    in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 403));
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn switched_on_by_limit_except_the_clients_header_counts() {
    let target = "phantom_token_bypass $has_jwt;\n\
                  limit_except POST {\nphantom_token on;\nphantom_token_scope execute;\n}\n$api";
    let rig = redirecting(target, |builder| builder.http(HAS_JWT));
    let token = rig.server.issue();
    in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 403));
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn a_changed_uri_leads_from_off_to_on() {
    let rig = redirecting("phantom_token off;\nrewrite ^ /judged last;", |builder| {
        let judged = "set $t $http_authorization;\nphantom_token on;\n\
                      phantom_token_scope execute;\n\
                      phantom_token_bypass $has_jwt $t_is_jwt;\ntry_files /none =204;";
        builder.http(HAS_JWT).http(T_IS_JWT).server("set $t \"\";").location("/judged", judged)
    });
    let token = rig.server.issue();
    in_every_way(|way| assert_eq!(ask(&rig, way, &token.bearer()).status, 403));
}

#[test]
fn a_post_action_sees_the_clients_header() {
    let target = "phantom_token on;\nphantom_token_scope execute;\n\
                  phantom_token_bypass $has_jwt;\n$api";
    let rig =
        redirecting(target, |builder| builder.http(HAS_JWT).directives("post_action /target;"));
    assert_eq!(rig.get_as(&rig.server.issue().token).status, 200);
    // The access log is written when all is over.
    rig.gateway.wait_for_access("/api");
    assert_eq!(rig.api.count(), 1);
    assert_eq!(rig.get_as(&rig.server.mint(Mint::new().scope("execute")).token).status, 200);
    wait_until("the action", || rig.api.count() == 3);
}

#[test]
fn an_error_page_of_a_refusal_gets_what_came() {
    let rig = redirecting("phantom_token off;\n$api", |builder| {
        builder.location(
            "/scoped",
            "phantom_token on;\nphantom_token_scope execute;\nerror_page 403 = /target/echo;\n\
             try_files /none =204;",
        )
    });
    let token = rig.server.issue();
    assert_eq!(ask(&rig, "/scoped", &token.bearer()).status, 200);
    assert_eq!(rig.api.last().authorization(), [token.bearer()]);
}

#[test]
fn so_does_that_of_a_refusal_after_a_grant() {
    for forward in ["jwt", "none"] {
        let rig = redirecting("phantom_token off;\n$api", |builder| {
            let scoped = "phantom_token on;\nphantom_token_scope execute;\n\
                          error_page 403 = /target/echo;\ntry_files /none =204;";
            builder
                .http(&format!("phantom_token_forward {forward};"))
                .location("/scoped", scoped)
                .location("/first", "phantom_token on;\ntry_files /none /scoped;")
        });
        let token = rig.server.issue();
        assert_eq!(ask(&rig, "/first", &token.bearer()).status, 200);
        assert_eq!(rig.api.last().authorization(), [token.bearer()], "{forward}");
    }
}

#[test]
fn options_are_as_they_came_in_the_next_pass() {
    let rig = redirecting("phantom_token on;\nphantom_token_bypass yes;\n$api", |builder| builder);
    for way in ["/uri", "/named", "/error"] {
        let mut client = rig.gateway.client();
        client.send_request("OPTIONS", way, &[("Authorization", "Basic dTpw")], b"");
        client.read();
        assert_eq!(rig.api.last().authorization(), ["Basic dTpw"], "{way}");
    }
}

#[test]
fn a_grant_that_expired_meanwhile_is_refused() {
    let unkept = "phantom_token_cache_valid 0;";
    for (valid, expired) in [(unkept, true), ("", true), ("", false), (unkept, false)] {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (reached, at) = std::sync::mpsc::channel();
        let upstream = api::redirecting_once(move || {
            reached.send(()).expect("the test waits");
            gone.recv().expect("the test says when");
        });
        let api = Api::start();
        let server = AuthorizationServer::start();
        let slow = format!("phantom_token on;\nproxy_pass http://127.0.0.1:{upstream};");
        let gateway = Gateway::builder()
            .protect(&server, &api)
            .own_clock()
            .http(valid)
            .location("/slow", &slow)
            .location("/target", &format!("phantom_token on;\nproxy_pass {};", api.url()))
            .start();
        let token = server.mint(Mint::new().expires_in(1000));
        let mut client = gateway.client();
        client.send_request("GET", "/slow", &[("Authorization", &token.bearer())], b"");
        at.recv().expect("the request reaches the upstream");
        gateway.set_clock(if expired { 2000 } else { 500 });
        go.send(()).expect("the upstream waits");
        let answer = client.read();
        if expired {
            Reply::unauthorized(INVALID_TOKEN).assert(&answer);
        } else {
            // Longer than any answer is kept: what was learnt counts for the request.
            assert_eq!(answer.status, 200);
        }
        assert_eq!((server.introspections(), api.count()), (1, usize::from(!expired)));
    }
}

#[test]
fn nothing_is_asked_or_counted_twice() {
    // Another zone has other hashes for the same token and the same identity.
    let target = "phantom_token on;\nphantom_token_cache second;\n$api";
    let rig = redirecting(target, |builder| {
        builder
            .http("phantom_token_cache_zone zone=second:1m;")
            .location(
                "/failing",
                "phantom_token on;\nerror_page 401 500 = /target;\ntry_files /none =204;",
            )
            .location("/metrics", "phantom_token_status;")
    });
    let token = rig.server.issue();
    in_every_way(|way| {
        let asked = rig.server.introspections();
        assert_eq!(ask(&rig, way, &token.bearer()).status, 200);
        assert_eq!(rig.server.introspections(), asked + 1);
    });
    rig.server.script("failing", Script::status(500));
    let before = rig.gateway.metrics();
    assert_eq!(ask(&rig, "/failing", "Bearer failing").status, 500);
    assert_eq!(ask(&rig, "/failing", "Bearer unknown").status, 401);
    let changes = rig.gateway.metrics().since(&before);
    let counted = |name: &str| {
        changes.iter().filter(|(n, _)| n.starts_with(name)).map(|(_, v)| v).sum::<f64>()
    };
    assert_eq!(rig.server.introspections_of("failing"), 1);
    assert_eq!(rig.server.introspections_of("unknown"), 1);
    assert_eq!(counted("requests_total"), 2.0, "{changes:?}");
    assert_eq!(counted("introspections_total"), 2.0, "{changes:?}");
    assert_eq!(counted("failures_total"), 1.0, "{changes:?}");
}

#[test]
fn a_refusal_after_a_response_that_was_given_up_is_whole() {
    // NGINX empties the response's headers where a filter fails, ours among them.
    let rig = redirecting("phantom_token on;\nadd_header X-Added 1 always;\n$api", |builder| {
        builder.file("page", "a page").file("passwords", "user:{PLAIN}pass\n").location(
            "/page",
            "phantom_token on;\nsatisfy any;\nauth_basic closed;\n\
                 auth_basic_user_file passwords;\nroot .;\nerror_page 412 = /target;",
        )
    });
    // user:pass
    let basic = ("Authorization", "Basic dXNlcjpwYXNz");
    assert_eq!(rig.gateway.get("/page", &[basic]).status, 200);
    let refused = rig.gateway.get("/page", &[basic, ("If-Match", "\"another\"")]);
    assert_eq!((refused.status, refused.text().as_str()), (401, UNAUTHORIZED));
    assert_eq!(refused.header("www-authenticate"), Some(CHALLENGE));
    assert_eq!(refused.header("x-added"), Some("1"));
    assert_eq!(refused.header("cache-control"), Some("no-store"));
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
fn a_second_refusal_takes_the_challenge_of_the_first_away() {
    let nobody = port::free();
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
