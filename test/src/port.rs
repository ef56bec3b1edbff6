//! Free ports for tests that run in parallel, and the ports of the development servers.
//!
//! A free port is one from below the system's ephemeral range: no outgoing connection can take it
//! while it is handed over, so that a server may even be stopped and started again on it.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// The API's port in examples and guides, where tests put another in its place: in the text with that
/// other one, it must not be found as the beginning of a longer number.
const EXAMPLES_API: u16 = 3000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port of 127.0.0.1 on which nothing listens now. Another process may still take it: whoever
/// starts a server there tries again with another one.
///
/// # Panics
/// Where no port is free.
pub fn free() -> u16 {
    let (low, high) = (10_240, ephemeral_start().max(12_288) - 1);
    let span = u64::from(high - low);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut seed = clock ^ u64::from(std::process::id()) << 32;
    let mut given = GIVEN.lock();
    let given = given.get_or_insert_default();
    for _ in 0..10_000 {
        // xorshift64: spread parallel test processes over the range.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let port = low + (seed % span) as u16;
        if port / 10 != EXAMPLES_API
            && !given.contains(&port)
            && let Ok(listener) = TcpListener::bind(("127.0.0.1", port))
        {
            close(listener);
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between {low} and {high}");
}

/// Listens on a free port of this address.
///
/// # Errors
/// Where the address is none of this host's.
pub fn listen(address: IpAddr) -> io::Result<TcpListener> {
    loop {
        match TcpListener::bind((address, free())) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            listening => return listening,
        }
    }
}

/// Ends listening for good. A process that another thread starts just now has the listener as well,
/// until it runs its own program: dropped here alone, the port would stay taken for that long.
pub fn close(listener: TcpListener) {
    // SAFETY: shutdown() takes two numbers; the descriptor is open.
    unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Where the program's one argument says to listen: `ADDRESS:PORT`, or a port of 127.0.0.1, which is
/// `default` without an argument. `None` where it is neither.
pub fn listen_argument(default: u16) -> Option<SocketAddr> {
    std::env::args().nth(1).map_or(Some(loopback(default)), |argument| listen_address(&argument))
}

fn listen_address(argument: &str) -> Option<SocketAddr> {
    argument.parse().ok().or_else(|| argument.parse().ok().map(loopback))
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn ephemeral_start() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_one_of_loopback() {
        assert_eq!(listen_address("9090"), Some(loopback(9090)));
        assert_eq!(listen_address("0.0.0.0:80"), "0.0.0.0:80".parse().ok());
        assert_eq!(listen_address("[::1]:80"), "[::1]:80".parse().ok());
        for wrong in ["", "65536", "localhost:80", "0.0.0.0"] {
            assert_eq!(listen_address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_port_is_given_twice() {
        let ports: HashSet<u16> = (0..100).map(|_| free()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|&port| port < ephemeral_start()));
        assert!(ports.iter().all(|port| !port.to_string().starts_with("3000")));
    }
}
