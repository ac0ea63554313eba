//! The baseline of the bench `digits` quantises as is said of it.

#[path = "../benches/digits/octo.rs"]
#[allow(dead_code)] // its training runs in the bench
mod octo;

use fastrand::Rng;
use octo::{ZeroPoint, clip, round_by_chance, round_to_nearest};
use std::collections::BTreeSet;

fn distinct(numbers: &[f32]) -> usize {
    // 0 and -0 are one.
    numbers.iter().map(|v| (v + 0.0).to_bits()).collect::<BTreeSet<_>>().len()
}

#[test]
fn forwards_there_are_511_steps_and_the_mean_is_right() {
    let mut random = Rng::with_seed(1);
    let numbers: Vec<f32> = (0..100_000u32).map(|i| (i as f32 / 99_999.0) * 3.0 - 1.0).collect();
    let step = 3.0 / 510.0;
    let mut rounded = numbers.clone();
    round_by_chance(&mut rounded, ZeroPoint::TakenOff, &mut random);
    assert!((500..=512).contains(&distinct(&rounded)), "nine bits: {}", distinct(&rounded));
    let errors: Vec<f32> = rounded.iter().zip(&numbers).map(|(a, b)| a - b).collect();
    assert!(errors.iter().all(|e| e.abs() <= step * 1.001));
    assert!((errors.iter().sum::<f32>() / errors.len() as f32).abs() < step / 50.0, "by chance");
    // What stands for 0 is 255 - 2 / step = -85 steps here.
    let mut shifted = numbers.clone();
    round_by_chance(&mut shifted, ZeroPoint::LeftIn, &mut random);
    let shift = shifted.iter().zip(&numbers).map(|(a, b)| a - b).sum::<f32>() / numbers.len() as f32;
    assert!((shift + 85.0 * step).abs() < step / 10.0, "{shift}");
    let mut same = [2.0; 5];
    round_by_chance(&mut same, ZeroPoint::TakenOff, &mut random);
    assert_eq!(same, [2.0; 5]);
}

#[test]
fn backwards_one_sided_numbers_leave_eight_bits() {
    let mut both: Vec<f32> = (-1000..=1000i16).map(f32::from).collect();
    round_to_nearest(&mut both);
    assert_eq!(distinct(&both), 255);
    let mut one_sided: Vec<f32> = (0..=1000i16).map(f32::from).collect();
    round_to_nearest(&mut one_sided);
    assert_eq!(distinct(&one_sided), 255, "codes of 0 to 254");
    let mut clipped = [-2.0, -1.95, 0.5, 3.9, 4.0];
    clip(&mut clipped);
    assert_eq!(clipped, [-1.9, -1.9, 0.5, 3.8, 3.8]);
}
