//! How the status page is shown: by keyboard, to screen readers, in light and dark, on paper, at every width.

use super::*;

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
    assert_eq!(browser.eval("document.activeElement.textContent"), "Resume");
    let outline = "getComputedStyle(document.activeElement).outlineWidth";
    assert_eq!(browser.eval(outline), "3px", "the focus can be seen");
    for link in ["as JSON", "for Prometheus"] {
        browser.press("Tab");
        assert_eq!(browser.eval("document.activeElement.textContent"), link);
        assert_eq!(browser.eval(outline), "3px");
    }
    browser.eval("document.getElementById('pause').focus()");
    browser.press("Enter");
    browser.wait_for("document.getElementById('state').textContent.startsWith('Live')");
    assert_eq!(browser.eval("document.activeElement.textContent"), "Pause");

    let nodes = browser.accessibility();
    let has = |role: &str, name: &str| {
        nodes.iter().any(|(known, text)| known == role && text.starts_with(name))
    };
    assert!(has("button", "Pause"));
    // Tables that are drawn as records are tables still.
    assert!(has("rowheader", &rig.server.introspection_url()));
    assert!(has("columnheader", "Why failed"));
    assert!(has("heading", "Phantom token"));
    assert!(has("main", ""));
    assert!(has("rowheader", "hit"));
    assert!(has("columnheader", "Total"));
    assert!(has("cell", "answered by the cache") || has("gridcell", "answered by the cache"));
    assert!(has("meter", "in use"));
    for chart in [
        "Requests per second, by outcome, now: ",
        "Hit ratio and failures, now: ",
        "Duration of introspection calls, now: ",
        "Under way, now: ",
    ] {
        assert!(has("image", chart) || has("img", chart), "{chart}: {nodes:#?}");
    }
    assert_eq!(browser.eval("document.documentElement.lang"), "en");
}

/// The contrast of two colours after WCAG 2.2.
const CONTRAST: &str = r#"
    const channels = text => text.match(/[\d.]+/g).slice(0, 3).map(Number);
    const light = text => channels(text).map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((all, c, at) => all + c * [0.2126, 0.7152, 0.0722][at], 0);
    const contrast = (one, other) => {
        const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const ground = node => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (!colour.endsWith(', 0)') && colour !== 'transparent') return colour;
        }
        return 'rgb(255, 255, 255)';
    };
"#;

#[test]
fn is_readable_in_light_and_dark_and_on_paper() {
    let rig = rig();
    rig.assert_passes(&rig.server.issue());
    let Some(mut browser) = open(&rig) else { return };
    // Level AA: each text at least 4.5 to 1, what is drawn at least 3 to 1.
    let faint = format!(
        r#"(() => {{
        {CONTRAST}
        document.getElementById('problem').textContent = 'shown';
        const texts = [...document.body.querySelectorAll('*')]
            .filter(node => [...node.childNodes].some(one => one.nodeType === 3 && one.textContent.trim()))
            .filter(node => !['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(node.tagName))
            .map(node => [contrast(getComputedStyle(node).color, ground(node)) / 4.5, node.tagName + ' ' + node.textContent.slice(0, 30)]);
        const drawn = [...document.querySelectorAll('.swatch')]
            .map(node => [contrast(getComputedStyle(node).backgroundColor, ground(node.parentElement)) / 3, node.className]);
        return [...texts, ...drawn].filter(([ratio]) => ratio < 1);
    }})()"#
    );
    let ground = |browser: &mut Browser| {
        browser.eval("getComputedStyle(document.body).backgroundColor").as_str().unwrap().to_owned()
    };
    let mut grounds = Vec::new();
    for dark in [false, true] {
        browser.prefer_dark(dark);
        for verdict in ["", "good", "bad"] {
            browser.eval(&format!("document.getElementById('verdict').className = '{verdict}'"));
            assert_eq!(browser.eval(&faint), json!([]), "dark: {dark}, {verdict}");
        }
        grounds.push(ground(&mut browser));
    }
    assert_ne!(grounds[0], grounds[1]);
    browser.print(true);
    assert_eq!(browser.eval(&faint), json!([]), "on paper");
    assert_eq!(ground(&mut browser), "rgba(0, 0, 0, 0)", "no ink for the ground");
    let button = "getComputedStyle(document.getElementById('pause')).display";
    assert_eq!(browser.eval(button), "none");
}

#[test]
fn is_whole_at_every_width() {
    let mut rig = rig();
    rig.assert_passes(&rig.server.issue());
    let Some(mut browser) = open(&rig) else { return };
    let (mut numbers, ..) = marked(&mut browser, &mut rig);
    let long = "https://login.example.com:443/realms/a-realm-with-a-long-name/protocol/openid-connect/token/introspect";
    for place in ["/endpoints/0/endpoint", "/providers/0/endpoint"] {
        *numbers.pointer_mut(place).unwrap() = json!(long);
    }
    let mut resting = numbers["endpoints"][0].clone();
    resting["endpoint"] = json!("");
    numbers["endpoints"].as_array_mut().unwrap().push(resting);
    numbers["endpoints"][0]["up"] = json!(false);
    browser.eval(&format!("take({numbers})"));
    numbers["requests"]["hit"] = json!(1_234_567_890);
    numbers["requests"]["error"] = json!(34_567_890);
    numbers["introspections_pending"] = json!(65_536);
    browser.eval("seen.forEach(one => one.at -= 2e7)");
    browser.eval(&format!("take({numbers})"));
    let faults = r"(() => {
        const faults = [], width = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth > width) faults.push(`${document.documentElement.scrollWidth} wide`);
        // Every text is within its cell, its card and the window.
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const seen = node => node.textContent.trim() && node.parentElement.checkVisibility()
            && !node.parentElement.closest('script, style, noscript, .records thead');
        for (let node = texts.nextNode(); node; node = texts.nextNode()) {
            if (!seen(node)) continue;
            const range = document.createRange();
            range.selectNodeContents(node);
            const inner = range.getBoundingClientRect();
            for (const box of ['th, td, .ticks', '.card, .tiles > div, #verdict', 'body']) {
                const outer = node.parentElement.closest(box)?.getBoundingClientRect();
                if (outer && (inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 8))
                    faults.push(`out of ${box}: ${node.textContent}`);
            }
        }
        // Words have room for more than a few letters.
        for (const cell of document.querySelectorAll('td.words'))
            if (cell.getBoundingClientRect().width < 90) faults.push(`a thin column: ${cell.textContent}`);
        // No row of a grid has a hole, and no line of cards ends early.
        const lines = node => Object.values(Object.groupBy([...node.children].filter(one => !one.hidden),
            one => Math.round(one.getBoundingClientRect().top)));
        for (const name of ['.tiles', '#charts']) {
            const all = lines(document.querySelector(name)).map(line => line.length);
            if (new Set(all).size !== 1) faults.push(`${name}: ${all}`);
        }
        const tables = document.getElementById('tables');
        for (const line of lines(tables)) {
            const right = Math.max(...line.map(one => one.getBoundingClientRect().right));
            if (Math.abs(right - tables.getBoundingClientRect().right) > 1) faults.push(`a hole beside ${line[0].textContent}`);
        }
        return faults;
    })()";
    let columns = "new Set([...document.getElementById('charts').children]
        .map(one => one.getBoundingClientRect().left)).size";
    for width in
        [320, 360, 390, 480, 576, 640, 704, 768, 900, 1008, 1248, 1280, 1440, 1664, 1920, 2560]
    {
        browser.resize(width, 800, 1.0, width < 480);
        assert_eq!(browser.eval(faults), json!([]), "{width} pixels");
        let expected = if width < 704 {
            1
        } else if width < 1664 {
            2
        } else {
            4
        };
        assert_eq!(browser.eval(columns), expected, "{width} pixels");
    }
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
