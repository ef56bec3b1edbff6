//! Where NGINX calls the module: in the access phase of the main request, right after `allow` and `deny`,
//! or where the location says so in the preaccess phase, before `limit_req` and `limit_conn`; and again
//! when an introspection that the request waits for has ended.

use crate::access::ctx::Ctx;
use crate::access::handler::judge;
use crate::access::{pass, refusal};
use crate::conf::LocConf;
use crate::conf::phase::Phase;
use crate::nginx::handlers::Handler;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// The handler of NGINX's access phase.
pub(crate) struct Access;

impl Handler for Access {
    const WHAT: &'static str = "the access handler";

    fn handle(r: Request) -> Result<ngx_int_t, NoMemory> {
        let Some(policy) = LocConf::of(r).policy.as_ref() else { return switched_off(r) };
        // A handler of another module's may have ended the preaccess phase before ours.
        if policy.phase == Phase::Preaccess && Ctx::of(&r)?.decided {
            return Ok(DECLINED);
        }
        judge(r, policy)
    }
}

/// The handler of NGINX's preaccess phase, which subrequests have, too.
pub(crate) struct Preaccess;

impl Handler for Preaccess {
    const WHAT: &'static str = "the preaccess handler";

    fn handle(r: Request) -> Result<ngx_int_t, NoMemory> {
        let policy = LocConf::of(r).policy.as_ref();
        let Some(policy) = policy.filter(|policy| policy.phase == Phase::Preaccess && r.is_main())
        else {
            return Ok(DECLINED);
        };
        match judge(r, policy)? {
            // It would end the phase: nobody would be limited.
            OK => Ok(DECLINED),
            given => Ok(given),
        }
    }
}

/// The location has the module off. An `if` may have switched it off only now.
fn switched_off(r: Request) -> Result<ngx_int_t, NoMemory> {
    if r.is_internal()
        && let Some(mut ctx) = Ctx::find(&r)
    {
        refusal::keep_connection(r, &mut ctx);
        pass::put_on(r, &mut ctx)?;
    }
    Ok(DECLINED)
}
