//! Configurations and commands that the guides tell their readers to use, as they stand there: those of the
//! README, of `nginx-conf/` and of `docs/`.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use phantom_token_test::nginx::{self, configured_with};
use phantom_token_test::rig::{
    CHALLENGE, FORBIDDEN, INVALID_TOKEN, SERVER_ERROR, UNAUTHORIZED, UNMET,
};
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

/// What a guide shows of a language, in its order.
fn blocks<'a>(guide: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let rests = guide.split(fence.as_str()).skip(1);
    rests.filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect()
}

/// A section of a guide.
fn section<'a>(guide: &'a str, heading: &str) -> &'a str {
    let (_, rest) = guide.split_once(&format!("\n{heading}\n")).expect(heading);
    rest.split("\n## ").next().expect("its text")
}

/// The configuration of a canary that a guide shows.
fn canary(guide: &str) -> &str {
    let mut shown = blocks(guide, "nginx").into_iter();
    shown.find(|block| block.contains("split_clients")).expect("a canary in the guide")
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
    let readme = read("README.md");
    let ours = blocks(section(&readme, "### Coming from OpenResty"), "nginx")[1];
    for line in ours.lines() {
        assert!(config.contains(line), "the README's has a line of its own: {line}");
    }
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
    for other in ["packaging/tarball/INSTALL.md.in", "packaging/START.md.in"] {
        assert_eq!(first_server(&read(other)), config, "{other}");
    }
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

#[test]
fn the_readmes_configuration_and_the_command_for_its_secret() {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let readme = read("README.md");
    let guide = section(&readme, "## Use it");
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("introspection-secret").display().to_string();

    let [command] = blocks(guide, "sh")[..] else { panic!("one command: {guide}") };
    assert!(read("docs/directives.md").contains(command), "the directive's section has it, too");
    let command = replace(command, "/etc/nginx/introspection-secret", &secret);
    let mut shell =
        Command::new("sh").args(["-c", &command]).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("{SECRET}\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);

    let port = port::free();
    let config = blocks(guide, "nginx")[0];
    let config = replace(config, "http {", "pid nginx.pid;\nhttp {\naccess_log access.log;");
    let config = replace(&config, "listen 8080", &format!("listen 127.0.0.1:{port}"));
    let endpoint = format!("https://login.example.com{INTROSPECTION_PATH}");
    let config = replace(&config, &endpoint, &server.introspection_url());
    let config = replace(&config, "/etc/nginx/introspection-secret", &secret);
    let config = replace(&config, "http://127.0.0.1:3000", &api.url());
    let config = format!("error_log error.log info;\n{config}");
    let gateway = Gateway::builder().verbatim(&config, port).secret(SECRET).start();
    let token = server.issue();
    Reply::unauthorized(CHALLENGE).assert(&gateway.get("/api", &[]));
    assert_eq!(gateway.get_as("/api", &token.token).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
    let warnings = gateway.error_log();
    assert!(!warnings.contains("may be read"), "{warnings}");
}

/// Ends the NGINX that a guide's commands have started, if they did not.
struct Started(PathBuf);

impl Drop for Started {
    fn drop(&mut self) {
        let pid = fs::read_to_string(&self.0).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid {
            let _ = process::signal(pid, libc::SIGTERM);
        }
    }
}

#[test]
fn trying_an_example_as_the_examples_page_says() {
    if nginx::is_only_unpacked() {
        return nginx::skip("this NGINX is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let (at, port) = (|name: &str| folder.path().join(name), port::free());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    for name in ["build", "nginx-conf"] {
        fs::create_dir(at(name)).unwrap();
    }
    symlink(nginx::binary(), at("build/nginx")).unwrap();
    fs::copy(nginx::module(), at("build/ngx_http_phantom_token_module.so")).unwrap();
    let moved = |text: &str| replace(text, "127.0.0.1:8080", &format!("127.0.0.1:{port}"));
    fs::write(at("nginx-conf/minimal.conf"), moved(&read("nginx-conf/minimal.conf"))).unwrap();

    let pid = at("build/try/logs/nginx.pid");
    let started = Started(pid.clone());
    let page = read("nginx-conf/README.md");
    let [check, start, stop] = blocks(section(&page, "## Trying one"), "sh")[..] else {
        panic!("other steps than to check, to start, to stop: {page}");
    };
    let check = check.strip_prefix("make build\n").expect("it begins with the build");
    let run = |commands: &str| {
        let output = Command::new("sh")
            .args(["-ec", commands])
            .current_dir(folder.path())
            .env("no_proxy", "*")
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{commands}: {said}");
        said
    };
    assert!(run(check).contains("test is successful"));
    let (start, ask) = start.split_once("curl ").expect("a request");
    run(start);
    process::wait_until("NGINX", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let answer = run(&moved(&format!("curl {ask}")));
    assert!(answer.contains("HTTP/1.1 401 "), "{answer}");
    run(stop);
    process::wait_until("its end", || !pid.exists());
    drop(started);
}

#[test]
fn cors_headers_as_version_1_of_the_lua_plugin_sends_them() {
    let (server, api) = (
        AuthorizationServer::builder().introspection_client("id", SECRET).start().unwrap(),
        Api::start(),
    );
    let guide = read("docs/migrating-from-lua.md");
    let config = blocks(section(&guide, "### From version 1.x"), "nginx")[0];
    let port = port::free();
    let client = format!(
        "server {{\nlisten 127.0.0.1:{port};\n\
         phantom_token_introspection_endpoint {};\nphantom_token_client_id id;\n\
         phantom_token_client_secret {SECRET};\n",
        server.introspection_url()
    );
    let config = replace(config, "server {\n", &client);
    let config = replace(&config, "http://127.0.0.1:3000", &api.url());
    let gateway = gateway(&config, port);
    let token = server.issue().bearer();
    let cors = |origin: &str, headers: &[(&str, &str)]| {
        let response = gateway.get("/api", &[headers, &[("Origin", origin)]].concat());
        let header = |name: &str| response.header(name).unwrap_or("none").to_owned();
        (
            response.status,
            header("access-control-allow-origin"),
            header("access-control-allow-credentials"),
        )
    };
    let (good, none) = ([("Authorization", token.as_str())], "none".to_owned());
    for origin in ["https://www.example.com", "https://app.example.com"] {
        assert_eq!(cors(origin, &[]), (401, origin.to_owned(), "true".to_owned()));
        assert_eq!(cors(origin, &good), (200, none.clone(), none.clone()), "the API's own alone");
    }
    for origin in ["https://www.example.org", "https://www.example.com.example.org", "null", ""] {
        assert_eq!(cors(origin, &[]), (401, none.clone(), none.clone()), "{origin}");
    }
}

#[test]
fn the_index_of_the_examples_names_each() {
    let page = read("nginx-conf/README.md");
    let index = section(&page, "## Which there are");
    let mut named: Vec<_> = index
        .lines()
        .filter_map(|row| row.strip_prefix("| [")?.split_once("]("))
        .map(|(name, rest)| {
            assert!(rest.starts_with(&format!("{name}) | ")), "{name} leads elsewhere: {rest}");
            name.to_owned()
        })
        .collect();
    named.sort();
    let files = fs::read_dir(path("nginx-conf")).unwrap();
    let mut files: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|name| name.ends_with(".conf"));
    files.sort();
    assert_eq!(named, files);
}

/// What these are is what the gateway answers, as tests of their own see.
#[test]
fn the_page_of_answers_has_each_body_and_challenge() {
    let page = read("docs/answers.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for answer in [UNAUTHORIZED, FORBIDDEN, UNMET, SERVER_ERROR, CHALLENGE, INVALID_TOKEN] {
        assert!(page.contains(&format!("`{}`", answer.trim_end())), "{answer}");
    }
}

/// All pages of the documentation.
fn pages() -> Vec<String> {
    let folders = ["", "docs", "nginx-conf", "contrib"].map(path);
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|file| file.unwrap().path());
    let pages = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    pages.map(|page| fs::read_to_string(page).unwrap()).collect()
}

#[test]
fn a_shell_can_read_every_command() {
    let mut read = 0;
    for page in pages() {
        for block in blocks(&page, "sh") {
            let output = Command::new("bash").args(["-n", "-c", block]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{said}: {block}");
            read += 1;
        }
    }
    assert!(read > 40, "only {read} blocks");
}

#[test]
fn each_test_that_a_page_names_exists() {
    let is_there = |name: &str| {
        ["test/tests", "engine/tests"].iter().any(|folder| {
            [format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")]
                .iter()
                .any(|file| path(file).exists())
        })
    };
    let mut named = 0;
    for page in pages() {
        for rest in page.split("--test ").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
            let name = name.unwrap_or_default();
            assert!(is_there(name), "--test {name}");
            named += 1;
        }
        for place in ["test/tests/", "engine/tests/"] {
            for rest in page.split(place).skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_/.".contains(c));
                let file = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
                assert!(path(&format!("{place}{file}")).exists(), "{place}{file}");
                named += 1;
            }
        }
    }
    assert!(named > 30, "only {named}");
}

#[test]
fn everything_that_make_is_told_to_make_exists() {
    let makefile = read("Makefile");
    let exists = |target: &str| {
        makefile.lines().any(|line| {
            let names = line.split(':').next().unwrap_or_default();
            line.contains(':') && names.split_whitespace().any(|name| name == target)
        })
    };
    let mut named = 0;
    for page in pages() {
        let in_blocks = blocks(&page, "sh").into_iter().flat_map(str::lines);
        let in_text = page.split('`').filter(|text| !text.contains('\n'));
        for command in in_blocks.chain(in_text).flat_map(|line| line.split("&&")) {
            // What variables are set to does not matter, nor a comment.
            let command = command.split(" #").next().unwrap_or_default().trim();
            let words: Vec<_> = command.split_whitespace().collect();
            let Some(at) = words.iter().position(|word| !word.contains('=')) else { continue };
            if words[at] != "make" {
                continue;
            }
            let target = words[at + 1..]
                .iter()
                .find(|word| !word.starts_with('-') && !word.contains(['=', '\'', '"']));
            if let Some(target) = target {
                assert!(exists(target), "`{command}`: the Makefile has no {target}");
                named += 1;
            }
        }
    }
    assert!(named > 50, "only {named}");
}
