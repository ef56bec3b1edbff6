//! Clients that leave, or take back what they asked, while introspections are under way.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::http2::{Http2, cancel, get};
use phantom_token_test::process::{assert_grown_less, descriptors, own_memory, wait_until};
use phantom_token_test::random::setting;
use phantom_token_test::{Metrics, Rig};

use crate::support::*;

/// So many calls run at a time: the module's own pool has as many threads.
const THREADS: u64 = 64;
/// Longer than a test waits: where nobody waits any more, it is not because their calls ran out of
/// time.
const PATIENT: &str = "phantom_token_timeout 120s;";

/// Begins streams and resets each at once, `count` of them on one connection; how many before NGINX
/// had enough of it, which is its right.
fn reset_streams(rig: &Rig, name: &str, count: usize) -> usize {
    let mut connection = Http2::connect(rig.gateway.http2_port()).expect("connects");
    let mut sent = 0;
    while sent < count {
        let mut batch = Vec::new();
        let end = (sent + 50).min(count);
        for nth in sent..end {
            let stream = connection.next_stream();
            let bearer = format!("Bearer {name}-{nth}");
            batch.extend(get(stream, "/shown", &[("authorization", &bearer)]));
            batch.extend(cancel(stream));
        }
        if connection.send(&batch).and_then(|()| connection.settle()).is_err() {
            break;
        }
        sent = end;
    }
    sent
}

/// What was reset, and what the module saw of it.
struct Round {
    connections: usize,
    sent: usize,
    seen: f64,
}

/// Resets streams on one connection after the other, with hits in between, and waits until nothing
/// of them is left but calls that are held back.
fn round(rig: &Rig, token: &Token, name: &str, count: usize) -> Round {
    let asked = |metrics: Metrics| metrics.sum("requests_total", "") - metrics.requests("hit");
    let before = asked(rig.gateway.metrics());
    // One that has been sent when its stream is reset; of most others no thread hears in time.
    let mut first = Http2::connect(rig.gateway.http2_port()).expect("connects");
    let (stream, calls) = (first.next_stream(), rig.server.introspections());
    let bearer = format!("Bearer {name}");
    first.send(&get(stream, "/shown", &[("authorization", &bearer)])).expect("sends");
    rig.server.wait_for_introspections(calls + 1);
    first.send(&cancel(stream)).expect("sends");
    drop(first);
    let mut round = Round { connections: 1, sent: 1, seen: 0.0 };
    thread::scope(|scope| {
        let resetting = scope.spawn(|| {
            for first in (0..count).step_by(900) {
                let name = format!("{name}-{first}");
                round.sent += reset_streams(rig, &name, 900.min(count - first));
                round.connections += 1;
            }
        });
        let mut client = rig.gateway.client();
        while !resetting.is_finished() {
            assert_hit(&client.get_as("/shown", &token.token), token);
        }
        resetting.join().expect("streams are reset");
    });
    let metrics =
        rig.gateway.wait_for_metrics("nobody waiting", |m| m.get("requests_waiting") == 0.0);
    round.seen = asked(metrics) - before;
    round
}

#[test]
fn reset_streams_leave_nothing_behind() {
    let count = setting("PHANTOM_TOKEN_RESETS", 6_000) as usize;
    let rig =
        rig(|builder| builder.http2().log_level("error").http("access_log off;").http(PATIENT));
    let token = cached_token(&rig);
    let worker = rig.gateway.workers()[0];
    // Warm: as many calls pending as may be, once.
    let hold = rig.server.hold();
    round(&rig, &token, "warm", count / 3);
    drop(hold);
    wait_for_calm(&rig);
    let (memory, files) = (own_memory(worker), descriptors(worker));
    let before = rig.server.introspections();

    let hold = rig.server.hold();
    let Round { connections, sent, seen } = round(&rig, &token, "reset", count);
    // NGINX may refuse some by itself.
    let most = count / 2;
    assert!(sent > most && seen > most as f64, "{count} streams, {sent} sent, {seen} seen");
    // The pool's threads keep a connection each.
    let calm = || descriptors(worker) <= files + THREADS as usize + 4;
    wait_until("the clients' descriptors' end", calm);
    let pending = rig.gateway.metrics().get("introspections_pending");
    assert!((1.0..=1024.0).contains(&pending), "{pending} calls pending");
    drop(hold);
    wait_for_calm(&rig);
    let calls = rig.server.introspections() - before;
    // What no thread had begun is dropped unsent.
    assert!((1..=2 * THREADS).contains(&calls), "{calls} calls for clients that had gone");
    assert_eq!(rig.gateway.workers(), [worker], "the same worker");
    let grown = own_memory(worker).saturating_sub(memory);
    println!(
        "{sent} streams reset on {connections} connections, {seen} of them seen by the module: \
         {calls} calls, then none pending and none waiting; the worker's memory grew by {grown} KiB"
    );
    assert_grown_less(grown, 8 * 1024);
    wait_until("the descriptors' end", calm);
    hit(&rig, &token);
    assert_eq!(rig.gateway.get_as("/shown", "unknown").status, 401);
}

#[test]
fn clients_that_hang_up_leave_nothing_behind() {
    let rig =
        rig(|builder| builder.log_level("error").events("worker_connections 2048;").http(PATIENT));
    let token = cached_token(&rig);
    let worker = rig.gateway.workers()[0];
    let before = rig.server.introspections();
    let files = descriptors(worker);
    let mut memory = 0;
    let rounds = setting("PHANTOM_TOKEN_HANG_UPS", 1_500).div_ceil(300);
    for nth in 0..rounds {
        let hold = rig.server.hold();
        let clients: Vec<_> = (0..300)
            .map(|n| {
                let mut client = rig.gateway.client();
                client.send(request("/shown", &format!("Bearer gone-{nth}-{n}")).as_bytes());
                client
            })
            .collect();
        rig.gateway.wait_for_metrics("all of them waiting", |metrics| {
            metrics.get("requests_waiting") == 300.0
        });
        drop(clients);
        rig.gateway
            .wait_for_metrics("nobody waiting", |metrics| metrics.get("requests_waiting") == 0.0);
        hit(&rig, &token);
        drop(hold);
        wait_for_calm(&rig);
        if nth == 0 {
            memory = own_memory(worker); // what so many clients take is taken once
        }
    }
    let calls = rig.server.introspections() - before;
    assert!(calls <= rounds * THREADS, "{calls} calls for clients that had gone");
    let grown = own_memory(worker).saturating_sub(memory);
    let clients = rounds * 300;
    println!("{clients} clients hung up: {calls} calls; the worker's memory grew by {grown} KiB");
    assert_grown_less(grown, 4 * 1024);
    // The pool's threads keep a connection each.
    wait_until("the descriptors' end", || descriptors(worker) <= files + THREADS as usize + 4);
}

#[test]
fn half_closed_and_reset_connections_are_noticed() {
    let rig = rig(|builder| builder.log_level("error").http(PATIENT));
    let token = cached_token(&rig);
    let before = rig.server.introspections();
    let hold = rig.server.hold();
    let wait_for_waiting = |count: f64| {
        rig.gateway.wait_for_metrics("so many waiting", |metrics| {
            metrics.get("requests_waiting") == count
        });
    };
    for n in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", rig.gateway.port())).unwrap();
        let bytes = request("/shown", &format!("Bearer half-{n}"));
        stream.write_all(bytes.as_bytes()).unwrap();
        // Reset before it was read, it would be no request.
        wait_for_waiting(1.0);
        // Half of them only end their sending half; both are noticed before anything is answered.
        let _half_closed = if n % 2 == 0 {
            stream.shutdown(Shutdown::Write).unwrap();
            Some(stream)
        } else {
            reset(stream).unwrap();
            None
        };
        wait_for_waiting(0.0);
        hit(&rig, &token);
    }
    drop(hold);
    wait_for_calm(&rig);
    let calls = rig.server.introspections() - before;
    assert!(calls <= THREADS, "{calls} calls for clients that had gone");
    hit(&rig, &token);
}

/// Closes a connection with RST instead of FIN.
fn reset(stream: TcpStream) -> io::Result<()> {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: an open socket, and a valid `linger` with its own size for the length of the call.
    let done = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const at_once).cast(),
            size_of_val(&at_once) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
