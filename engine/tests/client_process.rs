//! What the client does in a process of its own: its counts, the resolver, the environment.
//!
//! One test, because both are the whole process's.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_engine::client::{
    Call, Common, Endpoint, Servers, Stats, Tls, TlsOptions, introspect, stats,
};
use zeroize::Zeroizing;

fn call(url: &str) -> Call {
    let options = TlsOptions { verify: false, ..TlsOptions::default() };
    let endpoint = Arc::new(Endpoint::parse(url, None).unwrap());
    Call {
        connections: Servers::default().connections(&endpoint, &Tls::new(options).unwrap()),
        count: None,
        endpoint,
        common: Common::new(None, b"application/jwt").unwrap(),
        headers: Vec::new(),
        body: Zeroizing::new(b"token=opaque".to_vec()).into(),
        deadline: Instant::now() + Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn names_are_looked_up_when_dialled_addresses_never_and_proxies_not_used() {
    // A proxy that would be found out: nothing listens on the discard port.
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"] {
        // SAFETY: this is the process's only test, and no other thread reads the environment yet.
        unsafe { std::env::set_var(name, "http://127.0.0.1:9") };
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            thread::spawn(move || {
                // A request is one segment, and so one read.
                while socket.read(&mut [0; 4096]).is_ok_and(|amount| amount > 0) {
                    socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                }
            });
        }
    });

    let before = threads();
    let by_address = call(&format!("http://127.0.0.1:{port}/"));
    for _ in 0..3 {
        assert_eq!(introspect(&by_address).ok().unwrap().status, 204);
    }
    assert_eq!(stats(), Stats { dialled: 1, resolved: 0, reused: 2 });
    // Neither settings nor calls by address start a thread, but for the server's own.
    assert_eq!(threads(), before + 1);

    let by_name = call(&format!("http://localhost:{port}/"));
    for _ in 0..3 {
        assert_eq!(introspect(&by_name).ok().unwrap().status, 204);
    }
    assert_eq!(stats(), Stats { dialled: 2, resolved: 1, reused: 4 });
    // The connection's at the server, and the one that looked the name up: it is kept.
    assert_eq!(threads(), before + 3);

    thread::spawn(move || introspect(&by_name).ok().unwrap()).join().unwrap();
    assert_eq!(stats(), Stats { dialled: 2, resolved: 1, reused: 5 });
    let elsewhere = call(&format!("http://localhost:{port}/"));
    introspect(&elsewhere).ok().unwrap();
    assert_eq!(stats(), Stats { dialled: 3, resolved: 2, reused: 5 });
}
