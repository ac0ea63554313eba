//! Curves of learning as an SVG picture that is read on light and on dark pages.

use std::fmt::Write;

/// One set of pictures.
pub struct Chart {
    pub title: String,
    pub curves: Vec<Curve>,
}

/// Percent of the test pictures that are right, by epoch.
pub struct Curve {
    pub arm: String,
    pub points: Vec<f64>,
}

/// How an arm is drawn, and what it is called.
struct Style {
    arm: &'static str,
    label: &'static str,
    on_light: &'static str,
    on_dark: &'static str,
    width: f64,
    dashes: &'static str,
}

const fn style(arm: &'static str, label: &'static str, colours: [&'static str; 2], width: f64) -> Style {
    Style { arm, label, on_light: colours[0], on_dark: colours[1], width, dashes: "none" }
}

const fn dashed(arm: &'static str, label: &'static str, colours: [&'static str; 2], dashes: &'static str) -> Style {
    Style { dashes, ..style(arm, label, colours, 1.4) }
}

const STYLES: [Style; 11] = [
    style("f32", "f32", ["#111111", "#f0f0f0"], 2.6),
    style("int8", "eight bits, ours", ["#0b62d6", "#6cb0ff"], 2.6),
    style("octo", "Octo as its code does it", ["#b3127a", "#ff7ac6"], 1.8),
    style("uniform", "eight bits, no part of ours", ["#c26a00", "#ffb04d"], 1.8),
    dashed("no-gain", "ours without the gain", ["#c0392b", "#ff8a7a"], "6 3"),
    dashed("no-clip", "ours without the clip", ["#0d8fa3", "#56d6e8"], "6 3"),
    dashed("no-cut", "ours without the rate's cut", ["#6b8e23", "#b8d96b"], "6 3"),
    dashed("nearest", "ours, rounded to the nearest", ["#0f8a55", "#4fd39a"], "6 3"),
    dashed("per-tensor", "ours, a scale a tensor", ["#7a4fd0", "#b79bff"], "6 3"),
    dashed("f32-gain", "f32 with the gain", ["#111111", "#f0f0f0"], "2 3"),
    dashed("octo-zero-points", "Octo, zero points left in", ["#b3127a", "#ff7ac6"], "2 3"),
];

/// Of a chart, in units of the picture.
const SIZE: [f64; 2] = [330.0, 250.0];
const LEFT: f64 = 54.0;
const TOP: f64 = 32.0;
const GAP: f64 = 66.0;
/// Of a legend's column and row.
const LEGEND: [f64; 2] = [236.0, 20.0];
/// Percents that have a line; the first and the last are the ends of what is shown.
const TICKS: [f64; 6] = [90.0, 94.0, 96.0, 97.0, 98.0, 98.5];

/// Errors are drawn by their logarithm: at the end all arms lie within a percent.
fn height(percent: f64) -> f64 {
    let of = |percent: f64| -(100.0 - percent).max(0.01).ln();
    let [low, high] = [TICKS[0], TICKS[TICKS.len() - 1]].map(of);
    TOP + SIZE[1] * (1.0 - (of(percent) - low) / (high - low))
}

fn class(arm: &str) -> usize {
    STYLES.iter().position(|style| style.arm == arm).expect("a style for each arm")
}

pub fn draw(charts: &[Chart]) -> String {
    let width = (LEFT + charts.len() as f64 * (SIZE[0] + GAP)).max(LEFT + LEGEND[0]);
    let mut shown: Vec<usize> = charts.iter().flat_map(|c| &c.curves).map(|c| class(&c.arm)).collect();
    shown.sort_unstable();
    shown.dedup();
    let n_columns = ((width - LEFT) / LEGEND[0]) as usize;
    let bottom = TOP + SIZE[1] + 48.0;
    let all = bottom + shown.len().div_ceil(n_columns) as f64 * LEGEND[1];
    let mut svg =
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {all:.0}\" role=\"img\">\n");
    svg += "<title>Share of test pictures that are right, by epoch</title>\n";
    svg += &styles();
    for (i, chart) in charts.iter().enumerate() {
        draw_chart(&mut svg, chart, LEFT + i as f64 * (SIZE[0] + GAP), i);
    }
    for (i, class) in shown.into_iter().enumerate() {
        let (x, y) = (LEFT + (i % n_columns) as f64 * LEGEND[0], bottom + (i / n_columns) as f64 * LEGEND[1]);
        let _ = writeln!(svg, "<path class=\"l{class}\" d=\"M{x:.0} {:.0}h26\"/>", y - 4.0);
        let _ = writeln!(svg, "<text x=\"{:.0}\" y=\"{y:.0}\">{}</text>", x + 32.0, STYLES[class].label);
    }
    svg + "</svg>\n"
}

fn styles() -> String {
    let mut light =
        String::from("text{font:13px sans-serif;fill:#333}.t{font-weight:bold}.g{stroke:#ddd}path{fill:none}");
    let mut dark = String::from("text{fill:#ccc}.g{stroke:#444}");
    for (i, Style { on_light, on_dark, width, dashes, .. }) in STYLES.iter().enumerate() {
        let _ = write!(light, ".l{i}{{stroke:{on_light};stroke-width:{width};stroke-dasharray:{dashes}}}");
        let _ = write!(dark, ".l{i}{{stroke:{on_dark}}}");
    }
    format!("<style>{light}@media(prefers-color-scheme:dark){{{dark}}}</style>\n")
}

fn draw_chart(svg: &mut String, chart: &Chart, left: f64, index: usize) {
    let n = chart.curves.iter().map(|c| c.points.len()).max().unwrap_or(1).max(2);
    let x = |epoch: usize| left + SIZE[0] * (epoch as f64 - 1.0) / (n as f64 - 1.0);
    let [width, size] = SIZE;
    let _ = writeln!(svg, "<text class=\"t\" x=\"{left:.0}\" y=\"{:.0}\">{}</text>", TOP - 16.0, chart.title);
    for tick in TICKS {
        let (y, x) = (height(tick), left - 6.0);
        let _ = writeln!(svg, "<path class=\"g\" d=\"M{left:.0} {y:.1}h{width:.0}\"/>");
        let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{:.1}\" text-anchor=\"end\">{tick} %</text>", y + 4.0);
    }
    let bottom = TOP + size + 18.0;
    for epoch in [1, n.div_ceil(2), n] {
        let unit = if epoch == 1 { "epoch " } else { "" };
        let (x, anchor) = if epoch == 1 { (left, "start") } else { (x(epoch), "middle") };
        let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{bottom:.0}\" text-anchor=\"{anchor}\">{unit}{epoch}</text>");
    }
    let room = format!("x=\"{left:.0}\" y=\"{TOP:.0}\" width=\"{width:.0}\" height=\"{size:.0}\"");
    let _ = writeln!(svg, "<clipPath id=\"c{index}\"><rect {room}/></clipPath><g clip-path=\"url(#c{index})\">");
    // Those that come first in the legend lie above the others.
    let mut curves: Vec<(usize, &Curve)> = chart.curves.iter().map(|c| (class(&c.arm), c)).collect();
    curves.sort_by_key(|(class, _)| std::cmp::Reverse(*class));
    for (class, curve) in curves {
        let of = |(i, v): (usize, &f64)| format!("{:.1} {:.1}", x(i + 1), height(*v));
        let points: Vec<String> = curve.points.iter().enumerate().map(of).collect();
        let _ = writeln!(svg, "<path class=\"l{class}\" d=\"M{}\"/>", points.join("L"));
    }
    *svg += "</g>\n";
}
