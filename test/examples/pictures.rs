//! Makes the documentation's pictures of the status page: `make pictures`.

use std::path::Path;
use std::thread;
use std::time::Duration;

use phantom_token_test::{AuthorizationServer, Browser, Mint, Rig, Script};

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/img");
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location("/status", "phantom_token_status html;")
    });
    let mut browser = Browser::open(1200, 900).expect("Chromium is installed");
    browser.prefer_dark(false);
    browser.go(&format!("{}/status", rig.gateway.url()));
    rig.server.set_delay(Duration::from_millis(7));
    let known: Vec<_> = (0..200).map(|_| rig.server.issue()).collect();
    let mut number = 0_usize;
    let mut client = rig.gateway.client();
    for round in 0..3600_usize {
        if round % 500 == 499 {
            client = rig.gateway.client(); // NGINX closes a connection after a thousand requests
        }
        number =
            number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chance = (number >> 33) % 1000;
        let busy = 3 + (round / 300) % 4;
        match chance {
            0..=5 => drop(client.get("/api", &[])),
            6..=20 => drop(client.get_as("/api", &format!("unknown-{round}"))),
            21..=60 => drop(client.get_as("/api", &rig.server.mint(Mint::new()).token)),
            61..=63 if round > 1500 => {
                rig.server.script(&format!("failing-{round}"), Script::status(500));
                drop(client.get_as("/api", &format!("failing-{round}")));
            }
            _ => drop(client.get_as("/api", &known[(number >> 40) % known.len()].token)),
        }
        thread::sleep(Duration::from_millis(40 / busy as u64 + 10));
    }
    browser.screenshot(&directory.join("status-page.png"));
    browser.prefer_dark(true);
    browser.screenshot(&directory.join("status-page-dark.png"));
    browser.resize(390, 844, true);
    // The next numbers are drawn in the new size.
    let state = "document.getElementById('state').textContent";
    let before = browser.eval(state);
    browser.wait_for(&format!("{state} !== {before}"));
    browser.screenshot(&directory.join("status-page-phone.png"));
}
