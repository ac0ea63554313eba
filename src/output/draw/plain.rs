//! Lines and text without OpenCV: for packages, which run with whichever OpenCV a system has, or none.

use super::{Rgb, RgbPicture};
use crate::geom::{ModelInput, Rect};
use embedded_graphics::mono_font::iso_8859_1::FONT_6X13;
use embedded_graphics::mono_font::{MonoTextStyle, MonoTextStyleBuilder};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyleBuilder, Rectangle, StrokeAlignment};
use embedded_graphics::text::{Baseline, Text};
use std::convert::Infallible;

pub fn outline(picture: &mut RgbPicture, bbox: &Rect<ModelInput>, colour: Rgb) {
    let b = bbox.intersection(&picture.size.rect::<ModelInput>());
    if b.is_empty() {
        return;
    }
    let colour = Rgb888::new(colour[0], colour[1], colour[2]);
    let at = Point::new(b.x1 as i32, b.y1 as i32);
    let size = embedded_graphics::geometry::Size::new((b.width() as u32).max(1), (b.height() as u32).max(1));
    let line = PrimitiveStyleBuilder::new().stroke_color(colour).stroke_width(2);
    let Ok(()) =
        Rectangle::new(at, size).into_styled(line.stroke_alignment(StrokeAlignment::Center).build()).draw(picture);
}

/// Width and height of a label with its ground.
pub fn text_size(text: &str) -> (f32, f32) {
    let size = FONT_6X13.character_size;
    (size.width as f32 * text.chars().count() as f32, size.height as f32)
}

/// A label whose ground begins at `[x, y]`.
pub fn label(picture: &mut RgbPicture, [x, y]: [f32; 2], colour: Rgb, line: &str) {
    let colour = Rgb888::new(colour[0], colour[1], colour[2]);
    let style = MonoTextStyleBuilder::new().font(&FONT_6X13).text_color(Rgb888::BLACK).background_color(colour).build();
    text(picture, Point::new(x as i32, y as i32), line, style);
}

/// A line of text at the lower edge.
pub fn caption(picture: &mut RgbPicture, line: &str) {
    let at = Point::new(6, picture.size.height as i32 - 4 - FONT_6X13.character_size.height as i32);
    text(picture, at + Point::new(1, 1), line, MonoTextStyle::new(&FONT_6X13, Rgb888::BLACK));
    text(picture, at, line, MonoTextStyle::new(&FONT_6X13, Rgb888::WHITE));
}

fn text(picture: &mut RgbPicture, at: Point, line: &str, style: MonoTextStyle<'_, Rgb888>) {
    let Ok(_) = Text::with_baseline(line, at, style, Baseline::Top).draw(picture);
}

impl OriginDimensions for RgbPicture {
    fn size(&self) -> embedded_graphics::geometry::Size {
        embedded_graphics::geometry::Size::new(self.size.width, self.size.height)
    }
}

impl DrawTarget for RgbPicture {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(at.x), usize::try_from(at.y)) else { continue };
            if x < width && y < height {
                self.rgb[(y * width + x) * 3..][..3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}
