//! `sim://street?scene=night&seed=7&…`: what the simulated camera shows.

use crate::geom::Size;

/// Ready-made conditions; every single setting can still be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreetScene {
    Day,
    Cloud,
    Night,
    Rain,
    Crowd,
}

impl StreetScene {
    pub const ALL: [(&'static str, StreetScene); 5] = [
        ("day", StreetScene::Day),
        ("cloud", StreetScene::Cloud),
        ("night", StreetScene::Night),
        ("rain", StreetScene::Rain),
        ("crowd", StreetScene::Crowd),
    ];
}

/// What to draw. `SimSettings::parse` lists the names, units and defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct SimSettings {
    pub scene: StreetScene,
    pub seed: u64,
    pub size: Size,
    pub fps: f32,
    /// Length of the clip; `None` never ends.
    pub n_frames: Option<u64>,
    /// Standard deviation of the sensor noise, levels of 255.
    pub noise: f32,
    /// How much moves: 1 is an ordinary street, 0 an empty one.
    pub traffic: f32,
    /// Sway of the trees, pixels at 640 wide.
    pub wind: f32,
    /// Amplitude of the camera's shake, pixels at 640 wide.
    pub shake: f32,
    /// Depth of passing clouds' shade, 0..=1.
    pub clouds: f32,
    /// Every how many frames an I-frame repaints the picture; 0 never.
    pub gop: u32,
    /// Every how many seconds a light is switched; 0 never.
    pub switch_s: f32,
}

/// Why an address does not describe a street.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// The settings' names, as in an address.
const KEYS: [&str; 12] =
    ["scene", "seed", "size", "fps", "frames", "noise", "traffic", "wind", "shake", "clouds", "gop", "switch"];

impl SimSettings {
    pub fn new(scene: StreetScene) -> Self {
        let base = Self {
            scene,
            seed: 1,
            size: Size::new(640, 384),
            fps: 10.0,
            n_frames: None,
            noise: 2.0,
            traffic: 1.0,
            wind: 1.0,
            shake: 0.0,
            clouds: 0.0,
            gop: 0,
            switch_s: 0.0,
        };
        match scene {
            StreetScene::Day => base,
            StreetScene::Cloud => Self { clouds: 0.5, wind: 2.0, ..base },
            StreetScene::Night => Self { noise: 4.0, traffic: 0.7, ..base },
            StreetScene::Rain => Self { noise: 3.0, wind: 2.0, ..base },
            StreetScene::Crowd => Self { traffic: 4.0, ..base },
        }
    }

    /// Reads `sim://street?key=value&…`.
    ///
    /// Keys: `scene` (day, cloud, night, rain, crowd), `seed`, `size` (640x384),
    /// `fps` (0.1..=240), `frames` (length), `noise` (sigma, 0..=50), `traffic`
    /// (0..=8), `wind`, `shake` (pixels, 0..=20), `clouds` (0..=1), `gop`
    /// (frames), `switch` (seconds).
    ///
    /// # Errors
    /// An unknown key or a value out of range, named.
    pub fn parse(address: &str) -> Result<Self, SettingsError> {
        let err = |text: String| SettingsError(text);
        let rest =
            address.strip_prefix("sim://").ok_or_else(|| err(format!("'{address}' does not begin with sim://")))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !matches!(place.trim_end_matches('/'), "street" | "") {
            return Err(err(format!("there is no simulated place '{place}'; the one there is: sim://street")));
        }
        let pairs: Vec<(&str, &str)> =
            query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, ""))).collect();
        let mut scene = StreetScene::Day;
        for (_, value) in pairs.iter().filter(|(key, _)| *key == "scene") {
            scene = StreetScene::ALL.iter().find(|(name, _)| name == value).map(|(_, s)| *s).ok_or_else(|| {
                err(format!("scene={value}: expected one of {}", StreetScene::ALL.map(|s| s.0).join(", ")))
            })?;
        }
        let mut s = Self::new(scene);
        for (key, value) in pairs {
            let number = |lo: f32, hi: f32| match value.parse::<f32>() {
                Ok(v) if (lo..=hi).contains(&v) => Ok(v),
                _ => Err(err(format!("{key}={value}: expected a number from {lo} to {hi}"))),
            };
            let whole = || value.parse::<u64>().map_err(|_| err(format!("{key}={value}: expected a whole number")));
            match key {
                "scene" => {}
                "seed" => s.seed = whole()?,
                "size" => {
                    s.size = value.parse().map_err(err)?;
                    if s.size.width < 32 || s.size.height < 32 || s.size.area() > 4096 * 4096 {
                        return Err(err(format!("size={value}: expected 32x32 to 4096x4096")));
                    }
                }
                "fps" => s.fps = number(0.1, 240.0)?,
                "frames" => s.n_frames = Some(whole()?),
                "noise" => s.noise = number(0.0, 50.0)?,
                "traffic" => s.traffic = number(0.0, 8.0)?,
                "wind" => s.wind = number(0.0, 20.0)?,
                "shake" => s.shake = number(0.0, 20.0)?,
                "clouds" => s.clouds = number(0.0, 1.0)?,
                "gop" => s.gop = u32::try_from(whole()?).map_err(|_| err(format!("gop={value}: too large")))?,
                "switch" => s.switch_s = number(0.0, 3600.0)?,
                _ => return Err(err(format!("unknown setting '{key}'; there are {}", KEYS.join(", ")))),
            }
        }
        Ok(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let s = SimSettings::parse("sim://street?scene=night&seed=7&size=320x192&frames=5&noise=0").unwrap();
        assert_eq!((s.scene, s.seed, s.size, s.n_frames), (StreetScene::Night, 7, Size::new(320, 192), Some(5)));
        assert_eq!((s.noise, s.traffic), (0.0, 0.7), "what is named wins over the scene, wherever it stands");
        assert_eq!(SimSettings::parse("sim://"), SimSettings::parse("sim://street"));
        let check = |bad: &str, part: &str| {
            let text = SimSettings::parse(bad).unwrap_err().to_string();
            assert!(text.contains(part), "{bad}: {text}");
        };
        check("rtsp://street", "sim://");
        check("sim://moon", "moon");
        check("sim://street?scene=fog", "day, cloud");
        check("sim://street?colour=red", "unknown setting 'colour'");
        check("sim://street?fps=nan", "fps=nan");
        check("sim://street?size=8x8", "size=8x8");
        check("sim://street?seed=-1", "whole number");
    }
}
