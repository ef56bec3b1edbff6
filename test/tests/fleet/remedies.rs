//! A store that cannot be heard: the log says what to do by the cause, each made for real where the store
//! can be made to do it.

use std::fs;

use phantom_token_test::fleet::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::store::{Fault, Store};
use phantom_token_test::tls::{Authority, Identity};
use phantom_token_test::{Fleet, Gateway, port};

/// The log's line about the store that a gateway is told to find at `url`, once the fleet is `ready`:
/// it has these words, the cause and what to do.
#[track_caller]
fn assert_said(
    builder: Builder,
    ready: impl FnOnce(&Fleet),
    url: impl FnOnce(&Fleet) -> String,
    words: [&str; 2],
) {
    let fleet = builder.start_none();
    ready(&fleet);
    let gateway = fleet.launch_at(&url(&fleet));
    let [cause, remedy] = words;
    let cause = format!("cannot be heard: {cause}");
    gateway.wait_for_log(&["[error]", "phantom token: the store", &cause, remedy]);
}

/// A store that is where the gateway looks for it.
#[track_caller]
fn assert_there(builder: Builder, ready: impl FnOnce(&Fleet), words: [&str; 2]) {
    assert_said(builder, ready, Fleet::store_url, words);
}

fn quick() -> Builder {
    Fleet::builder().block("timeout 500ms;")
}

#[test]
fn the_way_to_it() {
    for (url, words) in [
        (
            format!("redis://127.0.0.1:{}", port::free()),
            ["connection refused", "at this host and port"],
        ),
        ("redis://nowhere.invalid".to_owned(), ["", "/etc/resolv.conf"]),
        ("unix:/nowhere/store.sock".to_owned(), ["connection failed", "unixsocket in its"]),
    ] {
        assert_said(Fleet::builder(), |_| {}, |_| url, words);
    }
    // What answers there is something else.
    let web = Gateway::builder().location("/", "return 204;").start();
    let words = ["the store's reply is not RESP", "its host and port"];
    assert_said(Fleet::builder(), |_| {}, |_| web.url().replace("http:", "redis:"), words);
    assert_there(
        quick(),
        |fleet| fleet.store.stop(),
        ["timed out", "it is slow or cannot be reached: see timeout in phantom_token_store"],
    );
}

#[test]
fn tls() {
    let authority = Authority::generate();
    let good = authority.server(&["localhost"]);
    let store = |identity: &Identity| Store::builder().tls(identity, None);
    let plain = |fleet: &Fleet| format!("redis://127.0.0.1:{}", fleet.store.port());
    let over = |fleet: &Fleet| format!("rediss://127.0.0.1:{}", fleet.store.port());
    let builder = Fleet::builder().store(store(&good));
    assert_said(builder, |_| {}, plain, ["", "write rediss:// in \"server\" where it speaks TLS"]);
    let builder = quick().block("ssl_verify off;");
    assert_said(builder, |_| {}, over, ["timed out", "speaks no TLS on this port"]);

    let trusting = |identity: &Identity| {
        let ca = authority.certificate.clone();
        Fleet::builder()
            .store(store(identity))
            .block("ssl_trusted_certificate ca.pem;")
            .each(move |builder| builder.file("ca.pem", ca.as_str()))
    };
    for (identity, words) in [
        (
            Authority::generate().server(&["localhost"]),
            ["the certificate's issuer", "name the CA's certificate in ssl_trusted_certificate"],
        ),
        (
            Identity::self_signed_leaf(&["localhost"]),
            ["the certificate is self-signed", "name this certificate in ssl_trusted_certificate"],
        ),
        (
            authority.server(&["other"]),
            ["the certificate is not valid for the host name", "or as ssl_name beside it"],
        ),
        (
            authority.expired_server(&["localhost"]),
            ["the certificate has expired", "renew it at the server"],
        ),
        (
            authority.future_server(&["localhost"]),
            ["the certificate is not valid yet", "set this machine's clock"],
        ),
        (
            authority.client_as_server(&["localhost"]),
            ["the certificate is not for TLS servers", "serverAuth"],
        ),
    ] {
        assert_there(trusting(&identity), |_| {}, words);
    }
    let demanding = Store::builder().tls(&good, Some(&authority.certificate));
    let words =
        ["the server requires a client certificate", "set ssl_certificate and ssl_certificate_key"];
    assert_there(trusting(&good).store(demanding), |_| {}, words);
}

#[test]
fn whom_it_lets_in() {
    let with_password = || {
        Fleet::builder()
            .block("password_file store-password;")
            .each(|builder| builder.file("store-password", "the-gateways-password\n"))
    };
    let protected = || Store::builder().password("another-password");
    let nobody = |_: &Fleet| {};
    assert_there(
        Fleet::builder().store(protected()),
        nobody,
        ["the store wants a password", "write password_file in phantom_token_store"],
    );
    assert_there(
        with_password().store(protected()),
        nobody,
        ["the store refused the user name or password", "check user and password_file"],
    );
    assert_there(
        with_password(),
        nobody,
        ["the store has no password, and one was sent", "leave password_file out"],
    );
    assert_there(
        Fleet::builder().store(Store::builder().setting("user default on nopass ~* +@all -xread")),
        nobody,
        ["the store does not allow the user a command or key", "the documentation lists"],
    );
    // Its one place is the tests' own.
    assert_there(
        Fleet::builder(),
        |fleet| fleet.store.set("maxclients", "1"),
        ["the store has too many clients", "raise its maxclients"],
    );
    let denied = Fault::Error("DENIED Redis is running in protected mode");
    assert_there(
        Fleet::builder().through_proxy(),
        |fleet| fleet.proxy().spoil(denied),
        ["the store takes connections from its own machine alone", "protected-mode no"],
    );
}

#[test]
fn what_it_can_take() {
    let set = |line: &str| Fleet::builder().store(Store::builder().setting(line));
    let nothing = |_: &Fleet| {};
    let nowhere = format!("replicaof 127.0.0.1 {}", port::free());
    let cluster = format!("cluster-enabled yes\ncluster-port {}", port::free());
    for (line, words) in [
        (&*nowhere, ["the store is a read-only replica", "not its replica"]),
        (&cluster, ["the store is a cluster's node", "no node of a Cluster"]),
        (
            "min-replicas-to-write 1",
            ["the store takes no writes, since too few replicas", "min-replicas-to-write"],
        ),
        ("maxmemory 1", ["the store is full", "let it evict"]),
    ] {
        assert_there(set(line), nothing, words);
    }
    let ninety = |fleet: &Fleet| format!("{}/90", fleet.store.url());
    let words = ["the store has no such database", "write a database that it has"];
    assert_said(Fleet::builder(), nothing, ninety, words);

    let other = |fleet: &Fleet| drop(fleet.store.ask(&["SET", "{phantom_token:1}:s", "other"]));
    assert_there(
        Fleet::builder(),
        other,
        ["a key of the store holds another kind", "another prefix"],
    );

    // It saves into a folder that is gone.
    let unsaved = |fleet: &Fleet| {
        fleet.store.ask(&["PING"]);
        fs::remove_dir_all(fleet.store.socket().parent().unwrap()).unwrap();
        fleet.store.ask(&["BGSAVE"]);
        wait_until("a store that could not save", || {
            let told = fleet.store.ask(&["INFO", "persistence"]).text();
            told.contains("rdb_last_bgsave_status:err")
        });
    };
    let words = ["the store takes no writes, since it cannot save", "see the disk"];
    assert_there(set("save 3600 1000"), unsaved, words);

    for (error, words) in [
        (
            "MASTERDOWN Link with MASTER is down",
            ["the store is a replica whose master is away", "not its replica"],
        ),
        (
            "LOADING Redis is loading the dataset in memory",
            ["the store is loading its data", "once it has read"],
        ),
        (
            "BUSY Redis is busy running a script.",
            ["the store is busy with a script", "SCRIPT KILL"],
        ),
        ("ERR unknown command", ["the store does not take the command", "version 5 or later"]),
    ] {
        let busy = |fleet: &Fleet| fleet.proxy().spoil(Fault::Error(error));
        assert_there(Fleet::builder().through_proxy(), busy, words);
    }
}
