//! Losses of logits, and their slopes: exact where a probability would be rounded to 0 or 1.

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The binary cross-entropy of a logit and a target 0..=1, and its derivative by the logit.
pub fn bce(logit: f64, target: f64) -> (f64, f64) {
    let value = logit.max(0.0) - logit * target + (-logit.abs()).exp().ln_1p();
    (value, sigmoid(logit) - target)
}

/// The logarithm of the sum of exponentials: the softmax of logit `x` is `exp(x - this)`.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = logits.iter().fold(f64::NEG_INFINITY, |top, x| top.max(f64::from(*x)));
    top + logits.iter().map(|x| (f64::from(*x) - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_by_hand() {
        let (value, slope) = bce(0.0, 1.0);
        assert!((value - 2f64.ln()).abs() < 1e-12 && slope == -0.5);
        let (value, slope) = bce(800.0, 0.0);
        assert!(value == 800.0 && slope == 1.0);
        assert!(bce(-800.0, 0.0).0 == 0.0 && bce(f64::NAN, 0.0).0.is_nan());
        assert!((log_sum_exp(&[1000.0, 1000.0]) - 1000.0 - 2f64.ln()).abs() < 1e-9);
        assert!(log_sum_exp(&[f32::NAN, 0.0]).is_nan());
    }
}
