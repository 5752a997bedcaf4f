//! Bars, as numbers for the SVG of a template: 100 high and ten wide for each time, stretched to the page's width. Words
//! and labels stand beside it, where they keep their size.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::query::Period;

const HEIGHT: f64 = 100.0;
const STEP: f64 = 10.0;
/// Between two bars.
const GAP: f64 = 2.0;
/// Labels below the chart.
const LABELS: usize = 5;
/// What is stacked, from below.
const KINDS: [&str; 3] = ["delivered", "deferred", "failed"];

#[derive(Debug, PartialEq, Serialize)]
pub struct Bar {
    kind: &'static str,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// One time of a chart: an area that tells its numbers, and what the table says.
#[derive(Debug, Serialize)]
pub struct Time {
    x: f64,
    label: String,
    delivered: f64,
    failed: f64,
    deferred: f64,
}

#[derive(Debug, Serialize)]
pub struct Chart {
    pub width: f64,
    /// What the height stands for.
    pub top: f64,
    bars: Vec<Bar>,
    times: Vec<Time>,
    labels: Vec<String>,
}

/// What went out and what did not, over the times of `overview()`.
pub fn throughput(series: &Value, period: Period) -> Chart {
    let times = series.as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |time: &Value, kind: &str| time[kind].as_f64().unwrap_or_default();
    let sum = |time: &Value| KINDS.iter().map(|kind| of(time, kind)).sum::<f64>();
    let top = round_up(times.iter().map(sum).fold(0.0, f64::max));
    let mut bars = Vec::new();
    for (place, time) in times.iter().enumerate() {
        let mut y = HEIGHT;
        for kind in KINDS {
            let height = of(time, kind) / top * HEIGHT;
            y -= height;
            if height > 0.0 {
                bars.push(Bar { kind, x: left(place), y, width: STEP - GAP, height });
            }
        }
    }
    let time = |(place, time): (usize, &Value)| Time {
        x: place as f64 * STEP,
        label: label(&time["at"], period),
        delivered: of(time, "delivered"),
        failed: of(time, "failed"),
        deferred: of(time, "deferred"),
    };
    let labelled = (0..LABELS)
        .filter(|_| times.len() >= LABELS)
        .map(|nth| label(&times[nth * (times.len() - 1) / (LABELS - 1)]["at"], period));
    Chart {
        width: width(times.len()),
        top,
        bars,
        labels: labelled.collect(),
        times: times.iter().enumerate().map(time).collect(),
    }
}

/// Hours of a sparkline.
const HOURS: usize = 24;

/// Bars of one kind without words.
#[derive(Debug, Serialize)]
pub struct Sparkline {
    width: f64,
    bars: Vec<Bar>,
}

/// The last day, of `[[hour, count]…]` in which empty hours may be missing.
pub fn sparkline(per_hour: &Value, now: DateTime<Utc>) -> Sparkline {
    let mut counts = [0.0; HOURS];
    for hour in per_hour.as_array().into_iter().flatten() {
        let at = hour[0].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let ago = at.map(|at| now.timestamp().div_euclid(3_600) - at.timestamp().div_euclid(3_600));
        let place = ago.and_then(|ago| (HOURS - 1).checked_sub(usize::try_from(ago).ok()?));
        if let Some(place) = place {
            counts[place] += hour[1].as_f64().unwrap_or_default();
        }
    }
    let top = counts.iter().copied().fold(1.0, f64::max);
    let bar = |(place, count): (usize, &f64)| {
        // One of a thousand is still seen.
        let height = (count / top * HEIGHT).max(6.0);
        let (x, y) = (left(place), HEIGHT - height);
        Bar { kind: "failed", x, y, width: STEP - GAP, height }
    };
    let bars = counts.iter().enumerate().filter(|(_, count)| **count > 0.0).map(bar).collect();
    Sparkline { width: width(HOURS), bars }
}

fn left(place: usize) -> f64 {
    place as f64 * STEP + GAP / 2.0
}

fn width(times: usize) -> f64 {
    times.max(1) as f64 * STEP
}

fn label(at: &Value, period: Period) -> String {
    let Some(at) = at.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()) else {
        return String::new();
    };
    let form = if period == Period::Week { "%a %d %H:%M" } else { "%H:%M" };
    at.with_timezone(&Utc).format(form).to_string()
}

/// 1, 2 or 5 with zeros behind it, and at least 5, so that half of it is told without a fraction that misleads.
fn round_up(n: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for step in [1.0, 2.0, 5.0] {
            let top = step * power;
            if top >= n.max(4.0) {
                return top;
            }
        }
        power *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bars_stand_on_one_another() {
        let series = json!([
            {"at": "2026-01-02T10:00:00+00:00", "delivered": 5, "deferred": 0, "failed": 5},
            {"at": "2026-01-02T11:00:00+01:00", "delivered": 0, "deferred": 0, "failed": 0},
        ]);
        let chart = throughput(&series, Period::Day);
        assert_eq!((chart.top, chart.width), (10.0, 20.0));
        let heights: Vec<_> = chart.bars.iter().map(|bar| (bar.kind, bar.y, bar.height)).collect();
        assert_eq!(heights, [("delivered", 50.0, 50.0), ("failed", 0.0, 50.0)]);
        assert_eq!(chart.times[1].label, "10:00");
        assert!(chart.labels.is_empty());
    }

    #[test]
    fn nothing_is_a_chart_too() {
        let chart = throughput(&Value::Null, Period::Hour);
        assert_eq!((chart.top, chart.bars.len()), (5.0, 0));
        assert!(sparkline(&Value::Null, Utc::now()).bars.is_empty());
    }

    #[test]
    fn a_sparkline_ends_with_this_hour() {
        let now = "2026-01-02T10:20:00Z".parse().unwrap();
        let hours = json!([
            ["2026-01-01T10:00:00Z", 9],
            ["2026-01-02T09:00:00Z", 1],
            ["2026-01-02T10:00:00Z", 2]
        ]);
        let bars: Vec<_> =
            sparkline(&hours, now).bars.iter().map(|bar| (bar.x, bar.height)).collect();
        assert_eq!(bars, [(221.0, 50.0), (231.0, 100.0)], "the hour of yesterday is too old");
    }

    #[test]
    fn the_top_is_round() {
        assert_eq!([0.0, 5.0, 6.0, 11.0, 4_321.0].map(round_up), [5.0, 5.0, 10.0, 20.0, 5_000.0]);
    }
}
