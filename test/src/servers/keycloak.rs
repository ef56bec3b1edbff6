//! Keycloak, from Maven: built once for plain HTTP and once for mutual TLS, with a database that has
//! the realm in it already.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::assertions::{self, Asked};
use super::bench::{Bench, outcome};
use super::cases::{DPOP_BOUND, by_certificate, case, granted};
use super::{Case, Grant, Home, Process, Profile, Running, Server, Site, Web, folder, java};
use crate::jwt::SigningKey;
use crate::port;

pub(super) struct Keycloak;

const VERSION: &str = "26.7.3";
const SECRET: &str = "Password1";
const REALM: &str = "realms/example/protocol/openid-connect";
/// Where the database is in its folder.
const DATABASE: &str = "data/h2/keycloakdb.mv.db";

const LIGHT: Grant = Grant::Own("lightweight");
const OFFLINE: Grant = Grant::Own("offline");
const BIG: Grant = Grant::Own("big");
const BY_CERTIFICATE: Grant = Grant::Own("certificate-bound");

const OWN: &[Case] = &[
    case("lightweight access token", |bench| granted(bench, LIGHT), "200"),
    DPOP_BOUND,
    case("certificate-bound: forward jwt; none", certificate_bound, "200; 401 bound"),
    case(
        "gateway's certificate: right; none; another",
        |bench| by_certificate(bench, "by-certificate"),
        "200; 500 credentials; 500 tls",
    ),
    case(
        "gateway by assertion: key; secret; another key",
        by_assertion,
        "200; 200; 500 credentials",
    ),
    case(
        "told without an audience: refresh; ID; offline token",
        lax,
        "401 kind; 401 kind; 401 kind",
    ),
    case("hint refresh_token", hinted, "401 inactive"),
    case("issuer by Host: asked by another name", issuer_by_host, "401 inactive; 200"),
    case("a token of more than 8 KB", big, "200"),
];

impl Server for Keycloak {
    fn name(&self) -> &'static str {
        "keycloak"
    }

    fn version(&self, _: &Home) -> String {
        format!("Keycloak {VERSION}")
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "keycloak.conf",
            url: "https://keycloak.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("special", "p+ss w%rd/&=u\"ü")),
            keeps_tokens: true,
            expect: &[
                // A header that is an object without an algorithm makes it stumble.
                ("odd tokens", "500 status: e30.e30.e30"),
                // The gateway's client is not in its audience.
                ("another client's", "401 inactive"),
                ("refresh token", "401 inactive"),
                ("application/jwt, forward jwt", "200"),
                ("special secret: basic; raw; post", "200; 500 credentials; 200"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn lacks(&self) -> Option<String> {
        java::lacks()
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        for (name, option) in [("plain", "none"), ("mutual-tls", "request")] {
            home.part(name).once(VERSION, |part| build(part, option))?;
        }
        // Making the tables takes it most of its first start, so that is done once.
        let realm = realm(home).to_string();
        home.part("database").once(&format!("{VERSION} {realm}"), |part| {
            let database = part.join("keycloakdb.mv.db");
            let _ = fs::remove_file(&database);
            let directory = part.join("first");
            let _ = fs::remove_dir_all(&directory);
            let site = Site { port: port::free(), directory: directory.clone(), tls: None };
            lay_out(home, &site)?;
            written(&directory.join("data/import/realm.json"), &realm)?;
            run(&site, true)?.stop();
            fs::rename(directory.join(DATABASE), &database)
                .map_err(|error| format!("{}: {error}", database.display()))?;
            let _ = fs::remove_dir_all(&directory);
            Ok(())
        })
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        Ok(Box::new(Realm::start(home, site, true)?))
    }
}

/// The realm: what `realm.json` says, the key of the client that signs with one, and claims that make a
/// token long.
fn realm(home: &Home) -> Value {
    let text = fs::read_to_string(folder("keycloak").join("realm.json")).expect("realm.json");
    let mut realm: Value = serde_json::from_str(&text).expect("JSON");
    let clients = realm["clients"].as_array_mut().expect("clients");
    let by_key = clients.iter_mut().find(|client| client["clientId"] == "by-key");
    by_key.expect("a client")["attributes"]["jwks.string"] =
        client_key(home).jwks().to_string().into();
    let scopes = realm["clientScopes"].as_array_mut().expect("scopes");
    let big = scopes.iter_mut().find(|scope| scope["name"] == "big").expect("a scope");
    big["protocolMappers"] = (0..3)
        .map(|n| {
            json!({
                "name": format!("long {n}"),
                "protocol": "openid-connect",
                "protocolMapper": "oidc-hardcoded-claim-mapper",
                "config": {
                    "claim.name": format!("long_{n}"),
                    "claim.value": "x".repeat(3000),
                    "jsonType.label": "String",
                    "access.token.claim": "true",
                    "introspection.token.claim": "true",
                },
            })
        })
        .collect();
    realm
}

/// It stands in the database, so it is kept beside that.
fn client_key(home: &Home) -> SigningKey {
    assertions::key_in(home.part("database").path())
}

fn written(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Gets the distribution by Maven and builds it: an option of the build is not one of the start.
fn build(part: &Home, client_certificates: &str) -> Result<(), String> {
    let _ = fs::remove_dir_all(part.join("keycloak"));
    let name = format!("keycloak-quarkus-dist-{VERSION}.zip");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy", "-DoutputDirectory=."]);
    maven.arg(format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"));
    part.run(maven.current_dir(part.path()))?;
    part.run(Command::new("jar").args(["xf", &name]).current_dir(part.path()))?;
    let _ = fs::remove_file(part.join(&name));
    fs::rename(part.join(&format!("keycloak-{VERSION}")), part.join("keycloak"))
        .map_err(|error| format!("its folder: {error}"))?;
    let mut build = Command::new("sh");
    build.arg(part.join("keycloak/bin/kc.sh"));
    build.args(["build", "--db=dev-file", "--health-enabled=true"]);
    part.run(build.arg(format!("--https-client-auth={client_certificates}")))
}

/// Makes a folder of the server's own for its data, beside what was built.
fn lay_out(home: &Home, site: &Site) -> Result<(), String> {
    let built = home.part(if site.tls.is_some() { "mutual-tls" } else { "plain" });
    let told = |error: std::io::Error| format!("{}: {error}", site.directory.display());
    for name in ["data/h2", "data/import"] {
        fs::create_dir_all(site.directory.join(name)).map_err(told)?;
    }
    for name in ["bin", "conf", "lib", "providers", "themes", "version.txt"] {
        symlink(built.join("keycloak").join(name), site.directory.join(name)).map_err(told)?;
    }
    Ok(())
}

/// Starts it in a folder made by [`lay_out`], and waits until it is ready. Without a name of its own,
/// it goes by the Host header of each request.
fn run(site: &Site, named: bool) -> Result<Process, String> {
    let management = port::free();
    let mut arguments = vec![
        format!("-Dkc.home.dir={}", site.directory.display()),
        "start".to_owned(),
        "--optimized".to_owned(),
        "--cache=local".to_owned(),
        "--import-realm".to_owned(),
        "--http-host=127.0.0.1".to_owned(),
        match named {
            true => format!("--hostname={}", site.url()),
            false => "--hostname-strict=false".to_owned(),
        },
        "--http-management-host=127.0.0.1".to_owned(),
        "--http-management-scheme=http".to_owned(),
        format!("--http-management-port={management}"),
    ];
    arguments.extend(match &site.tls {
        None => vec!["--http-enabled=true".to_owned(), format!("--http-port={}", site.port)],
        Some(tls) => vec![
            format!("--https-port={}", site.port),
            format!("--https-certificate-file={}", tls.certificate.display()),
            format!("--https-certificate-key-file={}", tls.key.display()),
            format!("--truststore-paths={}", tls.client.display()),
        ],
    });
    let script = site.directory.join("bin/kc.sh");
    let health = format!("http://127.0.0.1:{management}/health/ready");
    let web = Web::new(&site.directory);
    Process::start(
        &site.directory.join("log"),
        move || {
            let mut keycloak = Command::new("sh");
            keycloak.arg(&script).args(&arguments);
            keycloak.env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx384m");
            keycloak.env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin");
            keycloak.env("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin");
            keycloak
        },
        // Each question is a line in its log until then.
        move || {
            thread::sleep(Duration::from_millis(500));
            web.get(&health).status == 200
        },
    )
}

struct Realm {
    process: Process,
    web: Web,
    site: Site,
}

impl Realm {
    fn start(home: &Home, site: &Site, named: bool) -> Result<Self, String> {
        let own = Site { directory: site.directory.join("keycloak"), ..site.clone() };
        lay_out(home, &own)?;
        let database = home.part("database").join("keycloakdb.mv.db");
        fs::copy(&database, own.directory.join(DATABASE))
            .map_err(|error| format!("{}: {error}", database.display()))?;
        let process = run(&own, named)?;
        Ok(Self { process, web: Web::new(&site.directory), site: site.clone() })
    }

    fn url(&self, endpoint: &str) -> String {
        format!("{}/{REALM}/{endpoint}", self.site.url())
    }

    fn machine(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let answer = self.web.post(&self.url("token"), Some((client, SECRET)), &form);
        answer.expect(200).text("access_token")
    }

    fn person(&self, scope: &str, member: &str) -> String {
        let form = [
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "wonderland"),
            ("scope", scope),
        ];
        let answer = self.web.post(&self.url("token"), Some(("app", SECRET)), &form);
        answer.expect(200).text(member)
    }

    /// A client's token, with these arguments of `curl` besides.
    fn with(&self, client: &str, arguments: &[&str]) -> String {
        let (user, url) = (format!("{client}:{SECRET}"), self.url("token"));
        let form = "grant_type=client_credentials&scope=read";
        let arguments = [&["--user", &*user, "--data", form, &*url], arguments].concat();
        self.web.send(&arguments).expect(200).text("access_token")
    }
}

impl Running for Realm {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.machine("app", "read"),
            Grant::Unscoped => self.machine("app", "write"),
            Grant::Short => self.machine("app-short", "read"),
            Grant::Foreign => self.machine("app-other", "read"),
            Grant::Refresh => self.person("openid read", "refresh_token"),
            Grant::Id => self.person("openid read", "id_token"),
            Grant::Dpop => {
                let proof = SigningKey::generate().dpop_proof("POST", &self.url("token"));
                self.with("app-dpop", &["--header", &format!("DPoP: {proof}")])
            }
            LIGHT => self.machine("app-light", "read"),
            OFFLINE => self.person("openid offline_access read", "refresh_token"),
            BIG => self.machine("app-big", "read"),
            BY_CERTIFICATE => {
                let certificate = self.site.tls.as_ref()?.client.clone();
                let key = certificate.with_extension("key");
                let files = [certificate.to_str()?, key.to_str()?];
                self.with("app-mtls", &["--cert", files[0], "--key", files[1]])
            }
            Grant::Own(_) => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let form = [("token", token)];
        let _ = self.web.post(&self.url("revoke"), Some(("app", SECRET)), &form).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// What the API checks, goes on to it; where nobody does, it is refused.
fn certificate_bound(bench: &mut Bench<'_>) -> String {
    let bench = bench.with_tls();
    let token = bench.token(BY_CERTIFICATE);
    let tried = ["jwt", "none"].map(|forward| {
        outcome(&bench.example().set("phantom_token_forward", forward).start(), &token)
    });
    tried.join("; ")
}

/// A client with the compatibility option is told of every token of the realm, and gets a JWT for it.
fn lax(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().set("phantom_token_client_id", "lax").start();
    let tried =
        [Grant::Refresh, Grant::Id, OFFLINE].map(|what| outcome(&gateway, &bench.token(what)));
    tried.join("; ")
}

/// Why the hint is `access_token` or none.
fn hinted(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    outcome(&bench.example().set("phantom_token_token_type_hint", "refresh_token").start(), &token)
}

/// Without a name of its own it is another issuer than the token's, where the gateway asks by
/// another name than the apps do; `connect=` lets it ask by theirs.
fn issuer_by_host(bench: &mut Bench<'_>) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let site = Site { port: port::free(), directory: directory.path().to_owned(), tls: None };
    let mut other = Realm::start(&Home::of("keycloak"), &site, false).expect("another one");
    let token = other.grant(Grant::Access).expect("a token");
    let tried = ["localhost", "127.0.0.1"].map(|name| {
        let url = format!("http://{name}:{}", site.port);
        let example = bench.example().replace(&bench.site.url(), &url);
        outcome(&example.connects_to(site.port).start(), &token)
    });
    tried.join("; ")
}

fn big(bench: &mut Bench<'_>) -> String {
    let token = bench.token(BIG);
    assert!(token.len() > 8192, "{} bytes", token.len());
    let buffers = "http {\nlarge_client_header_buffers 4 32k;\n";
    outcome(&bench.example().replace("http {\n", buffers).start(), &token)
}

fn by_assertion(bench: &mut Bench<'_>) -> String {
    let key = client_key(&Home::of("keycloak"));
    let asked = Asked {
        path: "/realms/example/protocol/openid-connect/token/introspect",
        issuer: "/realms/example",
        accept: "application/jwt",
        forward: "jwt",
        by_key: ("by-key", String::new()),
        by_secret: Some("by-secret"),
    };
    assertions::tried(bench, &asked, &key)
}
