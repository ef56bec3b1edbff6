//! What an error log tells at the end of a test.

/// Whether the module wrote a line.
pub(super) fn is_own(line: &str) -> bool {
    line.contains("phantom token")
}

/// What a master writes that ends: it kills workers that take longer than a second or two.
const AT_THE_END: [&str; 2] = ["exited on signal 9", "was locked by"];

/// The lines that must not be there, each with what is wrong with it. NGINX was told to end when the
/// log had `told_at` bytes.
pub(super) fn complaints(
    log: &str,
    told_at: usize,
    allowed: &[String],
    secrets: &[String],
) -> Vec<String> {
    let is_allowed = |line: &str, ends: bool| {
        allowed.iter().any(|text| line.contains(text.as_str()))
            || ends && AT_THE_END.iter().any(|text| line.contains(text))
    };
    let mut complaints = Vec::new();
    let mut length = 0;
    for line in log.split_inclusive('\n') {
        let ends = length >= told_at;
        length += line.len();
        let line = line.trim_end_matches('\n');
        if is_own(line) && secrets.iter().any(|secret| line.contains(secret.as_str())) {
            complaints.push(format!("a secret: {line}"));
        } else if !is_allowed(line, ends)
            && let Some(fault) = fault(line)
        {
            complaints.push(format!("{fault}: {line}"));
        }
    }
    complaints
}

fn fault(line: &str) -> Option<&'static str> {
    // NGINX's own debug lines hold what clients sent.
    if line.contains(" [debug] ") {
        return None;
    }
    let faults = [
        (" [alert] ", "an alert"),
        (" [emerg] ", "an emergency"),
        ("exited on signal", "a process that died"),
        ("panicked", "a panic"),
        ("Sanitizer", "a sanitizer's report"),
    ];
    let own_crit = is_own(line) && line.contains(" [crit] ");
    let found = faults.iter().find(|(text, _)| line.contains(text)).map(|(_, fault)| *fault);
    found.or(own_crit.then_some("a critical line of the module"))
}

/// The last lines of a log.
pub(super) fn tail(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "2026/01/01 00:00:00 [info] 1#1: *1 phantom token: inactive";

    fn count(log: &str) -> usize {
        let (allowed, secrets) = (["was locked by".to_owned()], ["s3cret".to_owned()]);
        complaints(log, usize::MAX, &allowed, &secrets).len()
    }

    #[test]
    fn a_worker_that_is_killed_at_the_end_is_no_fault() {
        let killed = "x [alert] 1#1: worker process 2 exited on signal 9\n";
        let crashed = "x [alert] 1#1: worker process 2 exited on signal 11\n";
        let told_at = |log: &str, at: usize| complaints(log, at, &[], &[]).len();
        assert_eq!(told_at(killed, 0), 0);
        assert_eq!(told_at(killed, killed.len()), 1);
        assert_eq!(told_at(&[killed, killed].concat(), killed.len()), 1);
        assert_eq!(told_at(crashed, 0), 1);
    }

    #[test]
    fn faults_and_secrets_are_found() {
        assert_eq!(count(OWN), 0);
        assert_eq!(count(&format!("{OWN} s3cret")), 1);
        assert_eq!(count(&OWN.replace("info", "crit")), 1);
        for text in ["[alert] 1#1: open socket", "[emerg] 1#1: no", "[info] x panicked at y"] {
            assert_eq!(count(&format!("2026/01/01 00:00:00 {text}")), 1, "{text}");
        }
        assert_eq!(count("2026/01/01 00:00:00 [alert] 1#1: zone was locked by 7"), 0);
        assert_eq!(count("x [debug] 1#1: http header: \"Authorization: Bearer s3cret\""), 0);
        assert_eq!(count("x [debug] 1#1: *1 phantom token: s3cret"), 1);
    }
}
