//! scratch
use passd::engine::*;
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let (w, h): (usize, usize) =
        (std::env::args().nth(2).unwrap().parse().unwrap(), std::env::args().nth(3).unwrap().parse().unwrap());
    let file = std::fs::read(&path).unwrap();
    let graph = import::import(&file, h, w).unwrap();
    let plan = Arc::new(plan::Plan::new(graph.clone()).unwrap());
    println!(
        "{} steps, {} MMAC, state {:.1} MiB",
        plan.steps.len(),
        plan.macs() / 1_000_000,
        plan.state_bytes() as f64 / 1048576.0
    );
    let mut random = fastrand::Rng::with_seed(7);
    let picture: Vec<f32> = (0..h * w * 3).map(|_| random.f32() * 255.0).collect();
    #[cfg(feature = "daemon")]
    let (mut session, tensor) = {
        let runtime = passd::infer::session::Runtime::get(None).unwrap();
        let sized = passd::infer::onnx::with_input_shape(&file, [1, 3, h as i64, w as i64]).unwrap();
        let s = ort::session::Session::builder(&runtime.environment)
            .unwrap()
            .with_intra_threads(1)
            .unwrap()
            .with_intra_op_spinning(false)
            .unwrap()
            .commit_from_memory(&sized)
            .unwrap();
        let t = ort::value::Tensor::from_array(([1i64, 3, h as i64, w as i64], vec![100f32; 3 * h * w])).unwrap();
        (s, t)
    };
    for k in kernels::Kernels::all() {
        if k.name == "portable" {
            continue;
        }
        let mut runner = run::Runner::new(&plan, *k);
        let mut stream = state::Stream::new(plan.clone(), gate::Gates::exact(&plan), f32::NAN);
        stream.input().0.copy_from_slice(&picture);
        runner.run(&mut stream, 0.0);
        let mut best = [f64::MAX; 3];
        let mut sum = [0.0; 3];
        let n = 60;
        let mut per = vec![0f64; plan.steps.len()];
        for i in 0..n {
            let t = Instant::now();
            stream.forget();
            runner.run(&mut stream, 0.0);
            let e = t.elapsed().as_secs_f64() * 1e3;
            best[0] = best[0].min(e);
            sum[0] += e;
            #[cfg(feature = "daemon")]
            {
                let t = Instant::now();
                let _ = session.run(ort::inputs![&tensor]).unwrap();
                let e = t.elapsed().as_secs_f64() * 1e3;
                best[1] = best[1].min(e);
                sum[1] += e;
            }
            // every pixel changed, exact gates
            let (data, set) = stream.input();
            for v in data.iter_mut() {
                *v = 255.0 - *v;
            }
            set.fill();
            let t = Instant::now();
            let c = runner.run(&mut stream, 0.0);
            let e = t.elapsed().as_secs_f64() * 1e3;
            best[2] = best[2].min(e);
            sum[2] += e;
            if i == 0 {
                println!("{c:?}");
            }
            let (_, set) = stream.input();
            set.clear();
        }
        println!(
            "{}: dense {:.2} (mean {:.2}), ort {:.2} ({:.2}), all changed {:.2} ({:.2})",
            k.name,
            best[0],
            sum[0] / n as f64,
            best[1],
            sum[1] / n as f64,
            best[2],
            sum[2] / n as f64
        );
        if std::env::args().nth(4).is_some() {
            for _ in 0..20 {
                runner.profile(&mut stream, &mut per);
            }
            let mut rows: Vec<(usize, f64)> = per.iter().map(|t| t / 20.0 * 1e3).enumerate().collect();
            let total: f64 = rows.iter().map(|r| r.1).sum();
            rows.sort_by(|a, b| b.1.total_cmp(&a.1));
            let mut kinds = std::collections::BTreeMap::<&str, (f64, u64)>::new();
            for (i, t) in &rows {
                let e = kinds.entry(plan.steps[*i].name()).or_default();
                e.0 += t;
                e.1 += plan.steps[*i].macs_per_cell * plan.maps[plan.steps[*i].output].shape.n_cells() as u64;
            }
            println!("total {total:.2} {kinds:?}");
            for (i, t) in rows.iter().take(40) {
                let s = &plan.steps[*i];
                let o = &plan.maps[s.output];
                let macs = s.macs_per_cell * o.shape.n_cells() as u64;
                println!(
                    "{i:4} {:12} {:14} in {:14} {t:.3} ms {:.1} GMAC/s",
                    s.name(),
                    o.shape.to_string(),
                    plan.maps[s.inputs[0]].shape.to_string(),
                    macs as f64 / t / 1e6
                );
            }
        }
    }
}
