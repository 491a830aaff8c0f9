//! Cores and links of a simulation as a drawing: an SVG file that needs nothing else.

use crate::{
    chip::Chip,
    geometry::Geometry,
    report::{CoreLoad, LinkLoad, Simulation},
};
use std::fmt::Write;

/// Pixels of a site of the mesh, of the gap between two, and around a chip.
const SITE: f64 = 64.0;
const GAP: f64 = 26.0;
const MARGIN: f64 = 40.0;
/// Pixels of the scale below.
const SCALE: f64 = 60.0;

impl Simulation {
    /// The heat map: every used core coloured by the share of the time it worked, every link of
    /// the mesh by its packets relative to the busiest. Chips lie side by side. What a core
    /// computes shows when it is pointed at.
    pub fn heat_map(&self, chip: &Chip) -> String {
        let map = Map { geometry: Geometry::new(chip), chip };
        let width = map.chip_width() * self.chips as f64;
        let height = 2.0 * MARGIN + chip.rows * (SITE + GAP) + SCALE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <title>{}: load of cores and links</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            escape(&self.chip)
        );
        let most = self.links.iter().filter(|link| link.kind == "mesh").map(|link| link.packets);
        let most = most.max().unwrap_or(1).max(1) as f64;
        for link in self.links.iter().filter(|link| link.kind == "mesh") {
            map.link(&mut svg, link, most);
        }
        for number in 0..self.chips {
            map.sites(&mut svg, number);
        }
        for core in &self.cores {
            map.core(&mut svg, core);
        }
        map.scale(&mut svg, height - SCALE, most);
        svg.push_str("</svg>\n");
        svg
    }
}

struct Map<'a> {
    geometry: Geometry,
    chip: &'a Chip,
}

impl Map<'_> {
    fn chip_width(&self) -> f64 {
        2.0 * MARGIN + self.chip.columns * (SITE + GAP)
    }

    /// The upper left corner of a site.
    fn corner(&self, chip: usize, [x, y]: [usize; 2]) -> (f64, f64) {
        let left = chip as f64 * self.chip_width() + MARGIN;
        (left + x as f64 * (SITE + GAP), MARGIN + y as f64 * (SITE + GAP))
    }

    /// Outlines of all sites, with what is neither cores nor empty.
    fn sites(&self, svg: &mut String, chip: usize) {
        for site in 0..self.geometry.columns * self.geometry.rows {
            let (x, y) = self.geometry.place(site);
            let (left, top) = self.corner(chip, [x, y]);
            let name = match site {
                _ if site == self.geometry.router() => "router",
                _ if site == self.geometry.host() => "host",
                _ => "",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<rect x=\"{left}\" y=\"{top}\" width=\"{SITE}\" height=\"{SITE}\" \
                 fill=\"#f4f5f7\" stroke=\"#99a\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
                left + SITE / 2.0,
                top + SITE / 2.0 + 4.0
            );
        }
    }

    fn core(&self, svg: &mut String, core: &CoreLoad) {
        let (left, top) = self.corner(core.core / self.chip.cores(), core.site);
        let per_quad = self.chip.cores_per_quad as usize;
        // Cores of a quad side by side, in as many rows as columns.
        let across = (1..=per_quad).find(|side| side * side >= per_quad).unwrap_or(1);
        let size = (SITE - 8.0) / across as f64;
        let at = core.core % per_quad;
        let (x, y) =
            (left + 4.0 + (at % across) as f64 * size, top + 4.0 + (at / across) as f64 * size);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\">\
             <title>core {}: {}; {:.1} % busy, {} B, {} packets in, {} out</title></rect>",
            size - 1.0,
            size - 1.0,
            colour(core.load),
            core.core,
            escape(&core.layers.join(", ")),
            100.0 * core.load,
            core.memory,
            core.packets_in,
            core.packets_out
        );
    }

    fn link(&self, svg: &mut String, link: &LinkLoad, most: f64) {
        let (Some(from), Some(to)) = (link.from, link.to) else { return };
        let middle = |site| {
            let (left, top) = self.corner(link.chip, site);
            (left + SITE / 2.0, top + SITE / 2.0)
        };
        let ((x1, y1), (x2, y2)) = (middle(from), middle(to));
        // The two directions of a link lie beside each other.
        let aside = |along: f64| if along == 0.0 { 0.0 } else { 5.0 * along.signum() };
        let (dx, dy) = (aside(y2 - y1), aside(x1 - x2));
        let share = link.packets as f64 / most;
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{}\" \
             stroke-width=\"{:.1}\"><title>{from:?} to {to:?}: {} packets</title></line>",
            x1 + dx,
            y1 + dy,
            x2 + dx,
            y2 + dy,
            colour(share),
            1.0 + 6.0 * share,
            link.packets
        );
    }

    fn scale(&self, svg: &mut String, top: f64, most: f64) {
        for step in 0..=20 {
            let share = f64::from(step) / 20.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{top}\" width=\"12\" height=\"12\" fill=\"{}\"/>",
                MARGIN + 12.0 * f64::from(step),
                colour(share)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{:.1}\">cores: 0 to 100 % of the time busy; links: 0 to {most} \
             packets</text>",
            top + 28.0
        );
    }
}

/// From pale yellow over orange to dark red.
fn colour(share: f64) -> String {
    let share = share.clamp(0.0, 1.0);
    let mix = |a: f64, b: f64, at: f64| (a + (b - a) * at).round() as u8;
    let (pale, orange, dark) = ([255.0, 245.0, 200.0], [240.0, 130.0, 40.0], [110.0, 0.0, 30.0]);
    let (from, to, at) = match share < 0.5 {
        true => (pale, orange, 2.0 * share),
        false => (orange, dark, 2.0 * share - 1.0),
    };
    let [r, g, b] = [0, 1, 2].map(|k: usize| mix(from[k], to[k], at));
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text made safe for SVG.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
