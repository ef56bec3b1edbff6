//! What `nginx -t` says, and what tests want it to say.

use super::Builder;

/// What `nginx -t` says of a configuration.
#[derive(Clone, Debug)]
pub struct Check {
    /// Whether NGINX would start with it.
    pub ok: bool,
    /// Its exit code; `None` where it died by a signal.
    pub code: Option<i32>,
    /// All it said, warnings too.
    pub messages: String,
    /// What it wrote to its standard output: with `-T`, the configuration.
    pub printed: String,
    /// What it wrote to its error log, notices too.
    pub log: String,
    /// With [`Builder::count_calls`], a letter for each call: see [`super::Gateway::calls`].
    pub calls: Vec<u8>,
    /// The configuration, its lines numbered from 1 as in the messages.
    pub config: String,
}

impl Check {
    /// The number of the first line of the configuration that holds `text`.
    ///
    /// # Panics
    /// Where none does.
    pub fn line_of(&self, text: &str) -> usize {
        1 + self.config.lines().position(|line| line.contains(text)).expect("a line of the config")
    }

    /// The one message for which NGINX would not start.
    ///
    /// # Panics
    /// Where it would, and where there are more.
    #[track_caller]
    pub fn emerg(&self) -> &str {
        assert!(!self.ok, "accepted: {}", self.config);
        let lines: Vec<_> = self.messages.lines().filter(|line| line.contains("[emerg]")).collect();
        let [line] = lines[..] else { panic!("one line: {}", self.messages) };
        line
    }
}

/// Asserts that NGINX would start with a configuration.
#[track_caller]
pub fn assert_good(builder: &Builder) -> Check {
    let check = builder.check();
    assert!(check.ok, "{}\n{}", check.messages, check.config);
    check
}

/// Asserts that a message names the line that `directive` stands on.
#[track_caller]
pub fn assert_at(check: &Check, directive: &str) {
    let place = format!("nginx.conf:{}", check.line_of(directive));
    let (_, rest) = check.messages.split_once(&place).unwrap_or_else(|| {
        panic!("{directive} is not said to be at {place}: {}", check.messages);
    });
    assert!(!rest.starts_with(|c: char| c.is_ascii_digit()), "{}", check.messages);
}

/// Whether a message ends in a file and a line, as all of the module's do.
pub(super) fn names_place(message: &str) -> bool {
    let place = message.rsplit(" in ").next().and_then(|place| place.rsplit_once(':'));
    place.is_some_and(|(file, line)| {
        !file.is_empty() && !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
    })
}
