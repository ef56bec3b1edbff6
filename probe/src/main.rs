//! Asks an introspection endpoint as the module does, by the module's own client and reader, and prints
//! the configuration for it.

mod asking;
mod configuration;
mod facts;
mod finding;
mod input;
mod options;
mod report;
mod shown;

use std::io::{self, Write as _};
use std::process::ExitCode;

use options::{Command, Options};
use report::{Exit, Report};

fn main() -> ExitCode {
    let told = match options::read(lexopt::Parser::from_env()) {
        Ok(Command::Probe(options)) => probe(&options),
        Ok(Command::Help) => print(options::HELP),
        Ok(Command::Version) => {
            print(concat!("phantom-token-probe ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Err(error) => {
            // Where nobody reads it the status says the same.
            let _ = writeln!(io::stderr(), "phantom-token-probe: {error}");
            Ok(Exit::Usage)
        }
    };
    // Whoever closes the output early knows why; it is no success that nobody has read.
    told.unwrap_or(Exit::Not).into()
}

fn print(text: &str) -> io::Result<Exit> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Works)
}

fn probe(options: &Options) -> io::Result<Exit> {
    let mut report = Report::new(io::stdout().lock(), options);
    report.begin(options)?;
    let found = finding::find(options, |nth, asked| report.asked(nth, asked))?;
    report.end(options, &found)
}
