//! The thread pool that calls are made in, as it comes and as it is configured.

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::threads;
use phantom_token_test::{Gateway, Rig};

/// How many threads the worker has besides the one of its event loop, once it introspects.
fn pool_threads(change: impl FnOnce(Builder) -> Builder) -> usize {
    let rig = Rig::start(change);
    rig.assert_passes(&rig.server.issue());
    threads(rig.gateway.workers()[0]) - 1
}

#[test]
fn it_is_made_where_it_is_not_declared() {
    assert_eq!(pool_threads(|builder| builder), 64);
    let named = "phantom_token_thread_pool phantom_token;";
    assert_eq!(pool_threads(|builder| builder.directives(named)), 64);
    // Beside a pool of other locations.
    let other = "phantom_token on;\nphantom_token_thread_pool other;\ntry_files /none =204;";
    let both = |b: Builder| b.main("thread_pool other threads=2;").location("/other", other);
    assert_eq!(pool_threads(both), 66);
}

#[test]
fn it_has_the_threads_it_is_declared_with_wherever_that_is() {
    let declared = "thread_pool phantom_token threads=3 max_queue=9;";
    assert_eq!(pool_threads(|builder| builder.main(declared)), 3);
    assert_eq!(pool_threads(|builder| builder.last(declared)), 3);
    let check = Rig::start(|builder| builder);
    let twice = Gateway::builder().protect(&check.server, &check.api);
    let twice = twice.main(declared).last(declared).check();
    assert!(!twice.ok && twice.messages.contains("duplicate thread pool \"phantom_token\""));
}

#[test]
fn it_is_made_for_locations_that_introspect_in_it_alone() {
    let named = "phantom_token_thread_pool default;";
    assert_eq!(pool_threads(|builder| builder.directives(named)), 32, "NGINX's own");
    let off = Gateway::builder().http("phantom_token_thread_pool phantom_token;").start();
    assert_eq!(off.get("/", &[]).status, 404);
    assert_eq!(threads(off.workers()[0]), 1);
    // Where nothing but NGINX's own file access wants it, it is unknown, as any other.
    let check = Gateway::builder().http("aio threads=phantom_token;").check();
    assert!(!check.ok && check.messages.contains("unknown thread pool \"phantom_token\""));
}

#[test]
fn a_reload_may_declare_it() {
    let mut rig = Rig::start(|builder| builder);
    rig.assert_passes(&rig.server.issue());
    rig.gateway.reload_with(|builder| builder.last("thread_pool phantom_token threads=3;"));
    rig.assert_passes(&rig.server.issue());
    assert_eq!(threads(rig.gateway.workers()[0]), 4);
}
