//! The example of a fleet's gateway, driven as its reader would, with the store's user as the
//! documentation writes it.

use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use phantom_token_test::example::{Example, endpoint, server};
use phantom_token_test::fleet::{pass, shown, wait_until_in_sync};
use phantom_token_test::process::{self, wait_until};
use phantom_token_test::store::{self, Store};
use phantom_token_test::tls::Authority;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Metrics, curl, port};

const KEY: &str = "B6nxvmTRfRFGpXbDlxLK3gqUj3QyOTVhLv6VHlzHf0k=\n";
const PASSWORD: &str = "the-stores-own-password";

/// What comes behind a store's server: a busy machine answers later than the 100 ms that examples leave at.
const PATIENT: &str = "timeout 5s; lock_timeout 20s";

/// The rules of the user that `docs/fleet.md` has readers make.
fn rules() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fleet.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let (_, rest) = guide.split_once("ACL SETUSER gateway on >PASSWORD ").unwrap();
    rest.lines().next().unwrap().to_owned()
}

/// A part of a manifest: what stands indented behind this line.
fn part(manifest: &str, name: &str) -> String {
    let (_, rest) = manifest.split_once(&format!("  {name}: |\n")).unwrap();
    let lines = rest.lines().take_while(|line| line.starts_with("    ") || line.is_empty());
    lines.map(|line| line.get(4..).unwrap_or_default().to_owned() + "\n").collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A store as a manifest starts it.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        process::end(&mut self.0, libc::SIGTERM);
    }
}

#[test]
fn the_fleet_in_kubernetes_and_in_containers() {
    let manifest = read("contrib/kubernetes/fleet.yaml");
    assert!(manifest.contains(&rules()), "the manifest has the user of the guide");
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("password"), PASSWORD).unwrap();
    std::fs::write(at("key"), KEY).unwrap();
    std::fs::set_permissions(at("key"), Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(at("password"), Permissions::from_mode(0o600)).unwrap();
    // The store as its container starts it, but for its port and its folders.
    let port = port::free();
    let program = format!("exec {} --bind 127.0.0.1 --port {port}", store::program().display());
    let script = part(&manifest, "start")
        .replace("/tmp/", &at(""))
        .replace("/etc/phantom-token-fleet/", &at(""));
    assert!(script.contains("exec valkey-server"));
    let mut command = Command::new("sh");
    command.arg("-euc").arg(script.replace("exec valkey-server", &program));
    command.current_dir(folder.path()).stdout(Stdio::null());
    process::bind_to_starter(&mut command);
    let _store = Started(command.spawn().unwrap());
    wait_until("the store to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());

    let demo = read("docker/demo/fleet.conf");
    let demo_key = read("docker/demo/fleet-key");
    assert!(demo_key.len() >= 32);
    let container = demo.split_once("server {\n    listen").unwrap().0;
    let user = format!("user gateway; password_file {};", at("password"));
    let container = container
        .replace("/run/secrets/phantom_token_fleet_key", &at("key"))
        .replace("redis://store:6379;", &format!("redis://127.0.0.1:{port}; {user} {PATIENT};"));
    let pod = part(&manifest, "fleet.conf")
        .replace("/etc/phantom-token-fleet/", &at(""))
        .replace("phantom-token-store:6379", &format!("127.0.0.1:{port}; {PATIENT}"));
    let gateways = [container, pod].map(|fleet| {
        Gateway::builder()
            .protect(&server, &api)
            .http(&fleet)
            .location("/shown", &shown(""))
            .location("/metrics", "phantom_token_status;")
            .start()
    });
    gateways.iter().for_each(wait_until_in_sync);
    wait_until("both to share", || {
        let token = server.issue();
        pass(&gateways[0], &token);
        pass(&gateways[1], &token) == "STORE"
    });
    for gateway in &gateways {
        assert_eq!(gateway.metrics().sum("store_errors_total{", ""), 0.0);
    }
}

#[test]
fn two_gateways_of_the_example_share_answers_and_purges() {
    let (server, api) = (server("api-gateway"), Api::start());
    let authority = Authority::generate();
    let identity = authority.server(&["localhost"]);
    let store = Store::builder().tls(&identity, None).user("gateway", PASSWORD, &rules()).start();
    let start = || -> (Gateway, u16) {
        let operators = port::free();
        let gateway = Example::read("fleet.conf")
            .asks(&endpoint(), &server)
            .passes_to(&api)
            .replace("rediss://valkey.internal:6379", &format!("{}; {PATIENT}", store.url()))
            .replace("127.0.0.1:9145", &format!("127.0.0.1:{operators}"))
            .file("fleet.key", KEY)
            .file("store-password.secret", &format!("{PASSWORD}\n"))
            .file("store-ca.pem", &authority.certificate)
            .start();
        for secret in [KEY.trim(), PASSWORD] {
            gateway.secret(secret);
        }
        (gateway, operators)
    };
    let [(first, first_operators), (second, second_operators)] = [start(), start()];
    let metrics = |operators: u16| {
        Metrics::parse(&curl(&[&format!("http://127.0.0.1:{operators}/metrics")]).output)
    };
    wait_until("both to share", || {
        let token = server.issue();
        first.get_as("/orders", &token.token);
        second.get_as("/orders", &token.token);
        server.introspections_of(&token.token) == 1
    });
    for operators in [first_operators, second_operators] {
        assert_eq!(metrics(operators).get("store_in_sync"), 1.0);
        let errors = metrics(operators).sum("store_errors_total{", "");
        assert_eq!(errors, 0.0, "the user may do all that is asked of it");
    }
    first.wait_for_access("token=MISS store=MISS");
    second.wait_for_access("token=STORE store=HIT");

    let token = server.issue();
    for gateway in [&first, &second, &first] {
        assert_eq!(gateway.get_as("/orders", &token.token).status, 200);
        assert_eq!(api.last().authorization(), [token.phantom()]);
        assert_eq!(gateway.get_as("/payments", &token.token).status, 200);
    }
    assert_eq!(server.introspections_of(&token.token), 1 + 3);
    server.revoke(&token.token);
    let form = format!("token={}", token.token);
    let purge = format!("http://127.0.0.1:{first_operators}/purge");
    let told = curl(&["-d", &form, "-o", "/dev/null", "-w", "%{http_code}", &purge]);
    assert_eq!(told.output, "204");
    assert_eq!(first.get_as("/orders", &token.token).status, 401);
    wait_until("the other to refuse it", || second.get_as("/orders", &token.token).status == 401);
}
