//! A gateway under mixed traffic for as long as one likes, while everything around it fails.
//!
//! Two gateways share an authorization server and an API. The *stormy* one is reloaded every two
//! seconds, and its workers are killed. The *steady* one is left alone, so that what its workers
//! hold can be watched over the whole time. The authorization server restarts under both. Their
//! zones are too small for all tokens.
//!
//! Every response is compared with what its token must get, and the API looks at every request it
//! gets. Memory, descriptors and threads must be flat at the end.

mod field;
mod http2;
mod processes;
mod report;
mod storm;
mod traffic;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::api::Api;
use crate::authorization_server::{AuthorizationServer, Mint, Script, Token};
use crate::nginx::{Builder, Gateway};

use field::Field;
use processes::Samples;
use traffic::Visitor;

pub use report::Report;

/// Workers of each gateway.
const WORKERS: usize = 3;
/// HTTP/1.1 clients of each gateway.
const CLIENTS: usize = 3;
/// Tokens that are good all the time.
const STANDING: usize = 150;

/// How long, and how often what happens.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The whole run.
    pub length: Duration,
    /// Between two reloads of the stormy gateway.
    pub reload_every: Duration,
    /// Between two kills of one of its workers.
    pub kill_every: Duration,
    /// Between two restarts of the authorization server.
    pub restart_every: Duration,
    /// How long a restart takes.
    pub down: Duration,
    /// Between two lines that say how it goes.
    pub progress_every: Duration,
}

impl Plan {
    /// A run of this length.
    pub fn of(length: Duration) -> Self {
        Self {
            length,
            reload_every: Duration::from_secs(2),
            kill_every: Duration::from_millis(2_700),
            restart_every: Duration::from_secs(10),
            down: Duration::from_millis(400),
            progress_every: Duration::from_secs(10),
        }
    }
}

/// What all clients ask with.
struct Tokens {
    /// Good all the time.
    standing: Vec<Token>,
    /// Good, but without the scope that `/scoped` wants.
    scopeless: Vec<Token>,
}

/// Runs until the plan's time is over, and says what was seen.
///
/// # Panics
/// Where a part does not start, a reload fails, or an error log holds what it must not.
pub fn run(plan: &Plan) -> Report {
    let field = Arc::new(Field::new());
    let api = Api::checked({
        let field = field.clone();
        move |received| field.at_api(received)
    });
    let server = AuthorizationServer::builder().without_records().start().expect("starts");
    let tokens = mint(&server, plan);
    let stormy = configured(&server, &api).start();
    let steady = configured(&server, &api).start();
    let mut samples = Samples::default();
    thread::scope(|scope| {
        let over = Over(&field);
        for (name, gateway, stormy) in [("stormy", &stormy, true), ("steady", &steady, false)] {
            let (port, http2_port) = (gateway.port(), gateway.http2_port());
            let target = traffic::Target { name, port, http2_port, stormy };
            for number in 0..CLIENTS as u64 {
                let (field, server, tokens) = (&*field, &server, &tokens);
                let seed = 2 * number + u64::from(stormy) + 1;
                scope.spawn(move || {
                    let _watch = Watch(field);
                    Visitor::new(field, server, target, tokens, seed).run();
                });
            }
            let (field, tokens) = (&*field, &tokens);
            scope.spawn(move || {
                let _watch = Watch(field);
                http2::visit(field, target, tokens);
            });
        }
        storm::rage(plan, &field, &server, &stormy, &steady, &mut samples);
        drop(over);
    });
    // What has been through all that still reloads.
    stormy.reload();
    Report::new(&field, &samples)
}

/// Ends the traffic, also where something panics.
struct Over<'a>(&'a Field);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Ends the run where a client panics.
struct Watch<'a>(&'a Field);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

fn mint(server: &AuthorizationServer, plan: &Plan) -> Tokens {
    let lasting = plan.length.as_secs() as i64 + 600;
    let standing = |n: usize| {
        let size = [0, 700, 1_500, 6_000, 20_000][n % 5];
        let token = format!("{}standing-{n}", field::OPAQUE);
        server.mint(Mint::new().token(&token).expires_in(lasting).jwt_size(size))
    };
    let scopeless = |n: usize| {
        let token = format!("{}scopeless-{n}", field::OPAQUE);
        server.mint(Mint::new().token(&token).expires_in(lasting).scope("other"))
    };
    for (name, script) in [
        ("500", Script::status(500)),
        ("odd", Script::ok("application/json", "{\"active\": \"perhaps\"}")),
        ("redirect", Script::status(302).header("Location", "/")),
        ("no-jwt", Script::jwt("not.a.jwt")),
    ] {
        server.script(&format!("{}broken-{name}", field::OPAQUE), script);
    }
    Tokens {
        standing: (0..STANDING).map(standing).collect(),
        scopeless: (0..5).map(scopeless).collect(),
    }
}

fn configured(server: &AuthorizationServer, api: &Api) -> Builder {
    Gateway::builder()
        .http2()
        .protect(server, api)
        .endpoint(&format!("{} fail_timeout=1s", server.introspection_url()))
        .workers(WORKERS)
        .log_level("warn")
        .main("thread_pool phantom_token threads=8;")
        .events("worker_connections 1024;")
        .http("large_client_header_buffers 4 64k;")
        .http("phantom_token_cache_zone zone=small:192k;\nphantom_token_cache small;")
        .http("phantom_token_worker_cache 16;\nphantom_token_cache_valid 3s;")
        .http("phantom_token_cache_inactive_valid 200ms;")
        .http("phantom_token_timeout 5s;\nclient_body_buffer_size 256k;")
        .server("access_log off;\nproxy_read_timeout 20s;")
        .location(
            "/scoped",
            &format!("phantom_token on;\nphantom_token_scope read;\nproxy_pass {};", api.url()),
        )
        .location("= /purge", "phantom_token_purge;")
        .location("= /metrics", "phantom_token_status;")
        .allow("exited on signal 9")
        .allow("was locked by")
}
