//! The guide from `auth_request` and njs, its script and its three configurations as they stand there.
//! They need an njs that fits the NGINX under test, the distribution's: `make test NGINX=debian` names
//! it in `NJS_MODULE`. What needs no njs is in `guides.rs`.

use std::path::{Path, PathBuf};

use phantom_token_test::nginx::skip;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Response, Script, port};

const SECRET: &str = "Password1";
/// The guide's, for `id:secret`, and that of the client with the secret above.
const CREDENTIALS: [&str; 2] = ["aWQ6c2VjcmV0", "aWQ6UGFzc3dvcmQx"];

/// Replaces what must be there.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "there is {from}");
    text.replace(from, to)
}

/// The guide, and the neighbours of its gateways.
struct Guide {
    text: String,
    njs: PathBuf,
    server: AuthorizationServer,
    api: Api,
}

impl Guide {
    /// `None` where there is no njs for the NGINX under test.
    fn read() -> Option<Self> {
        let Some(njs) = std::env::var_os("NJS_MODULE").map(PathBuf::from) else {
            skip("NJS_MODULE names no njs");
            return None;
        };
        assert!(njs.exists(), "{} is not there; `make setup` provides it", njs.display());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join("docs/migrating-from-auth-request-njs.md"));
        let server = AuthorizationServer::builder().introspection_client("id", SECRET).start();
        Some(Self { text: text.unwrap(), njs, server: server.unwrap(), api: Api::start() })
    }

    /// The blocks of code in a language.
    fn blocks(&self, language: &str) -> Vec<&str> {
        let blocks = self.text.split("```").skip(1).step_by(2);
        blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
    }

    /// The configuration before the migration.
    fn before(&self) -> String {
        let config = self.addressed(self.blocks("nginx")[0]);
        let config = replace(&config, "conf.d/oauth.js", "oauth.js");
        let config = replace(&config, "/var/cache/tokens", "tokens");
        let config = replace(&config, CREDENTIALS[0], CREDENTIALS[1]);
        let load = format!("load_module {}", self.njs.display());
        replace(&config, "load_module modules/ngx_http_js_module.so", &load)
    }

    /// The configuration after it.
    fn after(&self) -> String {
        let config = self.addressed(self.blocks("nginx")[1]);
        replace(&config, "/etc/nginx/client-secret", "phantom-token.secret")
    }

    /// Both in one NGINX: the canary, with what its old half takes from before. One machine plays
    /// many clients, and the new half says that it was it.
    fn canary(&self) -> String {
        let before = self.before();
        let (load, rest) = before.split_once("http {").unwrap();
        let (http, locations) = rest.split_once("server {").unwrap();
        let locations = &locations[locations.find("location = /_introspect {").unwrap()..];
        let locations = locations.strip_suffix("    }\n}\n").expect("server and http end");

        let canary = self.addressed(self.blocks("nginx")[2]);
        let canary = replace(&canary, "/etc/nginx/client-secret", "phantom-token.secret");
        let canary = replace(&canary, "$remote_addr", "$arg_client");
        let canary = replace(&canary, "phantom_token on;", "phantom_token on; add_header way new;");
        let canary = replace(&canary, "server {", &format!("server {{\n{locations}"));
        let load_this = "load_module modules/ngx_http_phantom_token_module.so;";
        format!("{load_this}\n{load}http {{\n{http}{canary}}}\n")
    }

    fn addressed(&self, config: &str) -> String {
        let endpoint = "https://login.example.com/oauth/v2/oauth-introspect";
        let config = replace(config, endpoint, &self.server.introspection_url());
        replace(&config, "http://127.0.0.1:3000", &self.api.url())
    }

    /// Runs a configuration, with what NGINX and a test need besides. The access log shows the
    /// `Authorization` header.
    fn run(&self, config: &str) -> Gateway {
        let config = replace(
            config,
            "http {",
            "error_log error.log info;\npid nginx.pid;\nevents {}\nhttp {\n\
             log_format seen $http_authorization;\naccess_log access.log seen;\n",
        );
        let start = |port: u16| {
            let listen = format!("server {{\nlisten 127.0.0.1:{port};\n");
            Gateway::builder()
                .verbatim(&replace(&config, "server {", &listen), port)
                .file("oauth.js", self.blocks("js")[0])
                .file("phantom-token.secret", format!("{SECRET}\n"))
                .secret(SECRET)
                .try_start()
        };
        for _ in 0..5 {
            match start(port::free()) {
                Ok(gateway) => return gateway,
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("NGINX does not start:\n{log}"),
            }
        }
        panic!("every port tried was taken");
    }

    /// An active token is exchanged, by one introspection, and others are refused.
    fn assert_works(&self, gateway: &Gateway) {
        let before = self.api.count();
        let token = self.server.issue();
        for _ in 0..2 {
            assert_eq!(gateway.get_as("/api", &token.token).status, 200);
            assert_eq!(self.api.last().authorization(), [token.phantom()]);
        }
        assert_eq!(self.server.introspections_of(&token.token), 1);
        assert_eq!(gateway.get("/api", &[]).status, 401);
        assert_eq!(gateway.get_as("/api", "unknown").status, 401);
        assert_eq!(self.api.count(), before + 2);
    }

    /// What a request gets while the authorization server fails.
    fn failure(&self, gateway: &Gateway) -> Response {
        let token = self.server.issue();
        self.server.script(&token.token, Script::status(502));
        gateway.get_as("/api", &token.token)
    }
}

#[test]
fn before_and_after() {
    let Some(guide) = Guide::read() else {
        return;
    };
    let options = |gateway: &Gateway| {
        let mut client = gateway.client();
        client.send_request("OPTIONS", "/api/echo", &[], b"");
        client.read().status
    };

    let old = guide.run(&guide.before());
    guide.assert_works(&old);
    // What the guide says of it.
    let refused = old.get_as("/api", "unknown");
    assert_eq!(refused.header("www-authenticate"), None);
    let failed = guide.failure(&old);
    assert_eq!((failed.status, failed.header("content-type")), (500, Some("text/html")));
    assert_eq!(options(&old), 401);
    let token = guide.server.issue();
    old.get_as("/api", &token.token);
    old.wait_for_access(&token.bearer());
    old.allow("auth request unexpected status");
    drop(old);

    let new = guide.run(&guide.after());
    guide.assert_works(&new);
    Reply::unauthorized(CHALLENGE).assert(&new.get("/api", &[]));
    Reply::unauthorized(INVALID_TOKEN).assert(&new.get_as("/api", "unknown"));
    let failed = guide.failure(&new);
    assert_eq!((failed.status, failed.header("content-type")), (500, Some("application/json")));
    assert_eq!(options(&new), 200);
    let token = guide.server.issue();
    new.get_as("/api", &token.token);
    new.wait_for_access(&token.phantom());
}

#[test]
fn both_side_by_side() {
    let Some(guide) = Guide::read() else {
        return;
    };
    let canary = guide.canary();
    let gateway = guide.run(&canary);
    let token = guide.server.issue();
    // How many of a hundred clients go the new way.
    let new_ones = |gateway: &Gateway| {
        (0..100)
            .filter(|client| {
                let response = gateway.get_as(&format!("/api?client={client}"), &token.token);
                assert_eq!(response.status, 200);
                assert_eq!(guide.api.last().authorization(), [token.phantom()]);
                response.header("way") == Some("new")
            })
            .count()
    };
    let share = new_ones(&gateway);
    assert!(share > 0 && share < 50, "{share}");
    // One for each way.
    assert_eq!(guide.server.introspections_of(&token.token), 2);
    drop(gateway);

    let back = guide.run(&replace(&canary, "    10%  /new;\n", ""));
    assert_eq!(new_ones(&back), 0);
}
