//! A real browser: headless Chromium, driven over the pipe of its DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process;

/// How long the browser may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the protocol's pipe is in the browser.
const COMMANDS: i32 = 3;
const ANSWERS: i32 = 4;

/// A page in a browser of its own. Dropping it ends the browser.
pub struct Browser {
    child: Child,
    commands: File,
    answers: Receiver<Value>,
    session: Option<String>,
    last: u64,
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page of this size in pixels; `None` where Chromium is not installed.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn open(width: u32, height: u32) -> Option<Self> {
        let program = find()?;
        let profile = tempfile::Builder::new().prefix("phantom-token-browser-").tempdir();
        let profile = profile.expect("a directory");
        let (theirs_in, ours_out) = pipe();
        let (ours_in, theirs_out) = pipe();
        let mut command = Command::new(program);
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars"])
            .args(["--disable-dev-shm-usage", "--no-proxy-server", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process::bind_to_starter(&mut command);
        let (input, output) = (theirs_in.as_raw_fd(), theirs_out.as_raw_fd());
        // SAFETY: fcntl(), dup2() and close-on-exec's absence from duplicates are
        // async-signal-safe and touch nothing but descriptors. Both are first moved out of the way
        // of the numbers they are to have.
        unsafe {
            command.pre_exec(move || {
                let input = libc::fcntl(input, libc::F_DUPFD_CLOEXEC, 10);
                let output = libc::fcntl(output, libc::F_DUPFD_CLOEXEC, 10);
                if libc::dup2(input, COMMANDS) < 0 || libc::dup2(output, ANSWERS) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("starts Chromium");
        drop((theirs_in, theirs_out));
        let (sender, answers) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(File::from(ours_in));
            let mut message = Vec::new();
            while matches!(reader.read_until(0, &mut message), Ok(1..)) {
                message.pop();
                let parsed = serde_json::from_slice(&message);
                if parsed.is_ok_and(|value| sender.send(value).is_err()) {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            commands: File::from(ours_out),
            answers,
            session: None,
            last: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height, 1.0, false);
        Some(browser)
    }

    /// Gives the page another size, in pixels of which each is `scale` of the screen's; `phone` makes
    /// it a telephone's, with touch.
    pub fn resize(&mut self, width: u32, height: u32, scale: f64, phone: bool) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}),
        );
    }

    /// Prefers dark colours, or light ones.
    pub fn prefer_dark(&mut self, dark: bool) {
        self.show_on("screen", dark);
    }

    /// Shows the page as it would be printed, by who prefers dark colours on the screen or light ones.
    pub fn print(&mut self, dark: bool) {
        self.show_on("print", dark);
    }

    fn show_on(&mut self, media: &str, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        let parameters = json!({"media": media, "features": features});
        self.call("Emulation.setEmulatedMedia", parameters);
    }

    /// Goes to a URL.
    ///
    /// # Panics
    /// Where it cannot be loaded.
    pub fn go(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({"url": url}));
        assert!(went["errorText"].is_null(), "{url}: {went}");
    }

    /// The value of a JavaScript expression, of a promise where it is one.
    ///
    /// # Panics
    /// Where it throws.
    pub fn eval(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    ///
    /// # Panics
    /// Where it never is.
    pub fn wait_for(&mut self, expression: &str) {
        let guarded = format!("(() => {{ try {{ return !!({expression}) }} catch {{}} }})()");
        process::wait_until(expression, || self.eval(&guarded) == json!(true));
    }

    /// Presses and releases a key, as [`KeyboardEvent.key`] names it.
    ///
    /// [`KeyboardEvent.key`]: https://developer.mozilla.org/docs/Web/API/KeyboardEvent/key
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            other => panic!("the test's keyboard lacks the key {other:?}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": if key == " " { "Space" } else { key },
                "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// What a screen reader is told: role and name of each node that it is not to ignore.
    pub fn accessibility(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().expect("nodes");
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes
            .iter()
            .filter(|node| node["ignored"] == json!(false))
            .map(|node| (text(&node["role"]), text(&node["name"])))
            .collect()
    }

    /// Writes a picture of the page (PNG), of its first `height` pixels or of all of it.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn screenshot(&mut self, file: &Path, height: Option<f64>) {
        let mut parameters = json!({"format": "png", "captureBeyondViewport": true});
        if let Some(height) = height {
            let width = self.eval("innerWidth");
            parameters["clip"] =
                json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        }
        let picture = self.call("Page.captureScreenshot", parameters);
        let data = picture["data"].as_str().expect("a picture");
        let data = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        std::fs::write(file, data).expect("writes a picture");
    }

    /// What the browser complained of so far: errors of scripts, refused resources, breaches of the
    /// page's Content-Security-Policy.
    pub fn complaints(&mut self) -> Vec<String> {
        // An answer comes after all that was said before it.
        self.eval("0");
        std::mem::take(&mut self.complaints)
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("a running browser");
        loop {
            let message = self.answers.recv_timeout(PATIENCE).expect("the browser answers");
            if message["id"] == json!(self.last) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(parameters["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") => self.complaints.push(parameters["entry"].to_string()),
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The profile is removed next: nobody may be left who writes to it.
        process::kill_group(&mut self.child);
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("chromium")).find(|file| file.exists())
}

/// A pipe's reading and writing end, both closed in other children.
fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: pipe2() writes two descriptors, which are nobody else's.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0, "a pipe");
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}
