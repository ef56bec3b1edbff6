//! The gateways that are compared, each configured as its users would, for speed.

use std::path::Path;

use phantom_token_test::keys::PemKey;

use crate::gateway::{Kind, Recipe};
use crate::server::{IN_HEADER, JSON};

/// To the API, over kept-alive connections.
const PROXY: &str = "proxy_set_header Connection \"\"; proxy_pass http://api;";

/// Tokens that are to fit: 200,000 JWTs of a kilobyte.
const ZONE: &str = "256m";

/// Takes the opaque token out of the header, for those that have to do it by hand.
const OPAQUE: &str = "map $http_authorization $opaque { default \"\"; \"~*^bearer +(?<t>[A-Za-z0-9._~+/-]+=*)$\" $t; }";

/// Answers on disk, all in one directory: in a tree, a miss would have to make directories at first.
const CACHE: &str =
    "proxy_cache_path cache keys_zone=tokens:64m max_size=2g inactive=1h use_temp_path=off;";

fn plain_of<'a>(name: &'static str, binary: &'a Path) -> Recipe<'a> {
    Recipe {
        name,
        binary,
        libraries: None,
        main: String::new(),
        http: String::new(),
        listen: "",
        server: format!("location / {{ {PROXY} }}"),
        files: Vec::new(),
        kind: Kind::Passes,
    }
}

/// NGINX proxying requests whose client sends the JWT itself: what all others are measured by.
pub(crate) fn plain(binary: &Path) -> Recipe<'_> {
    plain_of("plain", binary)
}

/// The same with room for the JWT in the first buffer: as it comes, NGINX reads a header of more
/// than a kilobyte in two pieces.
pub(crate) fn plain_large_buffer(binary: &Path) -> Recipe<'_> {
    Recipe {
        http: "client_header_buffer_size 4k;".to_owned(),
        ..plain_of("plain, client_header_buffer_size 4k", binary)
    }
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
        kind: Kind::Constant,
        ..plain_of("constant header", binary)
    }
}

/// This module. `threads` of the pool that introspects.
pub(crate) fn module<'a>(binary: &'a Path, module: &Path, server: u16, threads: u32) -> Recipe<'a> {
    module_asking(binary, module, &format!("http://127.0.0.1:{server}"), threads)
}

/// This module, whose authorization server is at `server` behind TLS and has this certificate.
pub(crate) fn module_tls<'a>(
    binary: &'a Path,
    module: &Path,
    server: u16,
    certificate: &str,
    threads: u32,
) -> Recipe<'a> {
    let mut recipe = module_asking(binary, module, &format!("https://localhost:{server}"), threads);
    recipe.http += "\nphantom_token_ssl_trusted_certificate server.pem;";
    let files = vec![("server.pem", certificate.to_owned())];
    Recipe { name: "phantom token, https", files, ..recipe }
}

/// What [`module`] can do besides.
impl Recipe<'_> {
    /// Signs a JWT (ES256) of an answer that has none.
    pub(crate) fn minting(mut self) -> Self {
        self.http = self.http.replace("/introspect;", &format!("{JSON};"));
        self.http += "\nphantom_token_forward mint;\n\
                      phantom_token_token_type_hint access_token;\n\
                      phantom_token_mint_key mint.key;\n\
                      phantom_token_mint_issuer https://api.example.com;\n\
                      phantom_token_mint_audience orders;";
        let files = vec![("mint.key", PemKey::p256().private)];
        Self { name: "phantom token, minting", files, ..self }
    }

    /// Takes purges.
    pub(crate) fn purgeable(mut self) -> Self {
        self.server += " location = /purge { client_body_buffer_size 128k; phantom_token_purge; }";
        self
    }

    /// Hands a claim to the API.
    pub(crate) fn with_claim(self) -> Self {
        let header = "proxy_set_header X-User $phantom_token_claim_sub;";
        Self { server: format!("location / {{ phantom_token on; {header} {PROXY} }}"), ..self }
    }

    /// Renews answers in use.
    pub(crate) fn ahead(mut self) -> Self {
        self.http += "\nphantom_token_cache_refresh_ahead 60s;";
        self
    }

    /// Has an audience and a requirement over a claim.
    pub(crate) fn requiring(mut self) -> Self {
        self.http += "\nphantom_token_claim_set $is_beta roles has=beta;";
        let require = "phantom_token_audience api; phantom_token_require $is_beta;";
        Self { server: format!("location / {{ phantom_token on; {require} {PROXY} }}"), ..self }
    }

    /// Takes purges, and shares its answers through a store.
    pub(crate) fn in_fleet(self, store: &str) -> Self {
        let mut recipe = self.purgeable();
        recipe.http += &format!(
            "\nphantom_token_key_file fleet.key;\nphantom_token_store {{ server {store}; connections 64; }}"
        );
        recipe.server += " location = /metrics { phantom_token_status; }";
        let files = vec![("fleet.key", "the key of all gateways in the benchmark\n".to_owned())];
        Self { name: "phantom token, a store", files, ..recipe }
    }
}

fn module_asking<'a>(binary: &'a Path, module: &Path, server: &str, threads: u32) -> Recipe<'a> {
    Recipe {
        main: format!(
            "load_module {};\nthread_pool phantom_token threads={threads};",
            module.display()
        ),
        http: format!(
            "phantom_token_cache_zone zone=phantom_token:{ZONE};\n\
             phantom_token_introspection_endpoint {server}/introspect;\n\
             phantom_token_client_id bench;\n\
             phantom_token_client_secret bench;\n\
             phantom_token_cache_valid 1h;\n\
             phantom_token_timeout 30s;\n\
             phantom_token_thread_pool phantom_token;\n\
             phantom_token_max_pending 100000;"
        ),
        server: format!("location / {{ phantom_token on; {PROXY} }}"),
        kind: Kind::Swaps,
        ..plain_of("phantom token", binary)
    }
}

/// The authorization server, in an `upstream`.
fn upstream(server: u16) -> String {
    format!("upstream server {{ server 127.0.0.1:{server}; keepalive 256; }}")
}

/// A call to introspect, at `path` of the server.
fn introspection(path: &str) -> String {
    format!(
        "proxy_method POST; proxy_set_body \"token=$opaque\";\n\
         proxy_set_header Content-Type application/x-www-form-urlencoded;\n\
         proxy_set_header Accept application/jwt;\n\
         proxy_set_header Authorization \"Basic YmVuY2g6YmVuY2g=\";\n\
         proxy_set_header Connection \"\"; proxy_pass_request_headers off;\n\
         proxy_pass http://server{path};"
    )
}

/// The same through `proxy_cache`, one call for a token at a time.
fn cached_introspection(path: &str) -> String {
    format!(
        "proxy_cache tokens; proxy_cache_key $opaque; proxy_cache_valid 200 1h; proxy_cache_lock on;\n\
         {}",
        introspection(path)
    )
}

/// `auth_request` to a cached introspection that gives the JWT in a header, and no body.
pub(crate) fn auth_request(binary: &Path, server: u16) -> Recipe<'_> {
    Recipe {
        main: "pcre_jit on;".to_owned(),
        http: format!("{OPAQUE}\n{CACHE}\n{}", upstream(server)),
        server: format!(
            "location / {{\n\
                 auth_request /_introspect;\n\
                 auth_request_set $jwt $upstream_http_phantom_token;\n\
                 proxy_set_header Authorization \"Bearer $jwt\"; {PROXY}\n\
             }}\n\
             location = /_introspect {{ internal; {} }}",
            cached_introspection(IN_HEADER)
        ),
        kind: Kind::Swaps,
        ..plain_of("auth_request + proxy_cache", binary)
    }
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
            "load_module {}/lib/nginx/modules/ngx_http_js_module.so;\npcre_jit on;",
            root.join("usr").display()
        ),
        http: format!(
            "{OPAQUE}\njs_import phantom from phantom.js;\n{CACHE}\n{}",
            upstream(server)
        ),
        server: format!(
            "location / {{\n\
                 auth_request /_token;\n\
                 auth_request_set $jwt $sent_http_phantom_token;\n\
                 proxy_set_header Authorization \"Bearer $jwt\"; {PROXY}\n\
             }}\n\
             location = /_token {{ internal; js_content phantom.introspect; }}\n\
             location = /_introspect {{ internal; {} }}",
            cached_introspection("/introspect")
        ),
        files: vec![("phantom.js", script.to_owned())],
        kind: Kind::Swaps,
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
             load_module {usr}/lib/nginx/modules/ngx_http_lua_module.so;\n\
             pcre_jit on;"
        ),
        http: format!(
            "{OPAQUE}\n\
             lua_package_path \"{usr}/share/lua/5.1/?.lua;;\";\n\
             lua_shared_dict tokens {ZONE};\n\
             {}",
            upstream(server)
        ),
        server: format!(
            "location / {{ access_by_lua_file phantom.lua; {PROXY} }}\n\
             location = /_introspect {{ internal; {} }}",
            introspection("/introspect")
        ),
        files: vec![("phantom.lua", program.to_owned())],
        kind: Kind::Swaps,
        ..plain_of("Lua + shared dictionary", binary)
    }
}

/// How the header of a minted JWT begins: `{"alg":"ES256","typ":"at+jwt",`.
const MINTED: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIs";

/// The API: an NGINX that answers with a line of text whoever comes with the JWT, or a minted one.
pub(crate) fn api<'a>(binary: &'a Path, jwt: &str) -> Recipe<'a> {
    Recipe {
        http: "client_header_buffer_size 4k;".to_owned(),
        server: format!(
            "set $known 0;\n\
             if ($http_authorization = \"Bearer {jwt}\") {{ set $known 1; }}\n\
             if ($http_authorization ~ \"^Bearer {MINTED}\") {{ set $known 1; }}\n\
             if ($known = 0) {{ return 401; }}\n\
             location / {{ return 200 \"hello from an API behind a gateway\\n\"; }}"
        ),
        ..plain_of("the API", binary)
    }
}

/// What puts TLS before the authorization server at `server`.
pub(crate) fn tls<'a>(binary: &'a Path, server: u16, identity: (&str, &str)) -> Recipe<'a> {
    Recipe {
        http: upstream(server),
        listen: " ssl",
        server: "ssl_certificate server.pem; ssl_certificate_key server.key;\n\
                 location / { proxy_set_header Connection \"\"; proxy_pass http://server; }"
            .to_owned(),
        files: vec![("server.pem", identity.0.to_owned()), ("server.key", identity.1.to_owned())],
        ..plain_of("TLS before the authorization server", binary)
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
