//! A table as a bar chart: one group of bars per case, one bar per subject, on a logarithmic scale; an SVG without fonts or
//! scripts of its own.

use crate::report::{Table, number};
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const LABEL_WIDTH: f64 = 210.0;
const BAR_HEIGHT: f64 = 13.0;
const GROUP_GAP: f64 = 10.0;
const HEADER_HEIGHT: f64 = 44.0;
const LEGEND_HEIGHT: f64 = 17.0;
/// Room for the figure at the end of a bar.
const FIGURE_WIDTH: f64 = 80.0;
/// Colours by subject: ours in blues, peers in warm ones and greys.
const COLOURS: [&str; 8] = [
    "#1f6feb", "#79b8ff", "#0b3d91", "#5aa9a6", "#e36209", "#6a737d", "#b392f0", "#d1d5da",
];

/// The chart of `table`.
pub(crate) fn svg(table: &Table) -> String {
    let bars: usize = table.cases().len() * table.subjects().len();
    let bottom = HEADER_HEIGHT
        + LEGEND_HEIGHT * table.subjects().len() as f64
        + BAR_HEIGHT * bars as f64
        + GROUP_GAP * (table.cases().len() + 1) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {bottom}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{WIDTH}\" height=\"{bottom}\" fill=\"white\"/>\n"
    );
    let title = escaped(&table.title);
    let better = if table.is_rate {
        "longer is better"
    } else {
        "shorter is better"
    };
    let _ = writeln!(
        out,
        "<text x=\"8\" y=\"18\" font-size=\"14\" font-weight=\"bold\">{title}</text>"
    );
    let unit = escaped(table.unit);
    let _ = writeln!(out, "<text x=\"8\" y=\"34\">{unit}, logarithmic, {better}</text>");
    let mut y = HEADER_HEIGHT;
    for (place, subject) in table.subjects().iter().enumerate() {
        out += &bar(8.0, y + 2.0, 10.0, place);
        let _ = writeln!(
            out,
            "<text x=\"24\" y=\"{}\">{}</text>",
            y + 11.0,
            escaped(subject)
        );
        y += LEGEND_HEIGHT;
    }
    draw_groups(table, y + GROUP_GAP, &mut out);
    out + "</svg>\n"
}

fn draw_groups(table: &Table, mut y: f64, out: &mut String) {
    let values = || table.cases().iter().flat_map(|case| case.values.iter().flatten());
    // The shortest bar is a tenth of the smallest figure's decade above nothing.
    let least = values().copied().fold(f64::INFINITY, f64::min).log10().floor();
    let most = values().copied().fold(0.0, f64::max).log10();
    let scale = (WIDTH - LABEL_WIDTH - FIGURE_WIDTH) / (most - least).max(1.0);
    for case in table.cases() {
        let _ = writeln!(
            out,
            "<text x=\"8\" y=\"{}\">{}</text>",
            y + 10.0,
            escaped(&case.name)
        );
        for place in 0..table.subjects().len() {
            if let Some(value) = case.values.get(place).copied().flatten() {
                let width = ((value.log10() - least) * scale).max(1.0);
                *out += &bar(LABEL_WIDTH, y, width, place);
                let (x, y) = (LABEL_WIDTH + width + 4.0, y + 10.0);
                let _ = writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"10\">{}</text>",
                    number(value)
                );
            }
            y += BAR_HEIGHT;
        }
        y += GROUP_GAP;
    }
}

fn bar(x: f64, y: f64, width: f64, place: usize) -> String {
    let (height, colour) = (BAR_HEIGHT - 2.0, COLOURS[place % COLOURS.len()]);
    format!("<rect x=\"{x}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
