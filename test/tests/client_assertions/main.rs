//! `client_auth private_key_jwt` and `client_secret_jwt`: what `nginx -t` takes and says, what is sent, and
//! what a server that takes each assertion once makes of it.

mod calls;
mod configuration;
mod example;
mod lifecycle;
mod secrets;

use phantom_token_test::authorization_server::Assertions;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{AuthorizationServer, Rig};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

const ID: &str = "gateway";
const AUDIENCE: &str = "https://as.example";
/// What makes a block's client sign with the key in the file.
const BY_KEY: &str = "client_auth private_key_jwt aud=https://as.example;\nclient_key client.key;";
/// A client secret that can sign.
const SECRET: &str = "+ 0123456789abcdef0123456789ab/ä";

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair")
}

/// A server that takes assertions alone, and those.
fn server(assertions: &Assertions) -> AuthorizationServer {
    AuthorizationServer::builder().no_client_auth().assertions(assertions).start().expect("starts")
}

/// A block of this name that asks these servers with these members.
fn block(name: &str, servers: &[&AuthorizationServer], members: &str) -> String {
    let endpoints = servers
        .iter()
        .map(|server| format!("introspection_endpoint {};\n", server.introspection_url()));
    format!(
        "phantom_token_provider {name} {{\n{}client_id {ID};\ntimeout 60s;\nconnect_timeout 30s;\n{members}\n}}",
        endpoints.collect::<String>()
    )
}

/// A gateway whose `/api` uses the block `as` with these members.
fn rig(server: AuthorizationServer, members: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(server, |builder, server| {
        let builder = builder
            .without_client()
            .http(&block("as", &[server], members))
            .directives("phantom_token_use as;");
        change(builder)
    })
}

/// One whose client signs with a key that the server knows.
fn by_key(members: &str, change: impl FnOnce(Builder) -> Builder) -> (Rig, Assertions) {
    let key = p256();
    let assertions = Assertions::new(ID, AUDIENCE).with_key(&key);
    let members = format!("{BY_KEY}\n{members}");
    let rig = rig(server(&assertions), &members, |builder| {
        change(builder.file("client.key", key.serialize_pem()))
    });
    (rig, assertions)
}
