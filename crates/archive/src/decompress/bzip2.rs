//! A reader of bzip2 streams (the format as `bzip2` 1.0 writes it; there is no other specification).
//!
//! ```text
//! "BZh" level │ block … │ end │ next stream …
//! block: magic, CRC │ start of the transform │ symbols in use │ 2–6 Huffman tables, a choice for each 50 symbols │ symbols
//! symbols ─▶ runs and move-to-front ─▶ inverse Burrows–Wheeler ─▶ runs of 4 + n ─▶ bytes
//! ```
//!
//! Memory: five bytes for each byte of a block, at most 4.5 MB.

use std::io::{self, BufRead, Read};

const BLOCK_MAGIC: u64 = 0x3141_5926_5359;
const END_MAGIC: u64 = 0x1772_4538_5090;
/// Symbols that share a choice of table.
const GROUP: usize = 50;
/// Longest code, in bits.
const MAX_CODE: usize = 20;

/// Gives the bytes of all streams, one after the other.
pub(super) struct Bzip2<R> {
    bits: Bits<R>,
    /// Bytes of the block at hand, still with runs: the inverse transform, and how many are to come.
    links: Vec<u32>,
    position: u32,
    left: usize,
    /// The last byte and how often it came in a row; then the count of a run.
    last: Option<u8>,
    row: u8,
    run: u8,
    block_crc: u32,
    expected_crc: u32,
    stream_crc: u32,
    /// Largest block of the stream, in bytes; 0 before its header.
    size: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header { first: bool },
    Block,
    Data,
    End,
}

impl<R: BufRead> Bzip2<R> {
    pub fn new(source: R) -> Bzip2<R> {
        Bzip2 {
            bits: Bits { source, buffer: 0, count: 0 },
            links: Vec::new(),
            position: 0,
            left: 0,
            last: None,
            row: 0,
            run: 0,
            block_crc: 0,
            expected_crc: 0,
            stream_crc: 0,
            size: 0,
            state: State::Header { first: true },
        }
    }

    fn header(&mut self, first: bool) -> io::Result<()> {
        self.bits.align();
        if !first && self.bits.at_end()? {
            self.state = State::End;
            return Ok(());
        }
        if self.bits.take(24)? != 0x42_5a68 {
            return Err(bad("it does not begin as one"));
        }
        let level = self.bits.take(8)?;
        if !(0x31..=0x39).contains(&level) {
            return Err(bad("unknown level"));
        }
        self.size = (level - 0x30) as usize * 100_000;
        self.stream_crc = 0;
        self.state = State::Block;
        Ok(())
    }

    /// The next block, or the end of the stream.
    fn block(&mut self) -> io::Result<()> {
        let magic = u64::from(self.bits.take(24)?) << 24 | u64::from(self.bits.take(24)?);
        let crc = self.bits.take(16)? << 16 | self.bits.take(16)?;
        if magic == END_MAGIC {
            if crc != self.stream_crc {
                return Err(bad("wrong checksum of the stream"));
            }
            self.state = State::Header { first: false };
            return Ok(());
        }
        if magic != BLOCK_MAGIC {
            return Err(bad("neither a block nor the end"));
        }
        if self.bits.take(1)? == 1 {
            return Err(bad("a randomised block, as no bzip2 since 1.0 writes it"));
        }
        let origin = self.bits.take(24)?;
        let counts = self.symbols()?;
        let length = self.links.len();
        if origin as usize >= length {
            return Err(bad("the transform begins outside of the block"));
        }
        // The inverse transform: the upper 24 bits of each entry lead to the next one, the lower 8 are its byte.
        let mut starts = [0u32; 256];
        let mut sum = 0;
        for (start, count) in starts.iter_mut().zip(counts) {
            *start = sum;
            sum += count;
        }
        for index in 0..length {
            let byte = (self.links[index] & 0xff) as usize;
            self.links[starts[byte] as usize] |= (index as u32) << 8;
            starts[byte] += 1;
        }
        self.position = self.links[origin as usize] >> 8;
        (self.left, self.last, self.row, self.run) = (length, None, 0, 0);
        (self.block_crc, self.expected_crc) = (!0, crc);
        self.state = State::Data;
        Ok(())
    }

    /// Decodes the symbols of a block into the lower bits of [`Bzip2::links`]; how often each byte comes.
    fn symbols(&mut self) -> io::Result<[u32; 256]> {
        let mut front = Vec::with_capacity(256);
        let sixteens = self.bits.take(16)?;
        for high in (0..16u32).filter(|high| sixteens >> (15 - high) & 1 == 1) {
            let ones = self.bits.take(16)?;
            front.extend((0..16u32).filter(|low| ones >> (15 - low) & 1 == 1).map(|low| (high * 16 + low) as u8));
        }
        if front.is_empty() {
            return Err(bad("a block without symbols"));
        }
        let alphabet = front.len() + 2;
        let tables = self.bits.take(3)? as usize;
        let selectors = self.bits.take(15)? as usize;
        if !(2..=6).contains(&tables) || selectors == 0 {
            return Err(bad("wrong number of tables"));
        }
        let mut order: Vec<u8> = (0..tables as u8).collect();
        let mut choices = Vec::with_capacity(selectors);
        for _ in 0..selectors {
            let mut index = 0;
            while self.bits.take(1)? == 1 {
                index += 1;
                if index >= tables {
                    return Err(bad("a table that is not there"));
                }
            }
            order[..=index].rotate_right(1);
            choices.push(order[0]);
        }
        let tables = (0..tables).map(|_| self.table(alphabet)).collect::<io::Result<Vec<Table>>>()?;

        let (mut counts, end) = ([0u32; 256], alphabet - 1);
        self.links.clear();
        let (mut run, mut weight) = (0usize, 1usize);
        let mut choices = choices.into_iter();
        let mut table = &tables[0];
        for index in 0.. {
            if index % GROUP == 0 {
                let choice = choices.next().ok_or_else(|| bad("more symbols than choices of tables"))?;
                table = &tables[choice as usize];
            }
            let symbol = table.decode(&mut self.bits)?;
            if symbol <= 1 {
                // Digits of a number to the base 2 with the digits 1 and 2.
                run += weight << symbol;
                weight <<= 1;
                if run > self.size {
                    return Err(bad("a block that is too long"));
                }
                continue;
            }
            if run > 0 {
                self.push(front[0], run, &mut counts)?;
                (run, weight) = (0, 1);
            }
            if symbol == end {
                return Ok(counts);
            }
            front[..symbol].rotate_right(1);
            self.push(front[0], 1, &mut counts)?;
        }
        Err(bad("a block without an end"))
    }

    fn push(&mut self, byte: u8, count: usize, counts: &mut [u32; 256]) -> io::Result<()> {
        if self.links.len() + count > self.size {
            return Err(bad("a block that is too long"));
        }
        self.links.resize(self.links.len() + count, u32::from(byte));
        counts[byte as usize] += count as u32;
        Ok(())
    }

    fn table(&mut self, alphabet: usize) -> io::Result<Table> {
        let mut length = self.bits.take(5)? as usize;
        let mut lengths = Vec::with_capacity(alphabet);
        for _ in 0..alphabet {
            loop {
                if !(1..=MAX_CODE).contains(&length) {
                    return Err(bad("a code of a wrong length"));
                }
                if self.bits.take(1)? == 0 {
                    break;
                }
                if self.bits.take(1)? == 0 { length += 1 } else { length -= 1 }
            }
            lengths.push(length);
        }
        Ok(Table::new(&lengths))
    }

    /// The next byte of the block, runs undone; `None` at its end.
    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(self.last);
        }
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            self.left -= 1;
            let entry = self.links[self.position as usize];
            let byte = entry as u8;
            self.position = entry >> 8;
            if self.row == 4 {
                // Behind four equal bytes stands how often the byte comes again.
                self.row = 0;
                if byte == 0 {
                    continue;
                }
                self.run = byte - 1;
                return Ok(self.last);
            }
            self.row = if self.last == Some(byte) { self.row + 1 } else { 1 };
            self.last = Some(byte);
            return Ok(Some(byte));
        }
    }
}

impl<R: BufRead> Read for Bzip2<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.state {
                State::End => break,
                State::Header { first } => self.header(first)?,
                State::Block => self.block()?,
                State::Data => match self.byte()? {
                    Some(byte) => {
                        self.block_crc = self.block_crc << 8 ^ CRC[(self.block_crc >> 24) as usize ^ usize::from(byte)];
                        out[filled] = byte;
                        filled += 1;
                    }
                    None => {
                        if !self.block_crc != self.expected_crc {
                            return Err(bad("wrong checksum of a block"));
                        }
                        self.stream_crc = self.stream_crc.rotate_left(1) ^ self.expected_crc;
                        self.state = State::Block;
                    }
                },
            }
        }
        Ok(filled)
    }
}

/// A canonical Huffman code.
struct Table {
    /// For each length: the first code that is too long for it, shifted to the left end of 32 bits' worth; the symbols
    /// before it minus that code.
    limits: [u32; MAX_CODE + 2],
    offsets: [i64; MAX_CODE + 2],
    symbols: Vec<u16>,
}

impl Table {
    fn new(lengths: &[usize]) -> Table {
        let mut symbols = Vec::with_capacity(lengths.len());
        let (mut limits, mut offsets) = ([0; MAX_CODE + 2], [0; MAX_CODE + 2]);
        let mut code: u32 = 0;
        for length in 1..=MAX_CODE {
            offsets[length] = symbols.len() as i64 - i64::from(code);
            let before = symbols.len();
            symbols.extend(lengths.iter().zip(0u16..).filter(|(own, _)| **own == length).map(|(_, symbol)| symbol));
            code += (symbols.len() - before) as u32;
            limits[length] = code;
            code <<= 1;
        }
        Table { limits, offsets, symbols }
    }

    fn decode<R: BufRead>(&self, bits: &mut Bits<R>) -> io::Result<usize> {
        let mut code = 0;
        for length in 1..=MAX_CODE {
            code = code << 1 | bits.take(1)?;
            if code < self.limits[length] {
                let index = usize::try_from(i64::from(code) + self.offsets[length]).ok();
                let symbol = index.and_then(|index| self.symbols.get(index));
                return symbol.map(|symbol| usize::from(*symbol)).ok_or_else(|| bad("a code without a symbol"));
            }
        }
        Err(bad("a code without a symbol"))
    }
}

/// Bits, the highest of each byte first.
struct Bits<R> {
    source: R,
    buffer: u64,
    count: u32,
}

impl<R: BufRead> Bits<R> {
    /// At most 24 bits.
    fn take(&mut self, count: u32) -> io::Result<u32> {
        while self.count < count {
            let available = fill(&mut self.source)?;
            if available.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the bzip2 stream is cut off"));
            }
            let used = available.len().min(4);
            for byte in &available[..used] {
                self.buffer = self.buffer << 8 | u64::from(*byte);
            }
            self.count += 8 * used as u32;
            self.source.consume(used);
        }
        self.count -= count;
        Ok((self.buffer >> self.count) as u32 & ((1 << count) - 1))
    }

    /// Goes to the next whole byte.
    fn align(&mut self) {
        self.count -= self.count % 8;
    }

    fn at_end(&mut self) -> io::Result<bool> {
        Ok(self.count == 0 && fill(&mut self.source)?.is_empty())
    }
}

fn fill(source: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    source.fill_buf()
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("invalid bzip2 stream: {what}"))
}

/// CRC-32 with the polynomial 0x04c11db7, highest bit first.
static CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};
