//! The commands that the documentation gives to whoever purges, run as they stand there, and what people
//! type in their place.

use std::path::Path;
use std::process::{Command, Output};

use phantom_token_test::{AuthorizationServer, Mint, Rig};

const PAGES: [&str; 2] = ["docs/caching.md", "docs/runbook.md"];
const TARGET: &str = "/phantom-token/purge";
const URL: &str = "http://127.0.0.1:8080";

/// The file whose content the commands send, as editors and `echo` leave it.
const FILE: &str = "token.txt";

/// What a documented command forgets, told by the field that it sends.
const FIELDS: [&str; 4] = ["token=$TOKEN", "token@-", "sub=$SUB", "all=1"];

/// Whose token it is.
const SUB: &str = "auth0|a+b";

fn rig() -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, _| {
        builder.location(TARGET, "client_body_buffer_size 128k;\nphantom_token_purge;").location(
            "/shown",
            "phantom_token on;\nadd_header Outcome $phantom_token_status;\ntry_files /none =204;",
        )
    })
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(path).expect("a page of the documentation")
}

/// The lines of all blocks for a shell that call the purge.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines());
    lines.filter(|line| line.contains(&format!("{URL}{TARGET}"))).map(str::to_owned).collect()
}

/// Runs a command as somebody would who has the token and its user in variables, and the token in a
/// file, line end and all.
fn run(rig: &Rig, command: &str, token: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(FILE), format!("{token}\n")).expect("a file");
    let Output { stdout, stderr, .. } = Command::new("sh")
        .args(["-c", &command.replace(URL, &rig.gateway.url())])
        .current_dir(folder.path())
        .env("TOKEN", token)
        .env("SUB", SUB)
        .env("no_proxy", "*")
        .output()
        .expect("a shell");
    let output = String::from_utf8_lossy(&stdout).into_owned();
    assert!(output.starts_with("HTTP/1.1 "), "{command}: {}", String::from_utf8_lossy(&stderr));
    output
}

fn outcome(rig: &Rig, token: &str) -> String {
    let response = rig.gateway.get_as("/shown", token);
    assert_eq!(response.status, 204);
    response.header("outcome").expect("an outcome").to_owned()
}

#[test]
fn each_documented_command_does_what_it_says() {
    let rig = rig();
    // A token in which a form has something to encode.
    let token = rig.server.mint(Mint::new().token("a+b/c~d.e==").claim("sub", SUB)).token;
    let mut met = Vec::new();
    for page in PAGES {
        let found = commands(&read(page));
        assert!(!found.is_empty(), "{page} has commands");
        for command in found {
            let field = FIELDS.iter().find(|field| command.contains(*field));
            met.push(*field.unwrap_or_else(|| panic!("{page}: what does {command:?} forget?")));
            assert_eq!(outcome(&rig, &token), "MISS");
            assert_eq!(outcome(&rig, &token), "HIT");
            let output = run(&rig, &command, &token);
            assert!(output.starts_with("HTTP/1.1 204 "), "{page}: {command}: {output}");
            assert_eq!(outcome(&rig, &token), "MISS", "{page}: {command}");
            rig.gateway.get_as("/shown", &token);
            run(&rig, &format!("curl -si -d all=1 {URL}{TARGET}"), &token);
        }
    }
    assert!(FIELDS.iter().all(|field| met.contains(field)), "{met:?}");
}

#[test]
fn what_is_typed_in_their_place_is_refused_with_the_remedy() {
    let rig = rig();
    let token = rig.server.mint(Mint::new().token("a+b")).token;
    for (arguments, remedy) in [
        // The file's line end.
        ("--data-urlencode token@token.txt", "tr -d '[:cntrl:]' < FILE | curl"),
        ("--data-urlencode \"token=Bearer $TOKEN\"", "send what follows it alone"),
        ("--data-urlencode \"token= $TOKEN\"", "a blank"),
        // Not encoded: a `+` is a blank in a form.
        ("-d \"token=$TOKEN\"", "%2B"),
        ("-d \"token=$NONE\"", "empty"),
        ("-d @token.txt", "--data-urlencode"),
        ("-d all", "--data-urlencode"),
        ("-d all=true", "all=1"),
        ("-d user=alice", "sub"),
        ("-X POST", "sub, client_id"),
        ("-d all=1 -d \"token=$TOKEN\"", "by itself"),
    ] {
        outcome(&rig, &token);
        let output = run(&rig, &format!("curl -si {arguments} {URL}{TARGET}"), &token);
        assert!(output.starts_with("HTTP/1.1 400 "), "{arguments}: {output}");
        assert!(output.contains(remedy) && !output.contains(&token), "{arguments}: {output}");
        let body = output.split_once("\r\n\r\n").expect("a body").1;
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], "invalid_request");
        assert_eq!(outcome(&rig, &token), "HIT", "{arguments}: nothing is forgotten");
    }
    assert!(!rig.gateway.error_log().contains("purged"), "no line says that anything was done");
}

#[test]
fn one_notice_tells_of_each() {
    let rig = rig();
    let token = rig.server.issue().token;
    outcome(&rig, &token);
    run(&rig, &commands(&read(PAGES[1]))[0], &token);
    let line = rig.gateway.wait_for_log(&["[notice]", "phantom token: the cached token "]);
    let hash = line.split("the cached token ").nth(1).and_then(|rest| rest.split(' ').next());
    let hash = hash.expect("a hash");
    assert!(hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
    assert!(line.contains("is purged") && !line.contains(&token), "{line}");
    run(&rig, &format!("curl -si -d all=1 {URL}{TARGET}"), &token);
    rig.gateway.wait_for_log(&["[notice]", "phantom token: all cached tokens are purged"]);
    let lines = rig.gateway.error_log();
    assert_eq!(lines.lines().filter(|line| line.contains("purged")).count(), 2, "{lines}");
}
