//! The results as Markdown with charts beside it: in `build/bench`, or between two marks of
//! `docs/results.md` and of the README.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::charts;
use crate::settings::workspace;

const BEGIN: &str = "<!-- make bench: begin -->";
const END: &str = "<!-- make bench: end -->";

/// What was measured so far.
#[derive(Default)]
pub(crate) struct Report {
    text: String,
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

/// Its rows. The results have more, which need a page to explain them.
const SHORT_ROWS: [&str; 6] = [
    "plain",
    "phantom token",
    "phantom token, https",
    "auth_request + proxy_cache",
    "njs + proxy_cache",
    "Lua + shared dictionary",
];

/// One of the columns.
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

    /// Adds the chart `img/NAME.svg` of the table before it.
    pub(crate) fn chart(&mut self, name: &str) {
        let _ = writeln!(self.text, "{}\n", charts::place(name));
    }

    /// Fills a cell of a gateway's row of the README's table, which has not all of them.
    pub(crate) fn short(&mut self, gateway: &str, column: Short, cell: String) {
        if !SHORT_ROWS.contains(&gateway) {
            return;
        }
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
        fs::create_dir_all(&directory)?;
        let path = directory.join("results.md");
        fs::write(&path, &self.text)?;
        draw(&path)?;
        Ok(path)
    }

    /// Puts it in place of what the documentation and the README have.
    pub(crate) fn publish(&self) -> io::Result<PathBuf> {
        let rank = |row: &Vec<String>| SHORT_ROWS.iter().position(|name| *name == row[0]);
        let mut short = self.short.clone();
        short.sort_by_key(rank);
        between_marks(&workspace().join("README.md"), &table(&SHORT, &short))?;
        let path = published();
        between_marks(&path, self.text.trim_end())?;
        draw(&path)?;
        Ok(path)
    }
}

/// Where the results are published.
pub(crate) fn published() -> PathBuf {
    workspace().join("docs/results.md")
}

/// Draws the charts of a report that was written, beside it.
pub(crate) fn draw(report: &Path) -> io::Result<()> {
    let charts = charts::drawn_from(&fs::read_to_string(report)?).map_err(io::Error::other)?;
    let directory = report.with_file_name("img");
    fs::create_dir_all(&directory)?;
    for (name, svg) in charts {
        fs::write(directory.join(format!("{name}.svg")), svg)?;
    }
    Ok(())
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

    /// The rows of all tables of a section, or of a part of one.
    fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
        let (_, rest) = page.split_once(&format!("\n{heading}")).expect(heading);
        let section = rest.split("\n## ").next().unwrap_or(rest);
        let section = match heading.starts_with("### ") {
            true => section.split("\n### ").next().unwrap_or(section),
            false => section,
        };
        section.lines().filter(|line| line.starts_with("| ")).map(charts::cells).collect()
    }

    /// A gateway's row, or what else begins so.
    fn row<'a>(rows: &'a [Vec<&'a str>], name: &str) -> &'a [&'a str] {
        rows.iter().find(|row| row[0] == name).expect(name)
    }

    #[test]
    fn the_reasons_on_top_of_the_readme_are_measured() {
        let (readme, results) = (page("README.md"), page("docs/results.md"));
        let reason = |name: &str| {
            let (_, rest) = readme.split_once(&format!("\n- **{name}**")).expect(name);
            let text = rest.split("\n- ").next().and_then(|rest| rest.split("\n\n").next());
            text.expect("its text").split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let (short, cpu) = (rows(&readme, "## What it costs"), reason("CPU"));
        for (gateway, words) in [
            ("phantom token", "costs {} times what it costs plain NGINX"),
            ("Lua + shared dictionary", "A Lua program takes {},"),
            ("auth_request + proxy_cache", "`auth_request` with `proxy_cache` {},"),
            ("njs + proxy_cache", "njs with `proxy_cache` {}."),
        ] {
            let words = words.replace("{}", row(&short, gateway)[Short::ManyTokens as usize]);
            assert!(cpu.contains(&words), "{words}: {cpu}");
        }

        assert!(results.contains(
            "500 clients present one token nobody has seen, at once; the server answers in 200 ms."
        ));
        let (burst, calls) = (rows(&results, "### Many at once"), reason("Calls"));
        let after = |gateway: &str, column: usize| {
            row(&burst, gateway)[column].parse::<u32>().expect("milliseconds") - 200
        };
        let cached = ["auth_request + proxy_cache", "njs + proxy_cache"].map(|of| after(of, 3));
        for words in [
            format!("make {} call;", row(&burst, "phantom token")[1]),
            format!("answered {} ms after", after("phantom token", 4)),
            format!("Lua program makes {} calls", row(&burst, "Lua + shared dictionary")[1]),
            format!("half of the requests wait {} ms or more", cached[0].min(cached[1])),
        ] {
            assert!(calls.contains(&words), "{words}: {calls}");
        }

        let fleet = rows(&results, "## A fleet");
        let words = format!("500 purges within {} ms", row(&fleet, "heard by the other")[3]);
        assert!(results.contains("\n500 purges at one gateway"));
        assert!(reason("Revocation").contains(&words), "{words}");
    }

    #[test]
    fn the_readme_says_what_the_results_say() {
        let (readme, results) = (page("README.md"), page("docs/results.md"));
        let [warm, cold, burst] =
            ["### Warm cache", "### Cold cache", "### Many at once"].map(|of| rows(&results, of));
        let find = |rows: &[Vec<&str>], gateway: &str, column: usize| {
            let row = rows.iter().find(|row| row[0] == gateway);
            row.and_then(|row| row.get(column)).map_or("", |cell| cell).to_owned()
        };
        let mut compared = 0;
        for row in measured(&readme).lines().filter(|line| line.starts_with("| ")).skip(2) {
            let row = charts::cells(row);
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
