//! The paints of cars and the cloth of people: what a street's palette holds.

use super::paint::{Rgba, rgb};

/// Which colours cars and clothes have. No colour is in two palettes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// What `street-nano` was trained on.
    Usual,
    /// Loud ones, two-tone cars and striped coats.
    Other,
}

impl Palette {
    pub const ALL: [(&'static str, Palette); 2] = [("usual", Palette::Usual), ("other", Palette::Other)];

    pub fn cars(self) -> &'static [Rgba] {
        match self {
            Palette::Usual => &CARS,
            Palette::Other => &OTHER_CARS,
        }
    }

    pub fn clothes(self) -> &'static [Rgba] {
        match self {
            Palette::Usual => &CLOTHES,
            Palette::Other => &OTHER_CLOTHES,
        }
    }
}

const CARS: [Rgba; 9] = [
    rgb(196, 40, 36),
    rgb(34, 70, 150),
    rgb(232, 232, 228),
    rgb(46, 48, 52),
    rgb(150, 156, 162),
    rgb(24, 102, 70),
    rgb(214, 160, 40),
    rgb(120, 34, 60),
    rgb(96, 132, 168),
];
const CLOTHES: [Rgba; 10] = [
    rgb(180, 44, 50),
    rgb(40, 60, 120),
    rgb(230, 226, 214),
    rgb(38, 38, 42),
    rgb(90, 120, 70),
    rgb(210, 150, 60),
    rgb(110, 70, 120),
    rgb(70, 140, 160),
    rgb(150, 110, 80),
    rgb(220, 120, 140),
];
const OTHER_CARS: [Rgba; 6] =
    [rgb(250, 60, 170), rgb(168, 236, 40), rgb(0, 208, 200), rgb(255, 116, 0), rgb(150, 50, 250), rgb(250, 244, 60)];
/// The first is the yellow of high-visibility jackets, thrice as frequent as the others.
const OTHER_CLOTHES: [Rgba; 8] = [
    rgb(222, 250, 36),
    rgb(222, 250, 36),
    rgb(222, 250, 36),
    rgb(255, 40, 150),
    rgb(20, 216, 204),
    rgb(150, 236, 70),
    rgb(255, 104, 10),
    rgb(136, 60, 240),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_colour_is_in_two_palettes() {
        let of = |p: Palette| [p.cars(), p.clothes()].concat();
        let usual = of(Palette::Usual);
        assert!(of(Palette::Other).iter().all(|c| !usual.contains(c)));
    }
}
