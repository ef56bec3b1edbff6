//! What NGINX keeps for a request from pass to pass (variables, captures, subrequests), and the module's
//! part in it: what is made of the phantom token ends with the pass, all else stays.

use std::path::{Path, PathBuf};

use phantom_token_test::nginx::{Builder, module, skip};
use phantom_token_test::process::wait_until;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Rig};

/// A gateway that caches nothing; in locations `$api` is the API's URL.
fn rig(http: &str, server_snippet: &str, locations: &[(&str, &str)]) -> Rig {
    let api = Api::start();
    let server = AuthorizationServer::start();
    let mut builder: Builder = Gateway::builder()
        .protect(&server, &api)
        .http("phantom_token_cache off;")
        .http(http)
        .server(server_snippet);
    for (path, snippet) in locations {
        builder = builder.location(path, &snippet.replace("$api", &api.url()));
    }
    Rig { gateway: builder.start(), server, api }
}

/// A header of the last request to the API; empty where it had none.
fn sent(rig: &Rig, name: &str) -> String {
    rig.api.last().head.headers.get(name).unwrap_or_default().to_owned()
}

/// A location that sends the JWT upstream under another name, so that the upstream refuses, and then to `next`.
fn refused_upstream(next: &str, directives: &str) -> String {
    format!(
        "phantom_token on;\nproxy_intercept_errors on;\nerror_page 401 = {next};\n\
         proxy_set_header Authorization \"\";\n{directives}\nproxy_pass $api;"
    )
}

#[test]
fn what_set_has_set_stays() {
    let target = "phantom_token on;\nproxy_set_header X-Kept $kept;\n\
                  proxy_set_header X-Answer $answer;\nproxy_set_header X-Verdict $verdict;\n\
                  proxy_pass $api;";
    let rig = rig(
        "",
        "",
        &[
            (
                "/first",
                "set $kept $http_authorization;\nphantom_token on;\n\
                 auth_request /verdict;\nauth_request_set $answer $upstream_http_x_verdict;\n\
                 try_files /none @target;",
            ),
            (
                "= /verdict",
                "internal;\nset $verdict yes;\nproxy_pass http://127.0.0.1:$server_port/answer;",
            ),
            ("= /answer", "add_header X-Verdict good;\nreturn 204;"),
            ("@target", target),
        ],
    );
    let token = rig.server.issue();
    assert_eq!(rig.gateway.get_as("/first", &token.token).status, 200);
    assert_eq!(sent(&rig, "x-kept"), token.bearer());
    assert_eq!(sent(&rig, "x-answer"), "good", "set by auth_request_set after the rewrite");
    assert_eq!(sent(&rig, "x-verdict"), "yes", "set in a subrequest after the rewrite");
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
}

#[test]
fn a_value_of_the_first_pass_stays_until_the_log() {
    // Asked for after the rewrite, as most are; a random one must not change under way.
    let rig = rig(
        "log_format ids \"$request_id\";\naccess_log access.log ids;",
        "",
        &[
            ("/first", &refused_upstream("@target", "proxy_set_header X-Id $request_id;")),
            ("@target", "phantom_token on;\nproxy_set_header X-Id $request_id;\nproxy_pass $api;"),
        ],
    );
    let token = rig.server.issue();
    assert_eq!(rig.gateway.get_as("/first", &token.token).status, 200);
    let received = rig.api.received();
    let ids: Vec<_> = received.iter().map(|one| one.head.headers.get("x-id").unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    rig.gateway.wait_for_access(ids[0]);
}

#[test]
fn values_of_before_the_rewrite_stay() {
    let rig = rig(
        "map $uri $where {\ndefault other;\n/first first;\n}",
        "",
        &[
            (
                "/first",
                "if ($where = no) {\nreturn 418;\n}\nphantom_token on;\ntry_files /none /target/echo;",
            ),
            ("/target", "phantom_token on;\nproxy_set_header X-Where $where;\nproxy_pass $api;"),
        ],
    );
    assert_eq!(rig.gateway.get_as("/first", &rig.server.issue().token).status, 200);
    assert_eq!(sent(&rig, "x-where"), "first");
}

#[test]
fn captures_of_the_jwt_end_with_their_pass() {
    // The map's expression leaves its captures behind, by number and by name.
    let map = "map $http_authorization $copy {\ndefault \"\";\n\"~^Bearer (?<bare>.+)$\" $bare;\n}";
    for bypass in ["$1", "$bare"] {
        let rig = rig(
            map,
            "",
            &[
                ("/first", &refused_upstream("@target", "proxy_set_header X-Copy $copy;")),
                (
                    "@target",
                    &format!(
                        "phantom_token on;\nphantom_token_scope execute;\n\
                         phantom_token_bypass \"{bypass}\";\nproxy_pass $api;"
                    ),
                ),
            ],
        );
        let token = rig.server.issue();
        assert_eq!(rig.gateway.get_as("/first", &token.token).status, 403, "{bypass}");
        assert_eq!(rig.api.count(), 1);
        assert_eq!(sent(&rig, "x-copy"), token.jwt);
    }
}

#[test]
fn captures_of_a_location_stay() {
    let map = "map $http_authorization $copy {\ndefault \"\";\n\"~^Bearer (?<bare>.+)$\" $bare;\n}";
    let rig = rig(
        map,
        "",
        &[
            (
                "~ ^/of/(?<who>[a-z]+)/([0-9]+)$",
                &refused_upstream("@target", "proxy_set_header X-Copy $copy;"),
            ),
            (
                "@target",
                "phantom_token on;\nproxy_set_header X-Who \"$who $1 $2\";\nproxy_pass $api;",
            ),
        ],
    );
    assert_eq!(rig.gateway.get_as("/of/alice/7", &rig.server.issue().token).status, 200);
    assert_eq!(sent(&rig, "x-who"), "alice alice 7");
}

#[test]
fn the_user_of_basic_credentials_is_seen_again() {
    let rig = rig(
        "",
        "",
        &[
            (
                "/first",
                "phantom_token on token=$cookie_t;\nproxy_intercept_errors on;\n\
                 error_page 401 = @target;\nproxy_set_header X-User $remote_user;\n\
                 proxy_set_header Authorization \"\";\nproxy_pass $api;",
            ),
            (
                "@target",
                "phantom_token on token=$cookie_t;\nset $user $remote_user;\n\
                 proxy_set_header X-User $user;\nproxy_pass $api;",
            ),
        ],
    );
    let token = rig.server.issue();
    let cookie = format!("t={}", token.token);
    // user:pass
    let headers = [("Cookie", &*cookie), ("Authorization", "Basic dXNlcjpwYXNz")];
    assert_eq!(rig.gateway.get("/first", &headers).status, 200);
    assert_eq!(sent(&rig, "x-user"), "user");
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
}

#[test]
fn a_subrequest_of_an_earlier_pass_keeps_that_ones_header() {
    // Mirrors are begun, and run when the request has been redirected already.
    for many in [0, 40] {
        let rig = rig(
            "",
            "",
            &[
                (
                    "/first",
                    "phantom_token on;\nmirror /mirror;\nroot none;\nerror_page 404 = @target;",
                ),
                ("= /mirror", "internal;\nproxy_pass $api/mirror/echo;"),
                ("@target", "phantom_token on;\nphantom_token_bypass yes;\nproxy_pass $api;"),
            ],
        );
        let token = rig.server.issue();
        let bearer = token.bearer();
        let names: Vec<String> = (0..many).map(|n| format!("X-Filler-{n}")).collect();
        let mut headers: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        headers.insert(many / 2, ("Authorization", &bearer));
        rig.gateway.get("/first", &headers);
        wait_until("both requests", || rig.api.count() == 2);
        for received in rig.api.received() {
            let want = if received.head.path().starts_with("/mirror") {
                token.phantom()
            } else {
                bearer.clone()
            };
            assert_eq!(received.authorization(), [want], "{}", received.head.path());
            let fillers = received.head.headers.0.iter().filter(|(n, _)| n.starts_with("X-Filler"));
            assert_eq!(fillers.count(), many);
        }
    }
}

#[test]
fn a_server_without_a_location_runs_its_rewrites_once() {
    let rig = rig("", "set $n \"${n}x\";\nadd_header X-N $n always;", &[]);
    let answer = rig.gateway.get("/nowhere", &[]);
    assert_eq!((answer.status, answer.header("x-n")), (404, Some("x")));
}

#[test]
fn scripts_are_asked_anew_and_what_they_have_set_stays() {
    let Some(njs) = std::env::var_os("NJS_MODULE") else {
        skip("NJS_MODULE names no njs");
        return;
    };
    let script = "function pick(r) { r.variables.picked = 'this'; r.internalRedirect('@target'); }\n\
                  function seen(r) { return r.headersIn.Authorization || ''; }\n\
                  export default { pick, seen };";
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let target = "phantom_token on;\nset $before $seen;\nproxy_set_header X-Before $before;\n\
                  proxy_set_header X-Picked $picked;";
    let gateway = Gateway::builder()
        .protect(&server, &api)
        .main(&format!("load_module {};", njs.display()))
        .http("js_import script.js;\njs_set $seen script.seen;\njs_var $picked;")
        .file("script.js", script)
        // Asked for after the rewrite, and in the next pass before it.
        .location("/first", "phantom_token on;\nadd_header X-Seen $seen;\njs_content script.pick;")
        .location(
            "/again",
            &format!(
                "phantom_token on;\nproxy_intercept_errors on;\nerror_page 401 = @target;\n\
                 proxy_set_header X-Seen $seen;\nproxy_set_header Authorization \"\";\n\
                 proxy_pass {};",
                api.url()
            ),
        )
        .location("@target", &format!("{target}\nproxy_pass {};", api.url()))
        .start();
    let token = server.issue();
    let header = |name: &str| api.last().head.headers.get(name).unwrap_or_default().to_owned();
    assert_eq!(gateway.get_as("/first", &token.token).status, 200);
    assert_eq!(header("x-picked"), "this");
    assert_eq!(gateway.get_as("/again", &token.token).status, 200);
    assert_eq!(api.received()[1].head.headers.get("x-seen"), Some(&*token.phantom()));
    assert_eq!(header("x-before"), token.bearer());
    assert_eq!(api.last().authorization(), [token.phantom()]);
}

#[test]
fn beside_lua_every_pass_begins_anew_too() {
    let Some(lua) = std::env::var_os("LUA_ROOT").map(PathBuf::from) else {
        skip("LUA_ROOT names no Lua for NGINX");
        return;
    };
    let load = |module: &Path| format!("load_module {};\n", module.display());
    let modules = lua.join("usr/lib/nginx/modules");
    let theirs: String = ["ndk_http_module.so", "ngx_http_lua_module.so"]
        .map(|name| load(&modules.join(name)))
        .concat();
    let libraries = ["usr/lib", "lib"]
        .map(|folder| lua.join(folder).join(format!("{}-linux-gnu", std::env::consts::ARCH)));
    let [one, two] = libraries.map(|folder| folder.display().to_string());
    // Lua's handlers come before NGINX's own at first, and behind them once they have run.
    let lua_first = format!("{theirs}{}", load(&module()));
    let lua_last = format!("{}{theirs}", load(&module()));
    for order in [lua_first, lua_last] {
        let (server, api) = (AuthorizationServer::start(), Api::start());
        let judged = "set $t $http_authorization;\n\
                      rewrite_by_lua_block { ngx.var.l = ngx.var.http_authorization }\n\
                      phantom_token on;\nphantom_token_scope execute;\n\
                      phantom_token_bypass $is_jwt;\ntry_files /none =204;";
        let gateway = Gateway::builder()
            .protect(&server, &api)
            .without_module()
            .main(&order)
            .environment("LD_LIBRARY_PATH", &format!("{one}:{two}"))
            .http(&format!("lua_package_path \"{}/usr/share/lua/5.1/?.lua;;\";", lua.display()))
            .http("map \"$t|$l\" $is_jwt {\ndefault 0;\n\"~Bearer [^.]+[.][^.]+[.]\" 1;\n}")
            .server("set $t \"\";\nset $l \"\";")
            .location("/uri", "phantom_token on;\ntry_files /none /target;")
            .location("/named", "phantom_token on;\ntry_files /none @target;")
            .location("/target", judged)
            .location("@target", judged)
            // What Lua has assigned stays, too.
            .location(
                "/lua",
                "set $picked \"\";\nphantom_token on;\n\
                 content_by_lua_block { ngx.var.picked = \"this\"; return ngx.exec(\"@picked\") }",
            )
            .location(
                "@picked",
                "phantom_token on;\nadd_header X-Picked $picked;\ntry_files /none =204;",
            )
            .start();
        let token = server.issue();
        for target in ["/uri", "/named", "/uri", "/named"] {
            assert_eq!(gateway.get_as(target, &token.token).status, 403, "{target} with {order}");
        }
        let picked = gateway.get_as("/lua", &token.token);
        assert_eq!((picked.status, picked.header("x-picked")), (204, Some("this")));
    }
}

#[test]
fn captures_of_a_location_stay_where_a_changed_uri_led_to_it() {
    // From a location that is off, on whose rewrite phase the JWT is put, to one that is on.
    let rig = rig(
        "",
        "",
        &[
            ("/first", "phantom_token on;\ntry_files /none /off/alice/7;"),
            ("/off", "rewrite ^/off/(.*)$ /of/$1 last;"),
            (
                "~ ^/of/(?<who>[a-z]+)/([0-9]+)$",
                "phantom_token on;\nproxy_set_header X-Who \"$who $1 $2\";\nproxy_pass $api;",
            ),
        ],
    );
    let token = rig.server.issue();
    assert_eq!(rig.gateway.get_as("/first", &token.token).status, 200);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    assert_eq!(sent(&rig, "x-who"), "alice alice 7");
}

#[test]
fn captures_outlive_an_expression_that_does_not_match() {
    // It is tried once the JWT is on the request, and has captures of its own.
    let rig = rig(
        "map $http_x_mode $mode {\ndefault none;\n\"~^(special)-(.*)$\" $2;\n}",
        "",
        &[(
            "~ ^/of/([a-z]+)/([0-9]+)$",
            "phantom_token on;\nproxy_set_header X-Mode $mode;\nproxy_set_header X-Who \"$1 $2\";\n\
             proxy_pass $api;",
        )],
    );
    for _ in 0..20 {
        let token = rig.server.issue();
        let headers = [("Authorization", &token.bearer()[..]), ("X-Mode", "ordinary")];
        assert_eq!(rig.gateway.get("/of/alice/7", &headers).status, 200);
        assert_eq!((sent(&rig, "x-mode"), sent(&rig, "x-who")), ("none".into(), "alice 7".into()));
    }
}
