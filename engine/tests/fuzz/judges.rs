//! What `make fuzz` drives: for each door that strangers' bytes come in by, a function that takes
//! any input and panics where something that must always hold does not.
//!
//! Compiled for `cargo fuzz` (which sets `cfg(fuzzing)`) and for tests, never into the module. The
//! inputs kept in `fuzz/corpus` run through the same functions in every `cargo test`, so that what
//! was found once is seen again. What is accepted is judged by other code than that under test:
//! `serde_json`'s values, or a few plain lines.
//!
//! It is compiled as a module of the engine: `arena`, `http`, `store_event` and `store_value` look into
//! private parts.
//! The other judges use what is public.

mod authorization;
mod cache_control;
mod claims;
mod directives;
pub(crate) mod input;
pub(crate) mod introspection;
mod jose;
mod jose_key;
mod jose_mint;
mod purge;
mod store_replies;

pub use self::authorization::authorization;
pub use self::cache_control::cache_control;
pub use self::claims::claims;
pub use self::directives::directives;
pub use self::introspection::introspection;
pub use self::jose_key::jose_key;
pub use self::jose_mint::jose_mint;
pub use self::purge::purge;
pub use self::store_replies::store_replies;
pub use crate::arena::fuzzing::arena;
pub use crate::client::fuzzing::http;
pub use crate::store::fuzzing::{store_event, store_value};

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{fs, panic};

    use super::input;

    /// Runs all kept inputs of a target, and a little of each: what ends early must hold too.
    fn run_kept(name: &str, target: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&directory)
            .expect("the target's corpus")
            .map(|file| file.expect("a file").path())
            .collect();
        files.sort();
        assert!(files.len() >= 5, "{} holds next to nothing", directory.display());
        for file in files {
            let input = fs::read(&file).expect("an input");
            for input in [&input[..], &input[..input.len() / 2], &input[..input.len() * 9 / 10]] {
                let run = panic::catch_unwind(|| target(input));
                assert!(run.is_ok(), "{} of {} bytes", file.display(), input.len());
            }
        }
    }

    macro_rules! kept {
        ($($target:ident),+ $(,)?) => {
            $(#[test]
            fn $target() {
                run_kept(stringify!($target), super::$target);
            })+
        };
    }

    kept!(
        arena,
        authorization,
        cache_control,
        claims,
        directives,
        http,
        introspection,
        jose_key,
        jose_mint,
        purge,
        store_event,
        store_replies,
        store_value,
    );

    #[test]
    fn brackets_are_base64url() {
        assert_eq!(input::expand(b"<{}>.<a<b>>.c"), b"e30.YVln.c");
        assert_eq!(input::expand(b"a>b<c"), b"a>b<c");
    }
}
