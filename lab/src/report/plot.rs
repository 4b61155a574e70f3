//! Plots as scalable vector text: lines, bars and a heat map. It draws and never measures.

use crate::number::{decimals, length, nearest};

/// The inside of every plot.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 180.0;
/// Room for axes.
const LEFT: f64 = 52.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// The most points of a line and cells of a map along one side: more cannot be seen.
const POINTS_MAX: usize = 1200;
const COLUMNS_MAX: usize = 240;
const ROWS_MAX: usize = 120;
/// Shares of CPU at which the colour of a heat map changes, in permille, and the colours.
const HEAT: [(u16, &str); 7] = [
    (200, "#e8f1f8"),
    (400, "#c3dcec"),
    (600, "#8fc1de"),
    (800, "#3c8f5b"),
    (900, "#e8b13a"),
    (1000, "#dd7a2f"),
    (u16::MAX, "#b3282d"),
];

/// Writes text so that markup in it means nothing.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A vertical axis from zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// The largest value shown.
    pub(crate) most: f64,
    /// What is written behind numbers.
    pub(crate) unit: &'static str,
}

impl Axis {
    /// Makes an axis that ends at a round number not below the largest value.
    pub(crate) fn over(values: &[f64], unit: &'static str) -> Self {
        let largest = values.iter().fold(0.0_f64, |most, v| most.max(*v));
        let mut most = 4.0;
        // At most some hundred doublings of what a plot can show.
        while most < largest {
            most *= if nearest(most).to_string().starts_with('4') { 2.5 } else { 2.0 };
        }
        Self { most, unit }
    }

    /// Makes an axis of a node's CPU in percent: to 100, or above it to the next 20, and 200 at most.
    pub(crate) fn of_load(highest: &[f64]) -> Self {
        let largest = highest.iter().fold(100.0_f64, |most, v| most.max(*v)).min(200.0);
        Self { most: (largest / 20.0).ceil() * 20.0, unit: " %" }
    }

    fn y(&self, value: f64) -> f64 {
        TOP + HEIGHT * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }
}

fn at(value: f64) -> String {
    decimals(value, 1).to_string()
}

fn frame(axis: Axis, hours: f64, inside: &str) -> String {
    let mut svg = vec![format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">",
        at(LEFT + WIDTH + 8.0),
        at(TOP + HEIGHT + BOTTOM)
    )];
    for part in 0..=4_u32 {
        let value = axis.most * f64::from(part) / 4.0;
        let y = axis.y(value);
        svg.push(format!(
            "<path class=\"grid\" d=\"M{} {}h{}\"/><text x=\"{}\" y=\"{}\" class=\"y\">{}{}</text>",
            at(LEFT),
            at(y),
            at(WIDTH),
            at(LEFT - 6.0),
            at(y + 4.0),
            decimals(value, 2),
            axis.unit
        ));
    }
    svg.push(inside.to_owned());
    svg.push(clock(hours, TOP + HEIGHT + 18.0));
    svg.push("</svg>".to_owned());
    svg.concat()
}

/// Writes the hours below a plot, if it has any.
fn clock(hours: f64, y: f64) -> String {
    let text = |part: u32| {
        let share = f64::from(part) / 6.0;
        let class = if part == 6 { "y" } else { "x" };
        format!(
            "<text x=\"{}\" y=\"{}\" class=\"{class}\">{} h</text>",
            at(LEFT + WIDTH * share),
            at(y),
            decimals(hours * share, 1)
        )
    };
    if hours > 0.0 { (0..=6).map(text).collect() } else { String::new() }
}

/// Draws lines over time, thinned to means; the band is shaded where one is given.
pub(crate) fn lines(
    series: &[(&str, Vec<f64>)],
    axis: Axis,
    band: Option<(f64, f64)>,
    hours: f64,
) -> String {
    let mut inside = Vec::new();
    if let Some((from, until)) = band {
        inside.push(format!(
            "<rect class=\"band\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            at(LEFT),
            at(axis.y(until)),
            at(WIDTH),
            at(axis.y(from) - axis.y(until))
        ));
    }
    for (class, values) in series {
        let values = thinned(values, POINTS_MAX);
        let last = length(values.len().saturating_sub(1).max(1));
        let mut path = Vec::new();
        for (step, value) in values.iter().enumerate() {
            let x = LEFT + WIDTH * length(step) / last;
            let pen = if step == 0 { 'M' } else { 'L' };
            path.push(format!("{pen}{} {}", at(x), at(axis.y(*value))));
        }
        inside.push(format!("<path class=\"line {class}\" d=\"{}\"/>", path.concat()));
    }
    frame(axis, hours, &inside.concat())
}

/// Draws bars with a text below each of some.
pub(crate) fn bars(values: &[f64], labels: &[String], axis: Axis) -> String {
    let mut inside = Vec::new();
    let width = WIDTH / length(values.len().max(1));
    for (place, value) in values.iter().enumerate() {
        let x = LEFT + width * length(place);
        let y = axis.y(*value);
        inside.push(format!(
            "<rect class=\"bar\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            at(x + width * 0.08),
            at(y),
            at(width * 0.84),
            at(TOP + HEIGHT - y)
        ));
        if let Some(label) = labels.get(place).filter(|l| !l.is_empty()) {
            inside.push(format!(
                "<text x=\"{}\" y=\"{}\" class=\"x\">{}</text>",
                at(x + width / 2.0),
                at(TOP + HEIGHT + 18.0),
                escape(label)
            ));
        }
    }
    frame(axis, 0.0, &inside.concat())
}

/// Draws one row a node and one column a stretch of time; nothing where a node was off.
pub(crate) fn heat(steps: &[Vec<Option<u16>>], hours: f64) -> String {
    let nodes = steps.iter().map(Vec::len).max().unwrap_or(0);
    let used: Vec<usize> =
        (0..nodes).filter(|n| steps.iter().any(|s| share(s, *n).is_some())).collect();
    let rows: Vec<&[usize]> = used.chunks(used.len().div_ceil(ROWS_MAX).max(1)).collect();
    let columns: Vec<&[Vec<Option<u16>>]> =
        steps.chunks(steps.len().div_ceil(COLUMNS_MAX).max(1)).collect();
    let height = (HEIGHT * 2.0 / length(rows.len().max(1))).min(14.0);
    let width = WIDTH / length(columns.len().max(1));
    let mut inside = Vec::new();
    for (row, nodes) in rows.iter().enumerate() {
        let colours: Vec<Option<&str>> = columns.iter().map(|c| colour(c, nodes)).collect();
        let mut from = 0;
        for run in colours.chunk_by(|a, b| a == b) {
            if let Some(colour) = run[0] {
                inside.push(format!(
                    "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{colour}\"/>",
                    at(LEFT + width * length(from)),
                    at(TOP + height * length(row)),
                    at(width * length(run.len()) + 0.2),
                    at(height * 0.94)
                ));
            }
            from += run.len();
        }
    }
    let end = TOP + height * length(rows.len());
    inside.push(clock(hours, end + 18.0));
    format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">{}</svg>",
        at(LEFT + WIDTH + 8.0),
        at(end + BOTTOM),
        inside.concat()
    )
}

fn share(step: &[Option<u16>], node: usize) -> Option<u16> {
    step.get(node).copied().flatten()
}

/// The colour of the highest share in a block: what is exceptional is seen.
fn colour(steps: &[Vec<Option<u16>>], nodes: &[usize]) -> Option<&'static str> {
    let shares = nodes.iter().flat_map(|n| steps.iter().filter_map(|s| share(s, *n)));
    let highest = shares.max()?;
    HEAT.iter().find(|(until, _)| highest <= *until).map(|(_, colour)| *colour)
}

fn thinned(values: &[f64], most: usize) -> Vec<f64> {
    let size = values.len().div_ceil(most).max(1);
    values.chunks(size).map(|c| c.iter().sum::<f64>() / length(c.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_name_means_nothing() {
        assert_eq!(escape("<script>&\"'\u{1}"), "&lt;script&gt;&amp;&quot;&#39; ");
    }

    #[test]
    fn a_heat_map_is_bounded_whatever_is_drawn() {
        let steps = vec![vec![Some(700); 5000]; 3000];
        assert!(heat(&steps, 250.0).len() < 200_000);
        assert!(heat(&[], 0.0).contains("svg"));
    }
}
