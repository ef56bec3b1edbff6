//! Compiles the few C helpers of `src/sys/helpers.h` against the NGINX the module is built for,
//! and tells the compiler which NGINX that is.

use std::env;
use std::path::{Path, PathBuf};

use bindgen::Builder;

const HELPERS: &str = "src/sys/helpers.h";

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
    println!("cargo:rustc-env=PHANTOM_TOKEN_NGINX_VERSION={}", dep("VERSION"));

    // A Rust library that has thread-locals must stay mapped: pool threads run their destructors.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    bind(&env::split_paths(&dep("INCLUDE")).collect::<Vec<_>>());
}

/// One line that says what is wrong and what to do, and no backtrace.
fn fail(message: &str) -> ! {
    println!("cargo:warning=phantom token: {message}");
    eprintln!("error: {message}");
    std::process::exit(1);
}

fn bind(includes: &[PathBuf]) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
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
