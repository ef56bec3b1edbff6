//! Spring Authorization Server: a Spring Boot application of a screen, built by Maven.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::assertions::{self, Asked};
use super::bench::{Bench, outcome};
use super::cases::{DPOP_BOUND, case, granted};
use super::minted::minted;
use super::web::pkce;
use super::{
    Case, Example, Grant, Home, Process, Profile, Running, Server, Site, Web, folder, java,
};
use crate::authorization_server::AuthorizationServer;
use crate::jwt::{SigningKey, random_text, verifies_rs256};
use crate::tls::Authority;

pub(super) struct Spring;

const CALLBACK: &str = "http://127.0.0.1/callback";
/// In the site's folder, where it speaks HTTPS: the CA of the gateway's client, and the client's own.
const CLIENT_CA: &str = "client-ca.pem";
const CLIENT: &str = "by-certificate";

const CODE: Grant = Grant::Own("an unused authorization code");
const DEVICE_CODE: Grant = Grant::Own("device_code");
const USER_CODE: Grant = Grant::Own("user_code");
const JWT: Grant = Grant::Own("a self-contained token");

const OWN: &[Case] = &[
    minted("200 app; 401 kind"),
    case("unused code; device code; user code", codes, "401 kind; 401 kind; 401 kind"),
    case("self-contained access token", |bench| granted(bench, JWT), "200"),
    case("a JWT by its handler", by_its_handler, "200, signed by a key of its set"),
    case(
        "refresh; ID token; unused code; user code: by its handler",
        handled,
        "401 inactive; 401 inactive; 401 inactive; 401 inactive",
    ),
    DPOP_BOUND,
    case(
        "gateway's certificate: with its CA's; alone; none",
        by_certificate,
        "200; 500 credentials; 500 status",
    ),
    case(
        "gateway by assertion: key; secret; another key",
        by_assertion,
        "200; 200; 500 credentials",
    ),
];

impl Server for Spring {
    fn name(&self) -> &'static str {
        "spring"
    }

    fn version(&self, _: &Home) -> String {
        "Spring Authorization Server 1.5.3, Boot 3.5.7, Tomcat".to_owned()
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "spring.conf",
            url: "https://auth.example.com",
            secret: "Password1",
            scope: "message.read",
            special: Some(("special", "p+ss w%rd/&=u\"")),
            keeps_tokens: false,
            expect: &[
                // It calls them active; only access tokens have a token_type.
                ("ID token", "401 kind"),
                // It decodes what Basic carries; a stray percent sign is an invalid request to it.
                ("special secret: basic; raw; post", "200; 500 status; 200"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn lacks(&self) -> Option<String> {
        java::lacks()
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        let files = ["pom.xml", "src/main/java/server/Application.java"];
        let texts = files.map(|file| fs::read_to_string(folder(self.name()).join(file)));
        let texts: Vec<_> =
            texts.into_iter().collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        home.once(&texts.concat(), |home| {
            let _ = fs::remove_dir_all(home.join("build"));
            let mut copy = Command::new("cp");
            home.run(copy.arg("-r").arg(folder(self.name())).arg(home.join("build")))?;
            let mut maven = Command::new("mvn");
            maven.args(["-q", "-B", "-DskipTests", "package"]);
            home.run(maven.current_dir(home.join("build")))
        })
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        if site.tls.is_some() {
            let authority = Authority::generate();
            authority.client("client").write(&site.directory, CLIENT);
            let ca = site.directory.join(CLIENT_CA);
            fs::write(&ca, &authority.certificate).map_err(|error| error.to_string())?;
        }
        // It fetches the key of the client that signs with one.
        let key = Arc::new(assertions::key_in(&site.directory));
        let keys = AuthorizationServer::builder().key(key).start();
        let keys = keys.map_err(|error| error.to_string())?;
        let process = serve(home, site, &format!("{}/jwks", keys.url()))?;
        // A person's session is none of a client's.
        let directory = site.directory.join("person");
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let (web, browser) = (Web::new(&site.directory), Web::new(&directory));
        Ok(Box::new(Application { process, web, browser, url: site.url(), _keys: keys }))
    }
}

fn serve(home: &Home, site: &Site, client_keys: &str) -> Result<Process, String> {
    let mut arguments = vec![
        "--server.address=127.0.0.1".to_owned(),
        format!("--server.port={}", site.port),
        format!("--issuer={}", site.url()),
        format!("--client-keys={client_keys}"),
    ];
    if let Some(tls) = &site.tls {
        let ca = site.directory.join(CLIENT_CA);
        arguments.extend([
            format!("--server.ssl.certificate=file:{}", tls.certificate.display()),
            format!("--server.ssl.certificate-private-key=file:{}", tls.key.display()),
            format!("--server.ssl.trust-certificate=file:{}", ca.display()),
            "--server.ssl.client-auth=want".to_owned(),
        ]);
    }
    let jar = home.join("build/target/server.jar");
    let page = format!("{}/.well-known/oauth-authorization-server", site.url());
    let web = Web::new(&site.directory);
    Process::start(
        &site.directory.join("log"),
        move || {
            let mut java = Command::new("java");
            java.args(["-Xmx256m", "-jar"]).arg(&jar).args(&arguments);
            java
        },
        move || {
            thread::sleep(Duration::from_millis(300));
            web.get(&page).status == 200
        },
    )
}

struct Application {
    process: Process,
    web: Web,
    browser: Web,
    url: String,
    _keys: AuthorizationServer,
}

impl Application {
    fn post(&self, path: &str, client: &str, form: &[(&str, &str)], member: &str) -> String {
        let (url, secret) = (format!("{}/oauth2/{path}", self.url), format!("of {client}"));
        self.web.post(&url, Some((client, &secret)), form).expect(200).text(member)
    }

    fn machine(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        self.post("token", client, &form, "access_token")
    }

    /// A person's authorization code, and the verifier that it is redeemed with.
    fn code(&self) -> (String, String) {
        let verifier = random_text(64);
        let challenge = pkce(&verifier);
        let url = format!(
            "{}/oauth2/authorize?response_type=code&client_id=app&redirect_uri={CALLBACK}\
             &scope=openid+message.read&code_challenge={challenge}&code_challenge_method=S256",
            self.url
        );
        let alice = [("username", "alice"), ("password", "wonderland")];
        (self.browser.code(&url, CALLBACK, &alice), verifier)
    }

    fn person(&self, member: &str) -> String {
        let (code, verifier) = self.code();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &verifier),
        ];
        self.post("token", "app", &form, member)
    }

    fn bound_to_a_key(&self) -> String {
        let url = format!("{}/oauth2/token", self.url);
        let proof = format!("DPoP: {}", SigningKey::generate().dpop_proof("POST", &url));
        let form = "grant_type=client_credentials&scope=message.read";
        let user = "app:of+app";
        let answer = self.web.send(&["--user", user, "--data", form, "--header", &proof, &url]);
        answer.expect(200).text("access_token")
    }
}

impl Running for Application {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.machine("app", "message.read"),
            Grant::Unscoped => self.machine("app", "message.write"),
            Grant::Short => self.machine("short", "message.read"),
            Grant::Foreign => self.machine("other", "message.read"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Id => self.person("id_token"),
            Grant::Dpop => self.bound_to_a_key(),
            CODE => self.code().0,
            Grant::Own(member @ ("device_code" | "user_code")) => {
                self.post("device_authorization", "app", &[("scope", "message.read")], member)
            }
            JWT => self.machine("other", "message.read"),
            Grant::Own(_) => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/oauth2/revoke", self.url);
        let _ = self.web.post(&url, Some(("app", "of app")), &[("token", token)]).expect(200);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

/// What is active at its introspection endpoint, and no access token. A scope is not asked for:
/// codes have none in the answer.
fn codes(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().without("phantom_token_scope").start();
    let tried = [CODE, DEVICE_CODE, USER_CODE].map(|what| outcome(&gateway, &bench.token(what)));
    tried.join("; ")
}

/// The example, asking as the client that the application's handler gives a JWT.
fn handler(bench: &Bench<'_>) -> Example {
    let example = bench.example().set("phantom_token_client_id", "gateway-jwt").secret("Password2");
    example.set("phantom_token_forward", "jwt")
}

fn by_its_handler(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let got = outcome(&handler(bench).start(), &token);
    let received = bench.api.last();
    let authorization = received.authorization();
    let jwt = authorization.first().and_then(|value| value.strip_prefix("Bearer "));
    let keys = Web::new(&bench.site.directory).get(&format!("{}/oauth2/jwks", bench.site.url()));
    let signed = jwt.is_some_and(|jwt| verifies_rs256(&keys.expect(200).json(), jwt));
    format!("{got}{}", if signed { ", signed by a key of its set" } else { "" })
}

fn handled(bench: &mut Bench<'_>) -> String {
    let gateway = handler(bench).without("phantom_token_scope").start();
    let tried = [Grant::Refresh, Grant::Id, CODE, USER_CODE]
        .map(|what| outcome(&gateway, &bench.token(what)));
    tried.join("; ")
}

/// Its client is known by a certificate's subject, and the file must hold the issuer's too: a single
/// certificate is taken for a self-signed one (RFC 8705 §2.2).
fn by_certificate(bench: &mut Bench<'_>) -> String {
    let bench = bench.with_tls();
    let token = bench.token(Grant::Access);
    let read = |name: &str| fs::read_to_string(bench.site.directory.join(name)).expect(name);
    let (leaf, key, ca) =
        (read(&format!("{CLIENT}.pem")), read(&format!("{CLIENT}.key")), read(CLIENT_CA));
    let tried = [Some(format!("{leaf}{ca}")), Some(leaf), None].map(|certificate| {
        let mut example = bench
            .example()
            .without("phantom_token_client_id")
            .without("phantom_token_client_secret_file")
            .set("phantom_token_client_auth", "none")
            .beside("phantom_token_introspection_param client_id gateway-certificate;");
        if let Some(certificate) = certificate {
            example = example
                .file("client.pem", &certificate)
                .file("client.key", &key)
                .beside("phantom_token_ssl_certificate client.pem;")
                .beside("phantom_token_ssl_certificate_key client.key;");
        }
        outcome(&example.start(), &token)
    });
    tried.join("; ")
}

/// A secret costs it a bcrypt, an assertion a signature.
fn by_assertion(bench: &mut Bench<'_>) -> String {
    let key = assertions::key_in(&bench.site.directory);
    let asked = Asked {
        path: "/oauth2/introspect",
        issuer: "",
        accept: "application/json",
        forward: "none",
        by_key: ("gateway-key", String::new()),
        by_secret: Some("gateway-secret"),
    };
    assertions::tried(bench, &asked, &key)
}
