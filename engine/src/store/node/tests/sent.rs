//! Questions that are sent before a thread comes to their replies.

use super::*;

/// A node with so many connections that are idle, of `most`.
fn with_idle(server: &Server, most: usize, idle: usize) -> Arc<Node> {
    let mut options = options(&format!("redis://{}", server.address));
    options.connections = most;
    let node = Arc::new(Node::new(options));
    let taken: Vec<_> = (0..idle).map(|_| node.take(late()).unwrap().0).collect();
    for mut taken in taken {
        taken.connection = Some(Connection::dial(&node.options, None, late()).unwrap());
        taken.keep();
    }
    node
}

/// Sends a question, where that goes.
fn send(node: &Arc<Node>) -> Option<Box<dyn Sent>> {
    node.clone().send(&get())
}

/// How many connections there are: open, idle, and kept by questions that were sent.
fn there(node: &Node) -> [usize; 3] {
    let pool = node.pool.lock();
    [pool.open, pool.idle.len(), node.sent.load(Ordering::Relaxed)]
}

#[test]
fn its_replies_are_there_later_and_the_connection_serves_on() {
    let server = Server::answering(echo);
    let node = with_idle(&server, 16, 1);
    for _ in 0..3 {
        assert!(node.may_send());
        let sent = send(&node).unwrap();
        assert_eq!(there(&node), [1, 0, 1]);
        assert_eq!(sent.finish(late()), Some(found()));
        assert_eq!(there(&node), [1, 1, 0]);
        assert_eq!(node.ask(&get(), late()), found());
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn it_makes_no_connection_and_keeps_no_more_than_half_of_them() {
    let server = Server::answering(echo);
    for (most, idle, may_be) in [(4, 0, 0), (4, 1, 1), (4, 4, 2), (5, 5, 2), (2, 2, 1), (1, 1, 0)] {
        let node = with_idle(&server, most, idle);
        let before = server.accepted();
        let sent: Vec<_> = std::iter::from_fn(|| send(&node)).collect();
        assert_eq!((sent.len(), node.may_send()), (may_be, false), "{most} {idle}");
        assert_eq!(server.accepted(), before);
        // There is one for whoever asks.
        assert_eq!(node.ask(&get(), late()), found());
        for sent in sent {
            assert_eq!(sent.finish(late()), Some(found()));
        }
        assert_eq!(node.may_send(), most > 1);
    }
}

#[test]
fn one_that_is_dropped_leaves_nothing_behind() {
    let server = Server::answering(echo);
    let node = with_idle(&server, 2, 2);
    drop(send(&node).unwrap());
    assert_eq!(there(&node), [1, 1, 0]);
    assert_eq!(node.ask(&get(), late()), found());
}

#[test]
fn what_has_come_is_settled_without_waiting() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = Server::answering(move |words| {
        if words[0] == b"GET" {
            gate.lock().recv().unwrap();
        }
        echo(words)
    });
    let node = with_idle(&server, 2, 1);
    go.send(()).unwrap();
    let sent = node.clone().try_to_send(&get()).unwrap();
    while !sent.has_input() {
        thread::yield_now();
    }
    assert_eq!(Box::new(sent).settle(), Some(vec![Reply::Bulk(b"key".to_vec())]));
    assert_eq!(there(&node), [1, 1, 0]);
    // And where it has not, nobody will ever read it.
    let sent = send(&node).unwrap();
    assert_eq!(sent.settle(), None);
    assert_eq!(there(&node), [0, 0, 0]);
    (0..2).for_each(|_| go.send(()).unwrap());
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!(server.accepted(), 2);
}

#[test]
fn one_that_is_asked_again_has_the_replies_to_that_alone() {
    let (go, gate) = mpsc::channel::<&[u8]>();
    let gate = Mutex::new(gate);
    let server = Server::answering(move |words| match &words[0][..] {
        b"GET" => gate.lock().recv().unwrap().to_vec(),
        _ => echo(words),
    });
    let node = with_idle(&server, 2, 1);
    let writes = counted(&node);
    let (first, later) = (&b"$5\r\nFIRST\r\n"[..], &b"$5\r\nLATER\r\n"[..]);
    for is_there in [true, false] {
        held::often(&node);
        node.tell(set()).unwrap();
        let sent = node.clone().try_to_send(&get()).unwrap();
        go.send(first).unwrap();
        while is_there && !sent.has_input() {
            thread::yield_now();
        }
        go.send(later).unwrap();
        let replies = vec![Reply::Bulk(b"LATER".to_vec())];
        assert_eq!(Box::new(sent).again(&get(), late()), Some(Ok(replies)));
        assert_eq!(there(&node), [1, 1, 0]);
    }
    // What was told is counted, and nothing else.
    assert_eq!((writes(), server.accepted()), ([2, 0, 0], 1));
    // And where it had been closed, that is told apart.
    let sent = send(&node).unwrap();
    drop(go);
    assert_eq!(sent.again(&get(), late()), None);
    assert_eq!((there(&node), writes()), ([0, 0, 0], [2, 0, 0]));
}

#[test]
fn a_connection_that_had_been_closed_is_told_apart_and_the_others_go_too() {
    // Closed by the question that comes first, which nobody sees while it is sent.
    let server = Server::start(|_, mut socket| {
        greet(&mut socket);
        while let Some(commands) = commands(&mut socket) {
            if commands[0][1] == b"end" {
                return;
            }
            socket.write_all(&echo(&commands[0])).unwrap();
        }
    });
    let node = with_idle(&server, 4, 2);
    assert_eq!(node.ask(&get(), late()), found());
    let mut end = Pipeline::new();
    end.command(&[b"GET", b"end"]);
    let sent = node.clone().send(&end).unwrap();
    assert_eq!(sent.finish(late()), None);
    assert_eq!(there(&node), [0, 0, 0]);
    assert_eq!(node.ask(&get(), late()), found());
}

#[test]
fn a_connection_that_is_not_fit_takes_none() {
    let (sent, received) = mpsc::channel::<TcpStream>();
    let server = Server::start(move |_, socket| {
        sent.send(socket.try_clone().unwrap()).unwrap();
        serve(socket, echo);
    });
    // A reply too many would be taken for the question's.
    for surplus in [&b"$5\r\nWRONG\r\n"[..], b""] {
        let node = with_idle(&server, 2, 1);
        let mut socket = received.recv().unwrap();
        match surplus {
            b"" => socket.shutdown(std::net::Shutdown::Both).unwrap(),
            surplus => socket.write_all(surplus).unwrap(),
        }
        await_input(&node);
        assert!(send(&node).is_none());
        assert_eq!(there(&node), [0, 0, 0]);
        assert_eq!(node.ask(&get(), late()), found());
        received.recv().unwrap();
    }
}

#[test]
fn what_is_held_goes_in_front_of_it() {
    let (server, pieces) = held::saying();
    let node = with_idle(&server, 4, 1);
    let writes = counted(&node);
    held::often(&node);
    node.tell(set()).unwrap();
    node.tell(set()).unwrap();
    let sent = send(&node).unwrap();
    assert!(!node.holds());
    assert_eq!(sent.finish(late()), Some(found()));
    assert_eq!(writes(), [2, 0, 0]);
    let together: [&[u8]; 5] = [b"SET", b"PEXPIRE", b"SET", b"PEXPIRE", b"GET"];
    assert_eq!(pieces.iter().nth(1).unwrap(), together);
    // What it does not learn of, it has lost.
    held::often(&node);
    node.tell(set()).unwrap();
    drop(send(&node).unwrap());
    assert_eq!(writes(), [2, 0, 1]);
}

#[test]
fn a_full_socket_takes_none_and_is_closed() {
    let server = Server::start(|_, mut socket| {
        greet(&mut socket);
        commands(&mut socket).unwrap();
        socket.write_all(b"$3\r\nkey\r\n").unwrap();
        thread::park();
    });
    let node = Arc::new(server.node());
    let writes = counted(&node);
    assert_eq!(node.ask(&get(), late()), found());
    let mut large = Pipeline::new();
    large.command(&[b"GET", &vec![0; 20_000_000]]);
    held::often(&node);
    node.tell(set()).unwrap();
    assert!(node.clone().send(&large).is_none());
    assert_eq!((there(&node), writes()), ([0, 0, 0], [0, 0, 1]));
}

#[test]
fn what_the_store_says_of_itself_is_its_error_as_of_any_question() {
    for (reply, error, left) in [
        (&b"-READONLY You can't write\r\n"[..], "readonly", 0),
        (b"-NOPERM no permissions\r\n", "acl", 1),
    ] {
        let server = Server::answering(move |words| match &words[0][..] {
            b"GET" => reply.to_vec(),
            _ => b"+OK\r\n".to_vec(),
        });
        let node = with_idle(&server, 4, 2);
        let outcome = send(&node).unwrap().finish(late()).unwrap();
        assert_eq!(outcome.unwrap_err().reason().word(), error);
        assert_eq!(there(&node), [left, left, 0]);
    }
}

#[test]
fn a_server_that_does_not_answer_costs_its_time_and_no_more() {
    let server = Server::start(|_, mut socket| {
        greet(&mut socket);
        let _ = socket.read(&mut [0; 512]);
        thread::park();
    });
    let node = with_idle(&server, 4, 1);
    let late = Some(Err(StoreError::Timeout(Phase::Wait)));
    assert_eq!(send(&node).unwrap().finish(soon()), late);
    assert_eq!(there(&node), [0, 0, 0]);
}
