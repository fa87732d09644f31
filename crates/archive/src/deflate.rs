//! A deflate compressor (RFC 1951) made for speed, whose bytes depend on its input alone.
//!
//! ```text
//!  input ──matches──▶ literals and matches ──▶ per 16 Ki of them: stored │ fixed │ dynamic Huffman, whichever is smallest
//!        greedy, two candidates per hash          counted as they come
//! ```
//!
//! Layers are named by the digest of their compressed bytes, so these may change neither with the processor (zlib's
//! descendants choose their hash by what it can do) nor with a library's version. What does not compress is noticed and
//! passed over quickly: layers are full of archives, images and wheels.
//!
//! Promises: the same input gives the same output everywhere; the output is at most [`bound`] bytes; nothing is kept
//! between two calls but memory. It does not look behind its input: each call is a stream's part of its own.

mod bits;
mod block;
mod huffman;
mod matches;

use bits::Bits;
use block::Block;
use matches::Table;

/// Symbols of a block at most. Longer blocks follow a change of the contents later, shorter ones carry more headers.
const SYMBOLS: usize = 1 << 14;

/// Most bytes that the output of `length` bytes of input takes.
pub(crate) fn bound(length: usize) -> usize {
    // Stored blocks of 65,535 bytes with five bytes of header, one more for each block, the end, and room for whole words.
    length + 8 * (length / SYMBOLS + length / 65_535) + 64
}

/// The memory of a compressor.
pub(crate) struct Deflate {
    table: Table,
    block: Block,
}

impl Deflate {
    pub(crate) fn new() -> Deflate {
        Deflate { table: Table::new(), block: Block::new() }
    }

    /// `input` as deflate blocks that end on a byte boundary, or as the end of a stream if it is the `last` part.
    pub(crate) fn part(&mut self, input: &[u8], last: bool) -> Vec<u8> {
        let mut bits = Bits::new(bound(input.len()));
        self.table.clear();
        let mut start = 0;
        while start < input.len() {
            let end = self.table.symbols(input, start, SYMBOLS, &mut self.block);
            self.block.write(&input[start..end], &mut bits);
            start = end;
        }
        if last {
            // An empty block of the fixed code, marked as the last one.
            bits.put(0b011, 3);
            bits.put(0, 7);
            bits.align();
        } else {
            block::stored(&[], &mut bits);
        }
        bits.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress, Status};

    fn check(deflate: &mut Deflate, input: &[u8]) -> usize {
        let (first, second) = input.split_at(input.len() / 2);
        let mut packed = deflate.part(first, false);
        packed.extend(deflate.part(second, true));
        assert!(packed.len() <= bound(first.len()) + bound(second.len()), "{} of {}", packed.len(), input.len());
        let mut back = Vec::with_capacity(input.len() + 64);
        let mut inflate = Decompress::new(false);
        let status = inflate.decompress_vec(&packed, &mut back, FlushDecompress::Finish).unwrap();
        assert_eq!(status, Status::StreamEnd);
        assert_eq!(inflate.total_in(), packed.len() as u64);
        assert!(back == input, "{} bytes", input.len());
        packed.len()
    }

    #[test]
    fn comes_back() {
        let mut deflate = Deflate::new();
        let mut random = fuzz::Random::new(1);
        let noise: Vec<u8> = (0..300_000).map(|_| random.bits() as u8).collect();
        let words: Vec<u8> = (0..60_000).flat_map(|_| format!("{} ", random.bits() % 997).into_bytes()).collect();
        let skewed: Vec<u8> = (0..200_000).map(|_| random.bits().trailing_zeros() as u8).collect();
        for (input, most) in [
            (&b""[..], 16),
            (b"a", 16),
            (b"ab", 16),
            (b"hello hello hello hello", 40),
            (&[0; 1_000_000], 6000),
            (&noise, 300_400),
            (&words, words.len() / 2),
            (&skewed, 70_000),
            (&[&noise[..70_000], &words, &noise[..30_000], &[7; 5000]].concat(), 110_000 + words.len() / 2),
        ] {
            let length = check(&mut deflate, input);
            assert!(length <= most, "{} became {length}", input.len());
        }
    }

    /// A code whose counts are Fibonacci's numbers would be longer than deflate allows.
    #[test]
    fn deep_codes_are_cut() {
        let (mut input, mut counts) = (Vec::new(), (1usize, 1usize));
        for symbol in 0..24u8 {
            input.extend(std::iter::repeat_n(symbol, counts.0));
            counts = (counts.1, counts.0 + counts.1);
        }
        let mut random = fuzz::Random::new(3);
        for at in (1..input.len()).rev() {
            input.swap(at, random.below(at + 1));
        }
        check(&mut Deflate::new(), &input);
    }

    #[test]
    fn anything_comes_back() {
        let seeds: [&[u8]; 4] =
            [&[0; 700], b"abcabcabcabd", include_bytes!("deflate.rs"), include_bytes!("../Cargo.toml")];
        let mut deflate = Deflate::new();
        fuzz::run(&seeds, &[b"abc", &[0; 40]], |input| {
            check(&mut deflate, input);
        });
    }

    /// Registries name a layer by these bytes: they must not change by accident.
    #[test]
    fn the_bytes_are_known() {
        let text: String = (0..4000u32).map(|n| format!("{} ", n.wrapping_mul(2_654_435_761) % 509)).collect();
        let packed = Deflate::new().part(text.as_bytes(), true);
        let sum = packed
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        assert_eq!((text.len(), packed.len(), sum), (15133, 1862, 5_984_872_695_684_090_132));
    }
}
