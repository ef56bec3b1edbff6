//! What a worker's memory holds of the client's secret.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use phantom_token_test::{AuthorizationServer, Rig};

const ID: &str = "gateway";
const SECRET: &str = "an-unmistakable-client-secret-7391";
const FILE: &str = "client.secret";

/// How often bytes occur in what a process may write to, their first sixteen left out: where memory
/// was given back, the allocator has written over those.
fn occurrences(pid: u32, bytes: &[u8]) -> usize {
    let bytes = &bytes[16..];
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

/// A gateway that asks as this client, and the credentials as they stand in a `Basic` header.
fn rig(directives: &str) -> Rig {
    let server =
        AuthorizationServer::builder().introspection_client(ID, SECRET).start().expect("starts");
    Rig::with(server, |builder, _| {
        builder
            .without_client()
            .main("thread_pool default threads=2;")
            .http(&format!("{directives}\nphantom_token_cache off;"))
            .file(FILE, SECRET)
            .secret(SECRET)
            .secret(&basic())
    })
}

fn basic() -> String {
    STANDARD.encode(format!("{ID}:{SECRET}"))
}

/// Asserts that calls leave what master and worker hold of the secret as it was, plain and in
/// `Basic` credentials; how often the worker holds each.
fn leaves_no_copies(rig: &Rig) -> [usize; 2] {
    let held = || {
        let count = |pid| [SECRET, &basic()].map(|text| occurrences(pid, text.as_bytes()));
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
    after.1
}

#[test]
fn calls_leave_no_copies_of_the_secret() {
    let rig =
        rig(&format!("phantom_token_client_id {ID};\nphantom_token_client_secret_file {FILE};"));
    let held = leaves_no_copies(&rig);
    assert!(held.iter().all(|count| *count <= 2), "{held:?}");
}

#[test]
fn nor_of_one_in_the_form() {
    let rig = rig(&format!(
        "phantom_token_client_id {ID};\nphantom_token_client_secret_file {FILE};\n\
         phantom_token_client_auth post;"
    ));
    let held = leaves_no_copies(&rig);
    assert!(held.iter().all(|count| *count <= 2), "{held:?}");
}

#[test]
fn nor_of_one_in_a_configured_header() {
    leaves_no_copies(&rig(&format!(
        "phantom_token_client_auth none;\n\
         phantom_token_introspection_header Authorization \"Basic {}\";",
        basic()
    )));
}

#[test]
fn nor_of_one_in_a_configured_parameter() {
    leaves_no_copies(&rig(&format!(
        "phantom_token_client_auth none;\n\
         phantom_token_introspection_param client_id {ID};\n\
         phantom_token_introspection_param client_secret {SECRET};"
    )));
}
