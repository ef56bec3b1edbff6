//! PyPI's `django-oauth-toolkit` on gunicorn.

use super::bench::{Bench, outcome};
use super::cases::case;
use super::django::Project;
use super::minted::{granted, minted};
use super::web::pkce;
use super::{Case, Grant, Home, Process, Profile, Running, Server, Site, Web};
use crate::jwt::random_text;

/// See the module.
pub(super) struct DjangoOauthToolkit;

const PACKAGES: [&str; 3] = ["django-oauth-toolkit==3.4.1", "Django==5.2.19", "gunicorn==27.0.1"];
const SECRET: &str = "Password1";
const CALLBACK: &str = "http://127.0.0.1/callback";

const OWN: &[Case] = &[
    minted("200 app; 401 inactive"),
    case("minted, a user's: as it comes; sub=username", of_a_user, "500 answer; 200 alice"),
    case("asked with a Bearer token", by_bearer_token, "200; 500 credentials"),
    case("a client whose secret is hashed", hashed, "200"),
    case("workers exchanged under load", exchanged, "all 200"),
];

impl Server for DjangoOauthToolkit {
    fn name(&self) -> &'static str {
        "django-oauth-toolkit"
    }

    fn version(&self, _: &Home) -> String {
        "django-oauth-toolkit 3.4.1, Django 5.2, gunicorn 27.0".to_owned()
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "django-oauth-toolkit.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("special", "p+ss w%rd/&=u\"")),
            keeps_tokens: true,
            expect: &[
                // It knows of no tokens but access tokens there.
                ("refresh token", "401 inactive"),
                // It decodes what Basic carries.
                ("special secret: basic; raw; post", "200; 500 credentials; 200"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        home.pip(&PACKAGES)
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        let project = Project::new(self.name(), home, site);
        home.run(project.command("python").arg("server.py"))?;
        let process = project.serve(site, "/login/", &[])?;
        let web = Web::new(&site.directory);
        Ok(Box::new(Toolkit { process, web, url: format!("{}/o", site.url()) }))
    }
}

struct Toolkit {
    process: Process,
    web: Web,
    url: String,
}

impl Toolkit {
    fn token(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let url = format!("{}/token/", self.url);
        self.web.post(&url, Some((client, SECRET)), &form).expect(200).text("access_token")
    }

    /// The code flow, with PKCE, which the toolkit demands.
    fn person(&self, which: &str) -> String {
        let verifier = random_text(64);
        let challenge = pkce(&verifier);
        let url = format!(
            "{}/authorize/?response_type=code&client_id=person&redirect_uri={CALLBACK}\
             &scope=openid+read&code_challenge={challenge}&code_challenge_method=S256",
            self.url
        );
        let code =
            self.web.code(&url, CALLBACK, &[("username", "alice"), ("password", "wonderland")]);
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &verifier),
        ];
        let url = format!("{}/token/", self.url);
        self.web.post(&url, Some(("person", SECRET)), &form).expect(200).text(which)
    }
}

impl Running for Toolkit {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.token("app", "read"),
            Grant::Unscoped => self.token("app", "write"),
            Grant::Short => self.token("short", "read"),
            Grant::Foreign => self.person("access_token"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Id => self.person("id_token"),
            _ => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/revoke_token/", self.url);
        let _ = self.web.post(&url, Some(("app", SECRET)), &[("token", token)]).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// Its answers name a user and have no `sub`: nobody is taken for the application, nor for another.
fn of_a_user(bench: &mut Bench<'_>) -> String {
    ["", "sub=username scope"].map(|claims| granted(bench, claims, Grant::Foreign)).join("; ")
}

/// In place of a client: a token with the scope that the toolkit asks for, and one without.
fn by_bearer_token(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let url = format!("{}/o/token/", bench.site.url());
    let web = Web::new(&bench.site.directory);
    let tried = ["introspection", "write"].map(|scope| {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let own = web.post(&url, Some(("app", SECRET)), &form).expect(200).text("access_token");
        let header = format!("Authorization \"Bearer {own}\"");
        let example = bench.example().set("phantom_token_client_auth", "none");
        let example = example.without("phantom_token_client_id");
        let example = example.without("phantom_token_client_secret_file");
        outcome(&example.set("phantom_token_introspection_header", &header).start(), &token)
    });
    tried.join("; ")
}

fn hashed(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    outcome(&bench.example().set("phantom_token_client_id", "hashed").start(), &token)
}

/// HUP to gunicorn while requests come: new workers take over, and nobody is refused.
fn exchanged(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let gateway = bench.example().set("phantom_token_cache", "off").start();
    let mut client = gateway.client();
    let mut statuses = Vec::new();
    for round in 0..120 {
        if round % 40 == 10 {
            bench.running.process().signal(libc::SIGHUP);
        }
        statuses.push(client.get_as("/api/echo", &token).status);
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    statuses.retain(|status| *status != 200);
    if statuses.is_empty() { "all 200".to_owned() } else { format!("{statuses:?}") }
}
