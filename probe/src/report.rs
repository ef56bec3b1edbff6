//! What is said: each call as it ends, then what it comes to, and last the configuration.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use phantom_token_engine::answer::{Answer, Forward};
use phantom_token_engine::client::CallError;
use phantom_token_engine::http::response::Response;

use crate::asking::{About, Asked};
use crate::configuration;
use crate::finding::{Found, Refresh, Verdict};
use crate::options::Options;
use crate::shown::Shown;

mod notes;
mod why;

/// A call that takes longer comes close to what a request waits as it comes.
const SLOW: Duration = Duration::from_secs(5);

/// What the program's status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The configuration that was printed works.
    Works = 0,
    /// There is none, or it was not seen to work.
    Not = 1,
    /// The program was called wrongly, or a file cannot be used.
    Usage = 2,
    /// It works, and a refresh token passes for an access token.
    Unsafe = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Where all of it goes.
pub(crate) struct Report<'a, W> {
    out: W,
    options: &'a Options,
    shown: Shown,
    /// How long the first call took, which had to connect, and the quickest of the others.
    first: Option<Duration>,
    quickest: Option<Duration>,
    slowest: Duration,
    /// Whether connections outlive a call; `None`: no answer has come yet.
    is_kept: Option<bool>,
    /// How far the server's clock is ahead, in seconds.
    ahead: Option<i64>,
}

impl<'a, W: Write> Report<'a, W> {
    pub(crate) fn new(out: W, options: &'a Options) -> Self {
        let shown = Shown::new(options);
        let slowest = Duration::ZERO;
        Self {
            out,
            options,
            shown,
            first: None,
            quickest: None,
            slowest,
            is_kept: None,
            ahead: None,
        }
    }

    /// Says who is asked, and as whom.
    pub(crate) fn begin(&mut self, options: &Options) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let label = options.endpoint.label();
        write!(self.out, "phantom-token-probe {version} asks {label}")?;
        if let Some(place) = options.endpoint.connect() {
            write!(self.out, " at {place}")?;
        }
        match &options.client_id {
            Some(id) => writeln!(self.out, " as client \"{}\"", self.shown.text(id))?,
            None => writeln!(self.out, " as nobody")?,
        }
        self.out.flush()
    }

    /// Says what came of a call.
    pub(crate) fn asked(&mut self, nth: usize, asked: &Asked) -> io::Result<()> {
        self.remember(asked);
        let about = match asked.about {
            About::Invented => "an invented token",
            About::Token => "the token",
            About::RefreshToken => "the refresh token",
        };
        let accept = asked.way.accept.text(self.options);
        let hint = if asked.way.hint { "" } else { ", no hint" };
        let auth = asked.way.auth.word();
        writeln!(self.out, "\n{nth}. {about}, client_auth {auth}, Accept: {accept}{hint}")?;
        let ms = asked.took.as_millis();
        let meaning = self.meaning(asked);
        match asked.seen.status {
            Some(status) => writeln!(self.out, "   status {status} in {ms} ms: {meaning}")?,
            None => writeln!(self.out, "   no answer in {ms} ms: {meaning}")?,
        }
        for line in asked.response().map(|response| self.came(response)).unwrap_or_default() {
            writeln!(self.out, "   {line}")?;
        }
        self.out.flush()
    }

    fn remember(&mut self, asked: &Asked) {
        if asked.seen.status.is_some() {
            self.is_kept = Some(asked.kept_after);
            self.slowest = self.slowest.max(asked.took);
            match asked.kept_before {
                true => {
                    self.quickest = Some(self.quickest.map_or(asked.took, |q| q.min(asked.took)))
                }
                false if self.first.is_none() => self.first = Some(asked.took),
                false => {}
            }
        }
        if let Some(date) = asked.seen.date {
            let date = date.duration_since(UNIX_EPOCH).map_or(0, |date| date.as_secs());
            self.ahead = Some(date as i64 - asked.now as i64);
        }
    }

    /// What the module makes of an answer, in few words.
    fn meaning(&self, asked: &Asked) -> String {
        match asked.read(Forward::None) {
            Ok(Answer::Active(grant)) if grant.jwt.is_empty() => "active, without a JWT".to_owned(),
            Ok(Answer::Active(_)) => match asked.read(Forward::Jwt) {
                Ok(Answer::Active(_)) => "active, with a JWT".to_owned(),
                _ => "active, with what is no JWT for an API".to_owned(),
            },
            Ok(Answer::Inactive(None)) => "inactive".to_owned(),
            Ok(Answer::Inactive(Some(skew))) => {
                format!("active, but its \"exp\" is {} seconds ago", skew.0)
            }
            Ok(Answer::Failed(failure)) => failure.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// What an answer looked like.
    fn came(&self, response: &Response) -> Vec<String> {
        let text = |field: &Option<Vec<u8>>| {
            let field = field.as_ref()?;
            Some(self.shown.media_type(&String::from_utf8_lossy(field)))
        };
        let mut lines = Vec::new();
        let size = response.body.len();
        match text(&response.content_type) {
            Some(content_type) => lines.push(format!("{content_type}, {size} bytes")),
            None if size > 0 => lines.push(format!("no content type, {size} bytes")),
            None => {}
        }
        lines.extend(why::page(response));
        lines.extend(why::error(response).map(|error| format!("\"error\": \"{error}\"")));
        lines
    }

    /// Says what it comes to.
    pub(crate) fn end(mut self, options: &Options, found: &Found) -> io::Result<Exit> {
        let (exit, lines, text) = match &found.verdict {
            Verdict::Not { asked, why } => {
                let lines = why::lines(options, asked, *why, &self.shown);
                (Exit::Not, lines, None)
            }
            Verdict::NoToken => {
                let known = configuration::Found {
                    way: found.way,
                    token: None,
                    is_unsafe: false,
                    ignores_cache_control: false,
                    is_slow: self.slowest > SLOW,
                    vschar: false,
                };
                let lines = why::no_token();
                (Exit::Not, lines, Some(configuration::text(options, &known)))
            }
            Verdict::Works { asked, forward } => {
                let is_slow = self.slowest > SLOW;
                let (lines, text, refused) =
                    notes::of(options, found, asked, *forward, is_slow, &self.shown);
                let exit = match found.refresh {
                    Some(Refresh::Passes) => Exit::Unsafe,
                    _ if refused => Exit::Not,
                    _ => Exit::Works,
                };
                (exit, lines, Some(text))
            }
        };
        writeln!(self.out)?;
        for line in lines.into_iter().chain(self.about_the_server(found)) {
            writeln!(self.out, "{line}")?;
        }
        if let Some(text) = text {
            writeln!(self.out, "\nConfiguration\n\n{text}")?;
        }
        self.out.flush()?;
        Ok(exit)
    }

    /// What all calls together say of the server, and of the files.
    fn about_the_server(&self, found: &Found) -> Vec<String> {
        let mut lines = Vec::new();
        let calls = if found.calls == 1 { "call was" } else { "calls were" };
        let mut line = format!("{} {calls} made", found.calls);
        if let Some(first) = self.first {
            line.push_str(&format!(
                "; the first took {} ms, connecting included",
                first.as_millis()
            ));
        }
        if let Some(quickest) = self.quickest {
            line.push_str(&format!(", the quickest of the others {} ms", quickest.as_millis()));
        }
        lines.push(format!("- {line}."));
        if self.slowest > SLOW {
            let ms = self.slowest.as_millis();
            lines.push(format!(
                "! A call took {ms} ms, and a request waits 6 seconds as it comes: make the server quicker, or write a longer phantom_token_timeout."
            ));
        }
        if self.is_kept == Some(false) {
            lines.push(
                "- The server closes the connection behind each answer: every call has to connect anew."
                    .to_owned(),
            );
        }
        if let Some(ahead) = self.ahead.filter(|ahead| ahead.abs() > 2) {
            let (seconds, way) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
            lines.push(format!(
                "- The server's clock is {seconds} seconds {way} this machine's: set the one that is wrong."
            ));
        }
        if !self.options.endpoint.is_https() && !self.options.endpoint.is_loopback() {
            lines.push(
                "! The URL begins with http://: whoever is on the way reads the tokens and the secret, and can answer. Write https://."
                    .to_owned(),
            );
        }
        let readable = |path: &std::path::Path| {
            std::fs::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o004 != 0)
        };
        let secrets =
            [self.options.secret.as_ref().map(|secret| &secret.path), self.options.key.as_ref()];
        for path in secrets.into_iter().flatten().filter(|path| readable(path)) {
            lines.push(format!("! \"{}\" is readable by all: chmod o-r it.", path.display()));
        }
        lines
    }
}

/// An error of a call, and what to do.
fn no_answer(options: &Options, error: &CallError) -> (String, String) {
    let https = options.endpoint.is_https();
    (error.to_string(), phantom_token_engine::remedy::of_call(error, https).to_owned())
}
