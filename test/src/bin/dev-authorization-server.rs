//! The development authorization server, on 127.0.0.1:9090 or the port or address given
//! as argument.

use std::process::ExitCode;

use phantom_token_test::authorization_server::{
    AuthorizationServer, CLIENT, DEFAULT_PORT, INTROSPECTION_CLIENT, JWKS_PATH, REVOCATION_PATH,
};
use phantom_token_test::port;

fn main() -> ExitCode {
    let Some(address) = port::listen_argument(DEFAULT_PORT) else {
        eprintln!("usage: dev-authorization-server [[ADDRESS:]PORT]");
        return ExitCode::FAILURE;
    };
    let server = match AuthorizationServer::builder()
        .address(address.ip())
        .port(address.port())
        .without_records()
        .start()
    {
        Ok(server) => server,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("token endpoint          {}   client {}:{}", server.token_url(), CLIENT.0, CLIENT.1);
    let (id, secret) = INTROSPECTION_CLIENT;
    println!("introspection endpoint  {}   client {id}:{secret}", server.introspection_url());
    println!("revocation endpoint     {}{REVOCATION_PATH}", server.url());
    println!("public keys             {}{JWKS_PATH}", server.url());
    loop {
        std::thread::park();
    }
}
