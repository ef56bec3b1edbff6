//! Connections that do nothing, and those that do it slowly.

use std::time::{Duration, Instant};

use phantom_token_test::Client;
use phantom_token_test::process::{descriptors, own_memory, wait_until};
use phantom_token_test::random::setting;
use phantom_token_test::rig::UNAUTHORIZED;

use crate::support::*;

#[test]
fn requests_that_drip_get_their_own_answers_and_delay_nobody() {
    let count = setting("PHANTOM_TOKEN_DRIPS", 300) as usize;
    raise_descriptor_limit();
    let rig = rig(|builder| {
        builder
            .log_level("error")
            .events(&format!("worker_connections {};", 2 * count + 512))
            .http("client_header_timeout 600s;")
    });
    let token = cached_token(&rig);
    let tokens: Vec<_> = (0..count).map(|_| rig.server.issue()).collect();
    let requests: Vec<_> = (0..count)
        .map(|n| match n % 4 {
            0 => request("/shown", "Bearer unknown"),
            _ => request("/shown", &tokens[n].bearer()),
        })
        .collect();
    let mut dripping: Vec<_> = (0..count).map(|_| rig.gateway.client()).collect();
    // One byte of each at a time; the last quarter never gets to its end.
    let length = requests.iter().map(String::len).max().unwrap();
    let ends = count - count / 4;
    let begin = Instant::now();
    let mut client = rig.gateway.client();
    let mut hits = 0;
    for at in 0..length {
        for (n, (dripping, request)) in dripping.iter_mut().zip(&requests).enumerate() {
            let last = if n < ends { request.len() } else { request.len() - 1 };
            if at < last {
                dripping.send(&request.as_bytes()[at..=at]);
            }
        }
        for _ in 0..5 {
            assert_hit(&client.get_as("/shown", &token.token), &token);
            hits += 1;
        }
    }
    for (n, dripping) in dripping[..ends].iter_mut().enumerate() {
        let answer = dripping.read();
        if n % 4 == 0 {
            assert_eq!((answer.status, &*answer.text()), (401, UNAUTHORIZED), "{answer:?}");
        } else {
            assert_eq!(answer.status, 204, "{answer:?}");
            assert_eq!(answer.header("x-shown"), Some(&*tokens[n].phantom()));
        }
    }
    for token in &tokens[ends..] {
        assert_eq!(rig.server.introspections_of(&token.token), 0, "not asked for before its end");
    }
    println!(
        "{count} clients sent {length} bytes one by one in {:.1?}: {ends} answers, each its own; \
         {hits} hits meanwhile",
        begin.elapsed()
    );
}

#[test]
fn hits_are_served_beside_idle_connections() {
    // A descriptor each here, and one each in the worker, which both need some for other things.
    let (limit, others) = (raise_descriptor_limit(), 1_000);
    let wanted = setting("PHANTOM_TOKEN_IDLE", 10_000) as usize;
    let count = wanted.min(limit.saturating_sub(others));
    let least = wanted.min(1_000);
    assert!(
        count >= least,
        "the system allows {limit} descriptors, and {} are needed: raise the hard limit (ulimit -Hn)",
        least + others
    );
    if count < wanted {
        println!("{count} connections instead of {wanted}: the system allows {limit} descriptors");
    }
    let rig = rig(|builder| {
        builder
            .log_level("error")
            // NGINX closes idle connections where less than a sixteenth is free.
            .events(&format!("worker_connections {};", count + count / 8 + 512))
            .http("keepalive_timeout 600s;\nclient_header_timeout 600s;\naccess_log off;")
    });
    let token = cached_token(&rig);
    let worker = rig.gateway.workers()[0];
    let (memory, files) = (own_memory(worker), descriptors(worker));
    let begin = Instant::now();
    let mut idle = Vec::new();
    for n in 0..count {
        let mut client = rig.gateway.client();
        match n % 4 {
            // Kept open after an answer, in the middle of a head, and before the first byte.
            0 => assert_hit(&client.get_as("/shown", &token.token), &token),
            1 => client.send(b"GET /shown HTTP/1.1\r\nAuthorization: Bea"),
            _ => {}
        }
        idle.push(client);
        // The queue of those that NGINX has not accepted yet is short, and who never speaks may be
        // forgotten in it.
        if idle.len() % 200 == 0 || idle.len() == count {
            wait_until("the connections", || descriptors(worker) + 8 >= files + idle.len());
        }
    }
    let connected = begin.elapsed();
    let grown = own_memory(worker).saturating_sub(memory);
    let mut client = rig.gateway.client();
    for _ in 0..500 {
        assert_hit(&client.get_as("/shown", &token.token), &token);
        hit(&rig, &token);
    }
    let new = rig.server.issue();
    assert_eq!(rig.gateway.get_as("/shown", &new.token).status, 204);
    assert_hit(&idle[0].get_as("/shown", &token.token), &token);
    drop(idle);
    wait_until("the connections' end", || descriptors(worker) <= files + 8);
    println!(
        "{count} idle connections in {connected:.1?}: 1000 hits beside them, none refused; \
         {} bytes of the worker's memory each",
        grown * 1024 / count as u64
    );
    assert_eq!(rig.gateway.workers(), [worker], "the same worker");
}

#[test]
fn who_is_slow_to_ask_goes() {
    // As many of one address as the recipe lets ask at a time.
    const SLOW: usize = 100;
    let rig = rig(|builder| {
        builder
            .count_calls()
            .log_level("error")
            .http(&recipe())
            .http("keepalive_timeout 50s;")
            // Answered before NGINX looks at a limit.
            .location("/reading", "return 200 $connections_reading;")
            .location("/writing", "return 200 $connections_writing;")
    });
    let token = cached_token(&rig);
    let worker = rig.gateway.workers()[0];
    let wait_for = |target: &str, count: usize| {
        wait_until(target, || rig.gateway.get(target, &[]).text().parse() == Ok(count));
    };
    let cut_off = |clients: Vec<Client>, in_all: usize| {
        // Let go after less than a minute, as NGINX does by itself.
        let mut kept = rig.gateway.client();
        assert_eq!(kept.get("/reading", &[]).status, 200);
        rig.gateway.pass_time(Duration::from_secs(11));
        wait_until("the log of those cut off", || {
            rig.gateway.get("/reading", &[]); // NGINX sees the time at its next event
            let log = rig.gateway.access_log();
            log.iter().filter(|line| line.contains("\" 408 ")).count() == in_all
        });
        clients.into_iter().for_each(|mut client| assert!(client.closes(), "still there"));
        assert_hit(&kept.get_as("/shown", &token.token), &token);
    };

    let heads = (0..2 * SLOW).map(|_| {
        let mut client = rig.gateway.client();
        client.send(b"GET /shown HTTP/1.1\r\nHost: x\r\nAuthorization: Bea");
        client
    });
    let heads: Vec<_> = heads.collect();
    wait_for("/reading", heads.len());
    hit(&rig, &token);
    cut_off(heads, 2 * SLOW);

    let head = format!("POST /api HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n", token.bearer());
    let bodies = (0..SLOW).map(|_| {
        let mut client = rig.gateway.client();
        client.send(format!("{head}Content-Length: 10\r\n\r\nx").as_bytes());
        client
    });
    // The limit of requests has forgotten those before.
    rig.gateway.pass_time(Duration::from_secs(11));
    let bodies: Vec<_> = bodies.collect();
    wait_for("/writing", bodies.len() + 1);
    assert_eq!(rig.gateway.get_as("/shown", &token.token).status, 429);
    rig.gateway.wait_for_log(&["limiting connections by zone"]);
    cut_off(bodies, 3 * SLOW);
    assert_eq!(rig.api.count(), 0, "none got to its end");
    assert_eq!(rig.gateway.workers(), [worker], "the same worker");
}
