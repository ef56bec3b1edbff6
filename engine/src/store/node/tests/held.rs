//! What is told while questions come often waits for the next of them, and not for long.

use super::*;

/// Questions come often, and will.
fn often(node: &Node) {
    let last = Instant::now().checked_add(Duration::from_secs(3600));
    node.pool.lock().pace = Pace { last, gap: Duration::ZERO };
}

/// A server that says which commands came in one piece.
fn saying() -> (Server, Receiver<Vec<Vec<u8>>>) {
    let (sent, received) = mpsc::channel();
    let server = Server::start(move |_, mut socket| {
        while let Some(commands) = commands(&mut socket) {
            sent.send(commands.iter().map(|words| words[0].clone()).collect()).unwrap();
            let answers: Vec<u8> = commands.iter().flat_map(|words| echo(words)).collect();
            socket.write_all(&answers).unwrap();
        }
    });
    (server, received)
}

/// A connection is there.
fn met(node: &Node) {
    assert_eq!(node.ask(&get(), late()), found());
    often(node);
}

#[test]
fn it_goes_in_front_of_the_next_question() {
    let (server, pieces) = saying();
    let node = server.node();
    let writes = counted(&node);
    met(&node);
    node.tell(set()).unwrap();
    node.tell(set()).unwrap();
    assert!(node.holds());
    assert_eq!(node.ask(&get(), late()), found());
    assert!(!node.holds());
    assert_eq!(writes(), [2, 0, 0]);
    let pieces: Vec<_> = pieces.try_iter().collect();
    let together: [&[u8]; 5] = [b"SET", b"PEXPIRE", b"SET", b"PEXPIRE", b"GET"];
    assert_eq!(pieces, [&[b"CLIENT" as &[u8]][..], &[b"GET"], &together]);
    assert_eq!(node.ask(&get(), late()), found(), "and each question has its own reply");
}

#[test]
fn where_no_question_comes_it_is_told_all_the_same() {
    for ends in [false, true] {
        let (server, pieces) = saying();
        let node = server.node();
        let writes = counted(&node);
        met(&node);
        node.tell(set()).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while node.holds() {
            node.tell_held(ends);
            assert!(!ends || !node.holds(), "a process that ends waits for nothing");
            assert!(Instant::now() < until, "it is held for ever");
            thread::yield_now();
        }
        let told: [&[u8]; 2] = [b"SET", b"PEXPIRE"];
        assert_eq!(pieces.iter().nth(2).unwrap(), told);
        assert_eq!(node.ask(&get(), late()), found());
        assert_eq!(writes(), [1, 0, 0]);
    }
}

#[test]
fn where_no_connection_is_left_it_is_not_held_for_ever() {
    let (server, _pieces) = saying();
    let node = server.node();
    let writes = counted(&node);
    met(&node);
    node.tell(set()).unwrap();
    node.close_all();
    let until = Instant::now() + Duration::from_secs(30);
    while node.holds() {
        node.tell_held(false);
        assert!(Instant::now() < until, "it is held for ever");
        thread::yield_now();
    }
    assert_eq!(writes(), [0, 1, 0]);
}

#[test]
fn where_questions_have_become_rare_the_next_connection_takes_it() {
    let (server, pieces) = saying();
    let node = server.node();
    met(&node);
    node.tell(set()).unwrap();
    node.pool.lock().pace = Pace::default();
    let mut other = Pipeline::new();
    other.command(&[b"OTHER"]);
    node.tell(other).unwrap();
    assert!(!node.holds());
    let told: Vec<_> = pieces.iter().flatten().skip(2).take(3).collect();
    assert_eq!(told, [&b"SET"[..], b"PEXPIRE", b"OTHER"], "in the order it came");
}

#[test]
fn what_the_store_says_of_it_is_not_said_of_the_question() {
    let server = Server::answering(|words| match &words[0][..] {
        b"SET" => b"-OOM command not allowed\r\n".to_vec(),
        _ => echo(words),
    });
    let node = server.node();
    let writes = counted(&node);
    met(&node);
    node.tell(set()).unwrap();
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!(writes(), [0, 1, 0]);
}

#[test]
fn it_is_lost_with_its_connection_and_the_question_is_not() {
    let server = Server::start(|number, mut socket| {
        greet(&mut socket);
        while let Some(commands) = commands(&mut socket) {
            if number == 0 && commands.len() > 1 {
                return;
            }
            socket.write_all(&echo(&commands[0])).unwrap();
        }
    });
    let node = server.node();
    let writes = counted(&node);
    met(&node);
    node.tell(set()).unwrap();
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!((writes(), server.accepted()), ([0, 0, 1], 2));
}

#[test]
fn it_is_lost_as_well_where_its_connection_had_ended_before() {
    let server = Server::start(|number, mut socket| {
        greet(&mut socket);
        while let Some(commands) = commands(&mut socket) {
            if number == 0 && commands[0][0] == b"SET" {
                return;
            }
            socket.write_all(&echo(&commands[0])).unwrap();
        }
    });
    let node = server.node();
    let writes = counted(&node);
    assert_eq!(node.ask(&get(), late()), found());
    node.tell(set()).unwrap();
    await_input(&node);
    often(&node);
    node.tell(set()).unwrap();
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!((writes(), server.accepted()), ([0, 0, 2], 2));
}

#[test]
fn it_is_counted_where_it_is_not_told() {
    let server = Server::answering(echo);
    let node = server.node();
    let writes = counted(&node);
    met(&node);
    // Too old: what it says of lives was reckoned then.
    node.tell(set()).unwrap();
    node.pool.lock().untold[0].0 -= UNTOLD + Duration::from_millis(1);
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!(writes(), [0, 1, 0]);
    // Too much.
    often(&node);
    (0..MOST_HELD).for_each(|_| node.tell(set()).unwrap());
    node.tell(set()).unwrap();
    assert_eq!(node.ask(&get(), late()), found());
    assert_eq!(writes(), [MOST_HELD as u64 + 1, 1, 0]);

    // Nobody there any more.
    let (sent, received) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = node_of(&listener);
    let goes = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        greet(&mut socket);
        commands(&mut socket).unwrap();
        socket.write_all(b"$3\r\nkey\r\n").unwrap();
        received.recv().unwrap();
    });
    let writes = counted(&gone);
    met(&gone);
    gone.tell(set()).unwrap();
    sent.send(()).unwrap();
    goes.join().unwrap();
    gone.close_all();
    assert!(matches!(gone.ask(&get(), late()), Err(StoreError::Connect(_))));
    assert_eq!(writes(), [0, 1, 0]);
}

fn node_of(listener: &TcpListener) -> Node {
    node(&format!("redis://{}", listener.local_addr().unwrap()))
}

#[test]
fn nothing_is_left_behind_where_one_tells_while_another_gives_back() {
    let server = Server::answering(echo);
    let mut options = options(&format!("redis://{}", server.address));
    options.connections = 1;
    let node = Node::new(options);
    assert_eq!(node.ask(&get(), late()), found());
    for _ in 0..300 {
        node.pool.lock().pace = Pace::default();
        thread::scope(|scope| {
            scope.spawn(|| node.ask(&get(), late()).unwrap());
            scope.spawn(|| (0..5).for_each(|_| _ = node.tell(set())));
        });
        assert!(!node.holds());
    }
}

#[test]
fn questions_come_often_where_some_have_followed_each_other_closely() {
    let mut pace = Pace::default();
    let (mut now, close) = (Instant::now(), Duration::from_micros(300));
    let mut until_dense = || {
        (1..100).find(|_| {
            now += close;
            pace.asked(now);
            pace.is_dense(now)
        })
    };
    let first = until_dense().expect("dense");
    assert!((5..20).contains(&first), "{first}");
    assert_eq!(until_dense(), Some(1));
    let at = now;
    assert!(pace.is_dense(at + HELD / 2) && !pace.is_dense(at + HELD), "the last was long ago");
    // After a pause, however long.
    let later = at + Duration::from_secs(60);
    pace.asked(later);
    assert!(!pace.is_dense(later));
}
