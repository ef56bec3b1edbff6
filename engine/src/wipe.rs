//! Wiping what was secret, fast enough to do it on every request.

/// Overwrites bytes with zeros, even where they are never read again.
///
/// `zeroize` writes byte by byte and volatile, which takes most of a microsecond for a kilobyte.
/// This is one `memset` that the compiler must not leave out.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// Wipes a vector, its unused capacity too, and leaves it empty.
pub fn wipe_vec(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    zeroize::optimization_barrier(bytes.as_slice());
    bytes.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let mut bytes = *b"secret";
        wipe(&mut bytes);
        assert_eq!(bytes, [0; 6]);

        let mut vec = b"a longer secret".to_vec();
        vec.truncate(3);
        let capacity = vec.capacity();
        wipe_vec(&mut vec);
        assert_eq!((vec.len(), vec.capacity()), (0, capacity));
        // SAFETY: bytes that were just written, of a type that any bytes are.
        let spare = vec.spare_capacity_mut().iter().map(|byte| unsafe { byte.assume_init() });
        assert_eq!(spare.collect::<Vec<_>>(), vec![0; capacity]);
    }
}
