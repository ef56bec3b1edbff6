//! The program run, and the configuration it printed put into a gateway.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use phantom_token_test::nginx::{self, Builder};
use phantom_token_test::process;
use phantom_token_test::{Api, Gateway};
use tempfile::TempDir;

/// What the program is run with: a directory of its own, and files in it.
pub(crate) struct Program {
    directory: Arc<TempDir>,
    arguments: Vec<String>,
    stdin: Vec<u8>,
    secrets: Vec<String>,
}

/// What it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) error: String,
    /// With the files that the configuration names.
    _directory: Arc<TempDir>,
}

impl Program {
    pub(crate) fn new() -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        Self { directory, arguments: Vec::new(), stdin: Vec::new(), secrets: Vec::new() }
    }

    /// As this client.
    pub(crate) fn client(self, id: &str, secret: &str) -> Self {
        self.argument("--client-id", id).secret_file("--client-secret-file", "secret", secret)
    }

    /// About this token.
    pub(crate) fn token(self, token: &str) -> Self {
        self.secret_file("--token-file", "token", token)
    }

    /// And this refresh token.
    pub(crate) fn refresh_token(self, token: &str) -> Self {
        self.secret_file("--refresh-token-file", "refresh-token", token)
    }

    pub(crate) fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    pub(crate) fn alone(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With a file that holds this, to be named by an option, and never to be shown.
    pub(crate) fn secret_file(mut self, option: &str, name: &str, content: &str) -> Self {
        let path = self.file(name, content);
        self.secrets.push(content.trim().to_owned());
        self.argument(option, &path.to_string_lossy())
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("writes a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its owner's alone");
        path
    }

    pub(crate) fn stdin(mut self, content: &str) -> Self {
        self.stdin = content.as_bytes().to_vec();
        self
    }

    /// Something else that must not be shown.
    pub(crate) fn hides(mut self, text: &str) -> Self {
        self.secrets.push(text.to_owned());
        self
    }

    pub(crate) fn spawn(&self, url: &str, out: Stdio) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phantom-token-probe"));
        command
            .args(&self.arguments)
            .args((!url.is_empty()).then_some(url))
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(Stdio::piped());
        process::bind_to_starter(&mut command);
        let mut child = command.spawn().expect("the program");
        // Whether it reads its input is its own business.
        let _ = child.stdin.take().expect("its input").write_all(&self.stdin);
        child
    }

    /// Asks there. Whatever comes of it, nothing is shown that must not be.
    #[track_caller]
    pub(crate) fn ask(&self, url: &str) -> Said {
        let output = self.spawn(url, Stdio::piped()).wait_with_output().expect("its end");
        let status = output.status.code().expect("no signal");
        for bytes in [&output.stdout, &output.stderr] {
            let plain = |byte: &u8| *byte == b'\n' || (0x20..0x7f).contains(byte);
            let text = String::from_utf8_lossy(bytes);
            assert!(bytes.iter().all(plain), "{text:?}");
            for secret in self.secrets.iter().filter(|secret| secret.len() > 3) {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
            assert!(!text.contains("eyJ"), "a JWT: {text}");
            assert!(!text.contains("panicked"), "{text}");
        }
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (out, error) = (text(output.stdout), text(output.stderr));
        Said { status, out, error, _directory: self.directory.clone() }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Said {
    /// The whole text holds all of these.
    #[track_caller]
    pub(crate) fn holds(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.out.contains(text), "{text:?} is missing in:\n{}{}", self.out, self.error);
        }
        self
    }

    #[track_caller]
    pub(crate) fn lacks(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(!self.out.contains(text), "{text:?} is in:\n{}", self.out);
        }
        self
    }

    #[track_caller]
    pub(crate) fn ends(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "{}{}", self.out, self.error);
        self
    }

    /// How many calls it made, as it says.
    #[track_caller]
    pub(crate) fn calls(&self) -> usize {
        let line = self.out.lines().find_map(|line| {
            let line = line.strip_prefix("- ")?;
            line.split_once(" calls were made").or(line.split_once(" call was made"))
        });
        line.expect("how many calls").0.parse().expect("a number")
    }

    /// The configuration: what goes outside of a location, and what goes into it.
    #[track_caller]
    pub(crate) fn configuration(&self) -> (&str, &str) {
        let (_, text) = self
            .out
            .split_once("\nConfiguration\n")
            .unwrap_or_else(|| panic!("no configuration:\n{}{}", self.out, self.error));
        text.split_once("# in the location\n").expect("what goes into the location")
    }

    /// The lines of the configuration that NGINX reads.
    #[track_caller]
    pub(crate) fn directives(&self) -> Vec<String> {
        let (outside, inside) = self.configuration();
        let lines = outside
            .lines()
            .chain(inside.lines())
            .map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned());
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    }

    /// A gateway that has it, as it was printed, in front of this API.
    #[track_caller]
    pub(crate) fn gateway(&self, api: &Api) -> Gateway {
        self.gateway_with(api, |builder| builder)
    }

    #[track_caller]
    pub(crate) fn gateway_with(
        &self,
        api: &Api,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Gateway {
        let (outside, inside) = self.configuration();
        let location = format!("{inside}\nproxy_pass {}/echo;", api.url());
        // Flat directives go into the location as well.
        let (http, location) = match outside.contains("phantom_token_provider ") {
            true => (outside.to_owned(), location),
            false => (String::new(), format!("{outside}\n{location}")),
        };
        let builder = Gateway::builder().http(&http).location("/api", &location);
        let builder = change(builder);
        let check = nginx::assert_good(&builder);
        assert!(!check.messages.contains("[warn]"), "{}", check.messages);
        builder.start()
    }
}
