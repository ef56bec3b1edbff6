//! The versions of the module and of Rust: said in `Cargo.toml`, and the same wherever else they stand.

use std::path::{Path, PathBuf};
use std::process::Command;

use phantom_token_test::Rig;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).unwrap()
}

#[test]
fn files_agree_on_the_version() {
    let image = read("Dockerfile");
    let image: Vec<_> =
        image.lines().filter_map(|line| line.strip_prefix("ARG VERSION=")).collect();
    assert_eq!(image, [VERSION], "the image's label");
    let readme = read("README.md");
    for mark in ["The current version is ", "libnginx-mod-http-phantom-token_"] {
        let found = versions_behind(&readme, mark);
        assert!(!found.is_empty(), "README.md names no version behind {mark:?}");
        assert!(found.iter().all(|found| *found == VERSION), "README.md: {mark:?} {found:?}");
    }
    let changes = read("CHANGELOG.md");
    let latest = changes.lines().filter_map(|line| line.strip_prefix("## [")).nth(1);
    let latest = latest.and_then(|line| line.split_once("] - "));
    assert_eq!(latest.map(|(version, _date)| version), Some(VERSION), "the latest in CHANGELOG.md");
    assert!(changes.contains(&format!("\n[{VERSION}]: https://")), "a link to it");
    let readme = read("README.md");
    for mark in ["The current version is ", "libnginx-mod-http-phantom-token_"] {
        let found = versions_behind(&readme, mark);
        assert!(!found.is_empty(), "README.md names no version behind {mark:?}");
        assert!(found.iter().all(|found| *found == VERSION), "README.md: {mark:?} {found:?}");
    }
    // What makes packages takes it from Cargo.toml.
    for file in [
        "packaging/rpm/phantom-token.spec",
        "packaging/alpine/APKBUILD",
        "packaging/debian/control",
        ".github/workflows/release.yaml",
    ] {
        let text = read(file);
        let said = text.split(|c: char| !c.is_ascii_digit() && c != '.').any(|n| n == VERSION);
        assert!(!said, "{file} says the version a second time");
    }
}

#[test]
fn a_release_says_what_changed() {
    let notes = |version: &str| {
        let mut command = Command::new("tools/release");
        let command = command.args(["notes", version]).current_dir(repository());
        command.output().unwrap()
    };
    let output = notes(VERSION);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let changes = read("CHANGELOG.md");
    let section = changes.split_once(&format!("\n## [{VERSION}]")).unwrap().1;
    let section = section.split_once('\n').unwrap().1.split("\n## [").next().unwrap();
    for line in section.lines().filter(|line| line.starts_with("- ") && !line.contains("](")) {
        assert!(text.lines().any(|said| said == line), "{line}");
    }
    assert_eq!(text.matches("\n## ").count(), 1, "one version's, and how to check files: {text}");
    assert!(text.contains("gh attestation verify"), "{text}");
    // Nobody who reads it elsewhere can follow a link that says only where a file is.
    assert!(!text.contains("](docs/"), "{text}");
    assert!(!notes("0.0.0").status.success(), "no release has no text");
}

/// What follows each `mark` in a text, as far as it is digits and a dot.
fn versions_behind<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    let starts = text.split(mark).skip(1);
    let number = |rest: &'a str| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    };
    starts.map(number).filter(|number| !number.is_empty()).collect()
}

#[test]
fn files_agree_on_the_versions_of_rust() {
    let manifest = read("Cargo.toml");
    let said = |name: &str| versions_behind(&manifest, &format!("{name} = \""))[0];
    let (oldest, tested) = (said("rust-version"), said("tested-rust"));
    for (file, mark, expected) in [
        ("README.md", "Rust (", oldest),
        ("CONTRIBUTING.md", "Rust ", oldest),
        ("docs/compatibility.md", "needed to build | Rust ", oldest),
        ("Dockerfile", "rust:", tested),
        ("docker-compose.yml", "rust:", tested),
        ("docs/docker.md", "rust:", tested),
        ("tools/check-image", "rust:", tested),
        (".github/workflows/ci.yaml", "RUST_VERSION: \"", tested),
        (".github/workflows/ci.yaml", "rust:", tested),
        (".github/workflows/release.yaml", "RUST_VERSION: \"", tested),
        (".github/workflows/release.yaml", "rust:", tested),
        (".github/workflows/scheduled.yaml", "rust:", tested),
    ] {
        let text = read(file);
        let found = versions_behind(&text, mark);
        assert!(!found.is_empty(), "{file} names no version behind {mark:?}");
        assert!(found.iter().all(|found| *found == expected), "{file}: {mark:?} {found:?}");
    }
    let workflow = read(".github/workflows/ci.yaml");
    let mut matrix = versions_behind(&workflow, "rust: \"");
    matrix.sort_unstable();
    matrix.dedup();
    assert_eq!(matrix, [oldest, tested], "the workflow tests with both");
}

#[test]
fn the_module_says_its_version() {
    let rig = Rig::start(|builder| builder.location("/metrics", "phantom_token_status;"));
    rig.assert_passes(&rig.server.issue());
    let client = rig.server.seen().remove(0);
    let expected = format!("ngx-phantom-token/{VERSION}");
    assert_eq!(client.head.headers.get("user-agent"), Some(expected.as_str()));
    let page = rig.gateway.get("/metrics", &[]).text();
    assert!(page.contains(&format!("phantom_token_build_info{{version=\"{VERSION}\",")), "{page}");
}
