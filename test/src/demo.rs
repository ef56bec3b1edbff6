//! The tutorial at one command: authorization server, API and gateway, until Ctrl-C. And a fleet's: two
//! gateways that share a store.

mod fleet;
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

use crate::api::Api;
use crate::authorization_server::{self, AuthorizationServer, CLIENT, TOKEN_PATH};
use crate::client::Client;
use crate::process;

pub use ports::Ports;

/// What the demo is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The NGINX binary.
    pub nginx: PathBuf,
    /// The built module.
    pub module: PathBuf,
    /// The gateway's configuration, with the tutorial's ports. It loads
    /// `modules/ngx_http_phantom_token_module.so`. `None` for a fleet, which has its own.
    pub conf: Option<PathBuf>,
    /// Where the servers listen.
    pub ports: Ports,
}

/// Why the demo does not run.
#[derive(Debug)]
pub enum Error {
    /// A port is taken: what it is for, its number, and by whom, where that can be found out.
    PortTaken {
        /// What needs it.
        part: &'static str,
        /// The variable of `make` that sets it.
        variable: &'static str,
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
            Self::PortTaken { part, variable, port, holder } => {
                write!(f, "port {port}, which the {part} needs, is taken")?;
                if let Some(holder) = holder {
                    write!(f, " by {holder}")?;
                }
                write!(f, ": stop what listens there, or give another port, as {variable}=PORT")
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

/// Runs the demo until it is told to end (Ctrl-C, SIGTERM, SIGHUP). Leaves no process and no file.
///
/// # Errors
/// Where it cannot start, or a part ends by itself.
pub fn run(parts: &Parts) -> Result<(), Error> {
    check_files(&[&parts.nginx, &parts.module])?;
    let Some(conf) = &parts.conf else { return fleet::run(parts) };
    check_files(&[conf])?;
    parts.ports.check(false)?;
    let stage = Stage::set(parts.ports)?;
    let prefix = prepare(&parts.module).map_err(|e| Error::Io("make a directory", e))?;
    let copy = adapt(conf, &parts.ports, prefix.path())
        .map_err(|e| Error::Io("write a configuration", e))?;
    let gateway = Gateway::start(&parts.nginx, &copy, prefix.path(), parts.ports.gateway)?;
    let tail = log::follow(prefix.path());
    let asked = fs::read_to_string(&copy).map_err(|e| Error::Io("read a configuration", e))?;
    let outcome = stage.watch(&mut [gateway], |stage| invitation(stage, conf, &asked));
    drop(tail);
    println!();
    outcome
}

/// A copy of the configuration with other ports, beside links to the files that it may name.
fn adapt(conf: &Path, ports: &Ports, prefix: &Path) -> io::Result<PathBuf> {
    let (conf, folder) = (conf.canonicalize()?, prefix.join("conf"));
    fs::create_dir(&folder)?;
    for file in fs::read_dir(conf.parent().unwrap_or(Path::new("/")))? {
        let file = file?;
        if file.path() != conf {
            std::os::unix::fs::symlink(file.path(), folder.join(file.file_name()))?;
        }
    }
    let copy = folder.join("nginx.conf");
    let _ = fs::remove_file(&copy);
    fs::write(&copy, ports.put_into(&fs::read_to_string(&conf)?))?;
    Ok(copy)
}

fn check_files(files: &[&Path]) -> Result<(), Error> {
    let missing = files.iter().find(|path| !path.exists());
    missing.map_or(Ok(()), |path| Err(Error::Missing(path.to_path_buf())))
}

/// What is around the gateways.
struct Stage {
    authorization_server: AuthorizationServer,
    api: Api,
    ports: Ports,
    ending: Arc<AtomicBool>,
}

impl Stage {
    fn set(ports: Ports) -> Result<Self, Error> {
        let ending = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, ending.clone())
                .map_err(|e| Error::Io("watch for signals", e))?;
        }
        let authorization_server = AuthorizationServer::builder()
            .port(ports.authorization_server)
            .without_records()
            .start()
            .map_err(|e| Error::Io("start the authorization server", e))?;
        let api = Api::on(ports.api, false).map_err(|e| Error::Io("start the API", e))?;
        Ok(Self { authorization_server, api, ports, ending })
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Waits until all answer, says so in the words of `invitation`, then waits for the end.
    fn watch(
        &self,
        gateways: &mut [Gateway],
        invitation: impl FnOnce(&Self) -> String,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let answers = |port: u16, path: &str| {
            Client::try_connect(port).is_ok_and(|mut client| client.try_get(path, &[]).is_ok())
        };
        let neighbours = [
            (
                "authorization server",
                self.ports.authorization_server,
                authorization_server::JWKS_PATH,
            ),
            ("API", self.ports.api, "/"),
        ];
        let listening = gateways.iter().map(|gateway| ("gateway", gateway.port, "/api"));
        let parts: Vec<_> = neighbours.into_iter().chain(listening).collect();
        for (part, port, path) in parts {
            while !answers(port, path) {
                gateways.iter_mut().try_for_each(Gateway::check)?;
                if self.is_ending() {
                    return Ok(());
                }
                if start.elapsed() > Duration::from_secs(60) {
                    return Err(Error::Silent(part));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        println!("{}", invitation(self));
        while !self.is_ending() {
            if let Err(error) = gateways.iter_mut().try_for_each(Gateway::check) {
                // A signal to all of us may have reached NGINX first.
                thread::sleep(Duration::from_millis(50));
                return if self.is_ending() { Ok(()) } else { Err(error) };
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Which authorization server the gateways ask.
struct Asked {
    /// Where it is.
    url: String,
    /// It is the demo's.
    is_ours: bool,
}

impl Asked {
    /// The first that a configuration names.
    fn of(configuration: &str, ours: &str) -> Self {
        let named = configuration.lines().find_map(|line| {
            let value = line.trim_start().strip_prefix("phantom_token_introspection_endpoint ")?;
            value.split([' ', ';']).find(|word| !word.is_empty())
        });
        match named {
            Some(url) if !url.starts_with(&format!("{ours}/")) => {
                Self { url: url.to_owned(), is_ours: false }
            }
            _ => Self { url: ours.to_owned(), is_ours: true },
        }
    }

    /// The command that asks for an access token, and keeps it; or where to write one.
    fn token_command(&self) -> String {
        let (id, secret) = CLIENT;
        if !self.is_ours {
            return "TOKEN=ACCESS_TOKEN".to_owned();
        }
        format!(
            r#"TOKEN=$(curl -s -u {id}:{secret} -d grant_type=client_credentials -d scope=read \
      {}{TOKEN_PATH} | sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/')"#,
            self.url
        )
    }

    /// How to come by a token.
    fn get_token(&self) -> &'static str {
        match self.is_ours {
            true => "Get an opaque access token",
            false => "Write an access token of your server in place of ACCESS_TOKEN",
        }
    }

    /// How to have the demo's gateways ask another server.
    fn own_server(&self, conf: &Path, command: &str) -> String {
        if !self.is_ours {
            return format!(
                "The gateway asks your own authorization server, as {} says. Where that does not work,\n\
                 `make probe` builds phantom-token-probe, which asks it likewise and says why.",
                conf.display()
            );
        }
        format!(
            "To ask your own authorization server, write its values into three lines of {}:\n\
             phantom_token_introspection_endpoint, phantom_token_client_id and phantom_token_client_secret.\n\
             Then run `{command}` again, and send a token of that server.",
            conf.display()
        )
    }
}

fn invitation(stage: &Stage, conf: &Path, configuration: &str) -> String {
    let gateway = format!("http://127.0.0.1:{}", stage.ports.gateway);
    let asked = Asked::of(configuration, stage.authorization_server.url());
    format!(
        r#"
Ready.
  gateway               {gateway}
  its status page       {gateway}/status
  authorization server  {url}
  API                   {api}

{get_token} and call the API with it; the API gets a JWT:

  {token}
  curl -i -H "Authorization: Bearer $TOKEN" {gateway}/api

Call it without one; the gateway refuses:

  curl -i {gateway}/api

{own_server}

The gateway's log follows. Ctrl-C ends it all.
"#,
        url = asked.url,
        get_token = asked.get_token(),
        token = asked.token_command(),
        api = stage.api.url(),
        own_server = asked.own_server(conf, "make run"),
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
    port: u16,
    log: PathBuf,
    stderr: PathBuf,
}

impl Gateway {
    fn start(nginx: &Path, conf: &Path, prefix: &Path, port: u16) -> Result<Self, Error> {
        let absolute = |path: &Path| path.canonicalize().map_err(|e| Error::Io("find a file", e));
        let log = prefix.join("logs/error.log");
        let mut command = Command::new(absolute(nginx)?);
        command.arg("-p").arg(prefix).arg("-c").arg(absolute(conf)?).arg("-e").arg(&log);
        let stderr = prefix.join("logs/stderr");
        let said = fs::File::create(&stderr).map_err(|e| Error::Io("make a file", e))?;
        command.args(["-g", "daemon off;"]).stdin(Stdio::null()).stderr(said);
        process::bind_to_starter(&mut command);
        let child = command.spawn().map_err(|e| Error::Io("start NGINX", e))?;
        Ok(Self { child, port, log, stderr })
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
