//! The NGINX and the module under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Whether each gateway is one process, its own worker (`PHANTOM_TOKEN_SINGLE_PROCESS`): for tools
/// that look into a process from inside, such as valgrind. Tests of signals and several workers
/// cannot pass then.
pub fn single_process() -> bool {
    std::env::var_os("PHANTOM_TOKEN_SINGLE_PROCESS").is_some()
}

/// The NGINX binary under test.
pub fn binary() -> PathBuf {
    from_environment("NGINX_BINARY", "build/nginx")
}

/// The module under test.
pub fn module() -> PathBuf {
    from_environment("NGINX_MODULE", "build/ngx_http_phantom_token_module.so")
}

/// The module built with its feature `inject-faults`, which `make test` puts into
/// `build/inject-faults`; `None`, loudly, where `PHANTOM_TOKEN_SKIP_INJECTED` is set and it is not
/// there.
///
/// # Panics
/// Where it is not there and nobody said that its tests may be left out.
pub fn injected_module() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let usual = "build/inject-faults/ngx_http_phantom_token_module.so";
    let module = match std::env::var_os("NGINX_INJECTED_MODULE") {
        Some(path) => Some(workspace.join(path)),
        // One built for another NGINX than the one under test is of no use.
        None if std::env::var_os("NGINX_MODULE").is_some() => None,
        None => Some(workspace.join(usual)),
    };
    let module = module.filter(|path| path.exists());
    if module.is_none() {
        assert!(
            std::env::var_os("PHANTOM_TOKEN_SKIP_INJECTED").is_some(),
            "no module to inject faults with: `make test` builds one, NGINX_INJECTED_MODULE names \
             one, PHANTOM_TOKEN_SKIP_INJECTED=1 leaves its tests out"
        );
        skip("no module to inject faults with");
    }
    module
}

/// Says why a test is left out, past the harness, which shows nothing of a test that passes.
pub fn skip(why: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Written at once: other tests write, too.
    let line = format!("SKIPPED: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("writes to standard error");
}

fn from_environment(name: &str, default: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let path = workspace.join(std::env::var_os(name).unwrap_or_else(|| default.into()));
    assert!(
        path.exists(),
        "{} is not there; `make build` makes it, {name} names another one",
        path.display()
    );
    path
}

/// Whether the NGINX under test was configured with `option`, as `nginx -V` tells.
///
/// # Panics
/// Where it cannot be started.
pub fn configured_with(option: &str) -> bool {
    build_description().split_whitespace().any(|argument| argument == option)
}

/// Whether the tested NGINX is Debian's and was only unpacked: its places for temporary files are then
/// not there, and a configuration that names no others does not start.
pub fn is_only_unpacked() -> bool {
    configured_with("--http-client-body-temp-path=/var/lib/nginx/body")
        && !std::path::Path::new("/var/lib/nginx").exists()
}

/// The value that NGINX was configured with for an option such as `--prefix=`.
pub(super) fn compiled_in(option: &str) -> Option<&'static str> {
    build_description().split_whitespace().find_map(|argument| argument.strip_prefix(option))
}

/// The NGINX under test as it names itself: a version such as `1.28.0`, or `openresty/1.31.3.1`.
///
/// # Panics
/// Where it cannot be started.
pub fn release() -> &'static str {
    // "nginx version: nginx/1.28.0 (what its packager adds)"
    let (_, rest) = build_description().split_once("nginx version: ").expect("a version");
    let name = rest.split_whitespace().next().expect("a version");
    name.strip_prefix("nginx/").unwrap_or(name)
}

/// The version of the NGINX under test, such as `(1, 28, 0)`.
///
/// # Panics
/// Where it cannot be started.
pub fn version() -> (u32, u32, u32) {
    let release = release();
    let rest = release.rsplit('/').next().expect("a version");
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    let mut next = || numbers.next().expect("three numbers");
    (next(), next(), next())
}

fn build_description() -> &'static str {
    static DESCRIPTION: OnceLock<String> = OnceLock::new();
    DESCRIPTION.get_or_init(|| {
        let output = Command::new(binary()).arg("-V").output().expect("starts NGINX");
        String::from_utf8_lossy(&output.stderr).into_owned()
    })
}
