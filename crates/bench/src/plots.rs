//! Pictures of what sessions reach on emulated paths, drawn from the tables that the tests of the congestion
//! control keep.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::Failure;
use crate::table::Table;

/// In pixels.
const SIZE: (u32, u32) = (760, 420);
/// Told from each other by most people, on paper too.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of `speed.txt`, `start.txt` and `delay.txt`
    #[arg(long, default_value = "crates/data/src/tests")]
    tables: PathBuf,
    /// The folder for the pictures
    #[arg(long, default_value = "docs/plots")]
    pictures: PathBuf,
    /// Write nothing, and fail if a picture is not of the tables
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let table = |file| Table::parse(&fs::read_to_string(arguments.tables.join(file))?);
    let (speed, start, delay) = (table("speed.txt")?, table("start.txt")?, table("delay.txt")?);
    for (file, picture) in [
        ("goodput-by-loss.svg", goodput_by_loss(&speed)?),
        ("goodput-by-rtt.svg", goodput_by_rtt(&speed)?),
        ("start.svg", starts(&start)?),
        ("delay.svg", delays(&delay)?),
    ] {
        keep(&arguments.pictures.join(file), &picture, arguments.check)?;
    }
    Ok(())
}

fn keep(path: &Path, picture: &str, check: bool) -> Result<(), Failure> {
    if !check {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, picture)?;
    } else if fs::read_to_string(path).unwrap_or_default() != picture {
        let path = path.display();
        return Err(format!("{path} is out of date: `cargo xtask bench plots` draws it").into());
    }
    Ok(())
}

/// A line of a picture.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Series {
    fn new(
        name: impl Into<String>,
        points: impl Iterator<Item = Result<(f64, f64), Failure>>,
    ) -> Result<Self, Failure> {
        Ok(Self { name: name.into(), points: points.collect::<Result<_, _>>()? })
    }
}

fn goodput_by_loss(speed: &Table) -> Result<String, Failure> {
    const LOSSES: [&str; 7] = ["0", "0.1", "1", "3", "5", "10", "20"];
    let lines = [("towline", "", 7), ("CUBIC", "CUBIC, ", 4), ("Reno", "Reno, ", 4)];
    let series = lines.map(|(name, prefix, count)| {
        let points = LOSSES[..count].iter().enumerate().map(|(at, loss)| {
            Ok((at as f64, speed.value(&format!("{prefix}{loss} % loss"), "goodput")?))
        });
        Series::new(name, points)
    });
    Picture {
        title: "Goodput by loss: 100 Mbit/s, 40 ms",
        x: "lost at random, %",
        y: "share of what the path can carry",
        x_label: &|x| label_at(&LOSSES, *x),
        y_label: &|y| format!("{y:.1}"),
        legend: SeriesLabelPosition::LowerRight,
    }
    .draw(-0.2..6.2, 0.0..1.0, &series.into_iter().collect::<Result<Vec<_>, _>>()?)
}

fn goodput_by_rtt(speed: &Table) -> Result<String, Failure> {
    const ROUND_TRIPS: [&str; 5] = ["5", "20", "40", "100", "300"];
    let lines = ["1 Mbit/s", "10 Mbit/s", "100 Mbit/s", "1 Gbit/s"]
        .map(|rate| (rate, ""))
        .into_iter()
        .chain([("100 Mbit/s", ", 1 %")]);
    let series = lines.map(|(rate, loss)| {
        let points = ROUND_TRIPS.iter().enumerate().map(|(at, rtt)| {
            // The path of all comparisons stands under its loss.
            let row = match (rate, *rtt, loss) {
                ("100 Mbit/s", "40", "") => "0 % loss".to_owned(),
                ("100 Mbit/s", "40", _) => "1 % loss".to_owned(),
                _ => format!("{rate}, {rtt} ms{loss}"),
            };
            Ok((at as f64, speed.value(&row, "goodput")?))
        });
        let name = if loss.is_empty() { rate.to_owned() } else { format!("{rate}, 1 % lost") };
        Series::new(name, points)
    });
    Picture {
        title: "Goodput by round trip and rate",
        x: "round trip, ms",
        y: "share of what the path can carry",
        x_label: &|x| label_at(&ROUND_TRIPS, *x),
        y_label: &|y| format!("{y:.1}"),
        legend: SeriesLabelPosition::LowerLeft,
    }
    .draw(-0.2..4.2, 0.0..1.0, &series.collect::<Result<Vec<_>, _>>()?)
}

fn starts(start: &Table) -> Result<String, Failure> {
    let lines = [
        ("nothing lost", "0 % loss"),
        ("1 %", "1 % loss"),
        ("3 %", "3 % loss"),
        ("10 %", "10 % loss"),
        ("CUBIC, nothing lost", "CUBIC, 0 % loss"),
        ("CUBIC, 1 %", "CUBIC, 1 % loss"),
    ];
    let series = lines.map(|(name, row)| {
        let values = start.columns().zip(start.row(row)?);
        Series::new(name, values.map(|(round_trip, share)| Ok((round_trip.parse()?, *share))))
    });
    Picture {
        title: "A cold start: 100 Mbit/s, 40 ms",
        x: "round trip",
        y: "share of what the path can carry",
        x_label: &|x| format!("{x}"),
        y_label: &|y| format!("{y:.1}"),
        legend: SeriesLabelPosition::Coordinate(520, 180),
    }
    .draw(0.0..30.0, 0.0..1.05, &series.into_iter().collect::<Result<Vec<_>, _>>()?)
}

fn delays(delay: &Table) -> Result<String, Failure> {
    let rows = [
        "reliable, 1 %",
        "reliable, 5 %",
        "reliable unordered, 5 %",
        "unreliable, 5 %",
        "unreliable unordered, 5 %",
    ];
    let series = rows.map(|row| {
        let percentiles = delay.columns().zip(delay.row(row)?);
        let points = percentiles.filter_map(|(column, time)| {
            let percent = column.strip_prefix('p')?;
            Some(percent.parse().map(|percent: f64| (*time, 100.0 - percent)).map_err(Into::into))
        });
        Series::new(row, points)
    });
    Picture {
        title: "How late messages are: 100 a second, 20 ms each way",
        x: "from sending to delivery, ms",
        y: "later than that, %",
        x_label: &|x| format!("{x}"),
        y_label: &|y| format!("{y}"),
        legend: SeriesLabelPosition::UpperRight,
    }
    .draw(
        0.0..150.0,
        (0.01..100.0).log_scale(),
        &series.into_iter().collect::<Result<Vec<_>, _>>()?,
    )
}

/// Of places that are numbered, the one that has this number.
fn label_at(labels: &[&str], number: f64) -> String {
    let label = if number.fract() == 0.0 { labels.get(number as usize) } else { None };
    label.copied().unwrap_or_default().to_owned()
}

/// What stands around the lines.
struct Picture<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    x_label: &'a dyn Fn(&f64) -> String,
    y_label: &'a dyn Fn(&f64) -> String,
    legend: SeriesLabelPosition,
}

impl Picture<'_> {
    fn draw<Y>(self, x: Range<f64>, y: Y, series: &[Series]) -> Result<String, Failure>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(self.x_label)
            .y_label_formatter(self.y_label)
            .draw()?;
        for (one, color) in series.iter().zip(COLORS) {
            let line = color.stroke_width(2);
            chart
                .draw_series(LineSeries::new(one.points.iter().copied(), line))?
                .label(&one.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], line));
        }
        chart
            .configure_series_labels()
            .position(self.legend)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        area.present()?;
        drop(chart);
        drop(area);
        Ok(svg)
    }
}
