//! The tutorial's flow with the tutorial's configuration, other ports aside.

use std::path::Path;

use phantom_token_test::{Api, AuthorizationServer, Gateway, curl, port};

#[test]
fn an_opaque_token_goes_in_and_a_jwt_comes_out() {
    let server = AuthorizationServer::start();
    let api = Api::start();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx-conf/tutorial.conf");
    let config = std::fs::read_to_string(path).unwrap();
    let gateway_port = port::free();
    let config = config
        .replace("http://127.0.0.1:9090", server.url())
        .replace("http://127.0.0.1:3000", &api.url())
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{gateway_port}"));
    let gateway = Gateway::builder().verbatim(&config, gateway_port).start();
    let url = format!("{}/api", gateway.url());

    // The command the demo shows: no tool but curl and sed.
    let command = format!(
        "TOKEN=$(curl -s -u 'test-client:Password1' -d grant_type=client_credentials -d scope=read \
         {} | sed 's/.*\"access_token\" *: *\"\\([^\"]*\\)\".*/\\1/')\n\
         echo $TOKEN\n\
         curl -s -H \"Authorization: Bearer $TOKEN\" {url}\n",
        server.token_url()
    );
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let (token, answer) = output.split_once('\n').unwrap();
    let answer: serde_json::Value = serde_json::from_str(answer).expect(answer);
    let jwt = answer["message"].as_str().unwrap().strip_prefix("API Received JWT: ").unwrap();
    assert!(server.key().verifies(jwt));
    assert_ne!(token, jwt);
    assert_eq!(answer["tokenPayload"]["scope"], "read");
    assert_eq!(answer["tokenPayload"]["sub"], "test-client");

    let authorization = format!("Authorization: Bearer {token}");
    let status = |arguments: &[&str]| {
        let fixed = ["-o", "/dev/null", "-w", "%{http_code}", &url];
        curl(&[arguments, &fixed].concat()).output
    };
    assert_eq!(status(&["-H", &authorization]), "200");
    assert_eq!(server.introspections_of(token), 1, "the second answer comes from the cache");
    assert_eq!(status(&[]), "401");
    assert_eq!(status(&["-H", &format!("{authorization}z")]), "401");
    assert_eq!(api.count(), 2);
    assert_eq!(curl(&[&gateway.url()]).output, "The gateway runs. The API is at /api.\n");
}
