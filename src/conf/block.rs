//! What blocks with directives of their own have in common: these have no prefix there, and whoever
//! writes what has no place there is told where it goes.

use crate::conf::COMMANDS as DIRECTIVES;
use crate::nginx::command::{Args, Block, Member};
use crate::nginx::parser::{Cf, ConfError};

/// How directives begin outside of a block.
pub(super) const PREFIX: &str = "phantom_token_";

/// The settings of a block, while it is read.
pub(super) trait Members: Sized + 'static {
    /// The directive that begins it.
    const NAME: &'static str;

    /// What may stand in it.
    fn members() -> impl Iterator<Item = &'static dyn Member<Self>>;

    /// Where a directive goes that has no place in it.
    fn goes_outside(directive: &str) -> String;

    /// Whether a word is a member's name, as it is written inside.
    fn is_member(word: &[u8]) -> bool {
        Self::members().any(|member| inner(member.name()) == word)
    }
}

impl<B: Members> Block for B {
    fn set(&mut self, cf: &mut Cf<'_>, name: &[u8], args: Args<'_>) -> Result<(), ConfError> {
        let Some(member) = B::members().find(|member| inner(member.name()) == name) else {
            return Err(not_a_member::<B>(&String::from_utf8_lossy(name)));
        };
        member.form().check(&String::from_utf8_lossy(name), args, B::is_member, |_| true)?;
        let set = member.set(cf, self, args);
        set.map_err(|error| member.form().explain(error, args, Self::is_member))
    }

    /// Names of members have no prefix in a block.
    fn in_its_words(message: &str) -> String {
        let mut parts = message.split(PREFIX);
        let mut words = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let name = &part.as_bytes()[..end.unwrap_or(part.len())];
            if !B::is_member(name) {
                words.push_str(PREFIX);
            }
            words.push_str(part);
        }
        words
    }
}

/// A member's name in a block.
fn inner(name: &[u8]) -> &[u8] {
    name.strip_prefix(PREFIX.as_bytes()).unwrap_or(name)
}

/// What to write in place of what has no place in a block.
fn not_a_member<B: Members>(name: &str) -> ConfError {
    let bare = name.strip_prefix(PREFIX).unwrap_or(name);
    if B::is_member(bare.as_bytes()) {
        return ConfError::Directive(format!("has a prefix, which goes in a block: write {bare}"));
    }
    let outside = |known: &[u8]| known == name.as_bytes() || inner(known) == bare.as_bytes();
    if let Some(known) = DIRECTIVES.names().find(|known| outside(known)) {
        return ConfError::Directive(B::goes_outside(&String::from_utf8_lossy(known)));
    }
    let names = B::members().map(|member| String::from_utf8_lossy(inner(member.name())));
    ConfError::Directive(format!(
        "is unknown in {}: there are {} and include",
        B::NAME,
        names.collect::<Vec<_>>().join(", ")
    ))
}
