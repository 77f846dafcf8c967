//! One picture: for each fault and proxy what failed, what was wrong, and the 99th percentile.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::median;
use super::{Case, Run};
use crate::Failure;

/// Draws it: two scales side by side, a line a case, a dot a proxy.
///
/// # Errors
/// If the file cannot be written.
pub fn plot(file: &Path, cases: &[Case], proxies: &[&'static str], runs: &[Run]) -> Result<(), Failure> {
    let bottom = TOP + ROW * i32::try_from(cases.len())?;
    let root = SVGBackend::new(file, (WIDTH, u32::try_from(bottom + 52)?)).into_drawing_area();
    root.fill(&WHITE)?;
    let small = ("sans-serif", 13).into_font().color(&BLACK);
    let at = |h, v| small.pos(Pos::new(h, v));
    let (failed, p99) = (Scale { from: 430, to: 720, of: share }, Scale { from: 790, to: 1080, of: logarithm });
    root.draw(&Text::new("not answered, of 100 requests", (failed.from, 14), at(HPos::Left, VPos::Center)))?;
    root.draw(&Text::new("99th percentile, ms", (p99.from, 14), at(HPos::Left, VPos::Center)))?;
    for (n, proxy) in proxies.iter().enumerate() {
        let x = 20 + 120 * i32::try_from(n)?;
        root.draw(&Circle::new((x, 14), 5, colour(n).filled()))?;
        root.draw(&Text::new(*proxy, (x + 10, 14), at(HPos::Left, VPos::Center)))?;
    }
    for (scale, ticks) in [(&failed, &[0.0, 0.1, 1.0, 10.0, 100.0]), (&p99, &[5.0, 10.0, 100.0, 1000.0, 3000.0])] {
        for tick in ticks {
            let x = scale.at(*tick);
            root.draw(&PathElement::new([(x, TOP - 6), (x, bottom)], BLACK.mix(0.15)))?;
            root.draw(&Text::new(tick.to_string(), (x, bottom + 14), at(HPos::Center, VPos::Center)))?;
        }
    }
    for (row, case) in cases.iter().enumerate() {
        let y = TOP + ROW * i32::try_from(row)? + ROW / 2;
        root.draw(&PathElement::new([(20, y + ROW / 2), (p99.to, y + ROW / 2)], BLACK.mix(0.08)))?;
        root.draw(&Text::new(case.what, (20, y), at(HPos::Left, VPos::Center)))?;
        for (n, proxy) in proxies.iter().enumerate() {
            let of: Vec<&Run> = runs.iter().filter(|it| it.case == case.name && it.proxy == *proxy).collect();
            if of.is_empty() {
                continue;
            }
            // Beside one another, so that equal figures are seen.
            let y = y + (i32::try_from(n)? * 2 - i32::try_from(proxies.len())? + 1) * 4;
            let share = median(of.iter().map(|it| it.fault.failed_percent()));
            let wrong = median(of.iter().map(|it| it.fault.wrong_percent()));
            let slow = median(of.iter().map(|it| it.fault.p99.as_secs_f64() * 1e3));
            root.draw(&Circle::new((failed.at(share), y), 4, colour(n).filled()))?;
            root.draw(&Circle::new((p99.at(slow), y), 4, colour(n).filled()))?;
            if wrong > 0.0 {
                root.draw(&Cross::new((failed.at(wrong), y), 5, colour(n).stroke_width(2)))?;
            }
        }
    }
    let note = "A cross: of 100 requests, how many were given a wrong answer as a success.";
    root.draw(&Text::new(note, (20, bottom + 36), at(HPos::Left, VPos::Center)))?;
    root.present()?;
    Ok(())
}

struct Scale {
    from: i32,
    to: i32,
    /// From 0 to 1.
    of: fn(f64) -> f64,
}

impl Scale {
    fn at(&self, figure: f64) -> i32 {
        self.from + (f64::from(self.to - self.from) * (self.of)(figure).clamp(0.0, 1.0)).round() as i32
    }
}

/// Linear near nothing, logarithmic beyond: nothing has its place, and small shares are told from it.
fn share(percent: f64) -> f64 {
    let bent = |percent: f64| (1.0 + percent / 0.02).ln();
    bent(percent) / bent(100.0)
}

/// From 5 to 3,000.
fn logarithm(millis: f64) -> f64 {
    (millis.max(5.0) / 5.0).ln() / 600_f64.ln()
}

fn colour(proxy: usize) -> RGBColor {
    match proxy {
        0 => RGBColor(30, 110, 70),
        1 => RGBColor(60, 90, 180),
        _ => RGBColor(200, 130, 20),
    }
}

const WIDTH: u32 = 1110;
const TOP: i32 = 40;
const ROW: i32 = 30;
