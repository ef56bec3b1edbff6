//! When own calls begin, how many there are, and what ends them.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::{Hold, INTROSPECTION_PATH};
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::{self, wait_until};
use phantom_token_test::{Reply, Rig, Script, port};

use crate::*;

#[test]
fn a_restart_ends_with_the_server_s_return() {
    let rig = rig(|builder| builder.workers(4));
    rig.assert_passes(&rig.server.issue());
    let begun = Instant::now();
    stop(&rig);
    rig.server.resume().unwrap();
    // Nobody asks but the gateway.
    let back = Instant::now();
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    println!("away for {:.1?}, noticed after {:.1?}", back - begun, back.elapsed());
    assert_eq!(let_in(&rig, 8), 8);
    assert_eq!(lines(&rig, "is up again"), 1);
}

#[test]
fn a_starting_server_is_up_once_it_answers() {
    let rig = rig(|builder| builder.workers(2));
    stop(&rig);
    let starting = Script::status(503).header("Retry-After", "7");
    rig.server.script_all(starting.clone());
    rig.server.resume().unwrap();
    let before = rig.server.own_calls();
    wait_until("own calls", || rig.server.own_calls() >= before + 3);
    for n in 0..5 {
        Reply::unavailable("1").assert(&rig.get_as(&format!("early-{n}")));
    }
    assert_eq!(lines(&rig, "is up again"), 0);
    rig.server.unscript();
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    assert_eq!(let_in(&rig, 8), 8);

    // One that sheds its load begins no rest where it is the only one.
    rig.server.script_all(starting);
    for n in 0..20 {
        Reply::unavailable("7").assert(&rig.get_as(&format!("shed-{n}")));
    }
    rig.server.unscript();
    assert_eq!(let_in(&rig, 8), 8);
    assert_eq!((lines(&rig, "rests for"), lines(&rig, "is up again")), (1, 1));
}

#[test]
fn tokens_of_own_calls_are_random_and_kept_nowhere() {
    let rig = rig(|builder| builder);
    rig.server.script_all(Script::status(401));
    wait_until("own calls", || {
        rig.get_as("odd");
        rig.server.own_calls() >= 3
    });
    let mut tokens: Vec<_> = rig.server.own_seen().into_iter().map(|seen| seen.token).collect();
    let count = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), count);
    assert!(tokens.iter().all(|token| token.len() == 43));
    let metrics = rig.gateway.metrics();
    assert_eq!(metrics.get("cache_entries{zone=\"phantom_token\",kind=\"inactive\"}"), 0.0);
    // Counted nowhere else.
    let url = rig.server.introspection_url();
    let own = format!("own_calls_total{{endpoint=\"{url}\",result=\"refused\"}}");
    assert!(metrics.get(&own) >= 2.0);
    let calls = metrics.sum("introspections_total", "");
    assert!(calls <= rig.server.introspections() as f64);
    assert_eq!(calls, metrics.get("introspection_duration_seconds_count"));
}

#[test]
fn without_max_fails_nobody_is_asked() {
    let url = format!("http://127.0.0.1:{}{INTROSPECTION_PATH} max_fails=0", port::free());
    let rig = rig(|builder| builder.endpoint(&url));
    for n in 0..10 {
        Reply::failure().assert(&rig.get_as(&format!("token-{n}")));
    }
    assert_eq!(rig.gateway.metrics().sum("own_calls_total", ""), 0.0);
}

#[test]
fn a_worker_killed_in_the_middle_of_an_own_call_is_replaced() {
    let rig =
        rig(|builder| builder.workers(2).allow("signal 9").location("= /pid", "return 200 $pid;"));
    stop(&rig);
    let hold = rig.server.hold();
    rig.server.resume().unwrap();
    // Each in its turn, the new ones too, which find the rest when they begin.
    for n in 1..=3 {
        let before = rig.server.own_calls();
        wait_until("an own call", || rig.server.own_calls() > before || before >= n);
        let workers = rig.gateway.workers();
        for worker in workers {
            process::signal(worker, libc::SIGKILL).unwrap();
        }
        wait_until("new workers", || rig.gateway.workers().len() == 2);
    }
    drop(hold);
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    assert_eq!(let_in(&rig, 8), 8);
}

/// A gateway whose only endpoint rests, and an own call to it that is not answered.
fn with_a_hanging_own_call(change: impl FnOnce(Builder) -> Builder) -> (Rig, Hold) {
    let rig = rig(|builder| change(builder.workers(2)));
    stop(&rig);
    let hold = rig.server.hold();
    rig.server.resume().unwrap();
    wait_until("an own call", || rig.server.own_calls() > 0);
    (rig, hold)
}

/// Whether the thread of the own call that is out leaves TERM to others.
fn blocks_signals(rig: &Rig) -> bool {
    let tasks = rig.gateway.workers().into_iter().flat_map(|worker| {
        let tasks = fs::read_dir(format!("/proc/{worker}/task")).expect("a running process");
        tasks.map(|task| task.expect("a thread").path())
    });
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let own = |task: &PathBuf| read(task.join("comm")).starts_with("phantom-own");
    let task = tasks.into_iter().find(own).expect("the thread of an own call");
    let status = read(task.join("status"));
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask");
    u64::from_str_radix(blocked.trim(), 16).expect("a mask") >> (libc::SIGTERM - 1) & 1 == 1
}

#[test]
fn an_own_call_that_hangs_is_the_only_one() {
    let (rig, hold) = with_a_hanging_own_call(|builder| {
        builder.listen("reuseport").location("= /worker", "return 200 $pid;")
    });
    let workers = rig.gateway.workers();
    let threads = || workers.iter().copied().map(process::threads).sum::<usize>();
    let (before, started) = (threads(), rig.gateway.calls(b't'));
    for n in 0..100 {
        Reply::unavailable("1").assert(&rig.get_as(&format!("token-{n}")));
    }
    for _ in 0..3 {
        rig.gateway.pass_time(Duration::from_secs(1));
        // A worker that answers has been through its timers.
        let mut answered = HashSet::new();
        wait_until("an answer of each worker", || {
            answered.insert(rig.gateway.get("/worker", &[]).text());
            answered.len() == workers.len()
        });
    }
    assert_eq!((rig.server.own_calls(), rig.gateway.calls(b't')), (1, started));
    assert!(blocks_signals(&rig), "NGINX's signals are for the event loop");
    drop(hold);
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    wait_until("the thread's end", || threads() < before);
}

#[test]
fn a_stop_waits_for_no_own_call() {
    for signal in [libc::SIGTERM, libc::SIGQUIT] {
        let (rig, _hold) =
            with_a_hanging_own_call(|builder| builder.http("phantom_token_timeout 600s;"));
        let begun = Instant::now();
        process::signal(rig.gateway.pid(), signal).unwrap();
        rig.gateway.wait_exit();
        println!("ended after {:.1?}", begun.elapsed());
    }
}

#[test]
fn own_calls_end_with_a_reload_and_go_on_after_it() {
    let mut rig = rig(|builder| builder.workers(2));
    stop(&rig);
    rig.gateway.reload_with(|builder| builder);
    rig.server.resume().unwrap();
    // The new workers have met nothing themselves.
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    assert_eq!(let_in(&rig, 8), 8);
}
