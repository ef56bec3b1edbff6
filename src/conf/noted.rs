//! Directives that count in some locations alone: where none goes by one, whoever wrote it is told.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use crate::nginx::parser::{Cf, ConfigLine};

/// A directive, and whether a location goes by it.
pub(crate) struct Written {
    directive: &'static str,
    line: ConfigLine,
    /// What to say where none does: why, and what to write.
    unused: &'static str,
    in_force: Cell<bool>,
}

/// The directives of a level that are noted, its own or inherited.
#[derive(Default)]
pub(super) struct Noted(Vec<Rc<Written>>);

impl Noted {
    /// Notes the directive that the parser is at.
    pub(super) fn note(&mut self, cf: &mut Cf<'_>, directive: &'static str, unused: &'static str) {
        let line = cf.line();
        let written = Rc::new(Written { directive, line, unused, in_force: Cell::default() });
        self.0.push(Rc::clone(&written));
        cf.main_conf().written.all.push(written);
    }

    pub(super) fn inherit(&mut self, outer: &Self) {
        // A directive may stand several times on a level.
        let own = self.0.len();
        for written in &outer.0 {
            if self.0[..own].iter().all(|own| own.directive != written.directive) {
                self.0.push(Rc::clone(written));
            }
        }
    }

    /// A location goes by those of these names.
    pub(super) fn put_in_force(&self, which: impl Fn(&str) -> bool) {
        for written in self.0.iter().filter(|written| which(written.directive)) {
            written.in_force.set(true);
        }
    }
}

/// What the whole `http` block has of them.
#[derive(Default)]
pub(crate) struct Main {
    all: Vec<Rc<Written>>,
    /// Those that some server goes by which is asked, by their lines: its settings keep these.
    in_force: HashSet<(&'static str, ConfigLine)>,
    /// Some location judges tokens.
    pub(super) judges: bool,
    /// `phantom_token` stands somewhere, be it `off`.
    pub(super) switched: bool,
    /// The first directive that says something of a server, outside of a block.
    flat: Option<(&'static [u8], ConfigLine)>,
    /// Those of a server.
    of_servers: Vec<Written>,
}

impl Cf<'_> {
    /// Notes the directive that the parser is at, which says something of a server.
    pub(super) fn note_of_server(&mut self, directive: &'static str, unused: &'static str) {
        let line = self.line();
        let written = Written { directive, line, unused, in_force: Cell::default() };
        self.main_conf().written.of_servers.push(written);
    }

    /// A server that is asked goes by such a directive, which stands at this line if anywhere.
    pub(super) fn put_in_force(&mut self, directive: &'static str, line: Option<&ConfigLine>) {
        if let Some(line) = line {
            self.main_conf().written.in_force.insert((directive, line.clone()));
        }
    }

    /// Notes that a directive says something of a server outside of a block.
    pub(super) fn note_flat(&mut self, name: &'static [u8]) {
        let line = self.line();
        self.main_conf().written.flat.get_or_insert((name, line));
    }

    /// At the end of the configuration: who writes a directive means it to count.
    pub(super) fn warn_of_unused(&mut self) {
        let Main { all, in_force, judges, switched, flat, of_servers } =
            std::mem::take(&mut self.main_conf().written);
        if let Some((name, line)) = flat.filter(|_| !judges && !switched) {
            let name = String::from_utf8_lossy(name);
            self.warn_at(
                &line,
                format_args!(
                    "\"{name}\" has no effect: \"phantom_token on\" stands nowhere; write it in what shall be protected"
                ),
            );
        }
        // Where nobody is asked there is nothing to say of servers.
        let of_servers = of_servers.iter().filter(|written| {
            judges && !in_force.contains(&(written.directive, written.line.clone()))
        });
        let all = all.iter().map(|written| &**written).filter(|written| !written.in_force.get());
        for Written { directive, line, unused, .. } in all.chain(of_servers) {
            self.warn_at(
                line,
                format_args!("\"{directive}\" has no effect: {unused} where it shall count"),
            );
        }
    }
}
