//! What servers answered that `make test-servers` ran, as it was recorded there: host names and times
//! apart, byte for byte.

use super::*;

const GLEWLWYD: Example = Example {
    file: "glewlwyd.conf",
    endpoints: &["https://auth.example.com/api/oidc/introspect"],
    accept: "application/json",
    credentials: Some("api-gateway"),
    scope: None,
    path: "/api/echo",
};

const DOORKEEPER: Example = Example {
    file: "doorkeeper.conf",
    endpoints: &["https://auth.example.com/oauth/introspect"],
    accept: "application/json",
    credentials: Some("api-gateway"),
    scope: None,
    path: "/api/echo",
};

const STARMAN: Example = Example { file: "starman.conf", ..DOORKEEPER };

const LEMONLDAP_NG: Example = Example {
    file: "lemonldap-ng.conf",
    endpoints: &["https://auth.example.com/oauth2/introspect"],
    accept: "application/json",
    credentials: Some("api-gateway"),
    scope: None,
    path: "/api/echo",
};

#[test]
fn lemonldap_ng() {
    let exp = now() + 3600;
    let head = "Server: nginx/1.28.3\nContent-Type: application/json; charset=utf-8\n\
                Connection: keep-alive\nCache-Control: no-cache, no-store, must-revalidate\n\
                Pragma: no-cache\nExpires: 0\nAccess-Control-Allow-Origin: *\n";
    let json = format!("200 OK\n{head}\n");
    let active = format!(
        r#"{json}{{"client_id":"app","scope":"openid read","sub":"dwho","active":true,"iss":"https://auth.example.com/","exp":{exp}}}"#
    );
    let running = Running::start(&LEMONLDAP_NG);
    let claims = Expect::Claims(&[("X-Subject", "dwho"), ("X-Scope", "openid read")]);
    running.expect("active", &active, &claims);
    running.expect("inactive", &format!("{json}{{\"active\":false}}"), &Expect::Inactive);
    let refused = format!("401 Unauthorized\n{head}WWW-Authenticate: Basic\n\n");
    let refused = format!("{refused}{{\"error\":\"invalid_client\"}}");
    running.expect("wrong", &refused, &Expect::Failure("credentials with status 401"));
    // To client_secret_post; another gateway, since the first has just been refused.
    let running = Running::start(&LEMONLDAP_NG);
    let refused = format!("400 Bad Request\n{head}\n{{\"error\":\"invalid_client\"}}");
    running.expect("wrong", &refused, &Expect::Failure("credentials with status 400"));
}

#[test]
fn glewlwyd() {
    let (iat, exp) = (now(), now() + 3600);
    let head = "Access-Control-Allow-Origin: *\nAccess-Control-Allow-Credentials: true\n\
                Cache-Control: no-store\nPragma: no-cache\nX-Frame-Options: deny\n\
                Referrer-Policy: no-referrer\n";
    let json = format!("200 OK\n{head}Content-Type: application/json\n\n");
    let of_alice = format!(
        r#"{{"username":"alice","client_id":"app","aud":"openid read","iat":{iat},"nbf":{iat},"jti":"CYnwKTArfNYKOrLg5jzkfuwFV8bVilY6","token_type":"bearer","active":true,"exp":{exp},"sub":"KvopczDozjgBHfd70MiMz3rKNFTsT5U2","scope":"openid read"}}"#
    );
    let of_app = format!(
        r#"{{"client_id":"app","aud":"read","iat":{iat},"nbf":{iat},"jti":"ZvVsKxU55MgQ1PLi88cF4EdXMjqm1cbf","token_type":"bearer","active":true,"exp":{exp},"scope":"read"}}"#
    );
    let refresh = format!(
        r#"{{"username":"alice","client_id":"app","aud":"app","iat":{iat},"nbf":{iat},"exp":{exp},"active":true,"token_type":"refresh_token","sub":"KvopczDozjgBHfd70MiMz3rKNFTsT5U2","scope":"openid read"}}"#
    );
    let id = format!(
        r#"{{"username":"alice","client_id":"app","aud":"app","sid":null,"iat":{iat},"nbf":{iat},"active":true,"token_type":"id_token","exp":{exp},"sub":"KvopczDozjgBHfd70MiMz3rKNFTsT5U2"}}"#
    );
    let running = Running::start(&GLEWLWYD);
    let person = Expect::Claims(&[
        ("X-Subject", "KvopczDozjgBHfd70MiMz3rKNFTsT5U2"),
        ("X-User", "alice"),
        ("X-Client", "app"),
        ("X-Scope", "openid read"),
    ]);
    running.expect("a person's", &format!("{json}{of_alice}"), &person);
    let machine = Expect::Claims(&[("X-Client", "app"), ("X-Scope", "read")]);
    running.expect("a machine's", &format!("{json}{of_app}"), &machine);
    running.expect("a refresh token", &format!("{json}{refresh}"), &Expect::Inactive);
    running.expect("an ID token", &format!("{json}{id}"), &Expect::Inactive);
    running.expect("inactive", &format!("{json}{{\"active\":false}}"), &Expect::Inactive);
    // What it answers to application/jwt: an introspection answer from before RFC 9701, and for
    // tokens that are not active nothing.
    let header = r#"{"typ":"token-introspection+jwt","alg":"ES256","kid":"AGYqecIZK-aFgkqZ9McbXlSZIGWFIrNSs9mhNb-vKpo"}"#;
    let jwt = jws(header, &of_alice);
    let jwt = format!("200 OK\n{head}Content-Type: application/jwt\n\n{jwt}");
    running.expect("application/jwt", &jwt, &person);
    let nothing = Expect::Failure("answered with status 400");
    running.expect("application/jwt, inactive", &format!("400 Bad Request\n{head}\n"), &nothing);
    let refused = Expect::Failure("credentials with status 401");
    running.expect("wrong secret", &format!("401 Unauthorized\n{head}\n"), &refused);
}

#[test]
fn doorkeeper() {
    let (iat, exp) = (now(), now() + 7200);
    let head = "X-Frame-Options: SAMEORIGIN\nX-XSS-Protection: 1; mode=block\n\
                X-Content-Type-Options: nosniff\nX-Download-Options: noopen\n\
                Referrer-Policy: strict-origin-when-cross-origin\n\
                Content-Type: application/json; charset=utf-8\nVary: Accept, X-Requested-With\n";
    let rails = "ETag: W/\"83fae53e3979bb3aade7e798d5e0cba7\"\n\
                 Cache-Control: max-age=0, private, must-revalidate\n";
    let json = format!("200 OK\n{head}{rails}\n");
    let active = |exp: u64| {
        format!(
            r#"{json}{{"active":true,"scope":"read","client_id":"app","token_type":"Bearer","exp":{exp},"iat":{iat},"sub":"7"}}"#
        )
    };
    for example in [&DOORKEEPER, &STARMAN] {
        let running = Running::start(example);
        let claims =
            Expect::Claims(&[("X-Subject", "7"), ("X-Client", "app"), ("X-Scope", "read")]);
        running.expect("active", &active(exp), &claims);
        running.gateway.wait_for_log(&["[notice]", "forbids caching by Cache-Control"]);
        running.expect("one without an end", &active(0), &claims);
        // By the recipe; the rest is as for the access token.
        let refresh = format!(
            r#"{json}{{"active":false,"scope":"read","client_id":"app","token_type":"Bearer","exp":{exp},"iat":{iat}}}"#
        );
        running.expect("a refresh token", &refresh, &Expect::Inactive);
        running.expect("inactive", &format!("{json}{{\"active\":false}}"), &Expect::Inactive);
        let refused = format!(
            "401 Unauthorized\n{head}Cache-Control: no-store\nPragma: no-cache\n\
             WWW-Authenticate: Bearer realm=\"Doorkeeper\", error=\"invalid_client\", \
             error_description=\"Client authentication failed\"\n\n\
             {{\"error\":\"invalid_client\",\"error_description\":\"Client authentication failed\"}}"
        );
        let refused = (&*refused, &Expect::Failure("credentials with status 401"));
        running.expect("wrong secret", refused.0, refused.1);
    }
}
