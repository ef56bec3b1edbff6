//! NGINX module for the Phantom Token pattern: opaque access tokens in, JWTs out.
//!
//! Where a request goes: [`mod@access`] reads the token, asks [`cache`], joins or begins a [`flight`],
//! and rewrites the request or refuses it. [`conf`] makes a policy of the directives, [`worker`]
//! holds what a worker does not share, [`operate`] is what operators see. [`nginx`] is NGINX with
//! safe faces. All that can be said without NGINX is in the crate `phantom_token_engine`.

#![allow(clippy::missing_safety_doc)]

use core::ffi::{c_char, c_void};
use core::ptr;
use core::time::Duration;

mod access;
mod cache;
mod conf;
mod finding;
mod fleet;
mod flight;
mod nginx;
mod operate;
mod worker;

use phantom_token_engine::client;

use access::{filter, pass, phases};
use conf::operate::ContentHandlers;
use conf::{LocConf, MainConf, calls};
use flight::desk;
use nginx::command::Configuration;
use nginx::guard;
use nginx::log::Cycle;
use nginx::parser::{Cf, ConfError};
use nginx::request::Request;
use nginx::sys::*;
use nginx::{filters, handlers, thread_pool};
use operate::{publish_jwks, purge, ready, status, variables};

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create_main_conf),
    init_main_conf: Some(init_main_conf),
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(create_loc_conf),
    merge_loc_conf: Some(merge_loc_conf),
};

const NO_HOOKS: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: None,
    create_main_conf: None,
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: None,
    merge_loc_conf: None,
};

static FILTER_CONTEXT: ngx_http_module_t =
    ngx_http_module_t { postconfiguration: Some(filter_postconfiguration), ..NO_HOOKS };

static PREACCESS_CONTEXT: ngx_http_module_t =
    ngx_http_module_t { postconfiguration: Some(preaccess_postconfiguration), ..NO_HOOKS };

static mut THREADS_CONTEXT: ngx_core_module_t = ngx_core_module_t {
    name: ngx_str_t { len: 0, data: ptr::null_mut() },
    create_conf: None,
    init_conf: Some(make_thread_pool),
};

/// The access handler, the directives and the variables.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_http_phantom_token_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const CONTEXT).cast_mut().cast(),
    commands: (&raw const conf::COMMANDS).cast_mut().cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

/// The bodies of the module's own replies: a filter must stand elsewhere in NGINX's order than an
/// access handler.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_http_phantom_token_filter_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const FILTER_CONTEXT).cast_mut().cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// The handler of locations whose tokens are judged before the limits: it must stand elsewhere than the
/// access handler, too.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_http_phantom_token_preaccess_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const PREACCESS_CONTEXT).cast_mut().cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// What must come before NGINX's thread pools. It gives the module's own pool its threads, before they
/// look for pools that have none. And it ends calls in flight before they wait for their threads: they do
/// that without sleeping, when a worker process ends, and before any HTTP module hears of it.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_phantom_token_threads_module: ngx_module_t = ngx_module_t {
    ctx: (&raw mut THREADS_CONTEXT).cast(),
    type_: NGX_CORE_MODULE as ngx_uint_t,
    exit_process: Some(stop_calls),
    ..ngx_module_t::default()
};

/// What NGINX looks for in a dynamic module.
mod exports {
    use super::*;

    #[unsafe(no_mangle)]
    #[allow(non_upper_case_globals)]
    pub(super) static mut ngx_modules: [*const ngx_module_t; 5] = [
        &raw const ngx_http_phantom_token_module,
        &raw const ngx_http_phantom_token_preaccess_module,
        &raw const ngx_http_phantom_token_filter_module,
        &raw const ngx_phantom_token_threads_module,
        ptr::null(),
    ];

    #[unsafe(no_mangle)]
    #[allow(non_upper_case_globals)]
    pub(super) static mut ngx_module_names: [*const c_char; 5] = [
        c"ngx_http_phantom_token_module".as_ptr(),
        c"ngx_http_phantom_token_preaccess_module".as_ptr(),
        c"ngx_http_phantom_token_filter_module".as_ptr(),
        c"ngx_phantom_token_threads_module".as_ptr(),
        ptr::null(),
    ];

    /// Each module is put before all those named after it, and a phase's handlers run from the last
    /// module's to the first's: calls end before the thread pools do, the access handler runs right
    /// after `allow` and `deny`, that of the preaccess phase after realip and before the limits, which
    /// NGINX's own order has before realip. Where there is no realip, the modules of variables come
    /// next. The filter stands where NGINX has its own auxiliary filters.
    #[unsafe(no_mangle)]
    #[allow(non_upper_case_globals)]
    pub(super) static mut ngx_module_order: [*const c_char; 11] = [
        c"ngx_phantom_token_threads_module".as_ptr(),
        c"ngx_thread_pool_module".as_ptr(),
        c"ngx_http_phantom_token_module".as_ptr(),
        c"ngx_http_access_module".as_ptr(),
        c"ngx_http_phantom_token_preaccess_module".as_ptr(),
        c"ngx_http_realip_module".as_ptr(),
        c"ngx_http_map_module".as_ptr(),
        c"ngx_http_rewrite_module".as_ptr(),
        c"ngx_http_phantom_token_filter_module".as_ptr(),
        c"ngx_http_copy_filter_module".as_ptr(),
        ptr::null(),
    ];
}

/// The module's place among the HTTP modules' contexts and configurations.
pub(crate) fn ctx_index() -> usize {
    // SAFETY: set by NGINX when the configuration that loads the module is read.
    unsafe { ngx_http_phantom_token_module.ctx_index }
}

impl LocConf {
    /// The configuration of the location a request is in.
    pub(crate) fn of<'a>(r: Request) -> &'a Self {
        // SAFETY: the slot holds what `create_loc_conf` made, which lives as long as the cycle.
        unsafe { &*r.loc_conf(ctx_index()).cast::<Self>() }
    }
}

impl MainConf {
    /// The configuration of the `http` block a request is in.
    pub(crate) fn of<'a>(r: Request) -> &'a Self {
        // SAFETY: the slot holds what `create_main_conf` made, which lives as long as the cycle.
        unsafe { &*(*r.raw().main_conf.add(ctx_index())).cast::<Self>() }
    }

    /// The configuration of the `http` block a parser is in.
    pub(crate) fn of_parser<'a>(cf: &'a mut Cf<'_>) -> &'a mut Self {
        // SAFETY: inside `http`, `ctx` is the http context, whose main_conf slot holds what
        // `create_main_conf` made; no other reference to it is alive during a callback.
        unsafe {
            let ctx = (*cf.as_ptr()).ctx.cast::<ngx_http_conf_ctx_t>();
            &mut *(*(*ctx).main_conf.add(ctx_index())).cast::<Self>()
        }
    }

    /// The configuration of a cycle's `http` block; `None` where it has none.
    ///
    /// # Safety
    /// `cycle` must be one whose configuration has been read, and live for as long as what is returned.
    unsafe fn of_cycle<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a Self> {
        // SAFETY: the cycle is live; its `http` block's context has what `create_main_conf` made in
        // the module's slot.
        unsafe {
            let http = *(*cycle).conf_ctx.add(ngx_http_module.index);
            let ctx = http.cast::<ngx_http_conf_ctx_t>().as_ref()?;
            Some(&*(*ctx.main_conf.add(ctx_index())).cast::<Self>())
        }
    }
}

/// What the configuration's content handlers are.
const HANDLERS: ContentHandlers = ContentHandlers {
    status: handlers::handle::<status::StatusHandler>,
    purge: handlers::handle::<purge::PurgeHandler>,
    ready: handlers::handle::<ready::ReadyHandler>,
    publish_jwks: handlers::handle::<publish_jwks::PublishJwksHandler>,
};

/// Before the configuration that may use the variables is read.
unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::entry("the variables", Cycle, ERROR, || {
        // SAFETY: NGINX passes a live parser, at the beginning of the `http` block.
        let mut cf = unsafe { Cf::new(cf) };
        nginx::variables::add::<variables::OwnVariables>(&mut cf).map_or(ERROR, |()| OK)
    })
}

// SAFETY: `create_main_conf` makes it.
unsafe impl Configuration for MainConf {
    const OFFSET: usize = NGX_HTTP_MAIN_CONF_OFFSET;
}

// SAFETY: `create_loc_conf` makes it.
unsafe impl Configuration for LocConf {
    const OFFSET: usize = NGX_HTTP_LOC_CONF_OFFSET;
}

unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::install();
    // SAFETY: NGINX's own call.
    unsafe { create(cf, |_| MainConf::new(HANDLERS)) }
}

unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: NGINX's own call.
    unsafe { create(cf, |cf| LocConf::at(cf.line())) }
}

/// A configuration that is dropped with the cycle's pool. NULL where there is no memory.
///
/// # Safety
/// `cf` must be live.
unsafe fn create<T>(cf: *mut ngx_conf_t, make: fn(&Cf<'_>) -> T) -> *mut c_void {
    unsafe extern "C" fn drop_conf<T>(data: *mut c_void) {
        let dropped = guard::catch("the end of a configuration", || {
            // SAFETY: the box `create` made; NGINX runs a pool's cleanups once.
            drop(unsafe { Box::from_raw(data.cast::<T>()) });
        });
        drop(dropped);
    }
    guard::entry("a configuration", Cycle, ptr::null_mut(), || {
        // SAFETY: a live parser's pool.
        unsafe {
            let cleanup = ngx_pool_cleanup_add((*cf).pool, 0);
            if cleanup.is_null() {
                return ptr::null_mut();
            }
            let conf = Box::into_raw(Box::new(make(&Cf::new(cf)))).cast::<c_void>();
            (*cleanup).data = conf;
            (*cleanup).handler = Some(drop_conf::<T>);
            conf
        }
    })
}

/// When all of the `http` block has been read, before its configurations are merged.
unsafe extern "C" fn init_main_conf(cf: *mut ngx_conf_t, conf: *mut c_void) -> *mut c_char {
    guard::entry("the whole configuration", Cycle, CONF_ERROR, || {
        // SAFETY: NGINX passes the parser and what `create_main_conf` made.
        let (mut cf, main) = unsafe { (Cf::new(cf), &mut *conf.cast::<MainConf>()) };
        match main.check_providers().and_then(|()| main.make_store()) {
            Ok(()) => ptr::null_mut(),
            Err(error) => {
                cf.report("phantom_token_use", &error);
                CONF_ERROR
            }
        }
    })
}

unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_char {
    let failed = CONF_ERROR;
    guard::entry("merging configurations", Cycle, failed, || {
        // SAFETY: NGINX passes the parser and two different configurations `create_loc_conf` made.
        let (mut cf, outer, inner) =
            unsafe { (Cf::new(cf), &*outer.cast::<LocConf>(), &mut *inner.cast::<LocConf>()) };
        match inner.merge(&mut cf, outer) {
            Ok(()) => ptr::null_mut(),
            Err(error) => {
                cf.report("phantom_token", &error);
                failed
            }
        }
    })
}

unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::entry("the end of the configuration", Cycle, ERROR, || {
        // SAFETY: NGINX passes a live parser, at the end of the `http` block.
        let mut cf = unsafe { Cf::new(cf) };
        cf.warn_at_end();
        if let Err(error) = add_claim_sets(&mut cf) {
            cf.report("phantom_token_claim_set", &error);
            return ERROR;
        }
        let access = ngx_http_phases_NGX_HTTP_ACCESS_PHASE;
        handlers::add_to_phase::<phases::Access>(&mut cf, access)
    })
}

/// Adds the variables of `phantom_token_claim_set`, once all others are known.
fn add_claim_sets(cf: &mut Cf<'_>) -> Result<(), ConfError> {
    let sets = core::mem::take(&mut MainConf::of_parser(cf).claim_sets.all);
    for (index, set) in sets.iter().enumerate() {
        let add = nginx::variables::add_configured::<variables::OwnVariables>;
        if !add(cf, &set.variable, index).map_err(|_| ConfError::Reported)? {
            return Err(set.taken());
        }
    }
    MainConf::of_parser(cf).claim_sets.all = sets;
    Ok(())
}

unsafe extern "C" fn preaccess_postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::entry("the order of phases", Cycle, ERROR, || {
        // SAFETY: NGINX passes a live parser, at the end of the `http` block.
        let mut cf = unsafe { Cf::new(cf) };
        match cf.judges_before_limits() {
            Ok(true) => {
                let preaccess = ngx_http_phases_NGX_HTTP_PREACCESS_PHASE;
                handlers::add_to_phase::<phases::Preaccess>(&mut cf, preaccess)
            }
            Ok(false) => OK,
            Err(error) => {
                cf.report("phantom_token_phase", &error);
                ERROR
            }
        }
    })
}

/// What has to come before NGINX's rewrite module is registered here too, since this half of the module
/// comes after it.
unsafe extern "C" fn filter_postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::entry("the filters", Cycle, ERROR, || {
        // SAFETY: NGINX passes a live parser, at the end of the `http` block.
        let mut cf = unsafe { Cf::new(cf) };
        filters::install::<filter::OwnReplies>(&mut cf);
        pass::precede_rewrites(&mut cf);
        OK
    })
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard::entry("the start of a worker", Cycle, ERROR, || {
        // SAFETY: NGINX passes the running cycle; where there is no `http` block there is no
        // context.
        unsafe {
            // The cache manager and other helpers start here too, and serve no requests.
            if !matches!(ngx_process as u32, NGX_PROCESS_WORKER | NGX_PROCESS_SINGLE) {
                return OK;
            }
            if let Some(main) = MainConf::of_cycle(cycle) {
                flight::start(main);
            }
        }
        OK
    })
}

/// When the whole configuration has been read.
unsafe extern "C" fn make_thread_pool(cycle: *mut ngx_cycle_t, _: *mut c_void) -> *mut c_char {
    let failed = CONF_ERROR;
    guard::entry("the thread pool", Cycle, failed, || {
        // SAFETY: NGINX passes the cycle it makes, whose configuration has been read.
        unsafe {
            let Some(main) = MainConf::of_cycle(cycle) else { return ptr::null_mut() };
            let own = calls::OWN_THREAD_POOL;
            if main.calls.names_thread_pool(own)
                || thread_pool::get(cycle, own).is_some_and(|pool| main.calls.uses(pool))
            {
                thread_pool::make(cycle, own, calls::OWN_THREADS);
            }
            let is_declared = |name: &[u8]| thread_pool::is_declared(cycle, name);
            if let Some(unknown) = main.calls.unknown_thread_pool(is_declared) {
                ngx::ngx_log_error!(NGX_LOG_EMERG, (*cycle).log, "{unknown}");
                return failed;
            }
        }
        ptr::null_mut()
    })
}

/// Also in processes without calls, where it does nothing.
unsafe extern "C" fn stop_calls(_: *mut ngx_cycle_t) {
    /// A thread that is in the system's hands for longer is waited for by its pool.
    const WITHIN: Duration = Duration::from_secs(1);
    guard::entry("the end of calls", Cycle, (), || {
        desk::close_connections();
        client::stop(WITHIN);
    });
}

unsafe extern "C" fn exit_process(_: *mut ngx_cycle_t) {
    guard::entry("the end of a worker", Cycle, (), desk::stop);
}
