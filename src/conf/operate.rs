//! Locations for operators and APIs: numbers, purges, whether the servers can be asked, and keys.

use std::rc::Rc;

use phantom_token_engine::token::bearer::MAX_TOKEN_LEN;

use crate::conf::provider::provider_name;
use crate::conf::settings::{SL, Setting, choose};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ConfError, ConfigLine, ContentHandler, invalid};
use crate::nginx::sys::*;

/// The content handlers that these directives give to a location.
#[derive(Clone, Copy)]
pub(crate) struct ContentHandlers {
    pub(crate) status: ContentHandler,
    pub(crate) purge: ContentHandler,
    pub(crate) ready: ContentHandler,
    pub(crate) publish_jwks: ContentHandler,
}

/// How `phantom_token_status` shows the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    Json,
    Html,
}

impl Format {
    /// `None` where no format has this name.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        match &*name.to_ascii_lowercase() {
            b"prometheus" => Some(Self::Prometheus),
            b"json" => Some(Self::Json),
            b"html" => Some(Self::Html),
            _ => None,
        }
    }
}

/// Who may purge (`phantom_token_purge [local | any]`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purger {
    Local,
    Any,
}

/// Settings of the very location they stand in, which no other inherits.
#[derive(Default)]
pub(crate) struct Settings {
    /// The format when the request asks for none.
    pub(crate) status: Setting<Format>,
    pub(crate) purge: Setting<Purger>,
    /// The providers that must be ready; empty: all servers.
    pub(crate) ready: Setting<Rc<[Rc<str>]>>,
    /// The public keys of what the gateway signs are shown.
    pub(super) publish_jwks: Setting<()>,
}

impl Settings {
    /// At the end of a location: what is allowed and may not be meant.
    pub(super) fn warn_of_doubts(&self, cf: &mut Cf<'_>) {
        self.warn_of_small_body_buffer(cf);
        let handlers = cf.main_conf().handlers;
        let line = |line: Option<&ConfigLine>| line.cloned();
        for (directive, line, handler) in [
            ("phantom_token_status", line(self.status.line()), handlers.status),
            ("phantom_token_purge", line(self.purge.line()), handlers.purge),
            ("phantom_token_ready", line(self.ready.line()), handlers.ready),
            ("phantom_token_publish_jwks", line(self.publish_jwks.line()), handlers.publish_jwks),
        ] {
            if let Some(line) = line
                && !cf.has_content_handler(handler)
            {
                cf.warn_at(
                    &line,
                    format_args!(
                        "\"{directive}\" has no effect: another directive answers in its location; write it in one of its own"
                    ),
                );
            }
        }
    }

    /// Where the buffer for bodies of a location that takes purges is too small for one: the longest token,
    /// each byte in three of a form.
    fn warn_of_small_body_buffer(&self, cf: &mut Cf<'_>) {
        const LEAST: usize = 100 * 1024;
        const _: () = assert!(b"token=".len() + 3 * MAX_TOKEN_LEN <= LEAST);
        if let Some(purge) = self.purge.placed()
            && cf.client_body_buffer_size() < LEAST
        {
            cf.warn_at(
                &purge.line,
                "\"phantom_token_purge\" refuses long tokens with 413: write \"client_body_buffer_size 128k\" beside it",
            );
        }
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token_status",
        SL | NGX_CONF_NOARGS | NGX_CONF_TAKE1,
        "[prometheus | json | html]",
        |cf, settings, args| {
            let format = match args.first() {
                None => Format::Prometheus,
                Some(name) => Format::parse(name)
                    .ok_or_else(|| invalid(name, "write prometheus, json or html"))?,
            };
            settings.status.set(cf, format)?;
            let handler = cf.main_conf().handlers.status;
            content_handler(cf, handler)
        },
    ),
    Command::new(
        c"phantom_token_purge",
        SL | NGX_CONF_NOARGS | NGX_CONF_TAKE1,
        "[local | any]",
        |cf, settings, args| {
            let purger = match args.first() {
                None => Purger::Local,
                Some(who) => choose(who, &[("local", Purger::Local), ("any", Purger::Any)])?,
            };
            settings.purge.set(cf, purger)?;
            let line = cf.line();
            cf.main_conf().cache.first_purge.get_or_insert(line);
            let handler = cf.main_conf().handlers.purge;
            cf.use_purge_zone()?;
            content_handler(cf, handler)
        },
    ),
    Command::new(
        c"phantom_token_ready",
        SL | NGX_CONF_ANY,
        "[PROVIDER ...]",
        |cf, settings, args| {
            let names =
                args.iter().map(|arg| provider_name(arg)).collect::<Result<Rc<[_]>, _>>()?;
            let line = cf.line();
            cf.main_conf().first_ready.get_or_insert(line);
            settings.ready.set(cf, names.clone())?;
            for name in names.iter() {
                cf.names_provider("phantom_token_ready", name.clone());
            }
            let handler = cf.main_conf().handlers.ready;
            content_handler(cf, handler)
        },
    ),
    Command::new(c"phantom_token_publish_jwks", SL | NGX_CONF_NOARGS, "", |cf, settings, _| {
        settings.publish_jwks.set(cf, ())?;
        let handler = cf.main_conf().handlers.publish_jwks;
        cf.set_content_handler(handler);
        Ok(())
    }),
];

fn content_handler(cf: &mut Cf<'_>, handler: ContentHandler) -> Result<(), ConfError> {
    cf.set_content_handler(handler);
    cf.use_state_zone()
}
