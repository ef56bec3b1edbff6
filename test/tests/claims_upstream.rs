//! Claims on their way to the upstream: each statement of docs/variables-and-metrics.md, "Claims upstream".

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{Mint, Rig, Script, tool};
use serde_json::{Value, json};

const DOCS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/variables-and-metrics.md"));

/// A gateway that gives the API a claim as it is, and all claims encoded.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| {
        change(builder.directives(
            "proxy_set_header X-Name $phantom_token_claim_name;\n\
             proxy_set_header X-Claims $phantom_token_claims;",
        ))
    })
}

/// What the API gets: the lines of the header, and what the encoded claims say of the name.
fn received(rig: &Rig, name: &Value) -> (Vec<String>, Value) {
    let token = rig.server.mint(Mint::new().claim("name", name.clone()));
    let sent = [
        ("Authorization", &*token.bearer()),
        ("X-Name", "forged"),
        ("x-name", "forged too"),
        ("X-Claims", "forged"),
    ];
    assert_eq!(rig.gateway.get("/api", &sent).status, 200, "{name}");
    let headers = rig.api.last().head.headers;
    let lines = headers.all("x-name").map(str::to_owned).collect();
    let encoded: Vec<_> = headers.all("x-claims").collect();
    let [encoded] = encoded[..] else { panic!("{encoded:?}") };
    let json = URL_SAFE_NO_PAD.decode(encoded).expect("base64url");
    let mut claims: Value = serde_json::from_slice(&json).expect("JSON");
    (lines, claims["name"].take())
}

#[test]
fn a_header_carries_text_and_the_encoded_form_all_of_it() {
    let rig = rig(|builder| builder);
    let long = "x".repeat(10 * 1024);
    for (name, lines) in [
        // UTF-8, byte for byte.
        (json!("Jürgen"), vec!["Jürgen"]),
        (json!("日本"), vec!["日本"]),
        // One line, which a server may take for a list.
        (json!("Smith, John"), vec!["Smith, John"]),
        (json!("a;b=\"c\""), vec!["a;b=\"c\""]),
        // Two claims, one text.
        (json!("a b"), vec!["a b"]),
        (json!(["a", "b"]), vec!["a b"]),
        // No control byte, and so no second header: nothing at all.
        (json!("a\r\nX-Admin: yes"), vec![]),
        (json!("a\nb"), vec![]),
        (json!("a\u{0}b"), vec![]),
        (json!("a\tb"), vec![]),
        (json!("a\u{7f}"), vec![]),
        (json!(long), vec![&long]),
        // What is not there is not the client's either.
        (json!(""), vec![]),
        (json!(null), vec![]),
        (json!([]), vec![]),
    ] {
        for _ in 0..2 {
            let (got, decoded) = received(&rig, &name);
            assert_eq!(
                (got, decoded),
                (lines.iter().map(|l| (*l).to_owned()).collect(), name.clone())
            );
            let headers = rig.api.last().head.headers;
            assert_eq!(headers.get("x-admin"), None);
        }
    }
}

#[test]
fn an_upstream_may_refuse_a_long_header() {
    // Another NGINX, as it comes: a line of 8 KB at most.
    let rig = rig(|builder| {
        builder.location("/behind", "return 204;").location(
            "/long",
            "phantom_token on;\nphantom_token_forward none;\n\
             proxy_set_header X-Name $phantom_token_claim_name;\n\
             proxy_pass http://127.0.0.1:$server_port/behind;",
        )
    });
    for (length, status) in [(7 * 1024, 204), (10 * 1024, 400)] {
        let token = format!("name-of-{length}");
        let answer = json!({"active": true, "name": "x".repeat(length)});
        rig.server.script(&token, Script::json(&answer));
        assert_eq!(rig.gateway.get_as("/long", &token).status, status, "{length}");
    }
}

#[test]
fn a_location_with_headers_of_its_own_inherits_none() {
    let rig = Rig::start(|builder| {
        let location =
            |own: &str| format!("{own}\nproxy_pass http://127.0.0.1:$server_port/shown;");
        builder
            .server("proxy_set_header X-Name $phantom_token_claim_name;\nphantom_token on;")
            .location("/inherits", &location(""))
            .location("/own", &location("proxy_set_header X-Other x;"))
            .location(
                "/shown",
                "phantom_token off;\nadd_header Name \"[$http_x_name]\" always;\nreturn 204;",
            )
    });
    let token = rig.server.mint(Mint::new().claim("name", "alice"));
    let sent = [("Authorization", &*token.bearer()), ("X-Name", "forged")];
    assert_eq!(rig.gateway.get("/inherits", &sent).header("name"), Some("[alice]"));
    assert_eq!(rig.gateway.get("/own", &sent).header("name"), Some("[forged]"));
}

#[test]
fn a_spelling_with_underscores_does_not_get_through() {
    let rig = rig(|builder| builder);
    let token = rig.server.mint(Mint::new().claim("name", "alice"));
    let sent = [("Authorization", &*token.bearer()), ("X_Name", "forged")];
    assert_eq!(rig.gateway.get("/api", &sent).status, 200);
    let headers = rig.api.last().head.headers;
    assert_eq!((headers.get("x_name"), headers.get("x-name")), (None, Some("alice")));
}

/// The line of the documentation that begins so.
fn documented(beginning: &str) -> &'static str {
    DOCS.lines().find(|line| line.starts_with(beginning)).expect("a line of the documentation")
}

#[test]
fn the_documented_lines_read_the_encoded_form() {
    let rig = rig(|builder| builder);
    let name = json!("Jürgen, \"J\"\r\n日本");
    let python = documented("claims = json.loads(");
    let node = documented("const claims = JSON.parse(");
    // Texts of all lengths modulo 4.
    for filling in 0..4 {
        let claims = Mint::new().claim("name", name.clone()).claim("filling", "x".repeat(filling));
        let token = rig.server.mint(claims);
        rig.assert_passes(&token);
        let header = rig.api.last().head.headers.get("x-claims").expect("claims").to_owned();
        let python = format!(
            "import base64, json, sys\nheader = sys.argv[1]\n{python}\nprint(json.dumps(claims[\"name\"]))"
        );
        let node = format!(
            "const header = process.argv[1];\n{node}\nconsole.log(JSON.stringify(claims.name));"
        );
        let ran = [
            Command::new(tool::path("python3")).args(["-c", &python, &header]).output(),
            Command::new(tool::node()).args(["-e", &node, &header]).output(),
        ];
        for output in ran {
            let output = output.expect("an interpreter");
            let said: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
            assert_eq!(said, name);
        }
    }
}
