//! Changing keys as the documentation says, while requests go on and APIs keep the set they have.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use phantom_token_test::jwt;
use phantom_token_test::keys::{self, PemKey};
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Api, AuthorizationServer, Client, Gateway, Mint};
use serde_json::Value;

use crate::support::{ISSUER, TERMS, key_set};

/// An API that verifies by the set it has, and fetches none by itself.
struct Verifying {
    api: Api,
    set: Arc<Mutex<Value>>,
    verified: Arc<AtomicUsize>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Verifying {
    fn start() -> Self {
        let (set, refused) = (Arc::new(Mutex::new(Value::Null)), Arc::new(Mutex::new(Vec::new())));
        let verified = Arc::new(AtomicUsize::new(0));
        let (known, failed, count) = (set.clone(), refused.clone(), verified.clone());
        let api = Api::checked(move |received| {
            let authorization = received.authorization();
            let jwt = authorization.first().and_then(|value| value.strip_prefix("Bearer "));
            let jwt = jwt.unwrap_or_default();
            let is_good = keys::verifies(&known.lock().unwrap(), jwt)
                && jwt::payload(jwt).is_some_and(|claims| claims["iss"] == ISSUER);
            match is_good {
                true => _ = count.fetch_add(1, Ordering::Relaxed),
                false => failed.lock().unwrap().push(jwt.to_owned()),
            }
        });
        Self { api, set, verified, refused }
    }

    fn fetch(&self, gateway: &Gateway) {
        *self.set.lock().unwrap() = key_set(gateway);
    }

    fn verified(&self) -> usize {
        self.verified.load(Ordering::Relaxed)
    }

    /// Waits until many more have come, signed by whoever signs now.
    fn wait_for_more(&self) {
        let before = self.verified();
        wait_until("more requests", || self.verified() > before + 100 || self.has_refused());
    }

    fn has_refused(&self) -> bool {
        !self.refused.lock().unwrap().is_empty()
    }
}

fn gateway(
    server: &AuthorizationServer,
    api: &Api,
    keys: &str,
    files: &[(&str, &str)],
    change: impl FnOnce(Builder) -> Builder,
) -> Gateway {
    let builder = Gateway::builder()
        .protect(server, api)
        .file("keys.conf", keys)
        .http(TERMS)
        .http("include keys.conf;")
        .location("= /jwks", "phantom_token_publish_jwks;");
    let builder = files.iter().fold(builder, |builder, (name, key)| builder.file(name, *key));
    change(builder).start()
}

#[test]
fn no_request_is_refused_while_keys_change_as_documented() {
    let (server, api) = (AuthorizationServer::start(), Verifying::start());
    let keys = [PemKey::p256(), PemKey::ed25519()];
    let files = [("one.key", &*keys[0].private), ("two.key", &*keys[1].private)];
    let [one, two] = ["phantom_token_mint_key one.key;\n", "phantom_token_mint_key two.key;\n"];
    let gateway = gateway(&server, &api.api, one, &files, |builder| {
        builder.workers(2).http("phantom_token_cache_valid 2s;")
    });
    let rotate = |keys: String| {
        let old = gateway.all_workers();
        fs::write(gateway.prefix().join("keys.conf"), keys).expect("writes a file");
        gateway.reload();
        wait_until("the old workers to end", || {
            gateway.all_workers().iter().all(|pid| !old.contains(pid))
        });
    };
    let kept: Vec<_> = (0..5).map(|_| server.mint(Mint::new()).token).collect();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        api.fetch(&gateway);
        for nth in 0..4_usize {
            let (kept, server, over, answered, port) =
                (&kept, &server, &over, &answered, gateway.port());
            scope.spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let token = match round % 3 {
                        0 => server.mint(Mint::new()).token,
                        _ => kept[(round + nth) % kept.len()].clone(),
                    };
                    assert_eq!(Client::connect(port).get_as("/api", &token).status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        api.wait_for_more();
        // The next key second: no API knows it yet.
        rotate(format!("{one}{two}"));
        api.wait_for_more();
        // All have fetched the set: it signs.
        api.fetch(&gateway);
        rotate(format!("{two}{one}"));
        api.wait_for_more();
        // The old one goes.
        rotate(two.to_owned());
        api.fetch(&gateway);
        api.wait_for_more();
        over.store(true, Ordering::Relaxed);
    });
    assert!(!api.has_refused(), "{:?}", api.refused.lock().unwrap());
    assert_eq!(api.verified(), answered.load(Ordering::Relaxed));
}

#[test]
fn two_gateways_publish_each_others_keys() {
    let (server, api) = (AuthorizationServer::start(), Verifying::start());
    let (one, two) = (PemKey::p256(), PemKey::p384());
    let named = "phantom_token_mint_key own.key;\nphantom_token_mint_key other.pub;\n";
    let gateways = [(&one, &two), (&two, &one)].map(|(own, other)| {
        let files = [("own.key", &*own.private), ("other.pub", &*other.public)];
        gateway(&server, &api.api, named, &files, |builder| builder)
    });
    let sorted = |gateway: &Gateway| {
        let mut keys = key_set(gateway)["keys"].as_array().expect("keys").clone();
        keys.sort_by_key(|key| key["kid"].to_string());
        keys
    };
    assert_eq!(sorted(&gateways[0]), sorted(&gateways[1]));
    // The API asks one of them alone.
    api.fetch(&gateways[0]);
    let token = server.mint(Mint::new());
    for gateway in gateways.iter().cycle().take(6) {
        assert_eq!(gateway.get_as("/api", &token.token).status, 200);
    }
    assert!(!api.has_refused());
    assert_eq!((api.verified(), server.introspections()), (6, 2));
}
