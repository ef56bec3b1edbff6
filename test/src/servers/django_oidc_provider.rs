//! PyPI's `django-oidc-provider` on gunicorn.

use std::thread;
use std::time::Duration;

use super::bench::{Bench, outcome};
use super::cases::case;
use super::django::Project;
use super::{Case, Grant, Home, Process, Profile, Running, Server, Site, Web};
use crate::port;
use crate::process::wait_for;

/// See the module.
pub(super) struct DjangoOidcProvider;

const PACKAGES: [&str; 3] = ["django-oidc-provider==0.9.0", "Django==4.2.30", "gunicorn==27.0.1"];
const SECRET: &str = "Password1";
const OWN: &[Case] = &[case("the ID token ends first", id_token_ends, "200; 401 inactive, said")];

impl Server for DjangoOidcProvider {
    fn name(&self) -> &'static str {
        "django-oidc-provider"
    }

    fn version(&self, _: &Home) -> String {
        "django-oidc-provider 0.9.0, Django 4.2, gunicorn 27.0".to_owned()
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "django-oidc-provider.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("special", "p+ss w%rd/&=u\"")),
            keeps_tokens: true,
            expect: &[
                // Only of the clients that the gateway's own scope names.
                ("another client's", "401 inactive"),
                // It knows of no tokens but access tokens there.
                ("refresh token", "401 inactive"),
                // It answers as it does for an unknown token.
                ("wrong secret: basic; post", "401 inactive; 401 inactive"),
                ("special secret: basic; raw; post", "401 inactive; 200; 200"),
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
        let process = project.serve(site, "/openid/jwks", &[])?;
        Ok(Box::new(Provider { process, project, site: site.clone() }))
    }
}

struct Provider {
    process: Process,
    project: Project,
    site: Site,
}

impl Provider {
    /// A member of the answer to a user's password.
    fn token(&self, site: &Site, client: &str, scope: &str, member: &str) -> String {
        let form = [
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "wonderland"),
            ("scope", scope),
        ];
        let url = format!("{}/openid/token", site.url());
        let web = Web::new(&site.directory);
        web.post(&url, Some((client, SECRET)), &form).expect(200).text(member)
    }

    /// One with another lifetime: that is a setting of the whole server, so another one, with the
    /// same database, gives it.
    fn lasting(&self, environment: &[(&'static str, &'static str)]) -> String {
        let site = Site { port: port::free(), directory: self.site.directory.clone(), tls: None };
        let _other = self.project.serve(&site, "/openid/jwks", environment).expect("another one");
        self.token(&site, "app", "openid read", "access_token")
    }
}

impl Running for Provider {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        let site = &self.site;
        Some(match what {
            Grant::Access => self.token(site, "app", "openid read", "access_token"),
            Grant::Unscoped => self.token(site, "app", "openid write", "access_token"),
            Grant::Foreign => self.token(site, "other", "openid read", "access_token"),
            Grant::Refresh => self.token(site, "app", "openid read", "refresh_token"),
            Grant::Id => self.token(site, "app", "openid read", "id_token"),
            Grant::Short => self.lasting(&[("TOKEN_SECONDS", "4")]),
            Grant::Own(_) => self.lasting(&[("ID_TOKEN_SECONDS", "4")]),
            Grant::Dpop => return None,
        })
    }

    /// It has no revocation endpoint: its operator deletes a token.
    fn revoke(&mut self, token: &str) -> bool {
        let deleted = self.project.command("python").args(["server.py", token]).status();
        assert!(deleted.expect("python runs").success(), "deletes a token");
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// The server states the end of the ID token for the access token's. The gateway refuses then, and
/// its log says what may be the cause.
fn id_token_ends(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().start();
    let token = wait_for("a token asked for in time", || {
        let token = bench.running.grant(Grant::Own("the ID token ends first"))?;
        (outcome(&gateway, &token) == "200").then_some(token)
    });
    let refused = wait_for("its end", || {
        thread::sleep(Duration::from_millis(100));
        let got = outcome(&gateway, &token);
        (got != "200").then_some(got)
    });
    let lines = gateway.module_lines();
    let said = lines.iter().any(|line| line.contains("[warn]") && line.contains("expired"));
    format!("200; {refused}{}", if said { ", said" } else { "" })
}
