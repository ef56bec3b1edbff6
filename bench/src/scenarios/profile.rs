//! Instructions of a request, which are steady where times are not: counted by callgrind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use phantom_token_test::port;

use super::stage::Programs;
use super::{JWT, progress};
use crate::gateway::Gateway;
use crate::jwt;
use crate::load::{Connection, token};
use crate::recipes;
use crate::report::Report;
use crate::server::Server;
use crate::settings::{Settings, workspace};

/// Requests that are counted.
const COUNTED: u32 = 1_000;

/// Hits, misses, and plain NGINX; only in user space.
pub(super) fn run(_: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Instructions in user space");
    let programs = Programs::find();
    let jwt = jwt::of_length(JWT);
    let server = Server::start(&jwt, 0).map_err(|error| error.to_string())?;
    let api = Gateway::start_at(&recipes::api(&programs.nginx, &jwt), port::free(), 9, "")?;
    let directory = workspace().join("build/bench");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for what in [
        "plain",
        "hit",
        "purgeable",
        "ahead",
        "claim",
        "require",
        "miss",
        "minted-hit",
        "minted-miss",
    ] {
        progress(what);
        let (nginx, module) = (&programs.nginx, &programs.module);
        let recipe = recipes::module(nginx, module, server.port(), 4);
        let recipe = match what {
            "plain" => recipes::plain(nginx),
            "purgeable" => recipe.purgeable(),
            "ahead" => recipe.ahead(),
            "claim" => recipe.with_claim(),
            "require" => recipe.requiring(),
            "minted-hit" | "minted-miss" => recipe.minting(),
            _ => recipe,
        };
        let counts = directory.join(format!("callgrind.{what}"));
        let under = [
            "valgrind".to_owned(),
            "--quiet".to_owned(),
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            format!("--callgrind-out-file={}", counts.display()),
        ];
        let gateway = Gateway::start_under(&recipe, api.port(), &under)?;
        let bearer = |n: u32| match what {
            "plain" => jwt.clone(),
            "miss" | "minted-miss" => token(n),
            _ => token(0),
        };
        let mut connection = Connection::open(&gateway)?;
        (0..COUNTED / 5).try_for_each(|n| connection.get(&bearer(n)))?;
        count(&gateway, "on")?;
        (COUNTED..2 * COUNTED).try_for_each(|n| connection.get(&bearer(n)))?;
        count(&gateway, "off")?;
        // It writes what it has counted as it ends.
        drop(gateway);
        let text = fs::read_to_string(&counts)
            .map_err(|error| format!("{}: {error}", counts.display()))?;
        let objects = by_object(&text);
        let of = |end: &Path| -> String {
            let own = objects.iter().filter(|(object, _)| Path::new(object).ends_with(end));
            (own.map(|(_, count)| count).sum::<u64>() / u64::from(COUNTED)).to_string()
        };
        let name = |path: &Path| path.file_name().map(PathBuf::from).unwrap_or_default();
        rows.push(vec![
            match what {
                "purgeable" => "hit, where purges are taken",
                "ahead" => "hit, answers renewed ahead",
                "claim" => "hit, a claim in a header",
                "require" => "hit, an audience and a requirement",
                _ => what,
            }
            .to_owned(),
            of(Path::new("")),
            of(&name(&programs.nginx)),
            of(&name(&programs.module)),
        ]);
    }
    report.table(&["request", "all", "NGINX itself", "the module's library"], &rows);
    report.say(
        "The rest is the C library's. By function: \
         `callgrind_annotate --inclusive=yes build/bench/callgrind.hit`, and `callgrind.miss`.",
    );
    Ok(())
}

/// Begins or ends counting.
fn count(gateway: &Gateway, state: &str) -> Result<(), String> {
    let pid = gateway.pid().to_string();
    let output = Command::new("callgrind_control")
        .args(["-i", state, &pid])
        .output()
        .map_err(|error| format!("callgrind_control: {error}: is valgrind installed?"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("callgrind_control: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Instructions by the file they are in, from what callgrind has written (Callgrind Format
/// Specification): lines of costs belong to the object named last; the one behind `calls=` counts
/// what was called, which has lines of its own.
fn by_object(text: &str) -> BTreeMap<String, u64> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    let (mut object, mut called) = ("", false);
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("ob=").or_else(|| line.strip_prefix("cob=")) {
            let (number, name) = named.split_once(' ').unwrap_or((named, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if line.starts_with("ob=") {
                object = names.get(number).copied().unwrap_or_default();
            }
        } else if line.starts_with("calls=") {
            called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost: Option<u64> = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            if !std::mem::take(&mut called) {
                *counts.entry(object.to_owned()).or_default() += cost.unwrap_or(0);
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_belong_to_the_object_named_last_and_calls_are_not_counted_twice() {
        let text = "version: 1\nevents: Ir\n\nob=(1) /usr/sbin/nginx\nfn=(1) main\n16 400\n\
                    cob=(2) /lib/libc.so.6\ncfn=(2) malloc\ncalls=3 50\n16 400\n+2 5\n\n\
                    ob=(2)\nfn=(2)\n51 100\n* 300\n\nob=(1)\nfn=(3) exit\n9 1\n\ntotals: 806\n";
        let counts = by_object(text);
        assert_eq!(counts["/usr/sbin/nginx"], 406);
        assert_eq!(counts["/lib/libc.so.6"], 400);
        assert_eq!(counts.len(), 2);
    }
}
