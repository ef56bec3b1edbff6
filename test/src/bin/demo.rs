//! The tutorial in one process: `make run`; a fleet: `make run-fleet`.

use std::path::PathBuf;
use std::process::ExitCode;

use phantom_token_test::demo::{self, Parts, Ports};

const USAGE: &str = "usage: demo --nginx FILE --module FILE (--conf FILE | --fleet)
            [--gateway-port PORT] [--second-gateway-port PORT]
            [--authorization-server-port PORT] [--api-port PORT]";

fn main() -> ExitCode {
    let Some(parts) = parts(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match demo::run(&parts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the arguments say, if they make sense.
fn parts(mut arguments: impl Iterator<Item = String>) -> Option<Parts> {
    let (mut nginx, mut module, mut conf, mut fleet) = (None, None, None, false);
    let mut ports = Ports::default();
    while let Some(name) = arguments.next() {
        if name == "--fleet" {
            fleet = true;
            continue;
        }
        let value = arguments.next()?;
        if let Some(port) = ports.option(&name) {
            *port = value.parse().ok().filter(|port| *port != 0)?;
            continue;
        }
        let slot = match name.as_str() {
            "--nginx" => &mut nginx,
            "--module" => &mut module,
            "--conf" => &mut conf,
            _ => return None,
        };
        *slot = Some(PathBuf::from(value));
    }
    (fleet == conf.is_none()).then_some(Parts { nginx: nginx?, module: module?, conf, ports })
}
