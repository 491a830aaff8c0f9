//! Dense matrix products, through the crate `gemm` where there is `std`.

#[cfg(feature = "std")]
use crate::fill::Start;
#[cfg(feature = "std")]
use rayon::prelude::*;

/// `out[m, n] = a[m, k] b[n, k]^T`, all row-major; `accumulate` adds to `out` instead.
///
/// # Panics
/// If a slice is shorter than its shape.
pub fn matmul_nt(out: &mut [f32], a: &[f32], b: &[f32], [m, n, k]: [usize; 3], accumulate: bool) {
    assert!(out.len() >= m * n && a.len() >= m * k && b.len() >= n * k, "matmul_nt: short slice");
    if m == 0 || n == 0 {
        return;
    }
    product(out, a, [k, 1], b, [1, k], [m, n, k], accumulate);
}

/// `out[m, n] = a[m, k] b[k, n]`, all row-major; `accumulate` adds to `out` instead.
///
/// # Panics
/// If a slice is shorter than its shape.
pub fn matmul_nn(out: &mut [f32], a: &[f32], b: &[f32], [m, n, k]: [usize; 3], accumulate: bool) {
    assert!(out.len() >= m * n && a.len() >= m * k && b.len() >= n * k, "matmul_nn: short slice");
    if m == 0 || n == 0 {
        return;
    }
    product(out, a, [k, 1], b, [n, 1], [m, n, k], accumulate);
}

/// `out[m, n] = a[k, m]^T b[k, n]`, all row-major; `accumulate` adds to `out` instead.
///
/// # Panics
/// If a slice is shorter than its shape.
pub fn matmul_tn(out: &mut [f32], a: &[f32], b: &[f32], [m, n, k]: [usize; 3], accumulate: bool) {
    assert!(out.len() >= m * n && a.len() >= m * k && b.len() >= n * k, "matmul_tn: short slice");
    if m == 0 || n == 0 {
        return;
    }
    product(out, a, [1, m], b, [n, 1], [m, n, k], accumulate);
}

/// Strides are `[row, column]`.
#[cfg(feature = "std")]
#[allow(unsafe_code)]
fn product(
    out: &mut [f32],
    a: &[f32],
    a_strides: [usize; 2],
    b: &[f32],
    b_strides: [usize; 2],
    shape: [usize; 3],
    accumulate: bool,
) {
    assert!(out.len() >= shape[0] * shape[1], "product: short output");
    // SAFETY: `out` is borrowed mutably and long enough (asserted above).
    unsafe {
        let out = out.as_mut_ptr();
        gemm_into(out, shape[1], accumulate, a, a_strides, b, b_strides, shape);
    }
}

/// What of a product each thread makes.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// Rows of the result.
    Rows,
    /// Columns of the result.
    Columns,
}

/// `a[m, k] b[k, n]` with strides `[row, column]`, on all threads; results do not depend on how
/// many. Every thread makes a part of its own: small products are up to a tenth faster so than with
/// the threads of the crate `gemm`, which wait for each other behind every block.
///
/// # Panics
/// If a slice is shorter than its shape and strides ask for.
#[cfg(feature = "std")]
#[allow(unsafe_code)]
pub(crate) fn product_on_all_threads(
    a: &[f32],
    a_strides: [usize; 2],
    b: &[f32],
    b_strides: [usize; 2],
    [m, n, k]: [usize; 3],
    split: Split,
) -> Vec<f32> {
    let len = m.checked_mul(n).expect("a matrix in memory");
    if len == 0 || k == 0 {
        return vec![0.0; len];
    }
    let threads = if m * n * k < SMALL { 1 } else { rayon::current_num_threads() };
    let (split_size, other) = if split == Split::Rows { (m, n) } else { (n, m) };
    // `gemm` adds in other orders where results have no more than 64 rows and columns, or 256 values:
    // whatever the whole is, no part may be that small.
    let least = (64 + PART).max(256 / other + PART);
    let parts = threads.min(split_size / least).max(1);
    let bound = |i: usize| match i == parts {
        true => split_size,
        false => i * split_size / parts / PART * PART,
    };
    let mut out = Vec::with_capacity(len);
    let to = Start(out.as_mut_ptr());
    let work = |i: usize| {
        let start = bound(i);
        let own = bound(i + 1) - start;
        // SAFETY: `out` has room for m * n values and nobody else knows of it; parts start at
        // different rows or columns and end where the next one starts. A product that does not
        // accumulate reads none of the values.
        match split {
            Split::Rows => unsafe {
                let (out, a) = (to.at(start * n), &a[start * a_strides[0]..]);
                gemm_into(out, n, false, a, a_strides, b, b_strides, [own, n, k]);
            },
            Split::Columns => unsafe {
                let (out, b) = (to.at(start), &b[start * b_strides[1]..]);
                gemm_into(out, n, false, a, a_strides, b, b_strides, [m, own, k]);
            },
        }
    };
    match parts {
        1 => work(0),
        _ => (0..parts).into_par_iter().for_each(work),
    }
    // SAFETY: the parts together are all m * n values, and each product writes all of its own.
    unsafe { out.set_len(len) };
    out
}

/// Multiplications below which threads cost more than they give.
#[cfg(feature = "std")]
const SMALL: usize = 1 << 18;
/// Parts but the last one are multiples of so many rows or columns.
#[cfg(feature = "std")]
const PART: usize = 32;

/// On one thread; rows of `out` are `stride` apart.
///
/// # Safety
/// `out` has room for m rows of n values, `stride` apart, that nobody else reads or writes meanwhile;
/// with `accumulate` they have been written.
#[cfg(feature = "std")]
#[allow(unsafe_code, clippy::too_many_arguments)] // a product has that many
unsafe fn gemm_into(
    out: *mut f32,
    stride: usize,
    accumulate: bool,
    a: &[f32],
    a_strides: [usize; 2],
    b: &[f32],
    b_strides: [usize; 2],
    [m, n, k]: [usize; 3],
) {
    let needed = |[rows, columns]: [usize; 2], [row, column]: [usize; 2]| match rows * columns {
        0 => 0,
        _ => (rows - 1) * row + (columns - 1) * column + 1,
    };
    assert!(a.len() >= needed([m, k], a_strides), "product: short slice");
    assert!(b.len() >= needed([k, n], b_strides), "product: short slice");
    // SAFETY: every offset of these shapes and strides lies within `a` and `b` (asserted above)
    // and within `out` (the caller's promise).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride as isize,
            accumulate,
            a.as_ptr(),
            a_strides[1] as isize,
            a_strides[0] as isize,
            b.as_ptr(),
            b_strides[1] as isize,
            b_strides[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(not(feature = "std"))]
fn product(
    out: &mut [f32],
    a: &[f32],
    a_strides: [usize; 2],
    b: &[f32],
    b_strides: [usize; 2],
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = if accumulate { out[i * n + j] } else { 0.0 };
            for l in 0..k {
                sum +=
                    a[i * a_strides[0] + l * a_strides[1]] * b[l * b_strides[0] + j * b_strides[1]];
            }
            out[i * n + j] = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i.wrapping_mul(2654435761).wrapping_add(seed)) % 17) as f32 - 8.0)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Small integers: every product is exact, so the three forms must agree to the bit.
        #[test]
        fn three_layouts_agree(m in 0usize..9, n in 0usize..9, k in 0usize..9, seed: u32) {
            let (a, b) = (numbers(m * k, seed), numbers(k * n, seed ^ 99));
            let transpose = |x: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..rows * cols).map(|i| x[(i % rows) * cols + i / rows]).collect()
            };
            let mut expected = vec![1.0; m * n];
            for i in 0..m { for j in 0..n { for l in 0..k {
                expected[i * n + j] += a[i * k + l] * b[l * n + j];
            }}}
            let mut nn = vec![1.0; m * n];
            matmul_nn(&mut nn, &a, &b, [m, n, k], true);
            let mut nt = vec![1.0; m * n];
            matmul_nt(&mut nt, &a, &transpose(&b, k, n), [m, n, k], true);
            let mut tn = vec![1.0; m * n];
            matmul_tn(&mut tn, &transpose(&a, m, k), &b, [m, n, k], true);
            prop_assert_eq!(&nn, &expected);
            prop_assert_eq!(&nt, &expected);
            prop_assert_eq!(&tn, &expected);
        }
    }
}
