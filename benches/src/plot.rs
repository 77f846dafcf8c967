//! Curves of a run, as SVG.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Failure;
use crate::load::Figures;
use crate::overload::{CLASSES, Found, Kind, Load};

/// Goodput against offered load, both in capacities.
///
/// # Errors
/// If the file cannot be written.
pub fn goodput(file: &Path, found: &Found) -> Result<(), Failure> {
    let curve = |kind: &Kind| -> Curve {
        let capacity = found.capacity(*kind).max(1.0);
        let of = |(factor, point): (f64, &crate::overload::Point)| {
            (factor, 100.0 * point.outcome.goodput(&point.outcome.total()) / capacity)
        };
        Curve::new(kind.name(), colour(*kind), found.mixed(*kind).into_iter().map(of).collect())
    };
    let curves: Vec<Curve> = found.versions.iter().map(|(kind, _)| curve(kind)).collect();
    let (_, right) = range(&curves);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    let mut chart =
        begun(&root, "Answered in time, against what is asked for")?.build_cartesian_2d(0.0..right, 0.0..130.0)?;
    chart
        .configure_mesh()
        .x_desc("offered, in multiples of the proxy's own capacity")
        .y_desc("answered with data within the clients' patience, % of capacity")
        .draw()?;
    draw(&mut chart, &curves)?;
    Ok(root.present()?)
}

/// p99 by class against offered load: the gateway's classes, and the interactive class of the others.
///
/// # Errors
/// If the file cannot be written.
pub fn classes(file: &Path, found: &Found) -> Result<(), Failure> {
    let mut curves = Vec::new();
    for (kind, _) in &found.versions {
        for ((class, _), shade) in CLASSES.into_iter().zip(SHADES) {
            if *kind != Kind::Popgate && class == "batch" {
                continue;
            }
            let p99 = |(factor, point): (f64, &crate::overload::Point)| {
                let of = point.outcome.merged(|label| label == class);
                (!of.latency.is_empty()).then(|| (factor, of.percentile(0.99).as_secs_f64() * 1e3))
            };
            let points = found.mixed(*kind).into_iter().filter_map(p99).collect();
            curves.push(Curve::new(&format!("{}, {class}", kind.name()), shaded(colour(*kind), shade), points));
        }
    }
    let (_, right) = range(&curves);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    let mut chart = begun(&root, "How long answers with data take, by class (99th percentile)")?
        .build_cartesian_2d(0.0..right, MILLIS.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("offered, in multiples of the proxy's own capacity")
        .y_desc("p99 from when the request was due, ms")
        .y_label_formatter(&|millis| format!("{millis:.0}"))
        .draw()?;
    draw(&mut chart, &curves)?;
    Ok(root.present()?)
}

/// The latencies of the quiet agencies, alone and beside the noisy one; who got no answer is at the right of each
/// curve.
///
/// # Errors
/// If the file cannot be written.
pub fn neighbours(file: &Path, found: &Found) -> Result<(), Failure> {
    let mut curves = Vec::new();
    for (kind, _) in &found.versions {
        for (load, shade) in [(Load::Quiet, 0.45), (Load::Noisy, 1.0)] {
            let Some(quiet) = found.quiet(*kind, load) else { continue };
            let name = format!("{}, {}", kind.name(), load.name());
            curves.push(Curve::new(&name, shaded(colour(*kind), shade), distribution(&quiet)));
        }
    }
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    let mut chart = begun(&root, "What 99 quiet agencies see of a noisy one that asks for 5 x the capacity")?
        .build_cartesian_2d(0.0..3.05, MILLIS.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("share of the quiet agencies' requests that were answered with data so soon or sooner")
        .y_desc("from when the request was due, ms")
        .x_labels(4)
        .x_label_formatter(&|nines: &f64| match nines.round() as u32 {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            _ => "99.9 %".to_owned(),
        })
        .y_label_formatter(&|millis| format!("{millis:.0}"))
        .draw()?;
    draw(&mut chart, &curves)?;
    Ok(root.present()?)
}

/// One curve.
struct Curve {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Curve {
    fn new(name: &str, colour: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), colour, points }
    }
}

/// Latency against the share of *all* requests that were answered so soon, by nines: 0, 1 (90 %), 2 (99 %), 3.
fn distribution(figures: &Figures) -> Vec<(f64, f64)> {
    let answered = figures.ok as f64 / figures.offered.max(1) as f64;
    let nines = (0..=60).map(|step| f64::from(step) * 0.05);
    let at = |nines: f64| {
        let share = 1.0 - 10_f64.powf(-nines);
        let of_answered = share / answered.max(f64::MIN_POSITIVE);
        (of_answered <= 1.0).then(|| (nines, figures.percentile(of_answered).as_secs_f64() * 1e3))
    };
    nines.map_while(at).collect()
}

fn begun<'a, 'b>(
    root: &'a DrawingArea<SVGBackend<'b>, Shift>,
    caption: &str,
) -> Result<ChartBuilder<'a, 'a, SVGBackend<'b>>, Failure>
where
    'b: 'a,
{
    root.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(root);
    builder.margin(18).x_label_area_size(44).y_label_area_size(64).caption(caption, ("sans-serif", 20));
    Ok(builder)
}

fn draw<'a, D, X, Y>(chart: &mut ChartContext<'a, D, Cartesian2d<X, Y>>, curves: &[Curve]) -> Result<(), Failure>
where
    D: DrawingBackend + 'a,
    D::ErrorType: 'static,
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for Curve { name, colour, points } in curves {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        if points.len() < 12 {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

fn range(curves: &[Curve]) -> (f64, f64) {
    let right = curves.iter().flat_map(|curve| &curve.points).map(|(x, _)| *x).fold(1.0, f64::max);
    (0.0, right * 1.04)
}

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Popgate => RGBColor(30, 110, 70),
        Kind::Haproxy => RGBColor(60, 90, 180),
        Kind::Envoy => RGBColor(190, 60, 50),
    }
}

/// Nearer to white, the smaller the shade.
fn shaded(colour: RGBColor, shade: f64) -> RGBColor {
    let mix = |part: u8| (255.0 - (255.0 - f64::from(part)) * shade) as u8;
    RGBColor(mix(colour.0), mix(colour.1), mix(colour.2))
}

/// Room above what clients wait for, for the legend.
const MILLIS: std::ops::Range<f64> = 1.0..30_000.0;
const SIZE: (u32, u32) = (860, 520);
const SHADES: [f64; 3] = [1.0, 0.7, 0.4];
