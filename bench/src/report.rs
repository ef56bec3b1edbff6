//! The results as Markdown with charts beside it: in `build/bench`, or between two marks of
//! `docs/results.md` and of the README.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::settings::workspace;

const BEGIN: &str = "<!-- make bench: begin -->";
const END: &str = "<!-- make bench: end -->";

/// What was measured so far.
#[derive(Default)]
pub(crate) struct Report {
    text: String,
    charts: Vec<(&'static str, String)>,
    /// The short table of the README.
    short: Vec<Vec<String>>,
}

/// The columns of the README's table.
const SHORT: [&str; 5] = [
    "gateway",
    "one token",
    "5,000 tokens",
    "every token new",
    "calls for 500 requests at once of a new token",
];

/// One of them.
#[derive(Clone, Copy)]
pub(crate) enum Short {
    OneToken = 1,
    ManyTokens,
    NewTokens,
    Calls,
}

impl Report {
    /// Adds a paragraph.
    pub(crate) fn say(&mut self, text: &str) {
        println!("{text}\n");
        let _ = writeln!(self.text, "{text}\n");
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.say(&table(head, rows));
    }

    /// Adds a chart, `img/NAME.svg`.
    pub(crate) fn chart(&mut self, name: &'static str, title: &str, svg: String) {
        let _ = writeln!(self.text, "![{title}](img/{name}.svg)\n");
        self.charts.push((name, svg));
    }

    /// Fills a cell of a gateway's row of the README's table.
    pub(crate) fn short(&mut self, gateway: &str, column: Short, cell: String) {
        let row = match self.short.iter().position(|row| row[0] == gateway) {
            Some(row) => row,
            None => {
                let mut row = vec!["–".to_owned(); SHORT.len()];
                gateway.clone_into(&mut row[0]);
                self.short.push(row);
                self.short.len() - 1
            }
        };
        self.short[row][column as usize] = cell;
    }

    /// Keeps it for whoever has measured.
    pub(crate) fn keep(&self) -> io::Result<PathBuf> {
        let directory = workspace().join("build/bench");
        self.draw(&directory)?;
        let path = directory.join("results.md");
        fs::write(&path, &self.text)?;
        Ok(path)
    }

    /// Puts it in place of what the documentation and the README have.
    pub(crate) fn publish(&self) -> io::Result<PathBuf> {
        let docs = workspace().join("docs");
        self.draw(&docs)?;
        between_marks(&workspace().join("README.md"), &table(&SHORT, &self.short))?;
        let path = docs.join("results.md");
        between_marks(&path, self.text.trim_end())?;
        Ok(path)
    }

    fn draw(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory.join("img"))?;
        for (name, svg) in &self.charts {
            fs::write(directory.join(format!("img/{name}.svg")), svg)?;
        }
        Ok(())
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut table = line(head.to_vec());
    // Numbers stand at the right; the first column is a name.
    table +=
        &line(head.iter().enumerate().map(|(n, _)| if n == 0 { "---" } else { "--:" }).collect());
    for row in rows {
        table += &line(row.iter().map(String::as_str).collect());
    }
    table.trim_end().to_owned()
}

fn between_marks(path: &Path, text: &str) -> io::Result<()> {
    let old = fs::read_to_string(path)?;
    let Some((before, after)) = around_marks(&old) else {
        return Err(io::Error::other(format!("{} has no marks {BEGIN}", path.display())));
    };
    fs::write(path, format!("{before}{BEGIN}\n\n{text}\n\n{END}{after}"))
}

/// What stands before and after the marks.
fn around_marks(text: &str) -> Option<(&str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> String {
        fs::read_to_string(workspace().join(name)).expect("a page of the documentation")
    }

    /// The lines between the marks.
    fn measured(page: &str) -> &str {
        let (before, after) = around_marks(page).expect("the marks");
        &page[before.len()..page.len() - after.len()]
    }

    /// The cells of a table's row.
    fn cells(row: &str) -> Vec<&str> {
        row.trim_matches('|').split('|').map(str::trim).collect()
    }

    #[test]
    fn the_readme_says_what_the_results_say() {
        let (readme, results) = (page("README.md"), page("docs/results.md"));
        let results = measured(&results);
        let rows = |section: &str| -> Vec<Vec<&str>> {
            let (_, rest) = results.split_once(section).expect("the section");
            let section = rest.split("\n### ").next().unwrap_or(rest);
            section.lines().filter(|line| line.starts_with("| ")).map(cells).collect()
        };
        let (warm, cold) = (rows("### Warm cache"), rows("### Cold cache"));
        let burst = rows("### Many at once");
        let find = |rows: &[Vec<&str>], gateway: &str, column: usize| {
            let row = rows.iter().find(|row| row[0] == gateway);
            row.and_then(|row| row.get(column)).map_or("", |cell| cell).to_owned()
        };
        let mut compared = 0;
        for row in measured(&readme).lines().filter(|line| line.starts_with("| ")).skip(2) {
            let row = cells(row);
            let long = [
                find(&warm, row[0], 1),
                find(&warm, row[0], 2),
                find(&cold, row[0], 1),
                find(&burst, row[0], 1),
            ];
            for (short, long) in row[1..].iter().zip(&long) {
                let same = match *short {
                    "–" => long.is_empty(),
                    short => long == short || long.contains(&format!("({short}, ")),
                };
                assert!(same, "{} in the README: {short}, in the results: {long}", row[0]);
                compared += 1;
            }
        }
        assert!(compared >= 4 * SHORT.len(), "only {compared} cells were compared");
    }
}
