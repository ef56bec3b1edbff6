//! `nginx-conf/private-key-jwt.conf` as its reader would use it.

use phantom_token_test::Api;
use phantom_token_test::authorization_server::Assertions;
use phantom_token_test::example::Example;

use crate::{p256, server};

#[test]
fn the_example_sends_no_secret() {
    let key = p256();
    let assertions = Assertions::new("api-gateway", "https://login.example.com").with_key(&key);
    let (server, api) = (server(&assertions), Api::start());
    let gateway = Example::read("private-key-jwt.conf")
        .asks("https://login.example.com/oauth2/introspect", &server)
        .passes_to(&api)
        .file("api-gateway.key", &key.serialize_pem())
        .start();
    let token = server.issue();
    assert_eq!(gateway.get_as("/orders", &token.token).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
    assert_eq!(gateway.get_as("/orders", "unknown").status, 401);
    assert_eq!((assertions.arrived().len(), assertions.repeated()), (2, 0));
}
