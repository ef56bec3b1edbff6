//! One thread of a gateway hears what others purge, whatever becomes of its worker and of the store.

use std::fs;
use std::time::{Duration, Instant};

use phantom_token_engine::client::{Tls, TlsOptions};
use phantom_token_engine::store::event::GatewayId;
use phantom_token_engine::store::keys::FleetKeys;
use phantom_token_engine::store::names::Names;
use phantom_token_engine::store::purge::{Purge, Target};
use phantom_token_engine::store::{self, Node, Options, StoreOptions};
use phantom_token_test::Mint;
use phantom_token_test::authorization_server::Token;
use phantom_token_test::fleet::{Fleet, pass};
use phantom_token_test::nginx::Gateway;
use phantom_token_test::process::{self, PATIENCE, wait_for, wait_until};
use std::sync::Arc;

const IN_SYNC: &str = "store_in_sync";
const GAPS: &str = "store_gaps_total";

/// Another gateway of the fleet, as far as it purges.
struct Other {
    store: store::Store,
    purges: u64,
}

impl Other {
    fn of(fleet: &Fleet) -> Other {
        let node = Node::new(Options {
            address: store::Address::parse(&fleet.store.url(), None).unwrap(),
            user: None,
            password: None,
            tls: Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap(),
            connections: 1,
        });
        let store = store::Store::new(StoreOptions {
            nodes: Arc::new(node),
            keys: Arc::new(FleetKeys::new(&[fleet.keys[0].as_bytes()]).unwrap()),
            names: Names::new("phantom_token").unwrap(),
            timeout: PATIENCE,
            lock_timeout: Duration::ZERO,
            longest: Duration::from_secs(60),
        });
        Other { store, purges: 0 }
    }

    fn purge(&mut self, token: &Token) {
        self.purges += 1;
        let (gateway, number) = (GatewayId([7; 8]), self.purges);
        let token = Target::Token(token.token.as_bytes());
        let purge = Purge::new(&self.store, token, None, gateway, number, number - 1);
        purge.tell(Instant::now() + PATIENCE).unwrap();
    }
}

/// A token that the gateway keeps.
fn kept(fleet: &Fleet, gateway: &Gateway) -> Token {
    let token = fleet.server.issue();
    wait_until("the token to be kept by each worker", || {
        (0..20).all(|_| pass(gateway, &token) == "HIT")
    });
    token
}

fn wait_until_asked_anew(gateway: &Gateway, token: &Token) {
    wait_until("the token to be asked about anew", || pass(gateway, token) != "HIT");
}

fn wait_until_in_sync(gateway: &Gateway) {
    gateway.wait_for_metrics("in sync", |metrics| metrics.get(IN_SYNC) == 1.0);
}

fn gaps(gateway: &Gateway) -> f64 {
    gateway.metrics().sum(GAPS, "reason")
}

/// The process that hears: one has the thread.
fn hearing(gateway: &Gateway) -> Vec<u32> {
    let names = |pid: &u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "phantom-hearing").count()
    };
    let all = gateway.all_workers().into_iter().chain([gateway.pid()]);
    all.flat_map(|pid| std::iter::repeat_n(pid, names(&pid))).collect()
}

fn holder(gateway: &Gateway) -> u32 {
    wait_for("one to hear", || match hearing(gateway)[..] {
        [one] => Some(one),
        _ => None,
    })
}

#[test]
fn a_purge_is_heard_whichever_worker_hears() {
    let fleet = Fleet::builder().each(|gateway| gateway.workers(3)).start_none();
    let mut other = Other::of(&fleet);
    let gateway = fleet.launch();
    gateway.allow("exited on signal 9");
    wait_until_in_sync(&gateway);
    let token = kept(&fleet, &gateway);
    other.purge(&token);
    wait_until_asked_anew(&gateway, &token);

    for _ in 0..2 {
        let first = holder(&gateway);
        assert_ne!(first, gateway.pid(), "never the master");
        let token = kept(&fleet, &gateway);
        process::signal(first, libc::SIGKILL).unwrap();
        // While nobody hears.
        other.purge(&token);
        wait_until_asked_anew(&gateway, &token);
        assert_ne!(holder(&gateway), first);
    }

    let token = kept(&fleet, &gateway);
    let before = holder(&gateway);
    gateway.reload();
    other.purge(&token);
    wait_until_asked_anew(&gateway, &token);
    assert_ne!(holder(&gateway), before);
    assert_eq!(gaps(&gateway), 0.0);
    assert_eq!(gateway.metrics().get("store_purges_total{direction=\"heard\"}"), 4.0);
    gateway.quit();
    gateway.wait_exit();
}

#[test]
fn a_store_that_was_emptied_is_noticed_and_what_is_kept_is_asked_about_anew() {
    let fleet = Fleet::builder().start_none();
    let gateway = fleet.launch();
    wait_until_in_sync(&gateway);
    let token = kept(&fleet, &gateway);
    let before = fleet.server.introspections_of(&token.token);
    fleet.store.ask(&["FLUSHALL"]);
    wait_until("the token to be asked about anew", || {
        pass(&gateway, &token);
        fleet.server.introspections_of(&token.token) > before
    });
    gateway.wait_for_log(&["[warn]", "phantom token", "purges may have been missed"]);
    wait_until_in_sync(&gateway);
    assert_eq!(gaps(&gateway), 1.0);
    assert_eq!(gateway.metrics().get(&format!("{GAPS}{{reason=\"epoch\"}}")), 1.0);
}

#[test]
fn a_store_that_is_away_at_the_start_is_heard_once_it_is_there() {
    let fleet = Fleet::builder().start_none();
    fleet.store.kill();
    let gateway = fleet.launch();
    gateway.wait_for_log(&["[error]", "cannot be heard: connection refused"]);
    kept(&fleet, &gateway);
    assert_eq!(gateway.metrics().get(IN_SYNC), 0.0);
    fleet.store.start_empty();
    wait_until_in_sync(&gateway);
    gateway.wait_for_log(&["[notice]", "is heard again"]);
    assert_eq!(gaps(&gateway), 0.0);

    // Halted, it is as good as away; and goes on without a gap.
    fleet.store.stop();
    gateway.wait_for_metrics("not in sync", |metrics| metrics.get(IN_SYNC) == 0.0);
    fleet.store.cont();
    wait_until_in_sync(&gateway);
    assert_eq!(gaps(&gateway), 0.0);
}

/// A reload to a configuration where nobody purges takes the zone of purges away, while what was heard
/// last is known on.
#[test]
fn purges_are_heard_anew_where_what_was_purged_is_not_known_any_more() {
    let fleet = Fleet::start(2);
    let gateway = &fleet.gateways[1];
    let tokens = ["heard", "own"].map(|sub| fleet.server.mint(Mint::new().claim("sub", sub)));
    for token in &tokens {
        assert_eq!(fleet.pass(0, token), "MISS");
        assert_eq!(fleet.pass(1, token), "STORE");
    }
    assert_eq!(fleet.purge(0, "sub=heard"), 204);
    assert_eq!(fleet.purge(1, "sub=own"), 204);
    gateway.wait_for_metrics("a purge that is heard", |now| {
        now.sum("store_purges_total", "heard") >= 1.0
    });

    let path = gateway.prefix().join("nginx.conf");
    let with_store = fs::read_to_string(&path).unwrap();
    let (before, block) = with_store.split_once("phantom_token_store {").expect("a store");
    let (_, behind) = block.split_once('}').expect("the end of the block");
    let without = [before, &behind.replace("phantom_token_purge;", "return 404;")].concat();
    for text in [&without, &with_store] {
        fs::write(&path, text).unwrap();
        gateway.reload();
    }
    wait_until_in_sync(gateway);
    for token in &tokens {
        assert_eq!(fleet.pass(1, token), "MISS", "it was purged");
    }
    fleet.wait_until_shares(gateway);
}
