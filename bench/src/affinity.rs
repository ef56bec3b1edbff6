//! Which processor cores the parts of a comparison run on: the gateway's worker has the first one for
//! itself, its neighbours and the load share the others.

use std::mem;

/// The gateway's core, as `worker_cpu_affinity` takes it; the API's are the others, by inheritance.
pub(crate) const GATEWAY: &str = "worker_cpu_affinity 1;";

/// Keeps this thread, and what it starts, away from the gateway's core until dropped.
pub(crate) struct Apart {
    before: libc::cpu_set_t,
}

impl Apart {
    /// `None` where there is one core for all.
    pub(crate) fn new() -> Option<Self> {
        let size = mem::size_of::<libc::cpu_set_t>();
        // SAFETY: an empty set is all zeroes; the calls are given a set of that size each, and this
        // thread's own id.
        unsafe {
            let mut before: libc::cpu_set_t = mem::zeroed();
            if libc::sched_getaffinity(0, size, &mut before) != 0 {
                return None;
            }
            let mut others = before;
            libc::CPU_CLR(0, &mut others);
            let apart = libc::CPU_COUNT(&others) > 0
                && libc::CPU_ISSET(0, &before)
                && libc::sched_setaffinity(0, size, &others) == 0;
            apart.then_some(Self { before })
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by the kernel.
        unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &self.before) };
    }
}
