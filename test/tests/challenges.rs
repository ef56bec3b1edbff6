//! What a challenge is made of, request by request: every byte of it.

use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::{Mint, Reply, Rig};

const DESCRIPTION: &str = "error_description=\"The access token is invalid or expired\"";

/// Values that a request chooses by a header of its own.
const MAPS: &str =
    "map $http_tenant $realm { default \"\"; a \"tenant a\"; bad 'a\"b'; bell \"\x07\"; }
    map $http_tenant $metadata {
        default \"\";
        a https://a.example/.well-known/oauth-protected-resource;
        bad /relative;
        bell \"https://a.example/\x07\";
    }";

fn maps() -> String {
    MAPS.replace("\\x07", "\x07")
}

#[track_caller]
fn assert_challenge(rig: &Rig, target: &str, tenant: &str, expected: &str) {
    let response = rig.gateway.get(target, &[("Tenant", tenant)]);
    Reply::unauthorized(expected).assert(&response);
    let invalid = match expected.split_once(", error=") {
        Some(_) => expected.to_owned(),
        None => format!("{expected}, error=\"invalid_token\", {DESCRIPTION}"),
    };
    let headers = [("Tenant", tenant), ("Authorization", "Bearer unknown")];
    Reply::unauthorized(&invalid).assert(&rig.gateway.get(target, &headers));
}

#[test]
fn realm_and_metadata_take_variables() {
    let rig = Rig::start(|builder| {
        builder
            .http(&maps())
            .directives("phantom_token_realm $realm;")
            .directives("phantom_token_resource_metadata $metadata;")
    });
    let metadata = "resource_metadata=\"https://a.example/.well-known/oauth-protected-resource\"";
    assert_challenge(&rig, "/api", "a", &format!("Bearer realm=\"tenant a\", {metadata}"));
    // What yields nothing is left out, without a word.
    assert_challenge(&rig, "/api", "none", CHALLENGE);
    assert!(!rig.gateway.error_log().contains("left out of challenges"));
    // And what cannot stand there, with one line a minute for each directive.
    for tenant in ["bad", "bell", "bad"] {
        assert_challenge(&rig, "/api", tenant, CHALLENGE);
    }
    rig.gateway.wait_for_log(&[
        "[error]",
        "a value of \"phantom_token_realm\" is left out of challenges: \
         a realm is printable ASCII without '\"' and '\\'",
    ]);
    rig.gateway.wait_for_log(&[
        "[error]",
        "a value of \"phantom_token_resource_metadata\" is left out of challenges: \
         the protected resource metadata is an absolute URL without a fragment",
    ]);
    let log = rig.gateway.error_log();
    assert_eq!(log.matches("left out of challenges").count(), 2, "{log}");
    rig.gateway.allow("left out of challenges");
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn a_realm_that_yields_nothing_is_left_out_where_something_else_stands() {
    let rig = Rig::start(|builder| {
        builder
            .http(&maps())
            .directives("phantom_token_realm $realm;")
            .directives("phantom_token_scope \"read write\";")
    });
    assert_challenge(&rig, "/api", "none", "Bearer scope=\"read write\"");
    let scope = "scope=\"read write\"";
    assert_challenge(&rig, "/api", "a", &format!("Bearer realm=\"tenant a\", {scope}"));
    let token = rig.server.mint(Mint::new().scope("read"));
    for (tenant, realm) in [("none", ""), ("a", "realm=\"tenant a\", ")] {
        let headers = [("Tenant", tenant), ("Authorization", &*token.bearer())];
        let expected = format!("Bearer {realm}error=\"insufficient_scope\", {scope}");
        Reply::forbidden(&expected).assert(&rig.gateway.get("/api", &headers));
    }
}

#[test]
fn the_module_s_own_variables_can_be_part_of_a_realm() {
    // They look into the request's context while the refusal is made.
    let rig = Rig::start(|builder| {
        builder.directives("phantom_token_realm \"$phantom_token_reason $host ${http_tenant}\";")
    });
    let bearer = [("Authorization", "Bearer unknown"), ("Tenant", "x")];
    let realm = "Bearer realm=\"inactive 127.0.0.1 x\"";
    let expected = INVALID_TOKEN.replacen(CHALLENGE, realm, 1);
    Reply::unauthorized(&expected).assert(&rig.gateway.get("/api", &bearer));
}

#[test]
fn each_pass_makes_its_own() {
    let rig = Rig::start(|builder| {
        builder
            .http("map $uri $realm { default first; /other second; }")
            .directives("phantom_token_realm $realm;\nerror_page 401 = /other;")
            .location(
                "/other",
                "phantom_token on;\nphantom_token_realm \"${realm}!\";\ntry_files /none =204;",
            )
    });
    // `error_page` gives the request to the other location, which refuses it in its own words.
    let response = rig.gateway.get("/api", &[]);
    assert_eq!(response.status, 401, "{response:?}");
    assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"first!\""));
}
