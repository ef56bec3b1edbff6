//! Compiles the few C helpers of `src/nginx/sys/helpers.h` against the NGINX the module is built for,
//! and tells the compiler which NGINX that is.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bindgen::Builder;
use bindgen::callbacks::{EnumVariantCustomBehavior, EnumVariantValue, ParseCallbacks};

use base64::Engine as _;
use sha2::Digest as _;

const HELPERS: &str = "src/nginx/sys/helpers.h";
const LAYOUT: &str = "src/nginx/sys/layout.txt";
const PAGE: &str = "src/operate/status/page.html";

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

    let given = |name| env::var_os(name).map(PathBuf::from);
    if let (Some(source), Some(build)) = (given("NGINX_SOURCE_DIR"), given("NGINX_BUILD_DIR"))
        && source.ends_with("build/stable/source")
        && build != source.join("objs")
    {
        fail("NGINX_BUILD_DIR is another NGINX's than NGINX_SOURCE_DIR: give both, or use make");
    }

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
    let includes = env::split_paths(&dep("INCLUDE")).collect::<Vec<_>>();
    bind(&includes);
    assert_layout(&includes);
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

/// Keeps the values libclang gives to an enumeration's constants.
#[derive(Clone, Debug, Default)]
struct Values(Arc<Mutex<Vec<i64>>>);

impl ParseCallbacks for Values {
    fn enum_variant_behavior(
        &self,
        _: Option<&str>,
        name: &str,
        value: EnumVariantValue,
    ) -> Option<EnumVariantCustomBehavior> {
        if name.starts_with("PT_LAYOUT_") {
            self.0.lock().expect("one thread").push(match value {
                EnumVariantValue::Signed(value) => value,
                EnumVariantValue::Unsigned(value) => value as i64,
                EnumVariantValue::Boolean(value) => value.into(),
            });
        }
        None
    }
}

/// Compares the layouts the Rust side relies on three times over: NGINX's headers as libclang reads
/// them against the C compiler (`layout.c`) and against the bindings (`layout.rs`, which
/// `src/nginx/sys.rs` includes). What differs fails to compile.
fn assert_layout(includes: &[PathBuf]) {
    println!("cargo:rerun-if-changed={LAYOUT}");
    let table = std::fs::read_to_string(LAYOUT).expect("the table is part of the source");
    // Pairs of the same question in C and in Rust.
    let mut questions = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, fields) = line.split_once(':').expect("a structure, a colon, its fields");
        questions.push((format!("sizeof({name})"), format!("core::mem::size_of::<{name}>()")));
        for field in fields.split_whitespace() {
            // A keyword in Rust.
            let escaped = if field == "type" { "type_" } else { field };
            questions.push((
                format!("offsetof({name}, {field})"),
                format!("core::mem::offset_of!({name}, {escaped})"),
            ));
        }
    }

    let out = out_dir();
    let mut header = String::from(
        "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_event.h>\n#include <ngx_http.h>\nenum pt_layout {\n",
    );
    for (i, (c, _)) in questions.iter().enumerate() {
        header.push_str(&format!("    PT_LAYOUT_{i} = {c},\n"));
    }
    header.push_str("};\n");
    let path = out.join("layout.h");
    std::fs::write(&path, header).expect("OUT_DIR can be written");

    let values = Values::default();
    let read = Builder::default()
        .header(path.display().to_string())
        .clang_args(includes.iter().map(|dir| format!("-I{}", dir.display())))
        .allowlist_type("pt_layout")
        .parse_callbacks(Box::new(values.clone()))
        .generate();
    if let Err(error) = read {
        fail(&format!("NGINX's structures are not those the module knows: {error}"));
    }
    let values = values.0.lock().expect("one thread").clone();
    assert_eq!(values.len(), questions.len(), "libclang gave every size and offset");

    let mut rust = String::new();
    let mut c = format!("#include \"{}\"\n", path.display());
    for ((in_c, in_rust), value) in questions.iter().zip(values) {
        let message = format!("{in_c} is not what NGINX's headers say");
        rust.push_str(&format!("const _: () = assert!({in_rust} == {value}, \"{message}\");\n"));
        c.push_str(&format!("_Static_assert({in_c} == {value}, \"{message}\");\n"));
    }
    std::fs::write(out.join("layout.rs"), rust).expect("OUT_DIR can be written");
    std::fs::write(out.join("layout.c"), c).expect("OUT_DIR can be written");
    cc::Build::new().file(out.join("layout.c")).includes(includes).compile("phantom_token_layout");
}
