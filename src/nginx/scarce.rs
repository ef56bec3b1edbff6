//! Memory that is refused on demand, for tests of what the event loop does without: while the file
//! that `PHANTOM_TOKEN_NO_MEMORY` names exists, nothing large is given there. Pool threads are
//! spared, since their libraries end the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;

/// More than what is of a fixed size takes, once a worker has started.
const LARGE: usize = 1_000;

static SWITCH: OnceLock<Option<CString>> = OnceLock::new();

/// In the master: workers have no environment.
pub(crate) fn read() {
    SWITCH
        .get_or_init(|| CString::new(std::env::var_os("PHANTOM_TOKEN_NO_MEMORY")?.into_vec()).ok());
}

/// The system's allocator, which can be made to run out of memory.
struct Scarce;

impl Scarce {
    /// Allocates nothing itself.
    fn gives(size: usize) -> bool {
        let Some(Some(switch)) = SWITCH.get() else { return true };
        // SAFETY: two calls without arguments, and one that reads a string ending in NUL.
        size < LARGE
            || unsafe {
                libc::gettid() != libc::getpid() || libc::access(switch.as_ptr(), libc::F_OK) != 0
            }
    }
}

// SAFETY: what is given is the system allocator's, and a null pointer may always be given.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !Self::gives(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; all memory is the system allocator's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !Self::gives(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise; all memory is the system allocator's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;
