//! Shared memory zones: one per cache, and one for the state all workers share.
//!
//! NGINX maps a zone, keeps it over a reload where name, size and module are the same, and hands it
//! to `init`. The engine lays out what is in it. `init` also runs for configurations that are then
//! rejected, while draining workers use the zone: a reused zone is attached to, never changed.

use std::cell::Cell;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use phantom_token_engine::arena::{self, Arena, Locked};
use phantom_token_engine::shared::lock::{self, Guard};
use phantom_token_engine::shared::purges::{self, Purges};
use phantom_token_engine::shared::state::{self, State};

use crate::nginx::guard;
use crate::nginx::log::{Cycle, log_at};
use crate::nginx::parser::{Cf, ConfError};
use crate::nginx::sys::*;

mod owed;

use owed::Debts;
pub(crate) use owed::{Owed, pay_all};

/// A zone of cached answers (`phantom_token_cache_zone`).
pub(crate) struct Zone {
    name: String,
    mapped: Mapped,
    arena: Cell<Option<Arena>>,
    /// What this worker still has to do there.
    debts: Debts,
}

/// Where NGINX has put a zone.
#[derive(Default)]
struct Mapped {
    /// What is ours of it.
    block: Cell<Option<(NonNull<u8>, usize)>>,
    /// The slab mutex's word: the owner's pid, or 0.
    lock: Cell<Option<NonNull<AtomicUsize>>>,
}

/// A share of a zone. NGINX points to the zone as long as its cycle's configuration has one; a flight
/// may outlive that cycle.
#[derive(Clone)]
pub(crate) struct ZoneRef(Rc<Zone>);

impl Deref for ZoneRef {
    type Target = Zone;

    fn deref(&self) -> &Zone {
        &self.0
    }
}

impl PartialEq for ZoneRef {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Zone {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Adds a zone to the configuration; its memory comes when the cycle starts.
    pub(crate) fn declare(cf: &mut Cf<'_>, name: &str, size: usize) -> Result<ZoneRef, ConfError> {
        let least = Self::least_size();
        if size < least {
            return Err(ConfError::Directive(format!(
                "gives the zone \"{name}\" {size} bytes, which is too small: write at least {}k",
                least.div_ceil(1024)
            )));
        }
        let zone = Rc::new(Self {
            name: name.to_owned(),
            mapped: Mapped::default(),
            arena: Cell::new(None),
            debts: Debts::default(),
        });
        let data = Rc::as_ptr(&zone).cast_mut().cast();
        add(cf, name, size, init_cache, data)?;
        Ok(ZoneRef(zone))
    }

    fn least_size() -> usize {
        // SAFETY: set once, before any configuration is read.
        let page = unsafe { ngx_pagesize };
        (arena::MIN_SIZE + slab_overhead(arena::MIN_SIZE)).max(8 * page)
    }

    pub(crate) fn arena(&self) -> Option<Arena> {
        self.arena.get()
    }

    /// Works on the zone under its lock, after what is owed to it. `None`: the lock could not be had
    /// in 100 ms, and the request goes on as if the zone were empty.
    ///
    /// `work` must not panic, allocate, log or take another lock.
    pub(crate) fn locked<T>(&self, work: impl FnOnce(&mut Locked<'_>) -> T) -> Option<T> {
        self.under(|word| lock::acquire(word, here()), work)
    }

    /// [`Zone::locked`] where the lock is free. `None`: it was not, and nobody waited.
    pub(crate) fn if_unlocked<T>(&self, work: impl FnOnce(&mut Locked<'_>) -> T) -> Option<T> {
        self.under(|word| lock::attempt(word, pid()), work)
    }

    fn under<'z, T>(
        &'z self,
        lock: impl FnOnce(&'z AtomicUsize) -> Option<Guard<'z>>,
        work: impl FnOnce(&mut Locked<'_>) -> T,
    ) -> Option<T> {
        let arena = self.arena.get()?;
        let word = self.mapped.lock.get()?;
        // SAFETY: the word is in the zone. A worker's zones stay mapped as long as it runs: only who reads
        // another configuration, the master, takes zones away (with `master_process off` NGINX does so
        // under the requests of all modules alike).
        let mut guard = lock(unsafe { word.as_ref() })?;
        let mut locked = arena.locked(&mut guard);
        self.debts.pay(&mut locked);
        Some(work(&mut locked))
    }
}

/// A zone of constant size whose words change without a lock.
pub(crate) struct Words<V> {
    mapped: Mapped,
    view: Cell<Option<V>>,
}

/// What is no cache entry: health, counters, worker slots, purge generations.
pub(crate) type StateZone = Words<State>;

/// What was purged, and when.
pub(crate) type PurgeZone = Words<Purges>;

/// A view of such a zone, and how its words are laid out.
pub(crate) trait View: Copy + 'static {
    const NAME: &'static str;
    const SIZE: usize;

    /// # Safety
    /// The block is fresh pages of a fresh zone, which nobody else knows yet.
    unsafe fn create(base: NonNull<u8>, len: usize) -> Result<Self, ZoneError>;

    /// # Safety
    /// The block was made by this module in an earlier cycle, and is mapped.
    unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Self, ZoneError>;
}

impl View for State {
    const NAME: &'static str = "phantom_token_state";
    const SIZE: usize = state::SIZE;

    unsafe fn create(base: NonNull<u8>, len: usize) -> Result<Self, ZoneError> {
        // Workers are to find it, where no zone of a cache needs it.
        hash_key()?;
        // SAFETY: passed on to the caller.
        unsafe { Self::create(base, len, random_key()?) }.map_err(|_| ZoneError::TooSmall)
    }

    unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Self, ZoneError> {
        hash_key()?;
        // SAFETY: passed on to the caller.
        unsafe { Self::attach(base, len) }.map_err(|_| ZoneError::Layout)
    }
}

impl View for Purges {
    const NAME: &'static str = "phantom_token_purges";
    const SIZE: usize = purges::SIZE;

    unsafe fn create(base: NonNull<u8>, len: usize) -> Result<Self, ZoneError> {
        // SAFETY: passed on to the caller.
        unsafe { Self::create(base, len, purges::wall_ms()) }.map_err(|_| ZoneError::TooSmall)
    }

    unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Self, ZoneError> {
        // SAFETY: passed on to the caller.
        unsafe { Self::attach(base, len) }.map_err(|_| ZoneError::Layout)
    }
}

impl<V: View> Words<V> {
    /// Adds the zone to the configuration; its memory comes when the cycle starts.
    pub(crate) fn declare(cf: &mut Cf<'_>) -> Result<Rc<Self>, ConfError> {
        let zone = Rc::new(Self { mapped: Mapped::default(), view: Cell::new(None) });
        let data = Rc::as_ptr(&zone).cast_mut().cast();
        add(cf, V::NAME, V::SIZE + slab_overhead(V::SIZE), init_words::<V>, data)?;
        Ok(zone)
    }

    pub(crate) fn view(&self) -> Option<V> {
        self.view.get()
    }
}

/// What NGINX's slab pool needs beside `size` bytes in one run of pages: its header, and a record
/// for each page.
fn slab_overhead(size: usize) -> usize {
    // SAFETY: set once, before any configuration is read.
    let page = unsafe { ngx_pagesize };
    4 * page + size / page * size_of::<ngx_slab_page_t>() * 2
}

/// Tells zones of this module, of this very build, from others of the same name.
fn tag() -> *mut core::ffi::c_void {
    (&raw const crate::ngx_http_phantom_token_module).cast_mut().cast()
}

type Init = unsafe extern "C" fn(*mut ngx_shm_zone_t, *mut core::ffi::c_void) -> ngx_int_t;

fn add(
    cf: &mut Cf<'_>,
    name: &str,
    size: usize,
    init: Init,
    data: *mut core::ffi::c_void,
) -> Result<(), ConfError> {
    // SAFETY: the parser is live; NGINX keeps the name, which is copied into the cycle's pool.
    unsafe {
        let pool = (*cf.as_ptr()).pool;
        let Some(mut name) = pool_copy(pool, name.as_bytes()) else {
            return Err(ConfError::directive("could not be read: no memory"));
        };
        let zone = ngx_shared_memory_add(cf.as_ptr(), &mut name, size, tag());
        if zone.is_null() {
            return Err(ConfError::Reported);
        }
        (*zone).init = Some(init);
        (*zone).data = data;
    }
    Ok(())
}

/// Why a zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZoneError {
    #[error("has no room for its own bookkeeping: make it larger")]
    TooSmall,
    #[error(
        "was laid out by another version of this module: rename it, change its size, or restart NGINX"
    )]
    Layout,
    #[error("could not get a random key from the system")]
    Random,
}

/// All pages of a new slab pool in one run, or what an earlier cycle made of the zone.
///
/// # Safety
/// `zone` must be what NGINX passed to `init`.
unsafe fn map(
    zone: *mut ngx_shm_zone_t,
    old: Option<&Mapped>,
) -> Result<(Mapped, bool), ZoneError> {
    let mapped = Mapped::default();
    // SAFETY: the zone is mapped and begins with the slab pool that NGINX made there.
    unsafe {
        let pool = (*zone).shm.addr.cast::<ngx_slab_pool_t>();
        mapped.lock.set(NonNull::new((*pool).mutex.lock.cast()));
        if let Some(block) = old.and_then(|old| old.block.get()) {
            mapped.block.set(Some(block));
            return Ok((mapped, true));
        }
        let len = pt_slab_free_pages(pool) as usize * ngx_pagesize;
        let base =
            NonNull::new(ngx_slab_alloc(pool, len).cast::<u8>()).ok_or(ZoneError::TooSmall)?;
        (*pool).data = base.as_ptr().cast();
        mapped.block.set(Some((base, len)));
    }
    Ok((mapped, false))
}

unsafe extern "C" fn init_cache(
    zone: *mut ngx_shm_zone_t,
    old: *mut core::ffi::c_void,
) -> ngx_int_t {
    guard::entry("a zone", Cycle, ERROR, || {
        // SAFETY: `data` is what `declare` set, `old` what it set in the cycle before, or NULL; both
        // cycles have their configurations yet.
        let (this, old) = unsafe { (&*(*zone).data.cast::<Zone>(), old.cast::<Zone>().as_ref()) };
        let made = (|| {
            // SAFETY: NGINX's own call of init.
            let (mapped, reused) = unsafe { map(zone, old.map(|old| &old.mapped)) }?;
            let (base, len) = mapped.block.get().ok_or(ZoneError::TooSmall)?;
            let arena = if reused {
                // SAFETY: the block was made by this module in an earlier cycle, and is mapped.
                unsafe { Arena::attach(base, len) }.map_err(|_| ZoneError::Layout)?
            } else {
                let key = hash_key()?;
                // SAFETY: fresh pages of a fresh zone, which nobody else knows yet.
                unsafe { Arena::create(base, len, key) }.map_err(|_| ZoneError::TooSmall)?
            };
            this.mapped.block.set(mapped.block.get());
            this.mapped.lock.set(mapped.lock.get());
            this.arena.set(Some(arena));
            Ok::<_, ZoneError>(())
        })();
        report(made, &this.name)
    })
}

unsafe extern "C" fn init_words<V: View>(
    zone: *mut ngx_shm_zone_t,
    old: *mut core::ffi::c_void,
) -> ngx_int_t {
    guard::entry("a zone of words", Cycle, ERROR, || {
        // SAFETY: as in `init_cache`.
        let (this, old) =
            unsafe { (&*(*zone).data.cast::<Words<V>>(), old.cast::<Words<V>>().as_ref()) };
        let made = (|| {
            // SAFETY: NGINX's own call of init.
            let (mapped, reused) = unsafe { map(zone, old.map(|old| &old.mapped)) }?;
            let (base, len) = mapped.block.get().ok_or(ZoneError::TooSmall)?;
            // SAFETY: made by this module in an earlier cycle, and mapped; else fresh pages of a fresh
            // zone.
            let view = unsafe { if reused { V::attach(base, len) } else { V::create(base, len) } }?;
            this.mapped.block.set(mapped.block.get());
            this.view.set(Some(view));
            Ok::<_, ZoneError>(())
        })();
        report(made, V::NAME)
    })
}

fn report(made: Result<(), ZoneError>, name: &str) -> ngx_int_t {
    match made {
        Ok(()) => OK,
        Err(error) => {
            log_at!(NGX_LOG_EMERG, Cycle, "the zone \"{name}\" {error}");
            ERROR
        }
    }
}

/// The key of all hashes, random and made once in the master process: the same in all its workers
/// and zones, so that what one zone's locations learn of a token counts in all.
fn hash_key() -> Result<[u8; 16], ZoneError> {
    static KEY: OnceLock<[u8; 16]> = OnceLock::new();
    match KEY.get() {
        Some(key) => Ok(*key),
        None => random_key().map(|key| *KEY.get_or_init(|| key)),
    }
}

/// Sixteen bytes from the system's random number generator.
fn random_key() -> Result<[u8; 16], ZoneError> {
    let mut key = [0; 16];
    if random(&mut key) { Ok(key) } else { Err(ZoneError::Random) }
}

/// Fills a few bytes from the system's random number generator, where that gives any.
pub(crate) fn random(bytes: &mut [u8]) -> bool {
    // SAFETY: the buffer is writable for its whole length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    got == bytes.len() as isize
}

/// [`hash_key`] in a worker, for keys of locations without a cache.
pub(crate) fn worker_key() -> [u8; 16] {
    hash_key().unwrap_or_else(|_| {
        // No zone has made it, and there is no random source: used inside this process only.
        let mut key = [0; 16];
        key[..8].copy_from_slice(&now_ms().to_le_bytes());
        key[8..12].copy_from_slice(&pid().to_le_bytes());
        key
    })
}
