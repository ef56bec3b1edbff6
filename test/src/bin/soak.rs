//! `make soak`: the gateway under mixed traffic while it is reloaded, its workers are killed and the
//! authorization server restarts. `SOAK_SECONDS` says for how long, an hour as it comes.

use std::process::ExitCode;
use std::time::Duration;

use phantom_token_test::soak::{Plan, run};

fn main() -> ExitCode {
    let seconds = match std::env::var("SOAK_SECONDS").map(|seconds| seconds.parse()) {
        Err(_) => 3_600,
        Ok(Ok(seconds)) => seconds,
        Ok(Err(_)) => {
            eprintln!("SOAK_SECONDS is to be a number");
            return ExitCode::FAILURE;
        }
    };
    let report = run(&Plan::of(Duration::from_secs(seconds)));
    println!("{report}");
    if report.is_clean() {
        println!("clean: no wrong answer, and all is flat");
        return ExitCode::SUCCESS;
    }
    println!("not clean");
    ExitCode::FAILURE
}
