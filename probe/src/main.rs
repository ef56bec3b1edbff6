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
use report::Report;

/// What the program's status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// The configuration that was printed works.
    Works = 0,
    /// There is none, or it was not seen to work.
    Not = 1,
    /// The program was called wrongly, or a file cannot be used.
    Usage = 2,
    /// It works, and a refresh token passes for an access token.
    Unsafe = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

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
    let found = finding::find(options, &mut report)?;
    report.end(options, &found)
}
