//! Zones, lines and filters of the config, checked and completed.

use super::checks::{Complain, check_name, ns, within};
use super::file;
use crate::scene::filter::{Filter, Filters};
use crate::scene::shape::{Point, Polygon, Segment};
use crate::scene::{Line, SceneSettings, Zone};
use std::collections::BTreeMap;

/// Most zones, and most lines, of a camera.
const MOST: usize = 64;
const INERTIA: u32 = 3;
/// Of a picture: a fifth of a pixel of 640x384.
const LEAST_AREA: f32 = 1e-6;

/// What a camera watches; `key` is the camera's.
pub fn resolve(camera: &file::CameraTable, key: &str, complain: Complain<'_>) -> SceneSettings {
    for (what, n) in [("zones", camera.zones.len()), ("lines", camera.lines.len())] {
        if n > MOST {
            complain(&format!("{key}.{what}"), format!("{n} are too many; {MOST} are the most"));
        }
    }
    let mut settings = SceneSettings { required: camera.required_zones.clone(), ..SceneSettings::default() };
    for (name, zone) in camera.zones.iter().take(MOST) {
        let key = format!("{key}.zones.{name}");
        check_name(name, &key, complain);
        check_polygon(&zone.polygon, &format!("{key}.polygon"), complain);
        within(zone.inertia, 1, 1000, format!("{key}.inertia"), complain);
        within(zone.loitering, 0.0, 86_400.0, format!("{key}.loitering"), complain);
        settings.zones.push(Zone {
            name: name.clone(),
            area: Polygon(zone.polygon.clone()),
            labels: zone.labels.clone(),
            inertia: zone.inertia.unwrap_or(INERTIA),
            loitering_ns: ns(zone.loitering.unwrap_or(0.0)),
        });
    }
    for (name, line) in camera.lines.iter().take(MOST) {
        let key = format!("{key}.lines.{name}");
        check_name(name, &key, complain);
        within(line.inertia, 1, 1000, format!("{key}.inertia"), complain);
        let (Some(from), Some(to)) = (line.from, line.to) else {
            complain(&key, "lacks one of its points: from and to".into());
            continue;
        };
        if from == to || !is_inside(from) || !is_inside(to) {
            complain(&key, "expected two points apart, shares of the picture's sides, 0 to 1".into());
        }
        settings.lines.push(Line {
            name: name.clone(),
            segment: Segment { from, to },
            labels: line.labels.clone(),
            inertia: line.inertia.unwrap_or(INERTIA),
        });
    }
    for name in camera.required_zones.iter().filter(|name| !camera.zones.contains_key(*name)) {
        let known: Vec<&str> = camera.zones.keys().map(String::as_str).collect();
        complain(
            &format!("{key}.required_zones"),
            format!("there is no zone '{name}'; there are {}", known.join(", ")),
        );
    }
    settings
}

/// A camera's filters, those of all cameras filling in.
pub fn resolve_filters(
    camera: &BTreeMap<String, file::FilterTable>,
    usual: &BTreeMap<String, file::FilterTable>,
) -> Filters {
    let mut by_label = usual.clone();
    by_label.extend(camera.iter().map(|(label, f)| (label.clone(), f.clone())));
    let filter = |f: file::FilterTable| {
        let any = Filter::default();
        Filter {
            min_score: f.min_score.unwrap_or(any.min_score),
            area: [f.min_area.unwrap_or(any.area[0]), f.max_area.unwrap_or(any.area[1])],
            ratio: [f.min_ratio.unwrap_or(any.ratio[0]), f.max_ratio.unwrap_or(any.ratio[1])],
            masks: f.masks.into_iter().map(Polygon).collect(),
        }
    };
    Filters { by_label: by_label.into_iter().map(|(label, f)| (label, filter(f))).collect() }
}

pub fn check_filters(filters: &BTreeMap<String, file::FilterTable>, key: &str, complain: Complain<'_>) {
    for (label, f) in filters {
        let key = format!("{key}.{label}");
        within(f.min_score, 0.0, 1.0, format!("{key}.min_score"), complain);
        within(f.min_area, 0.0, 1.0, format!("{key}.min_area"), complain);
        within(f.max_area, 0.0, 1.0, format!("{key}.max_area"), complain);
        within(f.min_ratio, 0.0, 1000.0, format!("{key}.min_ratio"), complain);
        within(f.max_ratio, 0.0, 1000.0, format!("{key}.max_ratio"), complain);
        for (what, lo, hi) in [("area", f.min_area, f.max_area), ("ratio", f.min_ratio, f.max_ratio)] {
            if let (Some(lo), Some(hi)) = (lo, hi)
                && lo > hi
            {
                complain(&format!("{key}.max_{what}"), format!("{hi} is less than min_{what}, {lo}"));
            }
        }
        check_polygons(&f.masks, &format!("{key}.masks"), complain);
    }
}

fn is_inside(p: Point) -> bool {
    p.iter().all(|v| (0.0..=1.0).contains(v))
}

pub fn check_polygons(polygons: &[Vec<Point>], key: &str, complain: Complain<'_>) {
    if polygons.len() > MOST {
        complain(key, format!("{} polygons are too many; {MOST} are the most", polygons.len()));
    }
    for (i, polygon) in polygons.iter().take(MOST).enumerate() {
        check_polygon(polygon, key, &mut |key, what| complain(key, format!("polygon {i}: {what}")));
    }
}

fn check_polygon(polygon: &[Point], key: &str, complain: Complain<'_>) {
    match polygon.len() {
        n @ 0..3 => complain(key, format!("{n} corners; three corners are the least")),
        n @ 257.. => complain(key, format!("{n} corners are too many; 256 are the most")),
        _ => {}
    }
    if !polygon.iter().copied().all(is_inside) {
        complain(key, "corners are shares of the picture's sides, 0 to 1".into());
    } else if polygon.len() >= 3 && Polygon(polygon.to_vec()).area() < LEAST_AREA {
        complain(key, "the corners enclose nothing; expected them in their order around the area".into());
    }
}
