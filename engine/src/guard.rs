//! Catches panics, and remembers where they were.
//!
//! A panic that reaches C ends the process. [`catch`] makes a value of it that tells file and line only:
//! a panic's own message may hold what must not be logged.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::memory;

thread_local! {
    static LAST: Cell<Option<PanicSite>> = const { Cell::new(None) };
}

/// Where a thread panicked. Shown as `FILE:LINE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicSite {
    /// `None` where the hook was not installed, or had no memory.
    at: Option<(String, u32)>,
}

impl fmt::Display for PanicSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some((file, line)) => write!(f, "{file}:{line}"),
            None => f.write_str("an unknown place"),
        }
    }
}

/// Replaces Rust's panic hook, which prints the message to standard error: NGINX's error log, often.
/// Call it before anything may panic. The second call does nothing.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(remember)));
}

/// The hook. It must not panic itself: without memory, or in a thread that ends, the site stays unknown.
fn remember(info: &PanicHookInfo<'_>) {
    let site = info.location().and_then(|location| {
        let mut file: Vec<u8> = memory::with_room(location.file().len()).ok()?;
        file.extend_from_slice(location.file().as_bytes());
        Some((String::from_utf8(file).ok()?, location.line()))
    });
    let _ = LAST.try_with(|last| last.set(Some(PanicSite { at: site })));
}

/// Runs `body`.
///
/// # Errors
/// Where it panics: the place.
pub fn catch<T>(body: impl FnOnce() -> T) -> Result<T, PanicSite> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        // The payload's own drop must not be able to panic out of here.
        std::mem::forget(payload);
        LAST.try_with(Cell::take).ok().flatten().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_passes() {
        install();
        assert_eq!(catch(|| 7), Ok(7));
    }

    #[test]
    fn a_panic_gives_its_place_and_no_message() {
        install();
        let line = line!() + 1;
        let site = catch(|| panic!("a secret")).expect_err("it panics");
        assert_eq!(site.to_string(), format!("{}:{line}", file!()));
        assert_eq!(catch(|| 7), Ok(7), "the next one is not told of it");
    }

    #[test]
    fn a_payload_that_panics_when_dropped_stays_inside() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in a payload's drop");
            }
        }
        install();
        let site = catch(|| panic::panic_any(Bomb)).expect_err("it panics");
        assert!(site.to_string().starts_with(file!()), "{site}");
    }

    #[test]
    fn each_thread_has_its_own_place() {
        install();
        let here = catch(|| panic!("here")).expect_err("it panics");
        let there = std::thread::spawn(|| catch(|| panic!("there")));
        let there = there.join().expect("the panic is caught").expect_err("it panics");
        assert_ne!(here, there);
        assert_eq!(PanicSite::default().to_string(), "an unknown place");
    }
}
