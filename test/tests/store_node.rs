//! Every state of a real store, as the client meets it: told apart, and over with the state.

use std::time::{Duration, Instant};

use phantom_token_engine::client::{Tls, TlsCause, TlsOptions};
use phantom_token_engine::store::{
    Address, Node, Nodes as _, Options, Pipeline, Reply, ServerError, StoreError,
};
use phantom_token_test::process::{PATIENCE, wait_until};
use phantom_token_test::store::Store;
use phantom_token_test::tls::Identity;
use zeroize::Zeroizing;

fn options(url: &str) -> Options {
    Options {
        address: Address::parse(url, None).unwrap(),
        user: None,
        password: None,
        tls: Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap(),
        connections: 4,
    }
}

fn node(url: &str) -> Node {
    Node::new(options(url))
}

fn node_as(store: &Store, user: Option<&str>, password: &str) -> Node {
    Node::new(Options {
        user: user.map(str::to_owned),
        password: Some(Zeroizing::new(password.as_bytes().to_vec())),
        ..options(&store.url())
    })
}

/// A look-up as it is: two writes, then what is there.
fn look_up() -> Pipeline {
    let mut question = Pipeline::new();
    question
        .command(&[b"SET", b"lease", b"random", b"NX", b"PX", b"7000"])
        .command(&[b"SET", b"value", b"marker", b"NX", b"PX", b"7000"])
        .command(&[b"MGET", b"lease", b"value"]);
    question
}

fn ask(node: &Node) -> Result<Vec<Reply>, StoreError> {
    node.ask(&look_up(), Instant::now() + PATIENCE)
}

/// What stands in the store, whatever was to be written.
fn there(replies: &[Reply]) -> Vec<Option<&[u8]>> {
    replies[2].array().unwrap().iter().map(Reply::bulk).collect()
}

const BOTH: [Option<&[u8]>; 2] = [Some(b"random"), Some(b"marker")];

#[test]
fn it_is_asked_over_tcp_a_socket_and_tls_and_in_its_database() {
    let store = Store::start();
    for url in [store.url(), store.socket_url()] {
        let node = node(&url);
        for _ in 0..3 {
            assert_eq!(there(&ask(&node).unwrap()), BOTH);
        }
    }
    assert_eq!(store.keys("*"), ["lease", "value"]);
    let mut other = Pipeline::new();
    other.command(&[b"SET", b"elsewhere", b"1"]);
    let second = node(&format!("{}/2", store.url()));
    assert!(second.ask(&other, Instant::now() + PATIENCE).unwrap()[0].is_ok());
    assert_eq!(store.keys("*"), ["lease", "value"]);
    let none = node(&format!("{}/99", store.url()));
    assert_eq!(ask(&none), Err(StoreError::Refused(ServerError::NoDatabase)));

    let identity = Identity::self_signed(&["localhost"]);
    let store = Store::builder().tls(&identity, None).start();
    let tls = |trusted: Option<&str>| {
        let trusted = trusted.map(|pem| pem.as_bytes().to_vec());
        let tls = Tls::new(TlsOptions { trusted, ..TlsOptions::default() }).unwrap();
        Node::new(Options { tls, ..options(&store.url()) })
    };
    let node = tls(Some(&identity.certificate));
    for _ in 0..3 {
        assert_eq!(there(&ask(&node).unwrap()), BOTH);
    }
    assert_eq!(connections(&store), 1, "one is kept");
    let other = Identity::self_signed(&["localhost"]);
    let refused = ask(&tls(Some(&other.certificate)));
    assert!(
        matches!(refused, Err(StoreError::Tls(TlsCause::SelfSigned | TlsCause::UnknownIssuer))),
        "{refused:?}"
    );
}

/// How many connections gateways have.
fn connections(store: &Store) -> usize {
    let list = store.ask(&["CLIENT", "LIST"]).text();
    list.lines().filter(|line| line.contains("name=ngx-phantom-token")).count()
}

#[test]
fn who_may_not_is_told_so_and_nothing_is_done_as_another() {
    // Whoever has no password is let in, too.
    let store = Store::builder().setting("user gateway on >right ~* &* +@all").start();
    let wrong = node_as(&store, Some("gateway"), "wrong");
    assert_eq!(ask(&wrong), Err(StoreError::Auth(ServerError::WrongPass)));
    assert_eq!(store.keys("*"), [""; 0]);
    assert_eq!(there(&ask(&node_as(&store, Some("gateway"), "right")).unwrap()), BOTH);
    let needless = ask(&node_as(&store, None, "needless"));
    assert_eq!(needless, Err(StoreError::Auth(ServerError::NoPasswordSet)));

    let store = Store::builder().password("s3cret").start();
    assert_eq!(ask(&node(&store.url())), Err(StoreError::Auth(ServerError::NoAuth)));
    assert_eq!(ask(&node_as(&store, None, "x")), Err(StoreError::Auth(ServerError::WrongPass)));
    assert_eq!(there(&ask(&node_as(&store, None, "s3cret")).unwrap()), BOTH);

    let store = Store::builder().user("gateway", "s3cret", "~* +get +mget +auth").start();
    let narrow = node_as(&store, Some("gateway"), "s3cret");
    assert_eq!(ask(&narrow), Err(StoreError::Acl));
}

#[test]
fn a_full_store_is_read_on() {
    let store = Store::start();
    let node = node(&store.url());
    assert_eq!(there(&ask(&node).unwrap()), BOTH);
    store.set("maxmemory", "1");
    let replies = ask(&node).unwrap();
    assert_eq!(replies[0].error(), Some(ServerError::Oom));
    assert_eq!(there(&replies), BOTH);
    store.set("maxmemory", "0");
    assert_eq!(ask(&node).unwrap()[0].error(), None);

    // It cannot save: a folder is in the way.
    std::fs::create_dir(store.socket().with_file_name("dump.rdb")).unwrap();
    store.set("save", "3600 1");
    store.ask(&["BGSAVE"]);
    wait_until("the snapshot to fail", || {
        store.ask(&["INFO", "persistence"]).text().contains("rdb_last_bgsave_status:err")
    });
    let replies = ask(&node).unwrap();
    assert_eq!(replies[0].error(), Some(ServerError::Misconf));
    assert_eq!(there(&replies), BOTH);
}

#[test]
fn a_replica_is_no_store() {
    let store = Store::start();
    let node = node(&store.url());
    assert_eq!(there(&ask(&node).unwrap()), BOTH);
    store.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(ask(&node), Err(StoreError::ReadOnly(ServerError::ReadOnly)));
    assert_eq!(node.close_ended(Instant::now()), 0, "the name may lead elsewhere by now");
    store.set("replica-serve-stale-data", "no");
    let error = ask(&node).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
    store.ask(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(there(&ask(&node).unwrap()), BOTH);
}

#[test]
fn a_store_that_loads_or_has_too_many_clients_says_so() {
    let store = Store::builder()
        .setting("key-load-delay 30000")
        .setting("loading-process-events-interval-bytes 1024")
        .start();
    let value = "x".repeat(2_048);
    for number in 0..100 {
        store.ask(&["SET", &number.to_string(), &value]);
    }
    store.dump();
    let node = node(&store.url());
    ask(&node).unwrap();
    store.kill();
    store.start_again();
    assert_eq!(ask(&node), Err(StoreError::Loading(ServerError::Loading)));
    wait_until("the data to be loaded", || ask(&node).is_ok());

    node.close_all();
    wait_until("nobody to be connected", || connections(&store) == 0);
    store.set("maxclients", "1");
    assert_eq!(ask(&node).unwrap_err().reason().word(), "connect");
    store.set("maxclients", "100");
    ask(&node).unwrap();
}

#[test]
fn what_ends_connections_costs_a_dial() {
    let store = Store::start();
    let node = node(&store.url());
    ask(&node).unwrap();
    store.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(there(&ask(&node).unwrap()), BOTH);
    store.kill();
    let refused = ask(&node).unwrap_err();
    assert_eq!(refused.reason().word(), "connect");
    store.start_empty();
    assert_eq!(there(&ask(&node).unwrap()), BOTH);

    store.stop();
    let soon = Instant::now() + Duration::from_millis(100);
    assert_eq!(node.ask(&look_up(), soon).unwrap_err().reason().word(), "timeout");
    let soon = Instant::now() + Duration::from_millis(100);
    assert_eq!(node.ask(&look_up(), soon).unwrap_err().reason().word(), "timeout", "afresh");
    store.cont();
    assert_eq!(there(&ask(&node).unwrap()), BOTH);
}
