//! Debian's LemonLDAP::NG: Perl processes that speak FastCGI behind an NGINX, as a virtual host.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Grant, Home, Process, Profile, Running, Server, Site, Web, folder, has};
use crate::nginx;

pub(super) struct LemonldapNg;

const SECRET: &str = "Password1";
const HOST: &str = "auth.example.com";
const PACKAGES: [&str; 15] = [
    "liblemonldap-ng-portal-perl",
    "lemonldap-ng-fastcgi-server",
    "openssl",
    // The portal wants what it recommends.
    "libconvert-pem-perl",
    "libcrypt-openssl-bignum-perl",
    "libcrypt-openssl-rsa-perl",
    "libcrypt-jwt-perl",
    "libcrypt-openssl-x509-perl",
    "libemail-sender-perl",
    "libgd-securityimage-perl",
    "libimage-magick-perl",
    "libhash-merge-simple-perl",
    "libio-string-perl",
    "libmime-tools-perl",
    "libstring-random-perl",
];

impl Server for LemonldapNg {
    fn name(&self) -> &'static str {
        "lemonldap-ng"
    }

    fn version(&self, home: &Home) -> String {
        let version = home.unpacked_version("liblemonldap-ng-portal-perl");
        format!("LemonLDAP::NG {version} behind NGINX")
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "lemonldap-ng.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("special", "p+ss w%rd/&=u")),
            keeps_tokens: true,
            expect: &[
                // A header that is no object is too much for it, and "0" no token to Perl.
                ("odd tokens", "500 status: W10.W10.W10, 500 status: 0"),
                // It revokes none.
                ("revoked before", "-"),
                ("revoked later; purged", "-"),
                // It looks for access tokens alone.
                ("refresh token", "401 inactive"),
            ],
            own: &[],
        }
    }

    fn lacks(&self) -> Option<String> {
        (!has("apt-get")).then(|| "Debian's packages".to_owned())
    }

    fn only_when_picked(&self) -> bool {
        true
    }

    fn url(&self, site: &Site) -> String {
        format!("http://{HOST}:{}", site.port)
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        home.unpack(&PACKAGES)
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        for directory in ["sessions/lock", "cache"] {
            let made = fs::create_dir_all(site.directory.join(directory));
            made.map_err(|error| format!("{directory}: {error}"))?;
        }
        let write = |name: &str, text: &str| {
            let written = fs::write(site.directory.join(name), text);
            written.map_err(|error| format!("{name}: {error}"))
        };
        write("lmConf-1.json", &configuration(home, site)?)?;
        for name in ["lemonldap-ng.ini", "nginx.conf"] {
            write(name, &read(name, home, site)?)?;
        }

        let (root, libraries) = (home.join("root/usr"), home.libraries());
        let modules = home.perl_modules();
        let (socket, path) = (site.directory.join("portal.sock"), site.directory.clone());
        let (listens, gone) = (socket.clone(), socket.clone());
        let process = Process::start(
            &site.directory.join("log"),
            move || {
                let _ = fs::remove_file(&gone);
                let mut perl = Command::new("perl");
                perl.env("PERL5LIB", &modules).env("LD_LIBRARY_PATH", &libraries);
                perl.env("LLNG_DEFAULTCONFFILE", path.join("lemonldap-ng.ini"));
                perl.arg(root.join("bin/plackup")).args(["-s", "FCGI", "-E", "deployment"]);
                perl.args(["--nproc", "3", "--listen"]).arg(&socket);
                perl.arg(folder("lemonldap-ng").join("portal.psgi"));
                perl
            },
            move || listens.exists(),
        )?;

        let prefix = site.directory.clone();
        let (probe, url) = (Web::new(&site.directory), site.url());
        let front = Process::start(
            &site.directory.join("front"),
            move || {
                let mut front = Command::new(nginx::binary());
                front.arg("-p").arg(&prefix).args(["-c", "nginx.conf", "-e", "nginx.log"]);
                front
            },
            move || probe.answers(&url),
        )?;
        let web = Web::new(&site.directory);
        let address = format!("{HOST}:{}:127.0.0.1", site.port);
        Ok(Box::new(Runs { process, _front: front, web, address, url: self.url(site) }))
    }
}

/// A file of its folder, for this site.
fn read(name: &str, home: &Home, site: &Site) -> Result<String, String> {
    let text = fs::read_to_string(folder("lemonldap-ng").join(name));
    let text = text.map_err(|error| format!("{name}: {error}"))?;
    Ok(text
        .replace("@PORT@", &site.port.to_string())
        .replace("@SITE@", &site.directory.display().to_string())
        .replace("@ROOT@", &home.join("root").display().to_string()))
}

/// The package's own configuration, ours in its place where it says something.
fn configuration(home: &Home, site: &Site) -> Result<String, String> {
    let own = home.join("root/var/lib/lemonldap-ng/conf/lmConf-1.json");
    let own = fs::read_to_string(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    let mut whole: Value = serde_json::from_str(&own).map_err(|error| error.to_string())?;
    let ours: Value = serde_json::from_str(&read("lmConf.json", home, site)?).expect("JSON");
    for (name, value) in ours.as_object().expect("an object") {
        whole[name] = value.clone();
    }
    // It signs ID tokens with RSA alone.
    let script = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out signing.key && \
                  openssl pkey -in signing.key -pubout -out signing.pub";
    home.run(Command::new("bash").args(["-c", script]).current_dir(&site.directory))?;
    for (name, file) in
        [("oidcServicePrivateKeySig", "signing.key"), ("oidcServicePublicKeySig", "signing.pub")]
    {
        let key = fs::read_to_string(site.directory.join(file));
        whole[name] = key.map_err(|error| format!("{file}: {error}"))?.into();
    }
    Ok(whole.to_string())
}

struct Runs {
    process: Process,
    _front: Process,
    web: Web,
    address: String,
    url: String,
}

impl Runs {
    fn token(&self, client: &str, form: &str, member: &str) -> Option<String> {
        let user = format!("{client}:{SECRET}");
        let url = format!("{}/oauth2/token", self.url);
        let arguments = ["--resolve", &self.address, "--user", &user, "--data", form, &url];
        Some(self.web.send(&arguments).expect(200).text(member))
    }
}

impl Running for Runs {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        let person = "grant_type=password&username=dwho&password=dwho&scope=openid+read";
        let machine = "grant_type=client_credentials&scope=read";
        match what {
            Grant::Access => self.token("app", person, "access_token"),
            Grant::Unscoped => self.token("app", &machine.replace("read", "write"), "access_token"),
            Grant::Short => self.token("short", machine, "access_token"),
            Grant::Foreign => self.token("other-app", machine, "access_token"),
            Grant::Refresh => self.token("app", person, "refresh_token"),
            Grant::Id => self.token("app", person, "id_token"),
            _ => None,
        }
    }

    fn revoke(&mut self, _: &str) -> bool {
        false
    }
}
