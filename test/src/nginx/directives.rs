//! The directives of the module under test, as NGINX knows them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::{Builder, module};

/// Begins the name of every directive.
const PREFIX: &str = "phantom_token";

/// The names of all directives of the module under test, sorted.
///
/// The module holds each as a string that ends with a NUL byte. NGINX says of those that only look like
/// one that it does not know them.
///
/// # Panics
/// Where the module cannot be read.
pub fn directives() -> &'static [String] {
    static DIRECTIVES: OnceLock<Vec<String>> = OnceLock::new();
    DIRECTIVES.get_or_init(|| {
        let module = std::fs::read(module()).expect("the module");
        names(&module).into_iter().filter(|name| is_known(name)).collect()
    })
}

/// The strings in a module that begin as a directive does and end with a NUL byte.
fn names(module: &[u8]) -> BTreeSet<String> {
    let strings = module.split(|&byte| byte == 0);
    let ends = strings.flat_map(|string| {
        let text = string.rsplit(|byte| !byte.is_ascii_lowercase() && *byte != b'_').next();
        let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
        text.match_indices(PREFIX).map(|(at, _)| text[at..].to_owned()).collect::<Vec<_>>()
    });
    ends.collect()
}

fn is_known(name: &str) -> bool {
    let check = Builder::new().http(&format!("{name};")).check();
    !check.messages.contains(&format!("unknown directive \"{name}\""))
}
