//! Sparse members (GNU tar manual, "Storing Sparse Files"): a map says where in the file the stored bytes belong, all
//! else is holes.
//!
//! | form | the map is |
//! | --- | --- |
//! | old GNU, type `S` | in the header and in blocks behind it |
//! | pax 0.0 | in repeated records `GNU.sparse.offset` and `GNU.sparse.numbytes` |
//! | pax 0.1 | in one record `GNU.sparse.map` |
//! | pax 1.0 | in front of the data, as decimal lines in whole blocks |

use super::header::{self, Block, Field};
use super::{Error, limits};

/// A stretch of stored bytes: where it begins in the file, and how long it is. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// What the pax records of a member say about sparseness.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.size` or `GNU.sparse.realsize`.
    pub size: Option<u64>,
    pub map: Vec<(u64, u64)>,
    /// `GNU.sparse.offset` without its `numbytes` yet.
    pub offset: Option<u64>,
}

impl Records {
    /// Takes one record; `key` without `GNU.sparse.`.
    pub fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || decimal(value).ok_or("malformed number in a sparse record");
        let once = |slot: &mut Option<u64>, number: u64| match slot.replace(number) {
            Some(earlier) if earlier != number => Err("two different values of one sparse record"),
            _ => Ok(()),
        };
        match key {
            b"major" => once(&mut self.major, number()?),
            b"minor" => once(&mut self.minor, number()?),
            b"size" | b"realsize" => once(&mut self.size, number()?),
            // The map is limited by its own length.
            b"numblocks" => number().map(|_| ()),
            b"name" => match self.name.replace(value.to_vec()) {
                Some(earlier) if earlier != value => Err("two different names of one sparse file"),
                _ => Ok(()),
            },
            b"offset" => match self.offset.replace(number()?) {
                Some(_) => Err("a sparse offset without its length"),
                None => Ok(()),
            },
            b"numbytes" => {
                let offset = self.offset.take().ok_or("a sparse length without its offset")?;
                self.map.push((offset, number()?));
                Ok(())
            }
            b"map" => {
                if !self.map.is_empty() {
                    return Err("two sparse maps");
                }
                let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
                let numbers = numbers.filter(|numbers| numbers.len() % 2 == 0).ok_or("malformed sparse map")?;
                self.map.extend(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err("unknown sparse record"),
        }
    }

    /// Does the map stand in front of the data?
    pub fn in_data(&self) -> Result<bool, &'static str> {
        match (self.major.unwrap_or(0), self.minor.unwrap_or(0)) {
            (0, 0 | 1) if self.offset.is_none() => Ok(false),
            (1, 0) if self.map.is_empty() && self.offset.is_none() => Ok(true),
            (0 | 1, _) => Err("contradictory sparse records"),
            _ => Err("unknown version of the sparse format"),
        }
    }
}

/// Checks a map: in order, without overlap, within the file, and as long as what is `stored`. Empty stretches go away.
pub(super) fn check(map: &[(u64, u64)], size: u64, stored: u64) -> Result<Vec<Extent>, &'static str> {
    let mut extents: Vec<Extent> = Vec::new();
    let (mut end, mut total) = (0u64, 0u64);
    for (offset, length) in map {
        let next = offset.checked_add(*length).ok_or("a sparse map beyond all bounds")?;
        if *offset < end || next > size {
            return Err("a sparse map that overlaps or leaves the file");
        }
        end = next;
        total += length;
        match extents.last_mut() {
            _ if *length == 0 => {}
            Some(last) if last.offset + last.length == *offset => last.length += length,
            _ => extents.push(Extent { offset: *offset, length: *length }),
        }
    }
    if total != stored {
        return Err("a sparse map that does not fit the data");
    }
    Ok(extents)
}

/// Old GNU: four stretches in the header, twenty-one in each further block.
const IN_HEADER: (usize, usize) = (386, 4);
const IN_BLOCK: (usize, usize) = (0, 21);
const HEADER_EXTENDED: usize = 482;
const BLOCK_EXTENDED: usize = 504;
const REAL_SIZE: Field = 483..495;

/// Takes the stretches of a header (`first`) or of a block behind it; says whether another block follows.
pub(super) fn old_gnu(block: &Block, first: bool, map: &mut Vec<(u64, u64)>, offset: u64) -> Result<bool, Error> {
    let ((start, count), extended) =
        if first { (IN_HEADER, block[HEADER_EXTENDED]) } else { (IN_BLOCK, block[BLOCK_EXTENDED]) };
    for index in 0..count {
        let at = start + index * 24;
        // The list ends at the first empty field.
        if block[at] == 0 && block[at + 12] == 0 {
            break;
        }
        let number = |field: Field| {
            let value = header::required(block, field, "sparse", offset)?;
            u64::try_from(value).map_err(|_| Error::Number { field: "sparse", offset })
        };
        map.push((number(at..at + 12)?, number(at + 12..at + 24)?));
        if map.len() > limits::EXTENTS {
            return Err(Error::Extended { offset, reason: "too many stretches in a sparse map" });
        }
    }
    Ok(extended != 0)
}

pub(super) fn old_gnu_size(block: &Block, offset: u64) -> Result<u64, Error> {
    let size = header::required(block, REAL_SIZE, "realsize", offset)?;
    u64::try_from(size).map_err(|_| Error::Number { field: "realsize", offset })
}

/// The map in front of the data, fed block by block.
#[derive(Default)]
pub(super) struct InData {
    line: Vec<u8>,
    announced: Option<u64>,
    numbers: Vec<u64>,
}

impl InData {
    /// Takes one block; says whether the map is complete.
    pub fn block(&mut self, block: &Block) -> Result<bool, &'static str> {
        for byte in block {
            if *byte != b'\n' {
                // Twenty digits are the most that 64 bits have.
                if self.line.len() >= 20 {
                    return Err("malformed sparse map");
                }
                self.line.push(*byte);
                continue;
            }
            let number = decimal(&self.line).ok_or("malformed sparse map")?;
            self.line.clear();
            match self.announced {
                None if number > limits::EXTENTS as u64 => return Err("too many stretches in a sparse map"),
                None => self.announced = Some(number),
                Some(_) => self.numbers.push(number),
            }
            if self.announced.is_some_and(|count| self.numbers.len() as u64 == 2 * count) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn map(self) -> Vec<(u64, u64)> {
        self.numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let extent = |offset, length| Extent { offset, length };
        let check = |map: &[(u64, u64)], size, stored, expect: Option<&[Extent]>| {
            assert_eq!(check(map, size, stored).ok().as_deref(), expect, "{map:?} {size} {stored}");
        };
        check(&[], 10, 0, Some(&[]));
        check(&[(10, 0)], 10, 0, Some(&[]));
        check(&[(0, 2), (2, 3), (8, 1)], 10, 6, Some(&[extent(0, 5), extent(8, 1)]));
        check(&[(0, 2)], 10, 3, None);
        check(&[(4, 2), (0, 2)], 10, 4, None);
        check(&[(0, 4), (3, 2)], 10, 6, None);
        check(&[(9, 2)], 10, 2, None);
        check(&[(u64::MAX, 2)], 10, 2, None);
    }

    #[test]
    fn records() {
        let apply = |records: &[(&str, &str)]| {
            let mut all = Records::default();
            records.iter().try_for_each(|(key, value)| all.apply(key.as_bytes(), value.as_bytes()))?;
            all.in_data().map(|in_data| (in_data, all.map))
        };
        assert_eq!(apply(&[("major", "1"), ("minor", "0"), ("realsize", "5")]), Ok((true, vec![])));
        assert_eq!(apply(&[("size", "5"), ("map", "0,1,4,1")]), Ok((false, vec![(0, 1), (4, 1)])));
        assert_eq!(apply(&[("offset", "1"), ("numbytes", "2")]), Ok((false, vec![(1, 2)])));
        for bad in [
            &[("offset", "1")][..],
            &[("numbytes", "1")],
            &[("map", "1,2,3")],
            &[("map", "")],
            &[("major", "2")],
            &[("major", "1"), ("map", "0,1")],
            &[("size", "1"), ("realsize", "2")],
            &[("what", "1")],
        ] {
            assert!(apply(bad).is_err(), "{bad:?}");
        }
    }
}
