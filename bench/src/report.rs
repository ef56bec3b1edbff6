//! The results as Markdown, between two marks of `docs/benchmarks.md`, and charts beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::settings::workspace;

const BEGIN: &str = "<!-- make bench: begin -->";
const END: &str = "<!-- make bench: end -->";

/// What was measured so far.
#[derive(Default)]
pub(crate) struct Report {
    text: String,
    charts: Vec<(&'static str, String)>,
}

impl Report {
    /// Adds a paragraph.
    pub(crate) fn say(&mut self, text: &str) {
        println!("{text}\n");
        let _ = writeln!(self.text, "{text}\n");
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let mut table = line(head.to_vec());
        // Numbers stand at the right; the first column is a name.
        table += &line(
            head.iter().enumerate().map(|(n, _)| if n == 0 { "---" } else { "--:" }).collect(),
        );
        for row in rows {
            table += &line(row.iter().map(String::as_str).collect());
        }
        self.say(table.trim_end());
    }

    /// Adds a chart, `docs/img/NAME.svg`.
    pub(crate) fn chart(&mut self, name: &'static str, title: &str, svg: String) {
        let _ = writeln!(self.text, "![{title}](img/{name}.svg)\n");
        self.charts.push((name, svg));
    }

    /// Writes all of it: in place of the last run's results, or behind what there is.
    pub(crate) fn write(&self) -> std::io::Result<PathBuf> {
        let docs = workspace().join("docs");
        fs::create_dir_all(docs.join("img"))?;
        for (name, svg) in &self.charts {
            fs::write(docs.join(format!("img/{name}.svg")), svg)?;
        }
        let path = docs.join("benchmarks.md");
        let old = fs::read_to_string(&path).unwrap_or_else(|_| "# Benchmarks\n\n".to_owned());
        let (before, after) = match (old.find(BEGIN), old.find(END)) {
            (Some(begin), Some(end)) if begin < end => (&old[..begin], &old[end + END.len()..]),
            _ => (&old[..], "\n"),
        };
        let text = self.text.trim_end();
        fs::write(&path, format!("{before}{BEGIN}\n\n{text}\n\n{END}{after}"))?;
        Ok(path)
    }
}
