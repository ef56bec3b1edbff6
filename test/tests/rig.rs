//! The rig itself, with an NGINX that does not load the module.

use std::time::Duration;

use phantom_token_test::process::alive;
use phantom_token_test::{Api, Gateway};

fn plain() -> phantom_token_test::nginx::Builder {
    Gateway::builder().without_module().location("/", "return 200 \"hello\\n\";")
}

#[test]
fn starts_serves_reloads_and_ends() {
    let api = Api::start();
    let gateway = plain().location("/x/", &format!("proxy_pass {};", api.url())).workers(2).start();
    assert_eq!(gateway.get("/", &[]).text(), "hello\n");
    let before = gateway.workers();
    assert_eq!(before.len(), 2);
    gateway.reload();
    let after = gateway.workers();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|pid| !before.contains(pid)));
    assert_eq!(gateway.get("/x/echo", &[]).status, 200);
    gateway.wait_for_access("GET /x/echo");
    let pid = gateway.pid();
    drop(gateway);
    assert!(!alive(pid));
    assert!(after.iter().all(|&pid| !alive(pid)));
}

#[test]
fn a_new_configuration_takes_effect() {
    let mut gateway = plain().start();
    gateway.reload_with(|builder| builder.location("= /new", "return 204;"));
    assert_eq!(gateway.get("/new", &[]).status, 204);
    gateway.quit();
    gateway.wait_exit();
}

#[test]
fn checks_say_what_is_wrong_and_where() {
    let good = plain().check();
    assert!(good.ok, "{}", good.messages);
    let bad = plain().http("no_such_directive on;").check();
    assert!(!bad.ok);
    assert!(bad.messages.contains("unknown directive \"no_such_directive\""));
    let line = bad.line_of("no_such_directive");
    assert!(bad.messages.contains(&format!("nginx.conf:{line}")), "{}", bad.messages);
    assert!(plain().http("no_such_directive on;").try_start().is_err());
}

#[test]
fn faults_in_the_error_log_are_found() {
    let gateway = plain().start();
    assert!(gateway.complaints().is_empty());
    let worker = gateway.workers()[0];
    phantom_token_test::process::signal(worker, libc::SIGKILL).unwrap();
    gateway.wait_for_log(&["exited on signal 9"]);
    assert!(!gateway.complaints().is_empty());
    gateway.allow("exited on signal 9");
    assert!(gateway.complaints().is_empty(), "{:?}", gateway.complaints());
}

#[test]
fn a_secret_in_a_line_of_the_module_is_found() {
    // NGINX quotes the unknown host in its own words; the URI makes the line look like the module's.
    let gateway = plain().location("/phantom", "root /nowhere;").start();
    gateway.secret("s3cret");
    assert_eq!(gateway.get("/phantom%20token/s3cret", &[]).status, 404);
    let line = gateway.wait_for_log(&["phantom token", "s3cret"]);
    assert_eq!(gateway.module_lines(), [line]);
    let complaints = gateway.complaints();
    assert_eq!(complaints.len(), 1);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(gateway))).is_err());
}

#[test]
fn calls_are_counted() {
    let gateway = Gateway::builder()
        .without_module()
        .count_calls()
        .main("thread_pool default threads=3;")
        .location("/", "aio threads;\nreturn 200;")
        .http("upstream u { server localhost:9; }")
        .start();
    phantom_token_test::process::wait_until("three threads", || gateway.calls(b't') == 3);
    assert!(gateway.calls(b'd') >= 1);
}

#[test]
fn clients_see_idle_and_closed_connections() {
    let gateway = plain().count_calls().start();
    let mut client = gateway.client();
    let request = client.request_bytes("GET", "/", &[], b"");
    client.send(&[request.as_slice(), &request].concat());
    assert_eq!(client.read().text(), "hello\n");
    assert_eq!(client.read().text(), "hello\n");
    assert!(client.is_idle());
    // Longer than NGINX keeps one open, which sees it when the next client comes.
    gateway.pass_time(Duration::from_secs(76));
    assert_eq!(gateway.get("/", &[]).text(), "hello\n");
    assert!(client.closes());
}

#[test]
fn the_two_clocks_are_set_apart() {
    let gateway = plain().count_calls().own_clock().start();
    let day = |gateway: &Gateway| gateway.get("/", &[]).header("date").map(str::to_owned);
    let (mut client, today) = (gateway.client(), day(&gateway));
    assert_eq!(client.get("/", &[]).status, 200);
    gateway.set_clock(10 * 24 * 60 * 60);
    gateway.pass_time(Duration::from_secs(76));
    assert_ne!(
        day(&gateway).map(|day| day[..11].to_owned()),
        today.map(|day| day[..11].to_owned())
    );
    assert!(client.closes(), "the monotonic clock has passed what a connection may rest");

    let without = plain().start();
    let passes = || without.pass_time(Duration::from_secs(1));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(passes)).is_err());
}

#[test]
fn the_version_is_told() {
    assert!(phantom_token_test::nginx::version() >= (1, 22, 0));
}
