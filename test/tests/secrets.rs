//! Who gets to see the client's secret: not the configuration as NGINX prints it, not the list of
//! processes, and not more of a worker's memory than it takes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Rig};

const ID: &str = "gateway";
const SECRET: &str = "an-unmistakable-client-secret-7391";

/// The secret, and as it stands in Basic credentials.
fn forms() -> [String; 2] {
    [SECRET.to_owned(), STANDARD.encode(format!("{ID}:{SECRET}"))]
}

fn server() -> AuthorizationServer {
    AuthorizationServer::builder().introspection_client(ID, SECRET).start().expect("starts")
}

/// With the secret in a file.
fn from_file(builder: Builder) -> Builder {
    let file = "client.secret";
    builder
        .without_client()
        .http(&format!("phantom_token_client_id {ID};\nphantom_token_client_secret_file {file};"))
        .file(file, SECRET)
        .secret(SECRET)
}

/// How often bytes occur in what a process may write to.
fn occurrences(pid: u32, bytes: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a running process");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("the right to look into a child");
    let ranges = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some((address(start)?, address(end)?))
    });
    let found = ranges.map(|(start, end)| {
        let mut copy = vec![0; (end - start) as usize];
        // Not all of it can be read: the kernel's own pages cannot.
        match memory.read_exact_at(&mut copy, start) {
            Ok(()) => memmem::find_iter(&copy, bytes).count(),
            Err(_) => 0,
        }
    });
    found.sum()
}

#[test]
fn calls_leave_no_copies_of_the_secret() {
    let rig = Rig::with(server(), |builder, _| {
        from_file(builder).main("thread_pool default threads=2;").http("phantom_token_cache off;")
    });
    let held = || {
        let count = |pid| forms().map(|text| occurrences(pid, text.as_bytes()));
        (count(rig.gateway.pid()), count(rig.gateway.workers()[0]))
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
    assert_eq!(before, after, "what was there before the first call, and no more");
    assert!(after.1.iter().sum::<usize>() > 0, "nothing was found at all");
    assert!(after.1.iter().all(|count| *count <= 2), "{after:?}");
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
    let text = printed(from_file(builder()));
    assert!(forms().iter().all(|form| !text.contains(form)), "{text}");

    let rig = Rig { gateway: from_file(builder()).start(), server, api };
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
