//! The status page for people, in headless Chromium.

use phantom_token_test::nginx::skip;
use phantom_token_test::{Browser, Rig, Script};
use serde_json::{Value, json};

fn rig() -> Rig {
    let server = phantom_token_test::AuthorizationServer::start();
    Rig::with(server, |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .http(&format!(
                "phantom_token_provider tenant {{\nintrospection_endpoint {};\nclient_auth none;\n}}",
                server.introspection_url()
            ))
            .file("fleet.key", [7; 32])
            .allow("/nowhere/store.sock")
            .location("/status", "phantom_token_status html;")
            .location("/other", "phantom_token_status;")
    })
}

fn open(rig: &Rig) -> Option<Browser> {
    let Some(mut browser) = Browser::open(1200, 900) else {
        skip("Chromium is not installed");
        return None;
    };
    browser.go(&format!("{}/status", rig.gateway.url()));
    browser.wait_for("document.getElementById('state').textContent.startsWith('Live')");
    Some(browser)
}

/// The rows of a table by its caption, cells as text.
fn rows(browser: &mut Browser, caption: &str) -> Vec<Vec<String>> {
    let rows = browser.eval(&format!(
        "[...document.querySelectorAll('table')].filter(t => t.caption.textContent === '{caption}')
         .flatMap(t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent)))"
    ));
    serde_json::from_value(rows).unwrap()
}

#[test]
fn shows_the_numbers_and_follows_them() {
    let rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    let token = rig.server.issue();
    for _ in 0..3 {
        rig.assert_passes(&token);
    }
    rig.gateway.get("/api", &[]);
    browser.wait_for("document.getElementById('total').textContent === '4 in total'");
    let outcomes = rows(&mut browser, "Requests by outcome");
    let of = |word: &str| outcomes.iter().find(|row| row[0] == word).unwrap()[2].clone();
    assert_eq!((of("hit"), of("miss"), of("denied")), ("2".into(), "1".into(), "1".into()));
    let endpoints = rows(&mut browser, "Endpoints");
    assert_eq!(endpoints[0][0], rig.server.introspection_url());
    assert_eq!(endpoints[0][1..], ["up", "1", "0", "0", "0", "–", "–", "idle 1", "tenant"]);
    assert_eq!(rows(&mut browser, "Cache zones")[0][1], "1");
    assert_eq!(browser.eval("document.getElementById('ratio-all').textContent"), "66.6 % in total");

    rig.server.script_all(Script::status(500));
    rig.get_as("another");
    browser.wait_for("document.getElementById('errors-all').textContent === '1 in total'");
    assert_eq!(rows(&mut browser, "Endpoints")[0][6], "status 1");
    let drawn = "[...document.querySelectorAll('path')].filter(p => p.getAttribute('d')).length";
    assert!(browser.eval(drawn).as_u64().unwrap() >= 4);
    assert_eq!(browser.complaints(), [""; 0], "neither scripts nor the policy complain");
}

#[test]
fn shows_a_gate_that_is_shut() {
    let rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    rig.server.script_all(Script::status(401));
    rig.get_as("refused");
    let cells = "[...document.querySelectorAll('td')].map(cell => cell.textContent)";
    browser.wait_for(&format!("{cells}.includes('gate shut')"));
    browser.wait_for(&format!("{cells}.some(text => text.startsWith('refused '))"));
}

#[test]
fn says_when_the_gateway_cannot_be_asked_and_recovers() {
    let mut rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    let problem = "document.getElementById('problem').textContent";
    assert_eq!(browser.eval(problem), "");
    rig.gateway.reload_with(|builder| builder.server("location = /status { return 503; }"));
    browser.wait_for(&format!("{problem}.includes('status 503')"));
    assert!(browser.eval("document.getElementById('state').textContent") == "Not connected");
    rig.gateway.reload_with(|_| {
        phantom_token_test::Gateway::builder()
            .protect(&rig.server, &rig.api)
            .file("fleet.key", [7; 32])
            .location("/status", "phantom_token_status html;")
    });
    browser.wait_for(&format!("{problem} === ''"));
    browser.wait_for("document.getElementById('state').textContent.startsWith('Live')");
}

#[test]
fn works_by_keyboard_and_tells_a_screen_reader_all() {
    let rig = rig();
    let token = rig.server.issue();
    rig.assert_passes(&token);
    let Some(mut browser) = open(&rig) else { return };
    browser.press("Tab");
    assert_eq!(browser.eval("document.activeElement.id"), "pause");
    browser.press(" ");
    browser.wait_for("document.getElementById('state').textContent.startsWith('Paused')");
    assert_eq!(browser.eval("document.activeElement.getAttribute('aria-pressed')"), "true");
    // Tables that are wider than the window can be scrolled by keyboard too.
    for _ in 0..3 {
        browser.press("Tab");
    }
    assert_eq!(browser.eval("document.activeElement.className"), "scroll");

    let nodes = browser.accessibility();
    let has = |role: &str, name: &str| {
        nodes.iter().any(|(known, text)| known == role && text.starts_with(name))
    };
    assert!(has("button", "Pause"));
    assert!(has("heading", "Phantom token"));
    assert!(has("main", ""));
    assert!(has("rowheader", "hit"));
    assert!(has("columnheader", "Total"));
    assert!(has("cell", "answered by the cache") || has("gridcell", "answered by the cache"));
    assert!(has("meter", "in use"));
    for chart in ["Requests per second, by outcome, now: ", "Hit ratio, now: ", "Under way, now: "]
    {
        assert!(has("image", chart) || has("img", chart), "{chart}: {nodes:#?}");
    }
    assert_eq!(browser.eval("document.documentElement.lang"), "en");
}

#[test]
fn fits_a_phone_and_is_readable_in_light_and_dark() {
    let rig = rig();
    rig.assert_passes(&rig.server.issue());
    let Some(mut browser) = open(&rig) else { return };
    // Contrast of text to its ground after WCAG 2.2, at least 4.5 to 1 (level AA), for each text.
    let faint = r#"(() => {
        const channels = text => text.match(/[\d.]+/g).slice(0, 3).map(Number);
        const light = text => channels(text).map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((all, c, at) => all + c * [0.2126, 0.7152, 0.0722][at], 0);
        const ground = node => {
            for (; node; node = node.parentElement) {
                const colour = getComputedStyle(node).backgroundColor;
                if (!colour.endsWith(', 0)') && colour !== 'transparent') return colour;
            }
            return 'rgb(255, 255, 255)';
        };
        document.getElementById('problem').textContent = 'shown';
        const found = [...document.body.querySelectorAll('*')]
            .filter(node => [...node.childNodes].some(one => one.nodeType === 3 && one.textContent.trim()))
            .filter(node => !['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(node.tagName))
            .map(node => {
                const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
                return [(a + 0.05) / (b + 0.05), node.tagName + ' ' + node.textContent.slice(0, 30)];
            })
            .filter(([ratio]) => ratio < 4.5);
        return found;
    })()"#;
    for dark in [false, true] {
        browser.prefer_dark(dark);
        assert_eq!(browser.eval(faint), json!([]), "dark: {dark}");
    }
    let light = |browser: &mut Browser| {
        browser.eval("getComputedStyle(document.body).backgroundColor").as_str().unwrap().to_owned()
    };
    let in_dark = light(&mut browser);
    browser.prefer_dark(false);
    assert_ne!(light(&mut browser), in_dark);

    browser.resize(360, 740, true);
    let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.eval(overflow), json!(0), "nothing is to be scrolled sideways");
    let small = "[...document.querySelectorAll('button')]
        .some(b => b.getBoundingClientRect().height < 24 || b.getBoundingClientRect().width < 24)";
    assert_eq!(browser.eval(small), Value::Bool(false));
}

#[test]
fn loads_nothing_from_elsewhere() {
    let rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    let fetched = browser.eval("performance.getEntriesByType('resource').map(e => e.name)");
    let status = format!("{}/status?format=json", rig.gateway.url());
    let fetched: Vec<String> = serde_json::from_value(fetched).unwrap();
    assert!(!fetched.is_empty() && fetched.iter().all(|url| *url == status), "{fetched:?}");
    // The policy holds: a script that is not the page's own does not run.
    browser.eval(
        "document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))",
    );
    assert_eq!(browser.eval("window.ran ?? 0"), json!(0));
    assert!(!browser.complaints().is_empty());
    // Any location that shows the numbers can show them so.
    browser.go(&format!("{}/other?format=html", rig.gateway.url()));
    browser.wait_for("document.getElementById('state').textContent.startsWith('Live')");
}

#[test]
fn a_store_is_shown_where_there_is_one() {
    let mut rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    assert!(rows(&mut browser, "Store of the fleet").is_empty());
    let outcome =
        "[...document.querySelectorAll('.legend li')].find(li => li.textContent === 'store')";
    browser.wait_for(&format!("{outcome}.hidden"));
    rig.gateway.reload_with(|builder| {
        builder
            .http("phantom_token_key_file fleet.key;")
            .http("phantom_token_store {\nserver unix:/nowhere/store.sock;\n}")
    });
    browser.wait_for(&format!("!{outcome}.hidden"));
    let store = rows(&mut browser, "Store of the fleet");
    let [row] = &store[..] else { panic!("{store:?}") };
    assert_eq!(row[0], "unix:/nowhere/store.sock");
    assert_eq!(row.len(), 12);
    assert!(["not in sync", "resting"].contains(&&*row[1]), "{row:?}");
    assert_eq!((&*row[2], &*row[3], &*row[4]), ("never", "0", "0"));
}
