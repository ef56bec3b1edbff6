//! What an error log tells at the end of a test.

/// Whether the module wrote a line.
pub(super) fn is_own(line: &str) -> bool {
    line.contains("phantom token")
}

/// The lines that must not be there, each with what is wrong with it.
pub(super) fn complaints(log: &str, allowed: &[String], secrets: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for line in log.lines() {
        if is_own(line) && secrets.iter().any(|secret| line.contains(secret.as_str())) {
            complaints.push(format!("a secret: {line}"));
        } else if !allowed.iter().any(|text| line.contains(text.as_str()))
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
        complaints(log, &["was locked by".to_owned()], &["s3cret".to_owned()]).len()
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
