//! Variables of the operator's own, for claims that no variable's name can say (`phantom_token_claim_set`).

use phantom_token_engine::answer::claims::Path;
use phantom_token_engine::directive;

use crate::conf::settings::{M, no_variables};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid};
use crate::nginx::sys::*;

/// `phantom_token_claim_set $variable NAME … [has=VALUE]`.
pub(crate) struct ClaimSet {
    /// The variable's name, in lower case as NGINX has it.
    pub(crate) variable: Vec<u8>,
    pub(crate) path: Path,
    line: ConfigLine,
}

impl ClaimSet {
    /// What to say where something else has a variable of that name.
    pub(crate) fn taken(&self) -> ConfError {
        let name = String::from_utf8_lossy(&self.variable);
        ConfError::at(
            &self.line,
            format_args!(
                "\"phantom_token_claim_set\" sets the variable \"${name}\", which NGINX or another directive defines: write another name"
            ),
        )
    }
}

/// What the whole `http` block has of it.
#[derive(Default)]
pub(crate) struct Main {
    pub(crate) all: Vec<ClaimSet>,
}

pub(super) const MAIN_COMMANDS: &[Command<Main>] = &[Command::new(
    c"phantom_token_claim_set",
    M | NGX_CONF_2MORE,
    "$variable NAME ... [has=VALUE]",
    claim_set,
)];

fn claim_set(cf: &mut Cf<'_>, main: &mut Main, args: Args<'_>) -> Result<(), ConfError> {
    let variable = directive::variable_name(args[0])
        .ok_or_else(|| invalid(args[0], "write the variable to set first, such as $roles"))?
        .to_ascii_lowercase();
    if variable.starts_with(b"phantom_token_") {
        return Err(invalid(
            args[0],
            "such names are the module's own; write one that does not begin with $phantom_token_",
        ));
    }
    if let Some(first) = main.all.iter().find(|set| set.variable == variable) {
        return Err(invalid(
            args[0],
            format!("it is set already, in {}; write another name", first.line),
        ));
    }
    let (mut names, mut has) = (Vec::new(), None);
    for arg in &args[1..] {
        no_variables(arg)?;
        let is_value = arg.strip_prefix(b"has=");
        let text = std::str::from_utf8(is_value.unwrap_or(arg))
            .ok()
            .filter(|text| !text.is_empty() && !text.bytes().any(|byte| byte.is_ascii_control()));
        let text = text.ok_or_else(|| {
            invalid(arg, "write text in UTF-8 without control bytes, and not nothing")
        })?;
        if is_value.is_none() {
            names.push(text);
        } else if has.replace(text).is_some() {
            return Err(invalid(arg, "write has= once, or a variable for each value"));
        }
    }
    if names.is_empty() {
        return Err(ConfError::directive(
            "names no claim: write its name, or the names of a path to it, between the variable and has=",
        ));
    }
    if let [name] = names[..]
        && name.contains('.')
        && !name.contains(['/', ':'])
    {
        let path = name.replace('.', " ");
        cf.warn_here(format_args!(
            "\"phantom_token_claim_set\" takes \"{name}\" for the name of one claim: write \"{path}\" for one within others"
        ));
    }
    main.all.push(ClaimSet { variable, path: Path::new(&names, has), line: cf.line() });
    Ok(())
}
