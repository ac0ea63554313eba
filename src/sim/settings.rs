//! `sim://street?scene=night&seed=7&…`: what the simulated camera shows.

use super::palette::Palette;
use super::truth::DecoyKind;
use crate::geom::Size;

/// Ready-made conditions; every single setting can still be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreetScene {
    Day,
    Cloud,
    Night,
    Rain,
    Crowd,
    Snow,
    /// By night, seen by the light of the camera's own infrared lamp.
    Infrared,
}

impl StreetScene {
    pub const ALL: [(&'static str, StreetScene); 7] = [
        ("day", StreetScene::Day),
        ("cloud", StreetScene::Cloud),
        ("night", StreetScene::Night),
        ("rain", StreetScene::Rain),
        ("crowd", StreetScene::Crowd),
        ("snow", StreetScene::Snow),
        ("infrared", StreetScene::Infrared),
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
    /// What stands about that only looks like an object; sorted, each kind once.
    pub decoys: Vec<DecoyKind>,
    /// Colours of cars and clothes.
    pub palette: Palette,
}

/// Why an address does not describe a street.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// The settings' names, as in an address.
const KEYS: [&str; 14] = [
    "scene", "seed", "size", "fps", "frames", "noise", "traffic", "wind", "shake", "clouds", "gop", "switch", "decoys",
    "palette",
];

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
            decoys: Vec::new(),
            palette: Palette::Usual,
        };
        match scene {
            StreetScene::Day => base,
            StreetScene::Cloud => Self { clouds: 0.5, wind: 2.0, ..base },
            StreetScene::Night => Self { noise: 4.0, traffic: 0.7, ..base },
            StreetScene::Rain => Self { noise: 3.0, wind: 2.0, ..base },
            StreetScene::Crowd => Self { traffic: 4.0, ..base },
            StreetScene::Snow => Self { noise: 3.0, ..base },
            StreetScene::Infrared => Self { noise: 5.0, traffic: 0.7, ..base },
        }
    }

    /// Reads `sim://street?key=value&…`.
    ///
    /// Keys: `scene` (day, cloud, night, rain, crowd, snow, infrared), `seed`,
    /// `size` (640x384), `fps` (0.1..=240), `frames` (length), `noise` (sigma,
    /// 0..=50), `traffic` (0..=8), `wind`, `shake` (pixels, 0..=20), `clouds`
    /// (0..=1), `gop` (frames), `switch` (seconds), `decoys` (some of mannequin,
    /// poster, bush and trailer, joined by +, or all), `palette` (usual, other).
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
                "decoys" => {
                    s.decoys = decoy_kinds(value).ok_or_else(|| {
                        let names = DecoyKind::ALL.map(|d| d.0).join(", ");
                        err(format!("decoys={value}: expected all, or some of {names}, joined by +"))
                    })?;
                }
                "palette" => {
                    s.palette = Palette::ALL.iter().find(|(name, _)| *name == value).map(|p| p.1).ok_or_else(|| {
                        err(format!("palette={value}: expected one of {}", Palette::ALL.map(|p| p.0).join(", ")))
                    })?;
                }
                _ => return Err(err(format!("unknown setting '{key}'; there are {}", KEYS.join(", ")))),
            }
        }
        Ok(s)
    }
}

/// `all`, or names joined by +.
fn decoy_kinds(value: &str) -> Option<Vec<DecoyKind>> {
    if value == "all" {
        return Some(DecoyKind::ALL.map(|d| d.1).to_vec());
    }
    let kind = |name: &str| DecoyKind::ALL.iter().find(|d| d.0 == name).map(|d| d.1);
    let mut kinds = value.split('+').map(kind).collect::<Option<Vec<_>>>()?;
    kinds.sort_unstable();
    kinds.dedup();
    Some(kinds)
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
        let decoys = |value: &str| SimSettings::parse(&format!("sim://street?decoys={value}")).unwrap().decoys;
        assert_eq!(decoys("poster+mannequin+poster"), [DecoyKind::Mannequin, DecoyKind::Poster]);
        assert_eq!(decoys("all"), DecoyKind::ALL.map(|d| d.1));
        assert_eq!(SimSettings::parse("sim://street?palette=other").unwrap().palette, Palette::Other);
        let usual = SimSettings::parse("sim://street").unwrap();
        assert!(usual.decoys.is_empty() && usual.palette == Palette::Usual);
        let noise = |scene: &str| SimSettings::parse(&format!("sim://street?scene={scene}")).unwrap().noise;
        assert_eq!((noise("snow"), noise("infrared")), (3.0, 5.0));
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
        check("sim://street?decoys=tiger", "decoys=tiger: expected all, or some of mannequin, poster, bush, trailer");
        check("sim://street?decoys=", "decoys=: expected");
        check("sim://street?palette=loud", "palette=loud: expected one of usual, other");
    }
}
