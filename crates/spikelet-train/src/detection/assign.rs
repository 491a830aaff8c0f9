//! Which boxes learn which object: by overlap (MMDetection's `MaxIoUAssigner`), and which of them
//! are taken (`RandomSampler`).

use rand_chacha::ChaCha8Rng;
use spikelet_data::split::shuffle;
use spikelet_graph::detection::{Rect, iou};

/// What a box learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// The object of this place.
    Object(usize),
    /// That it is none.
    Background,
    /// Nothing: it overlaps too much for a background, too little for an object.
    Nothing,
}

/// Limits of overlap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assigner {
    /// From here on a box learns the object it overlaps most.
    pub object: f32,
    /// Below, the background.
    pub background: f32,
    /// The boxes that an object overlaps most learn it even if they overlap by no more than this;
    /// without, an object may have none.
    pub least: Option<f32>,
}

impl Assigner {
    /// Of the anchors of the region proposals.
    pub const PROPOSALS: Assigner = Assigner { object: 0.7, background: 0.3, least: Some(0.3) };
    /// Of the regions of Mask R-CNN.
    pub const REGIONS: Assigner = Assigner { object: 0.5, background: 0.5, least: Some(0.5) };
    /// Of the anchors of RetinaNet.
    pub const SINGLE_STAGE: Assigner = Assigner { object: 0.5, background: 0.4, least: Some(0.0) };

    /// What every box learns.
    pub fn assign(&self, boxes: &[Rect], objects: &[Rect]) -> Vec<Assigned> {
        let mut most = vec![0.0_f32; objects.len()];
        let mut assigned = Vec::with_capacity(boxes.len());
        for rect in boxes {
            let mut best = (0.0, 0);
            for (object, truth) in objects.iter().enumerate() {
                let overlap = iou(*rect, *truth);
                most[object] = most[object].max(overlap);
                if overlap > best.0 {
                    best = (overlap, object);
                }
            }
            assigned.push(match best {
                (overlap, object) if overlap >= self.object && overlap > 0.0 => {
                    Assigned::Object(object)
                }
                (overlap, _) if overlap < self.background => Assigned::Background,
                _ => Assigned::Nothing,
            });
        }
        let Some(least) = self.least else { return assigned };
        for (object, truth) in objects.iter().enumerate() {
            if most[object] < least || most[object] == 0.0 {
                continue;
            }
            for (rect, assigned) in boxes.iter().zip(&mut assigned) {
                if iou(*rect, *truth) == most[object] {
                    *assigned = Assigned::Object(object);
                }
            }
        }
        assigned
    }
}

/// At most `count` boxes at random, objects at most this share of them, the background the rest:
/// places of both.
pub fn sample(
    assigned: &[Assigned],
    count: usize,
    share: f32,
    rng: &mut ChaCha8Rng,
) -> (Vec<usize>, Vec<usize>) {
    let places = |wanted: fn(&Assigned) -> bool| -> Vec<usize> {
        let all = assigned.iter().enumerate();
        all.filter(|(_, assigned)| wanted(assigned)).map(|(place, _)| place).collect()
    };
    let mut objects = places(|assigned| matches!(assigned, Assigned::Object(_)));
    let mut background = places(|assigned| *assigned == Assigned::Background);
    for (places, most) in
        [(&mut objects, (count as f32 * share) as usize), (&mut background, count)]
    {
        if places.len() > most {
            shuffle(places, rng);
            places.truncate(most);
            places.sort_unstable();
        }
    }
    if background.len() > count - objects.len() {
        shuffle(&mut background, rng);
        background.truncate(count - objects.len());
        background.sort_unstable();
    }
    (objects, background)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spikelet_data::split::rng;

    #[test]
    fn by_overlap() {
        let objects = [[0.0, 0.0, 10.0, 10.0], [100.0, 100.0, 110.0, 110.0]];
        let boxes = [
            [0.0, 0.0, 10.0, 9.0],        // 0.9 of the first
            [0.0, 0.0, 10.0, 6.0],        // 0.6
            [0.0, 0.0, 10.0, 2.0],        // 0.2
            [100.0, 100.0, 110.0, 104.0], // 0.4 of the second, its best
            [50.0, 50.0, 60.0, 60.0],
        ];
        use Assigned::{Background, Nothing, Object};
        let found = Assigner::PROPOSALS.assign(&boxes, &objects);
        assert_eq!(found, [Object(0), Nothing, Background, Object(1), Background]);
        let strict = Assigner { least: None, ..Assigner::PROPOSALS };
        assert_eq!(strict.assign(&boxes, &objects)[3], Nothing);
        assert_eq!(Assigner::REGIONS.assign(&boxes, &objects)[3], Background);
        assert_eq!(Assigner::PROPOSALS.assign(&boxes, &[]), [Background; 5]);
        let empty = [[3.0, 3.0, 3.0, 3.0]];
        assert_eq!(Assigner::SINGLE_STAGE.assign(&boxes, &empty), [Background; 5]);
    }

    #[test]
    fn samples_have_at_most_their_share() {
        let mut assigned = vec![Assigned::Background; 100];
        assigned[..30].fill(Assigned::Object(0));
        assigned[99] = Assigned::Nothing;
        let (objects, background) = sample(&assigned, 40, 0.5, &mut rng(1, 0));
        assert_eq!((objects.len(), background.len()), (20, 20));
        assert!(objects.iter().all(|i| *i < 30) && background.iter().all(|i| (30..99).contains(i)));
        let (objects, background) = sample(&assigned[..40], 40, 0.5, &mut rng(1, 0));
        assert_eq!((objects.len(), background.len()), (20, 10));
    }
}
