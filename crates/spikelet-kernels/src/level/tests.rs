use super::*;

/// Everything a level does, as numbers.
struct Everything {
    floats: [f32; LANES],
    halves: [u16; LANES],
    dense: [f32; GROUP],
    wide: Wide,
    packed: Packed,
    x: [Values; 2],
}

impl Task for Everything {
    type Out = ([[f32; LANES]; 7], f32, [Wide; 3], [i32; LANES], [TwoLanes; 5], [f32; 2]);

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Self::Out {
        let some = level.load(&self.floats);
        let of = [
            level.splat(self.floats[1]),
            level.halves(&self.halves),
            level.bytes(self.wide.first_chunk().unwrap()),
            level.add(some, level.splat(0.1)),
            level.multiply(some, some),
            level.products(level.read(&self.wide), &self.x[0]),
            level.products_packed(level.read_packed(&self.packed), &self.x[1]),
        ];
        let mut out = [[0.0; LANES]; 7];
        for (x, to) in of.into_iter().zip(&mut out) {
            level.store(x, to);
        }
        let sums = level.sums(&self.x[0].values, -128);
        let [plain, halves] = [false, true].map(|h| level.round(&self.dense, self.floats[2], h));
        let unpacked = [level.unpack(&self.packed), plain, halves];
        let pairs = level.pairs();
        let two = pairs.load(&[self.floats, self.floats.map(|x| x + 0.1)]);
        let of = [
            two,
            pairs.splat(self.floats[1]),
            pairs.twice(&self.floats),
            pairs.add(two, pairs.splat(0.1)),
            pairs.multiply(two, two),
        ];
        let mut both = [[[0.0; LANES]; 2]; 5];
        for (x, to) in of.into_iter().zip(&mut both) {
            pairs.store(x, to);
        }
        (out, level.total(some), unpacked, sums, both, pairs.totals(two))
    }
}

#[test]
fn all_levels_give_the_same_bits() {
    let byte = |k: usize, seed: usize| ((k * 7919 + seed * 104_729) / 3 % 256) as u8 as i8;
    for seed in 0..200 {
        let values = |offset: i32| {
            // The largest values as well as others.
            let value = |k| match (seed, byte(k, seed + 1)) {
                (0, _) => 127,
                (1, _) => -127,
                (_, i8::MIN) => -127,
                (_, value) => value,
            };
            let values: Wide = core::array::from_fn(value);
            let lane = |k: usize| -> i32 {
                (QUAD * k..QUAD * (k + 1))
                    .flat_map(|j| [values[j], values[j + GROUP / 2]].map(i32::from))
                    .sum()
            };
            let corrections = core::array::from_fn(|k| -offset * lane(k));
            Values { values, corrections, scale: 1.0 }
        };
        let wide = core::array::from_fn(|k| if seed < 2 { i8::MIN } else { byte(k, seed) });
        let case = || Everything {
            floats: core::array::from_fn(|k| match seed {
                4 => 1.0,
                _ => f32::from(byte(k, seed)) * 0.3,
            }),
            dense: core::array::from_fn(|k| match (seed, k) {
                (3, 5) => f32::NAN,
                (3, 6) => f32::INFINITY,
                (4, _) => 0.5 * (k as f32 - 31.0),
                _ => f32::from(byte(k, seed + 2)) * 1.1,
            }),
            halves: core::array::from_fn(|k| 0x3000 + byte(k, seed) as u8 as u16),
            wide,
            packed: core::array::from_fn(|k| if seed < 2 { 0x88 } else { byte(k, seed) as u8 }),
            x: [values(128), values(8)],
        };
        assert_eq!(launch(case()), case().run(Plain), "seed {seed}");
    }
}
