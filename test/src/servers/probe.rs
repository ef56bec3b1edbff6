//! The program for the first contact with a server: what it prints must be the example, in what matters,
//! and work as well.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::bench::outcome;
use super::{Bench, Example, Grant};
use crate::nginx::Gateway;

/// What the program leaves of a configuration: directives, and what they are where none is written.
const COMPARED: [(&str, &str); 5] = [
    ("phantom_token_introspection_accept", "application/jwt"),
    ("phantom_token_token_type_hint", ""),
    ("phantom_token_client_auth", "basic"),
    ("phantom_token_forward", "jwt"),
    ("phantom_token_kind", "access"),
];

/// Asks about a good token and a refresh token, as the client with the odd secret where there is one, and
/// puts what is printed into a gateway.
pub(super) fn configuration(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let refresh = bench.running.grant(Grant::Refresh);
    let example = bench.example();
    let said = ask(bench, &example, &token, refresh.as_deref());
    let (status, out) = &said;
    let Some((_, printed)) = out.split_once("\nConfiguration\n") else {
        return format!("{status}: {out}");
    };
    let mut differs = Vec::new();
    for (directive, usual) in COMPARED {
        let [here, there] =
            [printed, example.first_location()].map(|text| value(text, directive).unwrap_or(usual));
        if here != there {
            let name = directive.trim_start_matches("phantom_token_");
            differs.push(format!("{name} {here}, not {there}"));
        }
    }
    let gateway = Gateway::builder()
        .http("phantom_token_timeout 20s;\nphantom_token_connect_timeout 10s;")
        .location(
            "/api",
            &format!(
                "{printed}\nadd_header X-Reason $phantom_token_reason always;\nproxy_pass {}/api;",
                bench.api.url()
            ),
        )
        .start();
    let documented = example.start();
    for (what, token) in [("the token", Some(&token)), ("the refresh token", refresh.as_ref())] {
        let Some(token) = token else { continue };
        let [here, there] = [&gateway, &documented].map(|gateway| outcome(gateway, token));
        if here != there {
            differs.push(format!("{what} {here}, not {there}"));
        }
    }
    let differs = match differs.is_empty() {
        true => "as the example".to_owned(),
        false => differs.join("; "),
    };
    if *status == 0 { differs } else { format!("{status}: {differs}") }
}

/// The program's status, and what it said.
fn ask(bench: &Bench<'_>, example: &Example, token: &str, refresh: Option<&str>) -> (i32, String) {
    let file = |name: &str, content: &str| {
        let path = bench.site.directory.join(name);
        fs::write(&path, content).expect("writes a file");
        path
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/phantom-token-probe");
    let mut command = Command::new(program);
    let written = value(example.first_location(), "phantom_token_client_id");
    let client = bench.profile.special.or(written.map(|id| (id, bench.profile.secret)));
    if let Some((id, secret)) = client {
        command.args(["--client-id", id, "--client-secret-file"]).arg(file("probe-secret", secret));
    }
    command.arg("--token-file").arg(file("probe-token", token));
    if let Some(refresh) = refresh {
        command.arg("--refresh-token-file").arg(file("probe-refresh-token", refresh));
    }
    let endpoint = value(example.first_location(), "phantom_token_introspection_endpoint");
    let mut words = endpoint.expect("an endpoint").split(' ');
    let url = words.next().expect("a URL");
    let connect = words.find_map(|word| word.strip_prefix("connect="));
    command.args(["--timeout", "20", "--connect", connect.expect("a place"), url]);
    let output = command.output().expect("build/phantom-token-probe: make probe");
    let out = String::from_utf8(output.stdout).expect("text");
    for secret in [Some(token), refresh, client.map(|(_, secret)| secret)].into_iter().flatten() {
        assert!(!out.contains(secret), "a secret is shown: {out}");
    }
    let error = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), format!("{out}{error}"))
}

/// What stands behind a directive where it is written first.
fn value<'a>(text: &'a str, directive: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(directive)?;
        rest.strip_prefix(' ')
    });
    line?.split_once(';').map(|(value, _)| value)
}
