//! Memory that others point to: NGINX's timers and queues, a pool thread, another object of ours.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A value in memory of its own, which it never leaves. Not a `Box`, which claims, each time it is moved,
/// that nobody else has a pointer to what it holds.
pub(crate) struct Pinned<T>(NonNull<T>);

impl<T> Pinned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// For those who point to it, until it is dropped.
    pub(crate) fn pointer(&self) -> NonNull<T> {
        self.0
    }
}

impl<T> Deref for Pinned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: live until dropped. Others look at it from other callbacks only, which run on the
        // same thread; what another thread uses is reached by pointer alone.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Pinned<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`; nobody points to it any more, or it sees to that itself when it is
        // dropped.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
