//! `report.html`: what a training run did, as one file that opens offline.
//!
//! All drawings are inline SVG, written here: no scripts, no fonts, nothing fetched.

mod confusion;
mod curves;
mod raster;
mod rates;
mod svg;

pub use confusion::Confusion;
pub use curves::{Chart, Line};
pub use raster::Raster;
pub use rates::Rates;

use svg::escape;

/// What the report shows. Sections without content are left out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// Name and value of what matters most: accuracy, model, data, seed.
    pub summary: Vec<(String, String)>,
    /// Training curves.
    pub charts: Vec<Chart>,
    /// Who was taken for whom, on the data named by `confusion_of`.
    pub confusion: Option<Confusion>,
    /// Name of the data behind the confusion matrix.
    pub confusion_of: String,
    /// Spikes of one sample, a population each.
    pub rasters: Vec<Raster>,
    /// What the sample of the rasters is.
    pub raster_of: String,
    /// Firing rates, a population each.
    pub rates: Vec<Rates>,
    /// The resolved configuration.
    pub config: String,
}

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #667; --line: #ccd; --paper: #fff;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b8860b; --c5: #56b4e9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa; --line: #445;
  --paper: #16191d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } td { padding: .15rem 1.2rem .15rem 0; }
td:first-child { color: var(--soft); }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9em; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .soft { fill: var(--soft); }
svg .axis { stroke: var(--soft); fill: none; } svg .grid { stroke: var(--line); fill: none; }
pre { background: color-mix(in srgb, var(--line) 35%, transparent); padding: .8rem;
  overflow-x: auto; }
";

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        if !self.summary.is_empty() {
            page.push_str("<table>\n");
            for (name, value) in &self.summary {
                page += &format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value));
            }
            page.push_str("</table>\n");
        }
        section(&mut page, "Training", self.charts.iter().map(Chart::figure));
        let confusion = self.confusion.iter().map(|confusion| confusion.figure(&self.confusion_of));
        section(&mut page, "Confusion matrix", confusion);
        if !self.rasters.is_empty() {
            let figures = self.rasters.iter().map(Raster::figure);
            section(&mut page, &format!("Spikes: {}", self.raster_of), figures);
        }
        section(&mut page, "Firing rates", self.rates.iter().map(Rates::figure));
        if !self.config.is_empty() {
            page += &format!("<h2>Configuration</h2>\n<pre>{}</pre>\n", escape(&self.config));
        }
        page.push_str("</body>\n</html>\n");
        page
    }
}

fn section(page: &mut String, title: &str, figures: impl Iterator<Item = String>) {
    let figures: String = figures.collect();
    if !figures.is_empty() {
        *page += &format!("<h2>{}</h2>\n{figures}", escape(title));
    }
}

#[cfg(test)]
mod tests;
