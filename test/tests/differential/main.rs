//! Generated requests and generated answers: what the gateway does is what a small model of the
//! contract says it must do. Status, challenge, body, what reaches the API and the number of calls
//! are compared for each request.
//!
//! `PHANTOM_TOKEN_CASES` says how many, 3,000 as it comes; `PHANTOM_TOKEN_SEED` which.

mod answer;
mod model;
mod policy;
mod request;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::Instant;

use parking_lot::RwLock;
use phantom_token_test::authorization_server::INTROSPECTION_PATH;
use phantom_token_test::random::{Random, setting};
use phantom_token_test::rig::{FORBIDDEN, SERVER_ERROR, UNAUTHORIZED, challenge_parameters};
use phantom_token_test::{Client, Response, Rig};

use answer::Answer;
use model::{Model, Outcome, Prediction};
use policy::Policy;
use request::Request;

const THREADS: usize = 4;
const GROUPS: usize = 8;
const EACH: usize = 6;

/// What a thread's requests came to.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<String, usize>,
    calls: usize,
    /// Calls that the gateway may spare: its own credentials were just refused.
    spared: usize,
    /// What reached the API, by case.
    passed: HashMap<String, Vec<String>>,
}

fn start(policies: &[Policy]) -> Rig {
    let rig = Rig::start(|builder| {
        builder
            .workers(2)
            .log_level("error")
            .http("phantom_token_cache_zone zone=phantom_token:64m;")
            .http("large_client_header_buffers 4 64k;\nkeepalive_requests 1000000;")
            .http("map $http_x_bypass $bypass_of_request { default $http_x_bypass; }")
            .server("include locations.conf;")
            .file("locations.conf", "")
    });
    // Now that its servers' ports are known.
    let location = |policy: &Policy| {
        let text = policy.text(rig.server.port(), INTROSPECTION_PATH, &rig.api.url());
        format!("location {} {{\n{text}}}\n", policy.path())
    };
    let locations: String = policies.iter().map(location).collect();
    std::fs::write(rig.gateway.prefix().join("locations.conf"), locations).expect("writes a file");
    rig.gateway.reload();
    rig
}

/// One thread's client, with tokens and a model of its own.
struct Run<'a> {
    rig: &'a Rig,
    /// Shared by those who ask at the same time; held alone by who renews what is kept.
    alone: &'a RwLock<()>,
    policies: &'a [Policy],
    thread: usize,
    random: Random,
    model: Model,
    /// With the group whose server is mostly asked for it.
    tokens: Vec<(String, usize)>,
    client: Client,
    tally: Tally,
}

impl<'a> Run<'a> {
    fn new(
        rig: &'a Rig,
        alone: &'a RwLock<()>,
        policies: &'a [Policy],
        thread: usize,
        seed: u64,
    ) -> Self {
        let random = Random::new(seed.wrapping_mul(1_000).wrapping_add(thread as u64));
        let client = rig.gateway.client();
        let (model, tokens, tally) = Default::default();
        Self { rig, alone, policies, thread, random, model, tokens, client, tally }
    }

    fn step(&mut self, step: usize) {
        let random = &mut self.random;
        let mut policy = &self.policies[random.below(self.policies.len())];
        if self.tokens.is_empty() || random.one_in(4) {
            let token = format!("token-{}-{step}", self.thread);
            self.tokens.push((token, policy.group.number));
        }
        // Mostly one of the last, where it was asked for: it may be kept.
        let latest = self.tokens.len().saturating_sub(10);
        let (token, group) = self.tokens[latest + random.below(self.tokens.len() - latest)].clone();
        if !random.one_in(4) {
            let same: Vec<_> = self.policies.iter().filter(|p| p.group.number == group).collect();
            policy = random.of(&same);
        }
        let serial = (self.thread as u64) << 32 | step as u64;
        let answer = Answer::generate(random, serial, policy.group.refuses_us);
        let request = Request::generate(random, &token);
        let prediction = self.model.predict(policy, &request, &answer);
        if let Some(token) = &prediction.token {
            self.rig.server.script(token, answer.script());
        }

        let case = format!("{}-{step}", self.thread);
        // While an answer is renewed, none of another token may be on its way: where both share a
        // stripe of generations, that one is not kept.
        let renews = request.refresh.is_some_and(|value| value != "0");
        let alone = self.alone;
        let _alone = renews.then(|| alone.write());
        let _shared = (!renews).then(|| alone.read());
        let before = self.calls_of(&prediction);
        let response = self.ask(policy, &request, &case);
        let calls = self.calls_of(&prediction) - before;

        let told =
            assert_is(&prediction.outcome, &response, request.method).and_then(|()| match calls {
                _ if calls == prediction.calls => Ok(()),
                0 if policy.group.refuses_us => {
                    self.tally.spared += 1;
                    Ok(())
                }
                _ => Err(format!("{calls} calls")),
            });
        if let Err(difference) = told {
            panic!(
                "case {case}: {difference}\nexpected {prediction:#?}\n{policy:#?}\n{request:#?}\n\
                 {answer:#?}\n{response:?}"
            );
        }
        let how = match &prediction.outcome {
            Outcome::Passes(_) => "passed",
            Outcome::Denied(401, _) => "401",
            Outcome::Denied(_, _) => "403",
            Outcome::Failed => "500",
            Outcome::Busy(_) => "503",
            Outcome::BadRequest => "400",
        };
        let known = prediction.token.is_some() && prediction.calls == 0;
        *self.tally.outcomes.entry(how.to_owned()).or_default() += 1;
        *self.tally.outcomes.entry("from the cache".to_owned()).or_default() += usize::from(known);
        self.tally.calls += calls;
        if let Outcome::Passes(authorization) = prediction.outcome {
            self.tally.passed.insert(case, authorization);
        }
    }

    fn calls_of(&self, prediction: &Prediction) -> usize {
        prediction.token.as_ref().map_or(0, |token| self.rig.server.introspections_of(token))
    }

    fn ask(&mut self, policy: &Policy, request: &Request, case: &str) -> Response {
        let headers = request.headers(case);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let target = format!("{}echo", policy.path());
        let body = vec![b'x'; request.body];
        self.client.send_request(request.method, &target, &headers, &body);
        let response = self.client.try_read(request.method == "HEAD").expect("a response");
        if response.status == 400 {
            self.client = self.rig.gateway.client();
        } else {
            assert!(self.client.is_idle(), "case {case}: more than an answer");
        }
        response
    }
}

/// Compares a response with what it must be.
fn assert_is(outcome: &Outcome, response: &Response, method: &str) -> Result<(), String> {
    let (status, body) = match outcome {
        Outcome::Passes(_) => (200, None),
        Outcome::Denied(401, _) => (401, Some(UNAUTHORIZED)),
        Outcome::Denied(status, _) => (*status, Some(FORBIDDEN)),
        Outcome::Failed => (500, Some(SERVER_ERROR)),
        Outcome::Busy(_) => (503, Some(SERVER_ERROR)),
        Outcome::BadRequest => (400, None),
    };
    if response.status != status {
        return Err(format!("status {}", response.status));
    }
    if let Some(body) = body {
        let expected = if method == "HEAD" { "" } else { body };
        let length = body.len().to_string();
        if response.text() != expected
            || response.header("content-length") != Some(&length)
            || response.header("content-type") != Some("application/json")
            || response.header("cache-control") != Some("no-store")
        {
            return Err("not the gateway's own body, or its header fields".to_owned());
        }
    }
    if let Outcome::Denied(_, parameters) = outcome {
        let mut expected: Vec<_> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        expected.sort();
        if challenge_parameters(response) != expected {
            return Err("another challenge".to_owned());
        }
    } else if response.header("www-authenticate").is_some() {
        return Err("a challenge".to_owned());
    }
    let retry_after = match outcome {
        Outcome::Busy(seconds) => Some(seconds.as_str()),
        _ => None,
    };
    if response.header("retry-after") != retry_after {
        return Err(format!("Retry-After {:?}", response.header("retry-after")));
    }
    Ok(())
}

#[test]
fn the_gateway_decides_as_the_model() {
    let cases = setting("PHANTOM_TOKEN_CASES", 3_000) as usize;
    let seed = setting("PHANTOM_TOKEN_SEED", 1);
    println!("PHANTOM_TOKEN_SEED={seed}");
    let policies = Policy::all(&mut Random::new(seed), GROUPS, EACH);
    let rig = start(&policies);
    let alone = RwLock::new(());
    let begin = Instant::now();
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let runs: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (rig, alone, policies) = (&rig, &alone, policies.as_slice());
                scope.spawn(move || {
                    let mut run = Run::new(rig, alone, policies, thread, seed);
                    (0..cases / THREADS).for_each(|step| run.step(step));
                    run.tally
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().expect("no difference")).collect()
    });
    let took = begin.elapsed();

    // What reached the API is what was to pass, and nothing else ever did.
    let mut passed = HashMap::new();
    let mut outcomes = BTreeMap::new();
    let (mut calls, mut spared) = (0, 0);
    for tally in tallies {
        passed.extend(tally.passed);
        calls += tally.calls;
        spared += tally.spared;
        for (outcome, count) in tally.outcomes {
            *outcomes.entry(outcome).or_insert(0) += count;
        }
    }
    for received in rig.api.take() {
        let case = received.head.headers.get("x-case").expect("a case").to_owned();
        let expected = passed.remove(&case);
        let got: Vec<_> = received.authorization().iter().map(|&v| v.to_owned()).collect();
        assert_eq!(Some(got), expected, "case {case} at the API");
    }
    assert!(passed.is_empty(), "never reached the API: {passed:?}");
    assert_eq!(rig.server.introspections(), calls as u64, "calls nobody foresaw");
    println!(
        "{} cases in {} locations, {took:.1?}: {outcomes:?}; {calls} calls, {spared} spared after \
         refused credentials; 0 differences",
        cases / THREADS * THREADS,
        policies.len(),
    );
}
