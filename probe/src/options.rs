//! What is asked about, of whom and how: the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lexopt::{Arg, Parser};
use phantom_token_engine::client::{
    ClientAuth, Endpoint, Once, Tls, TlsFile, TlsOptions, assertions,
};
use phantom_token_engine::directive;
use phantom_token_engine::directive::credential;
use phantom_token_engine::jose::assertion::{Assertion, AssertionKey};
use phantom_token_engine::jose::key::SigningKey;
use zeroize::Zeroizing;

use crate::input::{self, STDIN};

/// `--help`.
pub(crate) const HELP: &str = "\
Usage: phantom-token-probe [OPTION]... URL

Asks the introspection endpoint at URL about a token as ngx-phantom-token does, by
its own client and reader. Says what came and what the module makes of it, and
prints the configuration. Options are named as the directives they become.

Who asks, and about what:
  --client-id ID                   the client that introspects
  --client-secret-file FILE        its secret, in one line
  --client-key FILE                its private key (PEM), for private_key_jwt
  --token-file FILE                an access token that is good now; the JSON that a
                                   token endpoint answers will do
  --refresh-token-file FILE        a refresh token: does it pass for an access token?

How, where it is not to be found out, or cannot be:
  --client-auth WAY                basic, basic_raw, post, none, private_key_jwt or
                                   client_secret_jwt
  --aud STRING, --kid STRING       of assertions: how the server calls itself; key id
  --introspection-accept TYPE      application/jwt, application/json or
                                   application/token-introspection+jwt
  --introspection-param NAME=VALUE one more parameter
  --connect HOST:PORT              where to connect, the URL's host kept
  --ssl-trusted-certificate FILE   the CA's certificate (PEM)
  --ssl-certificate FILE, --ssl-certificate-key FILE
                                   the client's own, for mutual TLS
  --timeout SECONDS                of each call, 6 as it comes
  --provider NAME                  print a block, phantom_token_provider NAME { ... }
  --help, --version

FILE can be -, standard input. Secrets and tokens are read from files alone and never
shown, so that the output can go into a bug report. At most nine calls are made, and
none after the third that the server refuses.

Status: 0 it works; 1 it does not, the gateway would refuse this token, or none was
given; 2 wrong usage, or a file that cannot be used; 3 it works, but the refresh token
passes for an access token.

With the servers that \"make run\" starts:
  (umask 077; echo Password1 >secret)
  curl -s -u test-client:Password1 -d grant_type=client_credentials \\
      http://127.0.0.1:9090/oauth/v2/oauth-token |
  phantom-token-probe --client-id introspection-client --client-secret-file secret \\
      --token-file - http://127.0.0.1:9090/oauth/v2/oauth-introspect
";

/// The longest PEM file that is read, in bytes.
const MAX_PEM_FILE: usize = 8 * 1024 * 1024;

/// The longest file of one key, in bytes.
const MAX_KEY_FILE: usize = 64 * 1024;

/// `phantom_token_timeout` where it is not written.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(6);

/// The parameter that some servers want beside Basic credentials, and others in place of all.
pub(crate) const CLIENT_ID: &str = "client_id";

/// How long a client assertion is good for, in seconds, as with the module.
const ASSERTION_VALID: u64 = 60;

/// What the program is to do.
pub(crate) enum Command {
    Probe(Box<Options>),
    Help,
    Version,
}

/// A client secret, and where it stands.
pub(crate) struct Secret {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// All that was said.
pub(crate) struct Options {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) tls: Tls,
    pub(crate) client_id: Option<String>,
    pub(crate) secret: Option<Secret>,
    pub(crate) key: Option<PathBuf>,
    /// What makes assertions, and what they say beside who makes them.
    pub(crate) once: Option<Arc<Once>>,
    pub(crate) audience: Option<String>,
    pub(crate) kid: Option<String>,
    pub(crate) token: Option<Zeroizing<Vec<u8>>>,
    pub(crate) refresh_token: Option<Zeroizing<Vec<u8>>>,
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) accept: Option<String>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) trusted: Option<PathBuf>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Of each call; `None`: [`DEFAULT_TIMEOUT`].
    pub(crate) timeout: Option<Duration>,
    pub(crate) provider: Option<String>,
}

/// As they stand on the command line.
#[derive(Default)]
struct Said {
    url: Option<String>,
    client_id: Option<String>,
    secret_file: Option<PathBuf>,
    key: Option<PathBuf>,
    token_file: Option<PathBuf>,
    refresh_token_file: Option<PathBuf>,
    client_auth: Option<ClientAuth>,
    audience: Option<String>,
    kid: Option<String>,
    accept: Option<String>,
    params: Vec<(String, String)>,
    connect: Option<String>,
    trusted: Option<PathBuf>,
    certificate: Option<PathBuf>,
    certificate_key: Option<PathBuf>,
    timeout: Option<Duration>,
    provider: Option<String>,
}

/// Reads the command line, and the files that it names.
///
/// # Errors
/// What is wrong with it, and what to write.
pub(crate) fn read(mut parser: Parser) -> Result<Command, String> {
    let mut said = Said::default();
    let try_help = |error: String| format!("{error}; see phantom-token-probe --help");
    while let Some(arg) = parser.next().map_err(|error| try_help(error.to_string()))? {
        let name = match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("version") | Arg::Short('V') => return Ok(Command::Version),
            Arg::Long(name) => name.to_owned(),
            Arg::Value(url) => {
                let url = text("URL", url)?;
                if said.url.replace(url).is_some() {
                    return Err(try_help("there is more than one URL".to_owned()));
                }
                continue;
            }
            other => return Err(try_help(other.unexpected().to_string())),
        };
        if !NAMES.contains(&&*name) {
            return Err(try_help(format!("there is no option --{}", name.escape_debug())));
        }
        let value = parser.value().map_err(|error| try_help(error.to_string()))?;
        said.take(&name, value)?;
    }
    let Some(url) = said.url.take() else {
        return Err(try_help("the URL of the introspection endpoint is missing".to_owned()));
    };
    said.options(&url).map(|options| Command::Probe(Box::new(options)))
}

const NAMES: [&str; 16] = [
    "client-id",
    "client-secret-file",
    "client-key",
    "token-file",
    "refresh-token-file",
    "client-auth",
    "aud",
    "kid",
    "introspection-accept",
    "introspection-param",
    "connect",
    "ssl-trusted-certificate",
    "ssl-certificate",
    "ssl-certificate-key",
    "timeout",
    "provider",
];

impl Said {
    fn take(&mut self, name: &str, value: OsString) -> Result<(), String> {
        fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
            match slot.replace(value) {
                None => Ok(()),
                Some(_) => Err(format!("--{name} is written twice")),
            }
        }
        // Names of files go into the configuration as well.
        let value = text(&format!("--{name}"), value)?;
        match name {
            "client-secret-file" => once(&mut self.secret_file, name, value.into()),
            "client-key" => once(&mut self.key, name, value.into()),
            "token-file" => once(&mut self.token_file, name, value.into()),
            "refresh-token-file" => once(&mut self.refresh_token_file, name, value.into()),
            "ssl-trusted-certificate" => once(&mut self.trusted, name, value.into()),
            "ssl-certificate" => once(&mut self.certificate, name, value.into()),
            "ssl-certificate-key" => once(&mut self.certificate_key, name, value.into()),
            "client-id" => {
                credential::check(value.as_bytes())
                    .map_err(|error| format!("--client-id {error}"))?;
                once(&mut self.client_id, name, value)
            }
            "client-auth" => {
                let way = ClientAuth::WORDS.into_iter().find(|(word, _)| *word == value);
                let words = ClientAuth::WORDS.map(|(word, _)| word).join(", ");
                let (_, way) = way.ok_or_else(|| format!("--client-auth is one of {words}"))?;
                once(&mut self.client_auth, name, way)
            }
            "aud" => once(&mut self.audience, name, value),
            "kid" => once(&mut self.kid, name, value),
            "introspection-accept" if directive::is_accept(value.as_bytes()) => {
                once(&mut self.accept, name, value)
            }
            "introspection-accept" => {
                Err("--introspection-accept is a media type such as application/json".to_owned())
            }
            "introspection-param" => match value.split_once('=') {
                Some(("token" | "client_secret" | "client_assertion", _))
                | Some(("", _))
                | None => {
                    Err("--introspection-param is NAME=VALUE, and not for secrets".to_owned())
                }
                Some(("token_type_hint" | "client_assertion_type", _)) => {
                    Err("--introspection-param is for what the module does not send itself"
                        .to_owned())
                }
                Some((_, value)) if value.contains('$') => {
                    Err("--introspection-param takes no $: NGINX would read a variable's name"
                        .to_owned())
                }
                Some((name, value)) => {
                    self.params.push((name.to_owned(), value.to_owned()));
                    Ok(())
                }
            },
            "connect" => once(&mut self.connect, name, value),
            "timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=60).contains(seconds));
                let seconds: u64 =
                    seconds.ok_or("--timeout is a number of seconds from 1 to 60")?;
                once(&mut self.timeout, name, Duration::from_secs(seconds))
            }
            _ => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
                if value.is_empty() || !value.bytes().all(fits) {
                    return Err("--provider is a name of letters, digits, _ and -".to_owned());
                }
                once(&mut self.provider, name, value)
            }
        }
    }

    fn options(self, url: &str) -> Result<Options, String> {
        let endpoint = Endpoint::parse(url, self.connect.as_deref())
            .map_err(|error| format!("URL: {error}"))?;
        if url.contains('$') {
            return Err("URL: write %24 for $, which NGINX takes for a variable's".to_owned());
        }
        let stdin = [
            &self.secret_file,
            &self.key,
            &self.token_file,
            &self.refresh_token_file,
            &self.trusted,
            &self.certificate,
            &self.certificate_key,
        ];
        let from_stdin = stdin.iter().filter(|path| path.as_deref() == Some(Path::new(STDIN)));
        if from_stdin.count() > 1 {
            return Err("only one file can be standard input".to_owned());
        }
        let secret = self.secret_file.map(secret).transpose()?;
        let tls =
            tls(&self.trusted, &self.certificate, &self.certificate_key, endpoint.is_https())?;
        let certificate = self.certificate.zip(self.certificate_key);
        let client_auth = match (self.client_auth, &self.key, &secret, &self.client_id) {
            (None, Some(_), None, _) => Some(ClientAuth::PrivateKeyJwt),
            // By its certificate, or not at all.
            (None, None, None, id) if id.is_none() || certificate.is_some() => {
                Some(ClientAuth::None)
            }
            (way, ..) => way,
        };
        let missing = |what: &str| Err(format!("{what}; see phantom-token-probe --help"));
        match (client_auth, &self.client_id, &secret, &self.key) {
            (Some(ClientAuth::None), Some(id), ..) if id.contains('$') => {
                return missing(
                    "--client-id takes no $ with client_auth none: NGINX would read a variable's name",
                );
            }
            (Some(ClientAuth::None), ..) => {}
            (_, None, ..) => return missing("--client-id is missing"),
            (Some(ClientAuth::PrivateKeyJwt), _, None, Some(_)) => {}
            (Some(ClientAuth::PrivateKeyJwt), ..) => {
                return missing("private_key_jwt takes --client-key, and no secret");
            }
            (_, _, _, Some(_)) => {
                return missing("--client-key is for --client-auth private_key_jwt alone");
            }
            (_, _, None, _) => {
                return missing(
                    "--client-secret-file is missing (or --client-key, or --client-auth none)",
                );
            }
            (way, Some(id), Some(_), None) => {
                if way == Some(ClientAuth::BasicRaw) && id.contains(':') {
                    return missing("basic_raw takes no client id with a colon");
                }
            }
        }
        if self.params.iter().any(|(name, _)| name == CLIENT_ID)
            && let Some(way) = client_auth
        {
            let words = if way == ClientAuth::None && self.client_id.is_some() {
                "--client-id is sent as a parameter with client_auth none: leave --introspection-param client_id out"
            } else if way.own_params().contains(&CLIENT_ID) {
                "this client_auth sends client_id itself: leave --introspection-param client_id out"
            } else {
                ""
            };
            if !words.is_empty() {
                return missing(words);
            }
        }
        let signs = client_auth.filter(|way| way.signs());
        let once = match (signs, &self.client_id, self.audience.clone()) {
            (None, ..) => None,
            (Some(_), _, None) | (Some(_), None, _) => {
                return missing("--aud is missing: how the server calls itself, mostly its issuer");
            }
            (Some(way), Some(id), Some(audience)) => {
                let key = assertion_key(way, self.key.as_deref(), secret.as_ref())?;
                let (client_id, kid) = (id.clone(), self.kid.clone());
                let valid = ASSERTION_VALID;
                Some(assertions(Assertion { client_id, audience, valid, typ: None, kid }, key))
            }
        };
        let tokens = |path: &Option<PathBuf>, member| {
            path.as_deref().map(|path| input::tokens(path, member)).transpose()
        };
        let access = tokens(&self.token_file, "access_token")?;
        let refresh = tokens(&self.refresh_token_file, "refresh_token")?;
        let (token, beside) = access.map_or((None, None), |t| (Some(t.token), t.refresh));
        Ok(Options {
            endpoint: Arc::new(endpoint),
            tls,
            client_id: self.client_id,
            secret,
            key: self.key,
            once,
            audience: self.audience,
            kid: self.kid,
            token,
            refresh_token: refresh.map(|tokens| tokens.token).or(beside),
            client_auth,
            accept: self.accept,
            params: self.params,
            trusted: self.trusted,
            certificate,
            timeout: self.timeout,
            provider: self.provider,
        })
    }
}

fn text(name: &str, value: OsString) -> Result<String, String> {
    let value = value.into_string().map_err(|_| format!("{name} is not UTF-8"))?;
    match value.chars().any(char::is_control) {
        true => Err(format!("{name} holds a control character")),
        false => Ok(value),
    }
}

fn secret(path: PathBuf) -> Result<Secret, String> {
    let bytes = input::read(&path, credential::MAX_FILE)?;
    let bytes = credential::of_file(bytes).map_err(|error| {
        format!(
            "the secret in \"{}\" {error}: write it as one line of UTF-8, and nothing else",
            path.display()
        )
    })?;
    Ok(Secret { path, bytes })
}

fn assertion_key(
    way: ClientAuth,
    key: Option<&Path>,
    secret: Option<&Secret>,
) -> Result<AssertionKey, String> {
    match (way, key, secret) {
        (ClientAuth::PrivateKeyJwt, Some(path), _) => {
            let bytes = input::read(path, MAX_KEY_FILE)?;
            let key = SigningKey::from_pem(&bytes);
            key.map(Into::into).map_err(|error| format!("\"{}\": {error}", path.display()))
        }
        (_, _, Some(secret)) => AssertionKey::from_secret(&secret.bytes)
            .map_err(|error| format!("\"{}\": {error}", secret.path.display())),
        _ => Err("a key or a secret is missing".to_owned()),
    }
}

fn tls(
    trusted: &Option<PathBuf>,
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
    https: bool,
) -> Result<Tls, String> {
    let pem = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| input::read(path, MAX_PEM_FILE)).transpose()
    };
    let options = TlsOptions {
        // Roots are read only where a connection will want them.
        verify: https,
        trusted: pem(trusted)?.map(|bytes| bytes.to_vec()),
        client_cert: pem(certificate)?.map(|bytes| bytes.to_vec()),
        client_key: pem(key)?,
    };
    Tls::new(options).map_err(|error| {
        let named = error.files().iter().map(|file| match file {
            TlsFile::Trusted => "--ssl-trusted-certificate",
            TlsFile::ClientCertificate => "--ssl-certificate",
            TlsFile::ClientKey => "--ssl-certificate-key",
        });
        let named = named.collect::<Vec<_>>().join(" and ");
        if named.is_empty() { error.to_string() } else { format!("{named}: {error}") }
    })
}
