//! scratch
use passd::capture::{Clip, SourceSpec};
use passd::engine::gate::*;
use passd::eval::score::Agreement;
use passd::geom::Size;
use passd::infer::detector::DenseDetector;
use passd::infer::heads::Thresholds;
use passd::infer::layers::*;
use passd::infer::model::{Model, ModelFolders};
use passd::infer::session::{Runtime, SessionSettings};
use passd::infer::*;
use passd::merge::MergeSettings;
use passd::pipeline::Stage;
use passd::skip::{SkipMode, SkipSettings};
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get =
        |k: &str, d: f64| args.iter().find_map(|a| a.strip_prefix(&format!("{k}="))).map_or(d, |v| v.parse().unwrap());
    let model = Arc::new(
        Model::load(&std::env::var("MODEL").unwrap_or("yolox_nano".into()), &ModelFolders::usual(None)).unwrap(),
    );
    let size = Size::new(640, 384);
    let t = Thresholds { score: 0.3, iou: 0.5 };
    let rt = Runtime::get(None).unwrap();
    let mut dense = DenseDetector::open(rt, model.clone(), size, t, &SessionSettings::default()).unwrap();
    let n = get("n", 400.0) as usize;
    let start = get("start", 0.0) as usize;
    let cache =
        format!("/tmp/dense_{}_{}_{}_{}.txt", args[1].replace(['/', '?', '&', ':', '='], "_"), model.name, start, n);
    let mut clip = Clip::open(&SourceSpec::parse(&args[1]).unwrap(), size).unwrap();
    let mut frames = vec![];
    let mut want: Vec<Vec<Detection>> = vec![];
    for _ in 0..start {
        clip.next_frame().unwrap();
    }
    let known: Option<Vec<Vec<Detection>>> = std::fs::read_to_string(&cache).ok().map(|s| {
        s.lines()
            .map(|l| {
                l.split(';')
                    .filter(|d| !d.is_empty())
                    .map(|d| {
                        let v: Vec<f32> = d.split(',').map(|x| x.parse().unwrap()).collect();
                        Detection {
                            class: v[0] as u16,
                            score: v[1],
                            bbox: passd::geom::Rect::new(v[2], v[3], v[4], v[5]),
                            landmarks: None,
                        }
                    })
                    .collect()
            })
            .collect()
    });
    while frames.len() < n {
        match clip.next_frame().unwrap() {
            Some(f) => frames.push(f),
            None => break,
        }
    }
    if let Some(k) = known {
        want = k;
    } else {
        let full = passd::geom::PatchMask::full(passd::geom::PatchGrid::new(size, 16));
        let mut fresh = Fresh::default();
        let mut text = String::new();
        for f in &frames {
            dense.detect(StreamId(0), &Work { frame: f, patches: &full, known: &[] }, &mut fresh).unwrap();
            want.push(fresh.detections.clone());
            text += &fresh
                .detections
                .iter()
                .map(|d| {
                    let b = d.bbox.to_array();
                    format!("{},{},{},{},{},{}", d.class, d.score, b[0], b[1], b[2], b[3])
                })
                .collect::<Vec<_>>()
                .join(";");
            text += "\n";
        }
        std::fs::write(&cache, text).unwrap();
    }
    let skip = SkipSettings {
        patch: Some(get("patch", 8.0) as u32),
        threshold: Some(get("thr", 2.0) as f32),
        max_age_ns: (get("age", 10.0) * 1e9) as u64,
        ..SkipSettings::default()
    };
    let mut stage =
        Stage::new(SkipMode::Layers, size, &skip, MergeSettings { max_age_ns: u64::MAX, ..MergeSettings::default() });
    let profile = std::env::var("GATES").ok().map(|p| passd::infer::gates::find(&model, &ModelFolders::usual(None), Some(p.as_ref())).unwrap().unwrap());
    let mut det = LayersDetector::open(
        model.clone(),
        size,
        t,
        LayersSettings { max_age_ns: skip.max_age_ns, pixel: get("px", 3.0) as u8 },
        profile.as_ref(),
    )
    .unwrap();
    if profile.is_none() { det.set_gates(Gates::rising(det.plan(), (get("a", 0.06) as f32, get("b", 0.2) as f32))); }
    let mut fresh = Fresh::default();
    let mut agree = Agreement::default();
    let mut c = passd::engine::run::Counters::default();
    let (mut skip_s, mut det_s, mut fin_s) = (0.0, 0.0, 0.0);
    let mut patches = 0usize;
    let mut times = vec![];
    for (f, w) in frames.iter().zip(&want) {
        let t0 = Instant::now();
        let (p, k) = stage.begin(f);
        patches += p.count();
        let t1 = Instant::now();
        det.detect(StreamId(0), &Work { frame: f, patches: p, known: k }, &mut fresh).unwrap();
        let t2 = Instant::now();
        stage.finish(f, &fresh);
        let t3 = Instant::now();
        skip_s += (t1 - t0).as_secs_f64();
        det_s += (t2 - t1).as_secs_f64();
        fin_s += (t3 - t2).as_secs_f64();
        times.push((t3 - t0).as_secs_f64() * 1e3);
        c.add(&fresh.layers);
        let found: Vec<Detection> = stage.detections().iter().map(|m| m.detection).collect();
        agree.add(w, &found);
    }
    let nf = frames.len() as f64;
    let m = |v: f64| v * 1e3 / nf;
    times.sort_by(f64::total_cmp);
    println!(
        "agreement {:.3} (r {:.3} p {:.3}) total {:.2} ms p50 {:.2} [skip {:.2} detect {:.2} finish {:.2}] book {:.2} kern {:.2} share {:.1}% req {:.1}% cells {:.0} passed {:.0} patches {:.1}%",
        agree.agreement(),
        agree.recall(),
        agree.precision(),
        m(skip_s + det_s + fin_s),
        times[times.len() / 2],
        m(skip_s),
        m(det_s),
        m(fin_s),
        m(c.bookkeeping.as_secs_f64()),
        m(c.kernels.as_secs_f64()),
        100.0 * c.executed_macs as f64 / c.dense_macs as f64,
        100.0 * c.requested_macs as f64 / c.dense_macs as f64,
        c.cells as f64 / nf,
        c.passed as f64 / nf,
        100.0 * patches as f64 / nf / stage.grid().n_patches() as f64
    );
    if get("table", 0.0) > 0.0 {
        let plan = det.plan();
        for (i, (s, st)) in plan.steps.iter().zip(det.runner().stats()).enumerate() {
            if st.computed == 0 {
                continue;
            }
            let o = &plan.maps[s.output];
            let cells = o.shape.n_cells() as f64 * nf;
            println!(
                "{i:4} {:12} {:14} {:14} req {:5.1}% passed {:5.1}% {:.3} ms {:.1} GMAC/s tau {:.3}",
                s.name(),
                o.shape.to_string(),
                plan.maps[s.inputs[0]].shape.to_string(),
                100.0 * st.requested as f64 / cells,
                100.0 * st.passed as f64 / cells,
                m(st.kernels.as_secs_f64()),
                st.computed as f64 * s.macs_per_cell as f64 / st.kernels.as_secs_f64() / 1e9,
                det.stream(StreamId(0)).unwrap().gates().get(i).threshold
            );
        }
    }
}
