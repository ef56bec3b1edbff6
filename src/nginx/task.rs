//! Tasks of NGINX's thread pools.
//!
//! A pool takes a task, calls its handler in one of its threads, and hands it back on the event loop.
//! `ngx_thread_pool_handler` takes a task from its queue before it runs it: until it is handed back the
//! task's memory is the pool's, whatever becomes of who posted it.

use core::cell::{Cell, UnsafeCell};
use core::ffi::{c_int, c_long, c_void};
use core::mem;
use core::ops::Deref;
use std::sync::Arc;

use crate::nginx::guard;
use crate::nginx::log::{Cycle, HasLog};
use crate::nginx::sys::*;
use crate::nginx::thread_pool::ThreadPool;

/// What a pool thread does, and the event loop after it.
pub(crate) trait Job: Send + Sync {
    /// What its end is, as the line of a panic in it says.
    const END: &'static str;

    /// In a pool thread.
    fn run(&self);

    /// On the event loop, once it has run.
    fn has_run(&self);
}

/// A job in the hands of a thread pool, shared with who posted it.
pub(crate) struct Task<J> {
    task: UnsafeCell<ngx_thread_task_t>,
    job: J,
}

// SAFETY: the task is NGINX's alone from when it is posted, and is made and freed on the event loop.
unsafe impl<J: Job> Send for Task<J> {}
// SAFETY: as above; what is shared is the job.
unsafe impl<J: Job> Sync for Task<J> {}

impl<J> Deref for Task<J> {
    type Target = J;

    fn deref(&self) -> &J {
        &self.job
    }
}

impl<J: Job> Task<J> {
    /// Puts a job into a pool's queue. `None`: the queue is full, which NGINX has logged.
    pub(crate) fn post(pool: ThreadPool, job: J) -> Option<Arc<Self>> {
        // SAFETY: NGINX itself begins with zeroed tasks (ngx_thread_task_alloc).
        let task = UnsafeCell::new(unsafe { mem::zeroed() });
        let this = Arc::new(Self { task, job });
        let task = this.task.get();
        let share = Arc::into_raw(Arc::clone(&this));
        // SAFETY: no thread has the task yet. The share is the pool's until it hands the task back; where
        // it does not take it, it is given back here.
        unsafe {
            (*task).handler = Some(run::<J>);
            (*task).ctx = share.cast_mut().cast();
            (*task).event.data = share.cast_mut().cast();
            (*task).event.handler = Some(has_run::<J>);
            (*task).event.log = Cycle.log();
            if ngx_thread_task_post(pool.as_ptr(), task) == OK {
                return Some(this);
            }
            drop(Arc::from_raw(share));
        }
        None
    }
}

/// In a pool thread.
unsafe extern "C" fn run<J: Job>(task: *mut c_void, _: *mut ngx_log_t) {
    yield_to_event_loop();
    // SAFETY: `post` set it; the pool's share lives until `has_run`.
    let task = unsafe { &*task.cast_const().cast::<Task<J>>() };
    // A second net: jobs catch their own panics.
    drop(guard::catch("a thread task", || task.job.run()));
}

/// On the event loop: the pool hands a task back.
unsafe extern "C" fn has_run<J: Job>(event: *mut ngx_event_t) {
    // SAFETY: `post` set it, and gave the pool a share, which comes back here and only once.
    let task = unsafe { Arc::from_raw((*event).data.cast_const().cast::<Task<J>>()) };
    guard::entry(J::END, Cycle, (), || task.job.has_run());
}

/// Lets the event loop go on where this pool thread wakes on its processor: in the scheduling class
/// for batch work a thread interrupts nobody when it wakes (sched(7)). NGINX wakes a pool thread
/// while it holds the queue's lock, for which a thread that ran at once would only have to wait;
/// and requests that need no introspection are served first. A class somebody chose stays. Where
/// system calls are filtered (seccomp(2)) it is not tried: a filter may end the process for it.
fn yield_to_event_loop() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if DONE.replace(true) {
        return;
    }
    // The kernel's `struct sched_param`.
    let priority: c_int = 0;
    // SAFETY: system calls about the calling thread (musl's wrappers of the last two do nothing);
    // `priority` outlives them. Where they are refused, the thread stays as it is.
    unsafe {
        if libc::prctl(libc::PR_GET_SECCOMP) == 0
            && libc::syscall(libc::SYS_sched_getscheduler, 0) == c_long::from(libc::SCHED_OTHER)
        {
            libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const priority);
        }
    }
}
