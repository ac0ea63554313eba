//! A Kalman filter for one number that moves at a nearly constant speed.
//!
//! The speed drifts by white noise (Bar-Shalom, Li and Kirubarajan, "Estimation
//! with Applications to Tracking and Navigation", 6.2). A box is four of them: the
//! filter of SORT and ByteTrack has no terms between its numbers either.

/// A number, its speed, and how sure both are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KalmanFilter {
    pub value: f32,
    /// A second.
    pub speed: f32,
    /// Variances of value and speed, and what they share.
    var: [f32; 2],
    cov: f32,
}

impl KalmanFilter {
    /// First seen at `value` with the standard deviation `noise`; how fast it is could be anything up to about `speed`.
    pub fn new(value: f32, noise: f32, speed: f32) -> Self {
        Self { value, speed: 0.0, var: [noise * noise, speed * speed], cov: 0.0 }
    }

    /// Moves on by `dt` seconds; the speed's standard deviation grows by `drift` a root of seconds.
    pub fn predict(&mut self, dt: f32, drift: f32) {
        let q = drift * drift;
        self.value += self.speed * dt;
        self.var[0] += dt * (2.0 * self.cov + dt * self.var[1]) + q * dt.powi(3) / 3.0;
        self.cov += dt * self.var[1] + q * dt.powi(2) / 2.0;
        self.var[1] += q * dt;
    }

    /// Takes in a look at it, of the standard deviation `noise`.
    pub fn update(&mut self, seen: f32, noise: f32) {
        let off = seen - self.value;
        let total = self.var[0] + noise * noise;
        let gain = [self.var[0] / total, self.cov / total];
        self.value += gain[0] * off;
        self.speed += gain[1] * off;
        self.var[1] -= gain[1] * self.cov;
        self.var[0] *= 1.0 - gain[0];
        self.cov *= 1.0 - gain[0];
    }

    /// It stands still at `value`.
    pub fn rest(&mut self, value: f32) {
        (self.value, self.speed) = (value, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_speed_is_learnt_and_carried_on() {
        let mut f = KalmanFilter::new(10.0, 1.0, 50.0);
        for i in 1..=20 {
            f.predict(0.1, 5.0);
            // Looks are a little off, to and fro.
            f.update(10.0 + 3.0 * i as f32 + if i % 2 == 0 { 0.3 } else { -0.3 }, 1.0);
        }
        assert!((f.speed - 30.0).abs() < 2.0, "{f:?}");
        f.predict(1.0, 5.0);
        assert!((f.value - 100.0).abs() < 3.0, "{f:?}");
        let unsure = f.var[0];
        f.update(f.value, 1.0);
        assert!(f.var[0] < unsure && f.var[0] > 0.0, "a look makes it surer");
    }

    #[test]
    fn steps_of_time_may_be_cut_as_one_likes() {
        let mut one = KalmanFilter { speed: 7.0, ..KalmanFilter::new(3.0, 2.0, 4.0) };
        let mut many = one;
        one.predict(1.0, 3.0);
        (0..10).for_each(|_| many.predict(0.1, 3.0));
        let near = |a: f32, b: f32| (a - b).abs() < 1e-3 * a.abs().max(1.0);
        assert!(near(one.value, many.value) && near(one.cov, many.cov), "{one:?} {many:?}");
        assert!(near(one.var[0], many.var[0]) && near(one.var[1], many.var[1]), "{one:?} {many:?}");
    }
}
