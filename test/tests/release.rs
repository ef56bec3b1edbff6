//! The versions of the module and of Rust: said in `Cargo.toml`, and the same wherever else they stand.

use std::path::Path;

use phantom_token_test::Rig;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(path).unwrap()
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
