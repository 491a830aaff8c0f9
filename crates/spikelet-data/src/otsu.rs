//! Otsu's threshold (1979): the grey value that divides an image in two parts with the least variance within them. It
//! is what a network that finds objects before a plain background has to beat.

/// Grey values of an RGB image.
pub fn grey(rgb: &[u8]) -> Vec<u8> {
    let weigh = |p: &[u8]| {
        (299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]) + 500) / 1000
    };
    rgb.chunks_exact(3).map(|pixel| weigh(pixel) as u8).collect()
}

/// The threshold: values above it are one part. Without two different values it is the largest one.
pub fn threshold(grey: &[u8]) -> u8 {
    let mut counts = [0u64; 256];
    grey.iter().for_each(|&v| counts[usize::from(v)] += 1);
    let sum: f64 = counts.iter().enumerate().map(|(v, &n)| v as f64 * n as f64).sum();
    let total = grey.len() as f64;
    let (mut below, mut sum_below) = (0.0, 0.0);
    let (mut best, mut found) = (0.0, counts.iter().rposition(|&n| n > 0).unwrap_or(0));
    for (value, &n) in counts.iter().enumerate() {
        below += n as f64;
        sum_below += value as f64 * n as f64;
        let above = total - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let apart = sum_below / below - (sum - sum_below) / above;
        let between = below * above * apart * apart;
        if between > best {
            (best, found) = (between, value);
        }
    }
    found as u8
}

/// Which pixels are objects: the smaller of the two parts, since the background is the larger one, bright or dark.
pub fn foreground(rgb: &[u8]) -> Vec<bool> {
    let grey = grey(rgb);
    let threshold = threshold(&grey);
    let bright = grey.iter().filter(|&&v| v > threshold).count();
    let is_bright = 2 * bright <= grey.len();
    grey.iter().map(|&v| (v > threshold) == is_bright).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_told_apart() {
        let grey: Vec<u8> = [10, 11, 12, 11, 10, 200, 201].to_vec();
        assert_eq!(threshold(&grey), 12);
        assert_eq!((threshold(&[7; 4]), threshold(&[])), (7, 0));
        let rgb: Vec<u8> = grey.iter().flat_map(|&v| [v; 3]).collect();
        assert_eq!(super::grey(&rgb), grey);
        assert_eq!(foreground(&rgb), [false, false, false, false, false, true, true]);
        let dark: Vec<u8> = rgb.iter().map(|v| 255 - v).collect();
        assert_eq!(foreground(&dark), foreground(&rgb));
    }
}
