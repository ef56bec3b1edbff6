//! The steps in which shared words change.
//!
//! What several workers decide together is made of these steps alone, so that tests can let
//! another worker act, or end this one, between any two of them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A word of shared memory.
pub(crate) trait Word {
    /// What it holds.
    type Value: Copy;
    /// Reads it, and sees what was written before it.
    fn get(&self) -> Self::Value;
    /// Writes it, and shows what was written before it.
    fn set(&self, value: Self::Value);
    /// Writes it and tells what was in it.
    fn replace(&self, value: Self::Value) -> Self::Value;
    /// Writes `to` where it holds `from`; else what it holds.
    fn exchange(&self, from: Self::Value, to: Self::Value) -> Result<(), Self::Value>;
    /// Adds one and tells what was in it.
    fn count(&self) -> Self::Value;
    /// Adds to it and tells what was in it.
    fn add(&self, by: Self::Value) -> Self::Value;
    /// Writes the greater one of the two and tells what was in it.
    fn raise(&self, value: Self::Value) -> Self::Value;
}

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word for $atomic {
            type Value = $value;

            #[inline]
            fn get(&self) -> $value {
                step();
                self.load(Ordering::Acquire)
            }

            #[inline]
            fn set(&self, value: $value) {
                step();
                self.store(value, Ordering::Release);
            }

            #[inline]
            fn replace(&self, value: $value) -> $value {
                step();
                self.swap(value, Ordering::AcqRel)
            }

            #[inline]
            fn exchange(&self, from: $value, to: $value) -> Result<(), $value> {
                step();
                self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
            }

            #[inline]
            fn count(&self) -> $value {
                self.add(1)
            }

            #[inline]
            fn add(&self, by: $value) -> $value {
                step();
                self.fetch_add(by, Ordering::AcqRel)
            }

            #[inline]
            fn raise(&self, value: $value) -> $value {
                step();
                self.fetch_max(value, Ordering::AcqRel)
            }
        }
    };
}

word!(AtomicU32, u32);
word!(AtomicU64, u64);

#[cfg(not(test))]
#[inline(always)]
fn step() {}

#[cfg(test)]
use super::state::testing::step;
