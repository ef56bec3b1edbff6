//! Processes that share one arena, each mapping it where it likes, and are killed at any instant.
//!
//! `ARENA_STRESS_SECONDS` lets it run for longer.

use std::env;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::arena::{
    Arena, Call, Counts, Entry, Find, Joined, Kind, Left, Locked, Owner, Poll, Record, Seen, Taken,
};
use phantom_token_engine::lifetime::{Expiry, Life};
use phantom_token_engine::shared::lock;
use phantom_token_engine::shared::process::{self, Here};

use crate::block::{HASH_KEY, Random, inactive, key};

/// One page for the lock and the progress, then the arena.
const PAGE: usize = 4096;
const LEN: usize = 256 * 1024;
const TOKENS: u64 = 400;

const FILE: &str = "ARENA_STRESS_FILE";
const SLOT: &str = "ARENA_STRESS_SLOT";

/// The shared file, mapped.
struct Shared {
    base: NonNull<u8>,
    _file: File,
}

impl Shared {
    fn map(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        file.set_len((PAGE + LEN) as u64).unwrap();
        // SAFETY: a new mapping of a file of that length, at an address the system chooses.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE + LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED);
        Self { base: NonNull::new(base.cast()).unwrap(), _file: file }
    }

    fn lock(&self) -> &AtomicUsize {
        // SAFETY: the first word of the page, aligned, mapped as long as `self`, always atomic.
        unsafe { AtomicUsize::from_ptr(self.base.as_ptr().cast()) }
    }

    /// Operations done by all.
    fn progress(&self) -> &AtomicU64 {
        // SAFETY: as in `lock`, the second word.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(64).cast()) }
    }

    fn block(&self) -> NonNull<u8> {
        // SAFETY: inside the mapping.
        unsafe { self.base.add(PAGE) }
    }

    fn with<R>(&self, arena: &Arena, f: impl FnOnce(&mut Locked<'_>) -> R) -> Option<R> {
        let mut guard = lock::acquire(
            self.lock(),
            Here { pid: std::process::id(), now_ms: 0, alive: &process::runs },
        )?;
        Some(f(&mut arena.locked(&mut guard)))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and used through `self` only.
        unsafe { libc::munmap(self.base.as_ptr().cast(), PAGE + LEN) };
    }
}

/// A JWT that says whose it is in every byte: token, version, length.
fn jwt(token: u64, random: &mut Random) -> Vec<u8> {
    let longest = if random.below(8) == 0 { 6_000 } else { 600 };
    let len = 24 + random.below(longest) as usize;
    let version = random.next();
    let mut jwt: Vec<u8> = [token, version, len as u64].map(u64::to_le_bytes).concat();
    let mut body = Random(token ^ version);
    jwt.resize_with(len, || body.next() as u8);
    jwt
}

fn is_of(jwt: &[u8], token: u64) -> bool {
    let word = |n: usize| u64::from_le_bytes(jwt[8 * n..8 * n + 8].try_into().unwrap());
    let mut body = Random(word(0) ^ word(1));
    jwt.len() >= 24
        && word(0) == token
        && word(2) == jwt.len() as u64
        && jwt[24..].iter().all(|byte| *byte == body.next() as u8)
}

fn expiry(token: u64) -> Expiry {
    Expiry { exp: token, end_ms: token + 1 }
}

fn entry<'a>(token: u64, jwt: &'a [u8], scope: &'a [u8]) -> Entry<'a> {
    let times = Life { stored: token, exp: Some(expiry(token)), ..Life::default() };
    Entry {
        kind: Kind::Active,
        facts: Facts { life: times, jwt, scope, claims: b"", ..Facts::default() },
    }
}

fn right(token: u64, record: &Record) {
    if record.kind() == Kind::Active {
        assert!(is_of(record.facts().jwt, token), "another token's value");
        assert_eq!(record.facts().scope, token.to_string().as_bytes());
        assert_eq!(record.facts().life.exp, Some(expiry(token)));
    }
}

/// What a worker does all day.
fn work(shared: &Shared, slot: u8) -> ! {
    // SAFETY: the mapping lives as long as this process, and all use arenas and the one lock.
    let arena = unsafe { Arena::attach(shared.block(), LEN) }.unwrap();
    let me = Owner { pid: std::process::id(), slot };
    let mut random = Random(u64::from(me.pid));
    let mut record = Record::with_room(8_192);
    let mut followed = None;
    loop {
        let token = random.below(TOKENS);
        let (jwt, scope) = (jwt(token, &mut random), token.to_string());
        let entry = entry(token, &jwt, scope.as_bytes());
        let seen = Seen { purges: random.below(3) as u32, ..Seen::default() };
        let mine = Call { id: random.next(), owner: me, deadline: 1_000, seen };
        let (key, what, now) = (key(token), random.below(100), random.below(1_100));
        let done = shared.with(&arena, |arena| match what {
            0..40 => {
                if arena.find(&key, &mut record) == Find::Hit {
                    right(token, &record);
                }
            }
            40..60 => {
                arena.store(&key, &entry);
            }
            60..68 => {
                arena.store(&key, &inactive());
            }
            68..85 => match arena.join_or_lead(
                &key,
                &mine,
                Here { pid: mine.owner.pid, now_ms: now, alive: &process::exists },
            ) {
                Joined::Lead => followed = Some((token, mine.id, true)),
                Joined::Follow { flight, .. } => followed = Some((token, flight, false)),
                Joined::Full => {}
            },
            85..97 => {
                if let Some((token, flight, leads)) = followed {
                    if leads {
                        let scope = token.to_string();
                        let mut random = Random(flight);
                        let jwt = self::jwt(token, &mut random);
                        let entry = self::entry(token, &jwt, scope.as_bytes());
                        arena.answer(&self::key(token), flight, Left::Active(entry));
                        followed = None;
                    } else {
                        let poll = arena.poll(
                            &self::key(token),
                            flight,
                            &mine,
                            Here { pid: mine.owner.pid, now_ms: now, alive: &process::exists },
                            &mut record,
                        );
                        match poll {
                            Poll::Taken(Taken::Active) => right(token, &record),
                            Poll::Lead => followed = Some((token, mine.id, true)),
                            _ => {}
                        }
                    }
                }
            }
            97 => {
                arena.remove(&key);
            }
            98 => {
                arena.purge(&key.token);
            }
            _ if random.below(40) == 0 => arena.clear(),
            _ => {
                arena.touch(&key);
            }
        });
        if done.is_some() {
            shared.progress().fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
#[ignore = "a worker of the test beside it"]
fn worker() {
    let (Some(path), Some(slot)) = (env::var_os(FILE), env::var(SLOT).ok()) else {
        return;
    };
    work(&Shared::map(&PathBuf::from(path)), slot.parse().unwrap());
}

fn start(path: &Path, slot: u8) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "processes::worker", "--ignored", "--nocapture"])
        .env(FILE, path)
        .env(SLOT, slot.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn workers_killed_at_any_instant_leave_the_others_serving() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let shared = Shared::map(file.path());
    // SAFETY: the mapping outlives the arena, and nobody else has it yet.
    let arena = unsafe { Arena::create(shared.block(), LEN, HASH_KEY.0) }.unwrap();
    let mut workers: Vec<Child> = (0..3).map(|slot| start(file.path(), slot)).collect();

    let seconds = env::var("ARENA_STRESS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let begun = Instant::now();
    let mut random = Random(5);
    let (mut kills, mut in_lock) = (0, 0);
    // At least once somebody has to die in the middle of a change.
    while begun.elapsed() < Duration::from_secs(seconds)
        || arena.stats().resets == 0 && begun.elapsed() < Duration::from_secs(60)
    {
        let before = shared.progress().load(Ordering::Relaxed);
        let wanted = before + random.below(300) + 1;
        let patience = Instant::now();
        while shared.progress().load(Ordering::Relaxed) < wanted {
            assert!(patience.elapsed() < Duration::from_secs(30), "nobody gets on");
            std::thread::yield_now();
        }
        let at = random.below(3) as usize;
        let worker = &mut workers[at];
        worker.kill().unwrap();
        let pid = worker.id() as usize;
        let status = worker.wait().unwrap();
        // Anything but our own signal is a worker that found something wrong.
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
        in_lock += u32::from(shared.lock().load(Ordering::Relaxed) == pid);
        kills += 1;
        workers[at] = start(file.path(), at as u8);
    }
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let stats = arena.stats();
    println!("{kills} kills, {in_lock} with the lock held, {stats:?}");
    assert!(stats.resets > 0, "nobody died inside");
    let counts = shared.with(&arena, |arena| arena.check()).unwrap();
    assert!(counts.is_ok_and(|counts: Counts| counts.longest_chain < 64), "{counts:?}");
}
