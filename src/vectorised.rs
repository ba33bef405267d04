//! Functions compiled for the widest vectors of the machine. All else is compiled for the
//! least that the platform promises: two float64 at a time on x86-64, where AVX-512 has eight.
//!
//! The results are the same. Compilers contract nothing to multiply-adds here and change no
//! order of additions, so that a wider vector does the same operations, more at a time.

/// Elements after which a loop may go another way: enough to fill vectors with.
pub(crate) const LANES: usize = 16;

/// Makes a function choose at run time between copies of itself. What it does is `for` loops of
/// arithmetic and selections whose steps do not depend on one another; what they call is inlined
/// for certain, as closures are not.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),*) $body:block) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) {
            #[inline(always)]
            fn portable($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                // With DQ for the conversions between int64 and float64.
                #[target_feature(enable = "avx512f,avx512dq")]
                fn avx512($($argument: $type),*) { portable($($argument),*) }

                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) { portable($($argument),*) }

                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                    // SAFETY: the machine has these instructions.
                    return unsafe { avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            portable($($argument),*)
        }
    };
}
pub(crate) use vectorised;
