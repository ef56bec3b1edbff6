//! Programs of other people that tests run, as `make setup` provides them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The file of a program on the PATH, or among those that were unpacked and not installed.
///
/// # Panics
/// Where it is in neither place.
pub fn path(name: &str) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([unpacked])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not there; `make setup` provides it"))
}

/// The oldest Node.js that the packages in tests run on.
const NODE: u32 = 20;

/// A Node.js that is not too old: the system's, or the one that `make setup` provides in its place.
///
/// # Panics
/// Where there is none.
pub fn node() -> PathBuf {
    let told = Command::new("node").arg("--version").output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if told.is_ok_and(|told| node_major(&told).is_some_and(|major| major >= NODE)) {
        return "node".into();
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let provided = format!("node/node_modules/node-linux-{architecture}/bin/node");
    let provided = Path::new(env!("CARGO_MANIFEST_DIR")).join(provided);
    assert!(provided.is_file(), "no Node.js {NODE} or later; `make setup` provides one");
    provided
}

/// The first number of what `node --version` says, such as `v22.23.3`.
fn node_major(told: &str) -> Option<u32> {
    told.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_node_is_read() {
        assert_eq!(node_major("v22.23.3\n"), Some(22));
        assert_eq!(node_major("v8.0.0"), Some(8));
        assert_eq!(node_major(""), None);
        assert_eq!(node_major("node: not found"), None);
    }
}
