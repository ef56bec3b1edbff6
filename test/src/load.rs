//! Load that goes on beside a test until it is over.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets a flag when it is dropped, so that the load ends also where a test fails.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
