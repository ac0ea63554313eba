//! The model's outputs, gathered from the maps in the order of ONNX Runtime's tensors.
//!
//! Where each number stands is found out once: runs of numbers at equal distances,
//! so that a channel of a whole map is one run.

use crate::plan::program::Program;

/// Numbers of an output from `to` on, from `from` on in a buffer and `step` apart there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StridedRun {
    buffer: usize,
    from: usize,
    step: usize,
    to: usize,
    n: usize,
}

/// Where the numbers of all outputs of a plan stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// One list an output, with its number of values.
    runs: Vec<(Vec<StridedRun>, usize)>,
}

impl Outputs {
    pub fn new(program: &Program) -> Self {
        Self {
            runs: program.outputs.iter().map(|output| (runs(program, output), output.dims.iter().product())).collect(),
        }
    }

    /// Reads all of them, overwriting `into`: one list an output. `buffer`: the numbers of a buffer of the program.
    pub fn read<'a>(&self, buffer: impl Fn(usize) -> &'a [f32], into: &mut Vec<Vec<f32>>) {
        into.resize_with(self.runs.len(), Vec::new);
        for ((runs, n), values) in self.runs.iter().zip(into) {
            values.resize(*n, 0.0);
            for run in runs {
                let from = buffer(run.buffer)[run.from..].iter().step_by(run.step.max(1));
                values[run.to..run.to + run.n].iter_mut().zip(from).for_each(|(value, number)| *value = *number);
            }
        }
    }
}

fn runs(program: &Program, output: &crate::graph::Output) -> Vec<StridedRun> {
    let mut runs: Vec<StridedRun> = Vec::new();
    let extent = |range: std::ops::Range<usize>| output.dims.get(range).unwrap_or_default().iter().product::<usize>();
    // The parts lie one after another along the axis.
    let inner = extent(output.axis + 1..output.dims.len().max(output.axis + 1)).max(1);
    let along = output.dims.get(output.axis).copied().unwrap_or(1);
    let mut first = 0;
    for part in &output.parts {
        let map = &program.maps[part.base.0 as usize];
        let here = part.shape().get(output.axis).copied().unwrap_or(1) * inner;
        let mut i = 0;
        part.for_each(|y, x, c| {
            let from = map.at(y, x) + c;
            let to = i / here * along * inner + first * inner + i % here;
            i += 1;
            if !runs.last_mut().is_some_and(|run| run.grow(map.buffer, from, to)) {
                runs.push(StridedRun { buffer: map.buffer, from, step: 0, to, n: 1 });
            }
        });
        first += here / inner;
    }
    runs
}

impl StridedRun {
    /// Takes one number more, if it is the next one.
    fn grow(&mut self, buffer: usize, from: usize, to: usize) -> bool {
        if (buffer, to) != (self.buffer, self.to + self.n) || from <= self.from {
            return false;
        }
        let step = if self.n == 1 { from - self.from } else { self.step };
        let continues = from == self.from + self.n * step;
        if continues {
            (self.step, self.n) = (step, self.n + 1);
        }
        continues
    }
}
