//! zitadel/oidc, a library for servers in Go: its example server, with clients of a gateway's.

use std::process::Command;

use super::assertions::{self, Asked};
use super::bench::{Bench, outcome};
use super::cases::case;
use super::{Case, Grant, Home, Process, Profile, Running, Server, Site, Web, go};
use crate::port;

pub(super) struct Zitadel;

const SECRET: &str = "Password1";
const CALLBACK: &str = "http://127.0.0.1/callback";

const OWN: &[Case] = &[
    case("one token, another spelling", respelt, "401 malformed"),
    case("gateway by assertion: key; secret; another key", by_assertion, "200; -; 500 credentials"),
    case(
        "wrapped server: access token; wrong secret: basic; post",
        wrapped,
        "200; 500 credentials; 500 credentials",
    ),
];

impl Server for Zitadel {
    fn name(&self) -> &'static str {
        "zitadel"
    }

    fn version(&self, _: &Home) -> String {
        "zitadel/oidc 3.52.0".to_owned()
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "zitadel.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "email",
            special: Some(("special", "p+ss w%rd/&=u\"")),
            keeps_tokens: false,
            expect: &[
                // Only of tokens that its own storage lets the gateway ask about.
                ("another client's", "401 inactive"),
                ("refresh token", "401 inactive"),
                // It decodes what Basic carries, and takes no secret in the body there.
                ("special secret: basic; raw; post", "200; 500 credentials; 500 credentials"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn lacks(&self) -> Option<String> {
        go::lacks()
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        go::build(self.name(), home, &[])
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        Ok(Box::new(Example::start(home, site, false)?))
    }
}

struct Example {
    process: Process,
    web: Web,
    url: String,
}

impl Example {
    fn start(home: &Home, site: &Site, wrap: bool) -> Result<Self, String> {
        let binary = home.join("build/zitadel");
        let key = assertions::key_in(&site.directory).jwks()["keys"][0].to_string();
        let mut environment = vec![("PORT", site.port.to_string()), ("CLIENT_KEY", key)];
        if let Some(tls) = &site.tls {
            environment.push(("CERTIFICATE", tls.certificate.display().to_string()));
            environment.push(("KEY", tls.key.display().to_string()));
        }
        if wrap {
            environment.push(("WRAP", String::new()));
        }
        let (web, url) = (Web::new(&site.directory), site.url());
        let (probe, page) = (Web::new(&site.directory), format!("{url}/healthz"));
        let process = Process::start(
            &site.directory.join("log"),
            move || {
                let mut server = Command::new(&binary);
                server.envs(environment.iter().cloned());
                server
            },
            move || probe.get(&page).status == 200,
        )?;
        Ok(Self { process, web, url })
    }

    /// The code flow: a member of the token endpoint's answer.
    fn person(&self, client: &str, scope: &str, member: &str) -> String {
        let url = format!(
            "{}/auth?response_type=code&client_id={client}&redirect_uri={CALLBACK}&scope={scope}",
            self.url
        );
        let user = [("username", "test-user2"), ("password", "verysecure")];
        let code = self.web.code(&url, CALLBACK, &user);
        let form =
            [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", CALLBACK)];
        let url = format!("{}/oauth/token", self.url);
        self.web.post(&url, Some((client, SECRET)), &form).expect(200).text(member)
    }
}

impl Running for Example {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.person("app", "openid+email", "access_token"),
            Grant::Unscoped => self.person("app", "openid", "access_token"),
            Grant::Short => self.person("app", "openid+email+custom_scope", "access_token"),
            Grant::Foreign => self.person("other", "openid+email", "access_token"),
            Grant::Refresh => self.person("app", "openid+email+offline_access", "refresh_token"),
            Grant::Id => self.person("app", "openid+email", "id_token"),
            Grant::Dpop | Grant::Own(_) => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/revoke", self.url);
        let _ = self.web.post(&url, Some(("app", SECRET)), &[("token", token)]).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// The server decodes its tokens leniently: with bits that stand for nothing set, it takes them too.
fn respelt(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let other = spare_bit(&token).expect("a part with spare bits");
    let url = format!("{}/oauth/introspect", bench.site.url());
    let web = Web::new(&bench.site.directory);
    let told = web.post(&url, Some(("api-gateway", SECRET)), &[("token", &other)]).expect(200);
    assert_eq!(told.json()["active"], true, "the server takes it: {told:?}");
    outcome(&bench.example().start(), &other)
}

/// A token of base64url's parts with one spare bit changed; `None` where it has none.
fn spare_bit(token: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let part = parts.iter_mut().rev().find(|part| matches!(part.len() % 4, 2 | 3))?;
    let last = part.pop()?;
    let place = ALPHABET.iter().position(|&letter| char::from(letter) == last)?;
    part.push(char::from(ALPHABET[place ^ 1]));
    Some(parts.join("."))
}

/// The library's other kind of server refuses credentials with 400 `unauthorized_client`.
fn wrapped(bench: &mut Bench<'_>) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let site = Site { port: port::free(), directory: directory.path().to_owned(), tls: None };
    let mut other = Example::start(&Home::of("zitadel"), &site, true).expect("another one");
    let token = other.grant(Grant::Access).expect("a token");
    let example = bench.example().connects_to(site.port);
    let wrong = example.clone().secret("wrong");
    let tried = [example, wrong.clone(), wrong.set("phantom_token_client_auth", "post")];
    tried.map(|example| outcome(&example.start(), &token)).join("; ")
}

/// It finds the key by its id, and has no clients that sign with their secret.
fn by_assertion(bench: &mut Bench<'_>) -> String {
    let key = assertions::key_in(&bench.site.directory);
    let kid = &key.jwks()["keys"][0]["kid"];
    let asked = Asked {
        path: "/oauth/introspect",
        issuer: "/",
        accept: "application/json",
        forward: "none",
        by_key: ("gateway-key", format!(" kid={}", kid.as_str().expect("an id"))),
        by_secret: None,
    };
    assertions::tried(bench, &asked, &key)
}
