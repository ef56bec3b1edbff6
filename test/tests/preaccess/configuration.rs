//! What `nginx -t` says of `phantom_token_phase`: what it cannot stand beside, and an NGINX whose modules
//! would limit first.

use std::fs;

use phantom_token_test::Gateway;
use phantom_token_test::nginx::{Builder, Check, module};

const SERVER: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/introspect;\n\
     phantom_token_client_id me;\nphantom_token_client_secret s3cret;\n\
     limit_req_zone $phantom_token_claim_sub zone=user:1m rate=1r/m;";

const PREACCESS: &str = "phantom_token on;\nphantom_token_phase preaccess;";

fn location(directives: &str) -> Builder {
    Gateway::builder().http(SERVER).location("/", &format!("{directives}\nlimit_req zone=user;"))
}

/// The lines of a level.
fn lines(check: &Check, level: &str) -> Vec<String> {
    check.messages.lines().filter(|line| line.contains(level)).map(str::to_owned).collect()
}

#[track_caller]
fn assert_refused(builder: &Builder, texts: &[&str]) -> Check {
    let check = builder.check();
    let line = check.emerg();
    assert!(texts.iter().all(|text| line.contains(text)), "{texts:?}: {line}");
    check
}

#[track_caller]
fn assert_good(builder: &Builder, warnings: usize) -> Check {
    let check = builder.check();
    assert!(check.ok, "{}", check.messages);
    let warned = lines(&check, "[warn]").iter().filter(|line| line.contains("_phase")).count();
    assert_eq!(warned, warnings, "{}", check.messages);
    check
}

#[test]
fn it_stands_where_it_can() {
    assert_good(&location(PREACCESS), 0);
    assert_good(&location(&format!("{PREACCESS}\nsatisfy all;\nauth_delay 0;")), 0);
    assert_good(&location("phantom_token on;\nphantom_token_phase access;\nsatisfy any;"), 0);
    // Inherited, and where it is off it does not matter.
    let http = location("phantom_token_phase access;\nsatisfy any;\nphantom_token on;");
    assert_good(&http.http("phantom_token_phase preaccess;"), 0);
    let off = location("satisfy any;\nauth_delay 1s;");
    assert_good(&off.http("phantom_token_phase preaccess;"), 0);
    for (wrong, text) in [
        ("early", "write access or preaccess"),
        ("", "number of arguments"),
        ("access preaccess", "number of arguments"),
        ("access;\nphantom_token_phase preaccess", "duplicate"),
    ] {
        let wrong = format!("phantom_token on;\nphantom_token_phase {wrong};");
        assert_refused(&location(&wrong), &["_token_phase", text]);
    }
    let within = format!("{PREACCESS}\nif ($arg_x) {{\nphantom_token_phase access;\n}}");
    assert_refused(&location(&within), &["_token_phase", "not allowed here"]);
}

#[test]
fn not_beside_satisfy_any() {
    let texts = ["_token_phase preaccess", "satisfy any", "write \"satisfy all\""];
    let check = assert_refused(&location(&format!("{PREACCESS}\nsatisfy any;")), &texts);
    let [phase, on] = ["phantom_token_phase", "phantom_token on"].map(|text| check.line_of(text));
    for line in [phase, on] {
        assert!(check.messages.contains(&format!("nginx.conf:{line}")), "{}", check.messages);
    }
    // From an outer level, and in an `if` alone.
    assert_refused(&location(PREACCESS).server("satisfy any;"), &texts);
    let within =
        "phantom_token_phase preaccess;\nsatisfy any;\nif ($arg_x) {\nphantom_token on;\n}";
    assert_refused(&location(within), &texts);
}

#[test]
fn beside_auth_delay_with_a_warning() {
    let check = assert_good(&location(&format!("{PREACCESS}\nauth_delay 1s;")), 1);
    let line = lines(&check, "[warn]").into_iter().find(|line| line.contains("_phase")).unwrap();
    assert!(line.contains("does not delay"), "{line}");
    assert!(
        line.contains(&format!("nginx.conf:{}", check.line_of("phantom_token_phase"))),
        "{line}"
    );
}

#[test]
fn not_where_limits_would_come_first() {
    // As if this NGINX had its modules in another order: the place the module asks for is another.
    let directory = tempfile::tempdir().unwrap();
    let other_order = directory.path().join("other-order.so");
    let mut bytes = fs::read(module()).unwrap();
    let (real_ip, instead) = (b"ngx_http_realip_module\0", b"ngx_http_static_module\0");
    let mut replaced = 0;
    for at in 0..bytes.len() - real_ip.len() {
        if bytes[at..].starts_with(real_ip) {
            bytes[at..at + instead.len()].copy_from_slice(instead);
            replaced += 1;
        }
    }
    assert!(replaced > 0, "the module names it");
    fs::write(&other_order, bytes).unwrap();

    let builder = |directives: &str| location(directives).module_file(&other_order);
    let texts = ["_token_phase preaccess", "limit", "limits would limit nobody", "nginx.conf:"];
    let check = assert_refused(&builder(PREACCESS), &texts);
    let place = format!("nginx.conf:{}", check.line_of("phantom_token_phase"));
    assert!(check.messages.contains(&place), "{}", check.messages);
    // Who does not need it is not refused.
    assert_good(&builder("phantom_token on;"), 0);
    assert_good(&builder("").http("phantom_token_phase preaccess;"), 0);
}
