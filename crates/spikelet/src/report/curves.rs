//! Curves over epochs.

use super::svg::{Anchor, escape, figure, number, text, ticks};

/// A chart of one or more curves.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What is on the vertical axis.
    pub title: String,
    /// What is on the horizontal axis.
    pub x_axis: String,
    /// The curves.
    pub lines: Vec<Line>,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// x and y; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 220.0;

impl Chart {
    pub(super) fn figure(&self) -> String {
        let finite = || {
            let points = self.lines.iter().flat_map(|line| &line.points);
            points.filter(|(x, y)| x.is_finite() && y.is_finite())
        };
        let x = Axis::new(finite().map(|point| point.0), LEFT, RIGHT);
        let y = Axis::new(finite().map(|point| point.1), BOTTOM, TOP);
        let mut drawing = String::new();
        for tick in ticks(y.low, y.high, 5) {
            let at = y.place(tick);
            drawing += &format!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>\n");
            drawing += &text(LEFT - 6.0, at + 4.0, Anchor::End, true, &number(tick));
        }
        for tick in ticks(x.low, x.high, 10) {
            let at = x.place(tick);
            drawing += &text(at, BOTTOM + 16.0, Anchor::Middle, true, &number(tick));
        }
        drawing += &format!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>\n");
        drawing += &text(RIGHT, BOTTOM + 32.0, Anchor::End, true, &self.x_axis);
        let mut legend = LEFT;
        for (index, line) in self.lines.iter().enumerate() {
            let colour = format!("var(--c{})", index % 6);
            drawing += &line.draw(&x, &y, &colour);
            drawing += &format!(
                "<rect x=\"{legend:.1}\" y=\"8\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\n"
            );
            drawing += &text(legend + 19.0, 14.0, Anchor::Start, false, &line.name);
            legend += 40.0 + 7.5 * line.name.chars().count() as f64;
        }
        figure(WIDTH, HEIGHT, &drawing, &self.title, &self.title)
    }
}

impl Line {
    fn draw(&self, x: &Axis, y: &Axis, colour: &str) -> String {
        let mut path = String::new();
        let mut dots = String::new();
        for (px, py) in self.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (cx, cy) = (x.place(*px), y.place(*py));
            let command = if path.is_empty() { 'M' } else { 'L' };
            path += &format!("{command}{cx:.1} {cy:.1}");
            dots += &format!(
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"2.5\" fill=\"{colour}\"><title>{} {}: \
                 {}</title></circle>\n",
                escape(&self.name),
                number(*px),
                number(*py)
            );
        }
        format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>\n{dots}"
        )
    }
}

struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        match low < high {
            true => Axis { low, high, start, end },
            false if low.is_finite() => Axis { low: low - 0.5, high: low + 0.5, start, end },
            false => Axis { low: 0.0, high: 1.0, start, end },
        }
    }

    fn place(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }
}
