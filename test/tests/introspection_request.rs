//! What the authorization server is sent besides the token, and what is part of the cache's key.

use std::net::{TcpListener, TcpStream};
use std::{io, thread};

use phantom_token_test::rig::{INVALID_TOKEN, SERVER_ERROR};
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Rig};

fn last_body(rig: &Rig) -> String {
    String::from_utf8(rig.server.seen().pop().expect("an introspection").body).unwrap()
}

fn last_header(rig: &Rig, name: &str) -> Vec<String> {
    let seen = rig.server.seen().pop().expect("an introspection");
    seen.head.headers.all(name).map(str::to_owned).collect()
}

#[test]
fn hints_and_parameters_follow_the_token() {
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_token_type_hint access_token;")
            .directives("phantom_token_introspection_param audience \"an api&more\";")
            .directives("phantom_token_introspection_param tenant $arg_tenant nokey;")
    });
    let token = rig.server.issue();
    assert_eq!(rig.gateway.get_as("/api?tenant=a%26b", &token.token).status, 200);
    let expected = format!(
        "token={}&token_type_hint=access_token&audience=an+api%26more&tenant=a%2526b",
        token.token
    );
    assert_eq!(last_body(&rig), expected);
}

#[test]
fn values_are_part_of_the_key_unless_they_are_not_to_be() {
    for (directive, name) in [
        ("phantom_token_introspection_header", "X-Tenant"),
        ("phantom_token_introspection_param", "tenant"),
    ] {
        for (suffix, calls) in [("", 2), ("nokey", 1)] {
            let rig = Rig::start(|builder| {
                builder.directives(&format!("{directive} {name} \"t-$arg_tenant\" {suffix};"))
            });
            let token = rig.server.issue();
            for target in ["/api?tenant=a", "/api?tenant=b", "/api?tenant=a"] {
                assert_eq!(rig.gateway.get_as(target, &token.token).status, 200);
            }
            assert_eq!(rig.server.introspections(), calls, "{directive} {suffix}");
        }
    }
}

#[test]
fn headers_carry_variables_and_empty_ones_are_left_out() {
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_introspection_header Traceparent $http_traceparent nokey;")
            .directives("phantom_token_introspection_header X-Request-Id \"id-$request_id\" nokey;")
    });
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let token = rig.server.issue();
    let headers = [("Authorization", &*token.bearer()), ("Traceparent", trace)];
    assert_eq!(rig.gateway.get("/api", &headers).status, 200);
    assert_eq!(last_header(&rig, "traceparent"), [trace]);
    let id = last_header(&rig, "x-request-id");
    assert!(id.len() == 1 && id[0].len() == 3 + 32, "{id:?}");
    rig.assert_passes(&rig.server.issue());
    assert!(last_header(&rig, "traceparent").is_empty());
}

#[test]
fn a_configured_user_agent_takes_the_place_of_the_module_s() {
    let rig = Rig::start(|builder| {
        builder.directives("phantom_token_introspection_header user-agent $arg_agent nokey;")
    });
    assert_eq!(rig.gateway.get_as("/api?agent=one/1", &rig.server.issue().token).status, 200);
    assert_eq!(last_header(&rig, "user-agent"), ["one/1"]);
    rig.assert_passes(&rig.server.issue());
    let ours = last_header(&rig, "user-agent");
    assert!(ours.len() == 1 && ours[0].starts_with("ngx-phantom-token/"), "{ours:?}");
}

/// Request targets whose `$uri` holds a control byte.
const CONTROLS: [&str; 6] =
    ["/api/%0d%0aX-Injected:%201", "/api/%0a", "/api/%0d", "/api/%01", "/api/%1f", "/api/%7f"];

#[test]
fn values_with_a_control_byte_are_refused_as_the_client_s_doing() {
    for directive in [
        "phantom_token_introspection_header X-Path $uri;",
        "phantom_token_introspection_param path $uri;",
        "phantom_token_introspection_param path $uri nokey;",
    ] {
        let rig = Rig::start(|builder| {
            builder
                .directives(directive)
                .directives(
                    "add_header Said \"$phantom_token_status $phantom_token_reason\" always;",
                )
                .location("= /status", "phantom_token_status;")
        });
        let token = rig.server.issue();
        for target in CONTROLS {
            let response = rig.gateway.get_as(target, &token.token);
            assert_eq!(response.header("said"), Some("DENIED malformed"));
            assert_eq!(response.text(), SERVER_ERROR);
            assert_eq!(response.status, 500);
        }
        assert_eq!(rig.server.introspections(), 0);
        rig.gateway.wait_for_log(&["[warn]", "holds a control byte", "500"]);
        let lines = rig.gateway.module_lines();
        assert!(!lines.iter().any(|line| line.contains("[error]")), "{lines:?}");
        let numbers = rig.gateway.get("/status", &[]).text().to_owned();
        let said = |line: &str| numbers.lines().any(|known| known == line);
        assert!(said("phantom_token_requests_total{outcome=\"denied\"} 6"), "{numbers}");
        assert!(said("phantom_token_requests_total{outcome=\"error\"} 0"), "{numbers}");
        let failures = numbers.lines().filter(|line| line.contains("_failures_total{"));
        assert!(failures.into_iter().all(|line| line.ends_with(" 0")), "{numbers}");
        rig.assert_passes(&token);
    }
}

#[test]
fn a_header_that_only_accompanies_the_call_is_left_out_where_it_holds_a_control_byte() {
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_introspection_header Traceparent $uri nokey;")
            .directives("phantom_token_introspection_header X-One 1;")
    });
    for target in CONTROLS {
        assert_eq!(rig.gateway.get_as(target, &rig.server.issue().token).status, 200, "{target}");
        assert!(last_header(&rig, "traceparent").is_empty());
        assert_eq!(last_header(&rig, "x-one"), ["1"]);
    }
    // What HTTP allows in a value is sent.
    for (target, value) in [("/api/%09a", "/api/\ta"), ("/api/%c3%80", "/api/\u{c0}")] {
        assert_eq!(rig.gateway.get_as(target, &rig.server.issue().token).status, 200, "{target}");
        assert_eq!(last_header(&rig, "traceparent"), [value]);
    }
    let warned = rig.gateway.module_lines();
    assert_eq!(warned.iter().filter(|line| line.contains("control byte")).count(), 1);
    for directive in ["header X \"a\\nb$uri\" nokey", "param x \"a\\tb\\rc\""] {
        let directive = format!("phantom_token_introspection_{directive};");
        let check =
            Gateway::builder().protect(&rig.server, &rig.api).directives(&directive).check();
        assert!(!check.ok && check.messages.contains("has a control byte"), "{}", check.messages);
    }
}

#[test]
fn names_the_module_sets_itself_are_refused() {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    // No warning of a time limit that is longer than the endpoint's.
    let times = "phantom_token_timeout 6s;\nphantom_token_connect_timeout 2s;";
    let builder = || Gateway::builder().protect(&server, &api).http(times);
    let check = |directive: &str| builder().directives(directive).check();
    for name in [
        "Host",
        "content-type",
        "Content-Length",
        "Content-Encoding",
        "Transfer-Encoding",
        "CONNECTION",
        "Accept",
        "accept-encoding",
        "Expect",
        "Authorization",
        "\"X Y\"",
        "X:",
        "\"\"",
    ] {
        let check = check(&format!("phantom_token_introspection_header {name} x;"));
        let refused = check.messages.lines().any(|line| {
            line.contains("[emerg]") && line.contains("phantom_token_introspection_header")
        });
        assert!(!check.ok && refused, "{name}: {}", check.messages);
    }
    let param = check("phantom_token_introspection_param token x;");
    assert!(!param.ok && param.messages.contains("phantom_token_introspection_param"));
    for (value, warned) in
        [("$arg_x", true), ("$http_x", true), ("$cookie_x", true), ("$host", false)]
    {
        let check = check(&format!("phantom_token_introspection_param x {value};"));
        assert!(check.ok);
        assert_eq!(check.messages.contains("[warn]"), warned, "{}", check.messages);
        let nokey = format!("phantom_token_introspection_param x {value} nokey;");
        let check = builder().directives(&nokey).check();
        assert!(check.ok && !check.messages.contains("[warn]"), "{}", check.messages);
    }
}

#[test]
fn accept_is_sent_as_it_is_written() {
    for accept in ["application/jwt", "application/token-introspection+jwt", "Application/JSON;q=1"]
    {
        let rig = Rig::with(
            AuthorizationServer::builder().jwt_member("jwt").start().unwrap(),
            |builder, _| {
                builder.directives(&format!("phantom_token_introspection_accept \"{accept}\";"))
            },
        );
        rig.assert_passes(&rig.server.issue());
        assert_eq!(last_header(&rig, "accept"), [accept]);
        assert_eq!(last_header(&rig, "accept-encoding"), ["identity"]);
    }
}

#[test]
fn connect_changes_the_address_and_not_the_host() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let port = server.port();
        builder.endpoint(&format!(
            "\"http://as.invalid:1234/oauth/v2/oauth-introspect?tenant=a&b\" connect=127.0.0.1:{port}"
        ))
    });
    rig.assert_passes(&rig.server.issue());
    assert_eq!(last_header(&rig, "host"), ["as.invalid:1234"]);
    let target = rig.server.seen().pop().unwrap().head.target;
    assert_eq!(target, "/oauth/v2/oauth-introspect?tenant=a&b");
}

#[test]
fn the_configured_alphabet_decides_what_is_asked() {
    let strange = "a!#$%&'()*:;<>?@[]^`{|}";
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_token_syntax vschar;")
            .location("/strict", "phantom_token on;\ntry_files /none =204;")
    });
    let token = rig.server.mint(phantom_token_test::Mint::new().token(strange));
    rig.assert_passes(&token);
    assert_eq!(rig.server.seen().pop().unwrap().token, strange);
    Reply::unauthorized(INVALID_TOKEN).assert(&rig.gateway.get_as("/strict", strange));
    for token in ["a\"b", "a,b", "a b", "\u{e4}"] {
        Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as(token));
    }
    assert_eq!(rig.server.introspections(), 1);
}

/// Passes the first connections to `listener` on to a port of 127.0.0.1.
fn forward(listener: TcpListener, port: u16) {
    thread::spawn(move || {
        for from in listener.incoming().take(4) {
            let (from, to) = (from.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut from2, mut to2) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (mut from, mut to) = (from, to);
            thread::spawn(move || io::copy(&mut from, &mut to));
            thread::spawn(move || io::copy(&mut to2, &mut from2));
        }
    });
}

#[test]
fn endpoints_with_ipv6_addresses() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("this machine has no IPv6");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        forward(listener, server.port());
        builder.endpoint(&format!("http://[::1]:{port}/oauth/v2/oauth-introspect"))
    });
    rig.assert_passes(&rig.server.issue());
    assert_eq!(last_header(&rig, "host"), [format!("[::1]:{port}")]);
}

#[test]
fn a_name_with_several_addresses_tries_the_next_one() {
    // Nothing listens at its first address.
    let server = AuthorizationServer::builder().host("two-addresses.test").start().unwrap();
    let rig = Rig::with(server, |builder, _| {
        builder.count_calls().main("thread_pool phantom_token threads=1;")
    });
    for round in 1..=3 {
        rig.assert_passes(&rig.server.issue());
        assert_eq!(rig.gateway.calls(b'd'), round, "looked up again for each new connection");
        rig.server.close_connections();
    }
    let errors = rig.gateway.module_lines().iter().filter(|l| l.contains("[error]")).count();
    assert_eq!(errors, 0);
}
