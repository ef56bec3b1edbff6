//! The module among NGINX's own: `error_page`, `satisfy`, redirects, subrequests, variables.

use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN, UNAUTHORIZED};
use phantom_token_test::{AuthorizationServer, Reply, Rig, Script};

#[test]
fn error_page_wins_over_the_body_and_the_challenge_stays() {
    let rig = Rig::start(|builder| {
        builder
            .directives("error_page 401 /custom;\nerror_page 500 503 =502 /custom;")
            .location("= /custom", "internal;\nreturn 200 \"my own words\\n\";")
    });
    let refused = rig.gateway.get("/api", &[]);
    assert_eq!((refused.status, refused.text().as_str()), (401, "my own words\n"));
    assert_eq!(refused.header("www-authenticate"), Some(CHALLENGE));
    rig.server.script("failing", Script::status(500));
    let failed = rig.get_as("failing");
    assert_eq!((failed.status, failed.text().as_str()), (502, "my own words\n"));
}

#[test]
fn an_error_page_that_sends_clients_elsewhere_keeps_the_challenge() {
    let page = "https://login.example.com/";
    for phase in ["access", "preaccess"] {
        let rig = Rig::start(|builder| {
            builder
                .directives(&format!("phantom_token_phase {phase};\nerror_page 401 500 {page};"))
                .location(
                    "/scoped",
                    &format!(
                        "phantom_token on;\nphantom_token_phase {phase};\n\
                         phantom_token_scope delete;\nerror_page 403 =307 {page};\n\
                         try_files /none =204;"
                    ),
                )
        });
        let token = rig.server.issue().token;
        let of_scope = "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"delete\"";
        rig.server.script("failing", Script::status(500));
        for (response, status, challenge) in [
            (rig.gateway.get("/api", &[]), 302, Some(CHALLENGE)),
            (rig.get_as("unknown"), 302, Some(INVALID_TOKEN)),
            (rig.gateway.get_as("/scoped", &token), 307, Some(of_scope)),
            (rig.get_as("failing"), 302, None),
        ] {
            assert_eq!((response.status, response.header("location")), (status, Some(page)));
            assert_eq!(response.header("www-authenticate"), challenge, "{phase}");
        }
    }
}

/// The module and `auth_basic` refuse the request, a third lets it in, and the content is elsewhere. NGINX
/// hides the challenges of all modules then, and before 1.23 that of the last one.
#[test]
fn what_was_let_in_and_is_sent_elsewhere_has_no_challenge() {
    let rig = Rig::start(|builder| {
        builder.file("passwords", "").location("= /yes", "return 204;").location(
            "/moved",
            "phantom_token on;\nsatisfy any;\nauth_basic x;\nauth_basic_user_file passwords;\n\
             auth_request /yes;\nerror_page 404 https://other.example.com/;\nroot none;",
        )
    });
    let moved = rig.gateway.get("/moved", &[]);
    assert_eq!((moved.status, moved.header("www-authenticate")), (302, None), "{moved:?}");
}

#[test]
fn an_error_page_under_the_same_protection_asks_once() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .http("phantom_token_cache off;")
            .server("error_page 401 500 /protected;")
            .location("/protected", "phantom_token on;\ntry_files /none =204;")
    });
    rig.server.script("failing", Script::status(500));
    assert_eq!(rig.get_as("failing").status, 500);
    assert_eq!(rig.server.introspections_of("failing"), 1);
    assert_eq!(rig.get_as("unknown").status, 401);
    assert_eq!(rig.server.introspections_of("unknown"), 1);
}

#[test]
fn the_same_status_from_elsewhere_keeps_its_body() {
    let rig = Rig::start(|builder| {
        builder
            .location("/own401", "return 401;")
            .location("/own500", "phantom_token on;\nallow all;\ntry_files /none =500;")
    });
    let own = rig.gateway.get("/own401", &[]);
    assert_eq!(own.status, 401);
    assert_ne!(own.text(), UNAUTHORIZED);
    let token = rig.server.issue();
    let own = rig.gateway.get_as("/own500", &token.token);
    assert_eq!(own.status, 500);
    assert!(own.text().contains("<html>"), "{own:?}");
}

#[test]
fn addresses_are_refused_before_anything_is_asked() {
    let rig = Rig::start(|builder| builder.directives("deny all;"));
    let token = rig.server.issue();
    assert_eq!(rig.get_as(&token.token).status, 403);
    assert_eq!((rig.server.introspections(), rig.api.count()), (0, 0));
}

#[test]
fn satisfy_any_lets_in_by_address_or_by_token() {
    let rig = Rig::start(|builder| builder.directives("satisfy any;\ndeny all;"));
    let token = rig.server.issue();
    rig.assert_passes(&token);
    Reply::unauthorized(CHALLENGE).assert(&rig.gateway.get("/api", &[]));
    Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as("unknown"));

    let open =
        Rig::start(|builder| builder.directives("satisfy any;\nallow 127.0.0.1;\ndeny all;"));
    let bearer = token.bearer();
    let headers = [("Authorization", bearer.as_str())];
    assert_eq!(open.gateway.get("/api/echo", &headers).status, 200);
    assert_eq!(open.api.last().authorization(), [bearer], "the headers go on as they came");
    assert_eq!(open.server.introspections(), 0);
}

#[test]
fn where_it_is_off_the_satisfied_are_still_none() {
    // Off must decline: with `satisfy any`, saying yes would open the door.
    let rig = Rig::start(|builder| {
        builder
            .location("/off", "phantom_token off;\nsatisfy any;\ndeny all;\ntry_files /none =204;")
    });
    assert_eq!(rig.gateway.get("/off", &[]).status, 403);
    let options = Rig::start(|builder| builder.directives("satisfy any;\ndeny all;"));
    let mut client = options.gateway.client();
    client.send_request("OPTIONS", "/api", &[], b"");
    assert_eq!(client.read().status, 403);
    assert_eq!(options.api.count(), 0);
}

#[test]
fn a_redirected_request_is_judged_by_its_opaque_token() {
    let rig = Rig::start(|builder| {
        let api = "proxy_pass http://127.0.0.1:$http_x_port;";
        builder
            // Without it, a second call would hide behind a hit.
            .http("phantom_token_cache off;")
            .location("/first", "phantom_token on;\ntry_files /none @second;")
            .location("@second", &format!("phantom_token on;\n{api}"))
            .location("/scoped", "phantom_token on;\ntry_files /none @needs;")
            .location("@needs", &format!("phantom_token on;\nphantom_token_scope execute;\n{api}"))
            .location("/leaving", "phantom_token on;\ntry_files /none @off;")
            .location("@off", api)
    });
    let port = rig.api.url().rsplit(':').next().unwrap().to_owned();
    let token = rig.server.issue();
    let ask = |target: &str| {
        let headers = [("Authorization", &*token.bearer()), ("X-Port", &*port)];
        rig.gateway.get(target, &headers).status
    };
    assert_eq!(ask("/first"), 200);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    assert_eq!(ask("/scoped"), 403, "the location it arrives in judges");
    assert_eq!(ask("/leaving"), 200);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    assert_eq!(rig.server.introspections(), 3, "one a request");
    assert!(rig.server.seen().iter().all(|seen| seen.token == token.token));
}

#[test]
fn a_subrequest_to_mirror_is_not_asked_about_again() {
    let rig = Rig::start(|builder| {
        builder
            .directives("mirror /mirror;")
            .location("/mirror", "internal;\nphantom_token on;\nreturn 204;")
    });
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn a_value_cached_by_an_earlier_phase_is_forgotten() {
    let rig = Rig::start(|builder| {
        builder
            .directives("if ($http_authorization = x) { return 418; }")
            .directives("proxy_set_header Authorization $http_authorization;")
    });
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn if_blocks_switch_it() {
    let rig = Rig::start(|builder| {
        builder.location(
            "/switched",
            "phantom_token on;\n\
             if ($arg_open) {\nphantom_token off;\n}\n\
             if ($arg_scope) {\nphantom_token_scope execute;\n}\n\
             proxy_pass http://127.0.0.1:$http_x_port;",
        )
    });
    let port = rig.api.url().rsplit(':').next().unwrap().to_owned();
    let token = rig.server.issue();
    let ask = |query: &str, token: &str| {
        let headers = [("X-Port", &*port), ("Authorization", &*format!("Bearer {token}"))];
        rig.gateway.get(&format!("/switched/echo{query}"), &headers).status
    };
    assert_eq!(ask("", "unknown"), 401);
    assert_eq!(ask("?open=1", "unknown"), 200);
    assert_eq!(ask("", &token.token), 200);
    assert_eq!(ask("?scope=1", &token.token), 403);
}

#[test]
fn a_token_from_a_variable_is_taken_without_falling_back() {
    let rig = Rig::start(|builder| {
        let on = "phantom_token on token=$cookie_session;";
        let api = "proxy_pass http://127.0.0.1:$http_x_port;";
        builder
            .location("/cookie", &format!("{on}\ntry_files /none =204;"))
            .location("/passed", &format!("{on}\n{api}"))
            .location("/kept", &format!("{on}\nproxy_set_header Cookie \"\";\n{api}"))
    });
    let token = rig.server.issue();
    let cookie = format!("session={}", token.token);
    assert_eq!(rig.gateway.get("/cookie", &[("Cookie", &cookie)]).status, 204);
    Reply::unauthorized(CHALLENGE).assert(&rig.gateway.get_as("/cookie", &token.token));

    // The cookie goes on as ever, unless it is kept away.
    for (path, sent) in [("/passed", Some(cookie.as_str())), ("/kept", None)] {
        let port = rig.api.url().rsplit(':').next().unwrap().to_owned();
        let headers = [("X-Port", &*port), ("Cookie", &cookie)];
        assert_eq!(rig.gateway.get(path, &headers).status, 200);
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
        assert_eq!(rig.api.last().head.headers.get("cookie"), sent);
    }
}

#[test]
fn all_other_headers_go_on_as_they_came() {
    let rig = Rig::start(|builder| {
        let path = "proxy_pass http://127.0.0.1:$http_x_port;";
        builder.location("/off", &format!("phantom_token off;\n{path}"))
    });
    let token = rig.server.issue();
    let port = rig.api.url().rsplit(':').next().unwrap().to_owned();
    let bearer = token.bearer();
    let headers =
        [("X-Port", port.as_str()), ("Authorization", &bearer), ("X-One", "1"), ("Cookie", "a=b")];
    assert_eq!(rig.gateway.get("/api/echo", &headers).status, 200);
    let with = rig.api.last();
    assert_eq!(rig.gateway.get("/off/echo", &headers).status, 200);
    let without = rig.api.last();
    assert_eq!(without.authorization(), [bearer.as_str()]);
    let rest = |received: &phantom_token_test::api::Received| {
        let mut fields = received.head.headers.0.clone();
        fields.retain(|(name, _)| name != "Authorization");
        fields
    };
    assert_eq!(rest(&with), rest(&without));
}
