//! Which kinds of token a location takes, and which bound ones: read once from the server's answer,
//! judged on every request.

use phantom_token_test::jwt::unsigned as jwt;
use phantom_token_test::nginx::Builder;
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{AuthorizationServer, Gateway, Reply, Response, Rig, Script};
use serde_json::json;

fn location(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Outcome $phantom_token_status always;\n\
         add_header Reason $phantom_token_reason always;\n\
         try_files /none =204;"
    )
}

/// Locations of each kind that share their answers, for both forward modes.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, _| {
        let builder = ["jwt", "none"].iter().fold(builder, |builder, forward| {
            let forward_as = format!("phantom_token_forward {forward};");
            let kinds =
                [("default", ""), ("access", "access"), ("declared", "declared"), ("any", "any")];
            kinds.iter().fold(builder, |builder, (path, kind)| {
                let kind = if kind.is_empty() {
                    String::new()
                } else {
                    format!("phantom_token_kind {kind};")
                };
                builder.location(
                    &format!("/{forward}/{path}"),
                    &location(&format!("{forward_as}\n{kind}")),
                )
            })
        });
        change(builder)
    })
}

fn said(response: &Response) -> (u16, String) {
    let header = |name| response.header(name).unwrap_or("-");
    (response.status, format!("{} {}", header("outcome"), header("reason")))
}

#[track_caller]
fn assert_denied(gateway: &Gateway, target: &str, token: &str, reason: &str) {
    let response = gateway.get_as(target, token);
    let expected = (401, format!("DENIED {reason}"));
    assert_eq!(said(&response), expected, "{target} {token}");
    let challenge = response.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[test]
fn a_location_takes_the_kinds_it_says() {
    let rig = rig(|builder| builder);
    let bearer = json!({"token_type": "Bearer"});
    let nothing = json!({});
    // What the answer says, what the JWT says, and which of access, declared, any take it.
    let rows = [
        (&nothing, &nothing, [true, false, true]),
        (&bearer, &nothing, [true, true, true]),
        (&nothing, &bearer, [true, true, true]),
        (&json!({"token_use": "access_token"}), &nothing, [true, true, true]),
        (&json!({"token_use": "refresh_token"}), &nothing, [false, false, true]),
        (&json!({"token_usage": "id-token"}), &nothing, [false, false, true]),
        (&json!({"token_class": "authorization_code"}), &bearer, [false, false, true]),
        (&json!({"token_type": "Bearer", "typ": "Offline"}), &bearer, [false, false, true]),
        // Keycloak 25: a JWT of the realm that is a refresh token.
        (&bearer, &json!({"typ": "Refresh"}), [false, false, true]),
        (&nothing, &json!({"token_type": "user_code"}), [false, false, true]),
        (
            &json!({"token_type": "urn:ietf:params:oauth:token-type:id_token"}),
            &nothing,
            [false, false, true],
        ),
        (&json!({"token_type": ["refresh_token"]}), &nothing, [true, false, true]),
    ];
    for (row, (answer, claims, taken)) in rows.iter().enumerate() {
        for forward in ["jwt", "none"] {
            let token = format!("row-{row}-{forward}");
            let mut body = (*answer).clone();
            body["active"] = json!(true);
            body["jwt"] = json!(jwt(claims));
            rig.server.script(&token, Script::json(&body));
            // In any order: the answer is one, and kept.
            for round in 0..2 {
                let paths = ["default", "access", "declared", "any"];
                for (path, taken) in paths.iter().zip([taken[0], taken[0], taken[1], taken[2]]) {
                    let target = format!("/{forward}/{path}");
                    if taken {
                        let (status, outcome) = said(&rig.gateway.get_as(&target, &token));
                        assert_eq!(status, 204, "{target} {token}: {outcome}");
                        let is_first = row == 0 || round == 0;
                        assert!(is_first || outcome == "HIT -", "{target} {token}: {outcome}");
                    } else {
                        assert_denied(&rig.gateway, &target, &token, "kind");
                    }
                }
            }
            assert_eq!(rig.server.introspections_of(&token), 1, "{token}: the kind is no identity");
        }
    }
    assert!(rig.gateway.module_lines().iter().any(|line| {
        line.contains("[info]") && line.contains("the access token is refused: kind")
    }));
}

#[test]
fn a_refused_kind_gets_the_usual_reply_and_nothing_goes_on() {
    let rig = Rig::start(|builder| builder.directives("phantom_token_kind declared;"));
    let body = json!({"active": true, "jwt": jwt(&json!({"sub": "alice"}))});
    rig.server.script("code", Script::json(&body));
    for _ in 0..2 {
        Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as("code"));
    }
    assert_eq!((rig.api.count(), rig.server.introspections_of("code")), (0, 1));
}

#[test]
fn binding_comes_before_kind_and_kind_before_scope() {
    let rig = rig(|builder| {
        builder
            .location("/scoped", &location("phantom_token_scope write;"))
            .location(
                "/scoped-pass",
                &location("phantom_token_scope write;\nphantom_token_bound_tokens pass;"),
            )
            .location(
                "/scoped-any",
                &location("phantom_token_scope write;\nphantom_token_kind any;"),
            )
    });
    let plain = jwt(&json!({}));
    let refresh = json!({"active": true, "jwt": plain, "token_type": "refresh_token"});
    rig.server.script("refresh", Script::json(&refresh));
    let mut bound = refresh.clone();
    bound["cnf"] = json!({"jkt": "0ZcOCORZNYy"});
    rig.server.script("bound", Script::json(&bound));
    assert_denied(&rig.gateway, "/scoped", "bound", "bound");
    assert_denied(&rig.gateway, "/scoped-pass", "bound", "kind");
    assert_denied(&rig.gateway, "/scoped", "refresh", "kind");
    let response = rig.gateway.get_as("/scoped-any", "refresh");
    assert_eq!(said(&response), (403, "DENIED scope".to_owned()));
    assert_eq!(rig.server.introspections_of("bound"), 1);
}

#[test]
fn what_is_bound_needs_somebody_who_checks_it() {
    let rig = rig(|builder| {
        let pass = "phantom_token_bound_tokens pass;";
        builder
            .location("/jwt/pass", &location(&format!("phantom_token_forward jwt;\n{pass}")))
            .location("/none/pass", &location(&format!("phantom_token_forward none;\n{pass}")))
    });
    let key = json!({"cnf": {"jkt": "0ZcOCORZNYy"}});
    let certificate = json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}});
    let other = json!({"cnf": {"kid": "k"}});
    let dpop = json!({"token_type": "DPoP"});
    let nothing = json!({});
    for (name, answer, claims, jwt_takes, none_takes) in [
        ("unbound", &nothing, &nothing, true, true),
        ("empty", &json!({"cnf": {}}), &json!({"cnf": null}), true, true),
        ("key", &key, &nothing, false, false),
        ("key-in-jwt", &nothing, &key, false, false),
        ("type", &dpop, &nothing, false, false),
        ("type-and-certificate", &dpop, &certificate, false, false),
        // The API gets the JWT and checks it; where it gets none, nobody would.
        ("certificate", &certificate, &nothing, true, false),
        ("certificate-in-jwt", &nothing, &certificate, true, false),
        ("other", &other, &nothing, true, false),
        ("other-in-jwt", &nothing, &other, true, false),
    ] {
        for (forward, taken) in [("jwt", jwt_takes), ("none", none_takes)] {
            let token = format!("{name}-{forward}");
            let mut body = (*answer).clone();
            body["active"] = json!(true);
            body["jwt"] = json!(jwt(claims));
            rig.server.script(&token, Script::json(&body));
            for _ in 0..2 {
                let target = format!("/{forward}/default");
                if taken {
                    assert_eq!(rig.gateway.get_as(&target, &token).status, 204, "{target} {token}");
                } else {
                    assert_denied(&rig.gateway, &target, &token, "bound");
                }
                let target = format!("/{forward}/pass");
                assert_eq!(rig.gateway.get_as(&target, &token).status, 204, "{target} {token}");
            }
            assert_eq!(rig.server.introspections_of(&token), 1, "{token}");
        }
    }
}

#[test]
fn the_kind_is_inherited() {
    let rig = rig(|builder| builder.http("phantom_token_kind any;"));
    let refresh = json!({"active": true, "jwt": jwt(&json!({"typ": "Refresh"}))});
    rig.server.script("refresh", Script::json(&refresh));
    assert_eq!(rig.gateway.get_as("/jwt/default", "refresh").status, 204);
    assert_denied(&rig.gateway, "/jwt/access", "refresh", "kind");
}

#[test]
fn other_workers_know_the_kind_from_the_zone() {
    // No cache of their own, and where nothing is kept, the mark of the call alone.
    let rig = rig(|builder| {
        builder
            .location("/metrics", "phantom_token_status;")
            .workers(2)
            .listen("reuseport")
            .http("phantom_token_worker_cache 0;")
            .location(
                "/unkept",
                &location("phantom_token_cache_valid 0;\nphantom_token_kind declared;"),
            )
    });
    let refresh = json!({"active": true, "jwt": jwt(&json!({"typ": "Refresh"}))});
    rig.server.script("refresh", Script::json(&refresh));
    for _ in 0..20 {
        assert_denied(&rig.gateway, "/jwt/access", "refresh", "kind");
    }
    assert_eq!(rig.server.introspections_of("refresh"), 1);

    rig.server.script("waited-for", Script::json(&refresh));
    let hold = rig.server.hold_token("waited-for");
    let mut clients: Vec<_> = (0..8).map(|_| rig.gateway.client()).collect();
    for client in &mut clients {
        client.send_request("GET", "/unkept", &[("Authorization", "Bearer waited-for")], b"");
    }
    rig.server.wait_for_introspections(2);
    rig.gateway.wait_for_metrics("eight waiting requests", |metrics| {
        metrics.get("requests_waiting") == 8.0
    });
    drop(hold);
    for mut client in clients {
        assert_eq!(said(&client.read()), (401, "DENIED kind".to_owned()));
    }
    assert_eq!(rig.server.introspections_of("waited-for"), 1);
}
