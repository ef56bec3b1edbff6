//! Configurations that the guides in `docs/` tell their readers to use, as they stand there.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use phantom_token_test::nginx::configured_with;
use phantom_token_test::rig::{CHALLENGE, UNAUTHORIZED};
use phantom_token_test::tls::{Identity, server_config};
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, curl, port, process};

const SECRET: &str = "Password1";
const INTROSPECTION_PATH: &str = "/oauth/v2/oauth-introspect";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// Replaces what must be there.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "there is {from}");
    text.replace(from, to)
}

/// A gateway whose `http` block is this, with the secret in `phantom-token.secret`.
fn gateway(http: &str, port: u16) -> Gateway {
    let config = format!(
        "load_module modules/ngx_http_phantom_token_module.so;\n\
         error_log error.log info;\npid nginx.pid;\nevents {{}}\n\
         http {{\naccess_log access.log;\n{http}}}\n"
    );
    Gateway::builder()
        .verbatim(&config, port)
        .file("phantom-token.secret", format!("{SECRET}\n"))
        .secret(SECRET)
        .start()
}

/// The configuration of a canary that a guide shows.
fn canary(guide: &str) -> &str {
    guide
        .split("```nginx\n")
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .find(|block| block.contains("split_clients"))
        .expect("a canary in the guide")
}

/// The tutorial's API, which is a script for Node.js.
struct Script {
    child: Child,
    port: u16,
}

impl Script {
    fn start() -> Self {
        let mut command = Command::new("node");
        command.arg(path("docker/tutorial/api.js")).arg("0").stdout(Stdio::piped());
        process::bind_to_starter(&mut command);
        let mut child = command.spawn().expect("node is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().parse().expect("its port");
        Self { child, port }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        process::end(&mut self.child, libc::SIGTERM);
    }
}

#[test]
fn the_tutorial_with_docker() {
    // Self-signed, and nobody trusts it: the tutorial does not verify.
    let identity = Identity::self_signed(&["localhost"]);
    let server = AuthorizationServer::builder()
        .tls(server_config(&identity, None), "localhost")
        .start()
        .unwrap();
    let api = Script::start();
    let config = read("docker/tutorial/default.conf");
    assert!(read("docs/tutorial.md").contains(&config), "the guide shows the file");
    let port = port::free();
    let config = replace(&config, "listen 8080", &format!("listen 127.0.0.1:{port}"));
    let config = replace(&config, "https://curityserver:8443", server.url());
    let config = replace(&config, "host.docker.internal:3000", &format!("127.0.0.1:{}", api.port));
    let gateway = gateway(&config, port);
    let url = format!("{}/api", gateway.url());

    assert_eq!(curl(&[&url]).output, UNAUTHORIZED);
    let token = curl(&[
        "-k",
        "-u",
        "test-client:Password1",
        "-X",
        "POST",
        &server.token_url(),
        "-d",
        "grant_type=client_credentials",
        "-d",
        "scope=read",
    ]);
    let token: serde_json::Value = serde_json::from_str(&token.output).unwrap();
    let token = token["access_token"].as_str().unwrap();
    for _ in 0..2 {
        let answer = curl(&["-H", &format!("Authorization: Bearer {token}"), &url]);
        let answer: serde_json::Value = serde_json::from_str(&answer.output).unwrap();
        let jwt = answer["message"].as_str().unwrap().strip_prefix("API Received JWT: ").unwrap();
        assert!(server.key().verifies(jwt));
        assert_eq!(answer["tokenPayload"]["scope"], "read");
    }
    assert_eq!(server.introspections_of(token), 1);
}

#[test]
fn the_gateway_in_kubernetes() {
    let (server, api) = (
        AuthorizationServer::builder().introspection_client("api-gateway", SECRET).start().unwrap(),
        Api::start(),
    );
    let manifest = read("contrib/kubernetes/gateway.yaml");
    let (_, config) = manifest.split_once("gateway.conf: |\n").unwrap();
    let config: String =
        config.lines().take_while(|line| *line != "---").map(|line| format!("{line}\n")).collect();
    let (port, operators) = (port::free(), port::free());
    let config = replace(&config, "listen 8080", &format!("listen 127.0.0.1:{port}"));
    let config = replace(&config, "listen 9145", &format!("listen 127.0.0.1:{operators}"));
    let endpoint = format!("https://login.example.com{INTROSPECTION_PATH}");
    let config = replace(&config, &endpoint, &server.introspection_url());
    let config = replace(&config, "/etc/phantom-token/secret", "phantom-token.secret");
    let config = replace(&config, "http://orders.default.svc.cluster.local:3000", &api.url());
    let gateway = gateway(&config, port);
    let token = server.issue();

    assert_eq!(gateway.get("/healthz", &[]).status, 204);
    Reply::unauthorized(CHALLENGE).assert(&gateway.get("/api", &[]));
    assert_eq!(gateway.get_as("/api", &token.token).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
    let operators = format!("http://127.0.0.1:{operators}");
    let metrics = curl(&[&format!("{operators}/metrics")]).output;
    assert!(metrics.contains("phantom_token_requests_total{outcome=\"miss\"} 1"), "{metrics}");
    let form = format!("token={}", token.token);
    let purge = ["-d", &form, "-w", "%{http_code}", &format!("{operators}/purge")];
    assert_eq!(curl(&purge).output, "204");
    assert_eq!(gateway.get_as("/api", &token.token).status, 200);
    assert_eq!(server.introspections(), 2);
}

#[test]
fn a_canary_beside_auth_request() {
    if !configured_with("--with-http_auth_request_module") {
        return;
    }
    let (server, api) = (
        AuthorizationServer::builder().introspection_client("id", SECRET).start().unwrap(),
        Api::start(),
    );
    let guide = read("docs/migrating-from-auth-request-njs.md");
    let block = canary(&guide);
    let port = port::free();
    // One machine plays many clients; a server with one answer plays the script.
    let script = port::free();
    let config = replace(block, "$remote_addr", "$arg_client");
    let config = replace(
        &config,
        "server {",
        &format!(
            "server {{\nlisten 127.0.0.1:{script};\nadd_header jwt from-the-script;\nreturn 204;\n}}\n\
             server {{\nlisten 127.0.0.1:{port};\n\
             location = /_introspect {{ internal; proxy_pass http://127.0.0.1:{script}; }}"
        ),
    );
    let endpoint = format!("https://login.example.com{INTROSPECTION_PATH}");
    let config = replace(&config, &endpoint, &server.introspection_url());
    let config = replace(&config, "/etc/nginx/client-secret", "phantom-token.secret");
    let config = replace(&config, "http://127.0.0.1:3000", &api.url());
    let count = |gateway: &Gateway, token: &phantom_token_test::authorization_server::Token| {
        let mut ways = [0, 0];
        for client in 0..100 {
            let target = format!("/api/echo?client={client}");
            assert_eq!(gateway.get_as(&target, &token.token).status, 200);
            let received = api.last();
            assert_eq!(received.head.target, target);
            let phantom = token.phantom();
            match received.authorization()[..] {
                ["Bearer from-the-script"] => ways[0] += 1,
                [jwt] if jwt == phantom => ways[1] += 1,
                ref other => panic!("{other:?}"),
            }
        }
        ways
    };
    let token = server.issue();
    let canary = gateway(&config, port);
    let [old, new] = count(&canary, &token);
    assert!(new > 0 && old > new, "{old} and {new}");
    // Nobody gets in by the inner locations' names.
    assert_eq!(canary.get_as("/old/api/echo", &token.token).status, 404);
    assert_eq!(canary.get_as("/new/api/echo", &token.token).status, 404);
    drop(canary);

    // Going back.
    let back = gateway(&replace(&config, "    10%  /new;\n", ""), port);
    assert_eq!(count(&back, &token), [100, 0]);
}

#[test]
fn a_canary_in_front_of_two_gateways() {
    let guide = read("docs/migrating-from-the-c-module.md");
    let [port, old, new] = [(); 3].map(|()| port::free());
    // One machine plays many clients, and two answers the two gateways.
    let config = replace(canary(&guide), "$remote_addr", "$arg_client");
    let config = replace(&config, "127.0.0.1:8081", &format!("127.0.0.1:{old}"));
    let config = replace(&config, "127.0.0.1:8082", &format!("127.0.0.1:{new}"));
    let config = replace(&config, "listen 8080", &format!("listen 127.0.0.1:{port}"));
    let gateways = format!(
        "server {{\nlisten 127.0.0.1:{old};\nreturn 200 old;\n}}\n\
         server {{\nlisten 127.0.0.1:{new};\nreturn 200 new;\n}}\n"
    );
    let answered_by = |gateway: &Gateway, name: &str| {
        let answer = |client| gateway.get(&format!("/api?client={client}"), &[]).text();
        (0..100).filter(|client| answer(*client) == name).count()
    };
    let front = gateway(&format!("{config}{gateways}"), port);
    let share = answered_by(&front, "new");
    assert!(share > 0 && share < 50, "{share}");
    assert_eq!(answered_by(&front, "old"), 100 - share);
    drop(front);

    // Going back.
    let config = replace(&config, "    10%  new_gateway;\n", "");
    let front = gateway(&format!("{config}{gateways}"), port);
    assert_eq!(answered_by(&front, "old"), 100);
}

/// What a package tells who has just installed it: the server in its text, whatever it is indented by.
fn first_server(text: &str) -> String {
    let lines = text.lines().skip_while(|line| line.trim() != "server {");
    let indent = lines.clone().next().expect("a server").len() - "server {".len();
    let lines = lines.map(|line| line.get(indent..).unwrap_or_default());
    let mut block: Vec<_> = lines.clone().take_while(|line| *line != "}").collect();
    block.push("}");
    block.join("\n")
}

#[test]
fn the_first_server_after_a_package() {
    let config = first_server(&read("packaging/debian/README.Debian"));
    assert_eq!(first_server(&read("packaging/tarball/INSTALL.md.in")), config);
    let (server, api) = (
        AuthorizationServer::builder().introspection_client("api-gateway", SECRET).start().unwrap(),
        Api::start(),
    );
    let port = port::free();
    let config = replace(&config, "listen 8080", &format!("listen 127.0.0.1:{port}"));
    let endpoint = format!("https://login.example.com{INTROSPECTION_PATH}");
    let config = replace(&config, &endpoint, &server.introspection_url());
    let config = replace(&config, "http://127.0.0.1:3000", &api.url());
    let gateway = gateway(&config, port);
    let token = server.issue();
    Reply::unauthorized(CHALLENGE).assert(&gateway.get("/", &[]));
    assert_eq!(gateway.get_as("/", &token.token).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
}
