//! Claims that were asked for as variables: what was read of an entry is not read anew at each hit.

use std::cell::{Cell, RefCell};

use crate::answer::claims::{ClaimValue, Path, Wanted};
use crate::wipe::wipe_vec;

/// Claims an entry remembers at most, the first that are asked for. The configuration names fewer;
/// who looks variables up by names that clients choose gains nothing by it.
const MAX_CLAIMS: usize = 16;
/// Bytes they take at most, names included. What is longer is read anew each time.
const MAX_BYTES: usize = 4096;

/// The texts that an entry remembers.
#[derive(Default)]
pub(super) struct Texts {
    known: RefCell<Vec<(Name, ClaimValue)>>,
    size: Cell<usize>,
}

/// Which claim was asked for.
enum Name {
    Named(Box<[u8]>),
    At(Path),
    All,
}

impl Name {
    fn is(&self, wanted: Wanted<'_>) -> bool {
        match (self, wanted) {
            (Name::Named(known), Wanted::Named(name)) => **known == *name,
            (Name::At(known), Wanted::At(path)) => known == path,
            (Name::All, Wanted::All) => true,
            _ => false,
        }
    }

    fn of(wanted: Wanted<'_>) -> Name {
        match wanted {
            Wanted::Named(name) => Name::Named(name.into()),
            Wanted::At(path) => Name::At(path.clone()),
            Wanted::All => Name::All,
        }
    }
}

impl Texts {
    /// What they take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size.get()
    }

    /// The text of a claim, which is looked up where it is not remembered.
    pub(super) fn get<T>(
        &self,
        wanted: Wanted<'_>,
        look_up: impl FnOnce() -> ClaimValue,
        give: impl FnOnce(&ClaimValue) -> T,
    ) -> T {
        if let Some((_, text)) = self.known.borrow().iter().find(|(name, _)| name.is(wanted)) {
            return give(text);
        }
        let text = look_up();
        let given = give(&text);
        self.remember(wanted, text);
        given
    }

    fn remember(&self, wanted: Wanted<'_>, text: ClaimValue) {
        let mut known = self.known.borrow_mut();
        let name_len = match wanted {
            Wanted::Named(name) => name.len(),
            Wanted::At(path) => path.size(),
            Wanted::All => 0,
        };
        let text_len = if let ClaimValue::Text(text) = &text { text.len() } else { 0 };
        let size = self.size.get() + size_of::<(Name, ClaimValue)>() + name_len + text_len;
        if known.len() < MAX_CLAIMS && size <= MAX_BYTES {
            known.push((Name::of(wanted), text));
            self.size.set(size);
        }
    }
}

impl Drop for Texts {
    fn drop(&mut self) {
        for (_, text) in self.known.get_mut() {
            if let ClaimValue::Text(text) = text {
                wipe_vec(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn text(text: &str) -> ClaimValue {
        ClaimValue::Text(text.as_bytes().to_vec())
    }

    /// What is given for a claim, and whether it was looked up.
    fn get(texts: &Texts, wanted: Wanted<'_>, value: &ClaimValue) -> (ClaimValue, bool) {
        let looked_up = Cell::new(false);
        let look_up = || {
            looked_up.set(true);
            value.clone()
        };
        (texts.get(wanted, look_up, Clone::clone), looked_up.get())
    }

    #[test]
    fn each_claim_is_read_once() {
        let texts = Texts::default();
        let (path, other) = (Path::new(&["a", "b"], None), Path::new(&["a", "b"], Some("c")));
        for (wanted, value) in [
            (Wanted::Named(b"a"), text("1")),
            (Wanted::Named(b"b"), ClaimValue::Absent),
            (Wanted::Named(b""), ClaimValue::Unprintable),
            (Wanted::At(&path), text("2")),
            (Wanted::At(&other), text("3")),
            (Wanted::All, text("4")),
        ] {
            assert_eq!(get(&texts, wanted, &value), (value.clone(), true), "{wanted:?}");
            assert_eq!(get(&texts, wanted, &text("x")), (value, false), "{wanted:?}");
        }
        // By what it is, and not by where it lies.
        let same = Path::new(&["a", "b"], None);
        assert_eq!(get(&texts, Wanted::At(&same), &text("x")), (text("2"), false));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let texts = Texts::default();
        let long = text(&"x".repeat(MAX_BYTES));
        for _ in 0..2 {
            assert_eq!(get(&texts, Wanted::Named(b"long"), &long), (long.clone(), true));
        }
        assert_eq!(texts.size(), 0);
        for number in 0..1000_u32 {
            let name = number.to_le_bytes();
            let expected = (text("v"), true);
            assert_eq!(get(&texts, Wanted::Named(&name), &text("v")), expected);
            assert!(texts.size() <= MAX_BYTES);
        }
        assert_eq!(texts.known.borrow().len(), MAX_CLAIMS);
        assert!(!get(&texts, Wanted::Named(&0_u32.to_le_bytes()), &text("v")).1);
    }
}
