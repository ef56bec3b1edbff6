//! NGINX's processes: signals, binary upgrades, one process alone, workers that crash, many reloads.

use std::fs;

use phantom_token_test::process::{alive, own_memory, signal, threads, wait_until};
use phantom_token_test::{Api, AuthorizationServer, Client, Gateway, Mint, Rig, Script, nginx};

#[test]
fn logs_are_reopened() {
    let rig = Rig::start(|builder| builder);
    rig.gateway.get("/api", &[]);
    rig.gateway.wait_for_log(&["phantom token", "no access token"]);
    let log = rig.gateway.prefix().join("error.log");
    fs::rename(&log, rig.gateway.prefix().join("error.log.1")).unwrap();
    rig.gateway.signal(libc::SIGUSR1);
    wait_until("a new error log", || log.exists());
    // The worker reopens its logs at its own next turn; then its lines stand in the new file.
    wait_until("a line of the module", || {
        rig.gateway.get("/api", &[]);
        !rig.gateway.module_lines().is_empty()
    });
    // A call goes on over it: its lines are written by the cycle's log.
    rig.server.script("failing", Script::status(500));
    assert_eq!(rig.get_as("failing").status, 500);
    rig.gateway.wait_for_log(&["[error]", "phantom token"]);
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn a_shutdown_timeout_ends_waiting_requests_cleanly() {
    let rig = Rig::start(|builder| {
        builder.main("worker_shutdown_timeout 100ms;").http("phantom_token_timeout 30m;")
    });
    let _hold = rig.server.hold();
    let token = rig.server.issue();
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    rig.server.wait_for_introspections(1);
    let old = rig.gateway.workers();
    rig.gateway.reload();
    assert!(client.closes(), "without a response");
    wait_until("the old worker's end", || !alive(old[0]));
    assert_eq!(rig.api.count(), 0);

    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    rig.server.wait_for_introspections(2);
    rig.gateway.quit();
    assert!(client.closes(), "without a response");
    rig.gateway.wait_exit();
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn one_process_alone() {
    // Its HUP is NGINX's own trouble, and not tested.
    for daemon in ["master_process off;", "daemon off;\nmaster_process off;"] {
        let single = daemon.starts_with("master");
        let server = AuthorizationServer::start();
        let api = Api::start();
        let builder = Gateway::builder()
            .protect(&server, &api)
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .main("master_process off;")
            .workers(0);
        server.script("failing", Script::status(500));
        let token = server.issue();
        let use_it = |port: u16| {
            for (bearer, status) in
                [(&*token.token, 200), (&*token.token, 200), ("unknown", 401), ("failing", 500)]
            {
                assert_eq!(Client::connect(port).get_as("/api", bearer).status, status);
            }
        };
        if single {
            let gateway = builder.start();
            use_it(gateway.port());
            gateway.end(libc::SIGQUIT);
        } else {
            let daemon = builder.start_daemon();
            use_it(daemon.port());
        }
        assert_eq!(api.last().authorization(), [token.phantom()]);
        assert_eq!(server.introspections_of(&token.token), 1);
    }
}

/// A daemon with one worker, its authorization server and its API.
fn daemon() -> (nginx::Daemon, AuthorizationServer, Api) {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let daemon = Gateway::builder().protect(&server, &api).start_daemon();
    (daemon, server, api)
}

#[test]
fn a_binary_upgrade_loses_nothing() {
    let (mut daemon, server, _api) = daemon();
    let waiting = server.issue();
    let hold = server.hold_token(&waiting.token);
    let mut client = Client::connect(daemon.port());
    client.send_request("GET", "/api", &[("Authorization", &waiting.bearer())], b"");
    server.wait_for_introspections(1);

    let (old, new) = daemon.upgrade();
    for _ in 0..5 {
        assert_eq!(daemon.get_as("/api", &server.issue().token).status, 200);
    }
    daemon.retire(old);
    let token = server.issue();
    for _ in 0..5 {
        assert_eq!(daemon.get_as("/api", &token.token).status, 200);
    }
    assert_eq!(server.introspections_of(&token.token), 1);
    drop(hold);
    assert_eq!(client.read().status, 200, "what the old worker had begun");
    daemon.quit(old);
    assert_eq!(daemon.get_as("/api", &token.token).status, 200);
    assert!(alive(new));
    assert_eq!(server.introspections_of(&token.token), 1);
}

#[test]
fn a_binary_upgrade_rolls_back() {
    let (mut daemon, server, _api) = daemon();
    let token = server.issue();
    assert_eq!(daemon.get_as("/api", &token.token).status, 200);
    let (old, new) = daemon.upgrade();
    daemon.retire(old);
    assert_eq!(daemon.get_as("/api", &token.token).status, 200);
    let calls = server.introspections_of(&token.token);
    assert_eq!(calls, 2, "the new binary has a zone of its own");

    daemon.recall(old);
    daemon.quit(new);
    for _ in 0..5 {
        assert_eq!(daemon.get_as("/api", &token.token).status, 200);
    }
    assert_eq!(server.introspections_of(&token.token), calls, "the old zone is as it was");
}

#[test]
fn a_worker_that_crashes_leaves_the_cache() {
    for fatal in [libc::SIGKILL, libc::SIGSEGV] {
        let rig = Rig::start(|builder| {
            builder
                .workers(2)
                .allow("exited on signal")
                .allow("was locked by")
                .location("/metrics", "phantom_token_status;")
        });
        let token = rig.server.issue();
        rig.assert_passes(&token);
        let hold = rig.server.hold_token("unknown");
        let mut waiting: Vec<_> = (0..4).map(|_| rig.gateway.client()).collect();
        for client in &mut waiting {
            client.send_request("GET", "/api", &[("Authorization", "Bearer unknown")], b"");
        }
        rig.server.wait_for_introspections(2);
        rig.gateway.wait_for_metrics("waiting requests", |m| m.get("requests_waiting") == 4.0);
        let before = rig.gateway.workers();
        for &worker in &before {
            signal(worker, fatal).unwrap();
        }
        wait_until("new workers", || {
            let now = rig.gateway.workers();
            now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
        });
        drop(hold);
        for _ in 0..4 {
            rig.assert_passes(&token);
        }
        // One killed inside the zone has cost what is in it.
        let inside = rig.gateway.error_log().matches("was locked by").count();
        assert!(rig.server.introspections_of(&token.token) <= 1 + inside);
        assert_eq!(rig.get_as("unknown").status, 401);
    }
}

#[test]
fn a_check_starts_no_thread_and_opens_no_socket() {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let with = Gateway::builder().protect(&server, &api).count_calls();
    let without = Gateway::builder().without_module().count_calls();
    for (with, without) in
        [(with.check(), without.check()), (with.check_and_print(), without.check_and_print())]
    {
        assert!(with.ok && without.ok, "{}{}", with.messages, without.messages);
        assert!(!without.calls.is_empty(), "NGINX itself opens a socket to listen on");
        assert_eq!(with.calls, without.calls);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_master_starts_no_thread() {
    let rig = Rig::start(|builder| builder);
    rig.assert_passes(&rig.server.issue());
    rig.gateway.reload();
    rig.assert_passes(&rig.server.issue());
    assert_eq!(threads(rig.gateway.pid()), 1);
    assert!(threads(rig.gateway.workers()[0]) > 1);
}

/// The scheduling class of each thread of a process, the event loop's first.
fn scheduling_classes(pid: u32) -> Vec<(libc::pid_t, i32)> {
    let mut threads: Vec<libc::pid_t> = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    threads.sort_by_key(|thread| (*thread != pid as libc::pid_t, *thread));
    // SAFETY: sched_getscheduler() takes a number.
    threads.into_iter().map(|id| (id, unsafe { libc::sched_getscheduler(id) })).collect()
}

#[test]
fn a_thread_that_calls_does_not_interrupt_the_event_loop() {
    let rig = Rig::start(|builder| builder.main("thread_pool phantom_token threads=2;"));
    let worker = rig.gateway.workers()[0];
    let [event_loop, one, other] = scheduling_classes(worker)[..] else { panic!("2 pool threads") };
    assert_eq!([event_loop.1, one.1, other.1], [libc::SCHED_OTHER; 3]);
    // The class somebody chose for one of them stays.
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are read during the call.
    let chosen = unsafe { libc::sched_setscheduler(one.0, libc::SCHED_IDLE, &parameters) };
    assert_eq!(chosen, 0, "{}", std::io::Error::last_os_error());
    let hold = rig.server.hold();
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..2 {
        let mut client = rig.gateway.client();
        client.send_request("GET", "/api", &[("Authorization", &rig.server.issue().bearer())], b"");
        clients.push(client);
    }
    rig.server.wait_for_introspections(2);
    drop(hold);
    for client in &mut clients {
        assert_eq!(client.read().status, 200);
    }
    let classes: Vec<i32> = scheduling_classes(worker).iter().map(|(_, class)| *class).collect();
    // SAFETY: a number. In a container the tests run under a filter of system calls.
    let filtered = unsafe { libc::prctl(libc::PR_GET_SECCOMP) } != 0;
    let expected = if filtered { libc::SCHED_OTHER } else { libc::SCHED_BATCH };
    assert_eq!(classes, [libc::SCHED_OTHER, libc::SCHED_IDLE, expected]);
}

/// Has the system kill this thread, and what it starts, for a call of sched_setscheduler(), as a
/// service manager can be told to.
fn forbid_scheduling_classes() {
    let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0), // the call's number
        libc::sock_filter {
            jf: 1,
            ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_sched_setscheduler as u32)
        },
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: numbers, and a program that is read during the call.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_filter_of_system_calls_ends_no_worker() {
    forbid_scheduling_classes();
    let rig = Rig::start(|builder| builder);
    let workers = rig.gateway.workers();
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.gateway.workers(), workers);
    let classes = scheduling_classes(workers[0]);
    assert!(classes.iter().all(|(_, class)| *class == libc::SCHED_OTHER), "{classes:?}");
}

#[test]
fn two_instances_of_the_module_are_refused() {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let check = Gateway::builder()
        .protect(&server, &api)
        .file("copy.so", fs::read(nginx::module()).unwrap())
        .main("load_module copy.so;")
        .check();
    assert!(!check.ok);
    let line = check.line_of("copy.so");
    let told = "module \"ngx_http_phantom_token_module\" is already loaded in";
    assert!(check.messages.contains(told), "{}", check.messages);
    assert!(check.messages.contains(&format!("nginx.conf:{line}")), "{}", check.messages);
}

/// PHANTOM_TOKEN_RELOADS sets how many; what master and worker hold is printed.
#[test]
fn reloads_leave_memory_flat() {
    let reloads = std::env::var("PHANTOM_TOKEN_RELOADS").map_or(100, |n| n.parse().unwrap());
    let rig = Rig::start(|builder| {
        builder
            .http("client_max_body_size 0;")
            .location("= /status", "phantom_token_status;")
            .location("= /purge", "phantom_token_purge;")
    });
    rig.server.accept_prefix("reload-", Mint::new());
    let mut round = 0;
    let mut reload = || {
        rig.gateway.reload();
        assert_eq!(rig.get_as(&format!("reload-{round}")).status, 200);
        round += 1;
        (own_memory(rig.gateway.pid()), own_memory(rig.gateway.workers()[0]))
    };
    // The first ones settle what the allocator keeps for itself.
    let first = (0..reloads / 5).map(|_| reload()).last().unwrap();
    let last = (0..reloads - reloads / 5).map(|_| reload()).last().unwrap();
    println!("after {reloads} reloads: master {first:?} KiB then {last:?} KiB (master, worker)");
    assert!(last.0 < first.0 + 512, "the master grows: {first:?} then {last:?} KiB");
    assert!(last.1 < first.1 + 1024, "the workers grow: {first:?} then {last:?} KiB");
    wait_until("the old workers' end", || rig.gateway.all_workers().len() == 1);
}
