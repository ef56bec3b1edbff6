//! Two gateways that share a store: `make run-fleet`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Asked, Error, Gateway, Parts, Ports, Stage, log, prepare};
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
    let ours = stage.authorization_server.url();
    let asked = Asked::of(&stage.ports.put_into(CONFIGURATION), ours);
    let (id, secret) = CLIENT;
    let revoke = match asked.is_ours {
        true => format!("  curl -s -u {id}:{secret} -d \"token=$TOKEN\" {ours}{REVOCATION_PATH}\n"),
        false => String::new(),
    };
    format!(
        r#"
Ready.
  gateways              {first}, {second}
  their status pages    {first}/status, {second}/status
  store                 {store_url} ({version})
  authorization server  {url}
  API                   {api}

{get_token} and call the API with it by both gateways. "Phantom-Token: MISS" is a call to the
authorization server, "STORE" another gateway's answer, "HIT" the gateway's own:

  {token}
  curl -si -H "Authorization: Bearer $TOKEN" {first}/api | grep Phantom-Token
  curl -si -H "Authorization: Bearer $TOKEN" {second}/api | grep Phantom-Token
  curl -si -H "Authorization: Bearer $TOKEN" {second}/api | grep Phantom-Token

Revoke it at the authorization server, and purge it at the first gateway (204); the second refuses it (401):

{revoke}  curl -si -d "token=$TOKEN" {first}/purge | head -n 1
  curl -si -H "Authorization: Bearer $TOKEN" {second}/api | head -n 1

{own_server}

The gateways' logs follow. Ctrl-C ends it all.
"#,
        store_url = store.url(),
        version = store.version(),
        url = asked.url,
        api = stage.api.url(),
        get_token = asked.get_token(),
        token = asked.token_command(),
        own_server = asked.own_server(Path::new(FILE), "make run-fleet"),
    )
}
