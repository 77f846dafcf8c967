//! What decisions cost against the number of policies and agencies, with Cedar's plain authorizer beside; what compiling and changing
//! a bundle costs, and what the tables take in memory.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cedar_policy::{Authorizer, Context, Entity, EntityUid, PolicySet, Request, RestrictedExpression};
use clap::Parser;
use plotters::prelude::*;
use popgate_benches::synthetic::{self, Size};
use popgate_benches::{Failure, report, say};
use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::contract::Operation;
use popgate_policy::directory::System;
use popgate_policy::model::PurposeId;
use popgate_policy::permit::Env;

/// What decisions cost against the number of policies and agencies.
#[derive(Parser)]
struct Args {
    /// Only the smaller half of the sizes
    #[arg(long)]
    quick: bool,
    /// Where to draw the plots, as SVG
    #[arg(long)]
    plots: Option<PathBuf>,
    /// The reference bundle, whose contracts are taken
    #[arg(long, default_value = "deploy/bundle")]
    bundle: PathBuf,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Failure> {
    let reference = popgate::app::bundle_files::read(&args.bundle)?;
    let of =
        |all: &[usize], quick: usize| all.iter().copied().take(if args.quick { quick } else { all.len() }).collect();
    let policies: Vec<usize> = of(&[10, 100, 1_000, 5_000, 10_000], 3);
    let agencies: Vec<usize> = of(&[100, 1_000, 10_000], 2);
    say(HEAD)?;
    let mut by_policies = Vec::new();
    for policies in policies {
        by_policies.push((policies, row(&reference, Size { agencies: 85, policies }, true)?));
    }
    let mut by_agencies = Vec::new();
    for agencies in agencies {
        by_agencies.push((agencies, row(&reference, Size { agencies, policies: 1_000 }, false)?));
    }
    if let Some(dir) = &args.plots {
        std::fs::create_dir_all(dir)?;
        plot(&dir.join("policies.svg"), "policies (85 agencies)", &by_policies)?;
        plot(&dir.join("agencies.svg"), "agencies (1,000 policies)", &by_agencies)?;
    }
    Ok(())
}

/// What was measured of one size.
struct Figures {
    decision: Duration,
    plain: Option<Duration>,
    table: Duration,
    load: Duration,
    edit: Duration,
}

fn row(reference: &Source, size: Size, plain: bool) -> Result<Figures, Failure> {
    let source = synthetic::source(reference, size);
    let began = Instant::now();
    let bundle = load(Bundle::load(&source))?;
    let load_took = began.elapsed();
    let wanting = bundle.engine().wanting(None);
    let before = bundle.engine().footprint();
    let began = Instant::now();
    wanting.into_iter().for_each(|tables| bundle.engine().make(tables));
    let made = bundle.engine().footprint();
    let table = began.elapsed() / u32::try_from((made.made - before.made).max(1))?;
    let spots = spots(&bundle, size);
    let decision = decision(&bundle, &spots);
    let allocations = allocation_counter::measure(|| decide_all(&bundle, &spots, &env(10))).count_total;
    let remembered = bundle.engine().footprint();
    let (edit, unscoped) = (edit(&source, &bundle, SCOPED)?, edit(&source, &bundle, UNSCOPED)?);
    let plain = if plain { Some(plain_decision(&source, &bundle, &spots)?) } else { None };
    let megabytes = remembered.bytes as f64 / 1e6;
    say(&format!(
        "{:>8} {:>8} | {:>8.0} {:>6} {:>10} | {:>9.1} {:>7} of {:>7} {:>8.2} | {:>8.0} {:>8.1} {:>8.1}\n",
        size.policies,
        size.agencies,
        nanoseconds(decision),
        allocations,
        plain.map_or_else(|| "-".to_owned(), |plain| format!("{:.3}", plain.as_secs_f64() * 1e3)),
        table.as_secs_f64() * 1e6,
        made.distinct,
        made.combinations,
        megabytes,
        load_took.as_secs_f64() * 1e3,
        edit.as_secs_f64() * 1e3,
        unscoped.as_secs_f64() * 1e3,
    ))?;
    Ok(Figures { decision, plain, table, load: load_took, edit })
}

/// One question: who, what, what for.
type Spot = (Arc<System>, Arc<Operation>, PurposeId);

/// Every agency's system (a hundred at most), each operation that the policies name, and the purposes that it has.
fn spots(bundle: &Bundle, size: Size) -> Vec<Spot> {
    let mut spots = Vec::new();
    for agency in 0..size.agencies.min(100) {
        let id = synthetic::system(agency);
        let Some(system) = bundle.directory().systems().iter().find(|system| system.id.as_str() == id) else {
            continue;
        };
        for operation in ["citizen.read", "citizen.lookup"] {
            let Some(operation) = bundle.contracts().operation(operation) else { continue };
            let spot = |purpose: &PurposeId| (Arc::clone(system), Arc::clone(operation), purpose.clone());
            spots.extend(system.purposes.iter().map(spot));
        }
    }
    spots
}

/// One decision over all fields of the record, the median of many rounds over all questions.
fn decision(bundle: &Bundle, spots: &[Spot]) -> Duration {
    let env = env(10);
    decide_all(bundle, spots, &env);
    let mut rounds: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            decide_all(bundle, spots, &env);
            began.elapsed() / u32::try_from(spots.len().max(1)).unwrap_or(u32::MAX)
        })
        .collect();
    rounds.sort_unstable();
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}

fn decide_all(bundle: &Bundle, spots: &[Spot], env: &Env) {
    for (system, operation, purpose) in spots {
        black_box(bundle.trial(system, operation, purpose, env));
    }
}

/// How long it takes until a bundle with one policy more can be put in force, given the one before.
fn edit(source: &Source, before: &Bundle, policy: &str) -> Result<Duration, Failure> {
    let mut edited = source.clone();
    if let Some(text) = edited.files.get_mut("policies/a0.cedar") {
        text.push_str(policy);
    }
    let began = Instant::now();
    let bundle = load(Bundle::load_after(&edited, (source, before)))?;
    let took = began.elapsed();
    black_box(bundle);
    Ok(took)
}

/// The same decision by Cedar's authorizer: each field is one question to all policies.
fn plain_decision(source: &Source, bundle: &Bundle, spots: &[Spot]) -> Result<Duration, Failure> {
    let text: String =
        source.files.iter().filter(|(path, _)| path.starts_with("policies/")).map(|(_, text)| text.as_str()).collect();
    let policies: PolicySet = text.parse()?;
    let entities = bundle.engine().entities().clone().add_entities([now()?, returned()?], None)?;
    let mut took = Vec::new();
    for (system, operation, purpose) in spots.iter().step_by(spots.len() / 3 + 1) {
        let began = Instant::now();
        for field in &operation.record.fields {
            let request = request(system, operation, purpose, field.name.as_str())?;
            black_box(Authorizer::new().is_authorized(&request, &policies, &entities));
        }
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took.get(took.len() / 2).copied().unwrap_or_default())
}

fn request(system: &System, operation: &Operation, purpose: &PurposeId, field: &str) -> Result<Request, Failure> {
    let members = [
        ("purpose", uid("Purpose", purpose.as_str())?),
        ("env", uid("Env", "now")?),
        ("record", uid("CitizenRecord", "it")?),
    ];
    let context = members.map(|(name, uid)| (name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
    let (system, operation) = (uid("System", system.id.as_str())?, uid("Action", operation.id.as_str())?);
    Ok(Request::new(system, operation, uid("Field", field)?, Context::from_pairs(context)?, None)?)
}

fn now() -> Result<Entity, Failure> {
    let attributes = [
        ("today", RestrictedExpression::new_datetime("2026-11-20")),
        ("weekday", RestrictedExpression::new_long(5)),
        ("hour", RestrictedExpression::new_long(10)),
        ("minute_of_day", RestrictedExpression::new_long(600)),
        ("source", RestrictedExpression::new_ip("10.20.0.5")),
        ("claimed_user", RestrictedExpression::new_bool(true)),
        ("claimed_case", RestrictedExpression::new_bool(true)),
    ];
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Entity::new(uid("Env", "now")?, attributes, Default::default())?)
}

fn returned() -> Result<Entity, Failure> {
    let attributes = [
        ("province", RestrictedExpression::new_string("001".to_owned())),
        ("minor", RestrictedExpression::new_bool(false)),
        ("deceased", RestrictedExpression::new_bool(false)),
    ];
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Entity::new(uid("CitizenRecord", "it")?, attributes, Default::default())?)
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, Failure> {
    Ok(EntityUid::from_type_name_and_id(kind.parse()?, cedar_policy::EntityId::new(id)))
}

fn env(hour: i8) -> Env {
    Env {
        date: jiff::civil::date(2026, 11, 20),
        hour,
        minute: 0,
        source: [10, 20, 0, 5].into(),
        claimed_assurance: None,
        claimed_user: true,
        claimed_case: true,
    }
}

fn load(
    loaded: Result<popgate_policy::bundle::Loaded, Vec<popgate_policy::problem::Problem>>,
) -> Result<Arc<Bundle>, Failure> {
    loaded
        .map(|loaded| loaded.bundle)
        .map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default().into())
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// A name, a colour, and what is drawn, in microseconds.
type Line = (&'static str, RGBColor, fn(&Figures) -> Option<f64>);

/// Cost against size, both on logarithmic scales.
fn plot(file: &Path, against: &str, rows: &[(usize, Figures)]) -> Result<(), Failure> {
    let sizes: Vec<f64> = rows.iter().map(|(size, _)| *size as f64).collect();
    let (Some(least), Some(most)) = (sizes.first().copied(), sizes.last().copied()) else { return Ok(()) };
    let root = SVGBackend::new(file, (860, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(18)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .caption(format!("What decisions and changes cost, against {against}"), ("sans-serif", 20))
        .build_cartesian_2d((least..most).log_scale(), (1e-2..1e10_f64).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(against)
        .y_desc("time, one core")
        .x_label_formatter(&|size| format!("{size:.0}"))
        .y_label_formatter(&|micros| time(*micros))
        .draw()?;
    let lines: [Line; 5] = [
        ("plain authorizer, one decision", RGBColor(190, 60, 50), |of| of.plain.map(|it| it.as_secs_f64() * 1e6)),
        ("compiled, one decision", RGBColor(30, 110, 70), |of| Some(of.decision.as_secs_f64() * 1e6)),
        ("compiling one table", RGBColor(60, 90, 180), |of| Some(of.table.as_secs_f64() * 1e6)),
        ("change scoped to one agency", RGBColor(200, 130, 20), |of| Some(of.edit.as_secs_f64() * 1e6)),
        ("loading the whole bundle", RGBColor(120, 120, 120), |of| Some(of.load.as_secs_f64() * 1e6)),
    ];
    for (name, colour, of) in lines {
        let points: Vec<(f64, f64)> =
            sizes.iter().zip(rows).filter_map(|(size, (_, figures))| Some((*size, of(figures)?))).collect();
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Microseconds as people write them.
fn time(micros: f64) -> String {
    match micros {
        small if small < 0.99 => format!("{:.0} ns", small * 1e3),
        some if some < 0.99e3 => format!("{some:.0} µs"),
        more if more < 0.99e6 => format!("{:.0} ms", more / 1e3),
        most => format!("{:.0} s", most / 1e6),
    }
}

const SCOPED: &str = "@id(\"edit\") @basis(\"Law\") permit(principal in Agency::\"a0\", action == Action::\"citizen.read\", \
                      resource in Group::\"contact\") when { context.env.hour < 12 };\n";
const UNSCOPED: &str = "@id(\"edit\") @basis(\"Law\") forbid(principal, action, resource in Group::\"contact\") \
                        when { context.env.hour == 3 };\n";
const HEAD: &str = "policies agencies | decision allocs   plain ms |  table µs distinct tables  memory MB |  load ms  edit ms  unscoped ms\n";
