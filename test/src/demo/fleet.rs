//! Two gateways that share a store: `make run-fleet`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Error, Gateway, Stage, check_these, log, prepare, token_command};
use crate::api::Api;
use crate::authorization_server::AuthorizationServer;
use crate::fleet;
use crate::store::Store;

/// The ports of the two gateways.
const PORTS: [u16; 2] = [8080, 8081];

/// The configuration of either, but for its port and the store.
const CONFIGURATION: &str = include_str!("fleet.conf");

pub(super) fn run(nginx: &Path, module: &Path) -> Result<(), Error> {
    check_these(&PORTS.map(|port| ("gateway", port)))?;
    let stage = Stage::set()?;
    let store = Store::start();
    let key = fleet::key();
    let prefixes = [prefix(module)?, prefix(module)?];
    let mut gateways = Vec::new();
    for (port, prefix) in PORTS.into_iter().zip(&prefixes) {
        let conf = configure(prefix.path(), port, &store, &key)
            .map_err(|e| Error::Io("write a configuration", e))?;
        gateways.push(Gateway::start(nginx, &conf, prefix.path(), port)?);
    }
    let tails = prefixes.each_ref().map(|prefix| log::follow(prefix.path()));
    let outcome = stage.watch(&mut gateways, |server, api| invitation(server, api, &store));
    drop(gateways);
    drop(tails);
    println!();
    outcome
}

fn prefix(module: &Path) -> Result<TempDir, Error> {
    prepare(module).map_err(|e| Error::Io("make a directory", e))
}

/// Writes a gateway's configuration and the fleet's key; the file of the configuration.
fn configure(
    prefix: &Path,
    port: u16,
    store: &Store,
    key: &str,
) -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let key_file = prefix.join("fleet.key");
    fs::write(&key_file, key)?;
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
    let text = CONFIGURATION
        .replace("PORT", &port.to_string())
        .replace("STORE", &store.url())
        .replace("KEY", &key_file.display().to_string());
    let conf = prefix.join("nginx.conf");
    fs::write(&conf, text)?;
    Ok(conf)
}

fn invitation(server: &AuthorizationServer, api: &Api, store: &Store) -> String {
    let [first, second] = PORTS.map(|port| format!("http://127.0.0.1:{port}"));
    format!(
        r#"
Ready.
  gateways              {first}, {second}
  store                 {store_url} ({version})
  authorization server  {url}
  API                   {api}

Get an opaque access token and call the API with it by both gateways. "Phantom-Token: MISS" is a call to the
authorization server, "STORE" another gateway's answer, "HIT" the gateway's own:

  {token}
  curl -si -H "Authorization: Bearer $TOKEN" {first}/api | grep Phantom-Token
  curl -si -H "Authorization: Bearer $TOKEN" {second}/api | grep Phantom-Token
  curl -si -H "Authorization: Bearer $TOKEN" {second}/api | grep Phantom-Token

Revoke it at the authorization server, and purge it at the first gateway (204); the second refuses it (401):

  curl -s -u '{id}:{secret}' -d "token=$TOKEN" {url}{revocation}
  curl -si -d "token=$TOKEN" {first}/purge | head -n 1
  curl -si -H "Authorization: Bearer $TOKEN" {second}/api | head -n 1

What each has done, and whether it hears the store, at {first}/status and {second}/status.
The gateways' logs follow. Ctrl-C ends it all.
"#,
        token = token_command(server),
        store_url = store.url(),
        version = store.version(),
        url = server.url(),
        api = api.url(),
        id = crate::authorization_server::CLIENT.0,
        secret = crate::authorization_server::CLIENT.1,
        revocation = crate::authorization_server::REVOCATION_PATH,
    )
}
