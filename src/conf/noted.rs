//! Directives that count in some locations alone: where none goes by one, whoever wrote it is told.

use std::cell::Cell;
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
        cf.main_conf().written.push(written);
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

impl Cf<'_> {
    /// At the end of the configuration: who writes a directive means it to count.
    pub(crate) fn warn_of_unused(&mut self) {
        let written = std::mem::take(&mut self.main_conf().written);
        for Written { directive, line, unused, .. } in
            written.iter().map(|written| &**written).filter(|written| !written.in_force.get())
        {
            self.warn_at(
                line,
                format_args!("\"{directive}\" has no effect: {unused} where it shall count"),
            );
        }
    }
}
