//! Debian's Doorkeeper on Rails and Puma: threads, answers in chunks, Rails' `max-age=0`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::cases::case;
use super::minted::minted;
use super::{Bench, Case, Grant, Home, Process, Profile, Running, Server, Site, Web, folder, has};

pub(super) struct Doorkeeper;

const SECRET: &str = "Password1";
const PACKAGES: [&str; 6] = [
    "ruby-doorkeeper",
    "ruby-railties",
    "ruby-activerecord",
    "ruby-actionpack",
    "ruby-sqlite3",
    "puma",
];

impl Server for Doorkeeper {
    fn name(&self) -> &'static str {
        "doorkeeper"
    }

    fn version(&self, home: &Home) -> String {
        let [doorkeeper, rails, puma] =
            ["ruby-doorkeeper", "ruby-railties", "puma"].map(|name| home.unpacked_version(name));
        format!("Doorkeeper {doorkeeper}, Rails {rails}, Puma {puma}")
    }

    fn profile(&self) -> Profile {
        Profile {
            own: OWN,
            ..profile(&[REFRESH, ID, ("TLS of its own: trusted; not", "200; 500 tls")])
        }
    }

    fn lacks(&self) -> Option<String> {
        (!has("apt-get")).then(|| "Debian's packages".to_owned())
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        home.unpack(&PACKAGES)
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        Ok(Box::new(Runs::start(home, site)?))
    }
}

/// By the recipe: it tells refresh tokens from access tokens.
pub(super) const REFRESH: (&str, &str) = ("refresh token", "401 inactive");
/// It gives none.
pub(super) const ID: (&str, &str) = ("ID token", "-");

/// What is expected of Doorkeeper, behind whatever, and more.
pub(super) fn profile(expect: &'static [(&'static str, &'static str)]) -> Profile {
    Profile {
        example: "doorkeeper.conf",
        url: "https://auth.example.com",
        secret: SECRET,
        scope: "read",
        special: Some(("special", "p+ss w%rd/&=ü")),
        keeps_tokens: true,
        expect,
        own: &[],
    }
}

/// A running Doorkeeper.
pub(super) struct Runs {
    process: Process,
    web: Web,
    url: String,
}

impl Runs {
    pub(super) fn start(home: &Home, site: &Site) -> Result<Self, String> {
        let bind = match &site.tls {
            None => format!("tcp://127.0.0.1:{}", site.port),
            Some(tls) => format!(
                "ssl://127.0.0.1:{}?cert={}&key={}",
                site.port,
                tls.certificate.display(),
                tls.key.display()
            ),
        };
        let ruby = ruby(home, &site.directory);
        let (probe, url) = (Web::new(&site.directory), format!("{}/oauth/token", site.url()));
        let process = Process::start(
            &site.directory.join("log"),
            move || {
                let mut puma = ruby("puma");
                puma.args(["--environment", "production", "--bind", &bind, "config.ru"]);
                puma
            },
            move || probe.answers(&url),
        )?;
        let web = Web::new(&site.directory);
        Ok(Self { process, web, url: format!("{}/oauth", site.url()) })
    }

    fn token(&self, client: &str, form: &[(&str, &str)], member: &str) -> String {
        let url = format!("{}/token", self.url);
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
            ("scope", "read"),
        ];
        self.token("app", &form, member)
    }
}

/// Makes commands that run a Ruby program of unpacked packages in the server's folder.
fn ruby(home: &Home, site: &Path) -> impl Fn(&str) -> Command + use<> {
    let root = home.join("root");
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    // Puma's folder is named by Ruby's version.
    let folders = fs::read_dir(root.join("usr/lib").join(&triplet).join("rubygems-integration"));
    let version =
        folders.ok().and_then(|mut folders| folders.next()?.ok()?.file_name().into_string().ok());
    let version = version.unwrap_or_default();
    let below = |paths: &[&str]| {
        let paths = paths.iter().map(|path| {
            let path = path.replace("TRIPLET", &triplet).replace("VERSION", &version);
            root.join(path).display().to_string()
        });
        paths.collect::<Vec<_>>().join(":")
    };
    let libraries = below(&[
        "usr/lib/ruby/vendor_ruby",
        "usr/lib/TRIPLET/ruby/vendor_ruby/VERSION",
        "usr/lib/TRIPLET/ruby/vendor_ruby",
        "usr/lib/ruby/VERSION",
        "usr/lib/TRIPLET/ruby/VERSION",
    ]);
    let gems = below(&[
        "usr/share/rubygems-integration/all",
        "usr/share/rubygems-integration/VERSION",
        "usr/lib/ruby/gems/VERSION",
        "usr/lib/TRIPLET/rubygems-integration/VERSION",
    ]);
    // Where the system has one, there is none among the unpacked packages.
    let unpacked = root.join("usr/bin/ruby");
    let program = if unpacked.exists() { unpacked } else { "ruby".into() };
    let (shared, site, database) =
        (home.libraries(), site.to_owned(), format!("sqlite3:{}/db.sqlite3", site.display()));
    move |name| {
        let mut command = Command::new(&program);
        command.env("RUBYLIB", &libraries).env("GEM_PATH", &gems).env("LD_LIBRARY_PATH", &shared);
        command.env("SITE", &site).env("DATABASE_URL", format!("{database}?pool=16&timeout=20000"));
        command.arg(root.join("usr/bin").join(name)).current_dir(folder("doorkeeper"));
        command
    }
}

impl Running for Runs {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.person("access_token"),
            Grant::Unscoped => self.machine("app", "write"),
            Grant::Short => self.machine("short", "read"),
            Grant::Foreign => self.machine("other-app", "read"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Own("endless") => self.machine("endless", "read"),
            _ => return None,
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

const OWN: &[Case] = &[
    minted("200 by an id; 401 inactive"),
    case("a token without an end, exp 0: first; again", endless, "200 MISS; 200 HIT"),
    case("max-age=0: first; again; strict", max_age, "200 MISS; 200 HIT; 200 MISS; 200 MISS"),
];

/// A status, and where the answer came from.
fn whence(bench: &mut Bench<'_>, what: Grant, cache_control: &str) -> String {
    let token = bench.token(what);
    let gateway = bench.example().set("phantom_token_cache_control", cache_control).start();
    let tried = [1, 2].map(|_| {
        let response = gateway.get_as("/api/echo", &token);
        format!("{} {}", response.status, response.header("x-cache").unwrap_or("-"))
    });
    tried.join("; ")
}

fn endless(bench: &mut Bench<'_>) -> String {
    whence(bench, Grant::Own("endless"), "cap")
}

fn max_age(bench: &mut Bench<'_>) -> String {
    ["cap", "strict"].map(|how| whence(bench, Grant::Access, how)).join("; ")
}
