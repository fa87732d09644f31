//! One block: literals and matches with how often each occurs, and the shortest way to write them (RFC 1951, 3.2.4 to 3.2.7).

use super::bits::Bits;
use super::huffman;

/// Literals, the end, lengths of matches.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const END: usize = 256;

/// The order in which lengths of the code for lengths are written.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A match has this bit, the length less 3 in bits 16 to 23, and the distance less 1 below.
const MATCH: u32 = 1 << 31;

/// The symbol, the number of further bits, and the first length less 3 of each length less 3.
const LENGTHS: [(u16, u8, u8); 256] = {
    let mut table = [(0, 0, 0); 256];
    let (mut symbol, mut first, mut extra) = (257, 0, 0);
    while first < 255 {
        let mut of = 0;
        while of < 4 && first < 255 {
            let mut length = first;
            while length < first + (1 << extra) && length < 256 {
                table[length] = (symbol, extra, first as u8);
                length += 1;
            }
            symbol += 1;
            first += 1 << extra;
            of += 1;
            // The first eight symbols have no further bits.
            if symbol == 261 {
                of = 0;
            }
        }
        extra += 1;
    }
    // The longest has a symbol of its own.
    table[255] = (285, 0, 255);
    table
};

/// The symbol of a distance less 1, and the number of its further bits.
#[inline(always)]
fn distance(less_one: u32) -> (usize, u32) {
    if less_one < 4 {
        return (less_one as usize, 0);
    }
    let extra = 30 - less_one.leading_zeros();
    ((2 * extra + (less_one >> extra)) as usize, extra)
}

/// A block while it is gathered.
pub(super) struct Block {
    symbols: Vec<u32>,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
    /// Bits behind the codes.
    extra: u64,
}

impl Block {
    pub(super) fn new() -> Block {
        Block { symbols: Vec::new(), literals: [0; LITERALS], distances: [0; DISTANCES], extra: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    #[inline(always)]
    pub(super) fn literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
        self.symbols.push(u32::from(byte));
    }

    /// `length` in 3..=258, `back` in 1..=32768.
    #[inline(always)]
    pub(super) fn matched(&mut self, length: usize, back: usize) {
        let (length, back) = ((length - 3) as u32 & 0xff, (back - 1) as u32 & 0x7fff);
        let (symbol, extra, _) = LENGTHS[length as usize];
        let (far, further) = distance(back);
        self.literals[usize::from(symbol)] += 1;
        self.distances[far] += 1;
        self.extra += u64::from(extra) + u64::from(further);
        self.symbols.push(MATCH | length << 16 | back);
    }

    /// Writes the block, which stands for `input`, and empties it.
    pub(super) fn write(&mut self, input: &[u8], bits: &mut Bits) {
        self.literals[END] += 1;
        let dynamic = Codes::dynamic(&self.literals, &self.distances);
        let fixed = Codes::fixed();
        let cost = |codes: &Codes| codes.header + codes.cost(&self.literals, &self.distances) + self.extra;
        let (of_dynamic, of_fixed) = (cost(&dynamic), cost(&fixed));
        let of_stored = 8 * (input.len() as u64 + 5 * (1 + input.len() as u64 / 65_535));
        if of_stored <= of_dynamic.min(of_fixed) {
            stored(input, bits);
        } else if of_fixed <= of_dynamic {
            bits.put(0b010, 3);
            self.symbols(&fixed, bits);
        } else {
            dynamic.describe(bits);
            self.symbols(&dynamic, bits);
        }
        self.symbols.clear();
        (self.literals, self.distances, self.extra) = ([0; LITERALS], [0; DISTANCES], 0);
    }

    fn symbols(&self, codes: &Codes, bits: &mut Bits) {
        let literal: [u32; 288] =
            std::array::from_fn(|at| u32::from(codes.literal_codes[at]) << 8 | u32::from(codes.literals[at]));
        let far: [u32; 32] =
            std::array::from_fn(|at| u32::from(codes.distance_codes[at]) << 8 | u32::from(codes.distances[at]));
        for symbol in &self.symbols {
            if symbol & MATCH == 0 {
                let code = literal[(symbol & 0xff) as usize];
                bits.add(u64::from(code >> 8), code & 0xff);
            } else {
                let (length, back) = (symbol >> 16 & 0xff, symbol & 0x7fff);
                let (of_length, extra, first) = LENGTHS[length as usize];
                let code = literal[usize::from(of_length)];
                bits.add(u64::from(code >> 8), code & 0xff);
                bits.add(u64::from(length - u32::from(first)), u32::from(extra));
                let (of_distance, extra) = distance(back);
                let code = far[of_distance & 31];
                bits.add(u64::from(code >> 8), code & 0xff);
                bits.add(u64::from(back & ((1 << extra) - 1)), extra);
            }
            bits.flush();
        }
        let end = literal[END];
        bits.put(u64::from(end >> 8), end & 0xff);
    }
}

/// `input` as it is, in blocks of at most 65,535 bytes; an empty one for no input. Ends on a byte boundary.
pub(super) fn stored(input: &[u8], bits: &mut Bits) {
    let mut rest = input;
    loop {
        let (piece, next) = rest.split_at(rest.len().min(65_535));
        bits.put(0b000, 3);
        bits.align();
        let length = piece.len() as u16;
        bits.bytes(&length.to_le_bytes());
        bits.bytes(&(!length).to_le_bytes());
        bits.bytes(piece);
        rest = next;
        if rest.is_empty() {
            return;
        }
    }
}

/// The two codes of a block.
struct Codes {
    literals: [u8; 288],
    literal_codes: [u16; 288],
    distances: [u8; 32],
    distance_codes: [u16; 32],
    /// Bits of the block's header.
    header: u64,
    /// A dynamic block's: lengths as they are written, and the code that they are written in.
    runs: Vec<(u8, u8)>,
    of_runs: [u8; 19],
    /// Numbers of codes for literals and distances, and of lengths in `ORDER`, that are written.
    counts: (usize, usize, usize),
}

impl Codes {
    fn fixed() -> Codes {
        let mut codes = Codes::new();
        codes.literals = std::array::from_fn(|symbol| match symbol {
            0..144 => 8,
            144..256 => 9,
            256..280 => 7,
            _ => 8,
        });
        codes.distances = [5; 32];
        codes.header = 3;
        codes.number();
        codes
    }

    fn dynamic(literals: &[u32; LITERALS], distances: &[u32; DISTANCES]) -> Codes {
        let mut codes = Codes::new();
        huffman::lengths(literals, 15, &mut codes.literals[..LITERALS]);
        huffman::lengths(distances, 15, &mut codes.distances[..DISTANCES]);
        codes.number();
        let used = |lengths: &[u8]| lengths.iter().rposition(|length| *length > 0).map_or(0, |last| last + 1);
        let literals = used(&codes.literals).max(257);
        let distances = used(&codes.distances).max(1);
        let all: Vec<u8> = [&codes.literals[..literals], &codes.distances[..distances]].concat();
        codes.runs = runs(&all);
        let mut counts = [0; 19];
        for (symbol, _) in &codes.runs {
            counts[usize::from(*symbol)] += 1;
        }
        huffman::lengths(&counts, 7, &mut codes.of_runs);
        let written = ORDER.iter().rposition(|at| codes.of_runs[*at] > 0).map_or(4, |last| last + 1).max(4);
        codes.counts = (literals, distances, written);
        codes.header = 3 + 14 + 3 * written as u64;
        for (symbol, _) in &codes.runs {
            codes.header += u64::from(codes.of_runs[usize::from(*symbol)]) + u64::from(further(*symbol));
        }
        codes
    }

    fn new() -> Codes {
        Codes {
            literals: [0; 288],
            literal_codes: [0; 288],
            distances: [0; 32],
            distance_codes: [0; 32],
            header: 0,
            runs: Vec::new(),
            of_runs: [0; 19],
            counts: (0, 0, 0),
        }
    }

    fn number(&mut self) {
        huffman::codes(&self.literals, &mut self.literal_codes);
        huffman::codes(&self.distances, &mut self.distance_codes);
    }

    /// Bits of all codes in a block.
    fn cost(&self, literals: &[u32; LITERALS], distances: &[u32; DISTANCES]) -> u64 {
        let sum = |counts: &[u32], lengths: &[u8]| -> u64 {
            counts.iter().zip(lengths).map(|(count, length)| u64::from(*count) * u64::from(*length)).sum()
        };
        sum(literals, &self.literals) + sum(distances, &self.distances)
    }

    /// The header of a dynamic block.
    fn describe(&self, bits: &mut Bits) {
        let (literals, distances, written) = self.counts;
        bits.put(0b100, 3);
        bits.put((literals - 257) as u64, 5);
        bits.put((distances - 1) as u64, 5);
        bits.put((written - 4) as u64, 4);
        for at in &ORDER[..written] {
            bits.put(u64::from(self.of_runs[*at]), 3);
        }
        let mut codes = [0; 19];
        huffman::codes(&self.of_runs, &mut codes);
        for (symbol, value) in &self.runs {
            let at = usize::from(*symbol);
            bits.put(u64::from(codes[at]), u32::from(self.of_runs[at]));
            bits.put(u64::from(*value), further(*symbol));
        }
    }
}

/// Bits behind a symbol of the code for lengths.
fn further(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Lengths as symbols: itself, 16 for the last one again, 17 and 18 for zeros; with what follows the symbol.
fn runs(lengths: &[u8]) -> Vec<(u8, u8)> {
    let mut runs = Vec::new();
    let mut rest = lengths;
    while let Some(&length) = rest.first() {
        let mut same = rest.iter().take_while(|other| **other == length).count();
        rest = &rest[same..];
        if length > 0 {
            runs.push((length, 0));
            same -= 1;
        }
        while same >= 3 {
            let (symbol, least, most) = match (length, same) {
                (0, 11..) => (18, 11, 138),
                (0, _) => (17, 3, 10),
                _ => (16, 3, 6),
            };
            let count = same.min(most);
            runs.push((symbol, (count - least) as u8));
            same -= count;
        }
        runs.extend(std::iter::repeat_n((length, 0), same));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of RFC 1951, 3.2.5.
    #[test]
    fn symbols_of_lengths_and_distances() {
        for (length, symbol, extra) in [
            (3, 257, 0),
            (10, 264, 0),
            (11, 265, 1),
            (12, 265, 1),
            (18, 268, 1),
            (19, 269, 2),
            (66, 276, 3),
            (67, 277, 4),
            (227, 284, 5),
            (257, 284, 5),
            (258, 285, 0),
        ] {
            let (is, bits, _) = LENGTHS[length - 3];
            assert_eq!((is, bits), (symbol, extra), "{length}");
        }
        for (back, symbol, extra) in [
            (1, 0, 0),
            (4, 3, 0),
            (5, 4, 1),
            (6, 4, 1),
            (7, 5, 1),
            (9, 6, 2),
            (16_385, 28, 13),
            (24_577, 29, 13),
            (32_768, 29, 13),
        ] {
            assert_eq!(distance(back - 1), (symbol, extra), "{back}");
        }
    }

    #[test]
    fn lengths_in_runs() {
        let lengths = [vec![0; 150], vec![5; 8], vec![0; 2], vec![3]].concat();
        assert_eq!(runs(&lengths), [(18, 127), (18, 1), (5, 0), (16, 3), (5, 0), (0, 0), (0, 0), (3, 0)]);
    }
}
