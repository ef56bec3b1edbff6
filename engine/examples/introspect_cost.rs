//! What one call costs on a kept connection: wall-clock and processor time.
//!
//! `cargo run --release -p phantom-token-engine --example introspect_cost -- [calls] [threads]`
//!
//! The server runs in a process of its own, so that its cost is not counted.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phantom_token_engine::client::{
    Call, Common, Endpoint, Servers, Tls, TlsOptions, introspect, stats,
};
use zeroize::Zeroizing;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve();
    }
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(default, |text| text.parse().expect("a number"))
    };
    let (calls, threads) = (number(0, 50_000), number(1, 1));

    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = [0; 64];
    let length = server.stdout.take().unwrap().read(&mut address).unwrap();
    let address = std::str::from_utf8(&address[..length]).unwrap().trim();
    let endpoint = Arc::new(Endpoint::parse(&format!("http://{address}/i"), None).unwrap());
    let tls = Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap();
    let connections = Servers::default().connections(&endpoint, &tls);

    let basic = Zeroizing::new(b"Basic aWQ6c2VjcmV0".to_vec());
    let common = Common::new(Some(basic), b"application/jwt").unwrap();

    let (begin, processor) = (Instant::now(), processor_time());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..calls {
                    let call = Call {
                        endpoint: endpoint.clone(),
                        connections: connections.clone(),
                        count: None,
                        common: common.clone(),
                        headers: Vec::new(),
                        body: Zeroizing::new(b"token=5a1f8c3e9d7b4a60b2c1".to_vec()).into(),
                        deadline: Instant::now() + Duration::from_secs(6),
                        connect_timeout: Duration::from_secs(2),
                    };
                    assert!(introspect(&call).is_ok());
                }
            });
        }
    });
    let total = u32::try_from(calls * threads).unwrap();
    println!("wall clock per call: {:?}", begin.elapsed() * threads as u32 / total);
    println!("processor per call:  {:?}", (processor_time() - processor) / total);
    println!("{:?}", stats());
    server.kill().unwrap();
    server.wait().unwrap();
}

fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    for socket in listener.incoming() {
        let socket = socket.unwrap();
        std::thread::spawn(move || answer(socket));
    }
}

fn answer(mut socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    let jwt = "x".repeat(1100);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nCache-Control: max-age=300\r\n\
         Content-Length: {}\r\n\r\n{jwt}",
        jwt.len()
    );
    // A request is one segment, and so one read.
    while socket.read(&mut [0; 4096]).is_ok_and(|amount| amount > 0) {
        socket.write_all(answer.as_bytes()).unwrap();
    }
}

/// User and system time of this process so far.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec` through a valid pointer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
