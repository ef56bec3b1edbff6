//! Runs the real authorization servers behind the real gateway: `make test-servers`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if phantom_token_test::servers::main() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
