//! Programs of other people that tests run, as `make setup` provides them.

use std::path::{Path, PathBuf};

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
