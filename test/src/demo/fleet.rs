//! Two gateways that share a store: `make run-fleet`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Error, Gateway, Parts, Ports, Stage, log, own_server, prepare, token_command};
use crate::authorization_server::{CLIENT, REVOCATION_PATH};
use crate::fleet;
use crate::store::Store;

/// The configuration of either, but for its port and the store.
const CONFIGURATION: &str = include_str!("fleet.conf");

/// The file that it comes from.
const FILE: &str = "test/src/demo/fleet.conf";

pub(super) fn run(parts: &Parts) -> Result<(), Error> {
    let Parts { nginx, module, ports, .. } = parts;
    ports.check(true)?;
    let stage = Stage::set(*ports)?;
    let store = Store::start();
    let key = fleet::key();
    let prefixes = [prefix(module)?, prefix(module)?];
    let mut gateways = Vec::new();
    for (port, prefix) in [ports.gateway, ports.second_gateway].into_iter().zip(&prefixes) {
        let conf = configure(prefix.path(), port, ports, &store, &key)
            .map_err(|e| Error::Io("write a configuration", e))?;
        gateways.push(Gateway::start(nginx, &conf, prefix.path(), port)?);
    }
    let tails = prefixes.each_ref().map(|prefix| log::follow(prefix.path()));
    let outcome = stage.watch(&mut gateways, |stage| invitation(stage, &store));
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
    ports: &Ports,
    store: &Store,
    key: &str,
) -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let key_file = prefix.join("fleet.key");
    fs::write(&key_file, key)?;
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
    let text = ports
        .put_into(CONFIGURATION)
        .replace("PORT", &port.to_string())
        .replace("STORE", &store.url())
        .replace("KEY", &key_file.display().to_string());
    let conf = prefix.join("nginx.conf");
    fs::write(&conf, text)?;
    Ok(conf)
}

fn invitation(stage: &Stage, store: &Store) -> String {
    let [first, second] = [stage.ports.gateway, stage.ports.second_gateway]
        .map(|port| format!("http://127.0.0.1:{port}"));
    let url = stage.authorization_server.url();
    format!(
        r#"
Ready.
  gateways              {first}, {second}
  their status pages    {first}/status, {second}/status
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

  curl -s -u {id}:{secret} -d "token=$TOKEN" {url}{revocation}
  curl -si -d "token=$TOKEN" {first}/purge | head -n 1
  curl -si -H "Authorization: Bearer $TOKEN" {second}/api | head -n 1

{own_server}

The gateways' logs follow. Ctrl-C ends it all.
"#,
        token = token_command(url),
        store_url = store.url(),
        version = store.version(),
        api = stage.api.url(),
        id = CLIENT.0,
        secret = CLIENT.1,
        revocation = REVOCATION_PATH,
        own_server = own_server(Path::new(FILE), "make run-fleet"),
    )
}
