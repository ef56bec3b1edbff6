//! A server in one block, and which one a location asks.

use std::fmt;
use std::rc::Rc;

use phantom_token_engine::answer::Forward;

use crate::conf::block::{Members, PREFIX};
use crate::conf::endpoints::PolicyEndpoint;
use crate::conf::introspection::{Introspection, Server};
use crate::conf::noted::Noted;
use crate::conf::settings::{M, MSL, Place, Setting};
use crate::conf::{MainConf, members};
use crate::nginx::command::{Args, Block as _, Command, Member};
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid};
use crate::nginx::sys::*;

/// Of the choice of a server, where none is asked by it.
const UNUSED: &str = "no location that is on asks by it; write \"phantom_token on\"";

/// A server, as a block says it.
pub(crate) struct Provider {
    pub(crate) name: Rc<str>,
    line: ConfigLine,
    server: Rc<Server>,
    pub(crate) introspection: Rc<Introspection>,
    /// The same for locations that ask for another media type, where there are any.
    pub(crate) otherwise_asked: Option<Rc<Introspection>>,
}

/// What the whole `http` block has of them.
#[derive(Default)]
pub(crate) struct Main {
    pub(crate) all: Vec<Provider>,
    /// Directives that name one, which may come before its block.
    named: Vec<Named>,
}

/// A provider, as the directive on this line names it.
#[derive(Clone)]
pub(super) struct Named {
    directive: &'static str,
    name: Rc<str>,
    line: ConfigLine,
}

/// Which server a location asks.
#[derive(Default)]
pub(crate) struct Choice {
    used: Setting<Rc<str>>,
    /// The first directive of this very level that says something of a server without a block.
    flat: Option<(&'static [u8], ConfigLine)>,
    pub(super) noted: Noted,
}

impl Choice {
    pub(super) fn inherit(&mut self, outer: &Self) {
        self.used.inherit(&outer.used);
        self.noted.inherit(&outer.noted);
    }

    /// The name of a provider, and where it is used; `None` where no block says what the server is.
    pub(super) fn get(&self) -> Option<Named> {
        let used = self.used.placed()?;
        let (name, line) = (used.value.clone(), used.line.clone());
        Some(Named { directive: "phantom_token_use", name, line })
    }

    /// Takes note of the directive of this level that the parser is at.
    pub(super) fn flat(&mut self, cf: &Cf<'_>, name: &'static [u8]) -> Result<(), ConfError> {
        self.flat.get_or_insert_with(|| (name, cf.line()));
        self.check()
    }

    /// Who uses a provider must not believe that what stands beneath or beside it has an effect.
    pub(super) fn check(&self) -> Result<(), ConfError> {
        let (Some(used), Some((directive, line))) = (self.used.placed(), &self.flat) else {
            return Ok(());
        };
        Err(ConfError::at(
            line,
            format_args!(
                "\"{}\" has no effect beneath \"phantom_token_use {}\" of {}: put it into the block, or leave it out",
                String::from_utf8_lossy(directive),
                used.value,
                used.line
            ),
        ))
    }
}

pub(super) const COMMANDS: &[Command<Choice>] =
    &[Command::new(c"phantom_token_use", MSL | NGX_CONF_1MORE, "NAME", |cf, choice, args| {
        let name = only_name(args)?;
        choice.used.set(cf, name.clone())?;
        choice.check()?;
        cf.names_provider("phantom_token_use", name);
        choice.noted.note(cf, "phantom_token_use", UNUSED);
        Ok(())
    })];

pub(super) const BLOCK_COMMANDS: &[Command<()>] = &[Command::new(
    c"phantom_token_provider",
    M | NGX_CONF_BLOCK | NGX_CONF_1MORE,
    "NAME { ... }",
    |cf, (), args| {
        let (name, line) = (only_name(args)?, cf.line());
        if let Some(first) = cf.main_conf().providers.find(&name) {
            return Err(ConfError::Directive(format!(
                "defines \"{name}\" a second time: it is defined in {} already; write another name",
                first.line
            )));
        }
        let mut server = Server::default();
        cf.read(&mut server)?;
        let introspection = introspection(cf, &server, Forward::default(), &name, &line)?;
        server.calls.check_thread_pool(cf)?;
        let (server, introspection) = (Rc::new(server), Rc::new(introspection));
        let provider = Provider { name, line, server, introspection, otherwise_asked: None };
        cf.main_conf().providers.all.push(provider);
        Ok(())
    },
)];

/// What is made of a block, for locations that forward so.
fn introspection(
    cf: &mut Cf<'_>,
    server: &Server,
    forward: Forward,
    name: &Rc<str>,
    line: &ConfigLine,
) -> Result<Introspection, ConfError> {
    let place = Place::Provider(name.clone(), line.clone());
    cf.with_words(Server::in_its_words, |cf| {
        let made = Introspection::of(cf, server, forward, &place);
        let made = made.inspect(|made| made.put_in_force(cf, server));
        // Said here, where words are the block's.
        made.inspect_err(|error| cf.report("phantom_token_provider", error))
            .map_err(|_| ConfError::Reported)
    })
}

/// The one argument that is a provider's name.
fn only_name(args: Args<'_>) -> Result<Rc<str>, ConfError> {
    let name = provider_name(args[0])?;
    match args.get(1) {
        None => Ok(name),
        Some(second) => Err(invalid(second, "write one name and no more")),
    }
}

pub(super) fn provider_name(name: &[u8]) -> Result<Rc<str>, ConfError> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_empty() && name.iter().all(is_of_name) => Ok(text.into()),
        _ if name.contains(&b'$') => Err(invalid(name, "it takes no variables; write the name")),
        _ => Err(invalid(name, "write a name of letters, digits, _ and -")),
    }
}

impl Members for Server {
    const NAME: &'static str = "phantom_token_provider";

    fn members() -> impl Iterator<Item = &'static dyn Member<Self>> {
        members()
    }

    fn goes_outside(directive: &str) -> String {
        format!(
            "has no place in phantom_token_provider, which says what a server is: write {directive} outside, where phantom_token_use stands"
        )
    }
}

/// A log line about a server's calls: in the words of its block, and with the block's name.
pub(crate) fn said(name: Option<&str>, line: fmt::Arguments<'_>) -> String {
    match name {
        None => line.to_string(),
        Some(name) => {
            format!("{}, provider: \"{name}\"", Server::in_its_words(&line.to_string()))
        }
    }
}

impl PolicyEndpoint {
    /// A log line about its calls.
    pub(crate) fn said(&self, line: fmt::Arguments<'_>) -> String {
        said(self.provider.as_deref(), line)
    }
}

/// The setter of members that stand outside of a block.
pub(super) fn misplaced(cf: &mut Cf<'_>, (): &mut (), _: Args<'_>) -> Result<(), ConfError> {
    let name = String::from_utf8_lossy(cf.name()).into_owned();
    Err(ConfError::at(
        &cf.line(),
        format_args!(
            "unknown directive \"{name}\": only a block has it; write {} in phantom_token_provider",
            name.strip_prefix(PREFIX).unwrap_or(&name)
        ),
    ))
}

impl Main {
    fn find(&self, name: &str) -> Option<&Provider> {
        self.all.iter().find(|provider| *provider.name == *name)
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut Provider> {
        self.all.iter_mut().find(|provider| *provider.name == *name)
    }

    fn get(&self, named: &Named) -> Result<&Provider, ConfError> {
        self.find(&named.name).ok_or_else(|| {
            let Named { directive, name, line } = named;
            let names = self.all.iter().map(|provider| &*provider.name).collect::<Vec<_>>();
            let there = match names.is_empty() {
                true => format!("write phantom_token_provider {name} {{ ... }} in http"),
                false => {
                    format!("write its block, or another name: there are {}", names.join(", "))
                }
            };
            ConfError::at(
                line,
                format_args!(
                    "\"{directive}\" names the provider \"{name}\", which no block defines: {there}"
                ),
            )
        })
    }
}

impl MainConf {
    /// All that directives name must be there, once all of `http` is read.
    pub(crate) fn check_providers(&self) -> Result<(), ConfError> {
        self.providers.named.iter().try_for_each(|named| self.providers.get(named).map(drop))
    }
}

impl Cf<'_> {
    /// The directive the parser is at names a provider.
    pub(super) fn names_provider(&mut self, directive: &'static str, name: Rc<str>) {
        let line = self.line();
        self.main_conf().providers.named.push(Named { directive, name, line });
    }

    /// At the end of the configuration: providers that nothing names.
    pub(super) fn warn_of_unused_providers(&mut self) {
        let Main { all, named } = &self.main_conf().providers;
        let is_named = |provider: &&Provider| named.iter().any(|one| one.name == provider.name);
        let unused = all.iter().filter(|provider| !is_named(provider));
        let unused: Vec<_> = unused.map(|one| (one.name.clone(), one.line.clone())).collect();
        for (name, line) in unused {
            self.warn_at(
                &line,
                format_args!(
                    "\"phantom_token_provider {name}\" has no effect: write \"phantom_token_use {name}\" where it shall be asked, or leave it out"
                ),
            );
        }
    }

    /// What is made of the provider that is named, for locations that forward so.
    pub(super) fn provider(
        &mut self,
        named: Named,
        forward: Forward,
    ) -> Result<(Rc<Server>, Rc<Introspection>), ConfError> {
        let providers = &self.main_conf().providers;
        let Provider { name, line, server, introspection: usual, otherwise_asked } =
            providers.get(&named)?;
        let asks_so = |made: &&Rc<Introspection>| made.accept == server.request.accept(forward);
        let server = server.clone();
        if let Some(made) =
            [Some(usual), otherwise_asked.as_ref()].into_iter().flatten().find(asks_so)
        {
            return Ok((server, made.clone()));
        }
        let (name, line) = (name.clone(), line.clone());
        let made = Rc::new(introspection(self, &server, forward, &name, &line)?);
        if let Some(provider) = self.main_conf().providers.find_mut(&name) {
            provider.otherwise_asked = Some(made.clone());
        }
        Ok((server, made))
    }
}
