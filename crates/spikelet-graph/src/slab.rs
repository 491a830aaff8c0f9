//! Numbers that tensors hold: owned, or part of a file that is mapped into memory. Copies share
//! them until one is changed.

use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    ops::{Deref, DerefMut},
};

/// A list of numbers that is cheap to clone.
#[derive(Clone)]
pub struct Slab<T>(Source<T>);

#[derive(Clone)]
enum Source<T> {
    Owned(Arc<Vec<T>>),
    #[cfg(feature = "std")]
    Mapped(mapped::Mapped<T>),
}

impl<T> Deref for Slab<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Source::Owned(values) => values,
            #[cfg(feature = "std")]
            Source::Mapped(values) => values.get(),
        }
    }
}

impl<T: Clone> DerefMut for Slab<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        #[cfg(feature = "std")]
        if let Source::Mapped(values) = &self.0 {
            self.0 = Source::Owned(Arc::new(values.get().to_vec()));
        }
        match &mut self.0 {
            Source::Owned(values) => Arc::make_mut(values).as_mut_slice(),
            #[cfg(feature = "std")]
            Source::Mapped(_) => unreachable!("it has just become owned"),
        }
    }
}

impl<T> From<Vec<T>> for Slab<T> {
    fn from(values: Vec<T>) -> Self {
        Slab(Source::Owned(Arc::new(values)))
    }
}

impl<T> FromIterator<T> for Slab<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T: PartialEq> PartialEq for Slab<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(feature = "std")]
pub use mapped::File;

/// A number of which any bytes are a valid value.
pub trait Number: sealed::Sealed + Copy {}
impl<T: sealed::Sealed + Copy> Number for T {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u16 {}
    impl Sealed for i32 {}
    impl Sealed for i8 {}
    impl Sealed for u8 {}
}

#[cfg(feature = "std")]
mod mapped {
    use super::{Number, Slab, Source};
    use alloc::sync::Arc;
    use core::{marker::PhantomData, ops::Range};
    use memmap2::Mmap;

    /// A file that is mapped into memory.
    pub type File = Arc<Mmap>;

    /// Bytes of a file that are aligned, and as many as whole numbers need.
    pub(super) struct Mapped<T> {
        file: File,
        range: Range<usize>,
        of: PhantomData<fn() -> T>,
    }

    impl<T> Clone for Mapped<T> {
        fn clone(&self) -> Self {
            Self { file: self.file.clone(), range: self.range.clone(), of: PhantomData }
        }
    }

    impl<T> Mapped<T> {
        pub(super) fn get(&self) -> &[T] {
            let bytes = &self.file[self.range.clone()];
            // SAFETY: `Slab::mapped`, which alone makes these, admits only types of which any bytes
            // are a value, and has checked that the bytes are aligned and whole numbers. The slice
            // lives no longer than the map, which it borrows.
            #[allow(unsafe_code)]
            unsafe {
                core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>())
            }
        }
    }

    impl<T: Number> Slab<T> {
        /// A part of a file, whose numbers are little endian. Nothing if they cannot be used in
        /// place: if they are not aligned, or this machine is big endian.
        pub fn mapped(file: &File, range: Range<usize>) -> Option<Self> {
            let bytes = file.get(range.clone())?;
            let aligned = bytes.as_ptr().cast::<T>().is_aligned();
            let whole = bytes.len().is_multiple_of(size_of::<T>());
            if !(aligned && whole && cfg!(target_endian = "little")) {
                return None;
            }
            Some(Slab(Source::Mapped(Mapped { file: file.clone(), range, of: PhantomData })))
        }
    }
}
