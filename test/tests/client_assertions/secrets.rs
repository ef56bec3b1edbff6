//! Nothing of an assertion, and nothing of the key's file, is where it does not belong.

use phantom_token_test::authorization_server::Assertions;
use phantom_token_test::process::occurrences;
use phantom_token_test::{Reply, Script};

use crate::{AUDIENCE, BY_KEY, ID, p256, rig, server};

#[test]
fn no_log_holds_an_assertion_and_no_process_the_file_of_the_key() {
    let key = p256();
    let pem = key.serialize_pem();
    let line = pem.lines().nth(1).expect("a line of base64");
    let assertions = Assertions::new(ID, AUDIENCE).with_key(&key);
    let rig = rig(server(&assertions), BY_KEY, |builder| {
        builder
            .file("client.key", pem.clone())
            .log_level("debug")
            .secret(line)
            .main("thread_pool phantom_token threads=2;")
            .http("phantom_token_cache off;")
    });
    for n in 0..20 {
        rig.assert_passes(&rig.server.issue());
        let odd = format!("odd-{n}");
        let script = match n % 4 {
            0 => Script::status(401),
            1 => Script::close(),
            2 => Script::raw("nonsense\r\n\r\n"),
            _ => Script::status(302),
        };
        rig.server.script(&odd, script);
        Reply::failure().assert(&rig.get_as(&odd));
    }
    let arrived = assertions.arrived();
    assert!(arrived.len() >= 40, "{}", arrived.len());
    let log = rig.gateway.error_log();
    for assertion in &arrived {
        let claims = assertion.jwt.split('.').nth(1).expect("claims");
        let jti = assertion.jti().expect("a jti");
        for part in [&assertion.jwt[..], claims, &jti] {
            assert!(!log.contains(part), "the log holds {part}");
        }
    }
    for pid in rig.gateway.workers().into_iter().chain([rig.gateway.pid()]) {
        // Beyond the first bytes, which the allocator writes over where memory is given back.
        assert_eq!(occurrences(pid, &line.as_bytes()[24..]), 0, "in {pid}");
    }
    let [worker] = rig.gateway.workers()[..] else { panic!("one worker") };
    // What was sent is wiped, whatever became of it.
    for assertion in arrived {
        let signature = assertion.jwt.rsplit('.').next().expect("a signature");
        assert_eq!(occurrences(worker, &signature.as_bytes()[24..]), 0, "an assertion is left");
    }
}
