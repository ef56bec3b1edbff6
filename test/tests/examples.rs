//! The examples in `nginx-conf/` that show how to do a thing, each driven as its reader would. Those
//! that name a server are in `authorization_servers.rs`.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use phantom_token_test::example::{
    Example, INTROSPECTION_PATH, SECRET, endpoint, issuer_of, server,
};
use phantom_token_test::keys::{self, PemKey};
use phantom_token_test::nginx::version;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::tls::{Identity, server_config};
use phantom_token_test::{
    Api, AuthorizationServer, Gateway, GrpcServer, Mint, Reply, curl, grpc, jwt, port, process,
};

#[test]
fn minimal() {
    let (server, api) = (server("api-gateway"), Api::start());
    let gateway = Example::read("minimal.conf").asks(&endpoint(), &server).passes_to(&api).start();
    let token = server.issue();
    Reply::unauthorized(CHALLENGE).assert(&gateway.get("/orders", &[]));
    Reply::unauthorized(INVALID_TOKEN).assert(&gateway.get_as("/orders", "unknown"));
    assert_eq!(api.count(), 0);
    assert_eq!(gateway.get_as("/orders", &token.token).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
}

#[test]
fn production() {
    let login = Identity::self_signed(&["localhost"]);
    let server = AuthorizationServer::builder()
        .introspection_client("api-gateway", SECRET)
        .tls(server_config(&login, None), "localhost")
        .start()
        .unwrap();
    let api = Api::start();
    let identity = Identity::self_signed(&["api.example.com"]);
    let (tls, operators) = (port::free(), port::free());
    // The first server is down: nothing listens there.
    let down = format!("https://localhost:{}{INTROSPECTION_PATH}", port::free());
    let gateway = Example::read("production.conf")
        .replace("phantom_token_connect_timeout 1s", "phantom_token_connect_timeout 20s")
        .replace("phantom_token_timeout 4s", "phantom_token_timeout 30s")
        .replace(&format!("https://login-1.example.com{INTROSPECTION_PATH}"), &down)
        .asks(&format!("https://login-2.example.com{INTROSPECTION_PATH}"), &server)
        .replace("127.0.0.1:3000", api.url().trim_start_matches("http://"))
        .replace("127.0.0.1:8443", &format!("127.0.0.1:{tls}"))
        .replace("127.0.0.1:9145", &format!("127.0.0.1:{operators}"))
        .file("login-ca.pem", &login.certificate)
        .file("server.pem", &identity.certificate)
        .file("server.key", &identity.key)
        .start();
    let certificate = gateway.prefix().join("server.pem");
    let resolve = format!("api.example.com:{tls}:127.0.0.1");
    let url = format!("https://api.example.com:{tls}");
    let status = |path: &str, token: &str, more: &[&str]| {
        let (url, authorization) =
            (format!("{url}{path}"), format!("Authorization: Bearer {token}"));
        let fixed = [
            "--cacert",
            certificate.to_str().unwrap(),
            "--resolve",
            &resolve,
            "-H",
            &authorization,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url,
        ];
        let told = curl(&[more, &fixed].concat());
        assert_eq!(told.code, 0, "{told:?}");
        told.output
    };
    let reader = server.issue();
    let writer = server.mint(Mint::new().scope("read write"));

    assert_eq!(status("/api/echo", &reader.token, &[]), "200");
    assert_eq!(api.last().authorization(), [reader.phantom()]);
    assert_eq!(status("/api/echo", &reader.token, &["-d", "a=b"]), "403");
    assert_eq!(status("/api/echo", &writer.token, &["-d", "a=b"]), "200");
    assert_eq!(status("/api/echo", "unknown", &[]), "401");
    assert_eq!(status("/other", &reader.token, &[]), "404");
    assert_eq!(api.count(), 2);
    let miss = gateway.wait_for_access("token=MISS reason=- introspection=");
    let (_, time) = miss.split_once("introspection=").unwrap();
    assert!(time.starts_with(|c: char| c.is_ascii_digit()), "{miss}");
    gateway.wait_for_access("token=DENIED reason=scope");

    let mut client = gateway.client();
    client.send(b"GET /api/echo?x=1 HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
    let moved = client.read();
    assert_eq!(moved.status, 308);
    assert_eq!(moved.header("location"), Some("https://api.example.com/api/echo?x=1"));

    let url = format!("http://127.0.0.1:{operators}");
    let metrics = curl(&[&format!("{url}/metrics")]).output;
    assert!(metrics.contains("phantom_token_requests_total{outcome=\"miss\"} 2"), "{metrics}");
    assert!(!metrics.contains("phantom_token_build_info{"), "server_tokens off hides versions");
    let calls = server.introspections_of(&reader.token);
    let form = format!("token={}", reader.token);
    let purge = ["-d", &form, "-o", "/dev/null", "-w", "%{http_code}", &format!("{url}/purge")];
    assert_eq!(curl(&purge).output, "204");
    assert_eq!(status("/api/echo", &reader.token, &[]), "200");
    assert_eq!(server.introspections_of(&reader.token), calls + 1);
}

#[test]
fn minted_jwts() {
    let (server, api) = (server("api-gateway"), Api::start());
    let key = PemKey::p256();
    let gateway = Example::read("mint.conf")
        .asks(&endpoint(), &server)
        .passes_to(&api)
        .file("mint.key", &key.private)
        .start();
    let set = gateway.get("/jwks.json", &[]);
    assert_eq!(set.header("content-type"), Some("application/jwk-set+json"));
    let set = serde_json::from_slice(&set.body).expect("a key set");
    let token = server.mint(Mint::new().scope("read").claim("acr", "high"));
    for (target, acr) in [("/orders/1", None), ("/invoices/1", Some("high"))] {
        assert_eq!(gateway.get_as(target, &token.token).status, 200);
        let last = api.last();
        let [authorization] = last.authorization()[..] else { panic!("{last:?}") };
        let minted = authorization.strip_prefix("Bearer ").expect("a JWT");
        assert!(keys::verifies(&set, minted), "{minted}");
        let claims = jwt::payload(minted).expect("claims");
        assert_eq!(claims["iss"], "https://api.example.com");
        assert_eq!(claims["aud"], target.split('/').nth(1).unwrap());
        assert_eq!((claims["scope"].as_str(), claims["acr"].as_str()), (Some("read"), acr));
    }
    Reply::unauthorized(INVALID_TOKEN).assert(&gateway.get_as("/orders/1", "unknown"));
    assert_eq!(api.count(), 2);
}

#[test]
fn several_authorization_servers() {
    let orders = server("api-gateway");
    // Its JSON comes with a JWT.
    let partners = AuthorizationServer::builder()
        .introspection_client("partner-gateway", SECRET)
        .jwt_member("jwt")
        .start()
        .unwrap();
    let (api, partner_api) = (Api::start(), Api::start());
    let gateway = Example::read("several-authorization-servers.conf")
        .asks(&endpoint(), &orders)
        .asks("https://login.example.org/oauth2/introspect", &partners)
        .issuer("https://login.example.com/oauth/v2/oauth-anonymous", &orders)
        .issuer("https://login.example.org", &partners)
        .passes_to(&api)
        .replace("http://127.0.0.1:3001", &partner_api.url())
        .file("partner.secret", SECRET)
        .start();
    let get = |host: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let mut client = gateway.client();
        client.send(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n\r\n").as_bytes(),
        );
        client.read()
    };
    let (order, partner) = (orders.issue(), partners.issue());
    for _ in 0..2 {
        assert_eq!(get("orders.example.com", &order.token).status, 200);
        assert_eq!(get("partners.example.com", &partner.token).status, 200);
        let refused = INVALID_TOKEN.replace("\"api\"", "\"orders\"");
        Reply::unauthorized(&refused).assert(&get("orders.example.com", &partner.token));
        let refused = INVALID_TOKEN.replace("\"api\"", "\"partners\"");
        Reply::unauthorized(&refused).assert(&get("partners.example.com", &order.token));
    }
    assert_eq!(api.last().authorization(), [order.phantom()]);
    assert_eq!(partner_api.last().authorization(), [partner.phantom()]);
    assert_eq!((api.count(), partner_api.count()), (2, 2));
    assert_eq!(get("elsewhere.example.com", &order.token).status, 404);
}

/// One of `tenants.conf`.
struct Tenant {
    name: &'static str,
    secret: &'static str,
    server: AuthorizationServer,
}

impl Tenant {
    /// Whether all calls came with this tenant's credentials, and nothing came of another's.
    fn assert_own_credentials(&self, all: &[Self]) {
        let client = format!("{}-gateway", self.name);
        let basic = format!("Basic {}", STANDARD.encode(format!("{client}:{}", self.secret)));
        let form = format!("client_id={client}&client_secret={}", self.secret);
        let seen = [self.server.seen(), self.server.own_seen()].concat();
        assert!(!seen.is_empty());
        for call in seen {
            let body = String::from_utf8(call.body).unwrap();
            let head = String::from_utf8(call.head.raw).unwrap();
            let sent: Vec<_> = call.head.headers.all("authorization").collect();
            match self.name {
                "dairy" => assert!(sent.is_empty() && body.contains(&form), "{head}"),
                _ => assert_eq!(sent, [basic.as_str()]),
            }
            for other in all.iter().filter(|other| other.name != self.name) {
                let gateway = format!("{}-gateway", other.name);
                let basic = STANDARD.encode(format!("{gateway}:{}", other.secret));
                for credential in [&gateway, other.secret, &basic] {
                    let is_in = |text: &str| text.contains(credential);
                    assert!(!is_in(&head) && !is_in(&body), "{} got {credential}", self.name);
                }
            }
        }
    }
}

#[test]
fn tenants() {
    let tls = ["bakery", "dairy"].map(|_| Identity::self_signed(&["localhost"]));
    let start = |name, secret, identity: Option<&Identity>| {
        let mut server =
            AuthorizationServer::builder().introspection_client(&format!("{name}-gateway"), secret);
        server = match identity {
            Some(identity) => server.tls(server_config(identity, None), "localhost"),
            None => server.jwt_member("jwt"),
        };
        Tenant { name, secret, server: server.start().unwrap() }
    };
    let all = [
        start("bakery", "flour-1234567890", Some(&tls[0])),
        start("brewery", "hops-1234567890", None),
        start("dairy", "cream-1234567890", Some(&tls[1])),
    ];
    let [bakery, brewery, dairy] = all.each_ref().map(|tenant| &tenant.server);
    let api = Api::start();
    let mut example = Example::read("tenants.conf")
        .asks("https://login.bakery.example/oauth/v2/oauth-introspect", bakery)
        .asks("https://login.brewery.example/oauth2/introspect", brewery)
        .asks("https://login.dairy.example/introspect", dairy)
        .issuer("https://login.bakery.example/oauth/v2/oauth-anonymous", bakery)
        .issuer("https://login.brewery.example", brewery)
        .issuer("https://login.dairy.example/", dairy)
        .passes_to(&api)
        .file("bakery-ca.pem", &tls[0].certificate)
        .file("dairy-ca.pem", &tls[1].certificate);
    for (file, tenant) in ["bakery.secret", "brewery.secret", "dairy.secret"].iter().zip(&all) {
        example = example.file(file, tenant.secret);
    }
    let gateway = example.start();
    all.iter().for_each(|tenant| gateway.secret(tenant.secret));

    let token = |tenant: &Tenant| tenant.server.mint(Mint::new().scope("read reports"));
    let tokens = all.each_ref().map(token);
    let apis = ["orders", "invoices", "customers", "reports"];
    for (owner, token) in all.iter().zip(&tokens) {
        for tenant in &all {
            for name in apis {
                let (path, before) = (format!("/{}/{name}/1", tenant.name), api.count());
                let reply = gateway.get_as(&path, &token.token);
                if tenant.name == owner.name {
                    assert_eq!(reply.status, 200, "{path}");
                    assert_eq!(api.last().authorization(), [token.phantom()], "{path}");
                    assert_eq!(api.last().head.target, path);
                } else {
                    assert_eq!(reply.status, 401, "{path} took a token of the {}", owner.name);
                    let challenge = match name {
                        "reports" => INVALID_TOKEN.replace("\"api\"", "\"api\", scope=\"reports\""),
                        _ => INVALID_TOKEN.to_owned(),
                    };
                    Reply::unauthorized(&challenge).assert(&reply);
                    assert_eq!(api.count(), before, "{path}");
                }
            }
            // Four locations, one answer.
            assert_eq!(tenant.server.introspections_of(&token.token), 1, "{}", tenant.name);
        }
    }
    for (tenant, letter) in all.iter().zip(["a", "b", "c"]) {
        let line = format!("\"GET /{}/orders/1\" 200 provider={} ", tenant.name, tenant.name);
        gateway.wait_for_access(&line);
        // A token without the scope.
        let plain = tenant.server.issue().token;
        assert_eq!(gateway.get_as(&format!("/{}/orders/", tenant.name), &plain).status, 200);
        assert_eq!(gateway.get_as(&format!("/{}/reports/", tenant.name), &plain).status, 403);
        // One of another issuer, which the server calls active.
        for other in all.iter().filter(|other| other.name != tenant.name) {
            let token = format!("{letter}-{}-1234567890", other.name);
            let issuer = issuer_of(&other.server);
            tenant.server.mint(Mint::new().token(&token).claim("iss", issuer));
            let reply = gateway.get_as(&format!("/{}/orders/", tenant.name), &token);
            Reply::unauthorized(INVALID_TOKEN).assert(&reply);
        }
    }
    gateway.wait_for_access("token=DENIED reason=issuer");
    assert_eq!(api.count(), 15);
    all.iter().for_each(|tenant| tenant.assert_own_credentials(&all));
}

/// The flat form and the blocks of the page on directives, as a reader would type them.
#[test]
fn the_two_forms_of_a_server() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/directives.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("\n### One server: flat; several: blocks\n").unwrap();
    let section = section.split("\n### ").next().unwrap();
    let typed = section.split("```nginx\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole: Vec<_> = typed.filter(|text| text.starts_with("http {")).collect();
    assert_eq!(whole.len(), 2);
    let (login, partners) = (
        server("api-gateway"),
        AuthorizationServer::builder()
            .introspection_client("partner-gateway", SECRET)
            .jwt_member("jwt")
            .start()
            .unwrap(),
    );
    for text in whole {
        let (api, partner_api, port) = (Api::start(), Api::start(), port::free());
        let start = "load_module modules/ngx_http_phantom_token_module.so;\nerror_log error.log info;\npid logs/nginx.pid;\nevents {\n}\n";
        let listen = format!("server {{\n        listen 127.0.0.1:{port};");
        let config = format!("{start}{text}")
            .replace("server {", &listen)
            .replace(&endpoint(), &login.introspection_url())
            .replace("https://login.example.org/oauth2/introspect", &partners.introspection_url())
            .replace("http://127.0.0.1:3000;", &format!("{};", api.url()))
            .replace("http://127.0.0.1:3001;", &format!("{};", partner_api.url()));
        let gateway = Gateway::builder()
            .verbatim(&config, port)
            .secret(SECRET)
            .file("phantom-token.secret", SECRET)
            .file("partner.secret", SECRET)
            .start();
        let (order, partner) = (login.issue(), partners.issue());
        assert_eq!(gateway.get_as("/orders/", &order.token).status, 200);
        Reply::unauthorized(INVALID_TOKEN).assert(&gateway.get_as("/orders/", &partner.token));
        if text.contains("location /partners/") {
            assert_eq!(gateway.get_as("/partners/", &partner.token).status, 200);
            assert_eq!(partner_api.last().authorization(), [partner.phantom()]);
            let refused = gateway.get_as("/partners/", &order.token);
            Reply::unauthorized(INVALID_TOKEN).assert(&refused);
        }
        assert_eq!(api.last().authorization(), [order.phantom()]);
    }
}

#[test]
fn hydra_health() {
    let server = AuthorizationServer::builder().no_client_auth().start().unwrap();
    let api = Api::start();
    let gateway = Example::read("hydra-health.conf")
        .replace("127.0.0.1:4445", &format!("127.0.0.1:{}", server.port()))
        .replace("127.0.0.1:4446", &format!("127.0.0.1:{}", port::free()))
        .replace("/admin/oauth2/introspect", INTROSPECTION_PATH)
        .replace("phantom_token_cache_valid 60s", "phantom_token_cache_valid 1s")
        .passes_to(&api)
        .start();
    let mint = || {
        let hydras = Mint::new().scope("photos.read").answer("token_use", "access_token");
        server.mint(hydras).token
    };
    let (known, new, get) = (mint(), mint(), |token: &str| gateway.get_as("/api/echo", token));
    assert_eq!(get(&known).status, 200);
    assert_eq!(get("unknown").status, 401);
    // It calls all tokens inactive now, and the good ones go on: some of them by answers that have
    // run out. Of the others nothing is learnt.
    server.lose_database(true);
    process::wait_until("a stale answer", || {
        assert_eq!(get(&known).status, 200);
        gateway.error_log().contains("stale answers serve: ")
    });
    for token in [&*new, "unknown", "another"] {
        let status = get(token).status;
        assert!(status == 500 || token == "unknown" && status == 401, "{token}: {status}");
    }
    assert_eq!(get(&known).status, 200);
    server.lose_database(false);
    assert_eq!(get(&new).status, 200);
    let calls = server.introspections_of(&known);
    process::wait_until("an answer of its own", || {
        assert_eq!(get(&known).status, 200);
        server.introspections_of(&known) > calls
    });
    server.revoke(&known);
    process::wait_until("the token's end", || get(&known).status == 401);
}

#[test]
fn opaque_and_jwt() {
    let (server, api) = (server("api-gateway"), Api::start());
    let gateway =
        Example::read("opaque-and-jwt.conf").asks(&endpoint(), &server).passes_to(&api).start();
    let token = server.issue();
    assert_eq!(gateway.get_as("/api", &token.jwt).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
    assert_eq!(server.introspections(), 0, "a JWT is not introspected");
    assert_eq!(gateway.get_as("/api", &token.token).status, 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
    assert_eq!(server.introspections(), 1);
    // Neither passes for a JWT.
    for token in ["a.b", "a.b.c.d", "a..c"] {
        Reply::unauthorized(INVALID_TOKEN).assert(&gateway.get_as("/api", token));
    }
    Reply::unauthorized(CHALLENGE).assert(&gateway.get("/api", &[]));
    assert_eq!(api.count(), 2);
}

#[test]
fn revocable_jwt() {
    let (server, api) = (server("api-gateway"), Api::start());
    let gateway = Example::read("revocable-jwt.conf")
        .asks(&endpoint(), &server)
        .passes_to(&api)
        .replace("phantom_token_cache_valid 30s", "phantom_token_cache_valid 0")
        .start();
    // A JWT that is an access token itself.
    let token = server.mint(Mint::new().token(&server.issue().jwt));
    let bearer = format!("bEARER  {}", token.token);
    let headers = [("Authorization", bearer.as_str())];
    assert_eq!(gateway.get("/api/echo", &headers).status, 200);
    assert_eq!(api.last().authorization(), [bearer.as_str()], "as it came");
    assert_eq!(server.introspections_of(&token.token), 1);
    // Nobody has judged it.
    let mut client = gateway.client();
    client.send_request("OPTIONS", "/api/echo", &headers, b"");
    assert_eq!(client.read().status, 200);
    assert_eq!(api.last().authorization(), [""; 0]);

    server.revoke(&token.token);
    Reply::unauthorized(INVALID_TOKEN).assert(&gateway.get("/api/echo", &headers));
    Reply::unauthorized(CHALLENGE).assert(&gateway.get("/api/echo", &[]));
    assert_eq!(api.count(), 2);
}

#[test]
fn spa_cookie() {
    let (server, api) = (server("api-gateway"), Api::start());
    let gateway =
        Example::read("spa-cookie.conf").asks(&endpoint(), &server).passes_to(&api).start();
    let token = server.issue();
    let cookie = format!("theme=dark; __Host-access_token={}; other=1", token.token);
    let own = ("Origin", "https://app.example.com");
    let call = |method: &str, headers: &[(&str, &str)]| {
        let mut client = gateway.client();
        client.send_request(method, "/api/echo", headers, b"");
        client.read().status
    };
    assert_eq!(call("GET", &[("Cookie", &cookie)]), 200);
    assert_eq!(api.last().authorization(), [token.phantom()]);
    assert_eq!(api.last().head.headers.get("cookie"), None, "the API never sees the cookie");
    assert_eq!(call("POST", &[("Cookie", &cookie), own]), 200);
    let before = api.count();

    // Requests that another site's page causes, or something that is no browser.
    for origin in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
        assert_eq!(call("POST", &[("Cookie", &cookie), ("Origin", origin)]), 403, "{origin}");
        assert_eq!(call("GET", &[("Cookie", &cookie), ("Origin", origin)]), 403, "{origin}");
    }
    assert_eq!(call("POST", &[("Cookie", &cookie)]), 403);
    // The cookie counts, and nothing else; a name that ends like it is another cookie.
    assert_eq!(call("GET", &[]), 401);
    assert_eq!(call("GET", &[("Authorization", &token.bearer())]), 401);
    let other = format!("x__Host-access_token={}", token.token);
    assert_eq!(call("GET", &[("Cookie", &other)]), 401);
    assert_eq!(call("OPTIONS", &[own]), 401);
    assert_eq!(api.count(), before);
}

#[test]
fn grpc_service() {
    let (server, upstream) = (server("api-gateway"), GrpcServer::start());
    let mut example = Example::read("grpc.conf")
        .asks(&endpoint(), &server)
        .replace("127.0.0.1:50051", &format!("127.0.0.1:{}", upstream.port()));
    if version() < (1, 25, 1) {
        let listen = format!("listen 127.0.0.1:{}", example.port());
        example = example.replace("http2 on;", "").replace(&listen, &format!("{listen} http2"));
    }
    let gateway = example.start();
    let token = server.issue();
    let [unary, stream] = grpc::call(gateway.port(), &token.token);
    assert_eq!((unary.code, stream.code), (0, 0));
    assert_eq!(unary.replies, [format!("hello {}", token.phantom())]);
    assert_eq!(stream.replies.len(), 3);
    let refused = grpc::call(gateway.port(), "unknown").map(|called| called.code);
    assert_eq!(refused, [16, 16], "UNAUTHENTICATED");
}
