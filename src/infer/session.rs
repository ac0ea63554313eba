//! ONNX Runtime: finding the library, opening sessions, running them.
//!
//! The only file that names `ort`. A session has one fixed input shape and one
//! provider, which has proved itself by a real run before it is used.

use super::InferError;
use super::preprocess::{Crop, fill_tensor};
use crate::detect::heads::Tensor;
use crate::frame::PADDING;
use crate::geom::Size;
use crate::models::model::Model;
use crate::models::onnx;
use crate::text::printable;
use engine::import::Tail;
use ort::ep;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session as OrtSession, SessionInputValue, SessionOutputs};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Oldest ONNX Runtime that will do (feature `api-17` of the binding).
pub const MIN_VERSION: &str = "1.17";

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Tensorrt,
    Cuda,
    Cpu,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tensorrt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        })
    }
}

/// How sessions are opened.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSettings {
    /// Tried in order; a provider that fails gives way to the next.
    pub providers: Vec<Provider>,
    /// Threads of one run on the CPU; 0: as many as there are cores.
    pub threads: usize,
    /// Half precision, where the provider has it.
    pub fp16: bool,
    /// Folder for TensorRT's engines, which take minutes to build.
    pub cache: Option<PathBuf>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { providers: vec![Provider::Cpu], threads: 1, fp16: false, cache: None }
    }
}

/// The loaded library. One a process.
#[derive(Clone)]
pub struct Runtime {
    pub environment: ort::environment::Environment,
    pub library: PathBuf,
}

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();

impl Runtime {
    /// Loads the library once; `configured` is tried first, then `ORT_DYLIB_PATH`,
    /// the folders beside the binary, the project's cache and the system's folders.
    ///
    /// # Errors
    /// What was looked for, where, what was wrong with it, and the remedy.
    pub fn get(configured: Option<&Path>) -> Result<&'static Self, InferError> {
        RUNTIME.get_or_init(|| Self::load(configured)).as_ref().map_err(|e| InferError::Runtime(e.clone()))
    }

    fn load(configured: Option<&Path>) -> Result<Self, String> {
        let mut tried = Vec::new();
        for path in candidates(configured) {
            if path.is_absolute() && !path.exists() {
                tried.push(format!("  {}: not there", path.display()));
                continue;
            }
            match ort::init_from(&path) {
                Ok(builder) => {
                    let environment = builder
                        .with_name("passd")
                        .with_telemetry(false)
                        .with_logger(std::sync::Arc::new(log))
                        .build()
                        .map_err(|e| format!("ONNX Runtime from {}: {e}", path.display()))?;
                    return Ok(Self { environment, library: path });
                }
                Err(e) => tried.push(format!("  {}: {e}", path.display())),
            }
        }
        Err(format!(
            "no usable ONNX Runtime (libonnxruntime.so, {MIN_VERSION} or later) was found. Tried:\n{}\n\
             Remedy: `make setup` in the source tree fetches one, or set ORT_DYLIB_PATH (or inference.library in the config) \
             to a libonnxruntime.so",
            tried.join("\n")
        ))
    }
}

/// Where the library may be, best first.
fn candidates(configured: Option<&Path>) -> Vec<PathBuf> {
    let named = configured.map(Path::to_path_buf).or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from));
    // Somebody who names a library means that one.
    if let Some(path) = named.filter(|p| !p.as_os_str().is_empty()) {
        return vec![std::path::absolute(&path).unwrap_or(path)];
    }
    let mut all = Vec::new();
    if let Some(folder) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)) {
        // An installed layout (bin, lib), then a source tree (target/release, .cache).
        all.push(folder.join("../lib/passd/libonnxruntime.so"));
        for up in ["../..", "../../.."] {
            all.push(folder.join(up).join(".cache/onnxruntime/libonnxruntime.so"));
        }
    }
    all.push("/usr/lib/passd/libonnxruntime.so".into());
    all.push("/usr/local/lib/libonnxruntime.so".into());
    all.push("libonnxruntime.so".into());
    all
}

fn log(level: ort::logging::LogLevel, _category: &str, _id: &str, _location: &str, message: &str) {
    use ort::logging::LogLevel;
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(target: "onnxruntime", "{message}"),
        LogLevel::Warning => tracing::debug!(target: "onnxruntime", "{message}"),
        _ => tracing::trace!(target: "onnxruntime", "{message}"),
    }
}

/// One model at one input shape on one provider.
pub struct Session {
    model: String,
    inner: OrtSession,
    input: String,
    tensor: ort::value::Tensor<f32>,
    /// Size of one picture of the batch.
    pub size: Size,
    pub batch: usize,
    pub provider: Provider,
}

/// Largest relative difference between a provider's and the CPU's output that
/// is taken for rounding (half precision included).
const SAME_OUTPUT: f32 = 0.05;

impl Session {
    /// Opens `model` at `size` on the first of the providers that works.
    ///
    /// # Errors
    /// The model is refused, or no provider works (each with its reason).
    pub fn open(
        runtime: &Runtime,
        model: &Model,
        size: Size,
        batch: usize,
        s: &SessionSettings,
    ) -> Result<Self, InferError> {
        let mut reasons = Vec::new();
        for &provider in &s.providers {
            if !is_in_library(provider) {
                let reason = format!("{}: this ONNX Runtime was built without it", provider);
                tracing::debug!(model = model.name, "{reason}");
                reasons.push(reason);
                continue;
            }
            match Self::open_on(runtime, model, size, batch, provider, s) {
                Ok(session) => return Ok(session),
                // The last resort's reason is the model's own trouble.
                Err(e) if s.providers.len() == 1 => return Err(e),
                Err(e) => {
                    tracing::warn!(model = model.name, %provider, "provider does not work, trying the next: {e}");
                    reasons.push(format!("{provider}: {e}"));
                }
            }
        }
        Err(InferError::model(&model.file, format!("no provider works: {}", reasons.join("; "))))
    }

    fn open_on(
        runtime: &Runtime,
        model: &Model,
        size: Size,
        batch: usize,
        provider: Provider,
        s: &SessionSettings,
    ) -> Result<Self, InferError> {
        model.check_size(size)?;
        let dims = [batch as i64, 3, i64::from(size.height), i64::from(size.width)];
        let err = |what: &str, e: &dyn fmt::Display| InferError::model(&model.file, format!("{what}: {e}"));
        let bytes = onnx::with_input_shape(&model.onnx, dims).map_err(|e| err("reading", &e))?;
        let inner = builder(runtime, model, size, provider, s)
            .and_then(|mut b| b.commit_from_memory(&bytes))
            .map_err(|e| err(&format!("ONNX Runtime refuses it on {provider}"), &in_words(&e.to_string(), model)))?;
        let [input] = inner.inputs() else {
            return Err(err("inputs", &format!("{} found, expected one picture", inner.inputs().len())));
        };
        let tensor = ort::value::Tensor::from_array((dims, vec![0f32; batch * 3 * size.area()]))
            .map_err(|e| err("input tensor", &e))?;
        let mut session =
            Self { model: model.name.clone(), input: input.name().to_owned(), inner, tensor, size, batch, provider };
        session.prove(runtime, model, s)?;
        Ok(session)
    }

    /// One real run: shapes and numbers are what the head expects and, on an
    /// accelerator, what the CPU says.
    fn prove(&mut self, runtime: &Runtime, model: &Model, s: &SessionSettings) -> Result<(), InferError> {
        let err = |reason: String| InferError::model(&model.file, reason);
        self.fill_test_picture(model);
        let (n_classes, head, size) = (model.labels.len(), &model.sidecar.head, self.size);
        let thresholds = crate::detect::heads::Thresholds { score: 0.05, iou: 0.5 };
        let mut found = Vec::new();
        self.run(|i, tensors| {
            if i > 0 {
                return Ok(());
            }
            head.decode(tensors, size, n_classes, thresholds, &mut found).map_err(|e| e.to_string())
        })
        .map_err(|e| match e {
            InferError::Run { reason, .. } => err(reason),
            other => other,
        })?;
        if self.provider != Provider::Cpu {
            let on_cpu = SessionSettings { providers: vec![Provider::Cpu], ..s.clone() };
            let mut cpu = Self::open_on(runtime, model, self.size, self.batch, Provider::Cpu, &on_cpu)?;
            cpu.fill_test_picture(model);
            let difference = relative_difference(&cpu.raw()?, &self.raw()?);
            if difference.is_nan() || difference > SAME_OUTPUT {
                return Err(err(format!(
                    "{} computes something else than the CPU (relative difference {difference})",
                    self.provider
                )));
            }
        }
        Ok(())
    }

    /// A grey picture with a diagonal pattern: nothing a model must find, but
    /// nothing that hides a broken kernel either.
    fn fill_test_picture(&mut self, model: &Model) {
        let w = self.size.width as usize;
        let bgr: Vec<u8> = (0..self.size.area() * 3)
            .map(|i| PADDING.wrapping_add((((i / 3 % w + i / 3 / w) / 8) % 5 * 20) as u8))
            .collect();
        for i in 0..self.batch {
            self.fill(i, model, &bgr, self.size, Crop::whole(self.size));
        }
    }

    /// Puts `crop` of a BGR picture of `size` into place `i` of the batch.
    pub fn fill(&mut self, i: usize, model: &Model, bgr: &[u8], size: Size, crop: Crop) {
        let n = 3 * self.size.area();
        let (_, data) = self.tensor.extract_tensor_mut();
        fill_tensor(bgr, size, crop, &model.normalise, &mut data[i * n..][..n]);
    }

    /// Runs the batch and hands the outputs of each picture, as batch of 1, to `read`.
    ///
    /// # Errors
    /// The run failed, or `read` did.
    pub fn run(&mut self, mut read: impl FnMut(usize, &[Tensor<'_>]) -> Result<(), String>) -> Result<(), InferError> {
        let err = |reason: String| InferError::Run { model: self.model.clone(), reason };
        let outputs = self
            .inner
            .run(ort::inputs![self.input.as_str() => &self.tensor])
            .map_err(|e| err(without_places(&e.to_string())))?;
        let views = views(&outputs, self.batch).map_err(err)?;
        for i in 0..self.batch {
            let tensors: Vec<Tensor<'_>> = views
                .iter()
                .map(|(name, shape, data)| {
                    let n = data.len() / self.batch;
                    Tensor { name, shape, data: &data[i * n..][..n] }
                })
                .collect();
            read(i, &tensors).map_err(err)?;
        }
        Ok(())
    }

    /// All outputs of one run, one after the other.
    pub fn raw(&mut self) -> Result<Vec<f32>, InferError> {
        let mut all = Vec::new();
        self.run(|_, tensors| {
            tensors.iter().for_each(|t| all.extend_from_slice(t.data));
            Ok(())
        })?;
        Ok(all)
    }
}

/// What ONNX Runtime says, for somebody who has a file and not its source.
fn in_words(said: &str, model: &Model) -> String {
    let said = without_places(said);
    if said.contains("IR version") {
        let ours = onnx::ir_version(&model.onnx);
        return format!(
            "the file is of ONNX IR version {ours}, which is newer than this library ({said}). Set an older one \
             (onnx: model.ir_version = 10, then save), export with an older opset, or bring ONNX Runtime up to date"
        );
    }
    said
}

/// Without the places in the library's own source that it begins with: `/src/model.cc:181 ns::f(int) what is wrong`.
fn without_places(said: &str) -> String {
    let mut text = said.to_owned();
    while let Some(at) = text.find(".cc:") {
        let start = text[..at].rfind([' ', ':', '\n']).map_or(0, |i| i + 1);
        let after = &text[at + 4..];
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        // The function's name and its arguments.
        let mut depth = 0;
        let end = after.char_indices().skip(digits).find_map(|(i, c)| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            (c == ')' && depth == 0).then_some(i + 1)
        });
        let is_function = after[digits..].trim_start().split(' ').next().is_some_and(|word| word.contains("::"));
        let cut = at + 4 + if is_function { end.unwrap_or(digits) } else { digits };
        text.replace_range(start..cut, "");
    }
    printable(text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.'), 600)
}

/// Name, shape with a batch of 1, and data of the whole batch, of each output.
type View<'a> = (&'a str, Vec<i64>, &'a [f32]);

fn views<'a>(outputs: &'a SessionOutputs<'_>, batch: usize) -> Result<Vec<View<'a>>, String> {
    let mut views = Vec::with_capacity(outputs.len());
    for name in outputs.keys() {
        let (shape, data) = outputs[name].try_extract_tensor::<f32>().map_err(|e| format!("output '{name}': {e}"))?;
        let mut dims = shape.to_vec();
        if dims.first() != Some(&(batch as i64)) {
            return Err(format!("output '{name}' has shape {dims:?}, expected a batch of {batch}"));
        }
        dims[0] = 1;
        views.push((name, dims, data));
    }
    Ok(views)
}

/// The end of a model, of which the layer engine computes the rest.
pub struct TailSession {
    model: String,
    inner: OrtSession,
    /// The model's outputs, in its order.
    outputs: Vec<String>,
}

impl TailSession {
    /// Opens the tail of `model`, for the CPU.
    ///
    /// # Errors
    /// ONNX Runtime refuses it.
    pub fn open(runtime: &Runtime, model: &Model, tail: &Tail, threads: usize) -> Result<Self, InferError> {
        let err = |e: &dyn fmt::Display| {
            InferError::model(&model.file, format!("ONNX Runtime refuses the end, which is left to it: {e}"))
        };
        let inner = on_cpu(runtime, threads).and_then(|mut b| b.commit_from_memory(&tail.file)).map_err(|e| err(&e))?;
        Ok(Self { model: model.name.clone(), inner, outputs: tail.model_outputs.clone() })
    }

    /// Runs it on what the engine puts out, and hands the model's outputs, in its order, to `read`.
    ///
    /// # Errors
    /// The run failed, or `read` did.
    pub fn run(
        &mut self,
        ours: &[Tensor<'_>],
        mut read: impl FnMut(&[Tensor<'_>]) -> Result<(), String>,
    ) -> Result<(), InferError> {
        let err = |reason: String| InferError::Run { model: self.model.clone(), reason };
        let mut inputs: Vec<(String, SessionInputValue<'_>)> = Vec::new();
        for input in self.inner.inputs() {
            let found = ours.iter().find(|t| t.name == input.name());
            let tensor = found.ok_or_else(|| err(format!("its end reads '{}', which is not there", input.name())))?;
            let tensor = ort::value::TensorRef::from_array_view((tensor.shape.to_vec(), tensor.data))
                .map_err(|e| err(e.to_string()))?;
            inputs.push((input.name().to_owned(), tensor.into()));
        }
        let made = self.inner.run(inputs).map_err(|e| err(e.to_string()))?;
        let made = views(&made, 1).map_err(err)?;
        let tensor = |name: &String| {
            let made = made.iter().find(|v| v.0 == name).map(|(name, shape, data)| Tensor { name, shape, data });
            made.or_else(|| ours.iter().find(|t| t.name == name).copied())
        };
        let tensors: Vec<Tensor<'_>> = self.outputs.iter().filter_map(tensor).collect();
        read(&tensors).map_err(err)
    }
}

/// Whether the loaded library has the provider at all.
fn is_in_library(provider: Provider) -> bool {
    use ort::ep::ExecutionProvider;
    let found = match provider {
        Provider::Cpu => return true,
        Provider::Cuda => ep::CUDA::is_available(),
        Provider::Tensorrt => ep::TensorRT::is_available(),
    };
    found.unwrap_or(false)
}

fn relative_difference(want: &[f32], found: &[f32]) -> f32 {
    if want.len() != found.len() {
        return f32::INFINITY;
    }
    let sum: f32 = want.iter().zip(found).map(|(a, b)| (a - b).abs()).sum();
    sum / want.iter().map(|a| a.abs()).sum::<f32>().max(1e-6)
}

fn builder(
    runtime: &Runtime,
    model: &Model,
    size: Size,
    provider: Provider,
    s: &SessionSettings,
) -> ort::Result<SessionBuilder> {
    let b = on_cpu(runtime, s.threads)?;
    let provider = match provider {
        Provider::Cpu => return Ok(b),
        Provider::Cuda => ep::CUDA::default().build(),
        Provider::Tensorrt => {
            let mut trt = ep::TensorRT::default().with_fp16(s.fp16);
            if let Some(cache) = &s.cache {
                // The engine's file name has the model, so that one folder serves all.
                let prefix = format!("{}_{}_{}", model.name, &model.sha256[..12], size);
                trt = trt
                    .with_engine_cache(true)
                    .with_engine_cache_path(cache.display())
                    .with_engine_cache_prefix(prefix)
                    .with_timing_cache(true)
                    .with_timing_cache_path(cache.display());
            }
            trt.build()
        }
    };
    Ok(b.with_execution_providers([provider.error_on_failure()])?)
}

fn on_cpu(runtime: &Runtime, threads: usize) -> ort::Result<SessionBuilder> {
    let b = OrtSession::builder(&runtime.environment)?;
    let b = b.with_optimization_level(GraphOptimizationLevel::All)?;
    // Frames come one at a time, and between them the core belongs to others.
    Ok(b.with_intra_threads(threads)?.with_intra_op_spinning(false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_of_its_own_source_is_left_out() {
        for (said, want) in [
            (
                "Load model from memory failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:181 onnxruntime::Model::Model(ModelProto&&, const F<int(char)>&) Unsupported model IR version: 12, max supported IR version: 11\n",
                "Load model from memory failed: Unsupported model IR version: 12, max supported IR version: 11",
            ),
            ("/a/b.cc:12 bad thing happened", "bad thing happened"),
            ("two x.cc:1 a::b(c) one, y.cc:22 d::e() other.", "two one, other"),
            ("nothing of that", "nothing of that"),
        ] {
            assert_eq!(without_places(said), want);
        }
    }
}
