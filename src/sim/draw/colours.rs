//! What things are made of, as the camera sees it.

use crate::sim::paint::{Rgba, rgb};
use crate::sim::palette::Palette;
use crate::sim::world::Dice;

const SKINS: [Rgba; 4] = [rgb(236, 196, 168), rgb(200, 150, 116), rgb(140, 94, 66), rgb(92, 60, 44)];
const HAIRS: [Rgba; 4] = [rgb(30, 24, 22), rgb(90, 60, 34), rgb(180, 150, 96), rgb(120, 116, 112)];

/// By what light colours are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spectrum {
    Visible,
    /// Dyes do not matter there: dark cloth may be bright, and the other way round.
    Infrared,
}

/// Says of each object's parts what colour they have. The keys are those of the object's looks.
#[derive(Debug, Clone, Copy)]
pub struct Materials {
    palette: Palette,
    spectrum: Spectrum,
}

/// First of the looks' keys for what a material is in infrared.
const INFRARED: u64 = 300;

impl Materials {
    pub fn by_day(palette: Palette) -> Self {
        Self { palette, spectrum: Spectrum::Visible }
    }

    pub fn in_infrared(palette: Palette) -> Self {
        Self { palette, spectrum: Spectrum::Infrared }
    }

    pub fn car(self, looks: Dice) -> Rgba {
        match self.spectrum {
            Spectrum::Visible => looks.pick(40, self.palette.cars()),
            Spectrum::Infrared => grey(looks, 40, 40.0, 220.0),
        }
    }

    /// The lower half of a two-tone car.
    pub fn second_paint(self, looks: Dice) -> Option<Rgba> {
        (self.is_loud() && looks.unit(43) < 0.4).then(|| looks.pick(44, self.palette.cars()))
    }

    /// One piece of clothing, `key` says which.
    pub fn clothes(self, looks: Dice, key: u64) -> Rgba {
        match self.spectrum {
            Spectrum::Visible => looks.pick(key, self.palette.clothes()),
            Spectrum::Infrared => grey(looks, key, 60.0, 240.0),
        }
    }

    /// Of a striped coat.
    pub fn stripes(self, looks: Dice) -> Option<Rgba> {
        (self.is_loud() && looks.unit(39) < 0.4).then_some(rgb(244, 244, 238))
    }

    pub fn skin(self, looks: Dice) -> Rgba {
        match self.spectrum {
            Spectrum::Visible => looks.pick(33, &SKINS),
            // Melanin hardly absorbs near infrared: all skin is bright.
            Spectrum::Infrared => grey(looks, 33, 185.0, 215.0),
        }
    }

    pub fn hair(self, looks: Dice) -> Rgba {
        match self.spectrum {
            Spectrum::Visible => looks.pick(34, &HAIRS),
            Spectrum::Infrared => grey(looks, 34, 60.0, 150.0),
        }
    }

    fn is_loud(self) -> bool {
        self.palette == Palette::Other && self.spectrum == Spectrum::Visible
    }
}

fn grey(looks: Dice, key: u64, darkest: f32, brightest: f32) -> Rgba {
    let v = looks.range(INFRARED + key, darkest, brightest) as u8;
    rgb(v, v, v)
}
