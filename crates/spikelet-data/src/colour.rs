//! Changes of the colours of a pixel: brightness, contrast, saturation, hue.

/// How the colours of an image change, in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    /// Added to every value, of 255.
    pub brightness: f32,
    /// What values are multiplied by.
    pub contrast: f32,
    /// What the distance to grey is multiplied by.
    pub saturation: f32,
    /// Degrees that the hue turns by.
    pub hue: f32,
}

impl Colours {
    /// No change.
    pub const SAME: Self = Self { brightness: 0.0, contrast: 1.0, saturation: 1.0, hue: 0.0 };

    /// The pixel after the change.
    pub fn of(&self, rgb: [u8; 3]) -> [u8; 3] {
        if *self == Self::SAME {
            return rgb;
        }
        let bright = rgb.map(|v| {
            ((f32::from(v) + self.brightness).clamp(0.0, 255.0) * self.contrast).clamp(0.0, 255.0)
        });
        let [hue, saturation, value] = hsv(bright);
        let saturation = (saturation * self.saturation).clamp(0.0, 1.0);
        rgb_of([(hue + self.hue).rem_euclid(360.0), saturation, value]).map(|v| v.round() as u8)
    }
}

/// Hue in degrees, saturation and value (0 to 255).
fn hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    if range <= 0.0 {
        return [0.0, 0.0, most];
    }
    let sector = if most == r {
        (g - b) / range
    } else if most == g {
        2.0 + (b - r) / range
    } else {
        4.0 + (r - g) / range
    };
    [(60.0 * sector).rem_euclid(360.0), range / most, most]
}

fn rgb_of([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let channel = |n: f32| {
        let k = (n + hue / 60.0).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_change() {
        let change = |colours: Colours| colours.of([100, 50, 50]);
        assert_eq!(change(Colours { brightness: 20.0, ..Colours::SAME }), [120, 70, 70]);
        assert_eq!(change(Colours { contrast: 3.0, ..Colours::SAME }), [255, 150, 150]);
        assert_eq!(change(Colours { saturation: 0.0, ..Colours::SAME }), [100, 100, 100]);
        assert_eq!(change(Colours { hue: 120.0, ..Colours::SAME }), [50, 100, 50]);
        assert_eq!(change(Colours { hue: -120.0, ..Colours::SAME }), [50, 50, 100]);
    }

    proptest! {
        #[test]
        fn there_and_back(rgb: [u8; 3]) {
            let turned = rgb_of(hsv(rgb.map(f32::from))).map(|v| v.round() as u8);
            prop_assert_eq!(turned, rgb);
        }
    }
}
