//! The development API, on 127.0.0.1:3000 or the port given as argument.

use std::process::ExitCode;

use phantom_token_test::api::{Api, DEFAULT_PORT};

fn main() -> ExitCode {
    let port = match std::env::args().nth(1).map(|port| port.parse()) {
        None => DEFAULT_PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            eprintln!("usage: dev-api [PORT]");
            return ExitCode::FAILURE;
        }
    };
    let api = match Api::on(port, false) {
        Ok(api) => api,
        Err(error) => {
            eprintln!("cannot listen on 127.0.0.1:{port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("the API answers at {}", api.url());
    loop {
        std::thread::park();
    }
}
