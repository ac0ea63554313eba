//! Numbers of the command line, within bounds.

use std::ops::RangeInclusive;

fn within(text: &str, range: RangeInclusive<f32>) -> Result<f32, String> {
    let number = text.parse().ok().filter(|n| range.contains(n));
    number.ok_or_else(|| format!("expected {} to {}", range.start(), range.end()))
}

/// Side of a patch, pixels.
pub fn patch(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|p| [8, 16, 32, 64].contains(p)).ok_or_else(|| "expected 8, 16, 32 or 64".into())
}

/// Of a detection.
pub fn score(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|s| *s > 0.0 && *s <= 1.0).ok_or_else(|| "expected a number above 0, 1 at most".into())
}

/// Seconds without a look.
pub fn predict(text: &str) -> Result<f32, String> {
    within(text, 0.0..=5.0)
}

/// Of a sensor's noise, levels of 255.
pub fn sigma(text: &str) -> Result<f32, String> {
    within(text, 0.0..=50.0)
}

/// Of a pixel.
pub fn level(text: &str) -> Result<f32, String> {
    within(text, 0.0..=255.0)
}

pub fn share(text: &str) -> Result<f32, String> {
    within(text, 0.0..=1.0)
}

pub fn seconds(text: &str) -> Result<f32, String> {
    within(text, 0.0..=86_400.0)
}

/// As many as the config takes; 0: one a core.
pub fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n <= 256).ok_or_else(|| "expected 0 to 256".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_or_beyond_bounds_is_refused() {
        for bad in ["nan", "inf", "-1", "", "x", "1e9"] {
            for parse in [score, predict, sigma, level, share, seconds] {
                assert!(parse(bad).is_err(), "{bad}");
            }
            assert!(threads(bad).is_err() && patch(bad).is_err(), "{bad}");
        }
        assert_eq!((score("0.4"), threads("2"), patch("16")), (Ok(0.4), Ok(2), Ok(16)));
    }
}
