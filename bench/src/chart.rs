//! Charts as SVG: no fonts, no scripts, readable on light and dark pages.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const INK: &str = "#6b7280";
const COLOURS: [&str; 6] = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2"];

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"{INK}\" role=\"img\">\n\
         <title>{}</title>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{0}</text>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Horizontal bars, one for each name; with a line at `mark`, where it is not 0.
pub(crate) fn bars(title: &str, unit: &str, mark: f64, rows: &[(String, f64)]) -> String {
    let height = 52.0 + 26.0 * rows.len() as f64;
    let (left, room) = (230.0, WIDTH - 320.0);
    let most = rows.iter().map(|row| row.1).fold(mark, f64::max).max(1e-9);
    let mut svg = open(height, title);
    for (n, (name, value)) in rows.iter().enumerate() {
        let y = 40.0 + 26.0 * n as f64;
        let length = room * value / most;
        let colour = COLOURS[usize::from(name.starts_with("phantom token"))];
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{value:.2}{unit}</text>\n",
            left - 8.0,
            y + 14.0,
            escaped(name),
            left + length + 6.0,
            y + 14.0
        );
    }
    if mark > 0.0 {
        let x = left + room * mark / most;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"34\" y2=\"{}\" stroke=\"{INK}\" stroke-dasharray=\"4 3\"/>",
            height - 12.0
        );
    }
    svg + "</svg>\n"
}

/// One line of a chart: its name and its points.
pub(crate) type Series = (String, Vec<(f64, f64)>);

/// Lines over an axis whose steps are the points' own values, evenly spaced, named by `label`.
pub(crate) fn lines(
    title: &str,
    y_name: &str,
    label: impl Fn(f64) -> String,
    series: &[Series],
) -> String {
    let height = 340.0;
    let (left, right, top, bottom) = (70.0, WIDTH - 20.0, 64.0, height - 40.0);
    let mut steps: Vec<f64> =
        series.iter().flat_map(|(_, points)| points.iter().map(|point| point.0)).collect();
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    let most = series
        .iter()
        .flat_map(|(_, points)| points.iter().map(|point| point.1))
        .fold(1e-9, f64::max)
        * 1.1;
    let x_of = |x: f64| {
        let place = steps.iter().position(|step| *step == x).unwrap_or(0) as f64;
        left + (right - left) * (place + 0.5) / steps.len() as f64
    };
    let y_of = |y: f64| bottom - (bottom - top) * y / most;
    let mut svg = open(height, title);
    let _ = writeln!(svg, "<text x=\"12\" y=\"42\">{}</text>", escaped(y_name));
    for n in 0..=4 {
        let value = most * f64::from(n) / 4.0;
        let y = y_of(value);
        let _ = write!(
            svg,
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.3\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>\n",
            left - 6.0,
            y + 4.0
        );
    }
    for step in &steps {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x_of(*step),
            bottom + 20.0,
            escaped(&label(*step))
        );
    }
    for (n, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x_of(*x),
                y_of(*y)
            );
        }
        let x = left + 160.0 * n as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"48\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"54\">{}</text>",
            x + 18.0,
            escaped(name)
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_marks_are_drawn() {
        let svg = bars("a < b", " us", 1.0, &[("x & y".to_owned(), 2.0)]);
        assert!(svg.contains("a &lt; b") && svg.contains("x &amp; y") && svg.contains("<line"));
        let svg = lines("t", "ns", |x| x.to_string(), &[("s".to_owned(), vec![(1.0, 2.0)])]);
        assert!(svg.contains("polyline") && svg.ends_with("</svg>\n"));
    }
}
