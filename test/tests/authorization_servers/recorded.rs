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

const DJANGO_OAUTH_TOOLKIT: Example = Example {
    file: "django-oauth-toolkit.conf",
    endpoints: &["https://auth.example.com/o/introspect/"],
    scope: Some("read"),
    ..DOORKEEPER
};

const DJANGO_OIDC_PROVIDER: Example = Example {
    file: "django-oidc-provider.conf",
    endpoints: &["https://auth.example.com/openid/introspect"],
    ..DJANGO_OAUTH_TOOLKIT
};

const CANAILLE: Example = Example { file: "canaille.conf", scope: Some("read"), ..DOORKEEPER };

const BETTER_AUTH: Example = Example {
    file: "better-auth.conf",
    endpoints: &["https://auth.example.com/api/auth/oauth2/introspect"],
    ..DJANGO_OAUTH_TOOLKIT
};

const ZITADEL: Example = Example { file: "zitadel.conf", scope: Some("email"), ..DOORKEEPER };

const MITREID: Example = Example {
    file: "mitreid.conf",
    endpoints: &["https://auth.example.com/introspect"],
    scope: Some("email"),
    ..DOORKEEPER
};

#[test]
fn django_oauth_toolkit() {
    let exp = now() + 300;
    let json = "200 OK\nServer: gunicorn\nContent-Type: application/json\n\n";
    let running = Running::start(&DJANGO_OAUTH_TOOLKIT);
    let active = |scope: &str| {
        format!(r#"{json}{{"active": true, "scope": "{scope}", "exp": {exp}, "client_id": "app"}}"#)
    };
    let claims = Expect::Claims(&[("X-Client", "app"), ("X-Scope", "read")]);
    running.expect("active", &active("read"), &claims);
    running.expect("wrong scope", &active("write"), &Expect::OutOfScope);
    running.expect("inactive", &format!("{json}{{\"active\": false}}"), &Expect::Inactive);
    let refused = "403 Forbidden\nServer: gunicorn\nContent-Type: text/html; charset=utf-8\n\n";
    running.expect("wrong secret", refused, &Expect::Failure("credentials with status 403"));
}

#[test]
fn django_oidc_provider() {
    let (iat, exp) = (now(), now() + 300);
    let json = "200 OK\nServer: gunicorn\nContent-Type: application/json\n\
                Cache-Control: no-store\nPragma: no-cache\n\n";
    let active = |exp: u64| {
        format!(
            r#"{json}{{"aud": "app", "sub": "1", "exp": {exp}, "iat": {iat}, "iss": "https://auth.example.com/openid", "active": true, "client_id": "app", "scope": "openid read"}}"#
        )
    };
    let running = Running::start(&DJANGO_OIDC_PROVIDER);
    let claims =
        Expect::Claims(&[("X-Subject", "1"), ("X-Client", "app"), ("X-Scope", "openid read")]);
    running.expect("active", &active(exp), &claims);
    // The access token lives on, and what it says of the end is the ID token's.
    running.expect("the ID token has ended", &active(iat - 1), &Expect::Inactive);
    running.gateway.wait_for_log(&["[warn]", "expired"]);
    // So it answers to a wrong secret as well.
    running.expect("inactive", &format!("{json}{{\"active\": false}}"), &Expect::Inactive);
}

#[test]
fn canaille() {
    let (iat, exp) = (now(), now() + 864_000);
    let head = "content-type: application/json\ncache-control: no-store\npragma: no-cache\n";
    // It sends no reason phrase, and times with fractions.
    let json = format!("200 \n{head}vary: Cookie\nserver: hypercorn-h11\n\n");
    let machine = format!(
        r#"{json}{{"active": true, "aud": ["api-gateway", "special"], "client_id": "app", "exp": {exp}.245872, "iat": {iat}.245872, "iss": "https://auth.example.com", "scope": "read", "token_type": "Bearer"}}"#
    );
    let person = format!(
        r#"{json}{{"active": true, "aud": ["api-gateway", "special"], "client_id": "app", "exp": {exp}.171182, "iat": {iat}.171182, "iss": "https://auth.example.com", "scope": "openid read", "sub": "alice", "token_type": "Bearer", "username": "Alice Liddell"}}"#
    );
    let running = Running::start(&CANAILLE);
    let claims = Expect::Claims(&[("X-Client", "app"), ("X-Scope", "read")]);
    running.expect("a machine's", &machine, &claims);
    let claims =
        Expect::Claims(&[("X-User", "alice"), ("X-Client", "app"), ("X-Scope", "openid read")]);
    running.expect("a person's", &person, &claims);
    running.expect("inactive", &format!("{json}{{\"active\": false}}"), &Expect::Inactive);
    let refused = format!(
        "401 \n{head}www-authenticate: Basic error=\"invalid_client\", error_description=\"The \
         client cannot authenticate with methods: ['client_secret_basic']\"\n\n\
         {{\"error\": \"invalid_client\", \"error_description\": \"The client cannot authenticate \
         with methods: ['client_secret_basic']\"}}"
    );
    running.expect("wrong secret", &refused, &Expect::Failure("credentials with status 401"));
    let other = Running::start(&CANAILLE);
    let page = "400 \ncontent-type: text/html; charset=utf-8\n\n<!doctype html>\n<html></html>";
    other.expect("another name", page, &Expect::Failure("answered with status 400"));
}

#[test]
fn better_auth() {
    let (iat, exp) = (now(), now() + 3600);
    let head = "cache-control: no-store\ncontent-type: application/json\npragma: no-cache\n";
    let json = format!("200 OK\n{head}\n");
    let active = |scope: &str| {
        format!(
            r#"{json}{{"active":true,"iss":"https://auth.example.com/api/auth","aud":"https://api.example.com","client_id":"app","azp":"app","exp":{exp},"iat":{iat},"scope":"{scope}","token_type":"Bearer"}}"#
        )
    };
    let running = Running::start(&BETTER_AUTH);
    let claims = Expect::Claims(&[("X-Client", "app"), ("X-Scope", "read")]);
    running.expect("active", &active("read"), &claims);
    running.expect("wrong scope", &active("write"), &Expect::OutOfScope);
    running.expect("inactive", &format!("{json}{{\"active\":false}}"), &Expect::Inactive);
    // To what it takes for a JWT.
    let fault = format!("500 Internal Server Error\n{head}\n");
    running.expect("a JWT", &fault, &Expect::Failure("answered with status 500"));
    let many = "429 Too Many Requests\ncontent-type: text/plain;charset=UTF-8\nx-retry-after: 10\n\n\
                {\"message\":\"Too many requests. Please try again later.\"}";
    running.expect("too many", many, &Expect::Unavailable("too many requests"));
    // By post, refused credentials are no 401.
    let refused = format!(
        "400 Bad Request\n{head}\n{{\"error_description\":\"client registered for \
         client_secret_basic cannot use client_secret_post\",\"error\":\"invalid_client\"}}"
    );
    running.expect("post", &refused, &Expect::Failure("credentials with status 400"));
}

#[test]
fn zitadel() {
    let exp = now() + 300;
    let json = "200 OK\nContent-Type: application/json\nVary: Origin\nX-Request-Id: 7\n\n";
    let active = |scope: &str| {
        format!(
            r#"{json}{{"active":true,"scope":"{scope}","client_id":"app","exp":{exp},"sub":"id2","email":"test-user2@zitadel.ch","email_verified":true}}"#
        ) + "\n"
    };
    let running = Running::start(&ZITADEL);
    let claims =
        Expect::Claims(&[("X-Subject", "id2"), ("X-Client", "app"), ("X-Scope", "openid email")]);
    running.expect("active", &active("openid email"), &claims);
    running.expect("wrong scope", &active("openid"), &Expect::OutOfScope);
    // It says more of a token that is not active than whether it is.
    let of_another = format!("{json}{{\"active\":false,\"exp\":{exp}}}\n");
    running.expect("another client's", &of_another, &Expect::Inactive);
    let head = "Content-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\n";
    let refused =
        format!("401 Unauthorized\n{head}\nErrorType=unauthorized_client Parent=invalid secret\n");
    running.expect("wrong secret", &refused, &Expect::Failure("credentials with status 401"));
    // Its newer kind of server.
    let running = Running::start(&ZITADEL);
    let refused = "400 Bad Request\nContent-Type: application/json\n\n\
                   {\"error\":\"unauthorized_client\",\"error_description\":\"invalid secret\"}\n";
    running.expect("wrapped", refused, &Expect::Failure("credentials with status 400"));
}

#[test]
fn mitreid() {
    let exp = now() + 3600;
    let head = "Content-Language: en\nContent-Type: application/json;charset=utf-8\n\
                Cache-Control: no-cache, no-store, max-age=0, must-revalidate\n\
                Pragma: no-cache\nExpires: 0\n";
    let json = format!("200 OK\n{head}\n");
    let active = |scope: &str| {
        format!(
            r#"{json}{{"active":true,"scope":"{scope}","expires_at":"2026-11-29T04:10:16+0000","exp":{exp},"sub":"app","client_id":"app","token_type":"Bearer"}}"#
        )
    };
    let running = Running::start(&MITREID);
    let claims = Expect::Claims(&[("X-Subject", "app"), ("X-Client", "app"), ("X-Scope", "email")]);
    running.expect("active", &active("email"), &claims);
    running.expect("wrong scope", &active("phone"), &Expect::OutOfScope);
    let refresh = active("email").replace(r#","token_type":"Bearer""#, "");
    running.expect("a refresh token", &refresh, &Expect::Inactive);
    running.expect("inactive", &format!("{json}{{\"active\":false}}"), &Expect::Inactive);
    let refused = "401 Unauthorized\nCache-Control: no-store\nPragma: no-cache\n\
                   WWW-Authenticate: Bearer realm=\"openidconnect\", error=\"unauthorized\", \
                   error_description=\"Bad credentials\"\n\
                   Content-Type: application/json;charset=utf-8\n\n\
                   {\"error\":\"unauthorized\",\"error_description\":\"Bad credentials\"}";
    running.expect("wrong secret", refused, &Expect::Failure("credentials with status 401"));
}

#[test]
fn keycloak_that_starts() {
    let answer = "503 Service Unavailable\nContent-Type: text/plain\nRefresh: 1\nRetry-After: 1\n\n\
                  Bootstrap in progress. Retry in 1 seconds.";
    Running::start(&KEYCLOAK).expect("503", answer, &Expect::Unavailable("with status 503"));
}

/// Claims by its own answer handler, and a JWT beside them.
#[test]
fn spring_with_a_handler() {
    let (iat, exp) = (now(), now() + 300);
    let jwt = jws(
        r#"{"kid":"signing","typ":"at+jwt","alg":"RS256"}"#,
        &format!(
            r#"{{"sub":"app","aud":["app"],"nbf":{iat},"scope":"message.read","iss":"https://auth.example.com","exp":{exp},"iat":{iat},"client_id":"app"}}"#
        ),
    );
    let head = "200 \nX-Content-Type-Options: nosniff\nX-XSS-Protection: 0\n\
                Cache-Control: no-cache, no-store, max-age=0, must-revalidate\n\
                Pragma: no-cache\nExpires: 0\nX-Frame-Options: DENY\n\
                Content-Type: application/json\n\n";
    let answer = format!(
        r#"{head}{{"active":true,"sub":"app","aud":["app"],"nbf":{iat},"scope":"message.read","iss":"https://auth.example.com","exp":{exp},"iat":{iat},"jti":"ffe925ce-fbbd-47e1-8a0c-7281aef60435","client_id":"app","token_type":"Bearer","phantom_token":"{jwt}"}}"#
    );
    let claims =
        Expect::Claims(&[("X-Subject", "app"), ("X-Client", "app"), ("X-Scope", "message.read")]);
    Running::start(&SPRING).expect("claims beside a JWT", &answer, &claims);
}
