//! What a challenge is made of, request by request: every byte of it.

use phantom_token_test::process::wait_until;
use phantom_token_test::rig::{CHALLENGE, FORBIDDEN, INVALID_TOKEN, UNAUTHORIZED};
use phantom_token_test::{AuthorizationServer, Mint, Reply, Rig, Script};
use serde_json::json;

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
            .location("/other", "phantom_token on; phantom_token_realm \"other $realm\";")
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
    // Of another location's it is said all the same.
    assert_challenge(&rig, "/other", "bell", CHALLENGE);
    let realm = "a value of \"phantom_token_realm\" is left out of challenges";
    wait_until("a line of the other realm", || rig.gateway.error_log().matches(realm).count() == 2);
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

/// A claim set of the server's, and what a client is then told: the status, the reason, and the
/// challenge behind the realm.
type Case<'a> = (&'a str, serde_json::Value, u16, &'a str, Option<String>);

#[test]
fn each_demand_that_is_not_met_has_a_reply_of_its_own() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .http(&format!(
                "phantom_token_provider login {{\nintrospection_endpoint {};\nclient_id gateway;\n\
                 client_auth none;\nissuer https://login.example;\n}}",
                server.introspection_url()
            ))
            .http("map $phantom_token_claim_tier $is_gold { gold 1; }")
            .http("map $phantom_token_claim_terms $has_accepted { yes 1; }")
            .location(
                "/all",
                "phantom_token on;\nphantom_token_use login;\n\
                 phantom_token_realm shop;\n\
                 phantom_token_resource_metadata https://a.example/m;\n\
                 phantom_token_audience orders;\n\
                 phantom_token_step_up mfa max_age=1h;\n\
                 phantom_token_scope buy;\n\
                 phantom_token_require $is_gold;\n\
                 phantom_token_require $has_accepted error=401;\n\
                 add_header Outcome \"$phantom_token_status $phantom_token_reason\" always;\n\
                 try_files /none =204;",
            )
    });
    let metadata = "resource_metadata=\"https://a.example/m\"";
    let invalid = format!("scope=\"buy\", {metadata}, error=\"invalid_token\", {DESCRIPTION}");
    let unmet =
        "{\"code\":\"forbidden\",\"message\":\"The token does not meet the requirements\"}\n";
    let good = json!({
        "active": true, "iss": "https://login.example", "aud": "orders", "acr": "mfa",
        "auth_time": now(), "scope": "buy", "tier": "gold", "terms": "yes",
        "jwt": "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl",
    });
    let step_up = |description: &str, asked: &str| {
        let error = "error=\"insufficient_user_authentication\"";
        Some(format!("{metadata}, {error}, error_description=\"{description}\", {asked}"))
    };
    let cases: [Case<'_>; 11] = [
        ("bound", json!({"cnf": {"jkt": "x"}}), 401, "bound", Some(invalid.clone())),
        ("dpop", json!({"token_type": "DPoP"}), 401, "bound", Some(invalid.clone())),
        ("kind", json!({"token_use": "refresh_token"}), 401, "kind", Some(invalid.clone())),
        ("issuer", json!({"iss": "https://other.example"}), 401, "issuer", Some(invalid.clone())),
        ("audience", json!({"aud": ["other"]}), 401, "audience", Some(invalid.clone())),
        (
            "level",
            json!({"acr": "pwd"}),
            401,
            "step_up",
            step_up("A different authentication level is required", "acr_values=\"mfa\""),
        ),
        (
            "old",
            json!({"auth_time": 1, "scope": "look"}),
            401,
            "step_up",
            step_up("More recent authentication is required", "max_age=\"3600\", scope=\"buy\""),
        ),
        (
            "scope",
            json!({"scope": "look"}),
            403,
            "scope",
            Some(format!("{metadata}, error=\"insufficient_scope\", scope=\"buy\"")),
        ),
        ("requirement", json!({"tier": "silver"}), 403, "require", None),
        ("terms", json!({"terms": "no"}), 401, "require", Some(invalid.clone())),
        ("good", json!({}), 204, "", None),
    ];
    for (name, claims, status, reason, challenge) in cases {
        let mut answer = good.clone();
        for (claim, value) in claims.as_object().expect("claims") {
            answer[claim] = value.clone();
        }
        rig.server.script(name, Script::json(&answer));
        let response = rig.gateway.get_as("/all", name);
        let challenge = challenge.map(|parameters| format!("Bearer realm=\"shop\", {parameters}"));
        assert_eq!(response.status, status, "{name} {response:?}");
        assert_eq!(response.header("www-authenticate"), challenge.as_deref(), "{name}");
        let outcome = if status == 204 { "MISS".to_owned() } else { format!("DENIED {reason}") };
        assert_eq!(response.header("outcome").map(str::trim), Some(&*outcome), "{name}");
        let body = match (status, reason) {
            (401, _) => UNAUTHORIZED,
            (403, "scope") => FORBIDDEN,
            (403, _) => unmet,
            _ => "",
        };
        assert_eq!(response.text(), body, "{name}");
    }
    assert_eq!(rig.api.count(), 0);
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}
