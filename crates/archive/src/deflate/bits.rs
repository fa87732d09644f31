//! Bits in deflate's order: the lowest first.

/// A buffer that is filled bit by bit.
pub(super) struct Bits {
    out: Vec<u8>,
    /// Whole bytes in `out`.
    length: usize,
    /// Bits that are not in it yet.
    held: u64,
    count: u32,
}

impl Bits {
    /// With room for this many bytes.
    pub(super) fn new(room: usize) -> Bits {
        Bits { out: vec![0; room], length: 0, held: 0, count: 0 }
    }

    /// Appends the low `count` bits of `value`, whose others are 0. At most 56 together between two calls of
    /// [`Bits::flush`].
    #[inline(always)]
    pub(super) fn add(&mut self, value: u64, count: u32) {
        self.held |= value << self.count;
        self.count += count;
    }

    /// Moves whole bytes out.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        let end = self.length + 8;
        if end > self.out.len() {
            self.out.resize(end + 4096, 0);
        }
        self.out[self.length..end].copy_from_slice(&self.held.to_le_bytes());
        let whole = self.count / 8;
        self.length += whole as usize;
        // A shift by 64 is none: with 8 whole bytes nothing is left.
        self.held = self.held.checked_shr(whole * 8).unwrap_or(0);
        self.count %= 8;
    }

    /// [`Bits::add`] and [`Bits::flush`].
    pub(super) fn put(&mut self, value: u64, count: u32) {
        self.add(value, count);
        self.flush();
    }

    /// Zeros up to the next byte.
    pub(super) fn align(&mut self) {
        self.put(0, (8 - self.count) % 8);
    }

    /// Whole bytes, after [`Bits::align`].
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if end > self.out.len() {
            self.out.resize(end + 4096, 0);
        }
        self.out[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.align();
        self.out.truncate(self.length);
        self.out
    }
}
