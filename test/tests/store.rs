//! The store of the tests is the real one, alone and behind the proxy that spoils what it says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use phantom_token_test::process;
use phantom_token_test::store::{Connection, Fault, Proxy, Reply, Store};

fn dial(url: &str) -> Connection<TcpStream> {
    let stream = TcpStream::connect(url.trim_start_matches("redis://")).unwrap();
    stream.set_read_timeout(Some(process::PATIENCE)).unwrap();
    Connection::new(stream)
}

fn ok() -> Reply {
    Reply::Simple("OK".to_owned())
}

#[test]
fn it_keeps_stops_dies_and_starts_again() {
    let store = Store::start();
    assert!(store.version().contains("-server "), "{}", store.version());
    let mut client = dial(&store.url());
    assert_eq!(client.ask(&["SET", "a", "1"]).unwrap(), ok());
    assert_eq!(store.ask(&["GET", "a"]), Reply::Bulk(b"1".to_vec()));
    assert_eq!(store.keys("*"), ["a"]);
    store.stop();
    store.cont();
    assert_eq!(client.ask(&["GET", "a"]).unwrap(), Reply::Bulk(b"1".to_vec()));
    let dump = store.dump();
    assert!(dump.starts_with(b"REDIS") || dump.starts_with(b"VALKEY"));
    store.kill();
    assert!(client.ask(&["GET", "a"]).is_err());
    store.start_again();
    assert_eq!(store.keys("*"), ["a"]);
    store.kill();
    store.start_empty();
    assert_eq!(store.keys("*"), [""; 0]);
}

#[test]
fn whom_it_lets_in_is_each_stores_own() {
    let store = Store::builder().user("gateway", "s3cret", "~pt:* +get").start();
    let mut client = dial(&store.url());
    let refused = |reply: Reply, code: &str| {
        assert!(matches!(&reply, Reply::Error(text) if text.starts_with(code)), "{reply:?}");
    };
    refused(client.ask(&["GET", "pt:a"]).unwrap(), "NOAUTH");
    refused(client.ask(&["AUTH", "gateway", "other"]).unwrap(), "WRONGPASS");
    assert_eq!(client.ask(&["AUTH", "gateway", "s3cret"]).unwrap(), ok());
    assert_eq!(client.ask(&["GET", "pt:a"]).unwrap(), Reply::Nil);
    refused(client.ask(&["GET", "a"]).unwrap(), "NOPERM");
    let monitor = store.monitor();
    assert_eq!(client.ask(&["GET", "pt:seen"]).unwrap(), Reply::Nil);
    assert!(monitor.stop().iter().any(|line| line.contains("pt:seen")));
}

#[test]
fn each_fault_is_what_it_says_and_ends() {
    let store = Store::start();
    store.ask(&["SET", "a", "1"]);
    store.ask(&["SET", "b", "22"]);
    let proxy = Proxy::start(&store);
    let said = |fault: Fault, replies: usize| {
        let mut client = dial(&proxy.url());
        assert_eq!(client.ask(&["GET", "a"]).unwrap().text(), "1");
        proxy.spoil(fault);
        let first = client.ask(&["MGET", "a", "b"]);
        let rest: Vec<_> = (1..replies).map(|_| client.read()).collect();
        proxy.spoil(Fault::None);
        let mut all = vec![first];
        all.extend(rest);
        all.into_iter().map(|reply| reply.map_err(|error| error.kind())).collect::<Vec<_>>()
    };
    let good = Reply::Array(vec![Reply::Bulk(b"1".to_vec()), Reply::Bulk(b"22".to_vec())]);
    let soon = Duration::from_millis(1);
    assert_eq!(said(Fault::Slow(soon), 1), [Ok(good.clone())]);
    assert_eq!(said(Fault::Drip(soon), 1), [Ok(good.clone())]);
    assert_eq!(said(Fault::Surplus, 2), [Ok(good), Ok(Reply::Bulk(b"WRONG".to_vec()))]);
    assert_eq!(said(Fault::Numbers, 1), [Ok(Reply::Integer(1))]);
    assert_eq!(said(Fault::Repeated, 1), [Ok(Reply::Bulk(b"1".to_vec()))]);
    assert_eq!(said(Fault::Error("LOADING x"), 1), [Ok(Reply::Error("LOADING x".to_owned()))]);
    for fault in [Fault::Closed, Fault::Half, Fault::Garbage] {
        assert!(said(fault, 1)[0].is_err(), "{fault:?}");
    }
    let mut client = dial(&proxy.url());
    proxy.spoil(Fault::Swapped);
    let mut swapped = (client.ask(&["GET", "a"]).unwrap().text(), String::new());
    // What comes together is what one write asked for.
    process::wait_until("two replies in one go", || {
        let both =
            [b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".as_slice(), b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"]
                .concat();
        client.stream().write_all(&both).unwrap();
        swapped = (client.read().unwrap().text(), client.read().unwrap().text());
        swapped == ("22".to_owned(), "1".to_owned())
    });
    proxy.spoil(Fault::None);
    // The others begin something that is never whole.
    let endless = [
        (Fault::LongBulk, 100_000),
        (Fault::EndlessBulk, 1_500),
        (Fault::EndlessArray, 20),
        (Fault::Nested, 800),
        (Fault::EndlessLine, 5_000),
    ];
    for (fault, least) in endless {
        let mut stream = dial(&proxy.url()).into_stream();
        proxy.spoil(fault);
        stream.write_all(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n").unwrap();
        stream.read_exact(&mut vec![0; least]).unwrap();
        proxy.spoil(Fault::None);
    }
    let mut silent = dial(&proxy.url());
    proxy.spoil(Fault::Silent);
    silent.stream().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(silent.ask(&["GET", "a"]).is_err());
    proxy.spoil(Fault::None);
    assert_eq!(said(Fault::None, 1).len(), 1);
}
