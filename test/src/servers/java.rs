//! What servers written in Java need of the machine.

use std::process::Command;

use super::has;

/// The oldest Java they run on.
const JAVA: u32 = 17;

/// What is missing: a JDK that is not too old, or Maven.
pub(super) fn lacks() -> Option<String> {
    let told = Command::new("java").arg("-version").output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let new = told.is_ok_and(|told| major(&told).is_some_and(|major| major >= JAVA));
    let lacking = [(new && has("jar"), "a JDK 17 or later"), (has("mvn"), "Maven")];
    let lacking: Vec<_> = lacking.iter().filter(|(there, _)| !there).map(|(_, it)| *it).collect();
    (!lacking.is_empty()).then(|| format!("needs {}", lacking.join(" and ")))
}

/// The first number of the version that `java -version` says; Java 8 calls itself 1.8.
fn major(told: &str) -> Option<u32> {
    let version = told.split('"').nth(1)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_java_is_read() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK …"), Some(17));
        assert_eq!(major("openjdk version \"25\" 2025-09-16"), Some(25));
        assert_eq!(major("java version \"1.8.0_401\""), Some(1));
        assert_eq!(major("bash: java: command not found"), None);
    }
}
