//! An htpasswd file: `user:hash` lines, bcrypt (`htpasswd -B`) or argon2 (`$argon2id$…`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// How long a password that was right need not be hashed again: a push asks for each request.
const REMEMBERED: Duration = Duration::from_secs(300);
/// So many of them.
const MOST: usize = 1024;
/// What a hash may ask for, so that nobody's file stops the machine: argon2's memory in KiB, bcrypt's cost.
const ARGON2_MEMORY: u32 = 1 << 20;
const BCRYPT_COST: u32 = 17;

/// The users of a file.
#[derive(Debug, Default)]
pub struct Passwords {
    users: HashMap<String, String>,
    /// Digest of user, password and hash, and when it was found right.
    remembered: Mutex<HashMap<Digest, Instant>>,
    /// One at a time: hashing is slow on purpose, and guessers shall wait in a queue.
    hashing: Mutex<()>,
}

impl Passwords {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Configuration`] with the line.
    pub fn read(path: &Path) -> Result<Passwords> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Passwords::parse(&text).map_err(|(line, detail)| Error::Configuration { path: path.to_owned(), line, detail })
    }

    /// The same from its text; an error is a line number and what is wrong there.
    pub fn parse(text: &str) -> std::result::Result<Passwords, (usize, String)> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |detail: &str| (at + 1, detail.to_owned());
            let (user, hash) = line.split_once(':').ok_or_else(|| fail("not of the form user:hash"))?;
            if user.is_empty() {
                return Err(fail("a user without a name"));
            }
            let supported = match hash {
                hash if hash.starts_with("$2") => {
                    hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() <= BCRYPT_COST)
                }
                hash if hash.starts_with("$argon2") => PasswordHash::new(hash).is_ok_and(|hash| {
                    hash.hash.is_some() && hash.params.get_decimal("m").is_none_or(|memory| memory <= ARGON2_MEMORY)
                }),
                _ => false,
            };
            if !supported {
                return Err(fail("only bcrypt (htpasswd -B) and argon2 hashes are supported"));
            }
            users.insert(user.to_owned(), hash.to_owned());
        }
        Ok(Passwords { users, ..Passwords::default() })
    }

    /// Was this password found right lately? Takes no time; `false` says nothing.
    pub fn remembers(&self, user: &str, password: &str) -> bool {
        self.users.get(user).is_some_and(|hash| self.is_fresh(&key(user, password, hash)))
    }

    fn is_fresh(&self, key: &Digest) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(key).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    /// Is it this user's password? Takes tens of milliseconds when it was not asked lately: not for a thread that
    /// others wait for.
    pub fn verify(&self, user: &str, password: &str) -> bool {
        let Some(hash) = self.users.get(user) else {
            // As slow as a wrong password, so that names cannot be told from the time.
            let _one = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(any) = self.users.values().next() {
                let _ = check(password, any);
            }
            return false;
        };
        let key = key(user, password, hash);
        if self.is_fresh(&key) {
            return true;
        }
        let _one = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        // Several requests of one client have waited for the same answer.
        if self.is_fresh(&key) {
            return true;
        }
        let right = check(password, hash);
        if right {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MOST {
                remembered.retain(|_, since| since.elapsed() < REMEMBERED);
            }
            if remembered.len() < MOST {
                remembered.insert(key, Instant::now());
            }
        }
        right
    }
}

fn key(user: &str, password: &str, hash: &str) -> Digest {
    Digest::of(Algorithm::Sha256, format!("{user}\0{password}\0{hash}").as_bytes())
}

fn check(password: &str, hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "secret", by `htpasswd -B -C 4` and `argon2 -id`.
    #[test]
    fn both_kinds() {
        let bcrypt = bcrypt::hash("secret", 4).unwrap().replacen("$2b$", "$2y$", 1);
        let salt = argon2::password_hash::SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let weak = Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            argon2::Params::new(64, 1, 1, None).unwrap(),
        );
        let argon2 = argon2::PasswordHasher::hash_password(&weak, b"secret", &salt).unwrap().to_string();
        let passwords = Passwords::parse(&format!("# users\nalice:{bcrypt}\n\nbob:{argon2}\n")).unwrap();
        for (user, password, expect) in [
            ("alice", "secret", true),
            ("alice", "secret", true),
            ("alice", "Secret", false),
            ("bob", "secret", true),
            ("bob", "", false),
            ("carol", "secret", false),
        ] {
            assert_eq!(passwords.verify(user, password), expect, "{user} {password}");
        }
    }

    #[test]
    fn bad_files_name_the_line() {
        for (text, line) in [
            ("a:$apr1$x$y", 1),
            ("a:{SHA}xyz", 1),
            ("\na:plain", 2),
            (":$2y$05$x", 1),
            ("nothing", 1),
            ("a:$2y$31$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu", 1),
            ("a:$argon2id$v=19$m=99999999,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAA", 1),
        ] {
            assert_eq!(Passwords::parse(text).map(|_| ()).map_err(|(line, _)| line), Err(line), "{text}");
        }
    }
}
