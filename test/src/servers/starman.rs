//! Debian's Starman in front of Doorkeeper: a few processes, each busy with one connection as long as
//! that is open (prefork).

use std::process::Command;

use super::bench::outcome;
use super::cases::case;
use super::doorkeeper::{self, Doorkeeper};
use super::{Bench, Case, Grant, Home, Process, Profile, Running, Server, Site, Web, folder, has};
use crate::jwt::random_text;
use crate::port;

pub(super) struct Starman;

/// How many connections it serves at a time.
const WORKERS: usize = 5;

impl Server for Starman {
    fn name(&self) -> &'static str {
        "starman"
    }

    fn version(&self, home: &Home) -> String {
        format!("Starman {} in front of Doorkeeper", home.unpacked_version("starman"))
    }

    fn profile(&self) -> Profile {
        let expect = &[doorkeeper::REFRESH, doorkeeper::ID];
        Profile { example: "starman.conf", own: OWN, ..doorkeeper::profile(expect) }
    }

    fn lacks(&self) -> Option<String> {
        (!has("apt-get")).then(|| "Debian's packages".to_owned())
    }

    fn install(&self, home: &Home) -> Result<(), String> {
        Doorkeeper.install(&Home::of(Doorkeeper.name()))?;
        home.unpack(&["starman"])
    }

    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        let behind = Site { port: port::free(), directory: site.directory.clone(), tls: None };
        let doorkeeper = doorkeeper::Runs::start(&Home::of(Doorkeeper.name()), &behind)?;
        let root = home.join("root/usr");
        let libraries = home.perl_modules();
        let (listen, upstream) = (format!("127.0.0.1:{}", site.port), behind.url());
        let (probe, url) = (Web::new(&site.directory), format!("{}/oauth/token", site.url()));
        let process = Process::start(
            &site.directory.join("starman.log"),
            move || {
                let mut perl = Command::new("perl");
                perl.env("PERL5LIB", &libraries).env("UPSTREAM", &upstream);
                perl.arg(root.join("bin/starman")).args(["--listen", &listen]);
                perl.args([format!("--workers={WORKERS}"), "--keepalive-timeout=30".to_owned()]);
                perl.arg(folder("starman").join("proxy.psgi"));
                perl
            },
            move || probe.answers(&url),
        )?;
        Ok(Box::new(Runs { process, doorkeeper }))
    }
}

struct Runs {
    process: Process,
    doorkeeper: doorkeeper::Runs,
}

impl Running for Runs {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        self.doorkeeper.grant(what)
    }

    fn revoke(&mut self, token: &str) -> bool {
        self.doorkeeper.revoke(token)
    }
}

const OWN: &[Case] = &[case("30 requests in a row, a call each", in_a_row, "401 inactive")];

/// More than it has processes: each connection that is left open takes one.
fn in_a_row(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().set("phantom_token_cache", "off").start();
    let mut got: Vec<_> = (0..30).map(|_| outcome(&gateway, &random_text(32))).collect();
    got.dedup();
    got.join(", ")
}
