//! PyPI's Canaille, on the hypercorn it comes with.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::bench::{Bench, outcome};
use super::cases::{case, granted};
use super::web::pkce;
use super::{Case, Grant, Home, Process, Profile, Running, Server, Site, Web, folder};
use crate::jwt::random_text;
use crate::process::wait_for;

/// See the module.
pub(super) struct Canaille;

const PACKAGES: &str = "canaille[oidc,front,server,sqlite]==0.3.6";
const SECRET: &str = "Password1";
const CALLBACK: &str = "http://127.0.0.1/callback";
/// As `data.json` has them.
const GATEWAY: &str = "20000000-0000-4000-8000-000000000001";
const APP: &str = "20000000-0000-4000-8000-000000000003";
const USER: Grant = Grant::Own("a user's access token");

const OWN: &[Case] = &[
    case("a user's access token, a JWT", |bench| granted(bench, USER), "200"),
    case("a refresh token, no hint sent", unhinted, "200"),
    case("asked by another name", by_another_name, "500 status"),
];

impl Server for Canaille {
    fn name(&self) -> &'static str {
        "canaille"
    }

    fn version(&self, _: &Home) -> String {
        "Canaille 0.3.6 on hypercorn".to_owned()
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "canaille.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("special", "p+ss w%rd/&=u\"")),
            keeps_tokens: true,
            expect: &[
                // It says "Bearer" of all tokens, so that this lets in what the example does.
                ("what the probe prints", "kind declared, not access"),
                // Only of clients in whose audience the gateway's is.
                ("another client's", "401 inactive"),
                // By the hint.
                ("refresh token", "401 inactive"),
                // It takes Basic alone, and does not decode what that carries.
                ("special secret: basic; raw; post", "200; 200; 500 credentials"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        home.pip(&[PACKAGES])?;
        // Its commands take seconds each: a database with the clients is made once, and copied.
        let data = folder(self.name()).join("data.json");
        let words = fs::read_to_string(&data).map_err(|error| format!("data.json: {error}"))?;
        home.part("database").once(&format!("{PACKAGES} {words}"), |part| {
            let _ = fs::remove_file(part.join("database"));
            let mut commands = Command::new("sh");
            commands.args(["-ec", r#""$0" install; "$0" restore <"$1""#]);
            commands.arg(home.join("venv/bin/canaille")).arg(&data);
            part.run(commands.envs(environment(part.path(), "http://127.0.0.1:1")))
        })
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        let database = home.part("database").join("database");
        fs::copy(&database, site.directory.join("database"))
            .map_err(|error| format!("{}: {error}", database.display()))?;
        let command = {
            let (home, directory, url) =
                (home.path().to_owned(), site.directory.clone(), site.url());
            move || command_of(&home, &directory, &url)
        };
        let mut arguments = vec!["run".to_owned(), format!("--bind=127.0.0.1:{}", site.port)];
        if let Some(tls) = &site.tls {
            arguments.push(format!("--certfile={}", tls.certificate.display()));
            arguments.push(format!("--keyfile={}", tls.key.display()));
        }
        let web = Web::new(&site.directory);
        let (probe, page) = (Web::new(&site.directory), format!("{}/oauth/jwks.json", site.url()));
        let process = Process::start(
            &site.directory.join("log"),
            {
                let command = command.clone();
                move || {
                    let mut canaille = command();
                    canaille.args(&arguments);
                    canaille
                }
            },
            move || probe.answers(&page),
        )?;
        let (command, took) = (Box::new(command), Duration::from_secs(4));
        Ok(Box::new(Service { process, web, url: site.url(), command, took }))
    }
}

/// What its commands are told, all by the environment. It answers under the name in `url` alone.
fn environment(directory: &Path, url: &str) -> Vec<(&'static str, String)> {
    let (scheme, name) = url.split_once("://").expect("a URL");
    vec![
        (
            "SECRET_KEY",
            "of a test, and longer than sixty-four letters, as it is to be there".to_owned(),
        ),
        ("SERVER_NAME", name.to_owned()),
        ("PREFERRED_URL_SCHEME", scheme.to_owned()),
        (
            "CANAILLE_SQL__DATABASE_URI",
            format!("sqlite:///{}", directory.join("database").display()),
        ),
        ("CANAILLE_OIDC__REQUIRE_NONCE", "false".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
    ]
}

fn command_of(home: &Path, directory: &Path, url: &str) -> Command {
    let mut command = Command::new(home.join("venv/bin/canaille"));
    command.current_dir(directory).envs(environment(directory, url));
    command
}

struct Service {
    process: Process,
    web: Web,
    url: String,
    command: Box<dyn Fn() -> Command>,
    /// How long its command line took to make a token.
    took: Duration,
}

impl Service {
    fn token(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let url = format!("{}/oauth/token", self.url);
        self.web.post(&url, Some((client, SECRET)), &form).expect(200).text("access_token")
    }

    /// The code flow. Access tokens of one user and client made in the same second are one and the
    /// same to it, and it answers 500: once more then.
    fn person(&self, member: &str) -> String {
        wait_for("an answer of the token endpoint", || {
            let verifier = random_text(64);
            let challenge = pkce(&verifier);
            let url = format!(
                "{}/oauth/authorize?response_type=code&client_id=app&redirect_uri={CALLBACK}\
                 &scope=openid+read&code_challenge={challenge}&code_challenge_method=S256",
                self.url
            );
            let alice = [("login", "alice"), ("password", "wonderland")];
            let code = self.web.code(&url, CALLBACK, &alice);
            let form = [
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", CALLBACK),
                ("code_verifier", &verifier),
            ];
            let url = format!("{}/oauth/token", self.url);
            let answer = self.web.post(&url, Some(("app", SECRET)), &form);
            (answer.status != 500).then(|| answer.expect(200).text(member))
        })
    }

    /// Its command line makes tokens that end when they are told to, and takes seconds for it, more
    /// on a busy machine: as long as it took before, and some.
    fn short(&mut self) -> String {
        let (token, begun) = (random_text(48), Instant::now());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let mut create = (self.command)();
        create.args(["create", "token", "--type=Bearer", "--scope=read", "--access-token", &token]);
        create.args(["--token-id", &token, "--client", APP, "--audience", GATEWAY]);
        create.args(["--issue-date=1970-01-01T00:00:00+00:00", "--lifetime"]);
        let end = now + 4 + self.took.as_secs();
        let created = create.arg(end.to_string()).output().expect("canaille runs");
        // Never less than before: a token made first ends first.
        self.took = self.took.max(begun.elapsed());
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        token
    }
}

impl Running for Service {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.token("app", "read"),
            Grant::Unscoped => self.token("app", "write"),
            Grant::Short => self.short(),
            Grant::Foreign => self.token("other", "read"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Id => self.person("id_token"),
            Grant::Own(_) => self.person("access_token"),
            Grant::Dpop => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/oauth/revoke", self.url);
        let _ = self.web.post(&url, Some(("app", SECRET)), &[("token", token)]).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// Why the example sends the hint.
fn unhinted(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Refresh);
    outcome(&bench.example().without("phantom_token_token_type_hint").start(), &token)
}

fn by_another_name(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    outcome(&bench.example().replace("http://127.0.0.1", "http://localhost").start(), &token)
}
