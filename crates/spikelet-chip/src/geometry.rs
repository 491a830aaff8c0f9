//! Where things are on a chip, and chips on a board.
//!
//! Quads, the event router and the periphery with the host's Ethernet each take a site of a mesh;
//! flits go along x, then along y. Multicast packets go to the router in the middle, which looks
//! up their key and sends them on. Chips are connected in a hexagonal grid.

use crate::chip::Chip;

/// Ways from a site to its neighbours.
pub const WAYS: [(isize, isize); 4] = [(1, 0), (-1, 0), (0, 1), (0, -1)];
/// Ways from a chip to its neighbours.
pub const CHIP_WAYS: [(isize, isize); 6] = [(1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1)];

/// The sites of a chip.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Sites along x.
    pub columns: usize,
    /// Sites along y.
    pub rows: usize,
    /// Chips along x.
    pub chip_columns: usize,
}

impl Geometry {
    /// The sites of a chip.
    pub fn new(chip: &Chip) -> Self {
        Geometry {
            columns: chip.columns as usize,
            rows: chip.rows as usize,
            chip_columns: chip.link_columns as usize,
        }
    }

    /// The site of the router.
    pub fn router(&self) -> usize {
        self.rows / 2 * self.columns + self.columns / 2
    }

    /// The site of the periphery, where the host is connected.
    pub fn host(&self) -> usize {
        0
    }

    /// The site of a quad.
    pub fn quad(&self, quad: usize) -> usize {
        // The host's site comes first, the router's somewhere after it.
        let site = quad + 1;
        if site < self.router() { site } else { site + 1 }
    }

    /// A site's place along x and y.
    pub fn place(&self, site: usize) -> (usize, usize) {
        (site % self.columns, site / self.columns)
    }

    /// The links from one site to another: sites and the way each is left.
    pub fn path(&self, from: usize, to: usize) -> Vec<(usize, usize)> {
        let ((mut x, mut y), (to_x, to_y)) = (self.place(from), self.place(to));
        let mut path = Vec::new();
        while (x, y) != (to_x, to_y) {
            let way = match (x.cmp(&to_x), y.cmp(&to_y)) {
                (std::cmp::Ordering::Less, _) => 0,
                (std::cmp::Ordering::Greater, _) => 1,
                (_, std::cmp::Ordering::Less) => 2,
                _ => 3,
            };
            path.push((y * self.columns + x, way));
            x = x.wrapping_add_signed(WAYS[way].0);
            y = y.wrapping_add_signed(WAYS[way].1);
        }
        path
    }

    /// The links from one chip to another: chips and the way each is left.
    pub fn chip_path(&self, from: usize, to: usize) -> Vec<(usize, usize)> {
        let place = |chip: usize| {
            ((chip % self.chip_columns) as isize, (chip / self.chip_columns) as isize)
        };
        let ((mut x, mut y), (to_x, to_y)) = (place(from), place(to));
        let mut path = Vec::new();
        while (x, y) != (to_x, to_y) {
            let way = match ((to_x - x).signum(), (to_y - y).signum()) {
                (1, 1) => 1,
                (-1, -1) => 4,
                (1, _) => 0,
                (-1, _) => 3,
                (_, 1) => 2,
                _ => 5,
            };
            path.push(((y * self.chip_columns as isize + x) as usize, way));
            x += CHIP_WAYS[way].0;
            y += CHIP_WAYS[way].1;
        }
        path
    }

    /// Links of the tree from the router to all of some sites.
    pub fn tree_links(&self, sites: &[usize]) -> usize {
        let (rx, ry) = self.place(self.router());
        let (mut left, mut right) = (rx, rx);
        let mut reach = [(usize::MAX, 0); 64];
        for &site in sites {
            let (x, y) = self.place(site);
            left = left.min(x);
            right = right.max(x);
            let column = &mut reach[x];
            *column = (column.0.min(y), column.1.max(y));
        }
        let columns = reach[left..=right].iter().filter(|column| column.0 != usize::MAX);
        let along_y: usize =
            columns.map(|(low, high)| high.max(&ry) - ry + ry - low.min(&ry)).sum();
        right - left + along_y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quad_has_a_site_of_its_own_and_paths_end_where_they_should() {
        let geometry = Geometry::new(&Chip::spinnaker2().unwrap());
        let mut sites: Vec<usize> = (0..38).map(|quad| geometry.quad(quad)).collect();
        sites.extend([geometry.router(), geometry.host()]);
        sites.sort_unstable();
        assert_eq!(sites, (0..40).collect::<Vec<_>>());
        for from in 0..40 {
            for to in 0..40 {
                let mut at = from;
                for (site, way) in geometry.path(from, to) {
                    assert_eq!(site, at);
                    let (x, y) = geometry.place(at);
                    let (dx, dy) = WAYS[way];
                    at = y.strict_add_signed(dy) * 8 + x.strict_add_signed(dx);
                }
                assert_eq!(at, to);
            }
        }
        // The tree is the union of the paths.
        let sites = [0, 3, 9, 22, 39, 20];
        let mut links: Vec<_> =
            sites.iter().flat_map(|&site| geometry.path(geometry.router(), site)).collect();
        links.sort_unstable();
        links.dedup();
        assert_eq!(geometry.tree_links(&sites), links.len());
        assert_eq!(geometry.chip_path(0, 10), [(0, 1), (9, 0)]);
    }
}
