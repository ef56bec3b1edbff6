//! What came of all cases at all servers, as a table.

use std::fmt::Write as _;

use super::CASES;

/// A cell's longest text, in characters.
const LONGEST: usize = 120;

/// One server's column.
#[derive(Default)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) version: String,
    /// How long its cases took, and what comes before them.
    pub(super) seconds: f32,
    pub(super) install_seconds: f32,
    /// Cases, and what came of each.
    pub(super) outcomes: Vec<(&'static str, String)>,
    /// What was not as expected, a line each.
    pub(super) wrong: Vec<String>,
}

/// Tables of Markdown: what came of each case (rows) at each server (columns), then how long it took.
pub(super) fn table(columns: &[Column]) -> String {
    let mut text = String::new();
    row(&mut text, "case", columns, |column| &column.version);
    text.push_str(&format!("|{}\n", "---|".repeat(columns.len() + 1)));
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    for (name, _) in columns.iter().flat_map(|column| &column.outcomes) {
        if !cases.contains(name) {
            cases.push(name);
        }
    }
    for case in cases {
        row(&mut text, case, columns, |column| {
            let found = column.outcomes.iter().find(|(name, _)| *name == case);
            found.map_or("", |(_, outcome)| outcome)
        });
    }
    text.push_str("\n| server | installed in | cases took |\n|---|---|---|\n");
    for Column { version, install_seconds, seconds, .. } in columns {
        let _ = writeln!(text, "| {version} | {install_seconds:.1} s | {seconds:.0} s |");
    }
    text
}

fn row<'a>(
    text: &mut String,
    first: &str,
    columns: &'a [Column],
    cell: impl Fn(&'a Column) -> &'a str,
) {
    text.push_str(&format!("| {first} |"));
    for column in columns {
        // What a cell may not hold: a line's end, the mark of a cell's, and all that a panic says.
        let words = cell(column).split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = words.chars().take(LONGEST).collect();
        text.push_str(&format!(" {} |", short.replace('|', "\\|")));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_case_and_a_column_a_server() {
        let column = |name: &'static str, outcomes: &[(&'static str, &str)]| Column {
            name,
            version: format!("{name} 1"),
            outcomes: outcomes.iter().map(|&(case, got)| (case, got.to_owned())).collect(),
            ..Column::default()
        };
        let text = table(&[
            column("a", &[("active", "200"), ("of its own", "panic: a\n|b")]),
            column("b", &[("active", "500 answer")]),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "| case | a 1 | b 1 |");
        assert_eq!(lines[1], "|---|---|---|");
        assert_eq!(lines[2], "| active | 200 | 500 answer |");
        assert_eq!(lines[CASES.len() + 2], "| of its own | panic: a \\|b |  |");
        let long = table(&[column("a", &[("active", &"x".repeat(LONGEST + 9))])]);
        assert!(long.contains(&format!(" {} |", "x".repeat(LONGEST))), "{long}");
        assert_eq!(lines.len(), CASES.len() + 3 + 3 + 2);
    }
}
