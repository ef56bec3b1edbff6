//! What expressions make of a request: values, variables, and what they leave behind.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use crate::nginx::parser::ComplexValue;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// What evaluating expressions had left behind in a request, in its pool.
pub(crate) struct Evaluated(NonNull<c_void>);

impl Request {
    /// Evaluates a complex value. The bytes live in the request's pool.
    pub(crate) fn complex_value<'a>(self, value: ComplexValue) -> Result<&'a [u8], NoMemory> {
        let mut out = ngx_str_t { len: 0, data: ptr::null_mut() };
        // SAFETY: a compiled value of this configuration cycle and a live request.
        unsafe {
            if ngx_http_complex_value(self.as_ptr(), value.0, &mut out) != OK {
                return Err(NoMemory);
            }
            Ok(bytes(&out))
        }
    }

    /// An indexed variable's value, evaluated anew where NGINX says it may change; empty where it is
    /// not found. The bytes live in the request.
    pub(crate) fn variable<'a>(self, index: usize) -> &'a [u8] {
        // SAFETY: the index was given by ngx_http_get_variable_index for this configuration.
        unsafe {
            let mut len = 0;
            let value = ngx_http_get_flushed_variable(self.as_ptr(), index);
            let data = pt_variable_data(value, &mut len);
            bytes(&ngx_str_t { len, data })
        }
    }

    /// Forgets an indexed variable's value, so that it is evaluated anew.
    pub(crate) fn forget_variable(self, index: usize) {
        // SAFETY: as above; a live request has all its variables' slots.
        unsafe { pt_forget_variable(self.as_ptr(), index) }
    }

    /// What evaluating expressions has left behind so far, in the request's pool.
    pub(crate) fn keep_evaluated(self) -> Result<Evaluated, NoMemory> {
        // SAFETY: a live request.
        NonNull::new(unsafe { pt_keep_evaluated(self.as_ptr()) }).map(Evaluated).ok_or(NoMemory)
    }

    /// Puts back what [`Self::keep_evaluated`] gave for this request; but variables of the
    /// handlers `assigned` keep their value.
    pub(crate) fn restore_evaluated(self, kept: Evaluated, assigned: &[ngx_http_get_variable_pt]) {
        let (handlers, count) = (assigned.as_ptr().cast_mut(), assigned.len());
        // SAFETY: a live request, and what was kept for it, whose array it takes over; the handlers are
        // only compared.
        unsafe { pt_restore_evaluated(self.as_ptr(), kept.0.as_ptr(), handlers, count) };
    }

    /// Matches the expression of the request's location anew, for its captures.
    pub(crate) fn match_location(self) -> Result<(), NoMemory> {
        // SAFETY: a live request.
        if unsafe { pt_match_location(self.as_ptr()) } == OK { Ok(()) } else { Err(NoMemory) }
    }
}
