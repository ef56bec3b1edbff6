//! The end of all calls of a process: a test alone, since it is the whole process's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_engine::client::{
    Call, CallError, Common, Endpoint, Phase, Servers, Tls, TlsOptions, introspect, stop,
};
use zeroize::Zeroizing;

/// No call ends by itself within the test.
const HOURS: Duration = Duration::from_secs(36_000);
const PATIENCE: Duration = Duration::from_secs(60);

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
        deadline: Instant::now() + HOURS,
        connect_timeout: HOURS,
    }
}

/// A server that reads the beginning of what comes on one connection, answers this, and no more. The
/// channel tells when that is done.
fn silent(answer: &'static [u8]) -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let mut peer = listener.accept().unwrap().0;
        assert!(peer.read(&mut [0; 1024]).unwrap() > 0);
        peer.write_all(answer).unwrap();
        done.send(peer).unwrap();
    });
    (address, is_done)
}

/// A listener whose queue is full, so that nothing connects to it.
fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: listening again on an open listening socket changes the length of its queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        fill.push(socket);
        assert!(fill.len() < 100, "the queue does not fill up");
    }
    (listener, fill)
}

/// Whether a socket of this host is about to connect to the port (proc_net_tcp(5): 02 is SYN_SENT).
fn is_connecting(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(&to)) && fields.next() == Some("02")
    })
}

#[test]
fn calls_end_at_once_whatever_they_wait_for() {
    let (answering, is_answering) = silent(b"");
    let (in_head, is_in_head) = silent(b"HTTP/1.1 200 OK\r\nContent-Le");
    let (in_body, is_in_body) = silent(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    let (in_tls, is_in_tls) = silent(b"");
    let (listener, _fill) = black_hole();
    let connecting = listener.local_addr().unwrap();

    let (ended, is_ended) = mpsc::channel();
    let urls = [
        format!("http://{answering}/"),
        format!("http://{in_head}/"),
        format!("http://{in_body}/"),
        format!("https://{in_tls}/"),
        format!("http://{connecting}/"),
    ];
    for url in urls.clone() {
        let ended = ended.clone();
        thread::spawn(move || ended.send((introspect(&call(&url)).err(), url)));
    }
    let _peers = [is_answering, is_in_head, is_in_body, is_in_tls].map(|at| at.recv().unwrap());
    let begun = Instant::now();
    while !is_connecting(connecting.port()) {
        assert!(begun.elapsed() < PATIENCE);
        thread::yield_now();
    }

    assert!(stop(PATIENCE), "calls go on");
    for _ in &urls {
        let (error, url) = is_ended.recv_timeout(PATIENCE).expect("a call goes on");
        assert!(error.is_some(), "{url}");
    }
    let late = introspect(&call(&urls[0])).err();
    assert_eq!(late, Some(CallError::Timeout(Phase::Start)));
    assert!(stop(Duration::ZERO));
}
