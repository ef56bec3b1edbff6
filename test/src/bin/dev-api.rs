//! The development API, on 127.0.0.1:3000 or the port or address given as argument.

use std::process::ExitCode;

use phantom_token_test::api::{Api, DEFAULT_PORT};
use phantom_token_test::port;

fn main() -> ExitCode {
    let Some(address) = port::listen_argument(DEFAULT_PORT) else {
        eprintln!("usage: dev-api [[ADDRESS:]PORT]");
        return ExitCode::FAILURE;
    };
    let api = match Api::at(address, false) {
        Ok(api) => api,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("the API answers at {}", api.url());
    loop {
        std::thread::park();
    }
}
