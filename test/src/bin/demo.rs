//! The tutorial in one process: `make run`; a fleet: `make run-fleet`.

use std::path::PathBuf;
use std::process::ExitCode;

use phantom_token_test::demo::{self, Parts};

const USAGE: &str = "usage: demo --check-ports
       demo --nginx FILE --module FILE --conf FILE
       demo --nginx FILE --module FILE --fleet";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--check-ports"] {
        return finish(demo::check_ports());
    }
    let (mut nginx, mut module, mut conf) = (None, None, None);
    let (pairs, fleet) = match arguments.split_last() {
        Some((last, pairs)) if last == "--fleet" => (pairs, true),
        _ => (&arguments[..], false),
    };
    for pair in pairs.chunks(2) {
        let (slot, value) = match pair {
            [name, value] if name == "--nginx" => (&mut nginx, value),
            [name, value] if name == "--module" => (&mut module, value),
            [name, value] if name == "--conf" => (&mut conf, value),
            _ => return usage(),
        };
        *slot = Some(PathBuf::from(value));
    }
    match (nginx, module, conf, fleet) {
        (Some(nginx), Some(module), Some(conf), false) => {
            finish(demo::run(&Parts { nginx, module, conf }))
        }
        (Some(nginx), Some(module), None, true) => finish(demo::run_fleet(&nginx, &module)),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::FAILURE
}

fn finish(result: Result<(), demo::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
