//! Load: `wrk` for what a request costs, clients of our own for what needs a schedule.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::process::Command;
use std::sync::{Barrier, LazyLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::gateway::{Gateway, Kind};

/// Which tokens a load presents.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tokens {
    /// Any of so many, at random.
    Of(u32),
    /// Each one once; the number keeps one run's from another's.
    Fresh(u32),
}

/// What parts this run's tokens from an earlier one's, which a gateway of the user's own may know.
static RUN: LazyLock<u16> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() as u16)
});

/// The n-th token: 36 characters, as most servers' opaque tokens have.
pub(crate) fn token(n: u32) -> String {
    format!("{n:08x}-{:04x}-4c6e-9a2d-{:012x}", *RUN, u64::from(n) * 7919)
}

/// What a run of `wrk` has shown.
pub(crate) struct Run {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    /// CPU of the gateway's worker per request, in microseconds.
    pub(crate) cpu_us: f64,
    /// What half of the requests took at most, in milliseconds.
    pub(crate) half_ms: f64,
}

/// The wrk scripts, in a directory of their own.
pub(crate) struct Wrk {
    directory: TempDir,
    jwt: String,
}

impl Wrk {
    pub(crate) fn new(jwt: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self { directory, jwt: jwt.to_owned() })
    }

    /// Loads a gateway for a while over `connections` connections.
    pub(crate) fn run(
        &self,
        gateway: &Gateway,
        tokens: Tokens,
        connections: usize,
        duration: Duration,
    ) -> Result<Run, String> {
        let script = self.directory.path().join("load.lua");
        fs::write(&script, self.script(gateway, tokens)).map_err(|error| error.to_string())?;
        let before = gateway.cpu_us();
        let output = Command::new("wrk")
            .args([
                "-t1",
                &format!("-c{connections}"),
                &format!("-d{:.0}s", duration.as_secs_f64().ceil()),
            ])
            .args(["--timeout", "30s", "-s"])
            .arg(&script)
            .arg(&gateway.url)
            .output()
            .map_err(|error| format!("wrk: {error}"))?;
        let cpu = gateway.cpu_us() - before;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<f64>().ok()
        };
        let (Some(requests), Some(bad), Some(us), Some(half)) =
            (field("requests:"), field("bad:"), field("us:"), field("half:"))
        else {
            return Err(format!("{}: wrk says {text}", gateway.name));
        };
        if bad > 0.0 || requests == 0.0 {
            return Err(format!("{}: {bad} of {requests} requests failed", gateway.name));
        }
        let (seconds, cpu_us, half_ms) = (us / 1e6, cpu / requests, half / 1e3);
        Ok(Run { requests, seconds, cpu_us, half_ms })
    }

    fn script(&self, gateway: &Gateway, tokens: Tokens) -> String {
        // As `token` writes them.
        let format = format!(
            "local function value(k) return string.format(\
             \"Bearer %08x-{:04x}-4c6e-9a2d-%012x\", k, k * 7919) end\n",
            *RUN
        );
        let done = "function done(summary, latency)\n\
             io.write(string.format(\"requests: %d\\nus: %d\\nhalf: %d\\nbad: %d\\n\", summary.requests,\n\
             summary.duration, latency:percentile(50), summary.errors.status + summary.errors.connect\n\
             + summary.errors.read + summary.errors.write + summary.errors.timeout))\n\
             end\n";
        let request = match tokens {
            _ if gateway.kind == Kind::Passes => format!(
                "local one = nil\n\
                 function init() one = wrk.format(\"GET\", nil, {{Authorization = \"Bearer {}\"}}) end\n\
                 function request() return one end\n",
                self.jwt
            ),
            // Made before the run where there is memory for it, so that wrk itself costs little.
            Tokens::Of(count) if count <= 10_000 => format!(
                "local all, random = {{}}, math.random\n\
                 function init()\n\
                 math.randomseed(os.time())\n\
                 for k = 1, {count} do\n\
                 all[k] = wrk.format(\"GET\", nil, {{Authorization = value(k - 1)}})\n\
                 end\n\
                 end\n\
                 function request() return all[random({count})] end\n"
            ),
            Tokens::Of(count) => format!(
                "local random = math.random\n\
                 function init() math.randomseed(os.time()) end\n\
                 function request()\n\
                 return wrk.format(\"GET\", nil, {{Authorization = value(random({count}) - 1)}})\n\
                 end\n"
            ),
            Tokens::Fresh(run) => format!(
                "local k = {run} * 1000000\n\
                 function request()\n\
                 k = k + 1\n\
                 return wrk.format(\"GET\", nil, {{Authorization = value(k)}})\n\
                 end\n"
            ),
        };
        format!("{format}{request}{done}")
    }
}

/// One kept-alive connection.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    /// A request up to the token.
    head: String,
}

impl Connection {
    pub(crate) fn open(gateway: &Gateway) -> Result<Self, String> {
        let (authority, path) = gateway.target();
        let io = |error: std::io::Error| format!("{}: {error}", gateway.name);
        let stream = TcpStream::connect(&authority).map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer ");
        Ok(Self { reader: BufReader::new(stream), head })
    }

    /// One request with this bearer token; anything but 200 is an error.
    pub(crate) fn get(&mut self, bearer: &str) -> Result<(), String> {
        let request = format!("{}{bearer}\r\n\r\n", self.head);
        let io = |error: std::io::Error| error.to_string();
        self.reader.get_mut().write_all(request.as_bytes()).map_err(io)?;
        let (mut length, mut line, mut status) = (0u64, String::new(), String::new());
        loop {
            line.clear();
            if self.reader.read_line(&mut line).map_err(io)? == 0 {
                return Err("the connection was closed".to_owned());
            }
            let text = line.trim();
            if status.is_empty() {
                text.clone_into(&mut status);
            } else if text.is_empty() {
                break;
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut self.reader.by_ref().take(length), &mut std::io::sink()).map_err(io)?;
        if status.contains(" 200 ") { Ok(()) } else { Err(status) }
    }
}

/// Presents each of `count` tokens once, so that all are cached.
pub(crate) fn preload(gateway: &Gateway, count: u32) -> Result<(), String> {
    present(gateway, 0..count)
}

/// Presents each of these tokens once.
pub(crate) fn present(gateway: &Gateway, tokens: Range<u32>) -> Result<(), String> {
    const CONNECTIONS: u32 = 16;
    let load = |nth: u32| {
        let mut connection = Connection::open(gateway)?;
        let own = (tokens.start + nth..tokens.end).step_by(CONNECTIONS as usize);
        own.into_iter().try_for_each(|n| connection.get(&token(n)))
    };
    let load = &load;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|nth| scope.spawn(move || load(nth))).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a panic".to_owned())?)
    })
}

/// Milliseconds each of `count` requests took that presented one token at once.
pub(crate) fn burst(gateway: &Gateway, count: usize, bearer: &str) -> Result<Vec<f64>, String> {
    let barrier = Barrier::new(count);
    let one = || {
        let connection = Connection::open(gateway);
        barrier.wait();
        let begun = Instant::now();
        connection?.get(bearer)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, one))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .map_err(|error| error.to_string())?
                    .join()
                    .map_err(|_| "a panic".to_owned())?
            })
            .collect()
    })
}

/// Milliseconds of requests sent at a fixed rate (each second) over `connections` connections,
/// counted from when each was due, so that a slow answer does not hide those behind it.
pub(crate) fn paced(
    gateway: &Gateway,
    bearer: &str,
    rate: f64,
    connections: u32,
    duration: Duration,
) -> Result<Vec<f64>, String> {
    let begun = Instant::now() + Duration::from_millis(50);
    let gap = f64::from(connections) / rate;
    let one = |index: u32| {
        let mut connection = Connection::open(gateway)?;
        let mut latencies = Vec::new();
        for n in 0.. {
            let offset = gap * (f64::from(n) + f64::from(index) / f64::from(connections));
            if offset > duration.as_secs_f64() {
                break;
            }
            let due = begun + Duration::from_secs_f64(offset);
            if let Some(early) = due.checked_duration_since(Instant::now()) {
                thread::sleep(early);
            }
            connection.get(bearer)?;
            latencies.push(due.elapsed().as_secs_f64() * 1e3);
        }
        Ok::<_, String>(latencies)
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..connections).map(|index| scope.spawn(move || one(index))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a panic".to_owned())??);
        }
        Ok(all)
    })
}
