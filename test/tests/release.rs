//! What a release is made of: the versions of the module and of Rust, said in `Cargo.toml` and the same
//! wherever else they stand, and what packages carry beside the module.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
    // Two that write at the same time can leave a line there twice.
    let mut said: Vec<_> = section.lines().filter(|line| line.starts_with("- ")).collect();
    said.sort_unstable();
    let twice: Vec<_> = said.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
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
fn where_to_get_a_rust_that_is_new_enough_is_said() {
    // Nothing else of the system's is on the PATH, where there may be a rustup.
    let tools = tempfile::tempdir().unwrap();
    for name in ["cut", "head", "sed", "sort"] {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
        let found = found.iter().find(|path| path.exists()).expect(name);
        std::os::unix::fs::symlink(found, tools.path().join(name)).unwrap();
    }
    let say = |name: &str, text: &str| {
        let path = tools.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho '{text}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let said = || {
        let output = Command::new("/bin/bash")
            .args(["tools/setup", "build"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .env("PATH", tools.path())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    say("cargo", "");
    say("rustc", "rustc 1.63.0 (4b91a6ea7 2022-08-08)");
    let rustup = say("rustup", "");
    assert!(said().contains("Rust 1.63.0 is too old"), "{}", said());
    assert!(said().contains("rustup update stable"), "{}", said());
    // Whoever has no rustup is told of the distribution's, if that will do.
    std::fs::remove_file(rustup).unwrap();
    say("apt-cache", "  Candidate: 1.96.0+dfsg1-1~deb12u2");
    assert!(said().contains("apt-get install rustc-web cargo-web"), "{}", said());
    for candidate in ["  Candidate: 1.85.0+dfsg3-1~deb12u3", "  Candidate: (none)", ""] {
        say("apt-cache", candidate);
        assert!(said().contains("install it with rustup (see rustup.rs)"), "{}", said());
    }
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

/// Whose NGINX a package may be for, and a version of it.
const SYSTEMS: [(&str, &str); 4] =
    [("debian", "1.22.1"), ("redhat", "1.26.3"), ("alpine", "1.28.3"), ("nginx.org", "1.30.4")];

/// Runs a tool as the Makefile does.
fn tool(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(format!("tools/{name}"));
    let output = command.args(arguments).current_dir(repository()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tools/{name} {arguments:?}: {said}");
    output
}

/// The files below a folder, by their paths in it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// What a package for that system carries beside the module; everybody may read it, whatever the umask of
/// who makes it.
fn packed(system: &str, nginx: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 007; exec tools/package-files \"$@\"", "sh", system, nginx]);
    let status = command.arg(directory.path()).current_dir(repository()).status().unwrap();
    assert!(status.success(), "{system}");
    for name in files(directory.path()) {
        let mode = std::fs::metadata(directory.path().join(&name)).unwrap().permissions().mode();
        assert!([0o644, 0o755].contains(&(mode & 0o777)), "{system}: {name}: {mode:o}");
    }
    directory
}

#[test]
fn packages_carry_what_their_documents_lead_to() {
    let expected = |system: &str| {
        let mut all: Vec<_> = ["docs", "nginx-conf", "contrib"]
            .iter()
            .flat_map(|folder| {
                let names = files(&repository().join(folder));
                names.into_iter().map(move |name| format!("{folder}/{name}"))
            })
            .chain(["README.md", "CHANGELOG.md", "SECURITY.md"].map(str::to_owned))
            .collect();
        // Debian has the text of this one in a place of its own.
        if system != "debian" {
            all.push("LICENSE".to_owned());
        }
        all.sort();
        all
    };
    for (system, nginx) in SYSTEMS {
        let directory = packed(system, nginx);
        assert_eq!(files(directory.path()), expected(system), "{system}");
        tool("check-links", &[directory.path().to_str().unwrap()]);
        let readme = std::fs::read_to_string(directory.path().join("README.md")).unwrap();
        assert!(readme.contains("](docs/directives.md"), "what is there is linked as it was");
        let at = format!("/blob/v{VERSION}/CONTRIBUTING.md)");
        assert!(readme.contains(&at), "what is not there is in the repository, at this version");
        let how = std::fs::read_to_string(directory.path().join("nginx-conf/README.md")).unwrap();
        assert!(!how.contains("make build"), "{how}");
        assert!(how.contains("minimal.conf /etc/nginx/nginx.conf\n"), "{how}");
        assert!(how.contains("[production.conf](production.conf)"), "{how}");
    }
}

/// An example without the lines that say where the system has something.
fn of_no_system(example: &str) -> String {
    let place = |line: &&str| {
        ["load_module ", "user ", "include /", "pid ", "error_log "]
            .iter()
            .any(|one| line.starts_with(one))
    };
    let lines = example.lines().filter(|line| !place(line)).map(|line| format!("{line}\n"));
    lines.collect::<String>().replace("/var/log/nginx/", "logs/")
}

#[test]
fn examples_are_packed_for_the_system() {
    let load_module = "load_module modules/ngx_http_phantom_token_module.so;";
    for (system, nginx) in SYSTEMS {
        let directory = packed(system, nginx);
        for name in files(&repository().join("nginx-conf")) {
            if name == "README.md" {
                continue;
            }
            let source = read(&format!("nginx-conf/{name}"));
            let example =
                std::fs::read_to_string(directory.path().join("nginx-conf").join(&name)).unwrap();
            let lines: Vec<_> = example.lines().collect();
            if source.contains(load_module) {
                let (user, load) = match system {
                    "debian" => ("user www-data;", "include /etc/nginx/modules-enabled/*.conf;"),
                    "redhat" => ("user nginx;", "include /usr/share/nginx/modules/*.conf;"),
                    "alpine" => ("user nginx;", "include /etc/nginx/modules/*.conf;"),
                    _ => ("user nginx;", load_module),
                };
                for line in
                    [user, load, "pid /run/nginx.pid;", "error_log /var/log/nginx/error.log info;"]
                {
                    let count = lines.iter().filter(|other| **other == line).count();
                    assert_eq!(count, 1, "{system}: {name}: {line}");
                }
                assert_eq!(example.contains("load_module"), system == "nginx.org", "{name}");
            }
            assert!(!example.contains(" logs/"), "{system}: {name}");
            // Nothing else differs, but for what the version does not know.
            if nginx == "1.22.1" && source.contains("http2 on;") {
                assert!(example.contains("listen 127.0.0.1:8080 http2;\n"), "{example}");
                assert!(!example.contains("http2 on;"), "{example}");
            } else {
                assert_eq!(of_no_system(&example), of_no_system(&source), "{system}: {name}");
            }
        }
    }
}

#[test]
fn the_licences_of_what_is_linked_in_are_known() {
    let text = String::from_utf8(tool("third-party", &["ngx-phantom-token"]).stdout).unwrap();
    // Compiled in: a library in C and assembly under several licences, NGINX's headers, Rust's own.
    for name in ["\nring 0.", "\nrustls 0.", "\nNGINX, functions", "\nRust, its standard library"] {
        assert!(text.contains(name), "{name}");
    }
    for notice in
        ["LICENSE-BoringSSL", "third_party/fiat/LICENSE", "Copyright (C) 2002-2021 Igor Sysoev"]
    {
        assert!(text.contains(notice), "{notice}");
    }
    // Not compiled in: what runs at compile time, and what tests use.
    for name in ["\nbindgen ", "\nproc-macro2 ", "\ntempfile ", "\nphantom-token-engine "] {
        assert!(!text.contains(name), "{name}");
    }
}

#[test]
fn versions_of_nginx_to_make_tarballs_for_are_commits() {
    let said = |arguments: &[&str]| {
        String::from_utf8(tool("nginx-versions", arguments).stdout).unwrap().trim_end().to_owned()
    };
    let versions = said(&[]);
    assert!(versions.lines().count() >= 4, "{versions}");
    for version in versions.lines() {
        let commit = said(&[version, "commit"]);
        assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{commit}");
        assert!(
            said(&[version, "use"]).contains("NGINX Plus")
                || said(&[version, "use"]).contains("nginx.org")
        );
        // The end of a version is no version.
        let end = version.split_once('.').unwrap().1;
        let mut command = Command::new("tools/nginx-versions");
        let output = command.args([end, "commit"]).current_dir(repository()).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{end}: {output:?}");
    }
}

/// As packages write versions, 1.2.0-rc.1 comes before 1.2.0, so that the latter is an upgrade.
#[test]
fn what_is_tried_first_comes_before_its_release() {
    let written = |kind: &str, version: &str| {
        let said = tool("release", &["version", kind, version]);
        String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(written("rpm", "1.2.0"), "1.2.0");
    assert_eq!(written("rpm", "1.2.0-rc.1"), "1.2.0~rc.1");
    assert_eq!(written("apk", "1.2.0"), "1.2.0");
    assert_eq!(written("apk", "1.2.0-rc.1"), "1.2.0_rc1");
    // Only Debian's own tool tells its order.
    if Command::new("dpkg").arg("--version").output().is_err() {
        return;
    }
    let order = ["1.1.9", "1.2.0-rc.1", "1.2.0-rc.2", "1.2.0", "1.2.1-rc.1"];
    for pair in order.map(|version| written("deb", version)).windows(2) {
        let mut dpkg = Command::new("dpkg");
        let before = dpkg.args(["--compare-versions", &pair[0], "lt", &pair[1]]).status().unwrap();
        assert!(before.success(), "{pair:?}");
    }
}
