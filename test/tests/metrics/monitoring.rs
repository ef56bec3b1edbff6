//! A real Prometheus scrapes a gateway; the alerts and the dashboard in `contrib/` ask for what is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::{self, bind_to_starter, wait_for};
use phantom_token_test::{AuthorizationServer, Client, Rig, Script, port, tool};
use serde_json::Value;

fn contrib(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(file)
}

fn promtool(arguments: &[&str]) -> Output {
    let directory = contrib("prometheus");
    let mut command = Command::new(tool::path("promtool"));
    command.args(arguments).current_dir(directory).output().expect("runs promtool")
}

#[track_caller]
fn assert_good(output: &Output) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_alerts_are_sound() {
    assert_good(&promtool(&["check", "rules", "alerts.yaml"]));
    assert_good(&promtool(&["test", "rules", "alerts_test.yaml"]));
}

/// A Prometheus that scrapes one gateway ten times a second.
struct Prometheus {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(gateway: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rules = contrib("prometheus/alerts.yaml").canonicalize().unwrap();
        let config = format!(
            "global:\n  scrape_interval: 100ms\n  evaluation_interval: 100ms\n\
             rule_files: [{}]\n\
             scrape_configs:\n- job_name: gateway\n  metrics_path: /metrics\n  \
             static_configs:\n  - targets: [\"127.0.0.1:{gateway}\"]\n",
            rules.display()
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = port::free();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(tool::path("prometheus"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        bind_to_starter(&mut command);
        let child = command.spawn().expect("starts Prometheus");
        Self { child, port, _directory: directory }
    }

    /// Asks its HTTP API; `None` while it does not answer.
    fn ask(&self, target: &str) -> Option<Value> {
        let mut client = Client::try_connect(self.port).ok()?;
        let response = client.try_get(target, &[]).ok()?;
        serde_json::from_slice(&response.body).ok()
    }

    fn query(&self, expression: &str) -> Option<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.ask(&format!("/api/v1/query?query={encoded}"))
    }

    /// The only value an expression has.
    fn value(&self, expression: &str) -> Option<f64> {
        let answer = self.query(expression)?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        process::end(&mut self.child, libc::SIGTERM);
    }
}

/// All that is shown only where there is one: a store, which is not there, and a provider.
fn with_all(builder: Builder, server: &AuthorizationServer) -> Builder {
    builder
        .http(&format!(
            "phantom_token_provider tenant {{\nintrospection_endpoint {};\nclient_auth none;\n}}",
            server.introspection_url()
        ))
        .http("phantom_token_key_file fleet.key;")
        .http("phantom_token_store {\nserver unix:/nowhere/store.sock;\n}")
        .file("fleet.key", [7; 32])
        .allow("/nowhere/store.sock")
}

/// The expressions of all panels and variables of the dashboard, as Grafana would send them.
fn dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(contrib("grafana/phantom-token.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| {
            let expression = target["expr"].as_str().unwrap();
            expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        })
        .collect()
}

#[test]
fn prometheus_scrapes_and_the_dashboard_shows_it() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let endpoint = format!("{} max_fails=1 fail_timeout=60s", server.introspection_url());
        with_all(builder, server)
            .endpoint(&endpoint)
            .location(
                "/impatient",
                "phantom_token on;\nphantom_token_timeout 300ms;\ntry_files /none =204;",
            )
            .location("/metrics", "phantom_token_status;")
    });
    let token = rig.server.issue();
    let prometheus = Prometheus::start(rig.gateway.port());
    wait_for("a first scrape", || prometheus.value("up{job=\"gateway\"} == 1"));
    for _ in 0..4 {
        rig.assert_passes(&token);
    }
    rig.get_as("unknown");
    let hits = "phantom_token_requests_total{outcome=\"hit\"}";
    wait_for("the hits", || prometheus.value(hits).filter(|hits| *hits == 3.0));
    rig.server.script_all(Script::hang());
    // One that no thread takes up in time is no failure of the endpoint's.
    wait_for("the endpoint's rest", || {
        assert!([500, 503].contains(&rig.gateway.get_as("/impatient", "failing").status));
        rig.gateway.error_log().contains("rests for").then_some(())
    });
    wait_for("the failure", || {
        prometheus.value("phantom_token_failures_total{reason=\"timeout\"} >= 1")
    });
    // The alert on the endpoint waits a minute before it fires.
    wait_for("a pending alert", || {
        prometheus.value("ALERTS{alertname=\"PhantomTokenEndpointDown\",alertstate=\"pending\"}")
    });
    for _ in 0..3 {
        rig.get_as("failing");
    }
    // All that was scraped by now is enough for every panel to show something.
    for expression in dashboard() {
        let quiet =
            ["evictions", "uncached", "store_errors"].iter().any(|word| expression.contains(word));
        wait_for(&expression, || {
            let answer = prometheus.query(&expression)?;
            assert_eq!(answer["status"], "success", "{expression}: {answer}");
            let empty = answer["data"]["result"].as_array().unwrap().is_empty();
            (quiet || !empty).then_some(())
        });
    }
}

/// The names of our metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("phantom_token_"));
    let suffixes = ["_bucket", "_sum", "_count"];
    names
        .map(|name| suffixes.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_dashboard_and_documents_name_the_metrics_there_are() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        with_all(builder, server).location("/metrics", "phantom_token_status;")
    });
    rig.assert_passes(&rig.server.issue());
    let text = rig.gateway.get("/metrics", &[]).text();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let there: BTreeSet<String> =
        families.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let alerts = std::fs::read_to_string(contrib("prometheus/alerts.yaml")).unwrap();
    for expressions in [alerts, dashboard().join("\n")] {
        let asked = metrics_in(&expressions);
        assert!(asked.len() > 5);
        let unknown: Vec<_> = asked.difference(&there).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    // Beside these two, JSON and status page have them all: by tests of their own.
    let shown = metrics_in(&dashboard().join("\n"));
    assert_eq!(shown, there, "the dashboard shows them all");
    let documents = document("variables-and-metrics.md");
    let rows = documents.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let described = rows.filter(|name| name.starts_with("phantom_token_")).map(str::to_owned);
    assert_eq!(described.collect::<BTreeSet<_>>(), there, "each has its row");
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// An open status page asks every two seconds.
#[test]
fn no_example_logs_who_looks_at_the_numbers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["nginx-conf", "docs", "contrib/kubernetes", "docker/demo", "test/src/demo"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let mut shown = 0;
    for file in files.map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let handlers = [";", " html;", " json;"].map(|end| format!(" phantom_token_status{end}"));
        for (at, handler) in
            handlers.iter().flat_map(|handler| text.match_indices(handler.as_str()))
        {
            // In the location, or in the server around it.
            let before = text[..at].rfind("server {").unwrap_or_else(|| at.saturating_sub(200));
            let after = at + text[at..].find('}').unwrap();
            let off = text[before..after].contains("access_log off;");
            assert!(off, "{}: {}", file.display(), handler.trim_end());
            shown += 1;
        }
    }
    assert!(shown >= 7, "only {shown} examples");
}

#[test]
fn every_alert_is_tested_and_described_and_leads_to_its_incident() {
    let alerts = std::fs::read_to_string(contrib("prometheus/alerts.yaml")).unwrap();
    let tests = std::fs::read_to_string(contrib("prometheus/alerts_test.yaml")).unwrap();
    let (monitoring, runbook) = (document("monitoring.md"), document("runbook.md"));
    let incidents: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let mut names = BTreeSet::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        let incident = alert.split("runbook.md#").nth(1).unwrap().trim_end();
        assert!(incidents.contains(incident), "{name}: {incident}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test");
        let row = monitoring.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let link = format!("(runbook.md#{incident}) |");
        assert!(row.is_some_and(|row| row.ends_with(&link)), "{name}: {row:?}");
        names.insert(name);
    }
    assert!(names.len() > 15, "{names:?}");
}
