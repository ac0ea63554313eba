//! How fast is the layer engine when it cannot skip, and when it can skip everything, against ONNX Runtime?
//!
//! Not criterion: the runs take turns in one process, because the machine is noisy and only ratios
//! count. One thread. YOLOX-nano at 640x384 from the shared models; without them street-nano.
//!
//! `cargo bench --bench dense`

use engine::exec::executor::StreamMaps;
use engine::exec::runner::Runner;
use engine::exec::stream::Stream;
use engine::gating::gate::Gates;
use engine::kernels::Kernels;
use engine::plan::Plan;
use passd::geom::Size;
use passd::infer::layers::plan_of;
use passd::infer::session::Runtime;
use passd::models::model::{Model, ModelFolders};
use passd::models::onnx::with_input_shape;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 60;

fn timed<T>(f: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(f());
    start.elapsed()
}

fn main() {
    let shared = std::env::var_os("PASSD_SHARED").map_or_else(|| "../shared".into(), std::path::PathBuf::from);
    let folders = ModelFolders::usual(Some(&shared.join("models")));
    let model = Model::load("yolox_nano", &folders)
        .or_else(|_| Model::load("street-nano", &folders))
        .expect("street-nano is built in");
    let size = Size::new(640, 384);
    let (w, h) = (size.width as i64, size.height as i64);
    let runtime = Runtime::get(None).expect("a library");
    let mut session = ort::session::Session::builder(&runtime.environment)
        .and_then(|b| Ok(b.with_intra_threads(1)?.with_intra_op_spinning(false)?))
        .and_then(|mut b| b.commit_from_memory(&with_input_shape(&model.onnx, [1, 3, h, w]).expect("a model")))
        .expect("a session");
    let tensor = ort::value::Tensor::from_array(([1, 3, h, w], vec![90f32; 3 * size.area()])).expect("a tensor");
    let plan: Arc<Plan> = Arc::new(plan_of(&model, size, &[]).expect("a plan").0);
    println!(
        "{} at {size}: {} MMAC, {:.1} MiB a stream",
        model.name,
        plan.macs() / 1_000_000,
        Stream::bytes_of(&plan) as f64 / 1048576.0
    );
    for kernels in Kernels::all().iter().filter(|k| k.is_fast()) {
        let mut stream = Stream::new(plan.clone(), Gates::exact(&plan), 0.0);
        let mut runner = Runner::new(&plan, *kernels);
        let mut random = fastrand::Rng::with_seed(1);
        stream.input().0.fill_with(|| random.f32() * 255.0);
        let [mut ort, mut whole, mut all, mut nothing] = [Duration::ZERO; 4];
        for _ in 0..ROUNDS {
            ort += timed(|| session.run(ort::inputs![&tensor]).expect("a run").len());
            stream.forget();
            whole += timed(|| runner.run(&mut stream, 0.0));
            let (picture, changed) = stream.input();
            picture.iter_mut().for_each(|v| *v = 255.0 - *v);
            changed.fill();
            all += timed(|| runner.run(&mut stream, 0.0));
            stream.input().1.clear();
            nothing += timed(|| runner.run(&mut stream, 0.0));
        }
        let ms = |d: Duration| d.as_secs_f64() * 1e3 / f64::from(ROUNDS);
        let line = |what: &str, d: Duration| {
            println!("{:>8} {what:<22} {:>8.3} ms, {:>7.2}x ONNX Runtime", kernels.name, ms(d), ms(ort) / ms(d));
        };
        line("ONNX Runtime", ort);
        line("whole frame", whole);
        line("every pixel changed", all);
        line("nothing changed", nothing);
    }
}
