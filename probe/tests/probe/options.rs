//! The command line, and the files that it names.

use std::fs;

use phantom_token_test::AuthorizationServer;
use phantom_token_test::authorization_server::INTROSPECTION_CLIENT;

use crate::program::Program;

const URL: &str = "http://127.0.0.1:1/introspect";

/// Wrong use: a line of one sentence, and nothing is asked.
#[track_caller]
fn assert_refused(program: &Program, url: &str, words: &str) {
    let said = program.ask(url);
    said.ends(2);
    assert_eq!(said.out, "");
    assert!(said.error.starts_with("phantom-token-probe: "), "{}", said.error);
    assert!(said.error.contains(words), "{words}: {}", said.error);
    assert_eq!(said.error.lines().count(), 1, "{}", said.error);
}

#[test]
fn odd_arguments_are_refused() {
    let client = || Program::new().argument("--client-id", "a");
    assert_refused(&Program::new(), "", "URL of the introspection endpoint is missing");
    assert_refused(&Program::new().alone("http://a/"), URL, "more than one URL");
    assert_refused(&Program::new().alone("--nope"), URL, "no option --nope");
    assert_refused(&Program::new().alone("-x"), URL, "-x");
    assert_refused(&Program::new().alone("--client-id"), "", "missing argument");
    assert_refused(&client().argument("--client-id", "b"), URL, "twice");
    assert_refused(&client(), URL, "--client-secret-file is missing");
    assert_refused(&client().argument("--client-auth", "digest"), URL, "one of basic");
    assert_refused(&client().argument("--timeout", "0"), URL, "from 1 to 60");
    assert_refused(&client().argument("--timeout", "1e9"), URL, "from 1 to 60");
    assert_refused(&client().argument("--provider", "a b"), URL, "letters, digits");
    assert_refused(&client().argument("--introspection-accept", "a\u{e9}"), URL, "media type");
    assert_refused(&client().argument("--introspection-param", "a"), URL, "NAME=VALUE");
    assert_refused(&client().argument("--introspection-param", "token=a"), URL, "not for secrets");
    let hint = "token_type_hint=a";
    assert_refused(&client().argument("--introspection-param", hint), URL, "send itself");
    assert_refused(&client().argument("--introspection-param", "a=$b"), URL, "takes no $");
    let with_id =
        || Program::new().client("a", "b").argument("--introspection-param", "client_id=a");
    assert_refused(&with_id().argument("--client-auth", "none"), URL, "--client-id is sent");
    for auth in ["post", "client_secret_jwt"] {
        let program = with_id().argument("--client-auth", auth).argument("--aud", "a");
        assert_refused(&program, URL, "sends client_id itself");
    }
    assert_refused(&client(), "http://127.0.0.1:1/a$b", "write %24");
    assert_refused(&client().argument("--aud", "a\nb"), URL, "control character");
    assert_refused(&client().argument("--token-file", "a\x1b[31m"), URL, "control character");
    assert_refused(&Program::new().alone("--\x1b[31m"), URL, "no option --\\u{1b}[31m");
    assert_refused(&Program::new().argument("--client-id", ""), URL, "is empty");
    assert_refused(
        &Program::new().client("a", "b").argument("--client-auth", "private_key_jwt"),
        URL,
        "private_key_jwt takes --client-key",
    );
    assert_refused(
        &Program::new().client("a:b", "c").argument("--client-auth", "basic_raw"),
        URL,
        "colon",
    );
    assert_refused(
        &Program::new().client("a", "b").argument("--client-auth", "client_secret_jwt"),
        URL,
        "--aud is missing",
    );
    for (url, words) in [
        ("ftp://a/", "must begin with"),
        ("http://a:b@c/", "must not hold a user name"),
        ("http://a b/", "percent-encode"),
        ("http://a:99999/", "port"),
        ("file:///etc/passwd", "must begin with"),
    ] {
        assert_refused(&Program::new(), url, words);
    }
    assert_refused(&client().argument("--connect", "a"), URL, "\"connect\" must be HOST:PORT");
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let with = |content: &[u8]| {
        let program = Program::new().argument("--client-id", "a");
        let path = program.file("f", content);
        program.argument("--client-secret-file", &path.to_string_lossy())
    };
    for (content, words) in [
        (&b""[..], "is empty"),
        (b"a\nb\n", "control character"),
        (b"a\r\n\r\n", "control character"),
        (b"\xff\xfea\0", "byte order mark"),
        (b"\xe4", "not UTF-8"),
        (&[b'a'; 5000], "over 4098 bytes"),
    ] {
        assert_refused(&with(content), URL, words);
    }
    let token = |content: &[u8]| {
        let program = Program::new();
        let path = program.file("f", content);
        program.argument("--token-file", &path.to_string_lossy())
    };
    for (content, words) in [
        (&b"\n"[..], "holds no token"),
        (b"a b", "something other than a token"),
        (b"Bearer abcdef", "leave \"Bearer\" out"),
        (b"\x1b[31mabc", "something other than a token"),
        (b"{\"token\":\"a\"}", "holds no \"access_token\""),
        (b"{\"access_token\":1}", "holds no \"access_token\""),
        (b"{\"access_token\":\"a\x00\"}", "not JSON"),
        (&[b'a'; 32_769], "over 32,768"),
        (&[b'a'; 200_000], "over 131072 bytes"),
    ] {
        assert_refused(&token(content), URL, words);
    }
    for (path, words) in
        [("/nonexistent", "No such file"), ("/", "Is a directory"), ("/dev/zero", "bytes")]
    {
        assert_refused(&Program::new().argument("--token-file", path), URL, words);
    }
    for option in ["--ssl-trusted-certificate", "--ssl-certificate"] {
        let program = Program::new();
        let path = program.file("f", "no certificate").to_string_lossy().into_owned();
        assert_refused(&program.argument(option, &path), "https://a/", "certificate");
    }
    let program = Program::new().argument("--client-id", "a").argument("--aud", "b");
    let path = program.file("k", "no key").to_string_lossy().into_owned();
    assert_refused(&program.argument("--client-key", &path), URL, "PEM");
    let program =
        Program::new().argument("--token-file", "-").argument("--refresh-token-file", "-");
    assert_refused(&program, URL, "only one file can be standard input");
}

#[test]
fn help_and_version_need_nothing_else() {
    let said = Program::new().alone("--help").ask("");
    said.ends(0).holds(&["Usage: phantom-token-probe [OPTION]... URL"]);
    assert!(said.out.lines().count() <= 50, "one screen");
    for line in said.out.lines() {
        assert!(line.len() <= 88, "{line}");
    }
    let version = format!("phantom-token-probe {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Program::new().alone("--version").ask("").out, version);
}

#[test]
fn a_secret_s_line_end_and_what_a_token_endpoint_answers_will_do() {
    let server = AuthorizationServer::start();
    let token = server.issue().token;
    let (id, secret) = INTROSPECTION_CLIENT;
    let answer =
        format!(" {{\"access_token\":\"{token}\",\"refresh_token\":\"opaque-refresh\"}}\n");
    let program = Program::new().client(id, &format!("{secret}\r\n")).stdin(&answer);
    let said = program.hides(&token).argument("--token-file", "-").ask(&server.introspection_url());
    said.ends(0).holds(&["the refresh token"]);
    let asked: Vec<_> = server.seen().into_iter().map(|seen| seen.token).collect();
    assert!(asked.contains(&token) && asked.contains(&"opaque-refresh".to_owned()), "{asked:?}");
    // One that all may read is told of.
    use std::os::unix::fs::PermissionsExt as _;
    let program = Program::new().client(id, secret);
    let path = program.directory().join("secret");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("its rights");
    program.ask(&server.introspection_url()).holds(&["readable by all"]);
}

/// The commands in `--help` and in the documentation, word for word but for the port.
#[test]
fn the_documented_commands_work() {
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(guide.join("../docs/authorization-servers.md")).expect("text");
    let (_, guide) = guide.split_once("## First contact with a server").expect("the section");
    let (_, guide) = guide.split_once("```sh\n").expect("commands");
    let (guide, _) = guide.split_once("```").expect("their end");
    let help = Program::new().alone("--help").ask("").out;
    let (_, help) = help.split_once("\"make run\" starts:\n").expect("commands");
    let server = AuthorizationServer::start();
    for commands in [guide, help] {
        let commands = commands
            .replace("127.0.0.1:9090", &format!("127.0.0.1:{}", server.port()))
            .replace("build/phantom-token-probe", "phantom-token-probe")
            .replace("phantom-token-probe", env!("CARGO_BIN_EXE_phantom-token-probe"));
        let directory = tempfile::tempdir().expect("a directory");
        let output = std::process::Command::new("bash")
            .args(["-c", &commands])
            .current_dir(directory.path())
            .output()
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{commands}\n{text}");
        assert!(text.contains("It works"), "{text}");
    }
}
