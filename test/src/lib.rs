//! The development servers, the demo and the test rig of ngx-phantom-token.
//!
//! [`AuthorizationServer`] and [`Api`] are the gateway's two neighbours, small enough to run inside a
//! test and whole enough to try the tutorial with. [`Gateway`] writes a configuration, starts the
//! real NGINX with the built module and, when it ends, reads the error log for what must never be
//! there. [`Rig`] is all three. [`Client`] speaks HTTP/1.1 byte by byte, [`curl`] as people do,
//! [`Browser`] is one. [`servers`] are authorization servers no one here wrote. [`demo`] puts it all
//! together for `make run`.
//!
//! Everything listens on loopback only, unless one of the two servers is told otherwise.

pub mod api;
pub mod authorization_server;
pub mod browser;
pub mod client;
pub mod demo;
pub mod example;
pub mod fleet;
pub mod grpc;
pub mod http;
pub mod http2;
pub mod jose;
pub mod jwt;
pub mod keys;
pub mod load;
pub mod mcp;
pub mod metrics;
pub mod nginx;
mod peer;
pub mod port;
pub mod process;
pub mod random;
pub mod rig;
pub mod server;
pub mod servers;
pub mod soak;
pub mod store;
pub mod tls;
pub mod tool;

pub use api::Api;
pub use authorization_server::{AuthorizationServer, Mint, Script};
pub use browser::Browser;
pub use client::{Client, Response, curl};
pub use fleet::Fleet;
pub use grpc::GrpcServer;
pub use metrics::Metrics;
pub use nginx::Gateway;
pub use rig::{Reply, Rig};
pub use servers::OidcProvider;
pub use store::Store;
