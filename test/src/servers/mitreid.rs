//! MITREid Connect, a server of before Java had modules, as a web application on Jetty. Only when
//! picked.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Grant, Home, Process, Profile, Running, Server, Site, Web, folder, java};

pub(super) struct Mitreid;

const SECRET: &str = "Password1";
const CALLBACK: &str = "http://127.0.0.1/callback";
const JETTY: &str = "jetty-runner-9.4.57.v20241219.jar";
/// From Maven: the application and what runs it, then what Java no longer has itself.
const RUNS: [&str; 2] = [
    "org.mitre:openid-connect-server-webapp:1.3.4:war",
    "org.eclipse.jetty:jetty-runner:9.4.57.v20241219",
];
const LACKS: [&str; 5] = [
    "javax.xml.bind:jaxb-api:2.3.1",
    "org.glassfish.jaxb:jaxb-runtime:2.3.1",
    "javax.activation:javax.activation-api:1.2.0",
    "com.sun.istack:istack-commons-runtime:3.0.7",
    "org.glassfish.jaxb:txw2:2.3.1",
];
/// Files of the application that are its configuration.
const CLIENTS: &str = "WEB-INF/classes/db/hsql/clients.sql";
const CONFIG: &str = "WEB-INF/server-config.xml";

impl Server for Mitreid {
    fn name(&self) -> &'static str {
        "mitreid"
    }

    fn version(&self, _: &Home) -> String {
        "MITREid Connect 1.3.4 on Jetty 9.4".to_owned()
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "mitreid.conf",
            url: "https://auth.example.com",
            secret: SECRET,
            scope: "email",
            special: Some(("special", "p+ss w%rd/&=u\"")),
            keeps_tokens: false,
            expect: &[],
            own: &[],
        }
    }

    fn lacks(&self) -> Option<String> {
        java::lacks()
    }

    fn only_when_picked(&self) -> bool {
        true
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        home.once(&[&RUNS[..], &LACKS].concat().join(" "), |home| {
            let application = home.join("application");
            let _ = fs::remove_dir_all(&application);
            fs::create_dir(&application).map_err(|error| error.to_string())?;
            let libraries = application.join("WEB-INF/lib");
            for (artifacts, directory) in [(&RUNS[..], home.path()), (&LACKS, &*libraries)] {
                for artifact in artifacts {
                    let mut maven = Command::new("mvn");
                    maven.args(["-q", "-B", "dependency:copy"]);
                    maven.arg(format!("-Dartifact={artifact}"));
                    maven.arg(format!("-DoutputDirectory={}", directory.display()));
                    home.run(maven.current_dir(home.path()))?;
                }
            }
            let mut jar = Command::new("jar");
            jar.args(["xf", "../openid-connect-server-webapp-1.3.4.war"]);
            home.run(jar.current_dir(&application))
        })
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        let application = site.directory.join("application");
        let mut copy = Command::new("cp");
        home.run(copy.arg("-r").arg(home.join("application")).arg(&application))?;
        let told = |error: std::io::Error| format!("{}: {error}", application.display());
        let clients = fs::read_to_string(folder(self.name()).join("clients.sql")).map_err(told)?;
        let change = |name: &str, before: &str, by: &str, keep: bool| {
            let file = application.join(name);
            let text = fs::read_to_string(&file).map_err(told)?;
            assert!(text.contains(before), "{name} has {before:?}");
            let by = if keep { format!("{by}{before}") } else { by.to_owned() };
            fs::write(&file, text.replacen(before, &by, 1)).map_err(told)
        };
        change(CLIENTS, "MERGE INTO client_details", &clients, true)?;
        let issuer = format!("{}/", site.url());
        change(CONFIG, "http://localhost:8080/openid-connect-server-webapp/", &issuer, false)?;

        let (jetty, port) = (home.join(JETTY), site.port.to_string());
        let page = format!("{}/.well-known/openid-configuration", site.url());
        let probe = Web::new(&site.directory);
        let process = Process::start(
            &site.directory.join("log"),
            move || {
                let mut java = Command::new("java");
                java.args(["-Xmx384m", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-jar"]);
                java.arg(&jetty).args(["--host", "127.0.0.1", "--port", &port, "--path", "/"]);
                java.arg(&application);
                java
            },
            move || {
                thread::sleep(Duration::from_millis(500));
                probe.get(&page).status == 200
            },
        )?;
        // A person's session is none of a client's.
        let directory = site.directory.join("person");
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let (web, browser) = (Web::new(&site.directory), Web::new(&directory));
        Ok(Box::new(Application { process, web, browser, url: site.url() }))
    }
}

struct Application {
    process: Process,
    web: Web,
    browser: Web,
    url: String,
}

impl Application {
    fn machine(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let url = format!("{}/token", self.url);
        self.web.post(&url, Some((client, SECRET)), &form).expect(200).text("access_token")
    }

    /// The code flow: a log-in, and a page to consent on.
    fn person(&self, member: &str) -> String {
        let url = format!(
            "{}/authorize?response_type=code&client_id=app&redirect_uri={CALLBACK}\
             &scope=openid+email+offline_access",
            self.url
        );
        let fields = [
            ("username", "user"),
            ("password", "password"),
            ("scope_openid", "openid"),
            ("scope_email", "email"),
            ("scope_offline_access", "offline_access"),
            ("remember", "none"),
            ("authorize", "Authorize"),
        ];
        let code = self.browser.code(&url, CALLBACK, &fields);
        let form =
            [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", CALLBACK)];
        let url = format!("{}/token", self.url);
        self.web.post(&url, Some(("app", SECRET)), &form).expect(200).text(member)
    }
}

impl Running for Application {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.machine("app", "email"),
            Grant::Unscoped => self.machine("app", "phone"),
            Grant::Short => self.machine("short", "email"),
            Grant::Foreign => self.machine("other", "email"),
            Grant::Refresh => self.person("refresh_token"),
            Grant::Id => self.person("id_token"),
            Grant::Dpop | Grant::Own(_) => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        let url = format!("{}/revoke", self.url);
        let _ = self.web.post(&url, Some(("app", SECRET)), &[("token", token)]).expect(200);
        true
    }
}
