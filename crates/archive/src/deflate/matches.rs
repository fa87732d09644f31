//! Where bytes have been before: a table of the last two places of each hash, asked greedily.

use super::block::Block;

const HASH_BITS: u32 = 15;
/// Farthest that deflate can point back.
const WINDOW: usize = 32_768;
/// Shortest and longest match that is looked for. Three bytes are seldom worth their bits.
const SHORTEST: usize = 4;
const LONGEST: usize = 258;
/// Of longer matches not every place is remembered.
const LONG: usize = 8;
/// Bytes without a match until places are passed over, one more each time (as a power of two).
const PATIENCE: u32 = 6;
/// Passed over at most.
const STRIDE: usize = 32;

/// The last two places of each hash, the later one first; 0 is none, the others are one more than they are.
pub(super) struct Table(Box<[[u32; 2]; 1 << HASH_BITS]>);

impl Table {
    pub(super) fn new() -> Table {
        Table(Box::new([[0; 2]; 1 << HASH_BITS]))
    }

    pub(super) fn clear(&mut self) {
        self.0.fill([0; 2]);
    }

    #[inline(always)]
    fn remember(&mut self, input: &[u8], at: usize) {
        let places = &mut self.0[hash(word32(input, at))];
        *places = [at as u32 + 1, places[0]];
    }

    /// Adds literals and matches from `start` on to an empty block until it has about `most` symbols or the input ends;
    /// where the next block begins.
    pub(super) fn symbols(&mut self, input: &[u8], start: usize, most: usize, block: &mut Block) -> usize {
        let mut at = start;
        // Of the literals that are not written down yet.
        let mut from = start;
        // What is left at the end cannot be read as words.
        let end = input.len().saturating_sub(8);
        while at < end {
            let word = word32(input, at);
            let places = &mut self.0[hash(word)];
            let [first, second] = *places;
            *places = [at as u32 + 1, first];
            let (mut length, mut back) = (0, 0);
            for place in [first, second] {
                let Some(place) = (place as usize).checked_sub(1) else { continue };
                if at - place <= WINDOW && word32(input, place) == word {
                    let same = common(input, place, at);
                    if same > length {
                        (length, back) = (same, at - place);
                    }
                }
            }
            if length < SHORTEST {
                at += 1 + ((at - from) >> PATIENCE).min(STRIDE);
                if block.len() + (at - from) >= most {
                    break;
                }
                continue;
            }
            for byte in &input[from..at] {
                block.literal(*byte);
            }
            block.matched(length, back);
            let next = at + length;
            // Long matches are runs and copies of whole files: their ends are enough to find them again.
            let known = next.min(end);
            let tail = if length > LONG { (next - LONG / 4).min(known) } else { known };
            for inside in (at + 1..tail.min(at + LONG)).chain(tail..known) {
                self.remember(input, inside);
            }
            (at, from) = (next, next);
            if block.len() >= most {
                return at;
            }
        }
        let stop = if at >= end { input.len() } else { at };
        for byte in &input[from..stop] {
            block.literal(*byte);
        }
        stop
    }
}

#[inline(always)]
fn word(input: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&input[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[inline(always)]
fn word32(input: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&input[at..at + 4]);
    u32::from_le_bytes(bytes)
}

#[inline(always)]
fn hash(word: u32) -> usize {
    (word.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize
}

/// How many bytes are the same at both places, at most [`LONGEST`].
#[inline(always)]
fn common(input: &[u8], before: usize, at: usize) -> usize {
    let limit = (input.len() - at).min(LONGEST);
    let (earlier, later) = (&input[before..before + limit], &input[at..at + limit]);
    let mut length = 0;
    while length + 8 <= limit {
        let different = word(earlier, length) ^ word(later, length);
        if different != 0 {
            return length + (different.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    while length < limit && earlier[length] == later[length] {
        length += 1;
    }
    length
}
