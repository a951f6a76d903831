//! Line charts as SVG, readable on light and on dark pages. In: points. Out: text; the vertical axis begins at nought, so that slopes are not
//! made to look steeper than they are.

use std::fmt::Write as _;

/// One chart.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// Above it.
    pub title: &'a str,
    /// What the horizontal axis has, with its unit.
    pub x_label: &'a str,
    /// The same of the vertical one.
    pub y_label: &'a str,
    /// In the order of their x, none of which is the same as another.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 300.0;
/// Room for labels: left, top, right, bottom.
const MARGINS: [f64; 4] = [60.0, 40.0, 20.0, 55.0];
/// Lines across.
const STEPS: usize = 4;
/// Grey that is seen on white and on black alike, and a blue.
const GREY: &str = "#808080";
const BLUE: &str = "#3b8fd6";

/// Charts side by side.
pub fn picture(panels: &[Panel<'_>]) -> String {
    let width = WIDTH * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut svg, panel, WIDTH * index as f64);
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, panel: &Panel<'_>, offset: f64) {
    let [left, top, right, bottom] = MARGINS;
    let (x0, x1, y0, y1) = (offset + left, offset + WIDTH - right, HEIGHT - bottom, top);
    let most = nice(panel.points.iter().map(|(_, y)| *y).fold(0.0, f64::max));
    let last = panel.points.last().map_or(1.0, |(x, _)| *x);
    let x_at = |x: f64| x0 + (x1 - x0) * x / (last * 1.05);
    let y_at = |y: f64| y0 - (y0 - y1) * y / most;
    let mut say = |text: String| svg.push_str(&(text + "\n"));
    say(format!("<text x=\"{:.0}\" y=\"20\" text-anchor=\"middle\" font-size=\"14\">{}</text>", (x0 + x1) / 2.0, escape(panel.title)));
    for step in 0..=STEPS {
        let value = most * step as f64 / STEPS as f64;
        let y = y_at(value);
        let opacity = if step == 0 { 1.0 } else { 0.3 };
        say(format!("<path d=\"M{x0:.0} {y:.1}H{x1:.0}\" stroke=\"{GREY}\" stroke-opacity=\"{opacity}\"/>"));
        say(format!("<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", x0 - 6.0, y + 4.0, trimmed(value)));
    }
    let mut path = String::new();
    for (index, (x, y)) in panel.points.iter().enumerate() {
        // Writing to a String does not fail.
        let _ = write!(path, "{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, x_at(*x), y_at(*y));
    }
    say(format!("<path d=\"{path}\" fill=\"none\" stroke=\"{BLUE}\" stroke-width=\"2\"/>"));
    for (x, y) in &panel.points {
        let (at, height) = (x_at(*x), y_at(*y));
        say(format!("<circle cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"4\" fill=\"{BLUE}\"/>"));
        say(format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{y:.1}</text>", height - 9.0));
        say(format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", y0 + 17.0, trimmed(*x)));
    }
    say(format!("<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>", (x0 + x1) / 2.0, y0 + 40.0, escape(panel.x_label)));
    let (x, y) = (offset + 16.0, (y0 + y1) / 2.0);
    say(format!("<text transform=\"translate({x:.0} {y:.0}) rotate(-90)\" text-anchor=\"middle\">{}</text>", escape(panel.y_label)));
}

/// The next number above that is easy to divide by four.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    power * steps.into_iter().find(|step| step * power >= value * 1.1).unwrap_or(20.0)
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_room_above() {
        for (value, expected) in [(0.0, 1.0), (9.0, 10.0), (9.5, 20.0), (10.0, 20.0), (23.0, 40.0), (0.3, 0.4)] {
            assert!((nice(value) - expected).abs() < 1e-9, "{value}: {}", nice(value));
        }
    }

    #[test]
    fn every_point_and_label_is_drawn() {
        let points = vec![(100.0, 20.0), (800.0, 12.5)];
        let svg = picture(&[Panel { title: "a < b", x_label: "people", y_label: "µs", points }]);
        assert_eq!(svg.matches("<circle").count(), 2);
        for text in ["a &lt; b", ">people<", ">µs<", ">100<", ">800<", ">12.5<", ">20.0<"] {
            assert!(svg.contains(text), "{text} is missing:\n{svg}");
        }
    }
}
