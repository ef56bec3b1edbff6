//! Variables of the module's own, with a safe face.

use crate::nginx::guard;
use crate::nginx::parser::Cf;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// A variable's name, and how a request's value is found; `None`: it has none.
pub(crate) type Named = (&'static [u8], fn(Asked<'_>) -> Option<Vec<u8>>);

/// Who asks for which variable.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The main request.
    pub(crate) r: Request,
    /// The variable's whole name.
    pub(crate) name: &'a [u8],
}

/// The module's variables. Subrequests (SSI, mirror) show those of their main request, which is what the
/// functions are given. No value is cached: it may be asked for before the request is decided.
pub(crate) trait Variables {
    /// Those with a name of their own.
    const NAMED: &'static [Named];

    /// How the names of all others begin.
    const PREFIX: &'static [u8];

    /// The value of one whose name goes on so behind the prefix.
    fn prefixed(asked: Asked<'_>, rest: &[u8]) -> Option<Vec<u8>>;

    /// The value of one that the configuration has added, by the index it was added with.
    fn configured(r: Request, index: usize) -> Option<Vec<u8>>;

    /// One could not be given its value, which NGINX takes for an empty one.
    fn failed(r: Request);
}

/// Adds the variables, before the configuration that may use them is read.
pub(crate) fn add<V: Variables>(cf: &mut Cf<'_>) -> Result<(), NoMemory> {
    for (index, (name, _)) in V::NAMED.iter().enumerate() {
        add_one(cf, name, 0, get_named::<V>, index)?;
    }
    add_one(cf, V::PREFIX, NGX_HTTP_VAR_PREFIX, get_prefixed::<V>, 0)
}

/// Adds a variable that the configuration names, in lower case, at the end of the `http` block. Returns
/// whether the name was free: no module, and no other directive, has a variable of that name.
pub(crate) fn add_configured<V: Variables>(
    cf: &mut Cf<'_>,
    name: &[u8],
    index: usize,
) -> Result<bool, NoMemory> {
    // SAFETY: the parser is live and inside `http`; the name is only compared.
    let is_taken =
        unsafe { pt_variable_is_taken(cf.as_ptr(), name.as_ptr().cast_mut(), name.len()) != 0 };
    if !is_taken {
        add_one(cf, name, 0, get_configured::<V>, index)?;
    }
    Ok(!is_taken)
}

type Get = unsafe extern "C" fn(
    *mut ngx_http_request_t,
    *mut ngx_http_variable_value_t,
    usize,
) -> ngx_int_t;

fn add_one(
    cf: &mut Cf<'_>,
    name: &[u8],
    flags: u32,
    get: Get,
    data: usize,
) -> Result<(), NoMemory> {
    let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
    let flags = (flags | NGX_HTTP_VAR_NOCACHEABLE) as ngx_uint_t;
    // SAFETY: the parser is live and inside `http`; NGINX copies the name in lower case.
    unsafe {
        let variable = ngx_http_add_variable(cf.as_ptr(), &mut name, flags).as_mut();
        let variable = variable.ok_or(NoMemory)?;
        variable.get_handler = Some(get);
        variable.data = data;
    }
    Ok(())
}

/// `data`: where the variable stands in [`Variables::NAMED`].
unsafe extern "C" fn get_named<V: Variables>(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: NGINX's own call.
    unsafe {
        get::<V>(r, v, |r| {
            let (name, value) = V::NAMED.get(data)?;
            value(Asked { r, name })
        })
    }
}

/// `data`: the index it was added with.
unsafe extern "C" fn get_configured<V: Variables>(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: NGINX's own call.
    unsafe { get::<V>(r, v, |r| V::configured(r, data)) }
}

/// `data`: the variable's whole name.
unsafe extern "C" fn get_prefixed<V: Variables>(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: NGINX passes the name to the handler of a prefix variable, as an ngx_str_t that lives as
    // long as the configuration (ngx_http_variables_init_vars, ngx_http_get_variable).
    let name = unsafe { bytes(&*core::ptr::with_exposed_provenance::<ngx_str_t>(data)) };
    let rest = name.get(V::PREFIX.len()..).unwrap_or_default();
    // SAFETY: NGINX's own call.
    unsafe { get::<V>(r, v, |r| V::prefixed(Asked { r, name }, rest)) }
}

/// Gives a variable's value.
///
/// # Safety
/// `r` and `v` must be what NGINX passed to a variable's handler.
unsafe fn get<V: Variables>(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    value: impl FnOnce(Request) -> Option<Vec<u8>>,
) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let r = unsafe { Request::new(r) };
    let given = guard::entry("a variable", r, ERROR, || {
        let value = value(r.main());
        // SAFETY: the slot is NGINX's; the text is copied into the request's pool.
        unsafe {
            match value {
                None => pt_variable_not_found(v),
                Some(text) => match pool_copy(r.pool(), &text) {
                    Some(copy) => pt_variable_set(v, copy.data, copy.len, 0),
                    None => return ERROR,
                },
            }
        }
        OK
    });
    if given == ERROR {
        guard::entry("a variable's failure", r, (), || V::failed(r.main()));
    }
    given
}
