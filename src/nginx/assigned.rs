//! Which variables hold what they were assigned, by `set` and its like, and evaluate nothing.
//!
//! NGINX does not say: such a variable has a handler of its module's, which is asked where nothing was
//! assigned. So each of these directives is used once, for a variable of the module's own that nobody
//! reads, and the handler it gives that variable is remembered.

use core::ffi::CStr;

use crate::nginx::parser::Cf;
use crate::nginx::sys::*;

/// A module, its directive, and the variable to try it on.
const DIRECTIVES: [(&CStr, &[u8], &[u8]); 3] = [
    (c"ngx_http_rewrite_module", b"set", b"$phantom_token_set"),
    (c"ngx_http_auth_request_module", b"auth_request_set", b"$phantom_token_auth_request_set"),
    (c"ngx_http_js_module", b"js_var", b"$phantom_token_js_var"),
];

/// Their handlers, of those modules that are there.
pub(crate) fn handlers(cf: &mut Cf<'_>) -> Vec<ngx_http_get_variable_pt> {
    DIRECTIVES
        .into_iter()
        .filter_map(|(module, directive, variable)| {
            // SAFETY: the parser is at the end of the `http` block.
            let handler = unsafe { handler_of(cf.as_ptr(), module, directive, variable) };
            handler.is_some().then_some(handler)
        })
        .collect()
}

/// The handler a directive gives to a variable.
///
/// # Safety
/// `cf` must be live and inside the `http` block.
unsafe fn handler_of(
    cf: *mut ngx_conf_t,
    module: &CStr,
    directive: &[u8],
    variable: &'static [u8],
) -> ngx_http_get_variable_pt {
    // SAFETY: the cycle's list of modules ends with NULL, and a module's list of directives with one that
    // has no name. The directive is called as NGINX itself calls it, with a parser whose arguments are
    // these and, for a location, with a configuration that no request will see.
    unsafe {
        let mut modules = (*(*cf).cycle).modules;
        while !(*modules).is_null() && CStr::from_ptr((**modules).name) != module {
            modules = modules.add(1);
        }
        let module = (*modules).as_ref()?;
        let mut command = module.commands;
        while !command.is_null() && bytes(&(*command).name) != directive {
            command = if (*command).name.len == 0 { core::ptr::null_mut() } else { command.add(1) };
        }
        let command = command.as_mut()?;

        let arguments = ngx_array_create((*cf).pool, 3, size_of::<ngx_str_t>());
        if arguments.is_null() {
            return None;
        }
        for argument in [directive, variable, b"0"] {
            let slot = ngx_array_push(arguments).cast::<ngx_str_t>();
            if slot.is_null() {
                return None;
            }
            slot.write(pool_copy((*cf).pool, argument)?);
        }
        let conf = if command.conf == NGX_HTTP_LOC_CONF_OFFSET {
            let conf = (*module.ctx.cast::<ngx_http_module_t>()).create_loc_conf?(cf);
            if conf.is_null() {
                return None;
            }
            conf
        } else {
            // NULL where the module has none.
            let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
            *(*ctx).main_conf.add(module.ctx_index)
        };
        let mut parser = *cf;
        parser.args = arguments;
        if !command.set?(&mut parser, command, conf).is_null() {
            return None;
        }
        let mut name = str_of(&variable[1..]);
        let flags = NGX_HTTP_VAR_CHANGEABLE as ngx_uint_t;
        ngx_http_add_variable(cf, &mut name, flags).as_ref()?.get_handler
    }
}
