//! A certified OpenID provider, npm's `oidc-provider`.

use phantom_token_test::{Api, OidcProvider};

use crate::program::Program;

#[test]
fn what_is_printed_for_oidc_provider_works() {
    let provider = OidcProvider::start();
    let token = provider.token("app", "read");
    let refresh = provider.refresh_token();
    let said = Program::new()
        .client("gateway", OidcProvider::SECRET)
        .token(&token)
        .refresh_token(&refresh)
        .ask(&provider.introspection_url());
    said.ends(0).holds(&["overrules that"]);
    let directives = said.directives();
    for line in [
        "phantom_token_client_auth basic;",
        "phantom_token_introspection_accept application/jwt;",
        "phantom_token_token_type_hint access_token;",
        "phantom_token_forward jwt;",
        "phantom_token_kind declared;",
    ] {
        assert!(directives.iter().any(|directive| directive == line), "{line}\n{}", said.out);
    }
    let api = Api::start();
    let gateway = said.gateway(&api);
    for (token, status) in [(&*token, 200), (&*refresh, 401), ("unknown", 401)] {
        gateway.secret(token);
        assert_eq!(gateway.get_as("/api", token).status, status, "{}", said.out);
    }
    assert_eq!(api.count(), 1);
}
