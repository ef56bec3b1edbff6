//! What a server may be, and do, that none should: each costs its time and no more, and is told apart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use zeroize::Zeroizing;

use super::*;
use crate::client::{ConnectCause, Tls, TlsCause, TlsOptions};
use crate::shared::counters::ConnectionState;
use crate::shared::state::testing::state;
use crate::store::ServerError;
use crate::store::address::Address;
use crate::store::reply::Fault;
use crate::store::wire::Decoder;

mod held;

/// What a server does with a connection; the number says which one it is, from 0.
trait Serving: Fn(usize, TcpStream) + Send + Sync + 'static {}
impl<F: Fn(usize, TcpStream) + Send + Sync + 'static> Serving for F {}

struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    fn start(serve: impl Serving) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, serve) = (Arc::new(AtomicUsize::new(0)), Arc::new(serve));
        let count = accepted.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                thread::spawn(move || serve(number, socket.unwrap()));
            }
        });
        Server { address, accepted }
    }

    /// One that answers each command by itself.
    fn answering(answer: impl Fn(&[Vec<u8>]) -> Vec<u8> + Send + Sync + 'static) -> Server {
        Server::start(move |_, socket| serve(socket, &answer))
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn node(&self) -> Node {
        node(&format!("redis://{}", self.address))
    }
}

/// Answers commands until the client goes.
fn serve(mut socket: TcpStream, answer: impl Fn(&[Vec<u8>]) -> Vec<u8>) {
    while let Some(commands) = commands(&mut socket) {
        let answers: Vec<u8> = commands.iter().flat_map(|words| answer(words)).collect();
        if socket.write_all(&answers).is_err() {
            return;
        }
    }
}

/// The commands of one segment, which is what is sent at once.
fn commands(socket: &mut impl Read) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut bytes = vec![0; 1 << 20];
    let length = socket.read(&mut bytes).ok().filter(|length| *length > 0)?;
    let mut decoder = Decoder::default();
    assert_eq!(decoder.take(&bytes[..length], usize::MAX), Ok(length), "half a command");
    let words = |command: &Reply| -> Vec<Vec<u8>> {
        let words = command.array().unwrap().iter();
        words.map(|word| word.bulk().unwrap().to_vec()).collect()
    };
    Some(decoder.replies().iter().map(words).collect())
}

/// Takes a connection's greeting, which has no password.
fn greet(socket: &mut TcpStream) {
    assert_eq!(commands(socket).unwrap()[0][0], b"CLIENT");
    socket.write_all(b"+OK\r\n").unwrap();
}

fn options(url: &str) -> Options {
    Options {
        address: Address::parse(url, None).unwrap(),
        user: None,
        password: None,
        tls: Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap(),
        connections: 16,
    }
}

fn node(url: &str) -> Node {
    Node::new(options(url))
}

fn get() -> Pipeline {
    let mut question = Pipeline::new();
    question.command(&[b"GET", b"key"]);
    question
}

fn late() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Soon enough to be waited for, and late enough for all that comes before on a loaded machine.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

/// A store in which each key's value is its own name.
fn echo(words: &[Vec<u8>]) -> Vec<u8> {
    match &words[0][..] {
        b"GET" => [format!("${}\r\n", words[1].len()).as_bytes(), &words[1], b"\r\n"].concat(),
        _ => b"+OK\r\n".to_vec(),
    }
}

fn found() -> Result<Vec<Reply>, StoreError> {
    Ok(vec![Reply::Bulk(b"key".to_vec())])
}

/// What a question comes to where the reply to it is this, and the connection stays.
fn asked(reply: &'static [u8], deadline: Instant) -> (Result<Vec<Reply>, StoreError>, Server) {
    let server = Server::start(move |_, mut socket| {
        greet(&mut socket);
        commands(&mut socket).unwrap();
        socket.write_all(reply).unwrap();
        let _ = socket.read(&mut [0]);
    });
    let node = server.node();
    let outcome = node.ask(&get(), deadline);
    let kept = node.close_ended(Instant::now());
    assert_eq!(kept, usize::from(outcome.is_ok()), "{outcome:?}");
    assert_eq!(node.pool.lock().open, kept);
    (outcome, server)
}

#[test]
fn a_connection_serves_one_question_after_the_other() {
    let server = Server::answering(echo);
    let node = server.node();
    for _ in 0..5 {
        assert_eq!(node.ask(&get(), late()), found());
    }
    assert_eq!(server.accepted(), 1);
    assert_eq!(node.ask(&Pipeline::new(), late()), Ok(Vec::new()));
    let ended = Err(StoreError::Timeout(Phase::Start));
    assert_eq!(node.ask(&get(), Instant::now()), ended);
}

#[test]
fn what_a_server_announces_ends_the_question_at_once() {
    let large = [
        &b"$419430400\r\nxxxx"[..],
        b"*2147483647\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
    ];
    for reply in large {
        assert_eq!(asked(reply, late()).0, Err(StoreError::Protocol(Fault::TooLarge)));
    }
    let page = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    assert_eq!(asked(page, late()).0, Err(StoreError::Protocol(Fault::Malformed)));
}

#[test]
fn a_reply_too_many_is_never_the_next_question_s() {
    let surplus = asked(b"$3\r\nkey\r\n$5\r\nWRONG\r\n", late()).0;
    assert_eq!(surplus, Err(StoreError::Protocol(Fault::Unasked)));

    // One that comes later, and a byte of one.
    for surplus in [&b"$5\r\nWRONG\r\n"[..], b"$"] {
        let (done, is_done) = mpsc::channel();
        let server = Server::start(move |number, mut socket| {
            greet(&mut socket);
            commands(&mut socket).unwrap();
            socket.write_all(b"$3\r\nkey\r\n").unwrap();
            if number == 0 {
                thread::sleep(Duration::from_millis(20));
                socket.write_all(surplus).unwrap();
                done.send(()).unwrap();
            }
            let _ = socket.read(&mut [0]);
        });
        let node = server.node();
        assert_eq!(node.ask(&get(), late()), found());
        is_done.recv().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while node.close_ended(Instant::now()) > 0 {
            assert!(Instant::now() < until, "what came is not seen");
            thread::yield_now();
        }
        assert_eq!(node.ask(&get(), late()), found());
        assert_eq!(server.accepted(), 2);
    }
}

#[test]
fn a_server_that_drips_or_stops_costs_its_time_and_no_more() {
    let begun = Instant::now();
    let (outcome, _) = asked(b"$3\r\nke", soon());
    assert_eq!(outcome, Err(StoreError::Timeout(Phase::Read)));
    assert_eq!(asked(b"", soon()).0, Err(StoreError::Timeout(Phase::Wait)));

    let drips = Server::start(|_, mut socket| {
        greet(&mut socket);
        commands(&mut socket).unwrap();
        while socket.write_all(b"+").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(drips.node().ask(&get(), soon()), Err(StoreError::Timeout(Phase::Read)));

    // Before the greeting is answered, too.
    let stopped =
        Server::start(|_, socket| _ = (&socket).read(&mut [0; 1]).map(|_| thread::park()));
    assert_eq!(stopped.node().ask(&get(), soon()), Err(StoreError::Timeout(Phase::Wait)));
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_late_reply_is_read_by_nobody() {
    let server = Server::start(move |number, mut socket| {
        greet(&mut socket);
        loop {
            let Some(commands) = commands(&mut socket) else { return };
            let key = commands[0][1].clone();
            // The first one stops after a question, and goes on after the client has gone.
            if number == 0 && key == b"late" {
                let _ = socket.read(&mut [0]);
            }
            if socket.write_all(&echo(&commands[0])).is_err() {
                return;
            }
        }
    });
    let node = server.node();
    assert_eq!(node.ask(&get(), late()), found());
    let mut question = Pipeline::new();
    question.command(&[b"GET", b"late"]);
    assert_eq!(node.ask(&question, soon()), Err(StoreError::Timeout(Phase::Wait)));
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!(server.accepted(), 2);
}

#[test]
fn a_server_that_goes_is_not_waited_for() {
    let dies = Server::start(|_, mut socket| {
        greet(&mut socket);
        commands(&mut socket).unwrap();
        socket.write_all(b"$3\r\nk").unwrap();
    });
    assert_eq!(dies.node().ask(&get(), late()), Err(StoreError::Closed));
    let full = Server::start(drop_at_once);
    let outcome = full.node().ask(&get(), late()).unwrap_err();
    assert_eq!(outcome.reason().word(), "connect", "{outcome:?}");
    let says_so = Server::start(|_, mut socket| {
        socket.write_all(b"-ERR max number of clients reached\r\n").unwrap();
        let _ = socket.read(&mut [0; 512]);
    });
    assert_eq!(says_so.node().ask(&get(), late()), Err(StoreError::MaxClients));
}

fn drop_at_once(_: usize, socket: TcpStream) {
    drop(socket);
}

#[test]
fn nobody_there_is_told_apart() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = StoreError::Connect(ConnectCause::Refused);
    assert_eq!(node(&format!("redis://127.0.0.1:{port}")).ask(&get(), late()), Err(refused));
    let nowhere = node("unix:/nonexistent/valkey.sock").ask(&get(), late());
    assert!(matches!(nowhere, Err(StoreError::Connect(_))), "{nowhere:?}");
    let unknown = node(&format!("redis://{}", "x".repeat(63))).ask(&get(), late());
    assert!(matches!(unknown, Err(StoreError::Connect(_))), "{unknown:?}");
    let server = Server::answering(echo);
    let plain = node(&format!("rediss://{}", server.address)).ask(&get(), late());
    assert!(
        matches!(plain, Err(StoreError::Tls(TlsCause::NotTls | TlsCause::Closed))),
        "{plain:?}"
    );
}

#[test]
fn sockets_of_this_machine_are_asked_too_and_a_full_queue_costs_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sock");
    let url = format!("unix:{}", path.display());
    let listener = UnixListener::bind(&path).unwrap();
    let here = node(&url);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut socket, _) = listener.accept().unwrap();
            for _ in 0..2 {
                let commands = commands(&mut socket).unwrap();
                socket.write_all(&echo(&commands[0])).unwrap();
            }
        });
        assert_eq!(here.ask(&get(), late()), found());
    });
    here.close_all();

    // SAFETY: listening again on an open listening socket changes the length of its queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _fills = UnixStream::connect(&path).unwrap();
    let begun = Instant::now();
    assert_eq!(here.ask(&get(), soon()), Err(StoreError::Timeout(Phase::Connect)));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_password_is_answered_before_anything_else_is_sent() {
    let (told, heard) = mpsc::channel();
    let server = Server::start(move |number, mut socket| {
        while let Some(commands) = commands(&mut socket) {
            told.send(commands.iter().map(|words| words.join(&b' ')).collect::<Vec<_>>()).unwrap();
            let refused = number == 0 && commands[0][0] == b"AUTH";
            let reply: &[u8] = if refused { b"-WRONGPASS invalid\r\n" } else { b"+OK\r\n" };
            commands.iter().for_each(|_| socket.write_all(reply).unwrap());
        }
    });
    let mut options = options(&format!("redis://{}/2", server.address));
    options.user = Some("gateway".to_owned());
    options.password = Some(Zeroizing::new(b"hunter2".to_vec()));
    let node = Node::new(options);
    let refused = Err(StoreError::Auth(ServerError::WrongPass));
    assert_eq!(node.ask(&get(), late()), refused);
    assert!(node.ask(&get(), late()).unwrap()[0].is_ok());
    let heard: Vec<_> = heard.try_iter().collect();
    let auth = vec![b"AUTH gateway hunter2".to_vec()];
    let begin = vec![b"CLIENT SETNAME ngx-phantom-token".to_vec(), b"SELECT 2".to_vec()];
    assert_eq!(heard, [auth.clone(), auth, begin, vec![b"GET key".to_vec()]]);
    assert!(!format!("{node:?}").contains("hunter2"));
}

#[test]
fn what_the_server_says_of_itself_or_the_user_is_the_question_s_error() {
    let ask = |reply: &'static [u8]| {
        let server = Server::answering(move |words| match &words[0][..] {
            b"SET" => reply.to_vec(),
            b"MGET" => b"*1\r\n$5\r\nvalue\r\n".to_vec(),
            _ => b"+OK\r\n".to_vec(),
        });
        let mut question = Pipeline::new();
        question.command(&[b"SET", b"k", b"v", b"NX"]).command(&[b"MGET", b"k"]);
        server.node().ask(&question, late())
    };
    for (reply, error) in [
        (&b"-READONLY You can't write against a read only replica.\r\n"[..], "readonly"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "readonly"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading"),
        (b"-NOAUTH Authentication required.\r\n", "auth"),
        (b"-NOPERM this user has no permissions\r\n", "acl"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "moved"),
    ] {
        assert_eq!(ask(reply).unwrap_err().reason().word(), error);
    }
    for full in [&b"-OOM command not allowed\r\n"[..], b"-MISCONF Redis is configured\r\n"] {
        let replies = ask(full).unwrap();
        assert!(replies[0].error().unwrap().is_full());
        assert_eq!(replies[1], Reply::Array(vec![Reply::Bulk(b"value".to_vec())]));
    }
}

#[test]
fn a_kept_connection_that_has_ended_costs_one_dial_whatever_others_there_are() {
    let (sent, received) = mpsc::channel::<TcpStream>();
    let server = Server::start(move |_, socket| {
        sent.send(socket.try_clone().unwrap()).unwrap();
        serve(socket, echo);
    });
    let node = server.node();
    let fill = |received: &Receiver<TcpStream>| -> Vec<TcpStream> {
        let taken: Vec<_> = (0..3).map(|_| node.take(late()).unwrap().0).collect();
        for mut taken in taken {
            taken.connection = Some(Connection::dial(&node.options, None, late()).unwrap());
            node.keep(taken);
        }
        (0..3).map(|_| received.recv().unwrap()).collect()
    };
    // All were closed while they were idle.
    for socket in fill(&received) {
        socket.shutdown(std::net::Shutdown::Both).unwrap();
    }
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!(server.accepted(), 4);
    assert!(node.pool.lock().open <= 3);
    node.close_all();
    received.recv().unwrap();

    // Nothing shows it until the question has been sent.
    let sockets = fill(&received);
    let (mut one, mut others) = (node.take(late()).unwrap().0, node.pool.lock().idle.len());
    assert_eq!((sockets.len(), others), (3, 2));
    sockets.last().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
    let stale = one.connection.as_mut().unwrap().ask(Vec::new(), &get(), late());
    assert_eq!(stale, Err(Failure::Stale));
    node.keep(one);
    others = node.pool.lock().idle.len();
    assert_eq!(others, 3);
    assert_eq!(node.ask(&get(), late()), found());
}

#[test]
fn there_are_never_more_connections_than_may_be() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = Server::answering(move |words| {
        if words[0] == b"GET" {
            gate.lock().recv().unwrap();
        }
        echo(words)
    });
    let mut options = options(&format!("redis://{}", server.address));
    options.connections = 2;
    let node = Node::new(options);
    thread::scope(|scope| {
        let askers: Vec<_> = (0..6).map(|_| scope.spawn(|| node.ask(&get(), late()))).collect();
        while server.accepted() < 2 {
            thread::yield_now();
        }
        let nobody = node.ask(&get(), soon());
        assert_eq!(nobody, Err(StoreError::Timeout(Phase::Start)));
        (0..6).for_each(|_| go.send(()).unwrap());
        for asker in askers {
            assert_eq!(asker.join().unwrap(), found());
        }
    });
    assert_eq!(server.accepted(), 2);
    assert_eq!(node.close_ended(Instant::now()), 2);
    assert_eq!(node.close_ended(Instant::now() + Duration::from_secs(61)), 0);
    assert_eq!(node.pool.lock().open, 0);
}

/// A node that counts in a state zone of its own, and how many writes came to what.
fn counted(node: &Node) -> impl Fn() -> [u64; 3] + use<> {
    let state = state();
    let (shard, connections) = (state.shard(0), state.slots().store_connections(0));
    node.count_in(Counting { shard, connections });
    move || {
        let writes = |one: StoreWrite| shard.store.writes[one as usize].load(Ordering::Relaxed);
        [StoreWrite::Ok, StoreWrite::Failed, StoreWrite::Lost].map(writes)
    }
}

fn set() -> Pipeline {
    let mut commands = Pipeline::new();
    commands.command(&[b"SET", b"k", b"v"]).command(&[b"PEXPIRE", b"k", b"1000"]);
    commands
}

#[test]
fn what_is_told_is_not_waited_for_and_never_taken_for_a_reply() {
    let (go, gate) = mpsc::channel::<&[u8]>();
    let gate = Mutex::new(gate);
    let server = Server::answering(move |words| match &words[0][..] {
        b"SET" => gate.lock().recv().unwrap().to_vec(),
        _ => echo(words),
    });
    let node = server.node();
    let writes = counted(&node);
    assert_eq!(node.tell(set()), Err(StoreError::NoConnection), "it makes no connection");
    assert_eq!((writes(), server.accepted()), ([0, 1, 0], 0));
    assert_eq!(node.ask(&get(), late()), found());
    for reply in [&b"+OK\r\n"[..], b"-OOM command not allowed\r\n"] {
        node.tell(set()).unwrap();
        node.tell(set()).unwrap();
        go.send(reply).unwrap();
        go.send(reply).unwrap();
        assert_eq!(node.ask(&get(), late()), found());
    }
    assert_eq!((writes(), server.accepted()), ([2, 3, 0], 1));

    // A reply that does not come is waited for, so that it is never taken for another.
    node.tell(set()).unwrap();
    assert_eq!(node.ask(&get(), soon()), Err(StoreError::Timeout(Phase::Wait)));
    assert_eq!(writes(), [2, 3, 1]);
    go.send(b"+OK\r\n").unwrap();
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!(server.accepted(), 2);

    // One reply too many to what was told: seen where it comes before the question.
    node.tell(set()).unwrap();
    go.send(b"+OK\r\n+OK\r\n").unwrap();
    await_input(&node);
    assert_eq!(node.ask(&get(), late()), Err(StoreError::Protocol(Fault::Unasked)));
    assert_eq!((node.ask(&get(), late()), server.accepted()), (found(), 3));
}

/// Waits until the connection used last has something to read.
fn await_input(node: &Node) {
    while !node.pool.lock().idle.back().unwrap().has_input() {
        thread::yield_now();
    }
}

#[test]
fn what_is_told_while_all_are_busy_goes_with_the_next_that_is_not() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = Server::answering(move |words| {
        if words.get(1).is_some_and(|key| key == b"slow") {
            gate.lock().recv().unwrap();
        }
        echo(words)
    });
    let mut options = options(&format!("redis://{}", server.address));
    options.connections = 1;
    let node = Node::new(options);
    let writes = counted(&node);
    let mut slow = Pipeline::new();
    slow.command(&[b"GET", b"slow"]);
    thread::scope(|scope| {
        scope.spawn(|| node.ask(&slow, late()).unwrap());
        while server.accepted() == 0 {
            thread::yield_now();
        }
        node.tell(set()).unwrap();
        assert_eq!(node.tell(set()), Err(StoreError::NoConnection), "no more than one waits");
        go.send(()).unwrap();
    });
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!((writes(), server.accepted()), ([1, 1, 0], 1));
}

#[test]
fn a_full_socket_closes_the_connection_it_was_told_on() {
    let server = Server::start(|_, mut socket| {
        greet(&mut socket);
        commands(&mut socket).unwrap();
        socket.write_all(b"$3\r\nkey\r\n").unwrap();
        thread::park();
    });
    let node = server.node();
    let writes = counted(&node);
    assert_eq!(node.ask(&get(), late()), found());
    let mut large = Pipeline::new();
    large.command(&[b"SET", b"k", &vec![0; 200_000]]);
    let told = (0..200).take_while(|_| node.tell(large.clone()).is_ok()).count() as u64;
    assert!(told < 200);
    assert_eq!((writes(), node.pool.lock().open), ([0, 0, told + 1], 0));
}

#[test]
fn connections_are_counted_by_what_they_do() {
    let server = Server::answering(echo);
    let node = server.node();
    drop(counted(&node));
    let count = node.counting().unwrap().connections;
    let seen = || [ConnectionState::Idle, ConnectionState::Busy].map(|state| count.get(state));
    node.ask(&get(), late()).unwrap();
    assert_eq!(seen(), [1, 0]);
    let taken = node.take(late()).unwrap().0;
    assert_eq!(seen(), [0, 1]);
    drop(taken);
    assert_eq!(seen(), [0, 0]);
}
