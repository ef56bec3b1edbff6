//! Redirects inside NGINX between locations that judge tokens before the limits, in the access phase, and
//! not at all: each pass is judged once, where its location says, and a limit counts a request once.

use phantom_token_test::nginx::Builder;
use phantom_token_test::rig::{FORBIDDEN, INVALID_TOKEN};
use phantom_token_test::{Api, AuthorizationServer, Gateway, Mint, Reply, Response, Rig};

const PREACCESS: &str = "phantom_token on;\nphantom_token_phase preaccess;";
const ACCESS: &str = "phantom_token on;\nphantom_token_phase access;";
const OFF: &str = "phantom_token off;";

/// The ways from a location into `/target` or `@target`.
const WAYS: [&str; 5] = ["/uri", "/named", "/error", "/named-error", "/accel"];

/// A gateway with all [`WAYS`]: from locations of the one kind into those of another. Nothing is cached,
/// so that every question is a call. `$api` is `proxy_pass` to the API.
fn redirecting(from: &str, target: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    let (api, server) = (Api::start(), AuthorizationServer::start());
    let target = target.replace("$api", &format!("proxy_pass {};", api.url()));
    let builder = Gateway::builder()
        .protect(&server, &api)
        .http("phantom_token_cache off;")
        .http("limit_req_zone $phantom_token_claim_sub zone=user:1m rate=1r/m;")
        .http("limit_req_status 429;")
        .location("/uri", &format!("{from}\ntry_files /none /target;"))
        .location("/named", &format!("{from}\ntry_files /none @target;"))
        .location("/error", &format!("{from}\nerror_page 404 = /target;\ntry_files /none =404;"))
        .location(
            "/named-error",
            &format!("{from}\nerror_page 404 = @target;\ntry_files /none =404;"),
        )
        .location("/accel", &format!("{from}\nproxy_pass http://127.0.0.1:$server_port/sender;"))
        .location("/sender", "add_header X-Accel-Redirect /target;\nreturn 200;")
        .location("/target", &target)
        .location("@target", &target);
    Rig { gateway: change(builder).start(), server, api }
}

fn user(rig: &Rig, way: &str) -> (String, String) {
    let token = rig.server.mint(Mint::new().claim("sub", way));
    (token.bearer(), token.phantom())
}

fn ask(rig: &Rig, way: &str, bearer: &str) -> Response {
    rig.gateway.get(way, &[("Authorization", bearer)])
}

/// From each kind of location into each that judges, with these words of the target's own.
fn between(target: &str, mut check: impl FnMut(&Rig, &str)) {
    for from in [PREACCESS, ACCESS, OFF] {
        for into in [PREACCESS, ACCESS] {
            if (from, into) == (ACCESS, ACCESS) {
                continue;
            }
            let rig = redirecting(from, &format!("{into}\n{target}"), |builder| builder);
            for way in WAYS {
                eprintln!("from {from:?} into {into:?} by {way}");
                check(&rig, way);
            }
        }
    }
}

#[test]
fn the_opaque_token_is_judged_in_each() {
    between("$api", |rig, way| {
        let (bearer, phantom) = user(rig, way);
        let calls = rig.server.introspections();
        assert_eq!(ask(rig, way, &bearer).status, 200);
        assert_eq!(rig.api.last().authorization(), [phantom]);
        assert_eq!(rig.server.introspections(), calls + 1, "nothing is asked twice");
        let last = rig.server.seen().pop().expect("a call");
        assert_eq!(format!("Bearer {}", last.token), bearer, "never the JWT");
        let count = rig.api.count();
        Reply::unauthorized(INVALID_TOKEN).assert(&ask(rig, way, "Bearer unknown"));
        assert_eq!(rig.api.count(), count);
    });
}

#[test]
fn the_location_it_arrives_in_says_what_it_asks_for() {
    between("phantom_token_scope execute;\n$api", |rig, way| {
        let (bearer, _) = user(rig, way);
        let refused = ask(rig, way, &bearer);
        assert_eq!((refused.status, refused.text().as_str()), (403, FORBIDDEN));
        assert_eq!(refused.headers.all("www-authenticate").count(), 1);
    });
}

#[test]
fn where_it_is_off_the_jwt_goes_on() {
    let rig = redirecting(PREACCESS, &format!("{OFF}\n$api"), |builder| builder);
    for way in WAYS {
        let (bearer, phantom) = user(&rig, way);
        assert_eq!(ask(&rig, way, &bearer).status, 200);
        assert_eq!(rig.api.last().authorization(), [phantom], "{way}");
    }
}

#[test]
fn a_limit_counts_a_request_once() {
    let limited = format!("{PREACCESS}\nlimit_req zone=user;");
    let rig = redirecting(&limited, &format!("{limited}\n$api"), |builder| builder);
    for way in WAYS {
        let (bearer, _) = user(&rig, way);
        assert_eq!(ask(&rig, way, &bearer).status, 200, "{way}");
        assert_eq!(ask(&rig, way, &bearer).status, 429, "{way}");
    }
}

#[test]
fn the_limit_of_a_later_pass_counts_where_that_pass_is_judged_first() {
    for (from, into, second) in [
        (ACCESS, PREACCESS, 429),
        (PREACCESS, PREACCESS, 429),
        (OFF, PREACCESS, 429),
        // Nothing is known when it asks.
        (OFF, ACCESS, 200),
    ] {
        let target = format!("{into}\nlimit_req zone=user;\n$api");
        let rig = redirecting(from, &target, |builder| builder);
        for way in WAYS {
            let (bearer, _) = user(&rig, way);
            assert_eq!(ask(&rig, way, &bearer).status, 200, "{from:?} {into:?} {way}");
            assert_eq!(ask(&rig, way, &bearer).status, second, "{from:?} {into:?} {way}");
        }
    }
}

#[test]
fn another_s_token_of_an_earlier_pass_is_not_what_is_limited() {
    // The second location reads its token elsewhere: its user is who is counted there.
    let target = "phantom_token on token=$http_x_other;\nphantom_token_phase preaccess;\n\
                  limit_req zone=user;\n$api";
    let rig = redirecting(PREACCESS, target, |builder| builder);
    let first = rig.server.mint(Mint::new().claim("sub", "first"));
    let [second, third] =
        ["second", "third"].map(|sub| rig.server.mint(Mint::new().claim("sub", sub)).token);
    let ask = |other: &str| {
        let headers = [("Authorization", &*first.bearer()), ("X-Other", other)];
        rig.gateway.get("/uri", &headers).status
    };
    assert_eq!([ask(&second), ask(&second)], [200, 429]);
    assert_eq!([ask(&third), ask(&third)], [200, 429]);
}

#[test]
fn a_refusal_goes_to_its_error_page() {
    for page in [PREACCESS, ACCESS, OFF] {
        let rig = Rig::start(|builder| {
            builder
                .http("phantom_token_cache off;")
                .directives("phantom_token_phase preaccess;\nerror_page 401 /page;")
                .location("= /page", &format!("{page}\nroot .;"))
                .file("page", "my own words\n")
        });
        for token in ["", "Bearer unknown"] {
            let refused = rig.gateway.get("/api", &[("Authorization", token)]);
            assert_eq!(refused.status, 401, "{page:?}");
            let own = if page == OFF { "my own words\n" } else { "" };
            assert!(own.is_empty() || refused.text() == own, "{page:?} {refused:?}");
            assert_eq!(refused.headers.all("www-authenticate").count(), 1, "{page:?}");
        }
        assert_eq!(rig.server.introspections_of("unknown"), 1, "{page:?}");
    }
}

#[test]
fn a_failure_is_kept_and_so_is_the_connection() {
    for page in [PREACCESS, ACCESS, OFF] {
        let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
            builder
                .endpoint(&format!("{} max_fails=0", server.introspection_url()))
                .http("phantom_token_cache off;")
                .directives("phantom_token_phase preaccess;\nerror_page 500 /page;")
                .location("= /page", &format!("{page}\nroot .;"))
                .file("page", "my own words\n")
        });
        rig.server.script("failing", phantom_token_test::Script::status(500));
        let mut client = rig.gateway.client();
        for call in 1..4 {
            assert_eq!(client.get_as("/api", "failing").status, 500, "{page:?}");
            assert!(client.is_idle());
            assert_eq!(rig.server.introspections_of("failing"), call, "{page:?}");
        }
        assert_eq!(rig.api.count(), 0);
    }
}
