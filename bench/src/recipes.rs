//! The gateways that are compared, each configured as its users would, for speed.

use std::path::Path;

use crate::gateway::Recipe;
use crate::server::IN_HEADER;

/// To the API, over kept-alive connections.
const PROXY: &str = "proxy_set_header Connection \"\"; proxy_pass http://api;";

/// Tokens that are to fit: 200,000 JWTs of a kilobyte.
const ZONE: &str = "256m";

/// Takes the opaque token out of the header, for those that have to do it by hand.
const OPAQUE: &str = "map $http_authorization $opaque { default \"\"; \"~*^bearer +(?<t>[A-Za-z0-9._~+/-]+=*)$\" $t; }";

fn plain_of<'a>(name: &'static str, binary: &'a Path) -> Recipe<'a> {
    Recipe {
        name,
        binary,
        libraries: None,
        main: String::new(),
        http: String::new(),
        server: format!("location / {{ {PROXY} }}"),
        files: Vec::new(),
        client_sends_jwt: true,
    }
}

/// NGINX proxying requests whose client sends the JWT itself: what all others are measured by.
pub(crate) fn plain(binary: &Path) -> Recipe<'_> {
    plain_of("plain", binary)
}

/// The same of the distribution's NGINX.
pub(crate) fn plain_debian(binary: &Path) -> Recipe<'_> {
    plain_of("plain (distribution)", binary)
}

/// NGINX setting the JWT, always the same, itself: what a gateway that knows the answer for nothing
/// would cost.
pub(crate) fn constant<'a>(binary: &'a Path, jwt: &str) -> Recipe<'a> {
    Recipe {
        server: format!(
            "location / {{ proxy_set_header Authorization \"Bearer {jwt}\"; {PROXY} }}"
        ),
        client_sends_jwt: false,
        ..plain_of("constant header", binary)
    }
}

/// This module. `threads` of the pool that introspects.
pub(crate) fn module<'a>(binary: &'a Path, module: &Path, server: u16, threads: u32) -> Recipe<'a> {
    Recipe {
        main: format!("load_module {};\nthread_pool default threads={threads};", module.display()),
        http: format!(
            "phantom_token_cache_zone zone=phantom_token:{ZONE};\n\
             phantom_token_introspection_endpoint http://127.0.0.1:{server}/introspect;\n\
             phantom_token_client_id bench;\n\
             phantom_token_client_secret bench;\n\
             phantom_token_cache_valid 1h;\n\
             phantom_token_timeout 30s;\n\
             phantom_token_max_pending 100000;"
        ),
        server: format!("location / {{ phantom_token on; {PROXY} }}"),
        client_sends_jwt: false,
        ..plain_of("phantom token", binary)
    }
}

/// `auth_request` to a cached introspection that gives the JWT in a header.
pub(crate) fn auth_request(binary: &Path, server: u16) -> Recipe<'_> {
    Recipe {
        http: format!(
            "{OPAQUE}\n\
             proxy_cache_path cache keys_zone=tokens:64m max_size=2g use_temp_path=off;\n\
             upstream server {{ server 127.0.0.1:{server}; keepalive 256; }}"
        ),
        server: format!(
            "location / {{\n\
                 auth_request /_introspect;\n\
                 auth_request_set $jwt $upstream_http_phantom_token;\n\
                 proxy_set_header Authorization \"Bearer $jwt\"; {PROXY}\n\
             }}\n\
             location = /_introspect {{ internal; {} }}",
            cached_introspection("proxy_cache_lock on;", IN_HEADER)
        ),
        client_sends_jwt: false,
        ..plain_of("auth_request + proxy_cache", binary)
    }
}

/// Introspection through `proxy_cache`, at `path` of the server.
fn cached_introspection(more: &str, path: &str) -> String {
    format!(
        "proxy_cache tokens; proxy_cache_key $opaque; proxy_cache_valid 200 1h; {more}\n\
         proxy_method POST; proxy_set_body \"token=$opaque\";\n\
         proxy_set_header Content-Type application/x-www-form-urlencoded;\n\
         proxy_set_header Accept application/jwt;\n\
         proxy_set_header Authorization \"Basic YmVuY2g6YmVuY2g=\";\n\
         proxy_set_header Connection \"\"; proxy_pass_request_headers off;\n\
         proxy_pass http://server{path};"
    )
}

/// njs asking through `proxy_cache`, as its documentation shows for introspection.
pub(crate) fn njs<'a>(binary: &'a Path, root: &Path, server: u16) -> Recipe<'a> {
    let script = "function introspect(r) {\n\
        r.subrequest('/_introspect').then(function (reply) {\n\
            if (reply.status != 200) { r.return(401); return; }\n\
            r.headersOut['Phantom-Token'] = reply.responseText;\n\
            r.return(204);\n\
        });\n\
        }\n\
        export default { introspect };\n";
    Recipe {
        main: format!(
            "load_module {}/lib/nginx/modules/ngx_http_js_module.so;",
            root.join("usr").display()
        ),
        http: format!(
            "{OPAQUE}\n\
             js_import phantom from phantom.js;\n\
             proxy_cache_path cache keys_zone=tokens:64m max_size=2g use_temp_path=off;\n\
             upstream server {{ server 127.0.0.1:{server}; keepalive 256; }}"
        ),
        server: format!(
            "location / {{\n\
                 auth_request /_token;\n\
                 auth_request_set $jwt $sent_http_phantom_token;\n\
                 proxy_set_header Authorization \"Bearer $jwt\"; {PROXY}\n\
             }}\n\
             location = /_token {{ internal; js_content phantom.introspect; }}\n\
             location = /_introspect {{ internal; {} }}",
            cached_introspection("proxy_cache_lock on;", "/introspect")
        ),
        files: vec![("phantom.js", script.to_owned())],
        client_sends_jwt: false,
        ..plain_of("njs + proxy_cache", binary)
    }
}

/// A Lua program with a shared dictionary that does what this module does on the straight way.
pub(crate) fn lua<'a>(
    binary: &'a Path,
    root: &Path,
    libraries: &'a str,
    server: u16,
) -> Recipe<'a> {
    let program = "local tokens = ngx.shared.tokens\n\
        local token = ngx.var.opaque\n\
        if token == \"\" then\n\
            ngx.header[\"WWW-Authenticate\"] = \"Bearer\"\n\
            return ngx.exit(401)\n\
        end\n\
        local jwt = tokens:get(token)\n\
        if not jwt then\n\
            local reply = ngx.location.capture(\"/_introspect\")\n\
            if reply.status ~= 200 then return ngx.exit(401) end\n\
            jwt = reply.body\n\
            tokens:set(token, jwt, 3600)\n\
        end\n\
        ngx.req.set_header(\"Authorization\", \"Bearer \" .. jwt)\n";
    let usr = root.join("usr");
    let usr = usr.display();
    Recipe {
        libraries: Some(libraries),
        main: format!(
            "load_module {usr}/lib/nginx/modules/ndk_http_module.so;\n\
             load_module {usr}/lib/nginx/modules/ngx_http_lua_module.so;"
        ),
        http: format!(
            "{OPAQUE}\n\
             lua_package_path \"{usr}/share/lua/5.1/?.lua;;\";\n\
             lua_shared_dict tokens {ZONE};\n\
             upstream server {{ server 127.0.0.1:{server}; keepalive 256; }}"
        ),
        server: format!(
            "location / {{ access_by_lua_file phantom.lua; {PROXY} }}\n\
             location = /_introspect {{\n\
                 internal;\n\
                 proxy_method POST; proxy_set_body \"token=$opaque\";\n\
                 proxy_set_header Content-Type application/x-www-form-urlencoded;\n\
                 proxy_set_header Accept application/jwt;\n\
                 proxy_set_header Authorization \"Basic YmVuY2g6YmVuY2g=\";\n\
                 proxy_set_header Connection \"\"; proxy_pass_request_headers off;\n\
                 proxy_pass http://server/introspect;\n\
             }}"
        ),
        files: vec![("phantom.lua", program.to_owned())],
        client_sends_jwt: false,
        ..plain_of("Lua + shared dictionary", binary)
    }
}

/// The API: an NGINX that answers everything with a line of text.
pub(crate) fn api(binary: &Path) -> Recipe<'_> {
    Recipe {
        server: "large_client_header_buffers 4 64k;\n\
                 location / { return 200 \"hello from an API behind a gateway\\n\"; }"
            .to_owned(),
        ..plain_of("the API", binary)
    }
}

/// Where shared libraries lie below an unpacked root directory, as `LD_LIBRARY_PATH` has it.
pub(crate) fn library_path(root: &Path) -> String {
    let below = |directory: &str| {
        let entries = std::fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let all = ["lib", "usr/lib"].into_iter().flat_map(below);
    all.map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}
