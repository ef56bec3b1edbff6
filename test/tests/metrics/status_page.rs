//! The status page for people, in headless Chromium.

use phantom_token_test::nginx::skip;
use phantom_token_test::process::wait_until;
use phantom_token_test::{AuthorizationServer, Browser, Rig, Script};
use serde_json::{Value, json};

mod shown;

fn rig() -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
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

/// The text of a cell by its table, row and column.
fn cell(browser: &mut Browser, caption: &str, row: &str, column: &str) -> String {
    let text = browser.eval(&format!(
        "[...document.querySelectorAll('table')].filter(t => t.caption.textContent === '{caption}')
         .flatMap(t => [...t.tBodies[0].rows]).find(r => r.cells[0].textContent === '{row}')
         .querySelector('[data-name=\"{column}\"]').textContent"
    ));
    text.as_str().unwrap().to_owned()
}

/// What the page says before all else.
const VERDICT: &str = "document.getElementById('verdict').innerText";

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
    for (outcome, count) in [("hit", "2"), ("miss", "1"), ("denied", "1")] {
        assert_eq!(cell(&mut browser, "Requests by outcome", outcome, "Total"), count);
    }
    // Each outcome has the colour that it has in the chart.
    let bare = "[...document.querySelectorAll('.outcomes tbody tr')]
        .filter(row => !row.querySelector(`.swatch.${row.cells[0].textContent}`)).length";
    assert_eq!(browser.eval(bare), 0);
    let endpoint = rig.server.introspection_url();
    for (column, text) in [
        ("State", "up"),
        ("Active", "1"),
        ("Inactive", "0"),
        ("Failed", "0"),
        ("Ended early", "0"),
        ("Why failed", "–"),
        ("Own calls", "–"),
        ("Connections", "idle 1"),
        ("Provider", "tenant"),
    ] {
        assert_eq!(cell(&mut browser, "Endpoints", &endpoint, column), text, "{column}");
    }
    assert_eq!(cell(&mut browser, "Cache zones", "phantom_token", "Active"), "1");
    assert_eq!(cell(&mut browser, "Durations", "introspection calls", "Count"), "1");
    assert_eq!(browser.eval("document.getElementById('ratio-all').textContent"), "66.6 % in total");

    rig.server.script_all(Script::status(500));
    rig.get_as("another");
    browser.wait_for("document.getElementById('errors-all').textContent === '1 in total'");
    assert_eq!(cell(&mut browser, "Endpoints", &endpoint, "Why failed"), "status 1");
    let drawn = "[...document.querySelectorAll('path')].filter(p => p.getAttribute('d')).length";
    assert!(browser.eval(drawn).as_u64().unwrap() >= 4);
    assert_eq!(browser.complaints(), [""; 0], "neither scripts nor the policy complain");
}

#[test]
fn what_is_wrong_stands_first_with_its_beginning() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=1 fail_timeout=60s", server.introspection_url()))
            .location("/status", "phantom_token_status html;")
            .allow("rests for")
    });
    let Some(mut browser) = open(&rig) else { return };
    let token = rig.server.issue();
    rig.assert_passes(&token);
    browser.wait_for(&format!("{VERDICT}.startsWith('All is well')"));
    assert_eq!(browser.eval("document.title"), "Phantom token status");
    assert_eq!(rows(&mut browser, "Endpoints").len(), 1, "nothing failed without an endpoint");

    rig.server.stop();
    wait_until("the endpoint's rest", || {
        rig.get_as("new");
        rig.gateway.error_log().contains("rests for")
    });
    rig.get_as("new");
    rig.assert_passes(&token);
    browser.wait_for(&format!("{VERDICT}.includes('(connect, resting): since ')"));
    let url = rig.server.introspection_url();
    let rests = format!("{url} rests after failures and is not asked: last answered at ");
    assert!(browser.eval(VERDICT).as_str().unwrap().contains(&rests), "{}", browser.eval(VERDICT));
    assert_eq!(browser.eval("document.title"), "(!) Phantom token status");
    // The hit ratio is of what was answered, and beside it stands how much was not.
    let text = |id: &str| format!("document.getElementById('{id}').textContent");
    assert_eq!(browser.eval(&format!("{} === '0.0 % of all'", text("errors-share"))), false);
    assert!(browser.eval(&text("errors-share")).as_str().unwrap().ends_with(" % of all"));
    assert_eq!(browser.eval("document.getElementById('errors').className"), "figure down");
    // What failed without an endpoint is no endpoint that is up.
    assert_eq!(cell(&mut browser, "Endpoints", &url, "State"), "resting");
    let nowhere = "no endpoint chosen";
    assert_eq!(cell(&mut browser, "Endpoints", nowhere, "State"), "–");
    assert!(cell(&mut browser, "Endpoints", nowhere, "Why failed").starts_with("resting "));
    assert_eq!(cell(&mut browser, "Endpoints", nowhere, "Failed"), "–");
    // Nobody is told the same again and again.
    assert_eq!(browser.eval("document.getElementById('verdict').role"), "status");
    let mark = "document.getElementById('verdict').firstChild.mark";
    browser.eval(&format!("{mark} = 1"));
    let state = text("state");
    let before = browser.eval(&state);
    browser.wait_for(&format!("{state} !== {before}"));
    assert_eq!(browser.eval(mark), 1, "the verdict was written anew");

    rig.server.resume().unwrap();
    browser.wait_for(&format!("{VERDICT}.startsWith('All is well')"));
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
    browser.wait_for(&format!("{VERDICT}.includes(\"refuses the gateway's credentials: since \")"));
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
    let verdict = "document.getElementById('verdict').checkVisibility()";
    assert_eq!(browser.eval(verdict), false, "nobody knows whether all is well");
    rig.gateway.reload_with(|_| {
        phantom_token_test::Gateway::builder()
            .protect(&rig.server, &rig.api)
            .file("fleet.key", [7; 32])
            .location("/status", "phantom_token_status html;")
    });
    browser.wait_for(&format!("{problem} === ''"));
    assert_eq!(browser.eval(verdict), true);
    browser.wait_for("document.getElementById('state').textContent.startsWith('Live')");
}

/// Gives each number of the JSON form a value of its own, and collects the text each leaf is to be
/// shown as (a JavaScript expression) with its place; apart from these the places of what is true or
/// false.
fn mark(
    value: &mut Value,
    place: &str,
    texts: &mut Vec<(String, String)>,
    flags: &mut Vec<String>,
) {
    let next = 1_001_001 + 1_013 * texts.len() as u64;
    match value {
        Value::Object(members) if members.contains_key("buckets") => {
            let count = members["buckets"]["+Inf"].as_u64().unwrap() + next;
            let mean = 0.101 + 0.007 * texts.len() as f64;
            let buckets = members["buckets"].as_object_mut().unwrap();
            buckets.values_mut().for_each(|bucket| *bucket = json!(count));
            members["count"] = json!(count);
            members["sum"] = json!(mean * count as f64);
            texts.push((format!("{place}/count"), format!("count({count})")));
            texts.push((format!("{place}/sum"), format!("time({mean})")));
        }
        Value::Object(members) => {
            for (name, member) in members {
                mark(member, &format!("{place}/{name}"), texts, flags);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                mark(item, &format!("{place}/{n}"), texts, flags);
            }
        }
        Value::String(text) => texts.push((place.to_owned(), json!(text).to_string())),
        Value::Bool(_) => flags.push(place.to_owned()),
        Value::Number(_) | Value::Null => {
            let shown = match place.rsplit('/').next().unwrap() {
                "heard_seconds" => format!("'{next}.0 s ago'"),
                name if name.ends_with("_bytes") => format!("bytes({next})"),
                _ => format!("count({next})"),
            };
            *value = json!(next);
            texts.push((place.to_owned(), shown));
        }
    }
}

/// A page that shows what a gateway with a store and a provider has to say, each number another.
fn marked(browser: &mut Browser, rig: &mut Rig) -> (Value, Vec<(String, String)>, Vec<String>) {
    with_store(rig);
    let numbers = rig.gateway.get("/status?format=json", &[]).text();
    let mut numbers: Value = serde_json::from_str(&numbers).unwrap();
    let (mut texts, mut flags) = (Vec::new(), Vec::new());
    mark(&mut numbers, "", &mut texts, &mut flags);
    // What is shown from now on is what the test says.
    browser.eval("document.getElementById('pause').click()");
    browser.wait_for("!asking");
    browser.eval(&format!("take({numbers})"));
    (numbers, texts, flags)
}

fn with_store(rig: &mut Rig) {
    rig.gateway.reload_with(|builder| {
        builder
            .http("phantom_token_key_file fleet.key;")
            .http("phantom_token_store {\nserver unix:/nowhere/store.sock;\n}")
    });
}

#[test]
fn whatever_the_json_says_is_on_the_page() {
    let mut rig = rig();
    rig.assert_passes(&rig.server.issue());
    let Some(mut browser) = open(&rig) else { return };
    let (numbers, texts, flags) = marked(&mut browser, &mut rig);
    assert!(texts.len() > 80 && flags.len() >= 4, "{texts:?} {flags:?}");
    let hidden: Vec<_> = texts
        .iter()
        .filter(|(_, text)| {
            browser.eval(&format!("document.body.textContent.includes({text})")) != json!(true)
        })
        .collect();
    assert_eq!(hidden, [] as [&(String, String); 0]);
    let text = "document.getElementById('tables').textContent";
    let states = ["/store/in_sync", "/endpoints/0/gate_shut"];
    for flag in &flags {
        // A rest covers what there is besides.
        let mut shown = numbers.clone();
        for up in ["/endpoints/0/up", "/store/nodes/0/up"] {
            *shown.pointer_mut(up).unwrap() = json!(true);
        }
        for state in states {
            *shown.pointer_mut(state).unwrap() = json!(state.ends_with("in_sync"));
        }
        browser.eval(&format!("take({shown})"));
        let before = browser.eval(text);
        let value = shown.pointer_mut(flag).unwrap();
        *value = json!(!value.as_bool().unwrap());
        browser.eval(&format!("take({shown})"));
        assert_ne!(browser.eval(text), before, "{flag}");
    }
}

/// As [`marked`], of a gateway in which nothing is wrong.
fn well(browser: &mut Browser, rig: &mut Rig) -> Value {
    let (mut well, ..) = marked(browser, rig);
    for place in ["/endpoints/0/up", "/store/nodes/0/up", "/store/in_sync"] {
        *well.pointer_mut(place).unwrap() = json!(true);
    }
    *well.pointer_mut("/endpoints/0/gate_shut").unwrap() = json!(false);
    *well.pointer_mut("/store/peers/other_key").unwrap() = json!(0);
    well
}

#[test]
fn a_trouble_has_a_beginning_of_its_own() {
    let mut rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    let well = well(&mut browser, &mut rig);
    let mut bad = well.clone();
    *bad.pointer_mut("/endpoints/0/gate_shut").unwrap() = json!(true);
    let mut said = |script: &str| {
        browser.eval(script);
        browser.eval(VERDICT).as_str().unwrap().to_owned()
    };
    // Who opens the page does not know when it began.
    let first = said(&format!("seen = []; begun.clear(); take({bad})"));
    assert!(first.ends_with(" or before"), "{first}");
    let watched = format!("seen = []; begun.clear(); take({well}); seen[0].at -= 60000");
    let second = said(&format!("{watched}; take({bad})"));
    assert!(second.contains("credentials: since ") && !second.contains("before"), "{second}");
    // It keeps its beginning while it lasts, and loses it with its end.
    let mark = "[...begun.keys()].forEach(key => begun.set(key, 'since yesterday'))";
    let lasts = said(&format!("{mark}; take({bad})"));
    assert!(lasts.ends_with("since yesterday"), "{lasts}");
    let again = said(&format!("take({well}); take({bad})"));
    assert!(again.contains("since ") && !again.contains("yesterday"), "{again}");
    // Where another gateway answers, nothing that was seen counts.
    let mut another = well.clone();
    *another.pointer_mut("/requests/hit").unwrap() = json!(1);
    said(&format!("take({another})"));
    assert_eq!(browser.eval("document.getElementById('rate').textContent"), "–");
}

#[test]
fn endpoints_stand_before_what_has_none() {
    let mut rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    let mut numbers = well(&mut browser, &mut rig);
    let mut take = |numbers: &Value| {
        browser.eval(&format!("take({numbers})"));
        let rows = rows(&mut browser, "Endpoints");
        rows.into_iter().map(|row| row[0].clone()).collect::<Vec<_>>()
    };
    let endpoints = numbers["endpoints"].as_array_mut().unwrap();
    let named = |of: &Value, name: &str| {
        let mut one = of.clone();
        one["endpoint"] = json!(name);
        one
    };
    let one = named(&endpoints[0], "https://a.example/");
    *endpoints = vec![named(&one, ""), one.clone()];
    assert_eq!(take(&numbers), ["https://a.example/", "no endpoint chosen, or one of too many"]);
    // Also one that a reload brings.
    numbers["endpoints"].as_array_mut().unwrap().push(named(&one, "https://b.example/"));
    let expected =
        ["https://a.example/", "https://b.example/", "no endpoint chosen, or one of too many"];
    assert_eq!(take(&numbers), expected);
}

#[test]
fn each_trouble_has_its_words() {
    let mut rig = rig();
    rig.assert_passes(&rig.server.issue());
    let Some(mut browser) = open(&rig) else { return };
    let well = well(&mut browser, &mut rig);
    let mut said = |changes: &[(&str, Value)]| -> String {
        browser.eval(&format!(
            "seen = []; begun.clear(); take({well}); seen[0].at -= 60000; take({well})"
        ));
        assert!(
            browser.eval(VERDICT).as_str().unwrap().starts_with("All is well: no endpoint rests")
        );
        let mut numbers = well.clone();
        for (place, value) in changes {
            let (parent, name) = place.rsplit_once('/').unwrap();
            let member = &mut numbers.pointer_mut(parent).unwrap()[name];
            *member = match value.as_i64() {
                Some(more) if member.is_number() => json!(member.as_i64().unwrap() + more),
                _ => value.clone(),
            };
        }
        browser.eval(&format!("take({numbers})"));
        let text = browser.eval(VERDICT).as_str().unwrap().to_owned();
        text.strip_prefix("Something is wrong").unwrap_or(&text).trim().to_owned()
    };
    let no = json!(false);
    let url = rig.server.introspection_url();
    for (changes, words) in [
        (&[("/endpoints/0/up", no.clone()), ("/endpoints/0/answered_seconds", json!(null))][..],
            format!("{url} rests after failures and is not asked: never answered")),
        (&[("/endpoints/0/up", no.clone()), ("/endpoints/0/answered_seconds", json!(3.5))],
            format!("{url} rests after failures and is not asked: last answered at ")),
        (&[("/endpoints/0/gate_shut", json!(true))], format!("{url} refuses the gateway's credentials: since ")),
        (&[("/requests/error", json!(1)), ("/endpoints/0/failures/timeout", json!(1))],
            "Requests fail with 500 or 503 (timeout): since ".to_owned()),
        (&[("/requests/error", json!(1))],
            "Requests fail, though no call does: clients leave, or see the error log: since ".to_owned()),
        (&[("/requests/stale", json!(1))], "Answers that ran out are served: since ".to_owned()),
        (&[("/endpoints/0/ended_early", json!(4))],
            format!("{url} calls tokens inactive before their time, revoked or lost: since ")),
        (&[("/store/nodes/0/up", no.clone())],
            "The store unix:/nowhere/store.sock rests after failures and is not asked: last heard at ".to_owned()),
        (&[("/store/in_sync", no.clone())],
            "The store unix:/nowhere/store.sock is not in sync and not asked: last heard at ".to_owned()),
        (&[("/store/peers/other_key", json!(1))],
            "Other gateways at the store have another key, and share nothing with this one: since ".to_owned()),
    ] {
        let text = said(changes);
        assert!(text.starts_with(&words) && text.lines().count() == 1, "{words}\n{text}");
    }
    // A few revoked tokens among many are none.
    let few =
        [("/endpoints/0/ended_early", json!(4)), ("/endpoints/0/introspections/active", json!(40))];
    assert!(said(&few).starts_with("All is well"));
    // Nor is what a tab that sleeps most of the time has seen a minute ago.
    said(&[("/requests/error", json!(1))]);
    browser.eval("seen.forEach(one => one.at -= 60000); take(seen[seen.length - 1].data)");
    assert!(browser.eval(VERDICT).as_str().unwrap().starts_with("All is well"));
}

#[test]
fn a_store_is_shown_where_there_is_one() {
    let mut rig = rig();
    let Some(mut browser) = open(&rig) else { return };
    assert!(rows(&mut browser, "Store of the fleet").is_empty());
    let outcome =
        "[...document.querySelectorAll('.legend li')].find(li => li.textContent === 'store')";
    browser.wait_for(&format!("{outcome}.hidden"));
    with_store(&mut rig);
    browser.wait_for(&format!("!{outcome}.hidden"));
    let store = rows(&mut browser, "Store of the fleet");
    let [row] = &store[..] else { panic!("{store:?}") };
    assert_eq!(row[0], "unix:/nowhere/store.sock");
    assert_eq!(row.len(), 12);
    assert!(["not in sync", "resting"].contains(&&*row[1]), "{row:?}");
    assert_eq!((&*row[2], &*row[3], &*row[4]), ("never", "0", "0"));
    browser.wait_for(&format!("{VERDICT}.includes('not asked: never heard')"));
}
