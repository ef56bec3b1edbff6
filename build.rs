//! Compiles the few C helpers of `src/sys/helpers.h` against the NGINX the module is built for,
//! and tells the compiler which NGINX that is.

use std::env;
use std::path::{Path, PathBuf};

use bindgen::Builder;

use base64::Engine as _;
use sha2::Digest as _;

const HELPERS: &str = "src/sys/helpers.h";
const PAGE: &str = "src/status/page.html";

/// nginx-sys passes on what it found in the configured tree only to direct dependents, as
/// `DEP_NGINX_*` (its `links` key).
fn dep(name: &str) -> String {
    env::var(format!("DEP_NGINX_{name}")).unwrap_or_else(|_| {
        panic!("nginx-sys gave no DEP_NGINX_{name}: is NGINX_SOURCE_DIR or NGINX_BUILD_DIR set?")
    })
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={HELPERS}");

    let features = dep("FEATURES");
    if !features.split(',').any(|feature| feature.trim() == "threads") {
        fail("this NGINX was configured without --with-threads; configure it with --with-threads");
    }

    let version: u32 = dep("VERSION_NUMBER").parse().unwrap_or(0);
    if version < 1_022_000 {
        fail("NGINX 1.22 or later is needed");
    }
    // As nginx-sys has it, the name comes first: nginx/1.28.0. OpenResty keeps its own.
    let name_and_version = dep("VERSION");
    let version = name_and_version.strip_prefix("nginx/").unwrap_or(&name_and_version);
    println!("cargo:rustc-env=PHANTOM_TOKEN_NGINX_VERSION={version}");

    // A Rust library that has thread-locals must stay mapped: pool threads run their destructors.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    write_page_policy();
    bind(&env::split_paths(&dep("INCLUDE")).collect::<Vec<_>>());
}

/// One line that says what is wrong and what to do, and no backtrace.
fn fail(message: &str) -> ! {
    println!("cargo:warning=phantom token: {message}");
    eprintln!("error: {message}");
    std::process::exit(1);
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
}

/// The status page's Content-Security-Policy: nothing but its own style and script, by their
/// hashes, and its own numbers.
fn write_page_policy() {
    println!("cargo:rerun-if-changed={PAGE}");
    let page = std::fs::read_to_string(PAGE).expect("the status page is part of the source");
    let hash = |open: &str, close: &str| {
        let content = page.split_once(open).and_then(|(_, rest)| rest.split_once(close));
        let (content, _) = content.expect("the status page has one style and one script");
        base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(content))
    };
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("<style>", "</style>"),
        hash("<script>", "</script>"),
    );
    std::fs::write(out_dir().join("page-policy.txt"), policy).expect("OUT_DIR can be written");
}

fn bind(includes: &[PathBuf]) {
    let out = out_dir();
    let wrapper = out.join("helpers.c");

    let bindings = Builder::default()
        .header(HELPERS)
        .clang_args(includes.iter().map(|dir| format!("-I{}", dir.display())))
        .allowlist_function("pt_.*")
        .blocklist_type(".*")
        .raw_line("use ngx::ffi::*;")
        .wrap_static_fns(true)
        .wrap_static_fns_path(&wrapper)
        .layout_tests(false)
        .merge_extern_blocks(true)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .generate()
        .unwrap_or_else(|error| {
            fail(&format!(
                "cannot read NGINX's headers: {error} (is libclang installed? apt-get install libclang-dev)"
            ))
        });
    bindings.write_to_file(out.join("helpers.rs")).expect("OUT_DIR can be written");

    cc::Build::new()
        .file(&wrapper)
        .include(Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR")))
        .includes(includes)
        .flag_if_supported("-Wno-unused-parameter")
        .compile("phantom_token_helpers");
}
