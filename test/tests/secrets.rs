//! Who gets to see the client's secret: not the configuration as NGINX prints it, not the list of
//! processes, and not more of a worker's memory than it takes.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use phantom_token_test::keys::PemKey;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Rig, process};

const ID: &str = "gateway";
const SECRET: &str = "an-unmistakable-client-secret-7391";
const FILE: &str = "client.secret";

/// The secret, and as it stands in Basic credentials.
fn forms() -> [String; 2] {
    [SECRET.to_owned(), STANDARD.encode(format!("{ID}:{SECRET}"))]
}

fn server() -> AuthorizationServer {
    AuthorizationServer::builder().introspection_client(ID, SECRET).start().expect("starts")
}

/// What makes a gateway ask as the client whose secret is in a file.
fn from_file() -> String {
    format!("phantom_token_client_id {ID};\nphantom_token_client_secret_file {FILE};")
}

/// With these directives for the client, and the file.
fn with_client(builder: Builder, directives: &str) -> Builder {
    builder.without_client().http(directives).file(FILE, SECRET).secret(SECRET)
}

/// How often bytes occur in what a process may write to, their first sixteen left out: where memory
/// was given back, the allocator has written over those.
fn occurrences(pid: u32, bytes: &[u8]) -> usize {
    process::occurrences(pid, &bytes[16..])
}

/// Asserts that the calls of a gateway that asks by these directives add nothing to what master and
/// worker hold of the secret, plain and in `Basic` credentials; how often the worker holds each.
fn leaves_no_copies(directives: &str) -> [usize; 2] {
    let rig = Rig::with(server(), |builder, _| {
        with_client(builder, directives)
            .main("thread_pool phantom_token threads=2;")
            .http("phantom_token_cache off;")
            .secret(&forms()[1])
    });
    let held = || {
        let count = |pid| forms().map(|text| occurrences(pid, text.as_bytes()));
        [rig.gateway.pid(), rig.gateway.workers()[0]].map(count)
    };
    let before = held();
    let token = rig.server.issue();
    for round in 0..100 {
        rig.assert_passes(&token);
        assert_eq!(rig.get_as(&format!("unknown-{round}")).status, 401);
    }
    assert!(rig.server.introspections() >= 200, "each was asked for");
    let after = held();
    println!("master and worker hold the secret, and it in Basic credentials: {after:?}");
    // What NGINX read its configuration into was given back, and may have been written over since.
    let all = before.iter().flatten().zip(after.iter().flatten());
    assert!(all.into_iter().all(|(before, after)| after <= before), "before: {before:?}");
    assert!(after[1].iter().sum::<usize>() > 0, "nothing was found at all");
    after[1]
}

#[test]
fn calls_leave_no_copies_of_the_secret() {
    let held = leaves_no_copies(&from_file());
    assert!(held.iter().all(|count| *count <= 2), "{held:?}");
}

#[test]
fn nor_of_one_in_the_form() {
    let held = leaves_no_copies(&format!("{}\nphantom_token_client_auth post;", from_file()));
    assert!(held.iter().all(|count| *count <= 2), "{held:?}");
}

#[test]
fn nor_of_one_in_a_configured_header() {
    leaves_no_copies(&format!(
        "phantom_token_client_auth none;\n\
         phantom_token_introspection_header Authorization \"Basic {}\";",
        forms()[1]
    ));
}

#[test]
fn nor_of_one_in_a_configured_parameter() {
    leaves_no_copies(&format!(
        "phantom_token_client_auth none;\n\
         phantom_token_introspection_param client_id {ID};\n\
         phantom_token_introspection_param client_secret {SECRET};"
    ));
}

#[test]
fn a_key_that_signs_is_held_no_more_often_than_before() {
    let key = PemKey::p256();
    let rig = Rig::start(|builder| {
        builder
            .file("mint.key", &*key.private)
            .main("thread_pool phantom_token threads=2;")
            .http(
                "phantom_token_cache off;\nphantom_token_forward mint;\n\
                 phantom_token_mint_key mint.key;\nphantom_token_mint_issuer https://gateway;\n\
                 phantom_token_mint_audience api;",
            )
            .location("= /jwks", "phantom_token_publish_jwks;")
    });
    let lines: String = key.private.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(&lines).expect("base64");
    // RFC 5915 §3: the private key itself.
    let at = memmem::find(&der, &[2, 1, 1, 4, 32]).expect("a private key") + 5;
    let number = &der[at..at + 32];
    let text = key.private.lines().nth(1).expect("a line");
    let held = || {
        let count = |pid| [text.as_bytes(), &der, number].map(|bytes| occurrences(pid, bytes));
        [rig.gateway.pid(), rig.gateway.workers()[0]].map(count)
    };
    let before = held();
    let token = rig.server.issue();
    for _ in 0..100 {
        assert_eq!(rig.get_as(&token.token).status, 200);
        assert_eq!(rig.gateway.get("/jwks", &[]).status, 200);
    }
    assert_eq!(rig.server.introspections(), 100);
    let after = held();
    println!("master and worker hold the key's text, the file and the number: {after:?}");
    for (before, after) in before.iter().zip(&after) {
        // The file is wiped once it is read; what signs has the number, in whatever form.
        assert_eq!(after[..2], [0, 0], "the file");
        assert!(after[2] <= before[2], "{before:?}, {after:?}");
    }
}

#[test]
fn a_fleet_s_key_is_read_and_wiped_and_the_store_s_password_held_once() {
    let keys = ["the-old-key-of-a-fleet-that-is-unmistakable", "the-new-key-of-a-fleet-5812-of-it"];
    let password = "an-unmistakable-password-of-a-store-4402";
    let rig = Rig::start(|builder| {
        builder
            .file("old.key", keys[0])
            .file("new.key", format!("{}\n", keys[1]))
            .file("store.secret", password)
            .secret(keys[0])
            .secret(keys[1])
            .secret(password)
            .http("phantom_token_key_file old.key;\nphantom_token_key_file new.key;")
            .http("phantom_token_store {\nserver unix:/nowhere/store.sock;\npassword_file store.secret;\n}")
            .allow("/nowhere/store.sock")
    });
    rig.assert_passes(&rig.server.issue());
    let pids = [rig.gateway.pid(), rig.gateway.workers()[0]];
    for pid in pids {
        assert_eq!(
            keys.map(|key| occurrences(pid, key.as_bytes())),
            [0, 0],
            "what is derived does"
        );
    }
    let held = pids.map(|pid| occurrences(pid, password.as_bytes()));
    println!("master and worker hold the password: {held:?}");
    // The thread that hears has a server of its own.
    assert!(held[0] <= 1 && (1..=2).contains(&held[1]), "{held:?}");
}

#[test]
fn a_secret_in_a_file_is_shown_nowhere() {
    let (server, api) = (server(), Api::start());
    let builder = || Gateway::builder().protect(&server, &api);
    let printed = |builder: Builder| {
        let check = builder.check_and_print();
        assert!(check.ok && check.printed.contains("phantom_token_client_id"), "{check:?}");
        check.printed + &check.messages
    };
    assert!(printed(builder().client(ID, SECRET)).contains(SECRET), "in the configuration it is");
    let text = printed(with_client(builder(), &from_file()));
    assert!(forms().iter().all(|form| !text.contains(form)), "{text}");

    let rig = Rig { gateway: with_client(builder(), &from_file()).start(), server, api };
    rig.assert_passes(&rig.server.issue());
    for pid in rig.gateway.workers().into_iter().chain([rig.gateway.pid()]) {
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).expect("a running process");
            assert!(file == "environ" || bytes.starts_with(b"nginx: "), "another process");
            for form in forms() {
                assert!(memmem::find(&bytes, form.as_bytes()).is_none(), "in /proc/{pid}/{file}");
            }
        }
    }
}
