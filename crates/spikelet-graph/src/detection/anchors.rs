//! Anchors: boxes around every position of every level.

use super::{Anchors, MAX_ANCHORS, boxes::Rect};

impl Anchors {
    /// Anchors of one position.
    pub fn per_position(&self) -> usize {
        self.scales.len() * self.ratios.len()
    }

    /// The anchors of a level of so many rows and columns, position by position, and at each of
    /// them ratio by ratio, scale by scale. Nothing where there would be too many.
    pub fn of_level(&self, level: usize, [rows, columns]: [usize; 2]) -> Vec<Rect> {
        let stride = self.strides[level] as f32;
        let positions = rows.saturating_mul(columns);
        if positions.saturating_mul(self.per_position()) > MAX_ANCHORS {
            return Vec::new();
        }
        let mut base: Vec<[f32; 2]> = Vec::with_capacity(self.per_position());
        for ratio in &self.ratios {
            let tall = ratio.sqrt();
            base.extend(self.scales.iter().map(|scale| {
                let side = stride * scale;
                [0.5 * side / tall, 0.5 * side * tall]
            }));
        }
        let mut anchors = Vec::with_capacity(positions * base.len());
        for row in 0..rows {
            for column in 0..columns {
                let (x, y) = (column as f32 * stride, row as f32 * stride);
                anchors.extend(base.iter().map(|[w, h]| [x - w, y - h, x + w, y + h]));
            }
        }
        anchors
    }

    /// The anchors of all levels of these sizes, level by level.
    pub fn of_levels(&self, sizes: &[[usize; 2]]) -> Vec<Rect> {
        sizes.iter().enumerate().flat_map(|(level, size)| self.of_level(level, *size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_keep_the_area() {
        let anchors = Anchors { strides: vec![4], scales: vec![8.0], ratios: vec![0.5, 1.0, 2.0] };
        let level = anchors.of_level(0, [2, 3]);
        assert_eq!(level.len(), 18);
        assert_eq!(level[1], [-16.0, -16.0, 16.0, 16.0]);
        assert_eq!(level[4], [-12.0, -16.0, 20.0, 16.0]);
        assert_eq!(level[10], [-16.0, -12.0, 16.0, 20.0]);
        let [left, top, right, bottom] = level[2];
        assert!(((right - left) * (bottom - top) - 1024.0).abs() < 1e-2);
        assert!((bottom - top) > (right - left), "the last ratio is tall");
        assert!(anchors.of_level(0, [1 << 20, 1 << 20]).is_empty());
    }
}
