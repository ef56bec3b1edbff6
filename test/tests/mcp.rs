//! The example of a Model Context Protocol server, `nginx-conf/mcp.conf`, with the protocol's own server
//! and client, and a certified OpenID provider between them.

use phantom_token_test::example::{Example, endpoint, server};
use phantom_token_test::mcp::{self, McpServer};
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{Api, Gateway, Mint, OidcProvider, Reply, Response};
use serde_json::{Value, json};

/// What the example calls itself.
const ORIGIN: &str = "https://mcp.example.com";

/// The revision whose headers are looked at.
const REVISION: &str = "2026-07-28";

/// The scopes a call without any other needs.
const ALL: &str = "mcp mcp:write mcp:admin";

/// The example, asked by the address it listens on.
fn example() -> Example {
    Example::read("mcp.conf").replace("server_name mcp.example.com", "server_name 127.0.0.1")
}

#[test]
fn a_client_finds_its_way_and_gets_the_scope_that_a_tool_needs() {
    let (provider, tools) = (OidcProvider::start(), McpServer::start());
    let example = example();
    let url = format!("http://127.0.0.1:{}", example.port());
    let gateway = example
        .replace(&endpoint(), &provider.introspection_url())
        .replace("https://login.example.com", provider.url())
        .replace(ORIGIN, &url)
        .replace("mcp-gateway", "gateway")
        .replace("http://127.0.0.1:3000", &tools.url())
        .start();
    let called = mcp::call(&format!("{url}/mcp"), provider.url(), &["search", "café", "delete"]);
    assert_eq!(called.listed, ["search", "café", "delete"]);
    assert_eq!(called.replies, ["search was called", "café was called", "delete was called"]);
    // The challenges named them: the first has no token to judge.
    assert_eq!(called.scopes, ["mcp", "mcp mcp:write"]);
    gateway.wait_for_log(&["the access token lacks a required scope"]);
}

#[test]
fn the_challenge_names_the_metadata_and_the_metadata_the_server() {
    let (server, api) = (server("mcp-gateway"), Api::start());
    let gateway = example().asks(&endpoint(), &server).passes_to(&api).start();
    let refused = gateway.get("/mcp", &[]);
    let metadata = format!("{ORIGIN}/.well-known/oauth-protected-resource/mcp");
    let challenge =
        format!("Bearer realm=\"api\", scope=\"mcp\", resource_metadata=\"{metadata}\"");
    Reply::unauthorized(&challenge).assert(&refused);
    let document = gateway.get(metadata.strip_prefix(ORIGIN).unwrap(), &[]);
    assert_eq!(document.status, 200);
    assert_eq!(document.header("content-type"), Some("application/json"));
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    // The target's host counts, not that of the Host field (RFC 9112 §3.2.2).
    assert_eq!(gateway.get("http://evil.example.com/mcp", &[]).status, 421);
    assert_eq!(document["resource"], format!("{ORIGIN}/mcp"));
    assert_eq!(document["authorization_servers"][0], "https://login.example.com");
    assert_eq!(api.count(), 0);
}

#[test]
fn a_token_for_another_server_is_refused() {
    let (server, api) = (server("mcp-gateway"), Api::start());
    let gateway = example().asks(&endpoint(), &server).passes_to(&api).start();
    let good = server.mint(for_this_server(ALL));
    assert_eq!(gateway.get_as("/mcp", &good.token).status, 200);
    assert_eq!(api.last().authorization(), [good.phantom()]);
    let challenge = INVALID_TOKEN.replace(
        "realm=\"api\"",
        &format!(
            "realm=\"api\", scope=\"mcp\", \
             resource_metadata=\"{ORIGIN}/.well-known/oauth-protected-resource/mcp\""
        ),
    );
    for other in [
        Mint::new().scope(ALL),
        Mint::new().scope(ALL).claim("aud", json!(format!("{ORIGIN}/other"))),
        Mint::new().scope(ALL).claim("aud", json!(format!("{ORIGIN}/mcp/"))),
        Mint::new().scope(ALL).claim("aud", json!([ORIGIN, "urn:other"])),
    ] {
        let other = server.mint(other);
        Reply::unauthorized(&challenge).assert(&gateway.get_as("/mcp", &other.token));
    }
    assert_eq!(api.count(), 1);
}

fn for_this_server(scope: &str) -> Mint {
    Mint::new().scope(scope).claim("aud", json!([format!("{ORIGIN}/mcp")]))
}

/// A call as its headers have it.
#[derive(Clone, Copy)]
struct Call {
    revision: Option<&'static str>,
    method: &'static str,
    rpc: Option<&'static str>,
    name: Option<&'static str>,
}

const fn call(rpc: &'static str, name: Option<&'static str>) -> Call {
    Call { revision: Some(REVISION), method: "POST", rpc: Some(rpc), name }
}

impl Call {
    fn send(&self, gateway: &Gateway, token: &str) -> Response {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![("Authorization", &*authorization)];
        let named = [
            ("MCP-Protocol-Version", self.revision),
            ("Mcp-Method", self.rpc),
            ("Mcp-Name", self.name),
        ];
        headers.extend(named.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        let mut client = gateway.client();
        client.send_request(self.method, "/mcp", &headers, b"");
        client.read()
    }
}

#[test]
fn what_is_not_named_needs_the_strictest_scope() {
    let (server, api) = (server("mcp-gateway"), Api::start());
    let gateway = example().asks(&endpoint(), &server).passes_to(&api).start();
    let token = |scope| server.mint(for_this_server(scope)).token.clone();
    let (reader, writer, admin) = (token("mcp"), token("mcp mcp:write"), token("mcp mcp:admin"));
    let search = call("tools/call", Some("search"));
    let strictest = [
        // Names and methods that the example does not know, in other case, with more around them.
        call("tools/call", Some("drop")),
        call("tools/call", Some("Search")),
        call("tools/call", Some("search, delete")),
        call("tools/call", Some("xsearch")),
        call("tools/call", Some("searchx")),
        call("tools/call", None),
        call("tools/list", Some("search")),
        call("Tools/List", None),
        call("tasks/cancel", None),
        // "search" in Base64; "café" with other letters in it, "caf" and some byte more.
        call("tools/call", Some("=?base64?c2VhcmNo?=")),
        call("tools/call", Some("=?base64?y2fMW6K=?=")),
        // Nobody compares the headers of earlier revisions with the body.
        Call { revision: Some("2025-11-25"), ..search },
        Call { revision: None, ..search },
        Call { revision: Some("2026-07-28, 2025-11-25"), ..search },
        Call { method: "GET", rpc: None, name: None, ..search },
        Call { method: "DELETE", rpc: None, name: None, ..search },
        Call { method: "PUT", ..search },
        Call { rpc: None, name: None, ..search },
    ];
    let cases = [
        (call("server/discover", None), "mcp"),
        (call("tools/list", None), "mcp"),
        (search, "mcp"),
        (call("tools/call", Some("=?base64?Y2Fmw6k=?=")), "mcp"),
        (call("tools/call", Some("delete")), "mcp:write"),
    ];
    for (call, scope) in cases.into_iter().chain(strictest.map(|call| (call, "mcp:admin"))) {
        let Call { revision, method, rpc, name } = call;
        let case = format!("{revision:?} {method} {rpc:?} {name:?}");
        for (token, scopes) in [
            (&reader, &["mcp"][..]),
            (&writer, &["mcp", "mcp:write"]),
            (&admin, &["mcp", "mcp:admin"]),
        ] {
            let reply = call.send(&gateway, token);
            assert_eq!(
                reply.status,
                if scopes.contains(&scope) { 200 } else { 403 },
                "{case}, {scopes:?}"
            );
            if reply.status == 403 {
                let words = if scope == "mcp" { "mcp".to_owned() } else { format!("mcp {scope}") };
                let challenge = reply.header("www-authenticate").unwrap_or_default();
                assert!(
                    challenge
                        .ends_with(&format!("error=\"insufficient_scope\", scope=\"{words}\"")),
                    "{case}: {challenge}"
                );
            }
        }
    }
}

#[test]
fn the_server_behind_gets_what_was_judged() {
    let (server, api) = (server("mcp-gateway"), Api::start());
    let gateway = example().asks(&endpoint(), &server).passes_to(&api).start();
    let bearer = server.mint(for_this_server("mcp mcp:admin")).bearer();
    let names = ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"];
    // Each twice: NGINX before 1.23 judges the first of two lines.
    let [revision, method, name] = names;
    let sent = [
        ("Authorization", &*bearer),
        (revision, REVISION),
        (revision, "2025-11-25"),
        (method, "tools/call"),
        (method, "tools/list"),
        (name, "search"),
        (name, "delete"),
    ];
    let mut client = gateway.client();
    client.send_request("POST", "/mcp", &sent, b"");
    assert_eq!(client.read().status, 200);
    let head = api.last().head;
    for name in names {
        assert_eq!(head.headers.all(name).count(), 1, "{name}: {head:?}");
    }
}

#[test]
fn the_server_behind_refuses_headers_that_differ_from_the_body() {
    let tools = McpServer::start();
    let example = include_str!("../../nginx-conf/mcp.conf");
    // The command as the example has it, typed by its reader.
    let comment = |line: &str| line.strip_prefix("#   ").map(str::to_owned);
    let command: String = example.lines().filter_map(comment).collect::<Vec<_>>().join("\n");
    let command = command.replace("http://127.0.0.1:3000", &tools.url());
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.starts_with("HTTP/1.1 400 "), "{command}\n{told}");
}
