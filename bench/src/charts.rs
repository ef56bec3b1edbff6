//! The charts of a report. Each draws the table above its place, so that they can be drawn anew
//! from what was published.

use crate::chart::{Lines, bars};

/// A chart: the file's name, its title, what of the table it shows.
struct Chart {
    name: &'static str,
    title: &'static str,
    shows: Shows,
}

enum Shows {
    /// The ratios in a column, as bars.
    Ratios(usize),
    /// Columns as lines, each with its name.
    Columns { y_name: &'static str, x_name: &'static str, lines: &'static [(usize, &'static str)] },
}

const CHARTS: [Chart; 6] = [
    Chart {
        name: "warm-one",
        title: "CPU per request, one token, plain NGINX = 1",
        shows: Shows::Ratios(1),
    },
    Chart {
        name: "warm-many",
        title: "CPU per request, 5,000 tokens, plain NGINX = 1",
        shows: Shows::Ratios(2),
    },
    Chart { name: "cold", title: "CPU per miss, plain NGINX = 1", shows: Shows::Ratios(1) },
    Chart {
        name: "zone-size",
        title: "Time by size of the zone",
        shows: Shows::Columns {
            y_name: "nanoseconds",
            x_name: "size of the zone",
            lines: &[(4, "look-up"), (5, "insertion")],
        },
    },
    Chart {
        name: "zone-bytes",
        title: "Bytes of zone per token, by length of the JWT",
        shows: Shows::Columns {
            y_name: "bytes",
            x_name: "length of the JWT, bytes",
            lines: &[(2, "in the zone"), (0, "the JWT itself")],
        },
    },
    Chart {
        name: "zone-processes",
        title: "Nanoseconds per step, by processes that contend",
        shows: Shows::Columns {
            y_name: "nanoseconds",
            x_name: "processes",
            lines: &[(1, "look-ups alone"), (2, "one in ten stores")],
        },
    },
];

/// The place of a chart in a report.
pub(crate) fn place(name: &str) -> String {
    let title = CHARTS.iter().find(|chart| chart.name == name).map_or(name, |chart| chart.title);
    format!("![{title}](img/{name}.svg)")
}

/// Draws the charts that have their place in a report: name and SVG.
///
/// # Errors
/// Where the table above a place lacks what is to be shown.
pub(crate) fn drawn_from(report: &str) -> Result<Vec<(&'static str, String)>, String> {
    let mut drawn = Vec::new();
    for chart in &CHARTS {
        if let Some((above, _)) = report.split_once(&place(chart.name)) {
            let svg = chart.drawn_from(above);
            drawn.push((chart.name, svg.ok_or_else(|| format!("no table for {}", chart.name))?));
        }
    }
    Ok(drawn)
}

impl Chart {
    fn drawn_from(&self, above: &str) -> Option<String> {
        let lines: Vec<_> = above.lines().collect();
        let end = lines.iter().rposition(|line| line.starts_with('|'))?;
        let begin = lines[..end].iter().rposition(|line| !line.starts_with('|'))? + 1;
        // Behind the head and its rule.
        let rows: Vec<_> = lines.get(begin + 2..=end)?.iter().map(|row| cells(row)).collect();
        match self.shows {
            Shows::Ratios(column) => {
                let bar = |row: &Vec<&str>| {
                    let (_, ratio) = row.get(column)?.split_once('(')?;
                    Some((row.first()?.to_string(), number(ratio)?))
                };
                let rows = rows.iter().map(bar).collect::<Option<Vec<_>>>()?;
                Some(bars(self.title, 1.0, &rows))
            }
            Shows::Columns { y_name, x_name, lines } => {
                let first = |row: &Vec<&str>| Some(row.first()?.split(',').next()?.to_owned());
                let places = rows.iter().map(first).collect::<Option<Vec<_>>>()?;
                let column = |(column, name): &(usize, &str)| {
                    let values = rows.iter().map(|row| number(row.get(*column)?));
                    Some(((*name).to_owned(), values.collect::<Option<Vec<_>>>()?))
                };
                let series = lines.iter().map(column).collect::<Option<Vec<_>>>()?;
                let chart =
                    Lines { title: self.title, y_name, x_name, places: &places, series: &series };
                Some(chart.svg())
            }
        }
    }
}

/// The number with which a text begins.
fn number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The cells of a table's row.
pub(crate) fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::workspace;

    #[test]
    fn the_charts_show_what_the_results_say() {
        let docs = workspace().join("docs");
        let results = std::fs::read_to_string(docs.join("results.md")).expect("the results");
        let drawn = drawn_from(&results).expect("tables");
        assert_eq!(drawn.len(), CHARTS.len());
        for (name, svg) in drawn {
            let file = docs.join(format!("img/{name}.svg"));
            let there = std::fs::read_to_string(file).unwrap_or_default();
            assert!(there == svg, "docs/img/{name}.svg is another: run make charts");
        }
    }

    #[test]
    fn a_chart_draws_the_table_above_it() {
        let table = |ratio| {
            format!("| gateway | us |\n| --- | --: |\n| plain | 18.5 ({ratio}, 1 to 2) |\n")
        };
        let report = format!("{}\ntext\n\n{}\n{}\n", table("9.25"), table("1.75"), place("cold"));
        let drawn = drawn_from(&report).expect("a table");
        let [(name, svg)] = &drawn[..] else { panic!("{drawn:?}") };
        assert_eq!(*name, "cold");
        assert!(svg.contains(">1.75<") && !svg.contains("9.25"));
        let report = format!("no table\n\n{}\n", place("zone-size"));
        assert!(drawn_from(&report).is_err());
        let uneven = format!("\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n{}\n", place("zone-size"));
        assert!(drawn_from(&uneven).is_err(), "it has no fifth column");
    }
}
