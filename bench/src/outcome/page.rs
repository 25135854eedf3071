//! One self-contained page of a run: the percentile plot as inline SVG, the table, the settings.
//!
//! No script, no external resource. Called by `outcome::files`. Invariant: well-formed as XML, so
//! that any tool can take the plot out.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::Outcome;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;

/// The page.
pub(crate) fn html(outcome: &Outcome, latency: &Histogram<u64>, lag: &Histogram<u64>) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <title>bench run</title><style>\
         body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em}\
         svg{max-width:100%;height:auto}table{border-collapse:collapse}\
         td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid #ddd}\
         td:first-child,th:first-child{text-align:left}\
         .bad{background:#b00020;color:#fff;padding:.5em 1em}</style></head><body>\n\
         <h1>Latency by percentile</h1>\n",
    );
    for reason in &outcome.invalid_because {
        let _ = writeln!(out, "<p class=\"bad\"><b>INVALID:</b> {}</p>", escape(reason));
    }
    out.push_str(&plot(latency, lag));
    figures(&mut out, outcome);
    settings(&mut out, outcome);
    out.push_str("</body></html>\n");
    out
}

fn figures(out: &mut String, outcome: &Outcome) {
    out.push_str(
        "<h2>Figures</h2>\n<table><tr><th></th><th>latency us</th><th>own lag us</th></tr>",
    );
    for ((name, latency), (_, lag)) in outcome.latency_us.rows().iter().zip(outcome.lag_us.rows()) {
        let _ = write!(out, "<tr><td>{name}</td><td>{latency:.1}</td><td>{lag:.1}</td></tr>");
    }
    let _ = writeln!(
        out,
        "</table>\n<p>{} requests due, {} answered correctly, {} failed; {:.0} requests/s, {:.1} MB/s.</p>",
        outcome.scheduled,
        outcome.completed,
        outcome.failed(),
        outcome.requests_per_s,
        outcome.bytes_per_s / 1e6
    );
    if !outcome.errors.is_empty() {
        out.push_str("<table><tr><th>failure</th><th>count</th></tr>");
        for (kind, count) in &outcome.errors {
            let _ = write!(out, "<tr><td>{}</td><td>{count}</td></tr>", escape(kind));
        }
        out.push_str("</table>\n");
    }
}

fn settings(out: &mut String, outcome: &Outcome) {
    let settings = &outcome.settings;
    out.push_str("<h2>Settings</h2>\n<table>");
    let mut row = |name: &str, value: &str| {
        let _ = write!(out, "<tr><td>{name}</td><td>{}</td></tr>", escape(value));
    };
    for url in &settings.urls {
        row("URL", url);
    }
    row("loop", &settings.loop_kind);
    row("protocol", settings.protocol.name());
    row("connections", &settings.connections.to_string());
    row("requests at once on each", &settings.streams.to_string());
    row(
        "new connection per request",
        if settings.new_connection_per_request { "yes" } else { "no" },
    );
    row("warm-up, s", &settings.warmup_s.to_string());
    row("duration, s", &settings.duration_s.to_string());
    row("generator's runtime", &settings.runtime);
    row("bound on own lag, us", &settings.max_lag_us.to_string());
    out.push_str("</table>\n");
}

/// The distance of a quantile along the axis: one unit for each further nine.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The plot: log(1/(1-q)) across, log latency up.
fn plot(latency: &Histogram<u64>, lag: &Histogram<u64>) -> String {
    let most = (latency.len().max(10) as f64).log10();
    let values = [latency, lag].into_iter().filter(|h| !h.is_empty());
    let low = values.clone().map(Histogram::min).min().unwrap_or(1_000).max(1_000);
    let high = values.map(Histogram::max).max().unwrap_or(1_000_000).max(low * 2);
    let (from, to) = ((low as f64).log10().floor(), (high as f64).log10().ceil());
    let x = |nines: f64| LEFT + (WIDTH - LEFT - RIGHT) * (nines / most).min(1.0);
    let y = |ns: f64| {
        let share = ((ns.max(1.0).log10() - from) / (to - from)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    grid(&mut out, &x, &y, most, from as i32..=to as i32);
    for (histogram, colour) in [(lag, "#999999"), (latency, "#0b62a4")] {
        let points = curve(histogram, &x, &y);
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>"
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{0}\" y=\"{1}\" fill=\"#0b62a4\">latency</text><text x=\"{0}\" y=\"{2}\" fill=\"#777\">\
         the generator's own lag</text>\n</svg>",
        LEFT + 12.0,
        TOP + 16.0,
        TOP + 32.0
    );
    out
}

fn curve(histogram: &Histogram<u64>, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let mut points = String::new();
    for point in histogram.iter_quantiles(10) {
        let quantile = point.quantile_iterated_to().min(1.0 - 0.5 / histogram.len() as f64);
        let value = point.value_iterated_to() as f64;
        let _ = write!(points, "{:.1},{:.1} ", x(nines(quantile)), y(value));
    }
    points.trim_end().to_owned()
}

fn grid(
    out: &mut String,
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
    most: f64,
    decades: std::ops::RangeInclusive<i32>,
) {
    const MARKS: [(&str, f64); 7] = [
        ("0%", 0.0),
        ("50%", 0.5),
        ("90%", 0.9),
        ("99%", 0.99),
        ("99.9%", 0.999),
        ("99.99%", 0.9999),
        ("99.999%", 0.99999),
    ];
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for (name, quantile) in MARKS.into_iter().filter(|(_, q)| nines(*q) <= most) {
        let at = x(nines(quantile));
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            bottom + 18.0
        );
    }
    for decade in decades {
        let ns = 10_f64.powi(decade);
        let at = y(ns);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            duration(ns)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">percentile, by log(1/(1-q))</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 10.0
    );
}

fn duration(ns: f64) -> String {
    match ns {
        n if n >= 1e9 => format!("{} s", n / 1e9),
        n if n >= 1e6 => format!("{} ms", n / 1e6),
        n if n >= 1e3 => format!("{} us", n / 1e3),
        n => format!("{n} ns"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::histogram;
    use crate::outcome::tests::{plan, record, settings};

    /// Every element is closed in order, every attribute quoted, no bare `&`.
    fn assert_well_formed(text: &str) {
        let mut open = Vec::new();
        let mut rest = text.strip_prefix("<!DOCTYPE html>\n").unwrap_or(text);
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "bare > in {}", &rest[..at]);
            let end = at + rest[at..].find('>').expect("a tag ends");
            let tag = &rest[at + 1..end];
            assert!(tag.matches('"').count().is_multiple_of(2), "quotes in {tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.to_owned()), "closing {name}");
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap().to_owned());
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "left open: {open:?}");
        for part in text.split('&').skip(1) {
            let entity = part.split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot"].contains(&entity), "bare & before {entity}");
        }
    }

    #[test]
    fn the_page_is_well_formed_and_says_when_a_run_is_invalid() {
        for answered in [0, 1, 900, 1_000] {
            let record = record(answered, 5_000);
            let outcome = Outcome::of(&plan(1e3), &record, settings());
            let page = html(&outcome, &record.latency, &record.lag);
            assert_well_formed(&page);
            assert_eq!(page.contains("INVALID"), answered < 1_000);
            assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        }
    }

    #[test]
    fn points_of_the_plot_stay_inside_it_and_never_go_down() {
        let mut latency = histogram();
        for n in 1..=5_000_u64 {
            latency.saturating_record(n * n * 100);
        }
        let text = plot(&latency, &histogram());
        assert_well_formed(&text);
        let line = text.lines().rfind(|line| line.contains("polyline")).unwrap();
        let points = line.split("points=\"").nth(1).unwrap().trim_end_matches("\"/>");
        let mut last = (0.0, HEIGHT);
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(x >= last.0 && y <= last.1, "{point}");
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y));
            last = (x, y);
        }
    }
}
