//! The 512-byte header block: fields, numbers, checksum.

use super::Error;

pub(super) const BLOCK: usize = 512;
pub(super) type Block = [u8; BLOCK];

/// Where a field lies in the block.
pub(super) type Field = std::ops::Range<usize>;
pub(super) const NAME: Field = 0..100;
pub(super) const MODE: Field = 100..108;
pub(super) const UID: Field = 108..116;
pub(super) const GID: Field = 116..124;
pub(super) const SIZE: Field = 124..136;
pub(super) const MTIME: Field = 136..148;
pub(super) const CHECKSUM: Field = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK: Field = 157..257;
pub(super) const MAGIC: Field = 257..265;
pub(super) const DEV_MAJOR: Field = 329..337;
pub(super) const DEV_MINOR: Field = 337..345;
pub(super) const PREFIX: Field = 345..500;
/// star's prefix is shorter, access and change time follow it.
const STAR_PREFIX: Field = 345..476;
const STAR_TRAILER: Field = 508..512;
/// GNU puts the access time where ustar has the prefix.
const GNU_ATIME: Field = 345..357;

/// Which rules the block follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

pub(super) fn format(block: &Block) -> Format {
    match &block[MAGIC] {
        b"ustar  \0" => Format::Gnu,
        [b'u', b's', b't', b'a', b'r', 0, ..] if &block[STAR_TRAILER] == b"tar\0" => Format::Star,
        [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
        _ => Format::V7,
    }
}

/// The bytes of a text field up to its first NUL.
pub(super) fn text(block: &Block, field: Field) -> &[u8] {
    let bytes = &block[field];
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// Prefix and name joined as the format says.
pub(super) fn name(block: &Block) -> Vec<u8> {
    let prefix = match format(block) {
        Format::V7 => &[][..],
        Format::Ustar => text(block, PREFIX),
        Format::Star => text(block, STAR_PREFIX),
        // Writers of Go before 1.8 mixed GNU's magic with a ustar prefix; a time there is a number.
        Format::Gnu if number(block, GNU_ATIME).is_some() => &[][..],
        Format::Gnu => text(block, PREFIX),
    };
    let name = text(block, NAME);
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// A numeric field: octal digits between blanks and NULs, or GNU's base-256. An empty field is 0.
pub(super) fn number(block: &Block, field: Field) -> Option<i64> {
    let bytes = &block[field];
    match bytes.first()? {
        first if first & 0x80 != 0 => base256(bytes),
        _ => octal(bytes),
    }
}

/// Two's complement, big endian, over the whole field but for the marker bit.
fn base256(bytes: &[u8]) -> Option<i64> {
    let negative = bytes[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in bytes.iter().enumerate() {
        // The marker is bit 7; under a negative number it reads as the sign.
        let byte = if index == 0 && !negative { byte & 0x7f } else { *byte };
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).ok()
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(blank) {
        return None;
    }
    let mut value: i64 = 0;
    for digit in &digits[..end] {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)? + i64::from(digit - b'0');
    }
    Some(value)
}

/// A numeric field, or the error that names it.
pub(super) fn required(block: &Block, field: Field, name: &'static str, offset: u64) -> Result<i64, Error> {
    number(block, field).ok_or(Error::Number { field: name, offset })
}

/// The sum of all bytes, the checksum field read as blanks; and the same with signed bytes, as old writers had it.
pub(super) fn checksums(block: &Block) -> (i64, i64) {
    let parts = [&block[..CHECKSUM.start], &block[CHECKSUM.end..]];
    let blanks = i64::from(b' ') * CHECKSUM.len() as i64;
    let unsigned: u32 = parts.iter().flat_map(|part| part.iter()).map(|byte| u32::from(*byte)).sum();
    let signed: i32 = parts.iter().flat_map(|part| part.iter()).map(|byte| i32::from(*byte as i8)).sum();
    (i64::from(unsigned) + blanks, i64::from(signed) + blanks)
}

pub(super) fn checksum_ok(block: &Block) -> bool {
    let (unsigned, signed) = checksums(block);
    number(block, CHECKSUM).is_some_and(|stored| stored == unsigned || stored == signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |bytes: &[u8], expect: Option<i64>| {
            let mut block = [0; BLOCK];
            block[..bytes.len()].copy_from_slice(bytes);
            assert_eq!(number(&block, 0..bytes.len()), expect, "{bytes:?}");
        };
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"77777777", Some(0o77777777));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"        ", Some(0));
        check(b"12a\0\0\0\0\0", None);
        check(b"8\0\0\0\0\0\0\0", None);
        check(b"-1\0\0\0\0\0\0", None);
        check(b"12\x0034\0\0\0", None);
        check(b"\x80\0\0\0\0\0\x01\0", Some(256));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2));
        check(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None);
    }
}
