//! npm's better-auth with its OAuth provider, on Node.js.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::bench::{Bench, outcome};
use super::cases::case;
use super::web::pkce;
use super::{Case, Grant, Home, Process, Profile, Running, Server, Site, Web, folder};
use crate::jwt::random_text;
use crate::port;
use crate::tool;

/// See the module.
pub(super) struct BetterAuth;

/// It and those that it names as peers, which npm would take in their newest versions.
const PACKAGES: [&str; 6] = [
    "better-auth@1.7.5",
    "@better-auth/oauth-provider@1.7.5",
    "@better-auth/core@1.7.5",
    "@better-auth/utils@0.4.2",
    "@better-fetch/fetch@1.3.2",
    "better-call@1.4.0",
];
const SECRET: &str = "Password1";
const CALLBACK: &str = "https://app.example.com/callback";
const API: &str = "https://api.example.com";

const OWN: &[Case] = &[case("more than its rate limit", limited, "401 inactive, 503 status")];

impl Server for BetterAuth {
    fn name(&self) -> &'static str {
        "better-auth"
    }

    fn version(&self, _: &Home) -> String {
        "better-auth 1.7.5".to_owned()
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "better-auth.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("special", "p+ss w%rd/&=u\"")),
            keeps_tokens: false,
            expect: &[
                // It says "Bearer" of all tokens, so that this lets in what the example does.
                ("what the probe prints", "kind declared, not access"),
                // Only of the resources that the gateway's client is linked to.
                ("another client's", "401 inactive"),
                // Of its own refresh tokens alone a client is told.
                ("refresh token", "401 inactive"),
                // Tokens it takes for JWTs or JWEs, and cannot read.
                (
                    "odd tokens",
                    "500 status: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln, \
                     500 status: eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0., 500 status: e30.e30.e30, \
                     500 status: eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA",
                ),
                // Its own too.
                ("ID token", "500 status"),
                // It decodes what Basic carries, and holds a client to its one method.
                ("special secret: basic; raw; post", "200; 500 credentials; 500 credentials"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        home.npm(&PACKAGES)
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        let process = serve(home, site, None)?;
        let web = Web::new(&site.directory);
        // With a session's cookies it takes requests of its own pages alone.
        let directory = site.directory.join("person");
        fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let browser = Web::new(&directory);
        Ok(Box::new(Auth { process, web, browser, url: format!("{}/api/auth", site.url()) }))
    }
}

fn serve(home: &Home, site: &Site, limit: Option<&'static str>) -> Result<Process, String> {
    // Node.js looks for packages beside the file.
    let server = home.join("server.js");
    fs::copy(folder("better-auth").join("server.js"), &server)
        .map_err(|error| format!("{}: {error}", server.display()))?;
    let mut arguments = vec![site.port.to_string()];
    if let Some(tls) = &site.tls {
        arguments.extend([&tls.certificate, &tls.key].map(|file| file.display().to_string()));
    }
    let page = format!("{}/api/auth/.well-known/openid-configuration", site.url());
    let probe = Web::new(&site.directory);
    Process::start(
        &site.directory.join("log"),
        move || {
            let mut node = Command::new(tool::node());
            node.arg(&server).args(&arguments);
            node.envs(limit.map(|limit| ("INTROSPECTIONS_A_MINUTE", limit)));
            node
        },
        move || probe.answers(&page),
    )
}

struct Auth {
    process: Process,
    web: Web,
    browser: Web,
    url: String,
}

impl Auth {
    fn token(&self, scope: &str, resource: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope), ("resource", resource)];
        let url = format!("{}/oauth2/token", self.url);
        self.web.post(&url, Some(("app", SECRET)), &form).expect(200).text("access_token")
    }

    /// The code flow of a user who has logged in at the server's own interface.
    fn person(&self, member: &str) -> String {
        let alice = json!({"email": "alice@example.com", "password": "wonderland"});
        let origin = self.url.trim_end_matches("/api/auth");
        let login = format!("{}/sign-in/email", self.url);
        let _ =
            self.browser.json("POST", &login, &[&format!("Origin: {origin}")], &alice).expect(200);
        let verifier = random_text(64);
        let challenge = pkce(&verifier);
        let url = format!(
            "{}/oauth2/authorize?response_type=code&client_id=person&redirect_uri={CALLBACK}\
             &scope=openid+offline_access+read&resource={API}&state=any\
             &code_challenge={challenge}&code_challenge_method=S256",
            self.url
        );
        let code = self.browser.code(&url, CALLBACK, &[]);
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("resource", API),
            ("code_verifier", &verifier),
        ];
        let url = format!("{}/oauth2/token", self.url);
        self.web.post(&url, Some(("person", SECRET)), &form).expect(200).text(member)
    }
}

impl Running for Auth {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.token("read", API),
            Grant::Unscoped => self.token("write", API),
            Grant::Short => self.token("read", "https://short.example.com"),
            Grant::Foreign => self.token("read", "https://other.example.com"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Id => self.person("id_token"),
            Grant::Dpop | Grant::Own(_) => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/oauth2/revoke", self.url);
        let _ = self.web.post(&url, Some(("app", SECRET)), &[("token", token)]).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// Why the example says to raise the limit: another server, with a limit of 3.
fn limited(bench: &mut Bench<'_>) -> String {
    let site = Site { port: port::free(), tls: None, ..bench.site.clone() };
    let home = Home::of("better-auth");
    let _other = serve(&home, &site, Some("3")).expect("another one");
    let gateway = bench.example().connects_to(site.port).start();
    let mut got: Vec<_> = (0..5).map(|_| outcome(&gateway, &random_text(32))).collect();
    got.dedup();
    got.join(", ")
}
