//! Makes the documentation's pictures of the status page: `make pictures`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::tls::{Authority, server_config};
use phantom_token_test::{AuthorizationServer, Browser, Mint, Rig};

/// When the authorization server goes away, and comes back.
const OUTAGE: [u64; 2] = [85, 110];
/// When the page has seen enough.
const END: u64 = 170;
/// What is asked for at once.
const CLIENTS: u64 = 6;

fn main() {
    let (server, trusted) = server();
    let rig = Rig::with(server, |builder, server| {
        builder
            .endpoint(&format!(
                "https://login.example.com/oauth/v2/oauth-introspect connect=127.0.0.1:{}",
                server.port()
            ))
            .directives("phantom_token_ssl_trusted_certificate ca.pem;")
            .directives("phantom_token_cache_valid 40s;\nphantom_token_cache_refresh_ahead 10s;")
            .file("ca.pem", trusted)
            .allow("login.example.com")
            .location("/status", "phantom_token_status html;")
    });
    let mut browser = Browser::open(1024, 768).expect("Chromium is installed");
    browser.prefer_dark(false);
    browser.go(&format!("{}/status", rig.gateway.url()));
    let known: Vec<_> = (0..250).map(|_| rig.server.issue()).collect();
    let (began, over) = (Instant::now(), AtomicBool::new(false));
    let until = |second| {
        thread::sleep(Duration::from_secs(second).saturating_sub(began.elapsed()));
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn({
                let (rig, known, over) = (&rig, &known, &over);
                move || visit(rig, known, client, began, over)
            });
        }
        until(OUTAGE[0]);
        rig.server.stop();
        until(OUTAGE[1] - 2);
        take(&mut browser, "status-page-outage.png", Some("#charts"));
        until(OUTAGE[1]);
        rig.server.resume().expect("the port is free");
        until(END);
        take(&mut browser, "status-page.png", Some("#charts"));
        browser.prefer_dark(true);
        take(&mut browser, "status-page-dark.png", Some("#charts"));
        browser.prefer_dark(false);
        browser.resize(390, 844, 1.0, true);
        redrawn(&mut browser);
        take(&mut browser, "status-page-phone.png", Some(".outcomes"));
        over.store(true, Ordering::Relaxed);
    });
}

/// A server that says to be login.example.com, and the certificate to trust.
fn server() -> (AuthorizationServer, String) {
    let authority = Authority::generate();
    let tls = server_config(&authority.server(&["login.example.com"]), None);
    let server = AuthorizationServer::builder().tls(tls, "login.example.com").start();
    (server.expect("a free port"), authority.certificate)
}

/// A client's requests, as an API sees them: most with tokens it knows, some with new ones, and a
/// few that are not as they should be. The server takes its time, now more, now less.
fn visit(rig: &Rig, known: &[Token], seed: u64, began: Instant, over: &AtomicBool) {
    let mut number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while !over.load(Ordering::Relaxed) {
        let mut client = rig.gateway.client(); // NGINX closes a connection after a thousand requests
        for round in 0..500 {
            if over.load(Ordering::Relaxed) {
                return;
            }
            number = number.wrapping_mul(6_364_136_223_846_793_005);
            number = number.wrapping_add(1_442_695_040_888_963_407);
            let second = began.elapsed().as_secs_f64();
            let slow = 60.0 * (second / 27.0).sin().max(0.0).powi(6);
            rig.server.set_delay(Duration::from_millis(4 + number % 9 + slow as u64));
            match (number >> 33) % 1000 {
                0..=5 => drop(client.get("/api", &[])),
                6..=18 => drop(client.get_as("/api", &format!("unknown-{seed}-{round}-{number}"))),
                19..=40 => drop(client.get_as("/api", &rig.server.mint(Mint::new()).token)),
                _ => {
                    drop(client.get_as("/api", &known[(number >> 40) as usize % known.len()].token))
                }
            }
            // The day's ups and downs.
            let pause = 70.0 + 25.0 * (second / 14.0).sin() + 10.0 * (second / 3.0).sin();
            thread::sleep(Duration::from_millis(pause as u64 + (number >> 50) % 20));
        }
    }
}

/// Waits until the page has drawn numbers in its present size.
fn redrawn(browser: &mut Browser) {
    let state = "document.getElementById('state').textContent";
    let before = browser.eval(state);
    browser.wait_for(&format!("{state} !== {before}"));
}

/// A picture of the page, down to the end of an element where one is named.
fn take(browser: &mut Browser, name: &str, down_to: Option<&str>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/img");
    let file: PathBuf = directory.join(name);
    let down_to = down_to.map(|selector| {
        let bottom = format!("document.querySelector('{selector}').getBoundingClientRect().bottom");
        browser.eval(&bottom).as_f64().expect("an element") + 16.0
    });
    browser.screenshot(&file, down_to);
    println!("{}: {} bytes", file.display(), std::fs::metadata(&file).map_or(0, |file| file.len()));
}
