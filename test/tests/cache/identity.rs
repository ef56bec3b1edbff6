//! Who asks which server how is part of an entry's key; what does not change the answer is not.

use phantom_token_test::{AuthorizationServer, Rig};

use crate::support::*;

#[test]
fn another_servers_answer_is_never_given() {
    let other = AuthorizationServer::start();
    let url = other.introspection_url();
    let rig = rig(1, |builder| {
        builder
            .http("phantom_token_cache_inactive_valid 60s;")
            .location("/other", &shown(&format!("phantom_token_introspection_endpoint {url};")))
    });
    let token = rig.server.issue();
    for _ in 0..2 {
        rig.gateway.get_as("/shown", &token.token);
        assert_passes(&rig.gateway.get_as("/shown", &token.token), &token);
        assert_eq!(rig.gateway.get_as("/other", &token.token).status, 401);
    }
    assert_eq!((rig.server.introspections(), other.introspections()), (1, 1));
    // The same token at the other server has another JWT.
    let theirs = other.mint(phantom_token_test::Mint::new().token("both"));
    let ours = rig.server.mint(phantom_token_test::Mint::new().token("both"));
    assert_ne!(theirs.jwt, ours.jwt);
    for _ in 0..2 {
        pass(&rig.gateway, "/shown", &ours);
        pass(&rig.gateway, "/other", &theirs);
    }
}

/// Whether a location with these directives takes `/shown`'s answer.
fn shares(rig: &Rig, target: &str) -> bool {
    let token = rig.server.issue();
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    let before = rig.server.introspections();
    let response = rig.gateway.get_as(target, &token.token);
    assert!([204, 403, 500].contains(&response.status), "{target}: {response:?}");
    rig.server.introspections() == before
}

#[test]
fn what_changes_the_question_parts_and_what_does_not_shares() {
    let server = AuthorizationServer::builder().no_client_auth().start().unwrap();
    let authority = phantom_token_test::tls::Authority::generate();
    let url = server.introspection_url();
    let parts = [
        "phantom_token_client_id another;".to_owned(),
        "phantom_token_client_auth post;".to_owned(),
        "phantom_token_client_auth basic_raw;".to_owned(),
        "phantom_token_introspection_accept application/json;".to_owned(),
        "phantom_token_forward none;".to_owned(),
        "phantom_token_ssl_verify off;".to_owned(),
        // What one location keeps against the server's word must not serve one that obeys.
        "phantom_token_cache_control strict;".to_owned(),
        "phantom_token_ssl_trusted_certificate ca.pem;".to_owned(),
        format!("phantom_token_introspection_endpoint {url}?x=1;"),
        format!(
            "phantom_token_introspection_endpoint http://localhost:{0}/oauth/v2/oauth-introspect connect=127.0.0.1:{0};",
            server.port()
        ),
        format!(
            "phantom_token_introspection_endpoint {url};\nphantom_token_introspection_endpoint {url}?2;"
        ),
        "phantom_token_introspection_header X-Tenant a;".to_owned(),
        "phantom_token_introspection_param audience a;".to_owned(),
    ];
    let shared = [
        "phantom_token_client_secret another;",
        "phantom_token_timeout 5s;\nphantom_token_connect_timeout 1s;",
        "phantom_token_scope \"write\";",
        "phantom_token_cache_valid 100s;\nphantom_token_cache_stale 1s;",
        "phantom_token_realm other;",
        "phantom_token_bound_tokens pass;",
        "phantom_token_kind any;",
        "phantom_token_introspection_header X-Trace $request_id nokey;",
    ];
    let rig = rig_with(server, 1, |mut builder, _| {
        builder = builder.file("ca.pem", authority.certificate.clone());
        for (n, directives) in parts.iter().enumerate() {
            builder = builder.location(&format!("/part{n}"), &shown(directives));
        }
        for (n, directives) in shared.iter().enumerate() {
            builder = builder.location(&format!("/share{n}"), &shown(directives));
        }
        builder
    });
    for (n, directives) in parts.iter().enumerate() {
        assert!(!shares(&rig, &format!("/part{n}")), "{directives}");
    }
    for (n, directives) in shared.iter().enumerate() {
        assert!(shares(&rig, &format!("/share{n}")), "{directives}");
    }
}

#[test]
fn keyed_values_part_and_others_do_not() {
    let rig = rig(1, |builder| {
        builder
            .location("/keyed", &shown("phantom_token_introspection_header X-Tenant t-$arg_t;"))
            .location("/param", &shown("phantom_token_introspection_param tenant t-$arg_t;"))
            .location(
                "/nokey",
                &shown("phantom_token_introspection_header X-Trace t-$arg_t nokey;"),
            )
    });
    for (location, calls) in [("/keyed", 2), ("/param", 2), ("/nokey", 1)] {
        let token = rig.server.issue();
        for value in ["a", "b", "a", "b"] {
            pass(&rig.gateway, &format!("{location}?t={value}"), &token);
        }
        assert_eq!(rig.server.introspections_of(&token.token), calls, "{location}");
    }
}

#[test]
fn a_token_has_at_most_eight_entries() {
    let near = "phantom_token_worker_cache 0;";
    let rig = rig(1, |builder| {
        builder
            .http(near)
            .location("/keyed", &shown("phantom_token_introspection_header X-Tenant t-$arg_t;"))
    });
    let other = rig.server.issue();
    pass(&rig.gateway, "/shown", &other);
    let token = rig.server.issue();
    for n in 0..40 {
        assert_eq!(pass(&rig.gateway, &format!("/keyed?t={n}"), &token), "MISS");
    }
    assert_eq!(entries(&rig.gateway), (8 + 1, 0));
    assert_eq!(pass(&rig.gateway, "/keyed?t=39", &token), "HIT");
    assert_eq!(pass(&rig.gateway, "/keyed?t=32", &token), "HIT");
    assert_eq!(pass(&rig.gateway, "/shown", &other), "HIT", "nobody else's went");
    assert_eq!(pass(&rig.gateway, "/keyed?t=31", &token), "MISS");
}

#[test]
fn scope_is_judged_on_every_hit() {
    let rig = rig(1, |builder| {
        builder
            .location("/read", &shown("phantom_token_scope read;"))
            .location("/write", &shown("phantom_token_scope write;"))
    });
    let token = rig.server.issue();
    for _ in 0..3 {
        assert_eq!(rig.gateway.get_as("/write", &token.token).status, 403);
        assert_passes(&rig.gateway.get_as("/read", &token.token), &token);
    }
    assert_eq!(rig.server.introspections(), 1);
}
