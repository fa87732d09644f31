//! Extended headers: `"%d %s=%s\n"` records that override the ustar fields of the next member.

use super::{Error, Time, Xattr, sparse};

/// What the records of one extended header say; `None` where they say nothing.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<Xattr>,
    /// `GNU.sparse.*`
    pub sparse: Option<sparse::Records>,
}

/// Parses the body of an extended header (`x`).
pub(super) fn parse(body: &[u8], offset: u64) -> Result<Extended, Error> {
    let mut extended = Extended::default();
    let mut rest = body;
    while !rest.is_empty() {
        let (key, value, after) = record(rest).ok_or(Error::Extended { offset, reason: "malformed record" })?;
        apply(&mut extended, key, value, offset)?;
        rest = after;
    }
    Ok(extended)
}

/// Refuses a global header (`g`) that would change names or sizes: readers disagree on whether it applies. Anything
/// else in it (git's commit id) is skipped, as Docker does.
pub(super) fn check_global(body: &[u8], offset: u64) -> Result<(), Error> {
    let global = parse(body, offset)?;
    if global.path.is_some() || global.link.is_some() || global.size.is_some() || global.sparse.is_some() {
        return Err(Error::Extended { offset, reason: "global header with a path, a link or a size" });
    }
    Ok(())
}

/// One record: key, value, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(10).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    if length <= blank + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return None;
    }
    let body = &bytes[blank + 1..length - 1];
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let key = &body[..equals];
    (!key.is_empty() && !key.contains(&0)).then_some((key, &body[equals + 1..], &bytes[length..]))
}

fn apply(extended: &mut Extended, key: &[u8], value: &[u8], offset: u64) -> Result<(), Error> {
    let bad = |field| Error::Number { field, offset };
    // An empty value takes the record back (POSIX); an empty extended attribute is a value.
    let given = !value.is_empty();
    match key {
        b"path" => set(&mut extended.path, value.to_vec(), given, "path", offset)?,
        b"linkpath" => set(&mut extended.link, value.to_vec(), given, "linkpath", offset)?,
        b"size" if given => {
            let size = decimal(value).ok_or(bad("size"))?;
            set(&mut extended.size, size, true, "size", offset)?;
        }
        b"uid" if given => extended.uid = Some(identity(value).ok_or(bad("uid"))?),
        b"gid" if given => extended.gid = Some(identity(value).ok_or(bad("gid"))?),
        b"mtime" if given => extended.mtime = Some(time(value).ok_or(bad("mtime"))?),
        _ => {
            if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                let records = extended.sparse.get_or_insert_with(sparse::Records::default);
                records.apply(key, value).map_err(|reason| Error::Extended { offset, reason })?;
            } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                if name.is_empty() {
                    return Err(Error::Extended { offset, reason: "extended attribute without a name" });
                }
                extended.xattrs.retain(|(other, _)| other != name);
                extended.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

/// Sets a field that decides where data lies or goes: given twice, both must agree.
fn set<T: PartialEq>(
    slot: &mut Option<T>,
    value: T,
    given: bool,
    field: &'static str,
    offset: u64,
) -> Result<(), Error> {
    if !given {
        *slot = None;
        return Ok(());
    }
    match slot {
        Some(earlier) if *earlier != value => Err(Error::Ambiguous { field, offset }),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn identity(value: &[u8]) -> Option<u32> {
    decimal(value).and_then(|number| u32::try_from(number).ok())
}

/// `[-]seconds[.fraction]`; digits beyond the ninth are dropped.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let mut nanos: u32 = 0;
    for index in 0..9 {
        nanos = nanos * 10 + fraction.get(index).map_or(0, |digit| u32::from(digit - b'0'));
    }
    Some(match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let ok = parse(b"12 path=abc\n14 size=12345\n20 mtime=-1.25000000\n25 SCHILY.xattr.user.a=b\n", 0);
        // Lengths that do not fit are refused.
        assert!(ok.is_err());
        let body = [rec("path", "abc"), rec("size", "12345"), rec("mtime", "-1.25"), rec("SCHILY.xattr.user.a", "b=c")];
        let extended = parse(body.concat().as_bytes(), 0).unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"abc"[..]));
        assert_eq!(extended.size, Some(12345));
        assert_eq!(extended.mtime, Some(Time { seconds: -2, nanos: 750_000_000 }));
        assert_eq!(extended.xattrs, [(b"user.a".to_vec(), b"b=c".to_vec())]);
    }

    fn rec(key: &str, value: &str) -> String {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        format!("{length} {key}={value}\n")
    }

    #[test]
    fn refused() {
        for body in ["", "5 a=\n"] {
            assert!(parse(body.as_bytes(), 0).is_ok(), "{body:?}");
        }
        for body in
            ["x", "5", "5 ", "9 a=b\n", "4 =\n", "6 a=bc", "06 a=bcd\n", "-6 a=b\n", "99999999999 a=b\n", "0 a=b\n"]
        {
            assert!(parse(body.as_bytes(), 0).is_err(), "{body:?}");
        }
        assert!(parse((rec("size", "1") + &rec("size", "2")).as_bytes(), 0).is_err());
        assert!(parse((rec("size", "1") + &rec("size", "1")).as_bytes(), 0).is_ok());
        assert!(parse(rec("size", "-1").as_bytes(), 0).is_err());
        assert!(parse(rec("uid", "4294967296").as_bytes(), 0).is_err());
        assert!(check_global(rec("path", "x").as_bytes(), 0).is_err());
        assert!(check_global(rec("comment", "x").as_bytes(), 0).is_ok());
    }
}
