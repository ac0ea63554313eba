//! What a model put out, by name and shape, and what is said where it is not what a head expects.

/// One output of a model, batch 1.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    pub name: &'a str,
    /// The first dimension is the batch's, 1.
    pub shape: &'a [i64],
    pub data: &'a [f32],
}

/// Why a model's output cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HeadError {
    #[error("output '{name}' has shape {found:?}, expected {expected}")]
    Shape { name: String, found: Vec<i64>, expected: String },
    #[error("there is no output '{0}'")]
    Missing(String),
    #[error("the model has {classes} class{}, the sidecar {labels} label{}", if *classes == 1 { "" } else { "es" }, if *labels == 1 { "" } else { "s" })]
    Labels { classes: usize, labels: usize },
    #[error(
        "output '{0}' holds {1} boxes with score and class, after suppression (an end-to-end export); export it without: \
         `yolo export format=onnx nms=False end2end=False`"
    )]
    EndToEnd(String, i64),
    #[error("output '{0}' holds values that are no finite numbers")]
    NotFinite(String),
}

impl<'a> Tensor<'a> {
    /// As [`Tensor::expect`], where dimension `at` is `beside` and one for each class: what the sidecar's labels are held to.
    pub fn expect_classes(&self, dims: &[usize], at: usize, beside: usize) -> Result<&'a [f32], HeadError> {
        self.expect(dims).map_err(|e| {
            let found = self.shape.get(1..).unwrap_or_default();
            let n = found.get(at).and_then(|n| usize::try_from(*n).ok()).and_then(|n| n.checked_sub(beside));
            let same = found.len() == dims.len() && (0..dims.len()).all(|i| i == at || found[i] == dims[i] as i64);
            match n {
                Some(classes) if same && classes > 0 => HeadError::Labels { classes, labels: dims[at] - beside },
                _ if matches!(found, [n, 6] if *n > 0) => HeadError::EndToEnd(self.name.into(), found[0]),
                _ => e,
            }
        })
    }

    /// Checks that the shape is `[1, dims…]`.
    pub fn expect(&self, dims: &[usize]) -> Result<&'a [f32], HeadError> {
        let fits = self.shape.len() == dims.len() + 1
            && self.shape[0] == 1
            && self.shape[1..].iter().zip(dims).all(|(&a, &b)| a == b as i64)
            && self.data.len() == dims.iter().product::<usize>();
        if fits {
            return Ok(self.data);
        }
        Err(HeadError::Shape {
            name: self.name.into(),
            found: self.shape.to_vec(),
            expected: format!("[1, {}]", join(dims)),
        })
    }
}

fn join(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

pub fn only<'t, 'a>(tensors: &'t [Tensor<'a>]) -> Result<&'t Tensor<'a>, HeadError> {
    tensors.first().ok_or_else(|| HeadError::Missing("(any)".into()))
}

pub fn named<'t, 'a>(tensors: &'t [Tensor<'a>], name: &str) -> Result<&'t Tensor<'a>, HeadError> {
    tensors.iter().find(|t| t.name == name).ok_or_else(|| HeadError::Missing(name.into()))
}
