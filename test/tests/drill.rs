//! Eleven incidents, each made for real. What the metrics and the log say of it must stand in its section
//! of `docs/runbook.md`, word for word.

use std::time::Duration;

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_for;
use phantom_token_test::tls::{Authority, server_config};
use phantom_token_test::{AuthorizationServer, Client, Gateway, Metrics, Mint, Rig, Script};

/// How the runbook names the endpoint.
const EXAMPLE: &str = "https://login.example.com:443/oauth/v2/oauth-introspect";

/// One incident's section of the runbook, and the gateway it happens to.
struct Drill<'a> {
    section: String,
    rig: &'a Rig,
    before: Metrics,
}

/// A section of the runbook, its heading left out.
fn section(heading: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md");
    let runbook = std::fs::read_to_string(path).unwrap();
    let (_, rest) = runbook.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap().to_owned()
}

#[track_caller]
fn assert_quoted(section: &str, text: &str) {
    assert!(section.contains(text), "the runbook's section lacks:\n{text}\n\nit is:\n{section}");
}

impl<'a> Drill<'a> {
    fn begin(heading: &str, rig: &'a Rig) -> Self {
        Self { section: section(heading), rig, before: rig.gateway.metrics() }
    }

    /// A line of the log with these words stands in the runbook as it is, but for the endpoint.
    #[track_caller]
    fn logged(&self, words: &[&str]) {
        let line = self.rig.gateway.wait_for_log(&[&["phantom token"], words].concat());
        let (head, said) = line.split_once("phantom token: ").unwrap();
        let said = said.split(", client: ").next().unwrap();
        let said = said.replace(&self.rig.server.introspection_url(), EXAMPLE);
        let level = head.split(['[', ']']).nth(1).unwrap();
        assert_quoted(&self.section, &format!("[{level}] phantom token: {said}"));
    }

    /// This metric rose, and the runbook names it.
    #[track_caller]
    fn rose(&self, sample: &str) {
        self.quoted_sample(sample);
        let real = sample.replace(EXAMPLE, &self.rig.server.introspection_url());
        let (name, label) = real.split_once('{').unwrap_or((&real, ""));
        let what = format!("a rise of {real}");
        self.rig.gateway.wait_for_metrics(&what, |now| {
            let sum = |metrics: &Metrics| metrics.sum(name, label.trim_end_matches('}'));
            sum(now) > sum(&self.before)
        });
    }

    /// This metric has this value, and the runbook says so.
    #[track_caller]
    fn is(&self, sample: &str, value: f64) {
        assert_quoted(&self.section, &format!("phantom_token_{sample} {value}"));
        let real = sample.replace(EXAMPLE, &self.rig.server.introspection_url());
        self.rig
            .gateway
            .wait_for_metrics(&real, |now| now.0.get(&real).is_some_and(|found| *found == value));
    }

    fn quoted_sample(&self, sample: &str) {
        assert_quoted(&self.section, &format!("phantom_token_{sample}"));
    }
}

fn rig(parameters: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        let endpoint = format!("{} {parameters}", server.introspection_url());
        let builder = builder.endpoint(&endpoint).location("/metrics", "phantom_token_status;");
        change(builder.location("/purge", "phantom_token_purge;"))
    })
}

fn failure(reason: &str) -> String {
    format!("failures_total{{endpoint=\"{EXAMPLE}\",reason=\"{reason}\"}}")
}

#[test]
fn the_server_is_down() {
    let server = AuthorizationServer::start();
    let port = server.port();
    let key = AuthorizationServer::builder();
    let mut rig = Rig::with(server, |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=3 fail_timeout=1s", server.introspection_url()))
            .directives("phantom_token_cache_stale 5m;\nphantom_token_cache_valid 1s;")
            .location("/metrics", "phantom_token_status;")
    });
    let known = rig.server.issue();
    rig.assert_passes(&known);
    // The same server on the same port, once it is back.
    let spare = AuthorizationServer::start();
    let down = std::mem::replace(&mut rig.server, spare);
    let url = down.introspection_url();
    drop(down);
    let runbook = section("The authorization server is down");
    let quoted = |words: &[&str]| {
        let line = rig.gateway.wait_for_log(&[&["phantom token"], words].concat());
        let (head, said) = line.split_once("phantom token: ").unwrap();
        let level = head.split(['[', ']']).nth(1).unwrap();
        let said = said.split(", client: ").next().unwrap().replace(&url, EXAMPLE);
        // It depends on the moment.
        let said = said.replace("(resting)", "(connect)");
        assert_quoted(&runbook, &format!("[{level}] phantom token: {said}"));
    };
    let up = format!("endpoint_up{{endpoint=\"{url}\"}}");
    // Three failures within a second, and one of the gateway's own.
    rig.gateway.wait_for_metrics("the endpoint's rest", |metrics| {
        metrics.0[&up] == 0.0 || {
            assert!([500, 503].contains(&rig.get_as("a").status));
            false
        }
    });
    quoted(&["[error]", "connection refused"]);
    quoted(&["[warn]", "rests for"]);
    assert_quoted(&runbook, &format!("phantom_token_endpoint_up{{endpoint=\"{EXAMPLE}\"}} 0"));
    assert_eq!(rig.get_as("d").status, 503);
    // What ran out serves on, as configured.
    rig.gateway.wait_for_metrics("a stale answer", |metrics| {
        assert_eq!(rig.get_as(&known.token).status, 200);
        metrics.requests("stale") > 0.0
    });
    quoted(&["[warn]", "stale"]);
    for sample in ["requests_total{outcome=\"error\"}", "requests_total{outcome=\"stale\"}"] {
        assert!(rig.gateway.metrics().get(sample) > 0.0);
        assert_quoted(&runbook, &format!("phantom_token_{sample}"));
    }
    assert!(rig.gateway.metrics().failures("connect") >= 3.0);
    assert_quoted(&runbook, &format!("phantom_token_{}", failure("connect")));
    // It comes back.
    rig.server = key.port(port).start().unwrap();
    rig.gateway.wait_for_metrics("the endpoint's return", |metrics| metrics.0[&up] == 1.0);
    quoted(&["[warn]", "is up again"]);
}

#[test]
fn the_server_is_slow() {
    let rig = rig("max_fails=0", |builder| {
        builder.location(
            "/impatient",
            "phantom_token on;\nphantom_token_timeout 2s;\ntry_files /none =204;",
        )
    });
    let drill = Drill::begin("The authorization server is slow", &rig);
    rig.server.set_delay(Duration::from_millis(120));
    rig.assert_passes(&rig.server.issue());
    let metrics = rig.gateway.metrics();
    let within = |bound: &str| {
        metrics.get(&format!("introspection_duration_seconds_bucket{{le=\"{bound}\"}}"))
    };
    assert_eq!(within("0.1"), 0.0);
    drill.quoted_sample("introspection_duration_seconds");
    let hold = rig.server.hold();
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", "Bearer a")], b"");
    drill.rose("requests_waiting");
    assert_eq!(rig.gateway.get_as("/impatient", "b").status, 500);
    drill.rose(&failure("timeout"));
    drill.logged(&["[error]", "timed out"]);
    drop(hold);
    assert_eq!(client.read().status, 401);
}

#[test]
fn a_certificate_has_expired() {
    let authority = Authority::generate();
    let config = server_config(&authority.expired_server(&["localhost"]), None);
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let rig = Rig::with(server, |builder, _| {
        builder
            .file("ca.pem", authority.certificate.clone())
            .http("phantom_token_ssl_trusted_certificate ca.pem;")
            .location("/metrics", "phantom_token_status;")
    });
    let drill = Drill::begin("A certificate has expired", &rig);
    assert_eq!(rig.get_as("a").status, 500);
    drill.rose(&failure("tls"));
    drill.logged(&["[error]", "expired"]);
    // Three failures in a row, and one of the gateway's own.
    let status = wait_for("the endpoint's rest", || {
        Some(rig.get_as("b").status).filter(|status| *status != 500)
    });
    assert_eq!(status, 503);
    drill.is(&format!("endpoint_up{{endpoint=\"{EXAMPLE}\"}}"), 0.0);
    drill.rose("failures_total{endpoint=\"\",reason=\"resting\"}");
}

#[test]
fn the_client_secret_was_rotated() {
    let mut rig = rig("max_fails=0", Builder::count_calls);
    let known = rig.server.issue();
    rig.assert_passes(&known);
    let drill = Drill::begin("The client secret was rotated", &rig);
    rig.server.script_all(Script::status(401));
    assert_eq!(rig.get_as("a").status, 500);
    drill.rose(&failure("credentials"));
    drill.logged(&["[error]", "refused this client's credentials"]);
    // What was answered last counts for a minute.
    let shut = format!("gate_shut{{endpoint=\"{EXAMPLE}\"}}");
    let real = format!("gate_shut{{endpoint=\"{}\"}}", rig.server.introspection_url());
    assert_eq!(rig.gateway.metrics().get(&real), 0.0);
    rig.gateway.pass_time(Duration::from_secs(60));
    assert_eq!(rig.get_as("b").status, 500);
    drill.is(&shut, 1.0);
    drill.logged(&["[error]", "to the gateway's own calls too"]);
    // Tokens that are cached pass all the while; a reload with the new secret ends it.
    rig.assert_passes(&known);
    rig.server.unscript();
    drill.logged(&["[warn]", "takes this client's credentials again"]);
    drop(drill);
    rig.gateway.reload_with(|builder| builder.http("# the new secret"));
    assert_eq!(rig.get_as("c").status, 401);
    rig.assert_passes(&known);
}

#[test]
fn the_zone_is_too_small() {
    let rig = rig("max_fails=0", |builder| {
        builder
            .http("phantom_token_cache_zone zone=phantom_token:1m;\nphantom_token_worker_cache 0;")
    });
    let drill = Drill::begin("The zone is too small", &rig);
    rig.server.accept_prefix("many-", Mint::new().jwt_size(1500));
    let mut client = rig.gateway.client();
    for number in 0..800 {
        assert_eq!(client.get_as("/api", &format!("many-{number}")).status, 200);
    }
    drill.rose("cache_evictions_total{zone=\"phantom_token\"}");
    let metrics = rig.gateway.metrics();
    assert!(metrics.sum("cache_used_bytes", "") > 0.8 * metrics.sum("cache_size_bytes", ""));
    for sample in ["cache_used_bytes", "cache_size_bytes"] {
        drill.quoted_sample(sample);
    }
    // The first of them are no longer there.
    let before = rig.server.introspections();
    assert_eq!(client.get_as("/api", "many-0").status, 200);
    assert_eq!(rig.server.introspections(), before + 1);
    drill.quoted_sample("uncached_total{reason=\"too_large\"}");
}

#[test]
fn a_flood_of_bad_tokens() {
    let rig = rig("max_fails=3 fail_timeout=60s", |builder| builder);
    let good = rig.server.issue();
    rig.assert_passes(&good);
    let drill = Drill::begin("A flood of bad tokens", &rig);
    let mut client = rig.gateway.client();
    for number in 0..200 {
        assert_eq!(client.get_as("/api", &format!("bad-{number}")).status, 401);
    }
    assert_eq!(rig.gateway.get("/api", &[]).status, 401);
    drill.rose("requests_total{outcome=\"inactive\"}");
    drill.rose("requests_total{outcome=\"denied\"}");
    drill.rose(&format!("introspections_total{{endpoint=\"{EXAMPLE}\",result=\"inactive\"}}"));
    drill.logged(&["[info]", "not active"]);
    drill.logged(&["[info]", "no access token"]);
    // It neither rests the server nor pushes good tokens out.
    drill.is(&format!("endpoint_up{{endpoint=\"{EXAMPLE}\"}}"), 1.0);
    drill.is("cache_evictions_total{zone=\"phantom_token\"}", 0.0);
    let before = rig.server.introspections();
    rig.assert_passes(&good);
    assert_eq!(rig.server.introspections(), before);
}

#[test]
fn the_hit_ratio_has_fallen() {
    let rig =
        rig("max_fails=0", |builder| builder.directives("phantom_token_cache_control strict;"));
    let drill = Drill::begin("The hit ratio has fallen", &rig);
    let token = rig.server.issue();
    // The server's new release sends no-store.
    let script = Script::jwt(&token.jwt).header("Cache-Control", "no-store");
    rig.server.script(&token.token, script);
    for _ in 0..5 {
        rig.assert_passes(&token);
    }
    drill.rose("uncached_total{reason=\"no_store\"}");
    drill.rose("requests_total{outcome=\"miss\"}");
    assert_eq!(rig.gateway.metrics().requests("hit"), 0.0);
    // The other way: as the module comes, it says once that it overrules that.
    let rig = self::rig("max_fails=0", |builder| builder);
    let drill = Drill::begin("The hit ratio has fallen", &rig);
    let token = rig.server.issue();
    rig.server.script(&token.token, Script::jwt(&token.jwt).header("Cache-Control", "no-store"));
    rig.assert_passes(&token);
    drill.logged(&["[notice]", "Cache-Control"]);
}

#[test]
fn the_queue_overflows() {
    let rig = rig("max_fails=0", |builder| {
        builder.http("phantom_token_max_pending 2;").main("thread_pool phantom_token threads=2;")
    });
    let drill = Drill::begin("The queue overflows", &rig);
    let known = rig.server.issue();
    rig.assert_passes(&known);
    let hold = rig.server.hold();
    let mut clients: Vec<Client> = (0..2).map(|_| rig.gateway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let bearer = format!("Bearer slow-{number}");
        client.send_request("GET", "/api", &[("Authorization", &bearer)], b"");
    }
    rig.server.wait_for_introspections(3);
    let refused = rig.get_as("one-more");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drill.rose("failures_total{endpoint=\"\",reason=\"overflow\"}");
    drill.rose("introspections_pending");
    drill.logged(&["[error]", "answering 503"]);
    rig.assert_passes(&known);
    drop(hold);
    assert!(clients.iter_mut().all(|client| client.read().status == 401));
}

#[test]
fn a_revoked_token_is_still_served() {
    let rig = rig("max_fails=0", |builder| builder);
    let drill = Drill::begin("A revoked token is still served", &rig);
    let token = rig.server.issue();
    rig.assert_passes(&token);
    rig.server.revoke(&token.token);
    rig.assert_passes(&token);
    drill.rose("requests_total{outcome=\"hit\"}");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let purge = |body: &str| {
        let mut client = rig.gateway.client();
        client.send_request("POST", "/purge", &[form], body.as_bytes());
        client.read().status
    };
    assert_eq!(purge(&format!("token={}", token.token)), 204);
    assert_eq!(rig.get_as(&token.token).status, 401);
    assert_eq!(purge("all=1"), 204);
    drill.logged(&["[notice]", "all cached tokens are purged"]);
    // Hashes differ from the runbook's.
    assert_eq!(purge("sub=alice"), 204);
    for (words, example) in [("the cached token ", "9f86d081"), ("tokens of sub ", "2c26b46b")] {
        let line = rig.gateway.wait_for_log(&["[notice] ", words, "purged"]);
        let (_, said) = line.split_once("phantom token: ").expect("the module's");
        let said = said.split(", client: ").next().expect("words");
        let hash = said.split(words).nth(1).and_then(|rest| rest.get(..8)).expect("a hash");
        let said = said.replace(hash, example);
        assert_quoted(&drill.section, &format!("[notice] phantom token: {said}"));
    }
}

#[test]
fn good_tokens_are_called_inactive() {
    let rig = rig("max_fails=0", |builder| {
        builder.directives("phantom_token_cache_valid 1s;\nphantom_token_cache_inactive_valid 0;")
    });
    let drill = Drill::begin("Good tokens are called inactive", &rig);
    let tokens: Vec<_> = (0..3).map(|_| rig.server.issue()).collect();
    tokens.iter().for_each(|token| rig.assert_passes(token));
    rig.server.lose_database(true);
    for token in &tokens {
        phantom_token_test::process::wait_until("the end of what is kept", || {
            rig.get_as(&token.token).status == 401
        });
    }
    drill.rose(&format!("ended_early_total{{endpoint=\"{EXAMPLE}\"}}"));
    drill.rose("requests_total{outcome=\"inactive\"}");
    drill.logged(&["[info]", "not active"]);
    let ended = rig.gateway.metrics().sum("ended_early_total", "");
    assert_eq!(ended, 3.0);
    // It finds its database again.
    rig.server.lose_database(false);
    tokens.iter().for_each(|token| rig.assert_passes(token));
}

#[test]
fn the_module_refuses_to_load() {
    let section = section("The module refuses to load");
    let refused = |builder: Builder| {
        let check = builder.check();
        assert!(!check.ok);
        let line = check.messages.lines().find(|line| line.contains("[emerg]")).unwrap().to_owned();
        let (_, said) = line.split_once("[emerg] ").unwrap();
        let said = said.split_once("#").map_or(said, |(_, rest)| rest.split_once(": ").unwrap().1);
        said.split(" in /").next().unwrap().to_owned()
    };
    // The directives without the module.
    let said = refused(Gateway::builder().without_module().server("phantom_token on;"));
    assert_quoted(&section, &format!("[emerg] {said}"));
    // The file is not there.
    let missing = "load_module modules/elsewhere.so;\nevents {}\nhttp {}\n";
    let said = refused(Gateway::builder().verbatim(missing, 1));
    let (quoted, _) = said.split_once("\" failed").unwrap();
    let name = quoted.rsplit('/').next().unwrap();
    assert!(name == "elsewhere.so", "{said}");
    assert_quoted(
        &section,
        "[emerg] dlopen() \"/etc/nginx/modules/ngx_http_phantom_token_module.so\" failed",
    );
    // What is required is missing.
    let said = refused(Gateway::builder().location("/api", "phantom_token on;"));
    let (start, _) = said.split_once(" in location").unwrap();
    assert_quoted(&section, &format!("[emerg] {start}"));
}
