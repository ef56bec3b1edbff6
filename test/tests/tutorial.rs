//! The tutorial's flow with the tutorial's configuration, as `make run` and `make run-fleet` start it, and
//! with the commands that they print and the README shows.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use phantom_token_test::process::{self, PATIENCE, wait_for};
use phantom_token_test::{Api, AuthorizationServer, Gateway, curl, nginx, port};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// What a shell prints at these commands.
fn shell(commands: &str) -> String {
    let output =
        Command::new("sh").args(["-c", commands]).env("no_proxy", "*").output().expect("a shell");
    String::from_utf8(output.stdout).unwrap()
}

/// The demo, with ports of its own.
struct Demo {
    child: Child,
    /// Gateway, second gateway, authorization server, API.
    ports: [u16; 4],
    /// Where its files are.
    files: tempfile::TempDir,
    /// What it printed up to the invitation's end.
    invitation: String,
    /// Reads what it prints from then on.
    rest: Option<JoinHandle<String>>,
}

const OPTIONS: [&str; 4] =
    ["--gateway-port", "--second-gateway-port", "--authorization-server-port", "--api-port"];

fn command(ports: [u16; 4], what: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.arg("--nginx").arg(nginx::binary()).arg("--module").arg(nginx::module()).args(what);
    for (option, port) in OPTIONS.iter().zip(ports) {
        command.arg(option).arg(port.to_string());
    }
    command.current_dir(root()).stdout(Stdio::piped());
    process::bind_to_starter(&mut command);
    command
}

impl Demo {
    fn start(what: &[&str]) -> Self {
        let ports = [(); 4].map(|()| port::free());
        let files = tempfile::tempdir().unwrap();
        fs::set_permissions(files.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let mut child =
            command(ports, what).env("TMPDIR", files.path()).spawn().expect("the demo runs");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut invitation = String::new();
        while !invitation.ends_with("Ctrl-C ends it all.\n") {
            assert_ne!(output.read_line(&mut invitation).unwrap(), 0, "{invitation}");
        }
        let rest = std::thread::spawn(move || drain(output));
        Self { child, ports, files, invitation, rest: Some(rest) }
    }

    /// The commands that it prints.
    fn commands(&self) -> String {
        let (_, rest) = self.invitation.split_once("\n  TOKEN=").expect("a command");
        let rest = format!("  TOKEN={rest}");
        let lines = rest.lines().filter_map(|line| line.strip_prefix("  "));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// A text with its addresses in place of the tutorial's.
    fn moved(&self, text: &str) -> String {
        let [gateway, _, server, api] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        text.replace("127.0.0.1:8080", &gateway)
            .replace("127.0.0.1:9090", &server)
            .replace("127.0.0.1:3000", &api)
    }

    fn url(&self, target: &str) -> String {
        format!("http://127.0.0.1:{}{target}", self.ports[0])
    }

    /// Ends it as Ctrl-C does; what it printed after the invitation.
    fn end(mut self) -> String {
        process::signal(self.child.id(), libc::SIGINT).unwrap();
        let status = process::wait_exit(&mut self.child, PATIENCE).unwrap().expect("it ends");
        assert!(status.success(), "{status}");
        let left: Vec<_> = fs::read_dir(self.files.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        self.rest.take().unwrap().join().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        process::end(&mut self.child, libc::SIGTERM);
    }
}

fn drain(output: BufReader<ChildStdout>) -> String {
    output.lines().map_while(Result::ok).map(|line| line + "\n").collect()
}

/// The commands of a section of the README.
fn readme_commands(section: &str) -> String {
    let readme = read("README.md");
    let (_, rest) = readme.split_once(&format!("\n## {section}\n")).expect(section);
    let text = rest.split("\n## ").next().unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(block, _)| block).collect()
}

#[test]
fn the_demo_and_the_commands_that_it_prints() {
    if nginx::is_only_unpacked() {
        return nginx::skip("this NGINX is not installed");
    }
    let demo = Demo::start(&["--conf", "nginx-conf/tutorial.conf"]);
    assert_eq!(
        demo.commands(),
        demo.moved(&readme_commands("Try it")),
        "the README's are the same"
    );
    let printed = shell(&demo.commands());
    let (with_token, without) = printed.split_once("HTTP/1.1 401 ").expect("a refusal");
    assert!(with_token.starts_with("HTTP/1.1 200 "), "{printed}");
    assert!(with_token.contains("API Received JWT: eyJ"), "{printed}");
    assert!(without.contains("WWW-Authenticate: Bearer realm=\"api\""), "{printed}");

    let line = format!("its status page       {}", demo.url("/status"));
    assert!(demo.invitation.contains(&line), "{}", demo.invitation);
    assert!(curl(&[&demo.url("/status")]).output.starts_with("<!doctype html>"));
    let json = curl(&[&demo.url("/status?format=json")]).output;
    assert!(json.contains(&format!("http://127.0.0.1:{}/oauth", demo.ports[2])), "{json}");

    // What it says of a server of one's own.
    assert!(demo.invitation.contains("three lines of nginx-conf/tutorial.conf"));
    let configuration = read("nginx-conf/tutorial.conf");
    for name in ["introspection_endpoint", "client_id", "client_secret"] {
        let directive = format!("phantom_token_{name}");
        assert!(demo.invitation.contains(&directive), "{}", demo.invitation);
        assert_eq!(configuration.matches(&format!("{directive} ")).count(), 1, "{directive}");
    }
    let log = demo.end();
    assert!(log.contains("\"GET /api HTTP/1.1\" 200"), "the logs are shown: {log}");
}

#[test]
fn the_demo_in_front_of_a_server_of_one_s_own() {
    if nginx::is_only_unpacked() {
        return nginx::skip("this NGINX is not installed");
    }
    let server = AuthorizationServer::start();
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("tutorial.conf");
    let own = read("nginx-conf/tutorial.conf").replace("http://127.0.0.1:9090", server.url());
    fs::write(&conf, own).unwrap();
    let demo = Demo::start(&["--conf", conf.to_str().unwrap()]);
    let endpoint = server.introspection_url();
    let said = |words: &str| demo.invitation.contains(words);
    assert!(said(&format!("authorization server  {endpoint}")), "{}", demo.invitation);
    // The demo's own server issues nothing that this one knows.
    assert!(!said("grant_type") && said("in place of ACCESS_TOKEN"), "{}", demo.invitation);
    let token = server.issue();
    let printed = shell(&demo.commands().replace("ACCESS_TOKEN", &token.token));
    assert!(printed.starts_with("HTTP/1.1 200 "), "{printed}");
    demo.end();
}

#[test]
fn the_demo_of_a_fleet_and_the_commands_that_it_prints() {
    if nginx::is_only_unpacked() {
        return nginx::skip("this NGINX is not installed");
    }
    let demo = Demo::start(&["--fleet"]);
    // They share some moments after they have begun.
    let printed = wait_for("an answer from the store", || {
        let printed = shell(&demo.commands());
        printed.contains("STORE").then_some(printed)
    });
    let lines: Vec<_> = printed.lines().map(str::trim_end).collect();
    let outcomes = ["MISS", "STORE", "HIT"].map(|outcome| format!("Phantom-Token: {outcome}"));
    assert_eq!(lines[..3], outcomes);
    assert_eq!(lines[3..], ["HTTP/1.1 204 No Content", "HTTP/1.1 401 Unauthorized"]);
    for port in &demo.ports[..2] {
        let url = format!("http://127.0.0.1:{port}/status");
        assert!(demo.invitation.contains(&url), "{}", demo.invitation);
        assert!(curl(&[&url]).output.starts_with("<!doctype html>"));
    }
    assert!(demo.invitation.contains("three lines of test/src/demo/fleet.conf"));
    demo.end();
}

#[test]
fn who_is_in_the_way_is_named_with_the_variable_to_set() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let me = format!("(process {})", std::process::id());
    for (position, variable) in
        ["GATEWAY_PORT", "SECOND_GATEWAY_PORT", "AUTHORIZATION_SERVER_PORT", "API_PORT"]
            .iter()
            .enumerate()
    {
        let mut ports = [(); 4].map(|()| port::free());
        ports[position] = taken;
        let fleet = *variable == "SECOND_GATEWAY_PORT";
        let what: &[&str] =
            if fleet { &["--fleet"] } else { &["--conf", "nginx-conf/tutorial.conf"] };
        let output = command(ports, what).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let remedy = format!("give another port, as {variable}=PORT\n");
        assert!(!output.status.success() && said.ends_with(&remedy), "{said}");
        assert!(said.contains(&format!("port {taken}")) && said.contains(&me), "{said}");

        // Before anything is built.
        let settings = [format!("{variable}={taken}")];
        let (succeeded, said) = make(if fleet { "run-fleet" } else { "run" }, &settings);
        assert!(!succeeded && said.contains(&remedy), "{said}");
        assert!(said.contains(&format!("port {taken} is taken")), "{said}");
    }
    for (settings, remedy) in [
        (["API_PORT=http"], "write API_PORT=PORT, with a number from 1 to 65535"),
        (["API_PORT=65536"], "write API_PORT=PORT, with a number from 1 to 65535"),
        (["API_PORT=8080"], "GATEWAY_PORT and API_PORT are both 8080: write API_PORT=PORT"),
    ] {
        let (succeeded, said) = make("run", &settings.map(str::to_owned));
        assert!(!succeeded && said.contains(remedy), "{said}");
    }
}

/// `make TARGET` with these variables; whether it succeeds, and what it says.
fn make(target: &str, settings: &[String]) -> (bool, String) {
    let mut command = Command::new("make");
    command.arg(target).args(settings).current_dir(root());
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(name);
    }
    let output = command.output().expect("make is installed");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn an_opaque_token_goes_in_and_a_jwt_comes_out() {
    let server = AuthorizationServer::start();
    let api = Api::start();
    let gateway_port = port::free();
    let config = read("nginx-conf/tutorial.conf")
        .replace("http://127.0.0.1:9090", server.url())
        .replace("http://127.0.0.1:3000", &api.url())
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{gateway_port}"));
    let gateway = Gateway::builder().verbatim(&config, gateway_port).start();
    let url = format!("{}/api", gateway.url());

    // The README's first command: no tool but curl and sed.
    let commands = readme_commands("Try it");
    let (first, _) = commands.split_once("\ncurl ").unwrap();
    let first = first.replace("http://127.0.0.1:9090", server.url());
    let output = shell(&format!(
        "{first}\necho $TOKEN\ncurl -s -H \"Authorization: Bearer $TOKEN\" {url}\n"
    ));
    let (token, answer) = output.split_once('\n').unwrap();
    let answer: serde_json::Value = serde_json::from_str(answer).expect(answer);
    let jwt = answer["message"].as_str().unwrap().strip_prefix("API Received JWT: ").unwrap();
    assert!(server.key().verifies(jwt));
    assert_ne!(token, jwt);
    assert_eq!(answer["tokenPayload"]["scope"], "read");
    assert_eq!(answer["tokenPayload"]["sub"], "test-client");

    let authorization = format!("Authorization: Bearer {token}");
    let status = |arguments: &[&str]| {
        let fixed = ["-o", "/dev/null", "-w", "%{http_code}", &url];
        curl(&[arguments, &fixed].concat()).output
    };
    assert_eq!(status(&["-H", &authorization]), "200");
    assert_eq!(server.introspections_of(token), 1, "the second answer comes from the cache");
    assert_eq!(status(&[]), "401");
    assert_eq!(status(&["-H", &format!("{authorization}z")]), "401");
    assert_eq!(api.count(), 2);
    assert_eq!(curl(&[&gateway.url()]).output, "The gateway runs. The API is at /api.\n");
}
