//! Charts as SVG: no scripts, no fonts of their own, and a ground of their own, since nobody knows
//! whether the page around them is light or dark.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
/// Between the border and what is drawn.
const MARGIN: f64 = 16.0;
/// What a letter takes at most, on the average of a text, in the widest of the usual fonts.
const LETTER: f64 = 7.6;
/// How many lines a chart can have.
const COLOURS: usize = 4;

const STYLE: &str = "<style>\n\
    svg { font: 13px system-ui, sans-serif; --ground: #fff; --edge: #d0d7de; --ink: #1f2328; \
    --quiet: #59636e; --grid: #e4e8ec; --other: #8c96a3; --c0: #2563eb; --c1: #b45309; --c2: #047857; --c3: #b91c1c }\n\
    @media (prefers-color-scheme: dark) { svg { --ground: #151b23; --edge: #3d444d; --ink: #f0f6fc; \
    --quiet: #9198a1; --grid: #2a313b; --other: #717b88; --c0: #6ea8fe; --c1: #f0a04b; --c2: #4ad19b; --c3: #ff8f87 } }\n\
    text { fill: var(--ink) } .title { font-size: 15px; font-weight: 600 } .quiet { fill: var(--quiet) }\n\
    .end { text-anchor: end } .middle { text-anchor: middle }\n\
    .ground { fill: var(--ground); stroke: var(--edge) } .grid { stroke: var(--grid) } .axis { stroke: var(--quiet) }\n\
    .mark { stroke: var(--quiet); stroke-dasharray: 4 3 } .other { fill: var(--other) } .line { fill: none; stroke-width: 2 }\n\
    </style>\n";

fn open(height: f64, title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{}</title>\n{STYLE}\
         <rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n",
        escaped(title),
        WIDTH - 1.0,
        height - 1.0
    );
    text(&mut svg, MARGIN, 28.0, "title", title);
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>", escaped(text));
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// What a text takes at most.
fn width(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}

/// Horizontal bars, one for each name, with its value at the right border; with a line at `mark`,
/// where it is not 0.
pub(crate) fn bars(title: &str, mark: f64, rows: &[(String, f64)]) -> String {
    let height = 60.0 + 26.0 * rows.len() as f64;
    let longest = rows.iter().map(|(name, _)| width(name)).fold(0.0, f64::max);
    let (left, right) = (MARGIN + longest + 8.0, WIDTH - MARGIN - width("00.00") - 8.0);
    let most = rows.iter().map(|row| row.1).fold(mark, f64::max).max(1e-9);
    let mut svg = open(height, title);
    for (n, (name, value)) in rows.iter().enumerate() {
        let y = 44.0 + 26.0 * n as f64;
        let length = (right - left) * value / most;
        let ours = name.starts_with("phantom token");
        let fill = if ours { "style=\"fill: var(--c0)\"" } else { "class=\"other\"" };
        text(&mut svg, left - 8.0, y + 14.0, "end", name);
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" {fill}/>"
        );
        text(&mut svg, WIDTH - MARGIN, y + 14.0, "end", &format!("{value:.2}"));
    }
    if mark > 0.0 {
        let x = left + (right - left) * mark / most;
        line(&mut svg, "mark", (x, 40.0), (x, height - 16.0));
    }
    svg + "</svg>\n"
}

/// Some lines over places that are evenly spaced.
pub(crate) struct Lines<'a> {
    pub(crate) title: &'a str,
    /// What is counted upwards.
    pub(crate) y_name: &'a str,
    /// What the places are.
    pub(crate) x_name: &'a str,
    pub(crate) places: &'a [String],
    /// Each line's name and its value at each place.
    pub(crate) series: &'a [(String, Vec<f64>)],
}

impl Lines<'_> {
    pub(crate) fn svg(&self) -> String {
        let height = 352.0;
        let (right, top, bottom) = (WIDTH - MARGIN, 78.0, height - 56.0);
        let most = self.series.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
        let step = round_step(most);
        let steps = (most / step).ceil().max(1.0);
        let ticks: Vec<_> = (0..=steps as u32).map(|n| step * f64::from(n)).collect();
        let widest = ticks.iter().map(|tick| width(&thousands(*tick))).fold(0.0, f64::max);
        let left = MARGIN + widest + 8.0;
        let x_of =
            |place: usize| left + (right - left) * (place as f64 + 0.5) / self.places.len() as f64;
        let y_of = |value: f64| bottom - (bottom - top) * value / (step * steps);

        let mut svg = open(height, self.title);
        text(&mut svg, MARGIN, 54.0, "quiet", self.y_name);
        for value in ticks {
            let class = if value > 0.0 { "grid" } else { "axis" };
            line(&mut svg, class, (left, y_of(value)), (right, y_of(value)));
            text(&mut svg, left - 8.0, y_of(value) + 4.5, "quiet end", &thousands(value));
        }
        for (n, place) in self.places.iter().enumerate() {
            text(&mut svg, x_of(n), bottom + 20.0, "quiet middle", place);
        }
        text(&mut svg, f64::midpoint(left, right), bottom + 42.0, "quiet middle", self.x_name);
        let mut legend = MARGIN + width(self.y_name) + 32.0;
        for (n, (name, values)) in self.series.iter().enumerate() {
            let colour = format!("var(--c{})", n % COLOURS);
            let points: Vec<_> =
                values.iter().enumerate().map(|(n, y)| (x_of(n), y_of(*y))).collect();
            let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                svg,
                "<polyline class=\"line\" style=\"stroke: {colour}\" points=\"{}\"/>",
                path.join(" ")
            );
            for (x, y) in points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" style=\"fill: {colour}\"/>"
                );
            }
            let _ = writeln!(
                svg,
                "<rect x=\"{legend:.1}\" y=\"47\" width=\"14\" height=\"4\" style=\"fill: {colour}\"/>"
            );
            text(&mut svg, legend + 20.0, 54.0, "", name);
            legend += width(name) + 44.0;
        }
        svg + "</svg>\n"
    }
}

/// The next of 1, 2, 5, 10, … of which about five make up `most`.
fn round_step(most: f64) -> f64 {
    let rough = (most / 5.0).max(1e-9);
    let ten = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|step| step * ten)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * ten)
}

/// A number with its thousands set apart.
fn thousands(value: f64) -> String {
    let mut text = format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    let whole = text.find('.').unwrap_or(text.len());
    for at in (1..whole).rev().filter(|at| (whole - at) % 3 == 0) {
        text.insert(at, ',');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where texts begin and end at most, each with what it says.
    fn texts(svg: &str) -> Vec<(f64, f64, f64, String)> {
        let number = |line: &str, name: &str| -> f64 {
            let (_, rest) = line.split_once(&format!(" {name}=\"")).expect(name);
            rest.split('"').next().and_then(|text| text.parse().ok()).expect("a number")
        };
        svg.lines()
            .filter(|line| line.starts_with("<text"))
            .map(|line| {
                let said = line.split(['<', '>']).nth(2).expect("a text").to_owned();
                let (x, y) = (number(line, "x"), number(line, "y"));
                let before = match line {
                    line if line.contains("end\"") => 1.0,
                    line if line.contains("middle\"") => 0.5,
                    _ => 0.0,
                };
                let begin = x - before * width(&said);
                (begin, begin + width(&said), y, said)
            })
            .collect()
    }

    /// Asserts that no text is cut off, and none touches another of its row.
    #[track_caller]
    fn assert_apart(svg: &str) {
        let texts = texts(svg);
        for (n, (begin, end, y, said)) in texts.iter().enumerate() {
            assert!(
                *begin >= MARGIN - 1.0 && *end <= WIDTH - 1.0,
                "{said:?} is cut off: {begin} to {end}"
            );
            for (other_begin, other_end, other_y, other) in &texts[n + 1..] {
                let apart = (y - other_y).abs() >= 12.0 || begin >= other_end || other_begin >= end;
                assert!(apart, "{said:?} touches {other:?}");
            }
        }
    }

    #[test]
    fn bars_leave_room_for_names_and_values() {
        let rows = [
            ("plain".to_owned(), 1.0),
            ("plain, client_header_buffer_size 4k".to_owned(), 0.91),
            ("phantom token, https & more".to_owned(), 5.02),
        ];
        let svg = bars("CPU < before", 1.0, &rows);
        assert_apart(&svg);
        assert!(svg.contains("CPU &lt; before") && svg.contains("https &amp; more"));
        // The mark is left of where values stand.
        let mark = svg.lines().find(|line| line.contains("\"mark\"")).expect("a mark");
        let x: f64 = mark.split('"').nth(3).and_then(|x| x.parse().ok()).expect("x");
        let values = texts(&svg).into_iter().filter(|(.., said)| said.parse::<f64>().is_ok());
        assert!(values.map(|(begin, ..)| begin).all(|begin| begin > x + 8.0));
    }

    #[test]
    fn ticks_are_round_and_names_stand_apart() {
        for (most, expected) in [
            (17_447.0, &["0", "5,000", "10,000", "15,000", "20,000"][..]),
            (1_072.0, &["0", "500", "1,000", "1,500"]),
            (853.0, &["0", "200", "400", "600", "800", "1,000"]),
            (0.9, &["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ] {
            let series = [
                ("look-ups alone".to_owned(), vec![most / 2.0, most]),
                ("one in ten stores".to_owned(), vec![most / 3.0, most / 4.0]),
            ];
            let svg = Lines {
                title: "Time",
                y_name: "nanoseconds",
                x_name: "processes",
                places: &["1".to_owned(), "16".to_owned()],
                series: &series,
            }
            .svg();
            assert_apart(&svg);
            let ticks: Vec<_> = svg.lines().filter(|line| line.contains("\"quiet end\"")).collect();
            let ticks: Vec<_> =
                ticks.iter().filter_map(|line| line.split(['<', '>']).nth(2)).collect();
            assert_eq!(ticks, expected);
        }
    }
}
