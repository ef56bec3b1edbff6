/*
 * What Rust cannot reach through generated bindings, compiled against the very headers of the
 * NGINX the module is built for: macros, fields that only some versions have, and the bit-fields
 * of ngx_http_request_t, whose layout a binding generator must not be trusted to guess.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#if !(NGX_THREADS)
#error "phantom token: this NGINX was configured without --with-threads"
#endif

static inline void
pt_set_log_request(ngx_log_t *log, ngx_http_request_t *r)
{
    ngx_http_set_log_request(log, r);
}

static inline ngx_uint_t
pt_request_keepalive(ngx_http_request_t *r)
{
    return r->keepalive;
}

static inline void
pt_request_set_keepalive(ngx_http_request_t *r, ngx_uint_t on)
{
    r->keepalive = on ? 1 : 0;
}

static inline ngx_uint_t
pt_request_internal(ngx_http_request_t *r)
{
    return r->internal;
}

static inline ngx_uint_t
pt_request_err_status(ngx_http_request_t *r)
{
    return r->err_status;
}

/*
 * Whether nothing of the request's body can be left in the connection by surprise: there is none,
 * all of it was read, or it is being dropped. False where it was malformed.
 */
static inline ngx_uint_t
pt_request_body_is_settled(ngx_http_request_t *r)
{
    return r->discard_body
           || r->headers_in.content_length_n == 0
           || (r->headers_in.content_length_n < 0 && !r->headers_in.chunked);
}

/* Whether the request has not passed its access phase: a refusal is that phase's. */
static inline ngx_uint_t
pt_request_in_access(ngx_http_request_t *r)
{
    ngx_http_phase_handler_pt   checker;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    checker = cmcf->phase_engine.handlers[r->phase_handler].checker;

    return checker == ngx_http_core_access_phase
           || checker == ngx_http_core_post_access_phase;
}

/*
 * How far a pass of the request has come: 0: its location is not found yet; 1: it has not passed its
 * access phase; 2: it has.
 */
static inline ngx_uint_t
pt_request_progress(ngx_http_request_t *r)
{
    ngx_uint_t                  progress;
    ngx_http_phase_handler_t   *ph;
    ngx_http_core_main_conf_t  *cmcf;

    progress = 2;
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    /* The last handler has none behind it. */
    for (ph = &cmcf->phase_engine.handlers[r->phase_handler]; ph->checker; ph++) {
        if (ph->checker == ngx_http_core_find_config_phase) {
            return 0;
        }

        if (ph->checker == ngx_http_core_access_phase
            || ph->checker == ngx_http_core_post_access_phase)
        {
            progress = 1;
        }
    }

    return progress;
}

/* Whether NGINX writes the request's line to the access log (ngx_http_free_request). */
static inline ngx_uint_t
pt_request_is_logged(ngx_http_request_t *r)
{
    char  *action;

    action = r->connection->log->action;

    return action && ngx_strcmp(action, "logging request") == 0;
}

static inline ngx_uint_t
pt_satisfies_any(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return clcf->satisfy == NGX_HTTP_SATISFY_ANY;
}

static inline ngx_uint_t
pt_request_filter_finalize(ngx_http_request_t *r)
{
    return r->filter_finalize;
}

static inline ngx_uint_t
pt_request_header_only(ngx_http_request_t *r)
{
    return r->header_only;
}

static inline ngx_uint_t
pt_request_is_chunked(ngx_http_request_t *r)
{
    return r->headers_in.chunked;
}

/* Only one element stands in a list of its own kind: no successor where NGINX links them. */
static inline void
pt_table_elt_unlinked(ngx_table_elt_t *h)
{
#if (nginx_version >= 1023000)
    h->next = NULL;
#else
    (void) h;
#endif
}

static inline void
pt_set_www_authenticate(ngx_http_request_t *r, ngx_table_elt_t *h)
{
    pt_table_elt_unlinked(h);
    r->headers_out.www_authenticate = h;
}

/* By this field, NGINX's own filter of conditional requests finds the header. */
static inline void
pt_set_etag(ngx_http_request_t *r, ngx_table_elt_t *h)
{
    r->headers_out.etag = h;
}

static inline ngx_table_elt_t *
pt_authorization(ngx_http_request_t *r)
{
    return r->headers_in.authorization;
}

static inline void
pt_set_authorization(ngx_http_request_t *r, ngx_table_elt_t *h)
{
    r->headers_in.authorization = h;
}

/*
 * Whether a variable of this name, in lower case, is defined, or one whose name begins in a way that a
 * module has for itself.
 */
static inline ngx_uint_t
pt_variable_is_taken(ngx_conf_t *cf, u_char *name, size_t len)
{
    ngx_uint_t                  i;
    ngx_hash_key_t             *key;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    key = cmcf->variables_keys->keys.elts;
    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        if (key[i].key.len == len
            && ngx_strncasecmp(key[i].key.data, name, len) == 0)
        {
            return 1;
        }
    }

    v = cmcf->prefix_variables.elts;
    for (i = 0; i < cmcf->prefix_variables.nelts; i++) {
        if (v[i].name.len <= len
            && ngx_strncasecmp(v[i].name.data, name, v[i].name.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}

/* Forgets the value a variable was given by an earlier phase. */
static inline void
pt_forget_variable(ngx_http_request_t *r, ngx_uint_t index)
{
    r->variables[index].valid = 0;
    r->variables[index].not_found = 0;
}

/*
 * What evaluating expressions has left behind in a request: its variables' values, the user that was
 * read from the Authorization header, and the captures of the last match.
 */
typedef struct {
    ngx_http_variable_value_t  *variables;
    ngx_str_t                   user;
    ngx_str_t                   passwd;
#if (NGX_PCRE)
    ngx_uint_t                  ncaptures;
    int                        *captures;
    u_char                     *captures_data;
#endif
} pt_evaluated_t;

/* A copy of it, in the request's pool; NULL where there is no memory. */
static inline void *
pt_keep_evaluated(ngx_http_request_t *r)
{
    size_t                      size;
    pt_evaluated_t             *kept;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    size = cmcf->variables.nelts * sizeof(ngx_http_variable_value_t);

    kept = ngx_palloc(r->pool, sizeof(pt_evaluated_t) + size);
    if (kept == NULL) {
        return NULL;
    }

    kept->variables = (ngx_http_variable_value_t *) (kept + 1);
    ngx_memcpy(kept->variables, r->variables, size);

    kept->user = r->headers_in.user;
    kept->passwd = r->headers_in.passwd;

#if (NGX_PCRE)
    kept->ncaptures = r->ncaptures;
    kept->captures = NULL;
    kept->captures_data = r->captures_data;

    if (r->captures) {
        /* A later match writes over the request's own, and needs as much room in this copy. */
        kept->captures = ngx_palloc(r->pool, cmcf->ncaptures * sizeof(int));
        if (kept->captures == NULL) {
            return NULL;
        }

        ngx_memcpy(kept->captures, r->captures, r->ncaptures * sizeof(int));
    }
#endif

    return kept;
}

/*
 * Puts it back, but for variables that hold what they were assigned: those of the handlers given, which
 * evaluate nothing. $request_id is evaluated, but to something else each time.
 *
 * The array is the copy: subrequests begun meanwhile keep the other one.
 */
static inline void
pt_restore_evaluated(ngx_http_request_t *r, void *data, ngx_http_get_variable_pt *assigned,
    ngx_uint_t n)
{
    ngx_uint_t                  i, j, keeps;
    pt_evaluated_t             *kept;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    kept = data;
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        keeps = v[i].name.len == sizeof("request_id") - 1
                && ngx_memcmp(v[i].name.data, "request_id", sizeof("request_id") - 1) == 0;

        for (j = 0; j < n; j++) {
            if (v[i].get_handler == assigned[j]) {
                keeps = 1;
            }
        }

        if (keeps) {
            kept->variables[i] = r->variables[i];
        }
    }

    r->variables = kept->variables;

    r->headers_in.user = kept->user;
    r->headers_in.passwd = kept->passwd;

#if (NGX_PCRE)
    r->ncaptures = kept->ncaptures;
    r->captures = kept->captures;
    r->captures_data = kept->captures_data;

    /* They are shared with no subrequest. */
    r->realloc_captures = 0;
#endif
}

/* For what was put back and is older than the location, where a rewrite of this pass led to it. */
static inline ngx_int_t
pt_match_location(ngx_http_request_t *r)
{
#if (NGX_PCRE)
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->regex && ngx_http_regex_exec(r, clcf->regex, &r->uri) == NGX_ERROR) {
        return NGX_ERROR;
    }
#endif

    return NGX_OK;
}

/* NULL where the variable is not found or empty. */
static inline u_char *
pt_variable_data(ngx_http_variable_value_t *v, size_t *len)
{
    if (v == NULL || v->not_found || v->len == 0) {
        return NULL;
    }

    *len = v->len;

    return v->data;
}

static inline void
pt_variable_not_found(ngx_http_variable_value_t *v)
{
    v->valid = 0;
    v->no_cacheable = 0;
    v->not_found = 1;
    v->len = 0;
    v->data = NULL;
}

static inline void
pt_variable_set(ngx_http_variable_value_t *v, u_char *data, size_t len, ngx_uint_t cacheable)
{
    v->valid = 1;
    v->no_cacheable = cacheable ? 0 : 1;
    v->not_found = 0;
    v->len = (unsigned) len;
    v->data = data;
}

/* Timers and posted events are kept by bit-fields and macros. */
static inline void
pt_add_timer(ngx_event_t *ev, ngx_msec_t timer)
{
    ngx_add_timer(ev, timer);
}

/* A worker that ends gracefully does not wait for the event's timer. */
static inline void
pt_event_cancelable(ngx_event_t *ev)
{
    ev->cancelable = 1;
}

static inline ngx_uint_t
pt_timer_is_set(ngx_event_t *ev)
{
    return ev->timer_set;
}

static inline void
pt_stop_timer(ngx_event_t *ev)
{
    if (ev->timer_set) {
        ngx_del_timer(ev);
    }
}

/* Whether the timer ran out; asked once. */
static inline ngx_uint_t
pt_take_timedout(ngx_event_t *ev)
{
    ngx_uint_t  timedout;

    timedout = ev->timedout;
    ev->timedout = 0;

    return timedout;
}

static inline ngx_uint_t
pt_event_ready(ngx_event_t *ev)
{
    return ev->ready;
}

static inline void
pt_post_event(ngx_event_t *ev)
{
    ngx_post_event(ev, &ngx_posted_events);
}

static inline void
pt_unpost_event(ngx_event_t *ev)
{
    if (ev->posted) {
        ngx_delete_posted_event(ev);
    }
}

static inline ngx_buf_t *
pt_reply_buf(ngx_pool_t *pool, u_char *data, size_t len, ngx_uint_t last)
{
    ngx_buf_t  *b;

    b = ngx_calloc_buf(pool);
    if (b == NULL) {
        return NULL;
    }

    b->pos = data;
    b->last = data + len;
    b->start = b->pos;
    b->end = b->last;
    b->memory = len ? 1 : 0;
    b->last_buf = last ? 1 : 0;
    b->last_in_chain = 1;

    return b;
}

static inline off_t
pt_buf_size(ngx_buf_t *b)
{
    return ngx_buf_size(b);
}

static inline ngx_uint_t
pt_buf_in_memory(ngx_buf_t *b)
{
    return ngx_buf_in_memory(b) ? 1 : 0;
}

/* NGINX's own server_tokens: anything but off tells the version. */
static inline ngx_uint_t
pt_server_tokens(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return clcf->server_tokens != NGX_HTTP_SERVER_TOKENS_OFF;
}

static inline size_t
pt_client_body_buffer_size(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return clcf->client_body_buffer_size;
}

static inline size_t
pt_conf_client_body_buffer_size(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    return clcf->client_body_buffer_size;
}

static inline void
pt_set_content_handler(ngx_conf_t *cf, ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = handler;
}

static inline ngx_int_t
pt_add_phase_handler(ngx_conf_t *cf, ngx_uint_t phase,
    ngx_http_handler_pt handler)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}

/* The handlers of a phase, of type ngx_http_handler_pt. They run from the last to the first. */
static inline ngx_array_t *
pt_phase_handlers(ngx_conf_t *cf, ngx_uint_t phase)
{
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    return &cmcf->phases[phase].handlers;
}

/* Whether the location is an "if" or a "limit_except" within one. */
static inline ngx_uint_t
pt_is_nameless(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    return clcf->noname;
}

static inline ngx_uint_t
pt_conf_satisfies_any(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    return clcf->satisfy == NGX_HTTP_SATISFY_ANY;
}

static inline ngx_uint_t
pt_conf_delays_auth(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    return clcf->auth_delay != 0;
}

/* Whether "aio threads" is configured for this location, and so NGINX uses a pool for files. */
static inline ngx_thread_pool_t *
pt_aio_thread_pool(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->aio != NGX_HTTP_AIO_THREADS) {
        return NULL;
    }

    return clcf->thread_pool;
}

/*
 * Gives the thread pool "name" as many threads as "threads" says, unless a "thread_pool" directive has
 * done so, anywhere in the configuration: by that directive itself, since what a pool consists of is
 * its module's own business. It refuses one that stands twice; nobody is to hear of that.
 */
extern ngx_module_t  ngx_thread_pool_module;

/* Returns whether it made one: not where there is one of the name. */
static inline ngx_uint_t
pt_make_thread_pool(ngx_cycle_t *cycle, ngx_str_t *name, ngx_str_t *threads)
{
    ngx_log_t       log;
    ngx_str_t       args[3];
    ngx_conf_t      cf;
    ngx_array_t     array;
    ngx_command_t  *cmd;

    for (cmd = ngx_thread_pool_module.commands; cmd->name.len; cmd++) {

        if (ngx_strcmp(cmd->name.data, "thread_pool") != 0) {
            continue;
        }

        args[0] = cmd->name;
        args[1] = *name;
        args[2] = *threads;

        ngx_memzero(&array, sizeof(ngx_array_t));
        array.elts = args;
        array.nelts = 3;
        array.size = sizeof(ngx_str_t);
        array.nalloc = 3;
        array.pool = cycle->pool;

        log = *cycle->log;
        log.log_level = NGX_LOG_STDERR;

        ngx_memzero(&cf, sizeof(ngx_conf_t));
        cf.args = &array;
        cf.cycle = cycle;
        cf.pool = cycle->pool;
        cf.ctx = cycle->conf_ctx;
        cf.log = &log;
        cf.module_type = NGX_CORE_MODULE;
        cf.cmd_type = NGX_MAIN_CONF;

        return cmd->set(&cf, cmd, NULL) == NGX_CONF_OK;
    }

    return 0;
}

/* What answers in the location the parser is at the end of. */
static inline ngx_http_handler_pt
pt_conf_content_handler(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    return clcf->handler;
}

/* The name of the location the parser is at the end of; empty in a server. */
static inline ngx_str_t
pt_conf_location_name(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    return clcf->name;
}

static inline ngx_uint_t
pt_slab_free_pages(ngx_slab_pool_t *pool)
{
    return pool->pfree;
}

/* A request body that is read whole, into memory alone. */
static inline void
pt_request_body_in_memory(ngx_http_request_t *r)
{
    r->request_body_in_single_buf = 1;
    r->request_body_in_file_only = 0;
}

/*
 * The stack of threads made from now on is "size" bytes at least. NGINX makes its pools' with the C
 * library's default: megabytes with glibc, but 128 KiB with musl, which a TLS handshake or nested
 * JSON can use up. Nothing is touched where the default is large enough.
 */
static inline void
pt_raise_thread_stack(size_t size)
{
    size_t          now;
    pthread_attr_t  attr;

    if (pthread_attr_init(&attr) != 0) {
        return;
    }

    if (pthread_attr_getstacksize(&attr, &now) == 0
        && now < size
        && pthread_attr_setstacksize(&attr, size) == 0)
    {
        (void) pthread_setattr_default_np(&attr);
    }

    (void) pthread_attr_destroy(&attr);
}
