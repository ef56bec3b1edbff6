//! The version: said in `Cargo.toml`, and the same wherever else it stands.

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
    let changes = read("CHANGELOG.md");
    let latest = changes.lines().filter_map(|line| line.strip_prefix("## [")).nth(1);
    let latest = latest.and_then(|line| line.split_once("] - "));
    assert_eq!(latest.map(|(version, _date)| version), Some(VERSION), "the latest in CHANGELOG.md");
    assert!(changes.contains(&format!("\n[{VERSION}]: https://")), "a link to it");
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
