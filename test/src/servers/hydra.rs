//! Ory Hydra, built with Go: asked at its admin port, with a database in a file, and in PostgreSQL
//! where that is to go away.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::bench::{Bench, outcome};
use super::cases::{case, granted};
use super::minted::minted;
use super::postgres::Postgres;
use super::{Case, Example, Grant, Home, Process, Profile, Running, Server, Site, Web, folder, go};
use crate::nginx::Gateway;
use crate::port;
use crate::process::wait_for;

pub(super) struct Hydra;

const VERSION: &str = "2.3.0";
const SECRET: &str = "Password1";
const CALLBACK: &str = "http://127.0.0.1/callback";
const JWT: Grant = Grant::Own("JWT strategy");

const OWN: &[Case] = &[
    minted("200 app; 401 kind"),
    case("access token of the JWT strategy", |bench| granted(bench, JWT), "200"),
    case("id and secret: any", any_credentials, "200"),
    case("asked with a scope: there; missing", asked_with_scope, "200; 401 inactive"),
    case("one token, another spelling", respelt, "200"),
    case(
        "database lost, back: plain; its health asked first",
        database_lost,
        "401 inactive, 200; 200 STALE, 200",
    ),
];

impl Server for Hydra {
    fn name(&self) -> &'static str {
        "hydra"
    }

    fn version(&self, _: &Home) -> String {
        format!("Ory Hydra {VERSION}")
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "hydra.conf",
            url: "http://127.0.0.1:4445",
            // Its admin port knows no clients of a gateway's.
            secret: "",
            scope: "photos.read",
            special: None,
            keeps_tokens: true,
            expect: &[
                ("wrong secret: basic; post", "-"),
                ("special secret: basic; raw; post", "-"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn lacks(&self) -> Option<String> {
        go::lacks()
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        go::build(self.name(), home, &["-tags", "sqlite,json1"])?;
        // Its tables take it seconds: they are made once, and copied.
        home.part("database").once(VERSION, |part| {
            let _ = fs::remove_file(part.join("database"));
            migrate(home, &file_of(part.path()))
        })
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        let database = home.part("database").join("database");
        fs::copy(&database, site.directory.join("database"))
            .map_err(|error| format!("{}: {error}", database.display()))?;
        Ok(Box::new(Service::start(home, site, &file_of(&site.directory))?))
    }
}

/// The data source's name of the database file in this directory.
fn file_of(directory: &Path) -> String {
    format!("sqlite://{}?_fk=true&_busy_timeout=20000", directory.join("database").display())
}

fn command(binary: &Path, data_source: &str) -> Command {
    let mut command = Command::new(binary);
    command.env("DSN", data_source);
    command
}

fn migrate(home: &Home, data_source: &str) -> Result<(), String> {
    let mut migrate = command(&home.join("build/hydra"), data_source);
    home.run(migrate.args(["migrate", "sql", "--read-from-env", "--yes"]))
}

struct Service {
    process: Process,
    web: Web,
    browser: Web,
    public: String,
    admin: String,
}

impl Service {
    /// Starts it with its admin port at the site's, and registers its clients.
    fn start(home: &Home, site: &Site, data_source: &str) -> Result<Self, String> {
        let (binary, data_source) = (home.join("build/hydra"), data_source.to_owned());
        let public_port = port::free();
        let public = format!("http://127.0.0.1:{public_port}");
        let mut environment = vec![
            ("SERVE_ADMIN_PORT", site.port.to_string()),
            ("SERVE_PUBLIC_PORT", public_port.to_string()),
            ("URLS_SELF_ISSUER", public.clone()),
        ];
        if let Some(tls) = &site.tls {
            environment.extend([
                ("SERVE_ADMIN_TLS_ENABLED", "true".to_owned()),
                ("SERVE_ADMIN_TLS_CERT_PATH", tls.certificate.display().to_string()),
                ("SERVE_ADMIN_TLS_KEY_PATH", tls.key.display().to_string()),
            ]);
        }
        let directory = site.directory.join("person");
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let (web, browser) = (Web::new(&site.directory), Web::new(&directory));
        let (probe, health) = (Web::new(&site.directory), format!("{}/health/ready", site.url()));
        let process = Process::start(
            &site.directory.join("log"),
            move || {
                let mut hydra = command(&binary, &data_source);
                hydra.envs(environment.iter().cloned());
                // Without --dev it wants an issuer with https.
                hydra.args(["serve", "all", "--dev", "--sqa-opt-out", "--config"]);
                hydra.arg(folder("hydra").join("hydra.yml"));
                hydra
            },
            move || probe.get(&health).status == 200,
        )?;
        let service = Self { process, web, browser, public, admin: site.url() };
        let machine = json!({
            "client_secret": SECRET,
            "grant_types": ["client_credentials"],
            "scope": "photos.read photos.write",
        });
        for (id, more) in [
            ("app", json!({})),
            ("other", json!({})),
            ("short", json!({"client_credentials_grant_access_token_lifespan": "4s"})),
            ("app-jwt", json!({"access_token_strategy": "jwt"})),
            (
                "person",
                json!({
                    "grant_types": ["authorization_code", "refresh_token"],
                    "response_types": ["code"],
                    "redirect_uris": [CALLBACK],
                    "scope": "openid offline photos.read",
                }),
            ),
        ] {
            let mut client = machine.clone();
            client["client_id"] = id.into();
            for (name, value) in more.as_object().expect("an object") {
                client[name] = value.clone();
            }
            let url = format!("{}/admin/clients", service.admin);
            let _ = service.web.json("POST", &url, &[], &client).expect(201);
        }
        Ok(service)
    }

    fn machine(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let url = format!("{}/oauth2/token", self.public);
        self.web.post(&url, Some((client, SECRET)), &form).expect(200).text("access_token")
    }

    /// The code flow: it asks pages of its operator's who the user is and what she consents to, and
    /// takes the answers at its admin port.
    fn person(&self, member: &str) -> String {
        let url = format!(
            "{}/oauth2/auth?response_type=code&client_id=person&redirect_uri={CALLBACK}\
             &scope=openid+offline+photos.read&state=of-eight-letters-at-least",
            self.public
        );
        let scope = ["openid", "offline", "photos.read"];
        let login = self.accept(&url, "login", &json!({"subject": "alice"}));
        let session = json!({"access_token": {"group": "readers"}});
        let consent = json!({"grant_scope": scope, "session": session});
        let consented = self.accept(&login, "consent", &consent);
        let code = self.browser.code(&consented, CALLBACK, &[]);
        let form =
            [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", CALLBACK)];
        let url = format!("{}/oauth2/token", self.public);
        self.web.post(&url, Some(("person", SECRET)), &form).expect(200).text(member)
    }

    /// Goes where `url` leads, to one of these pages, and accepts in its place. Where that leads.
    fn accept(&self, url: &str, page: &str, body: &serde_json::Value) -> String {
        let answer = self.browser.get(url);
        let location = answer.header("location");
        let challenge = location.split(&format!("{page}_challenge=")).nth(1);
        let challenge = challenge.unwrap_or_else(|| panic!("a challenge for {page}: {answer:?}"));
        let challenge = challenge.split('&').next().unwrap_or_default();
        let url = format!(
            "{}/admin/oauth2/auth/requests/{page}/accept?{page}_challenge={challenge}",
            self.admin
        );
        self.web.json("PUT", &url, &[], body).expect(200).text("redirect_to")
    }
}

impl Running for Service {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.machine("app", "photos.read"),
            Grant::Unscoped => self.machine("app", "photos.write"),
            Grant::Short => self.machine("short", "photos.read"),
            Grant::Foreign => self.machine("other", "photos.read"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Id => self.person("id_token"),
            JWT => self.machine("app-jwt", "photos.read"),
            Grant::Dpop | Grant::Own(_) => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/oauth2/revoke", self.public);
        let _ = self.web.post(&url, Some(("app", SECRET)), &[("token", token)]).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// Whoever reaches its admin port is told.
fn any_credentials(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let example = bench.example().set("phantom_token_client_auth", "basic").secret("any");
    let example = example.beside("phantom_token_client_id any;");
    let example = example.beside("phantom_token_client_secret_file phantom-token.secret;");
    outcome(&example.start(), &token)
}

/// A parameter of its own makes tokens without that scope inactive: 401 in place of 403.
fn asked_with_scope(bench: &mut Bench<'_>) -> String {
    let tried = [Grant::Access, Grant::Unscoped].map(|what| {
        let token = bench.token(what);
        let example = bench.example().without("phantom_token_scope");
        let example = example.beside("phantom_token_introspection_param scope photos.read;");
        outcome(&example.start(), &token)
    });
    tried.join("; ")
}

/// Its prefix may be left out, and then it is another token to a cache: who knows a token knows
/// several. A purge by subject forgets them all.
fn respelt(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let bare = token.strip_prefix("ory_at_").expect("a prefix");
    outcome(&bench.example().start(), bare)
}

/// A gateway that keeps answers a second, and those that ran out a minute more where it must.
fn lasting(example: Example) -> Gateway {
    let example = example.set("phantom_token_cache_valid", "1s");
    example.set("phantom_token_cache_stale", "1m").start()
}

/// What comes of a token once what is kept of it has run out: status, reason, and whether it is let
/// in by what was kept.
fn later(gateway: &Gateway, token: &str, wanted: &str) -> String {
    wait_for(wanted, || {
        thread::sleep(Duration::from_millis(200));
        let got = outcome(gateway, token);
        let cache = gateway.get_as("/api/echo", token);
        let cache = cache.header("x-cache").unwrap_or_default().to_owned();
        let got = if cache == "STALE" { format!("{got} STALE") } else { got };
        (got == wanted).then_some(got)
    })
}

/// With its database gone it calls every token inactive. Behind a page that asks its health first,
/// that is a failure, and what is kept serves.
fn database_lost(bench: &mut Bench<'_>) -> String {
    let home = Home::of("hydra");
    let mut postgres = Postgres::start(&home).unwrap_or_else(|error| panic!("{error}"));
    migrate(&home, &postgres.url()).unwrap_or_else(|error| panic!("{error}"));
    let directory = tempfile::tempdir().expect("a directory");
    let site = Site { port: port::free(), directory: directory.path().to_owned(), tls: None };
    let mut hydra = Service::start(&home, &site, &postgres.url()).unwrap_or_else(|e| panic!("{e}"));
    let token = hydra.grant(Grant::Access).expect("a token");

    let plain = lasting(bench.example().connects_to(site.port));
    let guarded = Example::read("hydra-health.conf")
        .replace("127.0.0.1:4445", &format!("127.0.0.1:{}", site.port))
        .replace("127.0.0.1:4446", &format!("127.0.0.1:{}", port::free()))
        .passes_to(&bench.api.url())
        .set("phantom_token_timeout", "20s")
        .beside("add_header X-Reason $phantom_token_reason always;")
        .beside("add_header X-Cache $phantom_token_status always;");
    let guarded = lasting(guarded);
    for gateway in [&plain, &guarded] {
        assert_eq!(outcome(gateway, &token), "200");
    }
    postgres.stop();
    let lost = [later(&plain, &token, "401 inactive"), later(&guarded, &token, "200 STALE")];
    postgres.run().unwrap_or_else(|error| panic!("{error}"));
    let [plain, guarded] = [&plain, &guarded].map(|gateway| later(gateway, &token, "200"));
    let told = format!("{}, {plain}; {}, {guarded}", lost[0], lost[1]);
    drop(hydra);
    told
}
