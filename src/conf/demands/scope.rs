//! The scope that a token must have (`phantom_token_scope`).

use std::rc::Rc;

use phantom_token_engine::answer::scope;
use phantom_token_engine::directive;
use phantom_token_engine::token::challenge;

use crate::conf::condition;
use crate::conf::demands::{Settings, UNUSED};
use crate::conf::doubts;
use crate::conf::settings::choose;
use crate::nginx::command::Args;
use crate::nginx::parser::{Cf, ComplexValue, ConfError, ConfigLine, invalid};

const DIRECTIVE: &str = "phantom_token_scope";

/// How many of a scope's values are enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Match {
    #[default]
    All,
    Any,
}

/// `phantom_token_scope VALUE … [match=all | any]`.
#[derive(Default)]
pub(crate) struct Scope {
    /// The values that no request decides, single spaces between them; empty: none.
    pub(crate) fixed: Rc<Vec<u8>>,
    /// All values in their order, where some hold variables; else none.
    pub(crate) made: Vec<Value>,
    pub(crate) matching: Match,
    /// Where it is demanded.
    pub(crate) line: Option<ConfigLine>,
}

/// A value of a scope with variables.
pub(crate) enum Value {
    Fixed(Box<[u8]>),
    Made {
        value: ComplexValue,
        /// It is one variable, which may come to several values.
        may_be_several: bool,
    },
}

impl Value {
    /// As it is written.
    fn source(&self) -> &[u8] {
        match self {
            Self::Fixed(value) => value,
            Self::Made { value, .. } => value.source(),
        }
    }
}

impl Scope {
    /// Whether nothing is demanded.
    pub(crate) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.made.is_empty()
    }

    /// The values as they are written.
    pub(super) fn sources(&self) -> Vec<&[u8]> {
        match self.made.is_empty() {
            true => scope::values(&self.fixed).collect(),
            false => self.made.iter().map(Value::source).collect(),
        }
    }

    /// Whether what meets this meets `other`, too.
    pub(super) fn implies(&self, other: &Self) -> bool {
        let (own, others) = (self.sources(), other.sources());
        let met_by = |given: &[&[u8]]| match other.matching {
            Match::All => others.iter().all(|value| given.contains(value)),
            Match::Any => others.iter().any(|value| given.contains(value)),
        };
        match self.matching {
            Match::All => met_by(&own),
            Match::Any => own.iter().all(|value| met_by(&[value])),
        }
    }
}

pub(super) fn scope(
    cf: &mut Cf<'_>,
    settings: &mut Settings,
    args: Args<'_>,
) -> Result<(), ConfError> {
    let (mut values, mut matching) = (Vec::new(), None);
    for arg in args {
        if let Some(words) = arg.strip_prefix(b"match=") {
            let chosen = choose(words, &[("all", Match::All), ("any", Match::Any)]);
            let chosen = chosen.map_err(|_| invalid(arg, "write match=all or match=any"))?;
            if matching.replace(chosen).is_some() {
                return Err(invalid(arg, "write match= once"));
            }
            continue;
        }
        challenge::check_scope(arg)
            .map_err(|error| invalid(arg, format_args!("write another: {error}")))?;
        for word in scope::values(arg) {
            values.push(value(cf, word)?);
        }
    }
    doubts::list(cf, DIRECTIVE, args, ", and match=any where one is enough");
    if values.is_empty() {
        return Err(ConfError::directive("has no value: write the scope that is required"));
    }
    let fixed: Vec<_> = values.iter().filter(|value| matches!(value, Value::Fixed(_))).collect();
    let has_variables = fixed.len() < values.len();
    let fixed = fixed.into_iter().map(Value::source).collect::<Vec<_>>().join(&b' ');
    settings.scope.set(
        cf,
        Rc::new(Scope {
            fixed: Rc::new(fixed),
            made: if has_variables { values } else { Vec::new() },
            matching: matching.unwrap_or_default(),
            line: Some(cf.line()),
        }),
    )?;
    settings.noted.note(cf, DIRECTIVE, UNUSED);
    Ok(())
}

fn value(cf: &mut Cf<'_>, word: &'static [u8]) -> Result<Value, ConfError> {
    if !directive::holds_variable(word) {
        return Ok(Value::Fixed(word.into()));
    }
    condition::refuse_clients(word, "choose the scope that is required")?;
    condition::warn_of_clients(cf, DIRECTIVE, word, "choose the scope that is required");
    Ok(Value::Made { value: cf.complex_value(word)?, may_be_several: directive::is_variable(word) })
}
