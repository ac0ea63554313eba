//! The shapes of the street: buildings, road, trees, people, cars, decoys, light, weather.

mod actor;
mod car;
mod colours;
mod decoy;
mod houses;
mod light;
mod person;
mod snow;
mod street;
mod tree;
mod weather;

pub use actor::{actor, shadow};
pub use colours::Materials;
pub use decoy::{decoy, decoy_shadow};
pub use light::{infrared_lamp, infrared_lights, night_lights, tint};
pub use street::background;
pub use tree::{Foliage, Tree, tree, trees};
pub use weather::{flakes, rain};
