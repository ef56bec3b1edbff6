//! The tutorial at one command: authorization server, API and gateway, until Ctrl-C.

mod log;
mod ports;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use tempfile::TempDir;

use crate::api::{self, Api};
use crate::authorization_server::{self, AuthorizationServer, CLIENT, TOKEN_PATH};
use crate::client::Client;
use crate::process;

/// The port of the gateway in the tutorial's configuration.
pub const GATEWAY_PORT: u16 = 8080;

/// What the demo is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The NGINX binary.
    pub nginx: PathBuf,
    /// The built module.
    pub module: PathBuf,
    /// The gateway's configuration, which loads `modules/ngx_http_phantom_token_module.so`.
    pub conf: PathBuf,
}

/// Why the demo does not run.
#[derive(Debug)]
pub enum Error {
    /// A port is taken: what it is for, its number, and by whom, where that can be found out.
    PortTaken {
        /// What needs it.
        part: &'static str,
        /// The port.
        port: u16,
        /// Name and process id of who listens there.
        holder: Option<String>,
    },
    /// A file is not there.
    Missing(PathBuf),
    /// NGINX ended; what it said beside its log, which has been shown.
    GatewayEnded(String),
    /// A part does not answer in time.
    Silent(&'static str),
    /// Anything the system refuses.
    Io(&'static str, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken { part, port, holder } => {
                write!(f, "port {port}, which the {part} needs, is taken")?;
                match holder {
                    Some(holder) => write!(f, " by {holder}: stop it and try again"),
                    None => write!(f, ": stop what listens there and try again"),
                }
            }
            Self::Missing(path) => {
                write!(f, "{} is not there: `make build` makes it", path.display())
            }
            Self::GatewayEnded(words) => write!(f, "the gateway ended\n{}", words.trim_end()),
            Self::Silent(part) => write!(f, "the {part} does not answer"),
            Self::Io(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Checks that the demo's three ports are free.
///
/// # Errors
/// [`Error::PortTaken`] for the first that is not.
pub fn check_ports() -> Result<(), Error> {
    let needed = [
        ("gateway", GATEWAY_PORT),
        ("authorization server", authorization_server::DEFAULT_PORT),
        ("API", api::DEFAULT_PORT),
    ];
    for (part, port) in needed {
        if ports::taken(port) {
            return Err(Error::PortTaken { part, port, holder: ports::holder(port) });
        }
    }
    Ok(())
}

/// Runs the demo until it is told to end (Ctrl-C, SIGTERM, SIGHUP). Leaves no process and no file.
///
/// # Errors
/// Where it cannot start, or a part ends by itself.
pub fn run(parts: &Parts) -> Result<(), Error> {
    for path in [&parts.nginx, &parts.module, &parts.conf] {
        if !path.exists() {
            return Err(Error::Missing(path.clone()));
        }
    }
    check_ports()?;
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, ending.clone()).map_err(|e| Error::Io("watch for signals", e))?;
    }
    let authorization_server = AuthorizationServer::builder()
        .port(authorization_server::DEFAULT_PORT)
        .without_records()
        .start()
        .map_err(|e| Error::Io("start the authorization server", e))?;
    let api = Api::on(api::DEFAULT_PORT, false).map_err(|e| Error::Io("start the API", e))?;
    let prefix = prepare(&parts.module).map_err(|e| Error::Io("make a directory", e))?;
    let mut gateway = Gateway::start(parts, prefix.path())?;
    let tail = log::follow(prefix.path());
    let outcome = watch(&mut gateway, &ending, &authorization_server, &api);
    drop(gateway);
    drop(tail);
    println!();
    outcome
}

/// Waits until all answer, says so, then waits for the end.
fn watch(
    gateway: &mut Gateway,
    ending: &AtomicBool,
    authorization_server: &AuthorizationServer,
    api: &Api,
) -> Result<(), Error> {
    let start = Instant::now();
    let answers = |port: u16, path: &str| {
        Client::try_connect(port).is_ok_and(|mut client| client.try_get(path, &[]).is_ok())
    };
    let parts = [
        ("authorization server", authorization_server.port(), authorization_server::JWKS_PATH),
        ("API", api::DEFAULT_PORT, "/"),
        ("gateway", GATEWAY_PORT, "/api"),
    ];
    for (part, port, path) in parts {
        while !answers(port, path) {
            gateway.check()?;
            if ending.load(Ordering::Relaxed) {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(20) {
                return Err(Error::Silent(part));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    println!("{}", invitation(authorization_server, api));
    while !ending.load(Ordering::Relaxed) {
        if let Err(error) = gateway.check() {
            // A signal to all of us may have reached NGINX first.
            thread::sleep(Duration::from_millis(50));
            return if ending.load(Ordering::Relaxed) { Ok(()) } else { Err(error) };
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn invitation(authorization_server: &AuthorizationServer, api: &Api) -> String {
    let (id, secret) = CLIENT;
    format!(
        r#"
Ready.
  gateway               http://127.0.0.1:{GATEWAY_PORT}
  authorization server  {url}
  API                   {api}

Get an opaque access token and call the API with it; the API gets a JWT:

  TOKEN=$(curl -s -u '{id}:{secret}' -d grant_type=client_credentials -d scope=read {url}{TOKEN_PATH} | sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/')
  curl -i -H "Authorization: Bearer $TOKEN" http://127.0.0.1:{GATEWAY_PORT}/api

Call it without one; the gateway refuses:

  curl -i http://127.0.0.1:{GATEWAY_PORT}/api

The gateway's log follows. Ctrl-C ends it all.
"#,
        url = authorization_server.url(),
        api = api.url(),
    )
}

/// A directory for NGINX to run in, with the module where the configuration looks for it.
fn prepare(module: &Path) -> io::Result<TempDir> {
    let prefix = tempfile::Builder::new().prefix("phantom-token-demo-").tempdir()?;
    // Workers of a master that runs as root give its rights up and must still get in.
    fs::set_permissions(prefix.path(), fs::Permissions::from_mode(0o755))?;
    fs::create_dir(prefix.path().join("logs"))?;
    fs::create_dir(prefix.path().join("modules"))?;
    std::os::unix::fs::symlink(
        module.canonicalize()?,
        prefix.path().join("modules/ngx_http_phantom_token_module.so"),
    )?;
    Ok(prefix)
}

/// The gateway's NGINX; dropping it ends it.
struct Gateway {
    child: Child,
    log: PathBuf,
    stderr: PathBuf,
}

impl Gateway {
    fn start(parts: &Parts, prefix: &Path) -> Result<Self, Error> {
        let absolute = |path: &Path| path.canonicalize().map_err(|e| Error::Io("find a file", e));
        let log = prefix.join("logs/error.log");
        let mut command = Command::new(absolute(&parts.nginx)?);
        command.arg("-p").arg(prefix).arg("-c").arg(absolute(&parts.conf)?).arg("-e").arg(&log);
        let stderr = prefix.join("logs/stderr");
        let said = fs::File::create(&stderr).map_err(|e| Error::Io("make a file", e))?;
        command.args(["-g", "daemon off;"]).stdin(Stdio::null()).stderr(said);
        process::bind_to_starter(&mut command);
        let child = command.spawn().map_err(|e| Error::Io("start NGINX", e))?;
        Ok(Self { child, log, stderr })
    }

    /// Fails where NGINX has ended.
    fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => {
                // Errors at the start stand in both.
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let said = fs::read_to_string(&self.stderr).unwrap_or_default();
                Err(Error::GatewayEnded(if log.is_empty() { said } else { String::new() }))
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        process::end(&mut self.child, libc::SIGTERM);
    }
}
