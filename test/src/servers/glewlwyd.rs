//! Debian's Glewlwyd: C, libmicrohttpd, GnuTLS and SQLite. Its access tokens are JWTs that can be
//! revoked.

use std::fs;
use std::process::Command;

use rcgen::KeyPair;
use serde_json::Value;

use super::bench::outcome;
use super::cases::case;
use super::minted::minted;
use super::{Bench, Case, Grant, Home, Process, Profile, Running, Server, Site, Web, folder, has};

pub(super) struct Glewlwyd;

const SECRET: &str = "Password1";

impl Server for Glewlwyd {
    fn name(&self) -> &'static str {
        "glewlwyd"
    }

    fn version(&self, home: &Home) -> String {
        format!("Glewlwyd {}", home.unpacked_version("glewlwyd"))
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "glewlwyd.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("special", "p+ss w%rd/&=ü")),
            keeps_tokens: true,
            expect: &[
                // The hint of the example makes it look among access tokens alone.
                ("refresh token", "401 inactive"),
                // What it gives is an introspection answer, from before RFC 9701; to tokens that are
                // not active, 400 and nothing.
                ("application/jwt, forward jwt", "500 answer, inactive 500 status"),
                ("application/jwt, forward none", "200, inactive 500 status"),
                ("RFC 9701, forward none", "200, inactive 500 status"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn lacks(&self) -> Option<String> {
        (!has("apt-get")).then(|| "Debian's packages".to_owned())
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        home.unpack(&["glewlwyd", "dbconfig-no-thanks", "sqlite3"])
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        let root = home.join("root");
        let database = root.join("usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz");
        let script = r#"zcat "$1" | "$2/usr/bin/sqlite3" "$3/glewlwyd.db""#;
        let mut bash = home.unpacked("bash");
        bash.args(["-c", script, "bash"]).args([&database, &root, &site.directory]);
        home.run(&mut bash)?;

        let tls = site.tls.as_ref();
        let file = |file: Option<&std::path::PathBuf>| {
            file.map_or(String::new(), |file| file.display().to_string())
        };
        let mut config = read("glewlwyd.conf", site)?;
        for (name, value) in [
            ("@PORT@", site.port.to_string()),
            ("@ROOT@", root.display().to_string()),
            ("@SITE@", site.directory.display().to_string()),
            ("@SECURE@", tls.is_some().to_string()),
            ("@KEY@", file(tls.map(|tls| &tls.key))),
            ("@CERTIFICATE@", file(tls.map(|tls| &tls.certificate))),
        ] {
            config = config.replace(name, &value);
        }
        let path = site.directory.join("glewlwyd.conf");
        fs::write(&path, config).map_err(|error| error.to_string())?;

        let (program, libraries) = (root.join("usr/bin/glewlwyd"), home.libraries());
        let (probe, url) = (Web::new(&site.directory), site.url());
        let process = Process::start(
            &site.directory.join("log"),
            move || {
                let mut command = Command::new(&program);
                command.env("LD_LIBRARY_PATH", &libraries);
                command.arg("--config-file").arg(&path);
                command
            },
            move || probe.answers(&format!("{url}/config")),
        )?;
        let web = Web::new(&site.directory);
        let mut runs =
            Runs { process, web, url: format!("{}/api", site.url()), plugin: Value::Null };
        runs.set_up(&read("setup.json", site)?);
        Ok(Box::new(runs))
    }
}

/// A file of its folder, for this site.
fn read(name: &str, site: &Site) -> Result<String, String> {
    let text = fs::read_to_string(folder("glewlwyd").join(name));
    Ok(text.map_err(|error| format!("{name}: {error}"))?.replace("@URL@", &site.url()))
}

struct Runs {
    process: Process,
    web: Web,
    url: String,
    plugin: Value,
}

impl Runs {
    /// As its administrator does, through its API.
    fn set_up(&mut self, steps: &str) {
        let login = serde_json::json!({"username": "admin", "password": "password"});
        self.ask("POST", "auth/", &login);
        let steps: Vec<(String, Value)> = serde_json::from_str(steps).expect("steps");
        for (path, mut body) in steps {
            if path == "mod/plugin/" {
                let key = KeyPair::generate().expect("a key pair");
                body["parameters"]["key"] = key.serialize_pem().into();
                body["parameters"]["cert"] = key.public_key_pem().into();
                self.plugin = body.clone();
            }
            self.ask("POST", &path, &body);
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) {
        let _ = self.web.json(method, &format!("{}/{path}", self.url), &[], body).expect(200);
    }

    /// How long access tokens live, in seconds: those too that were given before, since it knows
    /// when each began.
    fn lifetime(&mut self, seconds: u32) {
        let setting = &mut self.plugin["parameters"]["access-token-duration"];
        if std::mem::replace(setting, seconds.into()) != seconds {
            self.ask("PUT", "mod/plugin/oidc", &self.plugin);
            self.ask("PUT", "mod/plugin/oidc/reset", &Value::Null);
        }
    }

    fn token(&self, client: &str, form: &[(&str, &str)], member: &str) -> String {
        let url = format!("{}/oidc/token", self.url);
        self.web.post(&url, Some((client, SECRET)), form).expect(200).text(member)
    }

    fn machine(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        self.token(client, &form, "access_token")
    }

    fn person(&self, member: &str) -> String {
        let form = [
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "wonderland"),
            ("scope", "openid read"),
        ];
        self.token("app", &form, member)
    }
}

impl Running for Runs {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        self.lifetime(if what == Grant::Short { 3 } else { 3600 });
        Some(match what {
            Grant::Access => self.person("access_token"),
            Grant::Unscoped => self.machine("app", "write"),
            Grant::Short => self.machine("app", "read"),
            Grant::Foreign => self.machine("other-app", "read"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Id => self.person("id_token"),
            Grant::Own("introspection") => self.machine("other-app", "introspection"),
            _ => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/oidc/revoke", self.url);
        let _ = self.web.post(&url, Some(("app", SECRET)), &[("token", token)]).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

const OWN: &[Case] = &[
    minted("200 by an id; 401 inactive"),
    case("without the hint: access; refresh; ID token", kinds, "200; 401 kind; 401 kind"),
    case("a JWT that goes on as it came; revoked", goes_on, "200; 401 inactive"),
    case("asked with a Bearer token: with the scope; without", by_token, "200; 500 credentials"),
];

fn kinds(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().without("phantom_token_token_type_hint").start();
    let tried = [Grant::Access, Grant::Refresh, Grant::Id].map(|what| {
        let token = bench.token(what);
        outcome(&gateway, &token)
    });
    tried.join("; ")
}

/// The location of the example that checks for revocation alone.
fn goes_on(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let gateway = bench.example().set("phantom_token_cache", "off").start();
    let mut tried = vec![gateway.get_as("/jwt/echo", &token).status.to_string()];
    assert_eq!(bench.api.last().authorization(), [format!("Bearer {token}")]);
    assert!(bench.running.revoke(&token), "revokes");
    tried.push(outcome(&gateway, &token));
    tried.join("; ")
}

/// In place of a client: with the plugin's scope for it, and with none.
fn by_token(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let tried = [Grant::Own("introspection"), Grant::Unscoped].map(|what| {
        let own = bench.token(what);
        let header = format!("Authorization \"Bearer {own}\"");
        let example = bench.example().without("phantom_token_client_id");
        let example = example.without("phantom_token_client_secret_file");
        let example = example.set("phantom_token_client_auth", "none");
        outcome(&example.set("phantom_token_introspection_header", &header).start(), &token)
    });
    tried.join("; ")
}
