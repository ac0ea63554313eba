//! Camera bytes to the tensor a model was trained on.

use crate::detect::{Colour, Normalise};
use crate::geom::Size;
use engine::changes::ChangeSet;
use engine::gating::estimate::DeltaMap;
use engine::kernels::{Colours, FollowArgs, Kernels, PIXELS, prefetch};

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    pub x: u32,
    pub y: u32,
    pub size: Size,
}

impl Crop {
    pub fn whole(size: Size) -> Self {
        Self { x: 0, y: 0, size }
    }
}

/// Writes `crop` of a BGR picture of `size` into `tensor`: 3 planes of `crop.size`.
pub fn fill_tensor(bgr: &[u8], size: Size, crop: Crop, n: &Normalise, tensor: &mut [f32]) {
    let (w, h) = (crop.size.width as usize, crop.size.height as usize);
    let plane = w * h;
    assert_eq!(tensor.len(), 3 * plane, "one tensor of the crop's size");
    let (first, rest) = tensor.split_at_mut(plane);
    let (second, third) = rest.split_at_mut(plane);
    let stride = size.width as usize * 3;
    let order = match n.colour {
        Colour::Bgr => [0, 1, 2],
        Colour::Rgb => [2, 1, 0],
    };
    // byte * scale + shift, one multiply-add.
    let shift: [f32; 3] = std::array::from_fn(|c| -n.mean[c] * n.scale[c]);
    for y in 0..h {
        let row = &bgr[(crop.y as usize + y) * stride + crop.x as usize * 3..][..w * 3];
        let out = [&mut first[y * w..][..w], &mut second[y * w..][..w], &mut third[y * w..][..w]];
        for (c, plane) in out.into_iter().enumerate() {
            let (scale, shift, from) = (n.scale[c], shift[c], order[c]);
            for (value, pixel) in plane.iter_mut().zip(row.as_chunks::<3>().0) {
                *value = f32::from(pixel[from]) * scale + shift;
            }
        }
    }
}

/// Writes `crop` of a BGR picture of `size` into a map of that size, `[rows][columns][3]`.
pub fn fill_map(bgr: &[u8], size: Size, crop: Crop, n: &Normalise, map: &mut [f32]) {
    assert_eq!(map.len(), 3 * size.area(), "one map of the picture's size");
    let order = match n.colour {
        Colour::Bgr => [0, 1, 2],
        Colour::Rgb => [2, 1, 0],
    };
    let shift: [f32; 3] = std::array::from_fn(|c| -n.mean[c] * n.scale[c]);
    let stride = size.width as usize * 3;
    for y in crop.y as usize..(crop.y + crop.size.height) as usize {
        let range = y * stride + crop.x as usize * 3..y * stride + (crop.x + crop.size.width) as usize * 3;
        let pixels = bgr[range.clone()].as_chunks::<3>().0;
        for (out, pixel) in map[range].as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
            for c in 0..3 {
                out[c] = f32::from(pixel[order[c]]) * n.scale[c] + shift[c];
            }
        }
    }
}

/// Has a map follow its picture where that changes.
#[derive(Debug)]
pub struct Follower {
    kernels: Kernels,
    colour: Colour,
    scale: Colours<f32>,
    shift: Colours<f32>,
    limits: Colours<f32>,
}

impl Follower {
    /// Differences of more than `least` levels in some colour count.
    pub fn new(n: &Normalise, least: u8, kernels: Kernels) -> Self {
        let limits = n.scale.map(|s| ((f32::from(least) + 0.5) * s).powi(2));
        let shift = std::array::from_fn(|c| -n.mean[c] * n.scale[c]);
        let [scale, shift, limits] = [n.scale, shift, limits].map(repeated);
        Self { kernels, colour: n.colour, scale, shift, limits }
    }

    /// As [`fill_map`], but only pixels of `crop` that differ; those are added to `changed`, and the squares of their
    /// differences to `deltas`.
    pub fn update(
        &self,
        bgr: &[u8],
        size: Size,
        crop: Crop,
        map: &mut [f32],
        changed: &mut ChangeSet,
        deltas: &mut DeltaMap,
    ) {
        let width = size.width as usize;
        assert_eq!(map.len(), 3 * size.area(), "one map of the picture's size");
        let (first, end) = (crop.x as usize, (crop.x + crop.size.width) as usize);
        // What lies beside the crop is read along with its last pixels, and never differs.
        let mut last_limits = self.limits;
        last_limits[(end - first) % PIXELS * 3..].fill(f32::INFINITY);
        let mut squares = [0.0; 3 * PIXELS];
        for y in crop.y as usize..(crop.y + crop.size.height) as usize {
            for x in (first..end).step_by(PIXELS) {
                let n = (end - x).min(PIXELS);
                let limits = if n == PIXELS { &self.limits } else { &last_limits };
                let at = (y * width + x) * 3;
                let (seen, known) = (&bgr[at..], &mut map[at..]);
                let bits = match (seen.first_chunk(), known.first_chunk_mut()) {
                    (Some(bytes), Some(map)) => self.follow(bytes, limits, map, &mut squares),
                    _ => {
                        // The picture ends here.
                        let (mut bytes, mut map) = ([0; 3 * PIXELS], self.shift);
                        bytes[..seen.len()].copy_from_slice(seen);
                        map[..seen.len()].copy_from_slice(known);
                        let bits = self.follow(&bytes, limits, &mut map, &mut squares);
                        known.copy_from_slice(&map[..seen.len()]);
                        bits
                    }
                };
                if bits != 0 {
                    changed.set_bits(y, x, bits.into());
                    deltas.add_pixels(y, x, &squares[..3 * n]);
                }
            }
        }
    }

    fn follow(
        &self,
        bytes: &Colours<u8>,
        limits: &Colours<f32>,
        map: &mut Colours<f32>,
        squares: &mut Colours<f32>,
    ) -> u32 {
        let mut bytes = *bytes;
        if self.colour == Colour::Rgb {
            bytes.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
        let (bytes, scale, shift) = (&bytes, &self.scale, &self.shift);
        self.kernels.follow(&mut FollowArgs { bytes, scale, shift, limits, map, squares })
    }
}

/// Asks for a crop's part of a map: its rows lie far from each other, and what runs through them waits for each.
pub fn warm_map(size: Size, crop: Crop, map: &[f32]) {
    for y in crop.y as usize..(crop.y + crop.size.height) as usize {
        prefetch(map[(y * size.width as usize + crop.x as usize) * 3..].as_ptr(), crop.size.width as usize * 3 + LINE);
    }
}

/// Numbers of a cache line, which a row may end in.
const LINE: usize = 16;

/// A number a colour, for some pixels.
fn repeated(colours: [f32; 3]) -> Colours<f32> {
    std::array::from_fn(|i| colours[i % 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_follows_what_differs_by_more_than_the_least() {
        let size = Size::new(21, 3);
        let mut random = fastrand::Rng::with_seed(7);
        let old: Vec<u8> = (0..3 * size.area()).map(|_| random.u8(9..240)).collect();
        let bgr: Vec<u8> = old.iter().map(|v| if random.u8(0..9) == 0 { v + random.u8(0..15) } else { *v }).collect();
        let n = Normalise { colour: Colour::Rgb, mean: [10.0, 20.0, 30.0], scale: [0.5, 0.25, 2.0] };
        let [mut before, mut wanted] = [&old, &bgr].map(|picture| {
            let mut map = vec![f32::NAN; 3 * size.area()];
            fill_map(picture, size, Crop::whole(size), &n, &mut map);
            map
        });
        let (mut changed, mut deltas) = (ChangeSet::new(3, 21), DeltaMap::new(3, 21, 1, 0));
        let crop = Crop { x: 1, y: 1, size: Size::new(19, 2) };
        Follower::new(&n, 3, Kernels::best()).update(&bgr, size, crop, &mut before, &mut changed, &mut deltas);
        let mut n_changed = 0;
        for at in 0..size.area() {
            let (y, x) = (at / 21, at % 21);
            let pixel = 3 * at..3 * at + 3;
            let differs = pixel.clone().any(|i| bgr[i] - old[i] > 3);
            let inside = y > 0 && (1..20).contains(&x);
            assert_eq!(changed.get(y, x), differs && inside, "{y} {x}");
            let scales = [2.0f32, 0.25, 0.5];
            let squared: f32 = pixel.clone().zip(scales).map(|(i, s)| (f32::from(bgr[i] - old[i]) * s).powi(2)).sum();
            let moved = if changed.get(y, x) { squared } else { 0.0 };
            assert!((deltas.get(y, x) - moved).abs() < 1e-3, "{y} {x}: {} {moved}", deltas.get(y, x));
            if !changed.get(y, x) {
                fill_map(&old, size, Crop { x: x as u32, y: y as u32, size: Size::new(1, 1) }, &n, &mut wanted);
            }
            n_changed += usize::from(changed.get(y, x));
        }
        assert!(n_changed > 3 && before == wanted);
    }

    #[test]
    fn crops_orders_and_scales() {
        let bgr: Vec<u8> = (0..27).collect(); // 3x3
        let crop = Crop { x: 1, y: 1, size: Size::new(2, 1) };
        let check = |colour, mean, scale, want: [f32; 6]| {
            let mut tensor = [f32::NAN; 6];
            fill_tensor(&bgr, Size::new(3, 3), crop, &Normalise { colour, mean, scale }, &mut tensor);
            assert_eq!(tensor, want);
        };
        check(Colour::Bgr, [0.0; 3], [1.0; 3], [12.0, 15.0, 13.0, 16.0, 14.0, 17.0]);
        check(Colour::Rgb, [4.0, 3.0, 2.0], [0.5, 1.0, 1.0], [5.0, 6.5, 10.0, 13.0, 10.0, 13.0]);
    }
}
