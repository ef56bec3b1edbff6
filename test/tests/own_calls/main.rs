//! The server is asked, not guessed at: what single tokens meet refuses nobody else, and what is
//! true of the server is found out by calls of the gateway's own.

mod client_values;
mod lifecycle;
mod odd_tokens;

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Reply, Rig};

const SHOWN: &str = "phantom_token_status;";

/// A gateway whose clock can be set.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(builder.count_calls().location("= /metrics", SHOWN)))
}

/// New tokens, all good, one after the other: how many were let in.
fn let_in(rig: &Rig, count: usize) -> usize {
    (0..count).filter(|_| rig.get_as(&rig.server.issue().token).status == 200).count()
}

fn lines(rig: &Rig, text: &str) -> usize {
    rig.gateway.module_lines().iter().filter(|line| line.contains(text)).count()
}

/// Puts the only endpoint to rest by stopping its server.
fn stop(rig: &Rig) {
    rig.server.stop();
    wait_until("the rest", || {
        let status = rig.get_as("down").status;
        assert!([500, 503].contains(&status), "{status}");
        rig.gateway.error_log().contains("rests for")
    });
    Reply::unavailable("1").assert(&rig.get_as("resting"));
}
