//! What servers written in Go need of the machine, and how they are built.

use std::fs;
use std::process::Command;

use super::{Home, folder};

/// The oldest Go that fetches the one which a module asks for.
const GO: (u32, u32) = (1, 21);

/// What is missing: a Go that is not too old.
pub(super) fn lacks() -> Option<String> {
    let told = Command::new("go").arg("version").output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let new = told.is_ok_and(|told| version(&told).is_some_and(|version| version >= GO));
    (!new).then(|| format!("needs Go {}.{} or later", GO.0, GO.1))
}

/// Builds the module in a server's folder: `build/NAME` in its home.
///
/// # Errors
/// Where Go fails.
pub(super) fn build(name: &str, home: &Home, flags: &[&str]) -> Result<(), String> {
    let source = folder(name);
    let read = |file: &str| {
        fs::read_to_string(source.join(file)).map_err(|error| format!("{file}: {error}"))
    };
    home.part("build").once(&(read("go.mod")? + &read("main.go")?), |build| {
        for file in ["go.mod", "main.go"] {
            fs::copy(source.join(file), build.join(file))
                .map_err(|error| format!("{file}: {error}"))?;
        }
        let _ = fs::remove_file(build.join("go.sum"));
        let mut go = Command::new("go");
        go.args(["build", "-mod=mod", "-o", name]).args(flags).arg(".");
        build.run(go.current_dir(build.path()))
    })
}

/// The first two numbers of what `go version` says.
fn version(told: &str) -> Option<(u32, u32)> {
    let word = told.split_whitespace().nth(2)?.strip_prefix("go")?;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_go_is_read() {
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("go version go1.19 linux/arm64"), Some((1, 19)));
        assert_eq!(version("go version go1.25rc1 linux/arm64"), Some((1, 25)));
        assert_eq!(version("go: not found"), None);
    }
}
